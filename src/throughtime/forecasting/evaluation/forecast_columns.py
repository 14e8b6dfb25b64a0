"""What the columns of a table of forecasts are, by their names.

    LSTM                            a point forecast
    LSTM-lo-80, LSTM-hi-80          its quantiles 0.1 and 0.9, the ends of its 80 % interval
    LSTM-q-0.1, LSTM-median         its quantiles 0.1 and 0.5

A level of L per cent lies between the quantiles (1 - L / 100) / 2 and (1 + L / 100) / 2, and two
quantiles q and 1 - q are an interval, whichever of these names they have.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw

from throughtime._checks import real
from throughtime._errors import DataError, SettingError
from throughtime.forecasting.series.columns import numbers
from throughtime.forecasting.series.panel import Floats, Panel

_END = re.compile(r"(.+)-(lo|hi|q)-(\d*\.?\d+)|(.+)-median")


@dataclass(frozen=True)
class ForecastColumns:
    """The models to score, the point forecasts of a table, and each model's columns by quantile."""

    models: tuple[str, ...]
    points: frozenset[str]
    quantiles: Mapping[str, Mapping[float, str]]

    @classmethod
    def of(
        cls,
        table: nw.DataFrame[Any],
        target: str,
        by: Sequence[str],
        models: str | Sequence[str] | None,
        level: float | Sequence[float] | None,
    ) -> ForecastColumns:
        """Read the names of a table's columns, those of `by` left out.

        Raises `DataError` where two stand for one quantile or none is a forecast, `SettingError`
        for a model or a level that is not there.
        """
        others = {"unique_id", "ds", "cutoff", "horizon", target, *by}
        found: dict[str, dict[float, str]] = {}
        points = set()
        for name in table.columns:
            if name in others:
                continue
            model, quantile = _named(name)
            known = found.setdefault(model, {})
            if quantile is None:
                points.add(name)
            elif known.setdefault(quantile, name) != name:
                raise DataError(
                    f"one column for the quantile {quantile:g} of {model!r}",
                    f"{known[quantile]!r} and {name!r}",
                    "leave one of them out",
                )
        if not found:
            raise DataError(
                "a column of forecasts, such as 'LSTM'",
                ", ".join(map(repr, table.columns)),
                "add the forecasts beside the values",
            )
        kept = tuple(found) if models is None else among("models", models, found)
        if not kept:
            raise SettingError("models to score", "none", f"choose among {', '.join(found)}")
        levels = None if level is None else _levels(level, [found[model] for model in kept])
        ends = None if levels is None else {q for lv in levels for q in _ends(lv)}
        quantiles = {
            model: {q: named[q] for q in sorted(named) if ends is None or q in ends}
            for model, named in found.items()
        }
        return cls(kept, frozenset(points), quantiles)

    @property
    def all_quantiles(self) -> list[float]:
        """The quantiles that some model has."""
        return sorted({q for model in self.models for q in self.quantiles[model]})

    @property
    def levels(self) -> list[float]:
        """The levels, in per cent, of which some model has both ends."""
        return sorted({lv for model in self.models for lv in intervals_of(self.quantiles[model])})

    def numbers(self, table: nw.DataFrame[Any], name: str) -> Floats:
        """Return a column of values or forecasts; `DataError` for text in it."""
        try:
            return numbers(table[name], row_name)
        except DataError as error:
            raise DataError(
                error.expected,
                error.found,
                f"{error.remedy}, or name the columns to score with models=",
            ) from None


def _named(name: str) -> tuple[str, float | None]:
    """Return the model that a column belongs to, and its quantile, None for the point forecast.

    >>> _named("LSTM"), _named("LSTM-hi-80"), _named("LSTM-q-0.25")
    (('LSTM', None), ('LSTM', 0.9), ('LSTM', 0.25))
    """
    parts = _END.fullmatch(name)
    if parts is None:
        return name, None
    model, end, number, with_median = parts.groups()
    if with_median:
        return with_median, 0.5
    if end == "q":
        if not 0 < float(number) < 1:
            raise DataError("a quantile between 0 and 1", f"a column {name!r}", "rename it")
        return model, round(float(number), 10)
    if not 0 < float(number) < 100:
        raise DataError("a level between 0 and 100", f"a column {name!r}", "rename it")
    return model, _ends(float(number))[end == "hi"]


def _ends(level: float) -> tuple[float, float]:
    """Return the two quantiles between which `level` per cent lie."""
    return round((100 - level) / 200, 10), round((100 + level) / 200, 10)


def intervals_of(quantiles: Iterable[float]) -> dict[float, tuple[float, float]]:
    """Return the levels in per cent of which both ends are there, with these."""
    there = set(quantiles)
    levels = [round(100 - 200 * q, 8) for q in sorted(there, reverse=True) if q < 0.5]
    return {level: _ends(level) for level in levels if _ends(level)[1] in there}


def _levels(
    level: float | Sequence[float], quantiles: Sequence[Mapping[float, str]]
) -> tuple[float, ...]:
    asked = tuple(level) if isinstance(level, Iterable) else (level,)
    there = sorted({each for model in quantiles for each in intervals_of(model)})
    for each in asked:
        if real("level", each, above=0, below=100) not in there:
            raise SettingError(
                f"a level that the table has ({', '.join(f'{lv:g}' for lv in there) or 'none'})",
                repr(each),
                f"add the columns MODEL-lo-{each:g} and MODEL-hi-{each:g}, or leave it out",
            )
    return asked


def among(name: str, given: str | Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return `given` as a tuple; refuse what is not known, with what is spelt like it."""
    names, known = ((given,) if isinstance(given, str) else tuple(given)), list(known)
    for each in names:
        if each not in known:
            close = difflib.get_close_matches(str(each).lower(), known, n=1) or (
                difflib.get_close_matches(str(each), known, n=1)
            )
            raise SettingError(
                f"{name} among {', '.join(known)}",
                repr(each),
                f"did you mean {close[0]!r}" if close else "choose among them",
            )
    return tuple(dict.fromkeys(names))


def row_name(i: int) -> str:
    """Return what messages call a row."""
    return f"row {i}"


def prefixes(panel: Panel) -> tuple[str, ...]:
    """Return what stands before the name of a model in the columns made for each target."""
    return ("",) if len(panel.targets) == 1 else tuple(f"{name}-" for name in panel.targets)
