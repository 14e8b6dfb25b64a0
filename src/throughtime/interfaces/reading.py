"""The tables that a command is given, on their grid, with every mistake told as a place in a file.

    FILE      dates and values, covariates beside them        columns.choose      read_frame
    --static  a row a series                                  choose_static       read_static
    --future  what is known of the steps ahead                choose_future       with_future

Nothing here needs torch: what is wrong with a file is said at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from throughtime._errors import DataError, SettingError
from throughtime.interfaces import columns, files
from throughtime.interfaces.options import Options

if TYPE_CHECKING:
    from throughtime.forecasting.panel import Panel
    from throughtime.interfaces.columns import Reading

T = TypeVar("T")

CARRIED = ("sunspots",)
ROW = "\0"  # no column and no label has it in its name


def open_sheet(options: Options) -> files.Sheet:
    """Return the cells of the file that the options name."""
    check_frequency(options.freq)
    return cells_of(options.file)


def cells_of(source: str) -> files.Sheet:
    """Return the cells of a file, or of a data set that comes along."""
    if source not in CARRIED or os.path.exists(source):
        return files.read(source)
    from throughtime import datasets

    table = getattr(datasets, source)()
    cells = {name: table[name].combine_chunks() for name in table.column_names}
    return files.Sheet(source, cells)


def read(sheet: files.Sheet, options: Options, like: Panel | None = None) -> tuple[Reading, Panel]:
    """Return the columns of the sheet and its series, with all that the options name beside them.

    `like` is the panel of a fitted model, whose columns these are.
    """
    from throughtime.forecasting.demands import checked_panel
    from throughtime.forecasting.frame import read_frame

    reading = _choose(sheet, options, like)

    def frame() -> Panel:
        panel = read_frame(reading.table, options.freq, row_word=ROW, **reading.roles)
        return checked_panel(panel, options.h)

    panel = told(frame, ROW, reading.place)
    panel = _with_static(panel, reading, options, like)
    return reading, panel if options.future is None else _with_future(panel, reading, options)


def _choose(sheet: files.Sheet, options: Options, like: Panel | None) -> Reading:
    target, hist, futr = options.target, options.hist, options.futr
    if like is not None:
        target = list(like.targets) if len(like.targets) > 1 else target
        hist, futr = list(like.hist), list(like.futr)
    return columns.choose(sheet, options.time, target, options.id, hist=hist, futr=futr)


def need_future(panel: Panel, h: int) -> None:
    """Refuse a panel without all that is known ahead of the steps to forecast."""
    from throughtime.forecasting import covariates

    try:
        covariates.need_future(panel, h)
    except DataError as error:
        remedy = "pass a table of these dates with --future, or add them as rows without a value"
        raise DataError(error.expected, error.found, remedy) from None


def check_frequency(freq: str | None) -> None:
    """Refuse a `--freq` that is none."""
    from throughtime.forecasting.frequency import Frequency

    if freq is None:
        return
    try:
        Frequency.parse(freq)
    except SettingError as error:
        raise SettingError(f"--{error.expected}", error.found, error.remedy) from None


def _with_static(panel: Panel, reading: Reading, options: Options, like: Panel | None) -> Panel:
    from throughtime.forecasting.statics import known_static, read_static

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
    from throughtime.forecasting.covariates import with_future

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
            return with_freq(text.replace("; future_frame lists them", ""))

        raise type(error)(
            placed(error.expected), placed(error.found), placed(error.remedy)
        ) from None


def with_freq(text: str) -> str:
    """Return a sentence with the option in the place of the argument `freq`.

    >>> with_freq("pass freq='MS', or freq= another")
    'pass --freq MS, or --freq another'
    """
    return re.sub(r"\bfreq='([\w-]+)'", r"--freq \1", text).replace(" freq=", " --freq")
