"""What is known of every series and does not change: a table with one row a series.

A column of numbers goes into `Static.numbers`. Any other (text, categories, true and false) counts
its labels: label j of the sorted labels of the fitted series is code j + 1, an empty cell and a
label that was not among them is code 0.
"""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from throughtime._errors import DataError
from throughtime.forecasting.series.columns import arrow, is_number, is_text, labels, numbers
from throughtime.forecasting.series.panel import Floats, Ints, Static
from throughtime.forecasting.series.tables import as_table, need_columns

_REMEDY = "pass a table with a column 'unique_id' and one column for each thing that is known"


def read_static(static_df: Any, ids: tuple[Any, ...], like: Static | None = None) -> Static:
    """Return what `static_df` says of the series `ids`; its other series are left out.

    With `like` the columns are those of that one, and labels have its codes. Raises `DataError`
    naming the series that has no row or two, the column that is missing or of another kind, and
    the row of a number that is missing.

    >>> import pyarrow as pa
    >>> table = pa.table({"unique_id": ["vic", "nsw"], "state": ["south", "east"], "area": [2, 8]})
    >>> static = read_static(table, ("nsw", "vic"))
    >>> static.numbers.tolist(), static.codes.tolist(), static.categories
    ([[8.0], [2.0]], [[1], [2]], (('east', 'south'),))
    """
    table = as_table(static_df)
    wanted = () if like is None else (*like.number_names, *like.category_names)
    need_columns(table, ["unique_id", *wanted], "static_df", _REMEDY)
    place = _rows_of(ids, table)
    names = wanted or tuple(name for name in table.columns if name != "unique_id")
    if not names:
        raise DataError("static_df with columns beside 'unique_id'", "none", _REMEDY)
    if like is None:
        number_names = tuple(name for name in names if not _has_labels(table[name]))
        category_names = tuple(name for name in names if _has_labels(table[name]))
    else:
        number_names, category_names = like.number_names, like.category_names
    values = [_numbers(table[name], place, ids) for name in number_names]
    found = [_labels(table[name], place) for name in category_names]
    if like is None:
        categories = tuple(tuple(sorted(set(cells) - {None})) for cells in found)
    else:
        categories = like.categories
    codes = [_codes(cells, known) for cells, known in zip(found, categories, strict=True)]
    S = len(ids)
    return Static(
        np.array(values, dtype=float).reshape(-1, S).T,
        np.array(codes, dtype=np.int64).reshape(-1, S).T,
        number_names,
        category_names,
        categories,
    )


def known_static(like: Static, fitted: tuple[Any, ...], ids: tuple[Any, ...]) -> Static:
    """Return what was known of series when a panel of the series `fitted` was read.

    Raises `DataError` naming the first that was not among them.
    """
    if not like.names:
        return Static.none(len(ids))
    place = {name: i for i, name in enumerate(fitted)}
    for name in ids:
        if name not in place:
            raise DataError(
                f"static_df with a row for series {name!r}, which was not fitted",
                "no static_df",
                f"pass static_df with columns unique_id, "
                f"{', '.join((*like.number_names, *like.category_names))}",
            )
    return like.take(np.array([place[name] for name in ids]))


def _row(i: int) -> str:
    return f"row {i} of static_df"


def _rows_of(ids: tuple[Any, ...], table: nw.DataFrame[Any]) -> Ints:
    """Return the number of the row of each series."""
    codes, names = labels(table["unique_id"], _row)
    wanted = set(ids)
    counts = np.bincount(codes, minlength=len(names))
    for code in np.flatnonzero(counts > 1):
        if names[code] in wanted:
            both = [_row(int(i)) for i in np.flatnonzero(codes == code)[:2]]
            found = f"{' and '.join(both)} for series {names[code]!r}"
            raise DataError("one row a series in static_df", found, "remove one of them")
    first = np.zeros(len(names), dtype=np.int64)
    first[codes] = np.arange(len(codes))
    place = dict(zip(names, first.tolist(), strict=True))
    for name in ids:
        if name not in place:
            raise DataError(
                "a row for every series in static_df",
                f"none for {name!r}",
                f"add a row for {name!r}",
            )
    return np.array([place[name] for name in ids])


def _numbers(column: nw.Series[Any], place: Ints, ids: tuple[Any, ...]) -> Floats:
    y = numbers(column, _row)[place].astype(np.float64)
    empty = np.flatnonzero(np.isnan(y))
    if len(empty):
        i = int(empty[0])
        raise DataError(
            f"a number in every cell of column {column.name!r} of static_df",
            f"an empty cell in {_row(int(place[i]))}, series {ids[i]!r}",
            "fill it in, or leave out the column",
        )
    return y


def _has_labels(column: nw.Series[Any]) -> bool:
    """Say whether a column has labels; what is all empty has numbers, none of which is there."""
    grouped = column.dtype in (nw.Categorical, nw.Enum)
    return grouped or not is_number(arrow(column, _row).type)


def _labels(column: nw.Series[Any], place: Ints) -> list[Any]:
    """Return the label of each series as text, None where it is empty."""
    array = arrow(column, _row)
    grouped = column.dtype in (nw.Categorical, nw.Enum)
    if not (grouped or is_text(array.type) or pa.types.is_boolean(array.type)):
        expected = f"text, categories, or true and false in column {column.name!r} of static_df"
        raise DataError(expected, str(array.type), "make it text, or leave out the column")
    cells = array.take(pa.array(place)).cast(pa.string()).to_pylist()
    return [cell or None for cell in cells]


def _codes(cells: list[Any], categories: tuple[str, ...]) -> list[int]:
    code = {label: j for j, label in enumerate(categories, start=1)}
    return [code.get(cell, 0) for cell in cells]
