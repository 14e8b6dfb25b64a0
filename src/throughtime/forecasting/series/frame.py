"""From a table of series to a `Panel`, with every cell that does not fit named by its row.

Tables are long: columns `unique_id`, `ds`, `y`, in pandas, polars or pyarrow. Row r of series i has
a place in the panel's buffer, its steps after the first date of its series,

    place[r] = offsets[i] + (ds[r] - starts[i]) / step

and every column goes there: a date without a row and a row without a value both become NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from throughtime._errors import DataError, SettingError
from throughtime.forecasting.series.columns import DateKind, RowName, dates, labels, numbers
from throughtime.forecasting.series.frequency import Frequency, Stamps, show
from throughtime.forecasting.series.panel import PIECE, Floats, Ints, Panel, Static
from throughtime.forecasting.series.statics import known_static, read_static
from throughtime.forecasting.series.tables import ONE_SERIES, as_table, listed, need_columns

__all__ = ["Panel", "read_frame"]

_MOST_GAPS = 1000  # a row: beyond it one date is a slip, and the grid would fill the memory
_NO_NUMBER = (
    "make it numbers, one column of 0 and 1 for each label, "
    "or give what does not change in time in static_df"
)


def read_frame(
    data: Any,
    freq: str | int | Frequency | None = None,
    *,
    target: str | Sequence[str] = "y",
    hist: str | Sequence[str] = (),
    futr: str | Sequence[str] = (),
    static_df: Any = None,
    like: Panel | None = None,
    row_word: str = "row",
    first_row: int = 0,
) -> Panel:
    """Return the series in `data` on their regular grid.

    `data` is a long table with columns `unique_id` (where there are several series), `ds` and `y`;
    or one series: a pandas or polars Series, a list, a numpy or pyarrow array (dates from a
    pandas DatetimeIndex or PeriodIndex, else positions 0, 1, 2, ...). `ds` holds dates, ISO text
    or integers. `freq` is the step between dates, found from them where None. `target` names the
    column of values, or several that are forecast together; `hist` the covariates that are known
    up to the present, `futr` those known ahead, all of them numbers or true and false. `static_df` has a
    column `unique_id` and what is known of each series and does not change, numbers and labels.
    `like` is a panel whose frequency, columns, time zone and labels this one takes over, and
    where there is no `static_df`, what was known of its series. Messages call row i of the
    table `{row_word} {i + first_row}`.

    Values, covariates and dates may be missing. A series begins with its first value. It ends with
    its last date; but with its last value where known covariates go on after it: rows of these and
    no value are its future (`room`).

    Raises `DataError` naming row and column where a cell does not fit, and both steps where `freq`
    is so much shorter than the dates' own that most of the grid would be gaps.

    >>> import pyarrow as pa
    >>> panel = read_frame(pa.table({"ds": ["1949-01", "1949-04", "1949-02"], "y": [1, 4, 2]}))
    >>> panel.frequency.alias, panel.row(0), panel.notes
    ('MS', array([ 1.,  2., nan,  4.]), ('rows sorted by date', '1 missing date filled as gap'))
    >>> table = pa.table({"ds": [1, 2, 3], "y": [5, 6, None], "promotion": [True, False, True]})
    >>> panel = read_frame(table, futr="promotion")
    >>> panel.row(0), panel.values[1], panel.room
    (array([5., 6.]), array([1., 0., 1.]), array([1]))
    """
    if isinstance(data, Panel):
        return data
    if like is not None:
        freq = like.frequency if freq is None else freq
        target, hist, futr = like.targets, like.hist, like.futr
    channels = _channels(target, hist, futr)
    table = as_table(data)
    wanted = ["ds", *channels.all]
    need_columns(table, wanted, "a table", _remedy(wanted))
    used = ("unique_id", "ds", *channels.all)
    others = [repr(name) for name in table.columns if name not in used]
    notes = [f"ignored: {', '.join(others)}"] if others else []

    def row(i: int) -> str:
        return f"{row_word} {i + first_row}"

    columns = [_channel(table[name], row, name in channels.targets) for name in channels.all]
    rows, kind = _rows(table, row, None if like is None else like.dates)
    if rows.was_sorted:
        notes.append("rows sorted by date")
    rows.check(columns[: len(channels.targets)])
    frequency = Frequency.infer(rows.ds, rows.offsets) if freq is None else Frequency.parse(freq)
    panel = _on_grid(rows, frequency, columns, channels)
    if freq is not None and panel.n_gaps > panel.lengths.sum() / 2:
        _refuse_finer(frequency, rows, panel)
    if static_df is not None and "unique_id" not in table.columns:
        raise DataError(
            "a table with a column 'unique_id', as static_df is about several series",
            "one series",
            "name the series in a column 'unique_id', or leave out static_df",
        )
    return replace(
        panel,
        static=_static(panel, static_df, like),
        notes=(*notes, *panel.notes),
        backend=table.implementation.name.lower(),
        dates=kind,
    )


def _static(panel: Panel, static_df: Any, like: Panel | None) -> Static:
    before = None if like is None else like.static
    if static_df is None:
        if like is None or not before or not before.names:
            return panel.static
        return known_static(before, like.ids, panel.ids)
    if before is not None and not before.names:
        raise DataError(
            "no static_df, as the panel before had none", "one", "leave it out, or fit with it"
        )
    return read_static(static_df, panel.ids, before)


def _channel(column: nw.Series[Any], row: RowName, is_target: bool) -> Floats:
    if is_target:
        return numbers(column, row)
    x = numbers(column, row, booleans=True, remedy=_NO_NUMBER)
    if np.isnan(x).all():
        raise DataError(f"values in column {column.name!r}", "none", "leave that column out")
    return x


@dataclass(frozen=True)
class _Channels:
    """The names of the columns that make the channels of a panel, in their order."""

    targets: tuple[str, ...]
    hist: tuple[str, ...]
    futr: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.targets, *self.hist, *self.futr)


def _remedy(wanted: Sequence[str]) -> str:
    several = "(and 'unique_id' where there are several series)"
    return f"rename its columns to {listed(map(repr, wanted))} {several}"


def _channels(*names: str | Sequence[str]) -> _Channels:
    targets, hist, futr = ((n,) if isinstance(n, str) else tuple(n) for n in names)
    channels = _Channels(targets, hist, futr)
    if not targets:
        raise SettingError(
            "target to name a column", "none", "pass target='y' or the column's name"
        )
    for i, name in enumerate(channels.all):
        if not isinstance(name, str):
            raise SettingError("names of columns", repr(name), "pass text")
        if name in ("unique_id", "ds") or name in channels.all[:i]:
            found = f"{name!r} for another use as well"
            raise SettingError(
                "each column to be one of target, hist and futr", found, "name it once"
            )
    return channels


@dataclass(eq=False)
class _Rows:
    """The rows of a table, those of a series together and by date.

    `order` gives each one's number in the table, None where it is the table's order;
    `was_sorted` says that dates had to be put in order.
    """

    ids: tuple[Any, ...]
    codes: npt.NDArray[np.int32]
    ds: Stamps
    order: Ints | None
    name: RowName
    was_sorted: bool = False
    offsets: Ints = field(init=False)

    def __post_init__(self) -> None:
        if (self.codes[1:] < self.codes[:-1]).any():
            self._arrange(np.argsort(self.codes, kind="stable"))
        if (self._same_series & (self.ds[1:] < self.ds[:-1])).any():
            self.was_sorted = True
            self._arrange(np.lexsort((self.ds, self.codes)))
        series = np.arange(len(self.ids) + 1, dtype=self.codes.dtype)
        self.offsets = np.searchsorted(self.codes, series)

    def _arrange(self, order: Ints) -> None:
        self.codes, self.ds = self.codes[order], self.ds[order]
        self.order = order if self.order is None else self.order[order]

    def arranged(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return column if self.order is None else column[self.order]

    def at(self, i: int) -> str:
        return self.name(int(i if self.order is None else self.order[i]))

    @property
    def _same_series(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.codes[1:] == self.codes[:-1])

    def check(self, targets: list[Floats]) -> None:
        """Refuse two rows for one date, and a series without a value."""
        twice = self._same_series & (self.ds[1:] == self.ds[:-1])
        if twice.any():
            i = int(np.argmax(twice))
            raise DataError(
                "one row a date in each series",
                f"{show(self.ds[i])} in both {self.at(i)} and {self.at(i + 1)} "
                f"of series {self.ids[self.codes[i]]!r}",
                "remove one of them, or name several series in a column 'unique_id'",
            )
        seen = np.zeros(len(self.ids), dtype=bool)
        for y in targets:
            seen[self.codes[self.arranged(~np.isnan(y))]] = True
        empty = np.flatnonzero(~seen)
        if len(empty):
            names = ", ".join(repr(self.ids[i]) for i in empty[:3])
            names += ", ..." if len(empty) > 3 else ""
            raise DataError("a value in every series", f"none in {names}", "leave these series out")

    def positions(self, frequency: Frequency) -> Ints:
        """Return each row's position on the grid that begins with the first date of its series."""
        first = self.ds[self.offsets[:-1]]
        k = np.empty(len(self.ds), dtype=np.int64)
        for begin in range(0, len(k), PIECE):
            piece = slice(begin, begin + PIECE)
            starts = first[self.codes[piece]]
            k[piece], on_grid = frequency.locate(starts, self.ds[piece])
            if not on_grid.all():
                i = int(np.argmin(on_grid))
                where = f" in {self.at(begin + i)} of series {self.ids[self.codes[begin + i]]!r}"
                raise frequency.off_grid(starts[i], self.ds[begin + i], where)
        if k[self.offsets[1:] - 1].astype(float).sum() > _MOST_GAPS * len(k) + 100_000:
            i = int(np.argmax(np.diff(k) * self._same_series))
            raise DataError(
                f"dates near each other, every {frequency.alias}",
                f"{k[i + 1] - k[i]} steps between {show(self.ds[i])} and {show(self.ds[i + 1])} "
                f"in {self.at(i + 1)}",
                "correct that date, or pass a longer freq=",
            )
        return k


def _rows(table: nw.DataFrame[Any], row: RowName, like: DateKind | None) -> tuple[_Rows, DateKind]:
    ds, kind = dates(table["ds"], row, like)
    codes, ids = np.zeros(len(ds), dtype=np.int32), (ONE_SERIES,)
    if "unique_id" in table.columns:
        codes, ids = labels(table["unique_id"], row)
    return _Rows(ids, codes, ds, None, row), kind


def _on_grid(
    rows: _Rows, frequency: Frequency, columns: list[Floats], channels: _Channels
) -> Panel:
    """Return the columns on the grid, without the steps before the first value of each series."""
    place, offsets = _places(rows, frequency)
    values = np.full((len(columns), offsets[-1]), np.nan, dtype=np.result_type(*columns))
    for c, column in enumerate(columns):
        values[c, place] = rows.arranged(column)
    M, H = len(channels.targets), len(channels.hist)
    first, last = _ends_of(values[:M], offsets)
    stop, room = np.diff(offsets), np.zeros(len(first), dtype=np.int64)
    ahead: Any = np.False_  # which rows are about the future
    if channels.futr:
        room = np.maximum(_ends_of(values[M + H :], offsets)[1] - last, 0)
        stop = np.where(room > 0, last + 1, stop)
    if room.any():
        ahead = place >= (offsets[:-1] + stop)[rows.codes]
    n_empty = [int((rows.arranged(np.isnan(column)) & ~ahead).sum()) for column in columns]
    n_ahead = int(ahead.sum())
    n_gaps, n_missing = int(stop.sum()) - (len(place) - n_ahead), sum(n_empty[:M])

    notes = _counted(n_gaps, "missing date filled as gap", "missing dates filled as gaps")
    notes += _counted(n_missing, "empty value", "empty values")
    for name, n in zip(channels.all[M:], n_empty[M:], strict=True):
        notes += _counted(n, f"empty value in {name!r}", f"empty values in {name!r}")
    one, many = "row after the last value", "rows after the last values"
    notes += _counted(n_ahead, f"{one} taken as known ahead", f"{many} taken as known ahead")
    return Panel(
        rows.ids,
        values,
        offsets[:-1] + first,
        stop - first,
        np.asarray(frequency.at(rows.ds[rows.offsets[:-1]], first)),
        frequency,
        room,
        channels.targets,
        channels.hist,
        channels.futr,
        n_gaps=n_gaps,
        n_missing=n_missing,
        notes=tuple(notes),
    )


def _places(rows: _Rows, frequency: Frequency) -> tuple[Ints, Ints]:
    """Return the place of each row in the buffer, and where each series begins and the last ends."""
    place = rows.positions(frequency)
    offsets = np.concatenate([[0], np.cumsum(place[rows.offsets[1:] - 1] + 1)])
    for begin in range(0, len(place), PIECE):
        piece = slice(begin, begin + PIECE)
        place[piece] += offsets[rows.codes[piece]]
    return place, offsets


def _ends_of(values: Floats, offsets: Ints) -> tuple[Ints, Ints]:
    """Return the first and the last step of each series at which any channel has a value.

    Where none has, the last is before the first. Some series has one.
    """
    observed = ~np.isnan(values[0])
    for channel in values[1:]:
        observed |= ~np.isnan(channel)
    if observed.all():
        return np.zeros(len(offsets) - 1, dtype=np.int64), np.diff(offsets) - 1
    place = np.flatnonzero(observed)
    bounds = np.searchsorted(place, offsets)
    first = place[np.minimum(bounds[:-1], len(place) - 1)] - offsets[:-1]
    last = place[bounds[1:] - 1] - offsets[:-1]
    return first, np.where(bounds[1:] > bounds[:-1], last, -1)


def _refuse_finer(frequency: Frequency, rows: _Rows, panel: Panel) -> None:
    """Refuse a stated frequency that makes a grid of gaps of dates that lie on a longer step."""
    try:
        own = Frequency.infer(rows.ds, rows.offsets)
    except DataError:  # dates at no step of their own, which the stated one puts in order
        return
    if own != frequency:
        raise DataError(
            f"dates every {frequency.alias}, as freq={frequency.alias!r} says",
            f"dates every {own.alias}, so that {panel.n_gaps} of {panel.lengths.sum()} steps "
            "are gaps",
            f"pass freq={own.alias!r}, or no freq",
        )


def _counted(n: int, one: str, many: str) -> list[str]:
    return [f"{n} {one if n == 1 else many}"] if n else []
