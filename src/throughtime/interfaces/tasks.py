"""What the commands do, in order: check, read, fit, say, write.

All that can be refused is refused before the fit, without torch; all files are made before the
first is written.
"""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import throughtime
from throughtime._errors import MissingExtraError
from throughtime._files import write_atomically
from throughtime._types import CellName
from throughtime._words import count, joined
from throughtime.interfaces import words
from throughtime.interfaces.options import Options, check_places, levels
from throughtime.interfaces.talk import Talk

if TYPE_CHECKING:
    from throughtime.interfaces.columns import Reading
    from throughtime.interfaces.files import Sheet


class Places:
    """Where files go; checked on making, so that a long fit is never lost to a wrong folder."""

    def __init__(
        self,
        options: Options,
        out: str | None = None,
        report: str | None = None,
        no_report: bool = False,
        save: str | None = None,
    ) -> None:
        self.out = out or f"{options.stem}-forecast.csv"
        self.save = save
        self.report, self.hint = report_place(report, f"{options.stem}-report.html", no_report)
        check_places(
            options.sources, {"--out": self.out, "--report": self.report, "--save": self.save}
        )


ORIGINS = 8  # of a comparison on the past, where their number is not given


def report_place(given: str | None, usual: str, none: bool) -> tuple[str | None, str]:
    """Return where the report goes, if anywhere, and a hint at what is missing for one.

    Raises MissingExtraError where one was asked for that cannot be drawn.
    """
    from throughtime.drawing import theme

    if none:
        return None, ""
    try:
        theme.require_plotly()
    except MissingExtraError:
        if given is not None:
            raise
        return None, f"for a report to look at: {theme.INSTALL}"
    return given or usual, ""


def forecast(options: Options, places: Places, talk: Talk) -> None:
    """Fit, forecast, write, compare."""
    from throughtime.interfaces.console import facts_block
    from throughtime.interfaces.reading import need_future

    reading, panel = read_panel(options, talk)
    need_future(panel, options.h)
    forecaster = new_forecaster(options, options.windows, reading.roles)
    with talk.watching() as observer:
        forecaster.fit(panel, level=levels(options.level), observers=[observer])
        check_whole(forecaster)
    talk.status(facts_block(model_facts(forecaster, panel), []))
    say_origins(options, talk, forecaster.backtest)
    _say_judges(talk, forecaster.backtest, panel)
    table = forecaster.predict(level=levels(options.level))
    diagnosis = forecaster.diagnose(step=step_word(panel))
    written = _write(options, places, forecaster, table, reading, panel, diagnosis)
    _say(options, talk, forecaster, table, diagnosis)
    summary = _forecast_summary(options, reading, panel, forecaster, table, written)
    talk.machine(summary | {"findings": diagnosis.to_dict()["findings"]})
    if places.hint:
        talk.status(places.hint)
    talk.last("wrote " + joined(f"the {name} to {path}" for name, path in written.items()))


def _write(
    options: Options,
    places: Places,
    forecaster: Any,
    table: Any,
    reading: Reading,
    panel: Any,
    diagnosis: Any,
) -> dict[str, str]:
    """Make all files, then write them, what may still fail first; return where each went."""
    made: dict[str, tuple[str, str | bytes]] = {"forecast": (places.out, file(table, places.out))}
    if places.report is not None:
        facts = facts_of(reading, panel) | model_facts(forecaster, panel)
        page = _report(options, forecaster, table, reading, facts, diagnosis)
        made["report"] = (places.report, page)
    if places.save is not None:
        forecaster.save(places.save)
    for path, content in made.values():
        write_atomically(path, content)
    written = {name: path for name, (path, _) in made.items()}
    return written | ({"model": places.save} if places.save is not None else {})


def _say(options: Options, talk: Talk, forecaster: Any, table: Any, diagnosis: Any) -> None:
    from throughtime.forecasting.evaluation.forecast_columns import prefixes
    from throughtime.interfaces import console

    name, result, panel = forecaster.name, forecaster.backtest, forecaster.panel
    level = levels(options.level)
    talk.result(
        console.score_table(result, name, step_word(forecaster.panel)),
        f"{words.verdict(result.scores, name, result.n_windows)}\n",
        *(
            console.forecast_table(table, f"{of}{name}", level, of.removesuffix("-"))
            for of in prefixes(panel)
        ),
        _reach(forecaster),
        *_concerns(diagnosis),
    )


def _concerns(diagnosis: Any) -> list[str]:
    """Return what the doctor found that may stand in the way, with the first cure of each."""
    found = [each for each in diagnosis.findings if each.severity in ("serious", "warning")]
    return [
        " ".join([each.sentence, *(f"Try {cure}." for cure in each.cures[:1])]) for each in found
    ]


def say_origins(options: Options, talk: Talk, result: Any) -> None:
    """Say so where there are fewer rolling origins than were asked for."""
    if options.windows is not None and result.n_windows < options.windows:
        talk.status(
            f"note: the history allows {count(result.n_windows, 'rolling origin')}, "
            f"not {options.windows:,}"
        )


def _say_judges(talk: Talk, result: Any, panel: Any) -> None:
    """Say so where not all series judge the forecasts."""
    for note in result.panel.notes[len(panel.notes) :]:
        talk.status(f"note: {note}")


def _reach(forecaster: Any) -> str:
    season, context = forecaster.season_length, forecaster.context_length
    return words.reach(forecaster.reach, season, context, step_word(forecaster.panel))


def backtest(options: Options, out: str | None, talk: Talk) -> None:
    """Compare on the past alone."""
    check_places(options.sources, {"--out": out})
    reading, panel = read_panel(options, talk)
    forecaster = new_forecaster(options, options.windows, reading.roles)
    with talk.watching() as observer:
        forecaster.cross_validation(
            panel, options.windows or ORIGINS, level=levels(options.level), observers=[observer]
        )
    result = forecaster.backtest
    say_origins(options, talk, result)
    _say_judges(talk, result, panel)
    if forecaster.choice is not None:
        talk.status(f"architecture: {forecaster.choice.words}")
    if out is not None:
        write_atomically(out, file(result.table, out))

    from throughtime.interfaces import console

    name = forecaster.name
    verdict = words.verdict(result.scores, name, result.n_windows)
    talk.result(console.score_table(result, name, step_word(panel)), verdict)
    written = {} if out is None else {"backtest": out}
    summary = _summary(options, reading, panel, result, name) | _choice(forecaster)
    talk.machine(summary | {"files": written})
    talk.last(f"wrote the back-test to {out}" if out else "done")


def read_panel(
    options: Options, talk: Talk, sheet: Sheet | None = None, like: Any = None
) -> tuple[Reading, Any]:
    """Read the files, and say what was read; `like` is the panel that a model was fitted to."""
    from throughtime.interfaces import reading
    from throughtime.interfaces.console import facts_block

    sheet = reading.open_sheet(options) if sheet is None else sheet
    found, panel = reading.read(sheet, options, like)
    talk.status(facts_block(facts_of(found, panel), [*found.notes, *panel.notes]))
    return found, panel


def new_forecaster(
    options: Options, n_windows: int | None, roles: Mapping[str, Any] | None = None
) -> Any:
    """Return a forecaster as the options have it, with columns in these `roles`."""
    from throughtime.forecasting.forecaster import Forecaster

    return Forecaster(
        options.h,
        cell=cast(CellName, options.cell),
        context_length=options.context_length,
        season_length=options.season,
        freq=options.freq,
        n_windows=n_windows,
        seed=options.seed,
        **cast(Any, {**(roles or {}), **options.answer, **options.cures}),
    )


def check_whole(forecaster: Any) -> None:
    """Stop where Ctrl-C has broken off the final fit: a command that is stopped writes nothing."""
    if forecaster.history.reason == "interrupted":
        raise KeyboardInterrupt


def step_word(panel: Any) -> str:
    """Return the word for a time step."""
    first = panel.first
    return words.unit(panel.frequency.alias, int(first) if _is_number(first) else None)


def _is_number(stamp: Any) -> bool:
    return isinstance(stamp, int) or getattr(getattr(stamp, "dtype", None), "kind", "") == "i"


def facts_of(reading: Reading, panel: Any) -> dict[str, str]:
    """Say what was read."""
    from throughtime.forecasting.series.frequency import show

    lacking = panel.n_gaps + panel.n_missing
    return {
        "read": reading.source,
        "time": reading.time,
        "values": ", ".join(reading.targets),
        **({"series by": reading.id} if reading.id is not None and len(panel.ids) > 1 else {}),
        **covariates_of(panel),
        "series": f"{len(panel.ids):,}",
        "rows": f"{reading.rows:,}",
        "dates": f"{show(panel.first)} to {show(panel.last)}",
        "frequency": words.every(panel.frequency.alias, step_word(panel)),
        "missing": f"{lacking:,} of {panel.n_steps:,} values" if lacking else "nothing",
    }


def covariates_of(panel: Any) -> dict[str, str]:
    """Say what is read beside the values."""
    given = {
        "known ahead": panel.futr,
        "known up to the present": panel.hist,
        "of each series": panel.static.names,
    }
    return {word: ", ".join(names) for word, names in given.items() if names}


def model_facts(forecaster: Any, panel: Any) -> dict[str, str]:
    """Say what was chosen for the model."""
    from throughtime.interfaces.groups import COMBINED, each, parted

    step, settings = step_word(panel), forecaster.settings
    groups = parted(settings)[1]
    *others, look_back = each(groups, "context_length", forecaster.context_length)
    nets = f"{len(groups)} groups of {settings['members']}"
    season, calendar = forecaster.season_length, settings["calendar"]
    choice = forecaster.choice
    return {
        "model": forecaster.name,
        "architecture": joined(each(groups, "architecture", settings["architecture"]))
        if choice is None
        else choice.words,
        **({"members": f"{nets}, {COMBINED[settings['combine']]}"} if groups else {}),
        "output": settings["output"],
        **({"calendar": ", ".join(calendar).replace("_", " ")} if calendar else {}),
        "season": count(season, step) if season > 1 else "none",
        "look-back": joined([*map(str, others), count(look_back, step)]),
        "scale": forecaster.scaling_words,
        **({"beside it": forecaster.beside_words} if forecaster.beside_words else {}),
    }


def _forecast_summary(
    options: Options,
    reading: Reading,
    panel: Any,
    forecaster: Any,
    table: Any,
    written: dict[str, str],
) -> dict[str, Any]:
    from throughtime.interfaces.groups import parted

    reach, groups = forecaster.reach, parted(forecaster.settings)[1]
    return _summary(options, reading, panel, forecaster.backtest, forecaster.name) | {
        "level": levels(options.level),
        "season_length": forecaster.season_length,
        "context_length": forecaster.context_length,
        **{name: forecaster.settings[name] for name in ("architecture", "output", "calendar")},
        "scale": forecaster.scaling_words,
        "beside": forecaster.beside_words,
        **({"groups": groups} if groups else {}),
        **_choice(forecaster),
        "reach": {
            "half_life": reach.half_life,
            "memory": reach.memory,
            "sentence": _reach(forecaster),
        },
        "forecast": table.to_pylist(),
        "files": written,
    }


def _choice(forecaster: Any) -> dict[str, Any]:
    """Return the architectures that were tried, where one was chosen."""
    choice = forecaster.choice
    return {} if choice is None else {"choice": choice.to_dict()}


def _summary(
    options: Options, reading: Reading, panel: Any, result: Any, name: str
) -> dict[str, Any]:
    return source_facts(options, reading, panel, name) | {
        "origins": result.n_windows,
        "verdict": words.verdict(result.scores, name, result.n_windows),
        "scores": [
            {
                "model": score.model,
                "mae": score.mae,
                "mase": score.mase,
                "smape": score.smape,
                "coverage": {f"{level:g}": value for level, value in score.coverage.items()},
            }
            for score in result.scores
        ],
    }


def source_facts(options: Options, reading: Reading, panel: Any, name: str) -> dict[str, Any]:
    """Return what every command says to a machine about the data and the model."""
    from throughtime.forecasting.series.frequency import show

    return {
        "throughtime": throughtime.__version__,
        "source": reading.source,
        "columns": {
            "time": reading.time,
            "target": reading.targets[0] if len(reading.targets) == 1 else reading.targets,
            "id": reading.id,
            "futr": reading.futr,
            "hist": reading.hist,
            "static": panel.static.names,
        },
        "rows": reading.rows,
        "series": len(panel.ids),
        "first": show(panel.first),
        "last": show(panel.last),
        "frequency": panel.frequency.alias,
        "gaps": panel.n_gaps,
        "missing_values": panel.n_missing,
        "notes": [*reading.notes, *panel.notes],
        "h": options.h,
        "seed": options.seed,
        "model": name,
    }


def _report(
    options: Options,
    forecaster: Any,
    table: Any,
    reading: Reading,
    facts: dict[str, str],
    diagnosis: Any,
) -> str:
    from throughtime.interfaces.page import render
    from throughtime.interfaces.report import report_data

    data = report_data(
        forecaster,
        table,
        levels(options.level),
        source=options.title,
        command=shlex.join(["throughtime", *sys.argv[1:]]),
        facts=facts,
        notes=reading.notes,
        diagnosis=diagnosis,
    )
    return render(data)


def file(table: Any, path: str) -> bytes:
    """Return a table as the kind of file that its name says: Parquet, else CSV."""
    if not path.lower().endswith((".parquet", ".pq")):
        return _csv(table)
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _csv(table: Any) -> bytes:
    """Return a table as CSV; dates without a time of day are written without one."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as arrow_csv

    for k, name in enumerate(table.column_names):
        column = table[name]
        if pa.types.is_timestamp(column.type):
            days = column.cast(pa.date32(), safe=False)
            whole = pc.all(pc.equal(days.cast(column.type), column)).as_py()
            table = table.set_column(
                k, name, days if whole else column.cast(pa.timestamp("s"), safe=False)
            )
    texts = [c for c in table.columns if pa.types.is_string(c.type)]
    special = any(pc.any(pc.match_substring_regex(c, r'[",\r\n]')).as_py() for c in texts)
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(table.column_names)
    sink = pa.BufferOutputStream()
    options = arrow_csv.WriteOptions(
        include_header=False, quoting_style="needed" if special else "none"
    )
    arrow_csv.write_csv(table, sink, options)
    return header.getvalue().encode() + bytes(sink.getvalue().to_pybytes())
