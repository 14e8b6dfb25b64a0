"""Columns of a table as numpy arrays, and back; a cell that does not fit is named with its row.

Columns of every kind of table pass through Arrow on their way in, so that each type is met once.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from throughtime._errors import DataError
from throughtime.forecasting.series.frequency import Stamps

RowName = Callable[[int], str]

LARGEST = 1e16  # nets compute in single precision, where a sum of larger squares is infinite

_ONE_TYPE = "give the column one type: numbers, text or dates"
_SMALL = (  # types of which single precision holds every number
    pa.types.is_float32, pa.types.is_float16, pa.types.is_boolean, pa.types.is_int8,
    pa.types.is_int16, pa.types.is_uint8, pa.types.is_uint16,
)  # fmt: skip
# what other libraries raise for a column that is of no one type
_FOREIGN = (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError)

_TOO_LATE = np.datetime64("10000-01-01")

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
        """Return stamps (integers or `datetime64[us]`) as a column of the kind that came in.

        Where that cannot hold one of them, a wider kind does. Raises `DataError` for a date after
        the year 9999, the last that calendars write.
        """
        if ds.dtype.kind == "M" and len(ds) and ds.max() >= _TOO_LATE:
            raise DataError("dates up to the year 9999", str(ds.max()), "ask for fewer steps ahead")
        if self.dtype.startswith("text"):
            text = ds.astype(f"datetime64[{self.dtype[5:-1]}]").astype(str)
            return series([t.replace("T", self.separator) for t in text.tolist()], backend)
        if self.dtype == "object":
            return series(ds.astype("datetime64[D]").astype(object), backend)
        utc = from_wall(ds, self.zone) if self.zone and self.clock == "wall" else ds
        came = utc.astype(self.dtype)
        column = series(came if (came.astype(utc.dtype) == utc).all() else utc, backend)
        if not self.zone:
            return column
        return column.dt.replace_time_zone("UTC").dt.convert_time_zone(self.zone)

    def local(self, ds: Stamps) -> Stamps:
        """Return what a clock where the dates came from shows at stamps of theirs."""
        return to_wall(ds, self.zone) if self.zone and self.clock == "utc" else ds


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
        array = native if isinstance(native, pa.ChunkedArray) else column.to_arrow()
    except _FOREIGN:
        raise _mixed(column, row) from None
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if column.dtype == nw.Object and _mingled(column, array.type):
        raise _mixed(column, row)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _mingled(column: nw.Series[Any], kind: pa.DataType) -> bool:
    """Say whether Arrow made one type of several that mean different things.

    It would cut times off days, count numbers from 1970, and take true for 1.
    """
    if not (pa.types.is_temporal(kind) or is_number(kind)):
        return False
    kinds = {_kind(cell) for cell in column.to_list() if not _is_empty(cell)}
    return len(kinds) > 1 and (pa.types.is_temporal(kind) or bool(kinds & {"bool", "bool_"}))


def _mixed(column: nw.Series[Any], row: RowName) -> DataError:
    """Say which cell is of another type than the first, or that no cell is of a known one."""
    cells = [(i, cell) for i, cell in enumerate(column.to_list()) if not _is_empty(cell)]
    kind = _kind(cells[0][1]) if cells else ""
    strange = [(i, cell) for i, cell in cells if _kind(cell) != kind]
    found = str(column.dtype)
    if strange:
        found = f"{_shown(strange[0][1])} in {row(strange[0][0])} after {kind}"
    elif cells:
        found = f"{_shown(cells[0][1])} in {row(cells[0][0])}"
    return DataError(f"cells of one type in column {column.name!r}", found, _ONE_TYPE)


def _kind(cell: object) -> str:
    if isinstance(cell, dt.datetime):
        return f"a time with{'out' if cell.tzinfo is None else ''} a time zone"
    return type(cell).__name__


def _is_empty(cell: object) -> bool:
    if cell is None or type(cell).__name__ in ("NaTType", "NAType"):
        return True
    return isinstance(cell, float) and math.isnan(cell)


def _shown(cell: object) -> str:
    """Return a cell in few characters, whatever it is."""
    text = ascii(cell) if isinstance(cell, str) and not cell.isprintable() else repr(cell)
    return text if len(text) <= 40 else f"{text[:37]}..."


def numbers(
    column: nw.Series[Any], row: RowName, *, booleans: bool = False, remedy: str = ""
) -> npt.NDArray[Any]:
    """Return a column of numbers with NaN where a cell is empty.

    It is float32 where that holds every number of the column's type, else float64; true and false
    are 1 and 0 where `booleans` are welcome. Raises `DataError` naming the first cell that is text
    (with the `remedy`), infinite, or so large that a sum of squares would be infinite.
    """
    name = column.name
    try:
        array = arrow(column, row)
    except DataError:
        array = None
    as_text = array is None or is_text(array.type)
    if as_text:
        cells = column.to_list() if array is None else array.to_pylist()
        y = _numbers_from_text(name, cells, row, booleans, remedy or "correct that cell")
    elif is_number(array.type) or (booleans and pa.types.is_boolean(array.type)):
        small = any(holds(array.type) for holds in _SMALL)
        y = array.cast(pa.float32() if small else pa.float64(), safe=False)
        y = y.to_numpy(zero_copy_only=False)
    else:
        raise DataError(f"numbers in column {name!r}", str(array.type), remedy or "pass numbers")
    with np.errstate(invalid="ignore"):
        fits = len(y) == 0 or not max(-np.fmin.reduce(y), np.fmax.reduce(y)) > LARGEST
    if not fits:
        i = int(np.flatnonzero(np.abs(y) > LARGEST)[0])
        raise DataError(
            f"finite numbers in column {name!r}, none beyond {LARGEST:g}",
            f"{y[i]} in {row(i)}",
            "correct that cell, or leave it empty",
        )
    return y


def is_number(kind: pa.DataType) -> bool:
    """Say whether an Arrow type is of numbers, or of empty cells only."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Say whether an Arrow type is of text."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _numbers_from_text(
    name: str, cells: list[Any], row: RowName, booleans: bool, remedy: str
) -> npt.NDArray[np.float64]:
    y = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if _is_empty(cell) or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            if isinstance(cell, bool | np.bool_) and not booleans:
                raise TypeError
            y[i] = float(cell)
        except (TypeError, ValueError, OverflowError):
            found = f"{_shown(cell)} in {row(i)}"
            raise DataError(f"numbers in column {name!r}", found, remedy) from None
    return y


def dates(
    column: nw.Series[Any], row: RowName, like: DateKind | None = None
) -> tuple[Stamps, DateKind]:
    """Return a column of dates, ISO text or integers as stamps, and how they came in.

    Dates with a time zone become stamps of the zone and the clock of `like`, where given. Raises
    `DataError` naming the first cell that is empty or no date, or where only one of the two has
    a time zone.
    """
    array = arrow(column, row)
    _no_empty_cell(column.name, array, row)
    kind, types = array.type, pa.types
    zoned = types.is_timestamp(kind) and kind.tz is not None
    if like is not None and like.dtype.startswith(("datetime", "text", "obj")):
        _same_zone(column.name, kind.tz if zoned else "", like.zone)
    if types.is_integer(kind):
        name = str(kind.to_pandas_dtype()().dtype)
        return _within(column.name, array.to_numpy(), 2**62, row), DateKind(name)
    if types.is_floating(kind):
        return _whole_numbers(column.name, array.to_numpy(), row), DateKind("float64")
    if is_text(kind):  # series share their dates: each text is looked at once
        encoded = array.dictionary_encode()
        index = encoded.indices
        ds, text = _dates_from_text(
            column.name, encoded.dictionary, lambda j: row(pc.index(index, j).as_py())
        )
        return ds[index.to_numpy()], text
    if zoned:
        return _zoned(column.name, array, row, like)
    if types.is_timestamp(kind):
        return _instants(column.name, array, row), DateKind(f"datetime64[{kind.unit}]")
    if types.is_date(kind):
        as_objects = column.dtype == nw.Object
        kind = DateKind("object" if as_objects else "datetime64[D]")
        return _instants(column.name, array, row), kind
    raise DataError(
        f"dates, ISO text or integers in column {column.name!r}", str(kind), _ISO_REMEDY
    )


def _same_zone(name: str, zone: str, wanted: str) -> None:
    if bool(zone) != bool(wanted):
        words = [f"the time zone {z}" if z else "no time zone" for z in (wanted, zone)]
        raise DataError(
            f"dates in column {name!r} with {words[0]}, as before",
            words[1],
            f"give them the time zone {wanted}" if wanted else "take the time zone off",
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
    return _within(name, ds, 2**53, row)


def _within(name: str, ds: npt.NDArray[Any], most: int, row: RowName) -> Stamps:
    """Return integers as int64, or refuse one with which differences could not be computed."""
    if ds.dtype.kind == "f" or ds.dtype.itemsize == 8:
        large = (ds > most) | (ds < -most if ds.dtype.kind != "u" else False)
        if large.any():
            i = int(np.argmax(large))
            raise DataError(
                f"whole numbers between -{most} and {most} in column {name!r}",
                f"{ds[i]} in {row(i)}",
                "correct that cell, or count from a nearer one",
            )
    return ds.astype(np.int64, copy=False)


def _instants(name: str, array: pa.Array, row: RowName) -> Stamps:
    """Return dates as `datetime64[us]`, or refuse one in a year that calendars do not write."""
    ds = array.to_numpy(zero_copy_only=False)
    if ds.dtype != "datetime64[ns]":  # which hold less
        first, last = (np.datetime64(day).astype(ds.dtype) for day in ("0001-01-01", "9999-12-31"))
        outside = (ds < first) | (ds > last)
        if outside.any():
            i = int(np.argmax(outside))
            raise DataError(
                f"dates between the years 1 and 9999 in column {name!r}",
                f"{ds[i]} in {row(i)}",
                "correct that cell",
            )
    return np.asarray(ds.astype("datetime64[us]"))


def _zoned(
    name: str, array: pa.Array, row: RowName, like: DateKind | None
) -> tuple[Stamps, DateKind]:
    unit, zone = array.type.unit, array.type.tz if like is None else like.zone
    ds = _instants(name, array, row)
    try:
        wall = to_wall(ds, zone)
    except pa.ArrowException:
        raise DataError(
            f"a time zone such as Europe/Paris in column {name!r}", zone, "turn the dates to UTC"
        ) from None
    if like is None:
        same_time_of_day = (
            wall - wall.astype("datetime64[D]") == wall[0] - wall[0].astype("datetime64[D]")
        ).all()
        clock = "wall" if same_time_of_day else "utc"
    else:
        clock = like.clock
    return (wall if clock == "wall" else ds), DateKind(f"datetime64[{unit}]", zone, clock)


def to_wall(ds: Stamps, zone: str) -> Stamps:
    """Return what clocks in a time zone show at instants of UTC."""
    instants = pa.array(ds, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return np.asarray(pc.local_timestamp(instants.cast(pa.timestamp("us", zone))).to_numpy())


def from_wall(ds: Stamps, zone: str) -> Stamps:
    """Return the instants of UTC at which clocks in a time zone show `ds`.

    The earlier one of two, and of an hour that is left out its end.
    """
    wall = pa.array(ds, pa.timestamp("us"))
    zoned = pc.assume_timezone(wall, zone, ambiguous="earliest", nonexistent="latest")
    return np.asarray(zoned.cast(pa.timestamp("us", "UTC")).to_numpy())


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


def labels(column: nw.Series[Any], row: RowName) -> tuple[npt.NDArray[np.int32], tuple[Any, ...]]:
    """Return each cell's number among the distinct labels, and these in order of appearance.

    Whole numbers become integers, anything else text.
    """
    array = arrow(column, row)
    _no_empty_cell(column.name, array, row)
    if pa.types.is_floating(array.type) and pc.all(pc.equal(array, pc.floor(array))).as_py():
        array = pa.array(_whole_numbers(column.name, array.to_numpy(), row))
    if not pa.types.is_integer(array.type):
        try:
            array = array.cast(pa.string())
        except pa.ArrowException:
            remedy = "name series by text or whole numbers"
            raise DataError(f"names in column {column.name!r}", str(array.type), remedy) from None
    encoded = array.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False), tuple(encoded.dictionary.to_pylist())
