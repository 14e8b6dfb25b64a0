"""Tables of every kind, with every mixture of defects; and a slow, obvious reading of them.

A `Draft` is a table as lists of Python cells. `table` makes a pandas, polars or pyarrow table of
it, `cells_by_key` reads it as a dictionary from (series, date) to its values.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st

from throughtime.forecasting import Panel

KINDS = ("pandas", "polars", "pyarrow")
ZONES = ("Europe/Paris", "America/New_York", "Australia/Lord_Howe", "UTC")
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
# the nights on which clocks jump in one of the zones, and one on which none does
NIGHTS = ((2024, 3, 30), (2024, 10, 26), (2024, 11, 2), (2024, 3, 9), (2024, 4, 6), (2023, 6, 1))


@dataclass(frozen=True)
class Draft:
    """A table that is not made yet: its cells, what it should be read with, what is wrong with it.

    `sound` says that it has to be read; any other is read as `cells_by_key` does, or refused.
    """

    columns: dict[str, list[Any]]
    freq: str | int | None
    kind: str
    categories: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    doubled: str = ""
    sound: bool = True
    defects: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return max((len(cells) for cells in self.columns.values()), default=0)

    def rows(self, index: list[int]) -> Draft:
        return replace(
            self, columns={name: [c[i] for i in index] for name, c in self.columns.items()}
        )

    def put(self, name: str, i: int, cell: Any) -> Draft:
        cells = list(self.columns[name])
        cells[i] = cell
        return replace(self, columns=self.columns | {name: cells})

    def table(self) -> Any:
        """Make the table; a mixture that its library cannot hold is not an example."""
        booleans = {isinstance(cell, bool) for cell in self.columns.get("ds", ())}
        if len(booleans) > 1 and self.kind != "pandas":
            return reject()  # the others make 1 of true among numbers
        maker = {"pandas": _in_pandas, "polars": _in_polars, "pyarrow": _in_pyarrow}[self.kind]
        try:
            return maker(self)
        except (TypeError, ValueError, OverflowError, pa.ArrowException, pl.exceptions.PolarsError):
            return reject()


def _in_pandas(draft: Draft) -> Any:
    made = {}
    for name, cells in draft.columns.items():
        made[name] = pd.Series(cells, dtype=object if name in draft.objects or not cells else None)
        if name in draft.categories:
            column = made[name].astype("category")
            unused = [0] if column.cat.categories.dtype.kind in "iu" else ["unused"]
            fits = column.cat.categories.dtype.kind not in "MmfO" or draft.columns[name]
            made[name] = (
                column.cat.add_categories(unused) if fits and unused[0] not in cells else column
            )
    frame = pd.DataFrame(made)
    return pd.concat([frame, frame[[draft.doubled]]], axis=1) if draft.doubled else frame


def _in_polars(draft: Draft) -> Any:
    made = []
    for name, cells in draft.columns.items():
        as_object = name in draft.objects
        column = pl.Series(name, cells, dtype=pl.Object) if as_object else pl.Series(name, cells)
        made.append(column.cast(pl.Categorical) if name in draft.categories else column)
    return pl.DataFrame(made)


def _in_pyarrow(draft: Draft) -> Any:
    arrays = {name: pa.array(cells) for name, cells in draft.columns.items()}
    for name in draft.categories:
        if name in arrays:
            arrays[name] = arrays[name].dictionary_encode()
    names = [*arrays, draft.doubled] if draft.doubled else list(arrays)
    return pa.Table.from_arrays([arrays[name] for name in names], names=names)


TEXT_IDS = st.lists(
    st.one_of(
        st.text(max_size=4),
        st.sampled_from(["Zürich", "東京", "a b", "a,b", "'", "\n", "\0", "🦊", "NaN", "None", "1"]),
    ),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip
NUMBER_IDS = st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=4, unique=True)
NUMBERS = st.one_of(
    st.integers(-9, 9).map(float),
    st.floats(-(2.0**49), 2.0**49, width=32, allow_subnormal=False),
    st.just(0.0),
    st.just(1e-300),
)
EMPTY = st.sampled_from([None, math.nan])


@st.composite
def clean_tables(draw: st.DrawFn, covariates: tuple[str, ...] = ()) -> Draft:
    """Draw a table that has to be read: gaps in its values, no defect."""
    ids = draw(st.one_of(TEXT_IDS, NUMBER_IDS))
    dates, freq = draw(st.sampled_from(list(DATES)).flatmap(lambda name: DATES[name]))
    names: list[Any] = []
    ds: list[Any] = []
    for name in ids:
        first, n = draw(st.integers(0, 5)), draw(st.integers(2, 8))
        names += [name] * n
        ds += [dates(first + k) for k in range(n)]
    columns: dict[str, list[Any]] = {"unique_id": names, "ds": ds}
    cells = st.lists(st.one_of(NUMBERS, EMPTY), min_size=len(ds), max_size=len(ds))
    for name in ("y", *covariates):
        columns[name] = draw(cells)
    for name in ("y", *covariates):  # something in every series, and in every column
        for i in range(len(ds)):
            if i == 0 or names[i] != names[i - 1]:
                columns[name][i] = draw(NUMBERS)
    if draw(st.booleans()) and len(ids) == 1:
        del columns["unique_id"]
    kind = draw(st.sampled_from(KINDS))
    categories = ("unique_id",) if "unique_id" in columns and draw(st.booleans()) else ()
    if kind == "polars" and categories and isinstance(ids[0], int):
        categories = ()
    draft = Draft(columns, freq, kind, categories)
    if draw(st.booleans()):
        draft = draft.rows(draw(st.permutations(range(len(ds)))))
    return draft


def _steps(start: Any, step: Any, freq: str | int) -> tuple[Callable[[int], Any], str | int]:
    return (lambda k: start + k * step), freq


def _zoned(night: tuple[int, int, int], zone: str, minutes: int) -> Any:
    start = dt.datetime(*night, 18, tzinfo=dt.UTC)
    step = dt.timedelta(minutes=minutes)
    return (
        lambda k: (start + k * step).astimezone(ZoneInfo(zone)),
        "h" if minutes == 60 else f"{minutes}min",
    )


def _local_days(night: tuple[int, int, int], zone: str, hour: int) -> Any:
    start = dt.datetime(*night, hour) - 3 * DAY
    return (lambda k: (start + k * DAY).replace(tzinfo=ZoneInfo(zone))), "D"


def _months(year: int) -> Any:
    return (lambda k: dt.date(year + k // 12, k % 12 + 1, 1)), "MS"


def _text(night: tuple[int, int, int], separator: str) -> Any:
    start = dt.datetime(*night, 20)
    return (lambda k: (start + k * HOUR / 2).isoformat(separator, "minutes")), "30min"


_NIGHT = st.sampled_from(NIGHTS)
_ZONE = st.sampled_from(ZONES)
DATES: dict[str, st.SearchStrategy[Any]] = {
    "integers": st.builds(_steps, st.integers(-99, 2**40), st.just(1), st.just(1)),
    "strides": st.builds(_steps, st.integers(-99, 99), st.just(7), st.just(7)),
    "whole floats": st.builds(_steps, st.just(1700.0), st.just(1.0), st.just(1)),
    "dates": st.builds(_steps, st.dates(dt.date(1, 2, 1), dt.date(9990, 1, 1)), st.just(DAY), st.just("D")),
    "hours": st.builds(lambda night: _steps(dt.datetime(*night), HOUR, "h"), _NIGHT),
    "months": st.builds(_months, st.integers(1400, 2200)),
    "text": st.builds(_text, _NIGHT, st.sampled_from("T ")),
    "zoned hours": st.builds(_zoned, _NIGHT, _ZONE, st.sampled_from([60, 30, 15])),
    "zoned days": st.builds(_local_days, _NIGHT, _ZONE, st.sampled_from([0, 12, 23])),
}  # fmt: skip


@st.composite
def any_tables(draw: st.DrawFn, covariates: tuple[str, ...] = ()) -> Draft:
    """Draw a table with up to three defects."""
    draft = draw(clean_tables(covariates))
    if draw(st.booleans()):
        draft = replace(draft, freq=None, sound=False)  # too few dates to find the step, perhaps
    for defect in draw(st.lists(st.sampled_from(list(DEFECTS)), max_size=3)):
        if len(draft):
            draft = replace(DEFECTS[defect](draft, draw), defects=(*draft.defects, defect))
    return draft


Defect = Callable[[Draft, st.DrawFn], Draft]


def _cell(draft: Draft, draw: st.DrawFn) -> int:
    return draw(st.integers(0, len(draft) - 1))


def _column(draft: Draft, draw: st.DrawFn, *leave: str) -> str:
    names = [name for name in draft.columns if name not in leave]
    return draw(st.sampled_from(names)) if names else ""


def _spoiled(*cells: Any) -> Defect:
    def put(draft: Draft, draw: st.DrawFn) -> Draft:
        name = _column(draft, draw, "unique_id", "ds")
        if not name:
            return draft
        cell = draw(st.sampled_from(cells))
        draft = draft.put(name, _cell(draft, draw), cell)
        as_object = (name,) if isinstance(cell, (str, bool)) and draft.kind == "pandas" else ()
        objects = (*draft.objects, *as_object)
        return replace(draft, sound=False, objects=objects)

    return put


def _spoiled_key(name: str, *cells: Any) -> Defect:
    def put(draft: Draft, draw: st.DrawFn) -> Draft:
        if name not in draft.columns:
            return draft
        draft = draft.put(name, _cell(draft, draw), draw(st.sampled_from(cells)))
        as_object = draft.kind != "pyarrow" and draw(st.booleans())
        objects = (*draft.objects, name) if as_object else draft.objects
        categories = tuple(c for c in draft.categories if c != name)
        return replace(draft, sound=False, objects=objects, categories=categories)

    return put


def _twice(draft: Draft, draw: st.DrawFn) -> Draft:
    draft = draft.rows([*range(len(draft)), _cell(draft, draw)])
    return replace(draft, sound=False)


def _without_rows(draft: Draft, draw: st.DrawFn) -> Draft:
    gone = draw(st.sets(st.integers(0, len(draft) - 1), max_size=len(draft)))
    return replace(draft.rows([i for i in range(len(draft)) if i not in gone]), sound=False)


def _without_column(draft: Draft, draw: st.DrawFn) -> Draft:
    name = _column(draft, draw)
    columns = {n: cells for n, cells in draft.columns.items() if n != name}
    doubled = "" if draft.doubled == name else draft.doubled
    return replace(draft, columns=columns, sound=False, doubled=doubled)


def _double_column(draft: Draft, draw: st.DrawFn) -> Draft:
    name = _column(draft, draw)
    if draft.kind == "polars" or not name:
        return draft
    return replace(draft, doubled=name, sound=False)


def _no_rows(draft: Draft, draw: st.DrawFn) -> Draft:
    return replace(draft.rows([]), sound=False)


def _no_values(draft: Draft, draw: st.DrawFn) -> Draft:
    """Leave a whole series empty."""
    name = _column(draft, draw, "unique_id", "ds")
    if not name:
        return draft
    ids = draft.columns.get("unique_id", [0] * len(draft))
    emptied = ids[_cell(draft, draw)]
    cells = [None if i == emptied else c for i, c in zip(ids, draft.columns[name], strict=True)]
    return replace(draft, columns=draft.columns | {name: cells}, sound=False)


def _as_objects(draft: Draft, draw: st.DrawFn) -> Draft:
    name = _column(draft, draw)
    if draft.kind == "polars":
        return draft
    return replace(draft, objects=(*draft.objects, name), sound=False)


def _as_categories(draft: Draft, draw: st.DrawFn) -> Draft:
    return replace(draft, categories=(*draft.categories, _column(draft, draw)), sound=False)


NOON = dt.datetime(2024, 3, 31, 12, 7)
DEFECTS: dict[str, Defect] = {
    "infinite": _spoiled(math.inf, -math.inf),
    "huge": _spoiled(1e17, -1e300, 2**70, 10**400),
    "text": _spoiled("abc", "1,5", "\udcff", "1e400", "½"),
    "text of a number": _spoiled("1.5", " -2 ", "nan", ""),
    "boolean": _spoiled(True, False),
    "strange": _spoiled(b"x", [1.0], {"a": 1}, dt.date(2024, 1, 1), NOON, 1j, object()),
    "empty date": _spoiled_key("ds", None, math.nan),
    "no date": _spoiled_key("ds", "soon", "2024-02-30", "", "2024-1-1", b"2024", True, 1j, [1]),
    "another date": _spoiled_key(
        "ds", NOON, NOON.replace(tzinfo=ZoneInfo("Asia/Tokyo")), 5, 10**30, 2**63, -(2**63), 0.5,
        1e300, math.inf, "2024-03-31T02:30", "2024-03-31T02:30:00+01:00", dt.date(9999, 12, 31),
        dt.date(1, 1, 1), dt.datetime(9999, 12, 31, 23, 30), dt.timedelta(1), dt.time(1),
    ),
    "empty name": _spoiled_key("unique_id", None, math.nan),
    "another name": _spoiled_key("unique_id", "x", 5, 6.0, True, b"\xff", "\udcff", [1], NOON),
    "twice": _twice,
    "gaps": _without_rows,
    "missing column": _without_column,
    "double column": _double_column,
    "no rows": _no_rows,
    "no values": _no_values,
    "objects": _as_objects,
    "categories": _as_categories,
}  # fmt: skip


def stamp_of(cell: Any, panel: Panel) -> Any:
    """Return a date as the panel's stamps have it: a whole number, or microseconds."""
    if isinstance(cell, dt.datetime):
        if cell.tzinfo is not None:
            zone = dt.UTC if panel.dates.clock == "utc" else ZoneInfo(panel.dates.zone)
            cell = cell.astimezone(zone).replace(tzinfo=None)
        return np.datetime64(cell, "us")
    if isinstance(cell, dt.date):
        return np.datetime64(cell.isoformat(), "us")
    if isinstance(cell, str):
        return np.datetime64(cell.strip(), "us")
    assert not isinstance(cell, bool)
    assert cell == int(cell)
    return int(cell)


def value_of(cell: Any) -> float:
    """Return a number, NaN for an empty cell; what is neither is an error here."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    assert math.isnan(float(cell)) or abs(float(cell)) <= 1e16, cell
    return float(cell)


def cells_by_key(
    draft: Draft, panel: Panel, names: tuple[str, ...], only: set[tuple[Any, Any]] | None = None
) -> dict[tuple[Any, Any], list[float]]:
    """Read the draft cell by cell; a table that should have been refused is an error here."""
    assert draft.doubled not in ("unique_id", "ds", *names) or not draft.doubled
    found: dict[tuple[Any, Any], list[float]] = {}
    ids = draft.columns.get("unique_id", [panel.ids[0]] * len(draft))
    for i in range(len(draft)):
        key = _name_of(ids[i], panel.ids[0]), stamp_of(draft.columns["ds"][i], panel)
        if only is not None and key not in only:
            continue
        assert key not in found, f"{key} twice"
        found[key] = [value_of(draft.columns[n][i]) for n in names]
    return found


def _name_of(name: Any, like: Any) -> Any:
    assert name is not None
    assert not isinstance(name, float) or not math.isnan(name)
    if isinstance(like, int):
        return int(name)
    return str(name).lower() if isinstance(name, bool) else str(name)
