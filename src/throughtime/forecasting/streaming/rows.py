"""New rows of a table of series, brought to their places after the end of each.

Row r of series i lies k_r = (ds[r] - starts[i]) / step steps after its first, and at or after the
end, k_r >= lengths[i]; dates between that have no row are gaps. Everything is checked before the
state moves on, so that rows that are refused leave it as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from throughtime._errors import DataError
from throughtime.forecasting.calibration.online import Coverage
from throughtime.forecasting.models.state import State
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.series.columns import LARGEST, dates, labels, numbers
from throughtime.forecasting.series.demands import not_counts
from throughtime.forecasting.series.frequency import show
from throughtime.forecasting.series.panel import Static
from throughtime.forecasting.series.tables import ONE_SERIES, as_table, need_columns
from throughtime.forecasting.streaming.learning import K1, Learner

Ints = npt.NDArray[np.int64]

STEPS = 256  # that are read together
_MOST_GAPS = 1000  # a row, beyond which a date is a slip
_REMEDY = "pass a table with the columns that were fitted, or a dict of such"


def update(state: State, coverage: Coverage, data: Any, learner: Learner | None = None) -> int:
    """Move state and coverage on by a table, a dict, or the next value(s) of the one series there is.

    Return the number of steps. Raises `DataError` naming series and date of a row that is late,
    comes twice or lies off the grid, and what does not fit in the table; the state is then as before.
    A `learner` updates the weights after every few steps.
    """
    if _is_number(data) or (isinstance(data, Mapping) and _is_number(data.get("y"))):
        at = _one_row(state, data)
        if at is not None:
            length, M = int(state.arrays["lengths"][at[0]]), len(state.like.targets)
            coverage.score_one(at[0], length, at[1][:M])
            state.step(*at)
            if learner is not None:
                learner.learn(state.panel)
            return 1
    rows = _rows(state, data)
    if rows.new:
        state.grow(rows.new, rows.starts, Static.none(len(rows.new)))
    return _move(state, coverage, rows, learner)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _one_row(state: State, data: Any) -> tuple[int, list[float]] | None:
    """Return series and values of a row that is the next of its series; None for any other."""
    row = data if isinstance(data, Mapping) else {"y": data}
    like = state.like
    if len(like.targets) > 1 and not isinstance(data, Mapping):
        return None
    i = state.place.get(row["unique_id"]) if "unique_id" in row else _only(state)
    if i is None:
        return None
    values = [row.get(name) for name in state.names]
    if not all(type(v) is float or _is_number(v) for v in values):
        return None
    y: list[float] = list(map(float, values))  # type: ignore[arg-type]
    if "ds" in row and not state.comes_next(i, row["ds"]):
        return None
    M = len(like.targets)
    if any(math.isnan(v) for v in y[:M]) or any(abs(v) > LARGEST for v in y if v == v):
        return None
    if min(y[:M]) < state.lowest or (state.design.counts and not_counts(np.array(y[:M])).any()):
        return None
    return i, y


def _only(state: State) -> int | None:
    return 0 if len(state) == 1 else None


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows by series and date: `series`, steps from the first `k`, and `values` [C, rows].

    Series from len(state) on are `new`, and begin at `starts`.
    """

    series: Ints
    k: Ints
    values: npt.NDArray[Any]
    new: list[Any]
    starts: npt.NDArray[Any]


def _rows(state: State, data: Any) -> _Rows:
    like = state.like
    table = as_table(_table(state, data))
    need_columns(table, ["ds", *state.names], "rows", _REMEDY)
    named = "unique_id" in table.columns
    if not named and len(state) > 1:
        raise DataError(
            "a column 'unique_id', as there are several series", "none", "say whose each row is"
        )

    def name(i: int) -> str:
        return f"row {i}"

    M = len(like.targets)
    values = np.stack(
        [numbers(table[c], name, booleans=j >= M) for j, c in enumerate(state.names)]
    ).astype(like.values.dtype, copy=False)
    ds, _ = dates(table["ds"], name, like.dates)
    codes, found = labels(table["unique_id"], name) if named else (np.zeros(len(ds), int), (0,))
    if state.design.counts:
        _counted(values[:M], ds)
    for transform in state.design.transforms:
        TRANSFORMS[transform].forward(values[:M])  # refuses what it is not for
    new = [each for each in found if each not in state.place] if named else []
    place = {each: len(state) + j for j, each in enumerate(new)} | state.place
    known = np.array([place[each] if named else 0 for each in found], dtype=np.int64)
    series = known[codes]
    order = np.lexsort((ds, series))
    series, ds, values = series[order], ds[order], values[:, order]
    if new:
        _may_begin(state, new)
        begun = _begun(series, values[:M], len(state))
        series, ds, values = series[begun], ds[begun], values[:, begun]
    first = np.searchsorted(series, np.arange(len(state), len(state) + len(new)))
    if new and (len(np.unique(series[series >= len(state)])) < len(new)):
        missing = next(each for each in new if place[each] not in series)
        raise DataError("a value in every new series", f"none in {missing!r}", "leave it out")
    starts = np.concatenate([state.arrays["starts"], ds[first].astype(like.starts.dtype)])
    if (ds.dtype.kind == "M") != (starts.dtype.kind == "M"):
        like.frequency.index(starts[:1], ds)  # raises what to say of integers and dates
    k, fits = like.frequency.locate(starts[series], ds)
    if not fits.all():
        r = int(np.argmin(fits))
        where = f" of series {_name(state, new, series[r])!r}"
        raise like.frequency.off_grid(starts[series[r]], ds[r], where)
    _check(state, new, series, k, ds)
    return _Rows(series, k, values, new, starts[len(state) :])


def _counted(y: npt.NDArray[Any], ds: Any) -> None:
    wrong = not_counts(y)
    if wrong.any():
        m, r = np.argwhere(wrong)[0]
        raise DataError(
            "counts (whole numbers, none below 0), as those that were fitted",
            f"{y[m, r]:g} on {show(ds[r])}",
            "mend the table",
        )


def _table(state: State, data: Any) -> Any:
    """Return rows as a table: a dict, or the next values of the one series there is."""
    if isinstance(data, Mapping):
        row = {key: value if _is_list(value) else [value] for key, value in data.items()}
        if isinstance(row.get("ds", [None])[0], date):
            row["ds"] = pa.array(row["ds"])
        if "ds" in row or len({*map(len, row.values())}) != 1:
            return pa.table(row)
        if "unique_id" not in row:
            return pa.table(row | {"ds": _next(state, 0, len(next(iter(row.values()))))})
        which = [state.place[n] for n in row["unique_id"] if n in state.place]
        if len(set(which)) < len(row["unique_id"]):
            return pa.table(row)  # which lacks dates, and is refused for that
        return pa.table(row | {"ds": np.concatenate([_next(state, i, 1) for i in which])})
    if _is_number(data):
        data = [data]
    if not isinstance(data, (list, tuple, np.ndarray)):
        return data
    if len(state) != 1 or len(state.names) != 1:
        raise DataError(
            f"a table with columns unique_id, ds, {', '.join(state.names)}",
            "numbers alone",
            "say whose they are and of when",
        )
    y = np.asarray(data, dtype=np.float64)
    return pa.table({"ds": _next(state, 0, len(y)), state.names[0]: y})


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, pa.Array, pa.ChunkedArray))


def _next(state: State, i: int, n: int) -> Any:
    """Return the next n dates of a series, as its table had them."""
    a = state.arrays
    stamps = state.like.frequency.at(a["starts"][i], a["lengths"][i] + np.arange(n))
    return state.like.dates.restore(stamps, "pyarrow").to_native()


def _may_begin(state: State, new: list[Any]) -> None:
    if state.static.names:
        raise DataError(
            f"rows of series that were fitted, as nothing is known of others' "
            f"{', '.join(state.static.names)}",
            f"a new series {new[0]!r}",
            "leave it out, or fit with it",
        )


def _begun(series: Ints, y: npt.NDArray[Any], S: int) -> npt.NDArray[np.bool_]:
    """Say which rows are not before the first value of a new series; rows are sorted."""
    observed = (~np.isnan(y)).any(axis=0)
    seen = np.cumsum(observed)
    before = seen - observed
    first = np.searchsorted(series, series)
    return np.asarray((series < S) | (seen > before[first]))


def _check(state: State, new: list[Any], series: Ints, k: Ints, ds: Any) -> None:
    lengths = np.concatenate([state.arrays["lengths"], np.zeros(len(new), dtype=np.int64)])
    late = np.flatnonzero(k < lengths[series])
    if len(late):
        r = late[0]
        i = series[r]
        last = state.like.frequency.at(state.arrays["starts"][i], lengths[i] - 1)
        raise DataError(
            f"rows after {show(last)}, the last date of series {_name(state, new, i)!r}",
            show(ds[r]),
            "leave out what was read before",
        )
    twice = np.flatnonzero((series[1:] == series[:-1]) & (k[1:] == k[:-1]))
    if len(twice):
        r = twice[0]
        found = f"two for {show(ds[r])} of series {_name(state, new, series[r])!r}"
        raise DataError("one row a date in each series", found, "remove one of them")
    ends = np.flatnonzero(np.append(series[1:] != series[:-1], True))
    steps = k[ends] + 1 - lengths[series[ends]]
    if len(k) and steps.sum() > _MOST_GAPS * len(k) + 100_000:
        r = ends[int(np.argmax(steps))]
        raise DataError(
            "dates near each other",
            f"{show(ds[r])}, {steps.max()} steps after the end of series "
            f"{_name(state, new, series[r])!r}",
            "correct that date",
        )


def _name(state: State, new: list[Any], i: Any) -> Any:
    names = [*state.ids, *new]
    return names[int(i)] if names else ONE_SERIES


def _move(state: State, coverage: Coverage, rows: _Rows, learner: Learner | None) -> int:
    """Move the state on by rows, some steps at a time."""
    index, begins = np.unique(rows.series, return_index=True)
    if not len(index):
        return 0
    ends = np.append(begins[1:], len(rows.series)) - 1
    lengths = state.arrays["lengths"][index]
    counts = rows.k[ends] + 1 - lengths
    of = np.searchsorted(index, rows.series)
    ahead = rows.k - lengths[of]
    steps = STEPS if learner is None else K1
    for start in range(0, int(counts.max()), steps):
        going = np.flatnonzero(counts > start)
        taken = np.minimum(counts[going] - start, steps)
        values = np.full((len(going), len(rows.values), int(taken.max())), np.nan)
        these = np.flatnonzero((ahead >= start) & (ahead < start + steps))
        to = np.searchsorted(going, of[these])
        values[to, :, ahead[these] - start] = rows.values[:, these].T
        y = values[:, : len(state.like.targets)]
        coverage.score(index[going], state.arrays["lengths"][index[going]], y)
        state.move(index[going], values, taken)
        if learner is not None:
            learner.learn(state.panel)
    return int(counts.sum())
