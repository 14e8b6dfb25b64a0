"""Whatever holds a table or one series, as a narwhals table with columns that can be asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from throughtime._errors import DataError
from throughtime.forecasting.series.columns import series

ONE_SERIES = "series"  # the name of a series whose table has no column unique_id


def as_table(data: Any) -> nw.DataFrame[Any]:
    """Return a pandas, polars or pyarrow table, or one series of numbers, as a narwhals table.

    One series (a pandas or polars Series, a list, a numpy or pyarrow array) gets columns `ds`
    (its dates, or positions) and `y`. Raises `DataError` for anything else.

    >>> as_table([5.0, 7.0]).to_native().column_names
    ['ds', 'y']
    """
    if nw.dependencies.is_pandas_series(data):
        return _pandas_series(data)
    if isinstance(data, (list, tuple, np.ndarray, pa.Array)):
        data = _one_dimension(data)
    if isinstance(data, pa.ChunkedArray) or nw.dependencies.is_polars_series(data):
        backend: Any = nw.from_native(data, series_only=True).implementation
        positions = series(np.arange(len(data)), backend).to_native()
        return nw.from_dict({"ds": positions, "y": data}, backend=backend)
    names = _column_names(data)
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise DataError("one column of each name", f"{twice[0]!r} twice", "rename one of them")
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


def need_columns(table: nw.DataFrame[Any], names: Iterable[str], what: str, remedy: str) -> None:
    """Refuse a table that lacks one of the columns, or that has no row."""
    names = list(dict.fromkeys(names))
    if not set(names) <= set(table.columns):
        found = ", ".join(map(repr, table.columns)) or "no columns"
        raise DataError(f"{what} with columns {listed(map(repr, names))}", found, remedy)
    if len(table) == 0:
        raise DataError(f"{what} with rows", "none", "pass at least a few dates with values")


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them.

    >>> listed(["temperature", "wind", "holiday"])
    'temperature, wind and holiday'
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _column_names(data: Any) -> list[Any]:
    """Return the names of columns of a table that may have two of one name."""
    if isinstance(data, pa.Table):
        return list(data.column_names)
    return list(data.columns) if nw.dependencies.is_pandas_dataframe(data) else []


def _one_dimension(data: Any) -> pa.ChunkedArray:
    try:
        values = data if isinstance(data, pa.Array) else np.asarray(data)
    except ValueError:  # lists of different lengths
        raise DataError("one series of numbers", "nested lists", "pass a list of numbers") from None
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise DataError(
            "an array of one dimension",
            f"shape {tuple(values.shape)}",
            "pass one series, or a table with columns unique_id, ds, y",
        )
    try:
        return pa.chunked_array([values])
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError("numbers", str(error), "pass one series of numbers") from None


def _pandas_series(data: Any) -> nw.DataFrame[Any]:
    """Return a pandas Series as a table: dates from its index where that holds dates."""
    index = data.index
    if hasattr(index, "to_timestamp"):
        index = index.to_timestamp()
    dated = getattr(index.dtype, "kind", "") == "M"
    table = data.to_frame("y").reset_index(drop=True)
    table["ds"] = index if dated else np.arange(len(data))
    table["unique_id"] = ONE_SERIES if data.name is None else str(data.name)
    return nw.from_native(table, eager_only=True)
