"""`throughtime tune`: search for the settings that forecast a file best, and say LSTM or GRU."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import throughtime
from throughtime._checks import one_of, positive_int, real
from throughtime._files import write_atomically
from throughtime._types import CELLS
from throughtime._words import count
from throughtime.interfaces import tasks
from throughtime.interfaces.options import Options, check_places
from throughtime.interfaces.talk import Talk

if TYPE_CHECKING:
    from throughtime.interfaces.columns import Reading


def cells(text: str) -> list[str]:
    """Read `--cell`: cells parted by commas.

    >>> cells("gru, lstm")
    ['gru', 'lstm']
    """
    found = [part.strip() for part in text.split(",")]
    for name in found:
        one_of("--cell", name, CELLS)
    return list(dict.fromkeys(found))


def tune(
    options: Options,
    among: list[str],
    trials: int,
    timeout: float | None,
    storage: str | None,
    name: str,
    report: str | None,
    hint: str,
    talk: Talk,
) -> None:
    """Read, search, say, write; what was interrupted says what it has, and ends as interrupted."""
    positive_int("--trials", trials)
    if timeout is not None:
        real("--timeout", timeout, above=0)
    file = storage if storage is None or "://" not in storage else None
    check_places(options.sources, {"--storage": file, "--report": report})
    reading, panel = tasks.read_panel(options, talk)
    fixed = {"season_length": options.season, "freq": options.freq}
    from throughtime.forecasting.tuning.tune import tune as search
    from throughtime.interfaces.progress import Trials

    with talk.watching(most=1) as observer:
        tuning = search(
            panel,
            options.h,
            n_trials=trials,
            timeout=timeout,
            storage=storage,
            name=name,
            space={"cell": among},
            n_windows=options.windows or tasks.ORIGINS,
            seed=options.seed,
            observers=[observer, Trials(talk.status)],
            **{key: value for key, value in fixed.items() if value is not None},
            **reading.roles,
            **options.answer,
        )
    tasks.say_origins(options, talk, tuning)
    _say(options, tuning, reading, panel, report, hint, talk)
    if tuning.reason == "interrupted":
        raise KeyboardInterrupt


def code(tuning: Any) -> str:
    """Return the lines of Python that make a forecaster with the best settings."""
    settings = {"h": tuning.h, **tuning.fixed, **tuning.winner.settings}
    rate = settings.pop("learning_rate", None)
    given = [f"{name}={value!r}" for name, value in settings.items()]
    lines = ["import throughtime as tt"]
    if rate is not None:
        lines = [
            "from dataclasses import replace",
            *lines,
            "from throughtime.forecasting.settings.effort import TRAINING",
        ]
        given.append(f"training=replace(TRAINING, learning_rate={rate:g})")
    return "\n".join([*lines, f"forecaster = tt.Forecaster({', '.join(given)})"])


def _say(
    options: Options,
    tuning: Any,
    reading: Reading,
    panel: Any,
    report: str | None,
    hint: str,
    talk: Talk,
) -> None:
    plain, written = tuning.to_dict(), {}
    if report is not None:
        write_atomically(report, _page(options, plain, code(tuning), reading, panel))
        written["report"] = report
    talk.result(tuning.text, "", code(tuning))
    facts = tasks.source_facts(options, reading, panel, tuning.winner.cell)
    talk.machine(facts | {"tuning": plain, "files": written})
    if tuning.reason != "all trials done":
        talk.status(f"{tuning.reason} after {count(len(tuning.tried), 'trial')}")
    if hint:
        talk.status(hint)
    talk.last(f"wrote the report to {report}" if report is not None else "done")


def _page(
    options: Options, tuning: Mapping[str, Any], code: str, reading: Reading, panel: Any
) -> str:
    from throughtime.interfaces.tuning_page import Search, render_tuning

    return render_tuning(
        Search(
            source=options.title,
            tuning=tuning,
            facts=tasks.facts_of(reading, panel) | {"horizon": f"{options.h:,}"},
            version=throughtime.__version__,
            step=tasks.step_word(panel),
            code=code,
            command=shlex.join(["throughtime", *sys.argv[1:]]),
            notes=[*reading.notes, *panel.notes],
        )
    )
