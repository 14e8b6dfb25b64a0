"""`throughtime evaluate`: score the forecasts in a file, ours or another program's.

    FILE        forecasts, and the values that came unless `--actuals` has them
    --train     the past that the forecasts were made from, which MASE, RMSSE, OWA and MSIS are
                scaled by

Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import throughtime
from throughtime._checks import positive_int
from throughtime._errors import DataError, SettingError
from throughtime._files import write_atomically
from throughtime._words import count
from throughtime.interfaces import columns, files, reading, tasks
from throughtime.interfaces.forecasts import (
    Forecasts,
    as_in,
    check_alike,
    choose_forecasts,
    with_actuals,
)
from throughtime.interfaces.options import check_places, levels
from throughtime.interfaces.talk import Talk
from throughtime.interfaces.words import as_options

if TYPE_CHECKING:
    from throughtime.forecasting.series.panel import Panel
    from throughtime.interfaces.columns import Reading

_NAMES = ("time", "target", "id")


@dataclass(frozen=True)
class Scoring:
    """What is scored, and how, as the user gave it; None or empty where it is left to the program."""

    file: str
    actuals: str | None = None
    train: str | None = None
    time: str | None = None
    target: str | None = None
    id: str | None = None
    freq: str | None = None
    season: int | None = None
    by: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    level: str | None = None
    baseline: str = "SeasonalNaive"

    def __post_init__(self) -> None:
        if self.season is not None:
            positive_int("--season", self.season)
        if self.level is not None:
            levels(self.level)

    @property
    def sources(self) -> tuple[str | None, ...]:
        """Every file that is read."""
        return self.file, self.actuals, self.train


def evaluate(scoring: Scoring, out: str | None, talk: Talk) -> None:
    """Read, score, say, write."""
    check_places(scoring.sources, {"--out": out})
    reading.check_frequency(scoring.freq)
    forecasts, panel = _read(scoring)

    from throughtime.interfaces import console

    talk.status(console.facts_block(_facts(forecasts, panel), forecasts.notes))
    scores = _scores(scoring, forecasts, panel)
    if out is not None:
        write_atomically(out, tasks.file(scores, out))
    talk.result(*console.evaluation_tables(scores, forecasts.by))
    talk.machine(_summary(forecasts, scores, out))
    talk.last(f"wrote the scores to {out}" if out else "done")


def _read(scoring: Scoring) -> tuple[Forecasts, Panel | None]:
    """Return the forecasts with the values that came, and the past, if there is one."""
    sheets = {source: reading.cells_of(source) for source in scoring.sources if source is not None}
    for name in _NAMES:
        _need_named(name, getattr(scoring, name), sheets)
    forecasts = choose_forecasts(
        sheets[scoring.file],
        *(scoring.time, scoring.target, scoring.id),
        by=scoring.by,
        models=(*scoring.models, scoring.baseline) if scoring.models else (),
        needs_values=scoring.actuals is None,
    )
    if scoring.actuals is not None:
        forecasts = with_actuals(forecasts, _choose(sheets[scoring.actuals], scoring))
    if scoring.train is None:
        return forecasts, None
    return forecasts, _past(_choose(sheets[scoring.train], scoring), forecasts, scoring.freq)


def _need_named(name: str, told: str | None, sheets: dict[str, files.Sheet]) -> None:
    """Refuse a column that no file has; of several targets, their models' columns will do."""
    names = [column for sheet in sheets.values() for column in sheet.columns]
    of_target = any(column.startswith(f"{told}-") for column in names)
    if told is None or told in names or (name == "target" and of_target):
        return
    sources = " or ".join(dict.fromkeys(sheet.source for sheet in sheets.values()))
    raise DataError(f"--{name} to name a column of {sources}", repr(told), "name one that is there")


def _choose(sheet: files.Sheet, scoring: Scoring) -> Reading:
    told = {name: getattr(scoring, name) for name in _NAMES}
    return columns.choose(sheet, **{k: v if v in sheet.columns else None for k, v in told.items()})


def _past(past: Reading, forecasts: Forecasts, freq: str | None) -> Panel:
    from throughtime.forecasting.series.frame import read_frame

    check_alike(forecasts, past)
    table = as_in(forecasts, past)
    return reading.told(lambda: read_frame(table, freq, row_word=reading.ROW), place=past.place)


def _scores(scoring: Scoring, forecasts: Forecasts, panel: Panel | None) -> Any:
    from throughtime.forecasting.evaluation.scores import evaluate

    with _in_words_of_options(scoring, forecasts.place):
        return evaluate(
            forecasts.table,
            panel,
            metrics=scoring.metrics or None,
            by=forecasts.by,
            models=scoring.models or None,
            level=None if scoring.level is None else levels(scoring.level),
            season_length=scoring.season,
            baseline=scoring.baseline,
            freq=scoring.freq,
        )


@contextmanager
def _in_words_of_options(scoring: Scoring, place: Callable[[int], str]) -> Iterator[None]:
    """Tell an error of `tt.evaluate` with files and options in the place of arguments."""

    def worded(text: str) -> str:
        text = re.sub(r"\brow (\d+)", lambda match: place(int(match[1])), text)
        text = re.sub(r"^(by|metrics|models|baseline) among\b", r"--\1 among", text)
        text = re.sub(r"\bmodels=", "--models", text)
        text = re.sub(r"\btrain= with .*", "a file of it with --train", text)
        text = re.sub(r"\b(in|and) train\b", lambda match: f"{match[1]} {scoring.train}", text)
        return as_options(text.replace("with level=[80]", "with --level 80"))

    try:
        yield
    except (DataError, SettingError) as error:
        raise type(error)(*map(worded, (error.expected, error.found, error.remedy))) from None


def _facts(forecasts: Forecasts, panel: Panel | None) -> dict[str, str]:
    import pyarrow.compute as pc

    from throughtime.interfaces.console import date_texts

    table = forecasts.table
    first, last = date_texts(list(pc.min_max(table["ds"]).as_py().values()))
    return {
        "read": forecasts.source,
        "time": forecasts.time,
        "values": str(forecasts.target),
        "series": f"{_distinct(table, 'unique_id'):,}",
        "origins": f"{_distinct(table, 'cutoff'):,}",
        "rows": f"{table.num_rows:,}",
        "dates": f"{first} to {last}",
        **({} if panel is None else {"past": count(panel.n_steps, "value")}),
    }


def _distinct(table: Any, name: str) -> int:
    return len(table[name].unique()) if name in table.column_names else 1


def _summary(forecasts: Forecasts, scores: Any, out: str | None) -> dict[str, Any]:
    return {
        "throughtime": throughtime.__version__,
        "source": forecasts.source,
        "columns": {"time": forecasts.time, "target": forecasts.target, "id": forecasts.id},
        "rows": forecasts.table.num_rows,
        "series": _distinct(forecasts.table, "unique_id"),
        "origins": _distinct(forecasts.table, "cutoff"),
        "notes": list(forecasts.notes),
        "by": list(forecasts.by),
        "scores": scores.to_pylist(),
        "files": {} if out is None else {"scores": out},
    }
