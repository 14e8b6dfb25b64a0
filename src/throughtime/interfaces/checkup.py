"""`throughtime diagnose`: fit a model, or load one, and let the doctor look at it.

Which of two files is the model, and whether it is one, is found out from its first bytes, without torch.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import throughtime
from throughtime._errors import DataError, ModelFileError, SettingError
from throughtime._files import write_atomically
from throughtime.interfaces import tasks
from throughtime.interfaces.options import Options, check_places
from throughtime.interfaces.reading import open_sheet
from throughtime.interfaces.talk import Talk

if TYPE_CHECKING:
    from throughtime.interfaces.columns import Reading

_STAMP = b'"throughtime forecaster '
_LONGEST_HEADER = 2**27
_USAGE = "throughtime diagnose MODEL FILE"
_OF_THE_TABLE = ("time", "target", "id", "freq", "static")  # options that a saved model leaves open


def files(given: Sequence[str], chosen: Mapping[str, object]) -> tuple[str | None, str]:
    """Return the model, if one was named, and the table; refuse what is neither, or the wrong way round.

    `chosen` are the options that were given, by name. A saved model is what it is: those that make a
    new one are refused beside it.
    """
    if len(given) > 2:
        raise SettingError(
            "one table, or a saved model and a table", f"{len(given)} files", f"pass {_USAGE}"
        )
    *models, table = given
    if not models:
        if is_model(table):
            raise SettingError(
                "a table to diagnose the model on", f"{table!r} alone", f"pass {_USAGE}"
            )
        return None, table
    [model] = models
    if not is_model(model):
        raise _no_model(model, table)
    if is_model(table):
        raise SettingError("a table after the model", f"another model, {table!r}", f"pass {_USAGE}")
    for name, value in chosen.items():
        if name not in _OF_THE_TABLE:
            option = f"--{name.replace('_', '-')}"
            said = ",".join(value) if isinstance(value, list) else value
            raise SettingError(
                f"no {option} beside a saved model, which has its own",
                option if value is True else f"{option} {said}",
                "leave it out, or leave the model out to fit a new one",
            )
    return model, table


def is_model(path: str) -> bool:
    """Say whether a file begins as a saved forecaster does."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return 0 < length <= _LONGEST_HEADER and _STAMP in file.read(length)
    except (OSError, ValueError):
        return False


def _no_model(path: str, table: str) -> Exception:
    if is_model(table):
        return SettingError(
            "the model before the table",
            f"{path!r} before {table!r}",
            f"pass throughtime diagnose {shlex.join([table, path])}",
        )
    try:
        with open(path, "rb"):
            found = "another kind of file"
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        found = "no such file" if missing else getattr(error, "strerror", None) or str(error)
    return ModelFileError(
        f"{path} to be a forecaster that was saved",
        found,
        "pass a file that throughtime forecast --save wrote, or the table alone to fit a new one",
    )


def diagnose(
    options: Options, model: str | None, asked: bool, report: str | None, hint: str, talk: Talk
) -> None:
    """Read, fit or load, diagnose, say, write; `asked` says whether the horizon was the user's."""
    check_places(
        options.sources,
        {"the model": model, "--report": report} if model else {"--report": report},
    )
    sheet = open_sheet(options)
    fitted = None if model is None else throughtime.load(model)
    like = None if fitted is None else fitted.panel
    reading, panel = tasks.read_panel(options, talk, sheet, like)
    if fitted is None:
        options = options if asked else replace(options, h=usual_horizon(panel, options.season))
        forecaster = tasks.new_forecaster(options, 0, reading.roles)
        with talk.watching() as observer:
            forecaster.fit(panel, observers=[observer])
            tasks.check_whole(forecaster)
        diagnosis = forecaster.diagnose(step=tasks.step_word(forecaster.panel))
    else:
        forecaster = fitted
        _check_step(panel, forecaster.panel)
        options = replace(options, h=forecaster.h)
        diagnosis = forecaster.diagnose(panel, step=tasks.step_word(panel))
    _say(options, diagnosis, forecaster, reading, panel, report, hint, talk)


def usual_horizon(panel: Any, season: int | None) -> int:
    """Return one season, that which was given or is found; 1 where the series are too short for it.

    >>> from throughtime.forecasting import read_frame
    >>> usual_horizon(read_frame([0.0, 1.0, 5.0, 2.0] * 8), None)
    4
    """
    from throughtime.forecasting.series.demands import least_rows
    from throughtime.forecasting.series.seasons import panel_season_length

    h = panel_season_length(panel) if season is None else season
    return h if int(panel.lengths.max()) >= least_rows(h) + h else 1


def _check_step(panel: Any, fitted: Any) -> None:
    if panel.frequency != fitted.frequency:
        raise DataError(
            f"dates {fitted.frequency.alias!r} apart, as those that the model was fitted to",
            f"{panel.frequency.alias!r}",
            "pass a table with the same step, or --freq if the step was read wrongly",
        )


def _say(
    options: Options,
    diagnosis: Any,
    forecaster: Any,
    reading: Reading,
    panel: Any,
    report: str | None,
    hint: str,
    talk: Talk,
) -> None:
    plain, written = diagnosis.to_dict(), {}
    if report is not None:
        write_atomically(report, _page(options, plain, forecaster, reading, panel))
        written["report"] = report
    talk.result(str(diagnosis))
    facts = tasks.source_facts(options, reading, panel, forecaster.name)
    talk.machine(facts | {"diagnosis": plain, "files": written})
    if hint:
        talk.status(hint)
    talk.last(f"wrote the report to {report}" if report is not None else "done")


def _page(
    options: Options, diagnosis: Mapping[str, Any], forecaster: Any, reading: Reading, panel: Any
) -> str:
    from throughtime.interfaces.doctor_page import Checkup, render_diagnosis

    facts = tasks.facts_of(reading, panel) | tasks.model_facts(forecaster, panel)
    return render_diagnosis(
        Checkup(
            source=options.title,
            diagnosis=diagnosis,
            facts=facts | {"horizon": f"{options.h:,}"},
            version=throughtime.__version__,
            model=f"the {forecaster.name}",
            command=shlex.join(["throughtime", *sys.argv[1:]]),
            notes=[*reading.notes, *panel.notes],
        )
    )
