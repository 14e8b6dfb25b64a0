"""From a table of series to a `Panel`: all values one after the other on a regular grid.

Tables are long: columns `unique_id`, `ds`, `y`, in pandas, polars or pyarrow; what goes out is of
the kind that came in. A date without a row and a row without a value both become NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from throughtime._checks import positive_int
from throughtime._errors import DataError
from throughtime.forecasting.columns import DateKind, RowName, dates, labels, numbers, series
from throughtime.forecasting.frequency import Frequency, Stamps, show

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_REMEDY = "rename its columns to 'ds' and 'y' (and 'unique_id' where there are several series)"


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency, one after the other in one buffer.

    Series i is `y[offsets[i]:offsets[i + 1]]` (float64, NaN where nothing was observed), its first
    stamp is `starts[i]` (`int64` or `datetime64[us]`), its name `ids[i]`. `n_gaps` counts dates
    that had no row, `n_missing` rows that had no value; `notes` says in words what was done to the
    table on the way in. `backend` and `dates` are how it came, for `like`.

    >>> panel = read_frame([5.0, 11.0, 16.0])
    >>> panel.cut(1).series(0), panel.future(2)[1]
    (array([ 5., 11.]), array([3, 4]))
    """

    ids: tuple[Any, ...]
    y: Floats
    offsets: Ints
    starts: Stamps
    frequency: Frequency
    n_gaps: int = 0
    n_missing: int = 0
    notes: tuple[str, ...] = ()
    backend: str = "pyarrow"
    dates: DateKind = field(default_factory=DateKind)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Ints:
        """The number of steps in each series."""
        return np.diff(self.offsets)

    @property
    def first(self) -> Any:
        """The earliest stamp of any series."""
        return self.starts.min()

    @property
    def last(self) -> Any:
        """The latest stamp of any series."""
        return self.frequency.at(self.starts, self.lengths - 1).max()

    def series(self, i: int) -> Floats:
        """Return the values of series i, a view."""
        return self.y[self.offsets[i] : self.offsets[i + 1]]

    def ds(self, i: int) -> Stamps:
        """Return the stamps of series i."""
        return self.frequency.at(self.starts[i], np.arange(self.lengths[i]))

    def future(self, h: int) -> tuple[npt.NDArray[np.object_], Stamps]:
        """Return names and stamps, [S * h] each, of the `h` steps that follow every series."""
        k = self.lengths[:, None] + np.arange(positive_int("h", h))
        ds = self.frequency.at(self.starts[:, None], k).ravel()
        return np.repeat(np.array(self.ids, dtype=object), h), ds

    def cut(self, k: int) -> Panel:
        """Return the panel without the last `k` steps of every series.

        A series of which no observed value would stay is left out. Raises `DataError` if that is
        all of them.
        """
        lengths = np.maximum(self.lengths - positive_int("k", k, at_least=0), 0)
        before = np.concatenate([[0], np.cumsum(~np.isnan(self.y))])  # values observed up to here
        kept = np.flatnonzero(before[self.offsets[:-1] + lengths] > before[self.offsets[:-1]])
        if len(kept) == 0:
            raise DataError(
                f"a series with a value before its last {k} steps",
                f"at most {self.lengths.max()} steps",
                "ask for a shorter horizon or fewer windows",
            )
        offsets = np.concatenate([[0], np.cumsum(lengths[kept])])
        old = np.repeat(self.offsets[kept] - offsets[:-1], lengths[kept])
        return replace(
            self,
            ids=self.ids if len(kept) == len(self) else tuple(self.ids[i] for i in kept),
            y=self.y[old + np.arange(offsets[-1])],
            offsets=offsets,
            starts=self.starts[kept],
        )

    def like(self, columns: Mapping[str, Any]) -> Any:
        """Return columns as a table of the kind that came in.

        `ds` and `cutoff` hold stamps as this panel's, and go out as the dates came in.
        """
        stamps = ("ds", "cutoff")
        made = {
            name: (
                self.dates.restore(np.asarray(values), self.backend)
                if name in stamps
                else series(values, self.backend)
            ).to_native()
            for name, values in columns.items()
        }
        backend: Any = self.backend
        return nw.from_dict(made, backend=backend).to_native()


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

    Raises `DataError` naming row and column where a cell does not fit.

    >>> import pyarrow as pa
    >>> panel = read_frame(pa.table({"ds": ["1949-01", "1949-04", "1949-02"], "y": [1, 4, 2]}))
    >>> panel.frequency.alias, panel.y, panel.notes
    ('MS', array([ 1.,  2., nan,  4.]), ('rows sorted by date', '1 missing date filled as gap'))
    """
    if isinstance(data, Panel):
        return data

    def row(i: int) -> str:
        return f"{row_word} {i + first_row}"

    table = _table(data)
    names = table.columns
    lacking = [name for name in ("ds", "y") if name not in names]
    if lacking:
        found = ", ".join(map(repr, names)) or "no columns"
        raise DataError("a table with columns 'ds' and 'y'", found, _REMEDY)
    if len(table) == 0:
        raise DataError("a table with rows", "none", "pass at least a few dates with values")

    y = numbers(table["y"], row)
    ds, kind = dates(table["ds"], row)
    if "unique_id" in names:
        codes, ids = labels(table["unique_id"], row)
    else:
        codes, ids = np.zeros(len(y), dtype=np.int64), ("series",)
    notes = [f"column {name!r} ignored" for name in names if name not in ("unique_id", "ds", "y")]

    order = np.argsort(codes, kind="stable")
    if _falls(codes[order], ds[order]).any():
        order = np.lexsort((ds, codes))
        notes.append("rows sorted by date")
    y, ds, codes = y[order], ds[order], codes[order]
    _refuse_duplicates(ids, codes, ds, order, row)
    _refuse_empty_series(ids, codes, y)

    rows = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    frequency = Frequency.infer(ds, rows) if freq is None else Frequency.parse(freq)
    k = _positions(frequency, ids, codes, ds, rows, order, row)
    panel = _on_grid(ids, codes, k, y, ds[rows[:-1]], frequency, rows)
    notes += _counted(panel.n_gaps, "missing date filled as gap", "missing dates filled as gaps")
    notes += _counted(panel.n_missing, "empty value", "empty values")
    return replace(panel, notes=tuple(notes), backend=table.implementation.name.lower(), dates=kind)


def _table(data: Any) -> nw.DataFrame[Any]:
    """Return any accepted input as a narwhals table with the columns it has."""
    if nw.dependencies.is_pandas_series(data):
        return _pandas_series(data)
    if isinstance(data, (list, tuple, np.ndarray, pa.Array)):
        data = _one_dimension(data)
    if isinstance(data, pa.ChunkedArray) or nw.dependencies.is_polars_series(data):
        column = nw.from_native(data, series_only=True)
        ds = series(np.arange(len(column)), column.implementation.name.lower())
        return nw.from_dict({"ds": ds, "y": column}, backend=column.implementation)
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


def _falls(codes: Ints, ds: Stamps) -> npt.NDArray[np.bool_]:
    return np.asarray((ds[1:] < ds[:-1]) & (codes[1:] == codes[:-1]))


def _refuse_duplicates(
    ids: tuple[Any, ...], codes: Ints, ds: Stamps, order: Ints, row: RowName
) -> None:
    twice = np.flatnonzero((ds[1:] == ds[:-1]) & (codes[1:] == codes[:-1]))
    if len(twice):
        i = twice[0]
        raise DataError(
            "one row a date in each series",
            f"{show(ds[i])} in both {row(int(order[i]))} and {row(int(order[i + 1]))} "
            f"of series {ids[codes[i]]!r}",
            "remove one of them, or name several series in a column 'unique_id'",
        )


def _refuse_empty_series(ids: tuple[Any, ...], codes: Ints, y: Floats) -> None:
    empty = np.flatnonzero(np.bincount(codes, weights=~np.isnan(y)) == 0)
    if len(empty):
        names = ", ".join(repr(ids[i]) for i in empty[:3]) + (", ..." if len(empty) > 3 else "")
        raise DataError("a value in every series", f"none in {names}", "leave these series out")


def _positions(
    frequency: Frequency,
    ids: tuple[Any, ...],
    codes: Ints,
    ds: Stamps,
    rows: Ints,
    order: Ints,
    row: RowName,
) -> Ints:
    """Return each stamp's position on the grid of its own series."""
    starts = ds[rows[:-1]][codes]
    k, on_grid = frequency.locate(starts, ds)
    if not on_grid.all():
        i = int(np.argmin(on_grid))
        where = f" in {row(int(order[i]))} of series {ids[codes[i]]!r}"
        raise frequency.off_grid(starts[i], ds[i], where)
    if k[rows[1:] - 1].sum() > 1000 * len(ds) + 100_000:
        i = int(np.argmax(np.diff(k) * (np.diff(codes) == 0)))
        raise DataError(
            f"dates near each other, every {frequency.alias}",
            f"{k[i + 1] - k[i]} steps between {show(ds[i])} and {show(ds[i + 1])} "
            f"in {row(int(order[i + 1]))}",
            "correct that date, or pass a longer freq=",
        )
    return k


def _on_grid(
    ids: tuple[Any, ...],
    codes: Ints,
    k: Ints,
    values: Floats,
    starts: Stamps,
    frequency: Frequency,
    rows: Ints,
) -> Panel:
    offsets = np.concatenate([[0], np.cumsum(k[rows[1:] - 1] + 1)])
    y = np.full(offsets[-1], np.nan)
    y[offsets[codes] + k] = values
    n_missing = int(np.isnan(values).sum())
    return Panel(ids, y, offsets, starts, frequency, len(y) - len(values), n_missing)


def _counted(n: int, one: str, many: str) -> list[str]:
    return [f"{n} {one if n == 1 else many}"] if n else []
