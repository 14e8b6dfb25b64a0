"""Columns of a table as numpy arrays, and back; a cell that does not fit is named with its row.

Columns of every kind of table pass through Arrow on their way in, so that each type is met once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from throughtime._errors import DataError
from throughtime.forecasting.frequency import Stamps

RowName = Callable[[int], str]

LARGEST = 1e16  # nets compute in single precision, where a sum of larger squares is infinite

_ISO = r"^\d{4}(-\d\d(-\d\d([ T]\d\d:\d\d(:\d\d)?)?)?)?$"
_UNITS = {4: "Y", 7: "M", 10: "D", 16: "m", 19: "s"}  # by the number of characters
_ISO_REMEDY = "write dates as 1949, 1949-01, 1949-01-31 or 1949-01-31 12:30"


@dataclass(frozen=True)
class DateKind:
    """How the dates of a table came in, so that those of the answer go out alike.

    `dtype` is the numpy type (`int64`, `float64`, `datetime64[ns]`, `datetime64[D]`), `object`
    for Python dates, or `text[unit]`. `zone` is the time zone or empty; stamps are then kept by
    its wall clock where all share their time of day, else in UTC (`clock`).
    """

    dtype: str = "int64"
    zone: str = ""
    clock: str = "wall"
    separator: str = "T"

    def restore(self, ds: Stamps, backend: str) -> nw.Series[Any]:
        """Return stamps (integers or `datetime64[us]`) as a column of the kind that came in."""
        if self.dtype.startswith("text"):
            text = ds.astype(f"datetime64[{self.dtype[5:-1]}]").astype(str)
            return series([t.replace("T", self.separator) for t in text.tolist()], backend)
        if self.dtype == "object":
            return series(ds.astype("datetime64[D]").astype(object), backend)
        column = series(ds.astype(self.dtype), backend)
        if not self.zone:
            return column
        zoned = column.dt.replace_time_zone(self.zone if self.clock == "wall" else "UTC")
        return zoned.dt.convert_time_zone(self.zone)


def series(values: Any, backend: Any) -> nw.Series[Any]:
    """Return values as a column of a pandas, polars or pyarrow table."""
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.tolist()
    return nw.new_series("", values, backend=backend)


def arrow(column: nw.Series[Any], row: RowName) -> pa.Array:
    """Return a column of any table as an Arrow array; mixed types are refused."""
    native: Any = column.to_native()
    if str(getattr(native, "dtype", "")).startswith("period"):
        column = nw.from_native(native.dt.to_timestamp(), series_only=True)
    if column.dtype == nw.Object and not column.implementation.is_pandas():
        raise _mixed(column, row)
    try:
        array = column.to_arrow()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        raise _mixed(column, row) from None
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _mixed(column: nw.Series[Any], row: RowName) -> DataError:
    """Say which cell is of another type than the first."""
    cells = [(i, cell) for i, cell in enumerate(column.to_list()) if cell is not None]
    first = type(cells[0][1])
    i, cell = next(((i, cell) for i, cell in cells if type(cell) is not first), cells[0])
    return DataError(
        f"cells of one type in column {column.name!r}",
        f"{cell!r} in {row(i)}" + (f" after {first.__name__}" if i else ""),
        "give the column one type",
    )


def numbers(column: nw.Series[Any], row: RowName) -> npt.NDArray[np.float64]:
    """Return a column of numbers as float64 with NaN where a cell is empty.

    Raises `DataError` naming the first cell that is text, infinite, or so large that a sum of
    squares would be infinite.
    """
    name = column.name
    try:
        array = arrow(column, row)
    except DataError:
        array = None
    is_text = (
        array is None or pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    )
    if is_text:
        y = _numbers_from_text(name, column.to_list() if array is None else array.to_pylist(), row)
    elif _is_number(array.type):
        y = np.array(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        raise DataError(f"numbers in column {name!r}", str(array.type), "pass numbers")
    large = np.flatnonzero(np.abs(y) > LARGEST)
    if len(large):
        raise DataError(
            f"finite numbers in column {name!r}, none beyond {LARGEST:g}",
            f"{y[large[0]]} in {row(int(large[0]))}",
            "correct that cell, or leave it empty",
        )
    return y


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def _numbers_from_text(name: str, cells: list[Any], row: RowName) -> npt.NDArray[np.float64]:
    y = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            y[i] = float(cell)
        except (TypeError, ValueError):
            raise DataError(
                f"numbers in column {name!r}", f"{cell!r} in {row(i)}", "correct that cell"
            ) from None
    return y


def dates(column: nw.Series[Any], row: RowName) -> tuple[Stamps, DateKind]:
    """Return a column of dates, ISO text or integers as stamps, and how they came in.

    Raises `DataError` naming the first cell that is empty or no date.
    """
    array = arrow(column, row)
    _no_empty_cell(column.name, array, row)
    kind, types = array.type, pa.types
    if types.is_integer(kind):
        return array.to_numpy().astype(np.int64), DateKind(str(kind.to_pandas_dtype()().dtype))
    if types.is_floating(kind):
        return _whole_numbers(column.name, array.to_numpy(), row), DateKind("float64")
    if types.is_string(kind) or types.is_large_string(kind):
        return _dates_from_text(column.name, array, row)
    if types.is_timestamp(kind) and kind.tz is not None:
        return _zoned(array)
    if types.is_timestamp(kind):
        return _instants(array), DateKind(f"datetime64[{kind.unit}]")
    if types.is_date(kind):
        as_objects = column.dtype == nw.Object
        return _instants(array), DateKind("object" if as_objects else "datetime64[D]")
    raise DataError(
        f"dates, ISO text or integers in column {column.name!r}", str(kind), _ISO_REMEDY
    )


def _no_empty_cell(name: str, array: pa.Array, row: RowName) -> None:
    empty = array.is_null(nan_is_null=True)
    if pc.any(empty).as_py():
        i = pc.index(empty, True).as_py()
        raise DataError(
            f"a value in every cell of column {name!r}",
            f"an empty cell in {row(i)}",
            "fill it in, or leave out the row",
        )


def _whole_numbers(name: str, ds: npt.NDArray[Any], row: RowName) -> Stamps:
    broken = np.flatnonzero(~(ds == np.floor(ds)) | np.isinf(ds))
    if len(broken):
        raise DataError(
            f"dates or whole numbers in column {name!r}",
            f"{ds[broken[0]]} in {row(int(broken[0]))}",
            _ISO_REMEDY,
        )
    return ds.astype(np.int64)


def _instants(array: pa.Array) -> Stamps:
    instants = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return np.array(instants.to_numpy(zero_copy_only=False).view("datetime64[us]"))


def _zoned(array: pa.Array) -> tuple[Stamps, DateKind]:
    unit, zone = array.type.unit, array.type.tz
    wall = _instants(pc.local_timestamp(array))
    same_time_of_day = len(np.unique(wall - wall.astype("datetime64[D]"))) == 1
    kind = DateKind(f"datetime64[{unit}]", zone, "wall" if same_time_of_day else "utc")
    return (wall if same_time_of_day else _instants(array.cast(pa.timestamp(unit, "UTC")))), kind


def _dates_from_text(name: str, array: pa.Array, row: RowName) -> tuple[Stamps, DateKind]:
    array = pc.utf8_trim_whitespace(array)
    if not pc.all(fits := pc.match_substring_regex(array, _ISO)).as_py():
        raise _no_date(name, array, pc.index(fits, False).as_py(), row)
    text = np.asarray(array.to_pylist(), dtype=str)
    try:
        ds = text.astype("datetime64[us]")
    except ValueError:  # 1949-02-30
        raise _no_date(name, array, _first_that_fails(text), row) from None
    unit = _UNITS[int(np.char.str_len(text).max())]
    blank = bool(pc.any(pc.match_substring(array, " ")).as_py())
    return ds, DateKind(f"text[{unit}]", separator=" " if blank else "T")


def _first_that_fails(text: Iterable[str]) -> int:
    for i, cell in enumerate(text):
        try:
            np.datetime64(cell)
        except ValueError:
            return i
    return 0


def _no_date(name: str, array: pa.Array, i: int, row: RowName) -> DataError:
    return DataError(f"dates in column {name!r}", f"{array[i].as_py()!r} in {row(i)}", _ISO_REMEDY)


def labels(column: nw.Series[Any], row: RowName) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
    """Return each cell's number among the distinct labels, and these in order of appearance.

    Integers stay integers; anything else becomes text.
    """
    array = arrow(column, row)
    _no_empty_cell(column.name, array, row)
    if not pa.types.is_integer(array.type):
        array = array.cast(pa.string())
    encoded = array.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(encoded.dictionary.to_pylist())
