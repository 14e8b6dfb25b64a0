"""Cells to a series: which column holds the dates, which the values, and what they say.

What is not told is found: the column of dates by its name or because its cells are dates, years
or running numbers; the column of values by its name or because it is the only numeric one left.
Where two readings are possible nothing is guessed: the error lists them and names the option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from throughtime._errors import DataError
from throughtime.interfaces.cells import (
    both_slashed,
    first_unreadable,
    mostly_numbers,
    read_numbers,
    read_times,
    read_truth,
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
    """A table `unique_id, ds` and the columns of values (pyarrow), and how it was found in the file.

    `time`, `targets`, `hist`, `futr` and `id` are the file's own column names (`id` None for a
    single series). In the table a single target is called `y`, all others as in the file.
    `place(row)` says in words where a row of the table stands in the file, which has `rows`. The table
    has but the first of them where the others were read in pieces.
    """

    source: str
    table: Any
    time: str
    targets: tuple[str, ...]
    id: str | None
    notes: tuple[str, ...]
    place: Callable[[int], str]
    rows: int
    hist: tuple[str, ...] = ()
    futr: tuple[str, ...] = ()

    @property
    def roles(self) -> dict[str, Any]:
        """The arguments of `read_frame` and of a forecaster that name columns of the table."""
        given = {"hist": self.hist, "futr": self.futr}
        if len(self.targets) > 1:
            given["target"] = self.targets
        return {name: columns for name, columns in given.items() if columns}


def choose(
    sheet: Sheet,
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    id: str | None = None,
    *,
    hist: Sequence[str] | None = None,
    futr: Sequence[str] | None = None,
) -> Reading:
    """Find (or take as told) the columns of a sheet, and read their cells.

    Raises DataError where a column is missing, ambiguous, or has a cell that cannot be read; it
    names the column, the place in the file and the option that settles it.
    """
    import pyarrow as pa

    search = Search(sheet)
    told = {
        "--time": search.named("--time", time),
        "--target": search.named("--target", target),
        "--id": search.named("--id", id),
        "--hist": search.named("--hist", hist),
        "--futr": search.named("--futr", futr),
    }
    _refuse_two_roles(told)
    targets, past, ahead = told["--target"], told["--hist"], told["--futr"]
    if id is None:
        taken = [name for names in told.values() for name in names]
        id = next((n for n in search.names if n.lower() in ID_NAMES and n not in taken), None)
        id_told = False
    else:
        id_told = True
    others = (*targets, *past, *ahead)
    time, ds, time_notes = search.time(time, exclude=(*others, id), id=id)
    if id is not None and not id_told and not _repeats(ds) and len(search.columns[id].unique()) > 1:
        id = None  # a number for every row
    if not targets:
        targets = (search.target(exclude=(time, id, *others)),)
    ids = pa.array([_joined(targets)] * len(ds)) if id is None else search.labels(id)
    if id is None:
        _refuse_repeats(search, time, (*targets, *past, *ahead), ds)
    columns, notes = {"unique_id": ids, "ds": ds}, [*sheet.notes, *time_notes]
    names = ("y",) if len(targets) == 1 else targets
    _refuse_taken((*(() if len(targets) == 1 else targets), *past, *ahead), names)
    for name, own in zip(names, targets, strict=True):
        columns[name], found = search.values(own)
        notes += found
    for name in (*past, *ahead):
        columns[name], found = search.covariate(name)
        notes += found
    table = pa.table(columns)
    return Reading(
        sheet.source, table, time, targets, id, tuple(notes), search.place, len(ds), past, ahead
    )


def choose_static(sheet: Sheet, id: str) -> tuple[Any, Callable[[int], str]]:
    """Return the table `unique_id` and what is known of each series, and the place of its rows.

    `id` is what the column of names is called in the file of the series; text that is all numbers
    is read as numbers. Raises DataError where there is no such column, or a name is empty.
    """
    import pyarrow as pa

    search = Search(sheet, beside=True)
    own = search.id(id)
    columns = {"unique_id": search.labels(own)}
    for name, column in search.columns.items():
        if name != own:
            values, bad, _ = read_numbers(column, sheet.delimiter == ";")
            columns[name] = values if bad is None else column
    return pa.table(columns), search.place


def choose_future(sheet: Sheet, reading: Reading) -> tuple[Any, Callable[[int], str]]:
    """Return the table `unique_id, ds` and the columns known ahead, and the place of its rows.

    Columns are called as in the file of the series. Raises DataError where one is missing, or has a
    cell that cannot be read.
    """
    import pyarrow as pa

    search = Search(sheet, beside=True)
    ahead = search.named("--futr", reading.futr)
    id = None if reading.id is None else search.id(reading.id)
    time = reading.time if reading.time in search.names else None
    time, ds, _ = search.time(time, exclude=(*ahead, id), id=id)
    kinds = [
        "dates" if pa.types.is_timestamp(c.type) else "whole numbers"
        for c in (reading.table["ds"], ds)
    ]
    if kinds[0] != kinds[1]:
        _refuse(
            f"{kinds[0]} in column {time!r} of {sheet.source}, as in {reading.source}",
            kinds[1],
            "write them alike",
        )
    columns = {} if id is None else {"unique_id": search.labels(id)}
    columns |= {"ds": ds} | {name: search.covariate(name)[0] for name in ahead}
    return pa.table(columns), search.place


class Search:
    """The columns of a sheet without its empty rows, found and read one by one."""

    def __init__(self, sheet: Sheet, beside: bool = False) -> None:
        import numpy as np
        import pyarrow as pa

        self.sheet, self._of = sheet, f" of {sheet.source}" if beside else ""
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
        """Say where a row stands, and in which file where it is one beside the first."""
        return self.sheet.place(int(row if self._rows is None else self._rows[row])) + self._of

    def named(self, option: str, told: str | Sequence[str] | None) -> tuple[str, ...]:
        """Return the columns that an option names; several are parted by commas, or told in turn."""
        told = () if told is None else (told,) if isinstance(told, str) else told
        whole = option in ("--time", "--id")
        names: list[str] = []
        for text in told:
            names += [text] if whole or text in self.columns else map(str.strip, text.split(","))
        for name in names:
            if name not in self.columns:
                _refuse(
                    f"{option} to name a column of {self.sheet.source}",
                    repr(name),
                    f"choose one of {_listed(self.names)}",
                )
        return tuple(names)

    def id(self, name: str) -> str:
        """Return the column of the series' names, of that name or one that such columns have."""
        known = (name, *(n for n in self.names if n.lower() in ID_NAMES))
        found = next((n for n in known if n in self.names), None)
        return found or _refuse(
            f"a column {name!r} with the names of the series in {self.sheet.source}",
            f"only {_listed(self.names)}",
            "add that column, or rename the one that has them",
        )

    def time(
        self, told: str | None, exclude: Iterable[str | None], id: str | None
    ) -> tuple[str, Any, list[str]]:
        """Return the column of times that is told, or found among the others, its cells and notes."""
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

    def target(self, exclude: Iterable[str | None]) -> str:
        """Return the column of values: the one with a usual name, or the only one of numbers."""
        exclude = tuple(exclude)
        free = [name for name in self.names if name not in exclude]
        numeric = [name for name in free if mostly_numbers(self.columns[name])]
        hinted = [name for name in numeric if name.lower() in TARGET_NAMES]
        if len(hinted) == 1 or len(numeric) == 1:
            return (hinted if len(hinted) == 1 else numeric)[0]
        if numeric:
            _refuse(
                f"one column of values in {self.sheet.source}",
                f"{len(numeric)}: {_listed(numeric)}",
                f"choose one, for example --target {_quoted(numeric[0])}, or several",
            )
        if len(free) == 1:
            return free[0]
        return _refuse(
            f"a column of values in {self.sheet.source}",
            f"no numbers among {_listed(free)}" if free else "only the column of dates",
            "add one, or name it with --target",
        )

    def labels(self, name: str) -> Any:
        """Return a column as text; no cell may be empty."""
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

    def covariate(self, name: str) -> tuple[Any, list[str]]:
        """Read numbers, or true and false as 1 and 0."""
        column = self.columns[name]
        if str(column.type) == "bool":
            return column, []
        made = read_truth(column)
        if made is not None:
            return made, []
        return self.values(name, "make it numbers, with 0 and 1 for each label, or leave it out")

    def values(
        self,
        name: str,
        remedy: str = "correct that cell, or choose another column with --target",
        *,
        may_be_empty: bool = False,
    ) -> tuple[Any, list[str]]:
        """Read numbers, and say which commas were read how."""
        values, bad, notes = read_numbers(self.columns[name], self.sheet.delimiter == ";")
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
                "correct that cell, or leave it empty" if endless else remedy,
            )
        if values.null_count == len(values) and not may_be_empty:
            _refuse(f"numbers in column {name!r}", "missing values only", "choose another column")
        return values, [note.format(name=name) for note in notes]

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


def _refuse_two_roles(told: dict[str, tuple[str, ...]]) -> None:
    taken: dict[str, str] = {}
    for option, names in told.items():
        for name in names:
            if name in taken:
                both = "twice" if taken[name] == option else f"and in {taken[name]}"
                _refuse("each column in one place", f"{name!r} in {option} {both}", "name it once")
            taken[name] = option


def _refuse_taken(own: Iterable[str], names: Iterable[str]) -> None:
    """Refuse columns whose names the table has for others."""
    known = {"unique_id", "ds", *(["y"] if tuple(names) == ("y",) else [])}
    for name in own:
        if name in known:
            _refuse(
                f"no column called {_listed(sorted(known))} beside those of names, dates and values",
                repr(name),
                "rename that column",
            )


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "series"


def _refuse_repeats(search: Search, time: str, used: Iterable[str], ds: Any) -> None:
    first_seen: dict[Any, int] = {}
    for row, value in enumerate(ds.to_pylist() if _repeats(ds) else ()):
        earlier = first_seen.setdefault(value, row)
        if earlier == row:
            continue
        others = [name for name in search.names if name not in (time, *used)]
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
