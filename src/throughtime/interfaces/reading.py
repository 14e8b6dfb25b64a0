"""The tables that a command is given, on their grid, with every mistake told as a place in a file.

    FILE      dates and values, covariates beside them        columns.choose      read_frame
    --static  a row a series                                  choose_static       read_static
    --future  what is known of the steps ahead                choose_future       with_future

A long Parquet file goes piece by piece into the panel (`forecasting/series/parquet.py`), where it is in
order. Nothing here needs torch: what is wrong with a file is said at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from throughtime._errors import DataError, SettingError
from throughtime.interfaces import columns, files
from throughtime.interfaces.options import Options
from throughtime.interfaces.words import as_options

if TYPE_CHECKING:
    from throughtime.forecasting.series.panel import Panel
    from throughtime.interfaces.columns import Reading

T = TypeVar("T")

CARRIED = ("sunspots",)
ROW = "\0"  # no column and no label has it in its name


def open_sheet(options: Options) -> files.Sheet:
    """Return the cells of the file that the options name, the first of a long Parquet file."""
    check_frequency(options.freq)
    return cells_of(options.file, files.begin)


def cells_of(source: str, read: Callable[[str], files.Sheet] = files.read) -> files.Sheet:
    """Return the cells of a file, or of a data set that comes along."""
    if source not in CARRIED or os.path.exists(source):
        return read(source)
    from throughtime import datasets

    table = getattr(datasets, source)()
    cells = {name: table[name].combine_chunks() for name in table.column_names}
    return files.Sheet(source, cells)


def read(sheet: files.Sheet, options: Options, like: Panel | None = None) -> tuple[Reading, Panel]:
    """Return the columns of the sheet and its series, with all that the options name beside them.

    `like` is the panel of a fitted model, whose columns these are.
    """
    from throughtime.forecasting.series.demands import checked_panel

    reading, panel = _in_pieces(sheet, options, like) or _at_once(sheet, options, like)
    panel = told(lambda: checked_panel(panel, options.h), place=reading.place)
    panel = _with_static(panel, reading, options, like)
    return reading, panel if options.future is None else _with_future(panel, reading, options)


def _at_once(sheet: files.Sheet, options: Options, like: Panel | None) -> tuple[Reading, Panel]:
    from throughtime.forecasting.series.frame import read_frame

    whole = sheet if sheet.first_of is None else files.read(options.file)
    reading = _choose(whole, options, like)
    table, roles = reading.table, reading.roles
    panel = told(
        lambda: read_frame(table, options.freq, row_word=ROW, **roles), place=reading.place
    )
    return reading, panel


def _in_pieces(
    sheet: files.Sheet, options: Options, like: Panel | None
) -> tuple[Reading, Panel] | None:
    """Return the series of a long Parquet file, or None where it has to be read at once.

    Its columns are found by its first rows. What they could not tell, and every mistake, is left to
    `_at_once`.
    """
    from throughtime.forecasting.series.columns import DateKind
    from throughtime.forecasting.series.parquet import read_in_pieces

    if sheet.first_of is None:
        return None
    try:
        reading = _choose(sheet, options, like)
    except DataError:
        return None
    if reading.hist or reading.futr or not _are_plain(sheet, reading):
        return None
    panel = read_in_pieces(
        *(options.file, options.freq),
        target=reading.targets,
        id_column=reading.id,
        time_column=reading.time,
    )
    if panel is None or (reading.id is not None and options.id is None and _in_turn(panel)):
        return None
    ids = reading.table["unique_id"].unique().to_pylist()
    kind = "int64" if panel.frequency.is_integer else "datetime64[us]"
    panel = replace(
        panel,
        ids=tuple(ids) if reading.id is None else tuple(map(str, panel.ids)),
        targets=reading.targets if len(reading.targets) > 1 else ("y",),
        dates=DateKind(kind),
    )
    return replace(reading, rows=sheet.first_of), panel


def _are_plain(sheet: files.Sheet, reading: Reading) -> bool:
    """Say whether cells are what they are: dates without a zone or whole numbers, and numbers."""
    import pyarrow as pa

    types, time = pa.types, sheet.columns[reading.time].type
    zoned = types.is_timestamp(time) and time.tz is not None
    dated = types.is_timestamp(time) or types.is_date(time)
    counted = types.is_integer(time) and types.is_integer(reading.table["ds"].type)
    return (
        (counted or (dated and not zoned))
        and (reading.id is None or _is_name(sheet.columns[reading.id].type))
        and all(
            types.is_integer(kind) or types.is_floating(kind)
            for kind in (sheet.columns[name].type for name in reading.targets)
        )
    )


def _is_name(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_integer(kind))


def _in_turn(panel: Panel) -> bool:
    """Say whether each series begins after all before it: its names may not be names of series."""
    import numpy as np

    last = panel.frequency.at(panel.starts, panel.lengths - 1)
    order = np.argsort(panel.starts)
    latest = np.maximum.accumulate(last[order])
    return bool((panel.starts[order][1:] > latest[:-1]).all()) and len(panel.ids) > 1


def _choose(sheet: files.Sheet, options: Options, like: Panel | None) -> Reading:
    target, hist, futr = options.target, options.hist, options.futr
    if like is not None:
        target = list(like.targets) if len(like.targets) > 1 else target
        hist, futr = list(like.hist), list(like.futr)
    return columns.choose(sheet, options.time, target, options.id, hist=hist, futr=futr)


def need_future(panel: Panel, h: int) -> None:
    """Refuse a panel without all that is known ahead of the steps to forecast."""
    from throughtime.forecasting.series import covariates

    try:
        covariates.need_future(panel, h)
    except DataError as error:
        remedy = "pass a table of these dates with --future, or add them as rows without a value"
        raise DataError(error.expected, error.found, remedy) from None


def check_frequency(freq: str | None) -> None:
    """Refuse a `--freq` that is none."""
    from throughtime.forecasting.series.frequency import Frequency

    if freq is None:
        return
    try:
        Frequency.parse(freq)
    except SettingError as error:
        raise SettingError(f"--{error.expected}", error.found, error.remedy) from None


def _with_static(panel: Panel, reading: Reading, options: Options, like: Panel | None) -> Panel:
    from throughtime.forecasting.series.statics import known_static, read_static

    fitted = None if like is None or not like.static.names else like.static
    if options.static is None:
        if fitted is None or like is None:
            return panel
        known = told(lambda: known_static(fitted, like.ids, panel.ids), static_df="--static FILE")
        return replace(panel, static=known)
    if reading.id is None:
        raise DataError(
            f"several series in {reading.source} with --static, which tells them apart",
            "one series",
            "name the column of their names with --id, or leave --static out",
        )
    sheet = files.read(options.static)
    table, place = columns.choose_static(sheet, reading.id)
    ids = panel.ids
    read = told(
        lambda: read_static(table, ids, fitted), "row", place, "static_df", static_df=sheet.source
    )
    return replace(panel, static=read)


def _with_future(panel: Panel, reading: Reading, options: Options) -> Panel:
    from throughtime.forecasting.series.covariates import with_future

    sheet = files.read(str(options.future))
    table, place = columns.choose_future(sheet, reading)
    return told(
        lambda: with_future(panel, table, options.h, row_word=ROW),
        *(ROW, place, "futr_df"),
        futr_df=sheet.source,
    )


def told(
    read: Callable[[], T],
    row_word: str = ROW,
    place: Callable[[int], str] = str,
    of: str = "",
    **names: str,
) -> T:
    """Return what `read` does, or its error with files and options in the place of arguments.

    Rows are called `row_word` and a number there, which may be followed by the argument they are `of`.
    """
    try:
        return read()
    except DataError as error:
        rows = re.compile(rf"{row_word} (\d+)" + (f" of {of}" if of else ""))

        def placed(text: str) -> str:
            text = rows.sub(lambda match: place(int(match[1])), text)
            for name, file in names.items():
                text = re.sub(rf"\b{name}\b", file.replace("\\", r"\\"), text)
            return as_options(text.replace("; future_frame lists them", ""))

        raise type(error)(
            placed(error.expected), placed(error.found), placed(error.remedy)
        ) from None
