"""Cells to a series: which column holds the dates, which the values, and what they say.

What is not told is found: the column of dates by its name or because its cells are dates, years
or running numbers; the column of values by its name or because it is the only numeric one left.
Where two readings are possible nothing is guessed: the error lists them and names the option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from throughtime._errors import DataError
from throughtime.interfaces.cells import (
    both_slashed,
    first_unreadable,
    mostly_numbers,
    read_numbers,
    read_times,
)
from throughtime.interfaces.files import Sheet

TIME_NAMES = (
    *("ds", "date", "datetime", "timestamp", "time", "datum", "day", "month", "week", "quarter"),
    *("year", "jahr", "period", "index", "t"),
)
TARGET_NAMES = ("y", "value", "values", "target", "sales", "demand", "count", "wert")
ID_NAMES = ("unique_id", "id", "series", "series_id", "item_id")


@dataclass(frozen=True)
class Reading:
    """A table `unique_id, ds, y` (pyarrow), and how it was found in the file.

    `time`, `target` and `id` are the file's own column names (`id` None for a single series);
    `place(row)` says in words where a row of the table stands in the file.
    """

    source: str
    table: Any
    time: str
    target: str
    id: str | None
    notes: tuple[str, ...]
    place: Callable[[int], str]


def choose(
    sheet: Sheet, time: str | None = None, target: str | None = None, id: str | None = None
) -> Reading:
    """Find (or take as told) the columns of a sheet, and read their cells.

    Raises DataError where a column is missing, ambiguous, or has a cell that cannot be read; it
    names the column, the place in the file and the option that settles it.
    """
    import pyarrow as pa

    search = _Search(sheet)
    for option, name in (("--time", time), ("--target", target), ("--id", id)):
        search.require(option, name)
    if id is None:
        id = next(
            (n for n in search.names if n.lower() in ID_NAMES and n not in (time, target)), None
        )
        id_told = False
    else:
        id_told = True
    time, ds, time_notes = search.time(time, exclude=(target, id), id=id)
    if id is not None and not id_told and not _repeats(ds) and len(search.columns[id].unique()) > 1:
        id = None  # a number for every row
    target, y, target_notes = search.target(target, exclude=(time, id))
    ids = pa.array([target] * len(ds)) if id is None else search.labels(id)
    if id is None:
        _refuse_repeats(search, time, target, ds)
    table = pa.table({"unique_id": ids, "ds": ds, "y": y})
    notes = (*sheet.notes, *time_notes, *target_notes)
    return Reading(sheet.source, table, time, target, id, notes, search.place)


class _Search:
    """The columns of a sheet without its empty rows."""

    def __init__(self, sheet: Sheet) -> None:
        import numpy as np
        import pyarrow as pa

        self.sheet = sheet
        self.columns = sheet.columns
        empty = np.logical_and.reduce(
            [c.is_null().to_numpy(zero_copy_only=False) for c in self.columns.values()]
        )
        self._rows: Any = None
        if empty.any():
            if empty.all():
                _refuse("rows with dates and values", "empty rows only", "fill the file")
            self._rows = np.flatnonzero(~empty)
            kept = pa.array(self._rows)
            self.columns = {name: column.take(kept) for name, column in self.columns.items()}
        self.names = list(self.columns)

    def place(self, row: int) -> str:
        return self.sheet.place(int(row if self._rows is None else self._rows[row]))

    def require(self, option: str, name: str | None) -> None:
        if name is not None and name not in self.columns:
            _refuse(
                f"{option} to name a column", repr(name), f"choose one of {_listed(self.names)}"
            )

    def time(
        self, told: str | None, exclude: Iterable[str | None], id: str | None
    ) -> tuple[str, Any, list[str]]:
        exclude = tuple(exclude)
        if told is not None:
            found = read_times(self.columns[told], told)
            if found is None:
                self._bad_time(told)
            return told, self._without_gaps(told, found.values), list(found.notes)
        free = [name for name in self.names if name not in exclude]
        hinted = sorted(
            (n for n in free if n.lower() in TIME_NAMES), key=lambda n: TIME_NAMES.index(n.lower())
        )
        strong, weak = [], []
        for name in (*hinted, *(n for n in free if n not in hinted)):
            found = read_times(self.columns[name], name)
            if found is None:
                continue
            if name in hinted or found.dated:
                strong.append((id is None and _repeats(found.values), name, found))
            elif self._counts_up(found.values, id):
                weak.append((not found.yearly, name, found))
        spoiled = (*hinted, *(name for name in free if self._begins_with_date(name)))
        if spoiled and not strong:
            self._bad_time(spoiled[0])
        if strong or weak:
            _, name, found = min(strong or weak, key=lambda candidate: candidate[0])
            return name, self._without_gaps(name, found.values), list(found.notes)
        return _refuse(
            f"a column of dates, of years or of running numbers in {self.sheet.source}",
            f"none among {_listed(self.names)}",
            "name it with --time, or write dates as 2024-01-31",
        )

    def target(self, told: str | None, exclude: Iterable[str | None]) -> tuple[str, Any, list[str]]:
        exclude = tuple(exclude)
        if told is not None:
            return self._values(told)
        free = [name for name in self.names if name not in exclude]
        numeric = [name for name in free if mostly_numbers(self.columns[name])]
        hinted = [name for name in numeric if name.lower() in TARGET_NAMES]
        if len(hinted) == 1 or len(numeric) == 1:
            return self._values((hinted if len(hinted) == 1 else numeric)[0])
        if numeric:
            _refuse(
                f"one column of values in {self.sheet.source}",
                f"{len(numeric)}: {_listed(numeric)}",
                f"choose one, for example --target {_quoted(numeric[0])}",
            )
        if len(free) == 1:
            return self._values(free[0])
        return _refuse(
            f"a column of values in {self.sheet.source}",
            f"no numbers among {_listed(free)}" if free else "only the column of dates",
            "add one, or name it with --target",
        )

    def labels(self, name: str) -> Any:
        import pyarrow as pa

        column = self.columns[name]
        if column.null_count:
            row = column.is_null().index(True).as_py()
            _refuse(
                f"the name of a series in column {name!r}",
                f"none in {self.place(row)}",
                "fill that cell",
            )
        return column.cast(pa.string())

    def _values(self, name: str) -> tuple[str, Any, list[str]]:
        values, bad, notes = read_numbers(self.columns[name])
        if bad is not None:
            cell = self.columns[name][bad].as_py()
            if isinstance(cell, str) and "\n" in cell:
                _refuse(
                    f"one number in each cell of column {name!r}",
                    f"several lines in the cell that begins in {self.place(bad)}",
                    "look there for a quotation mark that is never closed",
                )
            endless = re.fullmatch(r"[+-]?inf(inity)?", str(cell), re.IGNORECASE)
            _refuse(
                f"{'finite ' if endless else ''}numbers in column {name!r}",
                f"{_shown(self.columns[name][bad])} in {self.place(bad)}",
                "correct that cell, or leave it empty"
                if endless
                else "correct that cell, or choose another column with --target",
            )
        if values.null_count == len(values):
            _refuse(
                f"numbers in column {name!r}",
                "missing values only",
                "choose another column with --target",
            )
        return name, values, [note.format(name=name) for note in notes]

    def _without_gaps(self, name: str, times: Any) -> Any:
        if times.null_count:
            row = times.is_null().index(True).as_py()
            _refuse(
                f"a date in every row of column {name!r}",
                f"none in {self.place(row)}",
                "fill that cell or remove the row",
            )
        return times

    def _begins_with_date(self, name: str) -> bool:
        first = self.columns[name].drop_null()[:1]
        found = read_times(first, name) if len(first) else None
        return found is not None and found.dated

    def _counts_up(self, values: Any, id: str | None) -> bool:
        import numpy as np

        if values.null_count:
            return False
        rising = np.diff(values.to_numpy(zero_copy_only=False)) > 0
        if id is not None:
            labels = np.asarray(self.columns[id].to_pylist(), dtype=object)
            rising = rising | (labels[1:] != labels[:-1])
        return bool(rising.all())

    def _bad_time(self, name: str) -> NoReturn:
        row = first_unreadable(self.columns[name])
        cell = _shown(self.columns[name][row])
        if both_slashed(self.columns[name]):
            _refuse(
                f"dates in column {name!r} that can be read in one way",
                f"{cell} in {self.place(row)}, day first or month first",
                "write dates as 2024-01-31",
            )
        _refuse(
            f"dates, years or running numbers in column {name!r}",
            f"{cell} in {self.place(row)}",
            "write dates as 2024-01-31, or choose another column with --time",
        )


def _repeats(ds: Any) -> bool:
    return len(ds.unique()) < len(ds)


def _refuse_repeats(search: _Search, time: str, target: str, ds: Any) -> None:
    first_seen: dict[Any, int] = {}
    for row, value in enumerate(ds.to_pylist() if _repeats(ds) else ()):
        earlier = first_seen.setdefault(value, row)
        if earlier == row:
            continue
        others = [name for name in search.names if name not in (time, target)]
        remedy = "keep one row a date"
        if others:
            remedy += f", or name the column that tells series apart with --id ({_listed(others)})"
        raise DataError(
            f"each date once in column {time!r}",
            f"{str(value).removesuffix(' 00:00:00')} in {search.place(earlier)} "
            f"and in {search.place(row)}",
            remedy,
        )


def _listed(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _quoted(name: str) -> str:
    return f'"{name}"' if re.search(r"\W", name) else name


def _shown(cell: Any) -> str:
    value = cell.as_py()
    return (
        "an empty cell"
        if value is None
        else repr(value if isinstance(value, str) else str(value))[:60]
    )


def _refuse(expected: str, found: str, remedy: str) -> NoReturn:
    raise DataError(expected, found, remedy)
