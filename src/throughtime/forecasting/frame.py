"""From a table of series to a `Panel`, with every cell that does not fit named by its row.

Tables are long: columns `unique_id`, `ds`, `y`, in pandas, polars or pyarrow. A date without a row
and a row without a value both become NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from throughtime._errors import DataError
from throughtime.forecasting.columns import DateKind, RowName, dates, labels, numbers, series
from throughtime.forecasting.frequency import Frequency, Stamps, show
from throughtime.forecasting.panel import Floats, Ints, Panel

__all__ = ["Panel", "read_frame"]

_MOST_GAPS = 1000  # a row: beyond it one date is a slip, and the grid would fill the memory
_REMEDY = "rename its columns to 'ds' and 'y' (and 'unique_id' where there are several series)"


def read_frame(
    data: Any,
    freq: str | int | Frequency | None = None,
    *,
    row_word: str = "row",
    first_row: int = 0,
) -> Panel:
    """Return the series in `data` on their regular grid.

    `data` is a long table with columns `unique_id` (where there are several series), `ds` and `y`;
    or one series: a pandas or polars Series, a list, a numpy or pyarrow array (dates from a
    pandas DatetimeIndex or PeriodIndex, else positions 0, 1, 2, ...). `ds` holds dates, ISO text
    or integers. `freq` is the step between dates, found from them where None. Messages call row i
    of the table `{row_word} {i + first_row}`.

    Raises `DataError` naming row and column where a cell does not fit, and both steps where `freq`
    is so much shorter than the dates' own that most of the grid would be gaps.

    >>> import pyarrow as pa
    >>> panel = read_frame(pa.table({"ds": ["1949-01", "1949-04", "1949-02"], "y": [1, 4, 2]}))
    >>> panel.frequency.alias, panel.row(0), panel.notes
    ('MS', array([ 1.,  2., nan,  4.]), ('rows sorted by date', '1 missing date filled as gap'))
    """
    if isinstance(data, Panel):
        return data
    table = _table(data)
    rows, kind = _rows(table, lambda i: f"{row_word} {i + first_row}")
    others = [repr(name) for name in table.columns if name not in ("unique_id", "ds", "y")]
    notes = [f"ignored: {', '.join(others)}"] if others else []
    if not rows.is_sorted:
        rows = rows.sorted()
        notes.append("rows sorted by date")
    rows.check()

    frequency = Frequency.infer(rows.ds, rows.offsets) if freq is None else Frequency.parse(freq)
    panel = _on_grid(rows, frequency)
    if freq is not None and panel.n_gaps > panel.n_steps / 2:
        _refuse_finer(frequency, rows, panel)
    notes += _counted(panel.n_gaps, "missing date filled as gap", "missing dates filled as gaps")
    notes += _counted(panel.n_missing, "empty value", "empty values")
    backend = table.implementation.name.lower()
    return replace(panel, notes=tuple(notes), backend=backend, dates=kind)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a table, those of a series together: its number, date, value and row number."""

    ids: tuple[Any, ...]
    codes: Ints
    ds: Stamps
    y: Floats
    number: Ints
    name: RowName

    def _at(self, order: Ints) -> _Rows:
        return replace(
            self,
            codes=self.codes[order],
            ds=self.ds[order],
            y=self.y[order],
            number=self.number[order],
        )

    def grouped(self) -> _Rows:
        return self._at(np.argsort(self.codes, kind="stable"))

    def sorted(self) -> _Rows:
        return self._at(np.lexsort((self.ds, self.codes)))

    @property
    def offsets(self) -> Ints:
        return np.concatenate([[0], np.cumsum(np.bincount(self.codes))])

    @property
    def _same_series(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.codes[1:] == self.codes[:-1])

    @property
    def is_sorted(self) -> bool:
        return not (self._same_series & (self.ds[1:] < self.ds[:-1])).any()

    def check(self) -> None:
        """Refuse two rows for one date, and a series without a value."""
        twice = np.flatnonzero(self._same_series & (self.ds[1:] == self.ds[:-1]))
        if len(twice):
            i, both = twice[0], [self.name(int(n)) for n in self.number[twice[0] : twice[0] + 2]]
            raise DataError(
                "one row a date in each series",
                f"{show(self.ds[i])} in both {both[0]} and {both[1]} "
                f"of series {self.ids[self.codes[i]]!r}",
                "remove one of them, or name several series in a column 'unique_id'",
            )
        empty = np.flatnonzero(np.bincount(self.codes, weights=~np.isnan(self.y)) == 0)
        if len(empty):
            names = ", ".join(repr(self.ids[i]) for i in empty[:3])
            names += ", ..." if len(empty) > 3 else ""
            raise DataError("a value in every series", f"none in {names}", "leave these series out")

    def positions(self, frequency: Frequency) -> Ints:
        """Return each row's position on the grid that begins with the first date of its series."""
        starts = self.ds[self.offsets[:-1]][self.codes]
        k, on_grid = frequency.locate(starts, self.ds)
        if not on_grid.all():
            i = int(np.argmin(on_grid))
            where = f" in {self.name(int(self.number[i]))} of series {self.ids[self.codes[i]]!r}"
            raise frequency.off_grid(starts[i], self.ds[i], where)
        if k[self.offsets[1:] - 1].sum() > _MOST_GAPS * len(k) + 100_000:
            i = int(np.argmax(np.diff(k) * self._same_series))
            raise DataError(
                f"dates near each other, every {frequency.alias}",
                f"{k[i + 1] - k[i]} steps between {show(self.ds[i])} and {show(self.ds[i + 1])} "
                f"in {self.name(int(self.number[i + 1]))}",
                "correct that date, or pass a longer freq=",
            )
        return k


def _rows(table: nw.DataFrame[Any], row: RowName) -> tuple[_Rows, DateKind]:
    names = table.columns
    if "ds" not in names or "y" not in names:
        found = ", ".join(map(repr, names)) or "no columns"
        raise DataError("a table with columns 'ds' and 'y'", found, _REMEDY)
    if len(table) == 0:
        raise DataError("a table with rows", "none", "pass at least a few dates with values")
    y = numbers(table["y"], row)
    ds, kind = dates(table["ds"], row)
    codes, ids = np.zeros(len(y), dtype=np.int64), ("series",)
    if "unique_id" in names:
        codes, ids = labels(table["unique_id"], row)
    return _Rows(ids, codes, ds, y, np.arange(len(y)), row).grouped(), kind


def _on_grid(rows: _Rows, frequency: Frequency) -> Panel:
    first, last = rows.offsets[:-1], rows.offsets[1:] - 1
    k = rows.positions(frequency)
    offsets = np.concatenate([[0], np.cumsum(k[last] + 1)])
    y = np.full(offsets[-1], np.nan)
    y[offsets[rows.codes] + k] = rows.y
    n_gaps, n_missing = len(y) - len(k), int(np.isnan(rows.y).sum())
    late = _unobserved_before(y, offsets)
    return Panel(
        rows.ids,
        y[None],
        offsets[:-1] + late,
        np.diff(offsets) - late,
        np.asarray(frequency.at(rows.ds[first], late)),
        frequency,
        n_gaps=n_gaps,
        n_missing=n_missing,
    )


def _unobserved_before(y: Floats, offsets: Ints) -> Ints:
    """Return how many steps of each series come before its first value."""
    place = np.flatnonzero(~np.isnan(y))
    return np.asarray(place[np.searchsorted(place, offsets[:-1])] - offsets[:-1])


def _refuse_finer(frequency: Frequency, rows: _Rows, panel: Panel) -> None:
    """Refuse a stated frequency that makes a grid of gaps of dates that lie on a longer step."""
    try:
        own = Frequency.infer(rows.ds, rows.offsets)
    except DataError:  # dates at no step of their own, which the stated one puts in order
        return
    if own != frequency:
        raise DataError(
            f"dates every {frequency.alias}, as freq={frequency.alias!r} says",
            f"dates every {own.alias}, so that {panel.n_gaps} of {panel.n_steps} steps are gaps",
            f"pass freq={own.alias!r}, or no freq",
        )


def _counted(n: int, one: str, many: str) -> list[str]:
    return [f"{n} {one if n == 1 else many}"] if n else []


def _table(data: Any) -> nw.DataFrame[Any]:
    """Return any accepted input as a narwhals table with the columns it has."""
    if nw.dependencies.is_pandas_series(data):
        return _pandas_series(data)
    if isinstance(data, (list, tuple, np.ndarray, pa.Array)):
        data = _one_dimension(data)
    if isinstance(data, pa.ChunkedArray) or nw.dependencies.is_polars_series(data):
        backend: Any = nw.from_native(data, series_only=True).implementation
        positions = series(np.arange(len(data)), backend).to_native()
        return nw.from_dict({"ds": positions, "y": data}, backend=backend)
    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        lazy = hasattr(data, "collect")
        raise DataError(
            "a pandas, polars or pyarrow table, or one series of numbers",
            type(data).__name__,
            "call .collect() on it first"
            if lazy
            else "pass columns unique_id, ds, y in one of them",
        ) from None


def _one_dimension(data: Any) -> pa.ChunkedArray:
    values = data if isinstance(data, pa.Array) else np.asarray(data)
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise DataError(
            "an array of one dimension",
            f"shape {tuple(values.shape)}",
            "pass one series, or a table with columns unique_id, ds, y",
        )
    try:
        return pa.chunked_array([values])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError("numbers", str(error), "pass one series of numbers") from None


def _pandas_series(data: Any) -> nw.DataFrame[Any]:
    """Return a pandas Series as a table: dates from its index where that holds dates."""
    index = data.index
    if hasattr(index, "to_timestamp"):
        index = index.to_timestamp()
    dated = getattr(index.dtype, "kind", "") == "M"
    table = data.to_frame("y").reset_index(drop=True)
    table["ds"] = index if dated else np.arange(len(data))
    table["unique_id"] = "series" if data.name is None else str(data.name)
    return nw.from_native(table, eager_only=True)
