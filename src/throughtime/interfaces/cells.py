"""Cells to times and to numbers: what the text of one column says, read as a whole.

A column is read in one way or not at all: one format of dates, one sign for the decimals. Each
distinct text is parsed once, so long tables of many series cost little.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA_DECIMAL = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?([eE][+-]?\d+)?$"
_COMMA_THOUSANDS = r"^[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?$"
_FORMATS = (  # none that a decimal number could be read by, such as %m.%Y
    *("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"),
    *("%Y-%m", "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m", "%Y.%m.%d"),
    *("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%Y", "%m-%Y"),
    *("%b %Y", "%Y %b", "%b-%Y", "%Y-%b", "%B %Y", "%Y %B", "%b-%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y"),
)
_QUARTER = re.compile(r"(\d{4})[ -]?[Qq]([1-4])")
_SLASHED = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?")


@dataclass(frozen=True)
class Times:
    """A column read as time: timestamps where `dated`, otherwise integers."""

    values: Any
    dated: bool
    yearly: bool = False
    notes: tuple[str, ...] = ()


def read_times(column: Any, name: str = "ds") -> Times | None:
    """Read a column as timestamps or integers; None where a cell is neither.

    >>> import pyarrow as pa
    >>> read_times(pa.array(["1700.0", "1701.0"])).values.to_pylist()
    [1700, 1701]
    >>> read_times(pa.array(["31.01.2024", "29.02.2024"])).values.to_pylist()[1]
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    if column.null_count == len(column) or kinds.is_boolean(column.type):
        return None
    if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
        return _stamped(column)
    if kinds.is_string(column.type):
        as_text = _dated_text(column)
        if as_text is not None:
            return as_text
        column, bad, _ = read_numbers(column)
        if bad is not None:
            return None
    if not (kinds.is_integer(column.type) or kinds.is_floating(column.type)):
        return None
    try:
        whole = column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return _counted(whole, name)


def _stamped(column: Any) -> Times:
    import pyarrow as pa
    import pyarrow.compute as pc

    notes: tuple[str, ...] = ()
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        # the wall clock of the file's own zone is what the seasons follow
        notes = (f"times read as local time in {column.type.tz}",)
        column = pc.local_timestamp(column)
    return Times(column.cast(pa.timestamp("us"), safe=False), dated=True, notes=notes)


def _counted(whole: Any, name: str) -> Times:
    """Integers: compact dates such as 20240131 or 202401, years, or a running number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high = pc.min_max(whole).values()
    low, high = low.as_py(), high.as_py()
    for first, last, form in ((15000101, 22001231, "%Y%m%d"), (150001, 220012, "%Y%m")):
        if first <= low and high <= last:
            parsed = _each_distinct(whole.cast(pa.string()), _by_format(form))
            if parsed is not None:
                how = "year, month and day" if form.endswith("d") else "year and month"
                return Times(parsed, dated=True, notes=(f"{name!r} read as {how} in one number",))
    return Times(whole, dated=False, yearly=low >= 1500 and high <= 2200)


def _dated_text(column: Any) -> Times | None:
    import pyarrow as pa

    try:
        return Times(column.cast(pa.timestamp("us")), dated=True)
    except pa.ArrowInvalid:
        pass
    first = next(cell for cell in column.to_pylist() if cell is not None)
    if re.match(r"\d{4}-\d\d?-\d\d?[T ].*(Z|[+-]\d\d:?\d\d)$", first):
        parsed = _each_distinct(column, _zoned)
        notes = ("times with an offset read as UTC",)
        return None if parsed is None else Times(parsed, dated=True, notes=notes)
    for parse in (*map(_by_format, _FORMATS), _quarter):
        try:
            parse(first)
        except ValueError:
            continue
        parsed = _each_distinct(column, parse)
        if parsed is not None:
            return Times(parsed, dated=True)
    if _SLASHED.fullmatch(first) and (order := _slash_order(column)) is not None:
        parsed = _each_distinct(column, lambda cell: _slashed(cell, order))
        if parsed is not None:
            return Times(parsed, dated=True, notes=(f"dates read {order} first",))
    return None


def _each_distinct(column: Any, parse: Callable[[str], datetime]) -> Any:
    """Parse each distinct text once; None where one cannot be."""
    import pyarrow as pa

    coded = column.dictionary_encode()
    try:
        distinct = pa.array(
            [parse(cell) for cell in coded.dictionary.to_pylist()], pa.timestamp("us")
        )
    except ValueError:
        return None
    return distinct.take(coded.indices)


def _by_format(form: str) -> Callable[[str], datetime]:
    return lambda cell: datetime.strptime(cell, form)


def _zoned(cell: str) -> datetime:
    # Python 3.10 reads neither a Z nor an offset without its colon
    cell = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", cell.replace("Z", "+00:00"))
    stamp = datetime.fromisoformat(cell)
    return stamp.astimezone(timezone.utc).replace(tzinfo=None)


def _quarter(cell: str) -> datetime:
    match = _QUARTER.fullmatch(cell)
    if match is None:
        raise ValueError(cell)
    return datetime(int(match[1]), 3 * int(match[2]) - 2, 1)


def _slash_order(column: Any) -> str | None:
    """Tell 31/01/2024 from 01/31/2024 by all cells together; None where they leave it open."""
    matches = [_SLASHED.fullmatch(cell) for cell in set(column.to_pylist()) - {None}]
    if not all(matches):
        return None
    first = {int(match[1]) for match in matches if match}
    second = {int(match[3]) for match in matches if match}
    day_first, month_first = max(first) > 12, max(second) > 12
    if not day_first and not month_first and len(matches) > 2:
        # monthly data: the part that never changes is the day
        day_first, month_first = len(first) == 1 < len(second), len(second) == 1 < len(first)
    if day_first == month_first:
        return None
    return "day" if day_first else "month"


def _slashed(cell: str, order: str) -> datetime:
    match = _SLASHED.fullmatch(cell)
    if match is None:
        raise ValueError(cell)
    day, month = (match[1], match[3]) if order == "day" else (match[3], match[1])
    hour, minute, second = (int(part or 0) for part in match.groups()[4:])
    return datetime(int(match[4]), int(month), int(day), hour, minute, second)


def both_slashed(column: Any) -> bool:
    """Say whether all cells look like 01/02/2024, which two countries read in two ways."""
    cells = [cell for cell in set(column.to_pylist()) - {None} if isinstance(cell, str)]
    return bool(cells) and all(_SLASHED.fullmatch(cell) for cell in cells)


def first_unreadable(column: Any) -> int:
    """Return the row to blame: the first that cannot be read together with the first cell."""
    cells = column.to_pylist()
    filled = [row for row, cell in enumerate(cells) if cell is not None]
    if not filled:
        return 0
    good = filled[0]
    for row in filled:
        if _readable_together(column, good, row):
            continue
        return row
    return good


def _readable_together(column: Any, first: int, row: int) -> bool:
    import pyarrow as pa

    pair = pa.array([column[first].as_py(), column[row].as_py()], column.type)
    return read_times(pair) is not None


def read_numbers(column: Any, decimal_comma: bool = False) -> tuple[Any, int | None, list[str]]:
    """Read a column as int64 or float64: the values, the first row that is no number, and notes.

    `decimal_comma` says that 1,234 is a little more than 1, where all cells can be read so.

    >>> import pyarrow as pa
    >>> read_numbers(pa.array(["1.234,5", None, "7"]))[0].to_pylist()
    [1234.5, None, 7.0]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.types
    if kinds.is_integer(column.type) or kinds.is_floating(column.type):
        return column, None, []
    if kinds.is_decimal(column.type):
        return column.cast(pa.float64()), None, []
    if kinds.is_null(column.type):
        return column.cast(pa.float64()), None, []
    if not kinds.is_string(column.type):
        return column, 0, []

    def bad(pattern: str) -> int | None:
        fits = pc.match_substring_regex(column, pattern)
        row = fits.index(False).as_py()
        return None if row < 0 else int(row)

    notes: list[str] = []
    first_bad = bad(_NUMBER)
    if first_bad is not None:
        decimal = bad(_COMMA_DECIMAL) is None
        if bad(_COMMA_THOUSANDS) is None and not (decimal and decimal_comma):
            column = pc.replace_substring(column, ",", "")
            notes.append("commas in {name!r} read as thousands")
        elif decimal:
            column = pc.replace_substring(pc.replace_substring(column, ".", ""), ",", ".")
            notes.append("commas in {name!r} read as decimal commas")
        else:
            return column, first_bad, []
    column = pc.replace_substring_regex(column, r"^\+", "")
    try:
        return column.cast(pa.int64()), None, notes
    except pa.ArrowInvalid:
        return column.cast(pa.float64()), None, notes


def read_truth(column: Any) -> Any:
    """Read a column of the words true and false as 1 and 0; None where a cell is neither.

    >>> import pyarrow as pa
    >>> read_truth(pa.array(["TRUE", None, "false"])).to_pylist()
    [1.0, None, 0.0]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type) or column.null_count == len(column):
        return None
    lower = pc.utf8_lower(column)
    true, false = pc.equal(lower, "true"), pc.equal(lower, "false")
    return true.cast(pa.float64()) if pc.all(pc.or_(true, false)).as_py() else None


def mostly_numbers(column: Any) -> bool:
    """Say whether a column is meant as numbers, even where a cell is spoiled."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        kinds = pa.types
        return bool(
            kinds.is_integer(column.type)
            or kinds.is_floating(column.type)
            or kinds.is_decimal(column.type)
        )
    filled = len(column) - column.null_count
    if filled == 0:
        return False
    if read_numbers(column)[1] is None:
        return True
    return bool(pc.sum(pc.match_substring_regex(column, _NUMBER)).as_py() >= 0.5 * filled)
