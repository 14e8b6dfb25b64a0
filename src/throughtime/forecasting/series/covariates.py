"""Covariates known ahead: the h steps after every series, from a table that a user fills in.

    ds[i, j] = starts[i] + (lengths[i] + j) steps,   j = 0 ... h - 1

are the dates that a forecast of `h` steps needs, for every column of `panel.futr`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError, SettingError
from throughtime.forecasting.series.columns import RowName, dates, labels, numbers
from throughtime.forecasting.series.frequency import show
from throughtime.forecasting.series.panel import Floats, Ints, Panel
from throughtime.forecasting.series.tables import as_table, listed, need_columns

_CALL = "predict(futr_df=...)"


def future_frame(panel: Panel, h: int) -> Any:
    """Return the table of `unique_id` and `ds` of the `h` steps after every series, to be filled.

    It is of the kind that the panel came in.

    >>> from throughtime.forecasting import read_frame
    >>> future_frame(read_frame([5.0, 11.0, 16.0]), 2).to_pylist()
    [{'unique_id': 'series', 'ds': 3}, {'unique_id': 'series', 'ds': 4}]
    """
    return panel.like(dict(zip(("unique_id", "ds"), panel.future(h), strict=True)))


def need_future(panel: Panel, h: int) -> None:
    """Refuse a panel that lacks a value known ahead in the `h` steps after one of its series.

    Raises `DataError` naming the columns, the series and the date.
    """
    if not panel.futr:
        return
    positive_int("h", h)
    k = np.arange(h)
    beyond = k >= panel.room[:, None]
    place = np.where(beyond, 0, (panel.begins + panel.lengths)[:, None] + k)
    missing = np.isnan(panel.values[-len(panel.futr) :, place]) | beyond  # [channels, S, h]
    if not missing.any():
        return
    i, j = divmod(int(np.argmax(missing.any(axis=0))), h)
    names = [name for name, gone in zip(panel.futr, missing[:, i, j], strict=True) if gone]
    last = panel.frequency.at(panel.starts[i], panel.lengths[i] + h - 1)
    raise DataError(
        f"{listed(names)} for {_date(panel, i, j)} of series {panel.ids[i]!r}, as a forecast of {h} "
        f"steps up to {show(last)} needs",
        "no value",
        f"call {_CALL} with a table of unique_id, ds, {', '.join(panel.futr)} of these dates",
    )


def with_future(
    panel: Panel,
    futr_df: Any,
    h: int,
    *,
    keep: int | None = None,
    row_word: str = "row",
    first_row: int = 0,
) -> Panel:
    """Return the panel with what `futr_df` says of the `h` steps after each series.

    `futr_df` is a table with columns `unique_id` (where there are several series), `ds` and every
    column of `panel.futr`; rows of other dates and other series are left out. Of what went before,
    the last `keep` steps of each series stay, all where None: the buffer is a new one, and a
    series in it may begin with a step that has no value.

    Raises `DataError` naming the series and the date that has no row or two, or a row between two
    dates, and the row whose cell is empty or no number.

    >>> import pyarrow as pa
    >>> from throughtime.forecasting import read_frame
    >>> panel = read_frame(pa.table({"ds": [1, 2, 3], "y": [5, 6, 7], "sale": [0, 1, 0]}), futr="sale")
    >>> ahead = with_future(panel, pa.table({"ds": [5, 4], "sale": [1, 0]}), h=2, keep=2)
    >>> ahead.values.tolist(), ahead.lengths, ahead.room
    ([[6.0, 7.0, nan, nan], [1.0, 0.0, 0.0, 1.0]], array([2]), array([2]))
    """
    if not panel.futr:
        remedy = "leave it out, or name its columns in futr= when fitting"
        raise SettingError("no futr_df, as no column is known ahead", "one", remedy)
    positive_int("h", h)
    table = as_table(futr_df)
    names = ["ds", *panel.futr]
    names = ["unique_id", *names] if len(panel.ids) > 1 else names
    need_columns(table, names, "futr_df", "pass a table with these columns")

    def row(i: int) -> str:
        return f"{row_word} {i + first_row} of futr_df"

    columns = [numbers(table[name], row, booleans=True) for name in panel.futr]
    ds, _ = dates(table["ds"], row, panel.dates)
    series = np.zeros(len(ds), dtype=np.int64)
    if "unique_id" in table.columns:
        codes, found = labels(table["unique_id"], row)
        place = {name: i for i, name in enumerate(panel.ids)}
        series = np.array([place.get(name, -1) for name in found])[codes]
    source = _rows_ahead(panel, series, ds, h, row)
    ahead = [column[source] for column in columns]
    for name, column in zip(panel.futr, ahead, strict=True):
        if np.isnan(column).any():
            i, j = np.argwhere(np.isnan(column))[0]
            raise DataError(
                f"{name} for {_date(panel, i, j)} of series {panel.ids[i]!r}",
                f"an empty cell in {row(int(source[i, j]))}",
                "fill it in",
            )
    return _joined(panel, ahead, h, keep)


def _rows_ahead(panel: Panel, series: Ints, ds: npt.NDArray[Any], h: int, row: RowName) -> Ints:
    """Return the number of the row [S, h] of each step ahead."""
    frequency, S = panel.frequency, len(panel.ids)
    end = frequency.at(panel.starts, panel.lengths - 1)
    last = frequency.at(panel.starts, panel.lengths + h - 1)
    if (ds.dtype.kind == "M") != (end.dtype.kind == "M"):
        frequency.index(panel.starts[:1], ds)  # raises what to say of integers and dates
    wanted = np.flatnonzero((series >= 0) & (ds > end[series]) & (ds <= last[series]))
    which = series[wanted]
    k, on_grid = frequency.locate(panel.starts[which], ds[wanted])
    if not on_grid.all():
        r = int(np.argmin(on_grid))
        where = f" in {row(int(wanted[r]))} for series {panel.ids[which[r]]!r}"
        raise frequency.off_grid(panel.starts[which[r]], ds[wanted[r]], where)
    cell = which * h + k - panel.lengths[which]
    source = np.full(S * h, -1)
    source[cell[::-1]] = wanted[::-1]  # the first of two rows stays
    twice = np.flatnonzero(source[cell] != wanted)
    if len(twice):
        r = twice[0]
        both = f"both {row(int(source[cell[r]]))} and {row(int(wanted[r]))}"
        found = f"{show(ds[wanted[r]])} in {both}, series {panel.ids[which[r]]!r}"
        raise DataError("one row a date in each series", found, "remove one of them")
    if (source < 0).any():
        i, j = divmod(int(np.argmax(source < 0)), h)
        raise DataError(
            f"{listed(panel.futr)} for {_date(panel, i, j)} of series {panel.ids[i]!r}",
            "no row in futr_df",
            f"add the rows of all {h} steps after each series; future_frame lists them",
        )
    return source.reshape(S, h)


def _joined(panel: Panel, ahead: list[Floats], h: int, keep: int | None) -> Panel:
    """Return the last `keep` steps of each series with the `h` ahead after them, in a new buffer."""
    kept = panel.lengths if keep is None else np.minimum(panel.lengths, positive_int("keep", keep))
    begins = np.cumsum(kept + h) - (kept + h)
    values = np.full((len(panel.values), int((kept + h).sum())), np.nan, panel.values.dtype)
    k = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
    to = np.repeat(begins, kept) + k
    values[:, to] = panel.values[:, np.repeat(panel.begins + panel.lengths - kept, kept) + k]
    cells = (begins + kept)[:, None] + np.arange(h)
    for c, column in enumerate(ahead, start=len(values) - len(ahead)):
        values[c, cells] = column
    return replace(
        panel,
        values=values,
        begins=begins,
        lengths=kept,
        starts=np.asarray(panel.frequency.at(panel.starts, panel.lengths - kept)),
        room=np.full(len(kept), h),
    )


def _date(panel: Panel, i: int, j: int) -> str:
    """Return the date of step j after the end of series i, as a reader writes it."""
    return show(panel.frequency.at(panel.starts[i], panel.lengths[i] + j))
