"""Files to a table that `tt.evaluate` scores: forecasts, and the values that came.

    FILE        unique_id, ds, [cutoff], [y], LSTM, LSTM-lo-80, ...     choose_forecasts
    --actuals   the values, where FILE has none                         with_actuals

Of a table of several targets (`load-LSTM`, `price-LSTM`) those of one are taken, under the names of
their models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from throughtime._errors import DataError
from throughtime._words import count, joined
from throughtime.interfaces.cells import mostly_numbers
from throughtime.interfaces.columns import ID_NAMES, TARGET_NAMES, Reading, Search
from throughtime.interfaces.files import Sheet

CUTOFF = "cutoff"
_REMEDY = "correct that cell, or name the columns to score with --models"


@dataclass(frozen=True)
class Forecasts:
    """A table `unique_id, ds, [cutoff], [y]` and the forecasts (pyarrow), and how it was found.

    `time`, `id` and `target` are the file's own column names, None for those that it has not; `by`
    are the names of `tt.evaluate` for what was asked to be told apart. `place(row)` says in words
    where a row of the table stands in the file.
    """

    source: str
    table: Any
    time: str
    id: str | None
    target: str | None
    by: tuple[str, ...]
    notes: tuple[str, ...]
    place: Callable[[int], str]


def choose_forecasts(
    sheet: Sheet,
    time: str | None = None,
    target: str | None = None,
    id: str | None = None,
    *,
    by: Sequence[str] = (),
    models: Sequence[str] = (),
    needs_values: bool = True,
) -> Forecasts:
    """Find the columns of a table of forecasts, and read their cells; of all models, or of `models`.

    `time`, `target` and `id` may be names that another file has: they count where this one has them.
    Raises DataError where a column is missing or has a cell that cannot be read, SettingError for
    something in `by` that is not there.
    """
    import pyarrow as pa

    search = Search(sheet)
    time, id, value = (name if name in search.names else None for name in (time, id, target))
    id = id or next((name for name in search.names if name.lower() in ID_NAMES), None)
    before = "" if target is None else f"{target}-"  # of the columns of one target among several
    own = [name for name in search.names if before and name.startswith(before)]
    value = value or _values(search, needs_values)
    cutoff = CUTOFF if CUTOFF in search.names else None
    time, ds, notes = search.time(time, exclude=(id, value, cutoff, *own), id=id)
    found_by = tuple(_by(search, name, {id: "unique_id", time: "ds"}) for name in by)
    columns = {} if id is None else {"unique_id": search.labels(id)}
    columns["ds"] = ds
    if cutoff is not None:
        columns[CUTOFF] = search.time(CUTOFF, exclude=(), id=id)[1]
    if value is not None:
        columns["y"], found = search.values(value, may_be_empty=True)
        notes += found
    roles = {time, id, value, cutoff, "y", "horizon"}
    for name in search.names:
        model = name.removeprefix(before)
        if name in roles:
            continue
        if name in found_by:
            columns[name] = search.labels(name)
        elif (name in own or not own) and _is_forecast(search, name, model, models):
            columns[model], found = search.values(name, _REMEDY, may_be_empty=True)
            notes += found
    notes = [*sheet.notes, *dict.fromkeys(notes)]
    table = pa.table(columns)
    return Forecasts(sheet.source, table, time, id, value, found_by, tuple(notes), search.place)


def _values(search: Search, needs_values: bool) -> str | None:
    """Return the column of the values that came, if there is one; refuse a file without, if needed."""
    named = [name for name in search.names if name.lower() in TARGET_NAMES]
    if named or not needs_values:
        return min(named, key=lambda name: TARGET_NAMES.index(name.lower()), default=None)
    raise DataError(
        f"a column 'y' of the values that came in {search.sheet.source}",
        f"only {joined(map(repr, search.names))}",
        "name a file that has them with --actuals, or that column with --target",
    )


def _by(search: Search, name: str, roles: Mapping[str | None, str]) -> str:
    """Return the name that `tt.evaluate` has for what `--by` names."""
    from throughtime.forecasting.evaluation.forecast_columns import among

    if name == "series" and name not in search.names:
        return "unique_id"
    among("--by", name, dict.fromkeys(["unique_id", "horizon", *search.names]))
    return roles.get(name, name)


def _is_forecast(search: Search, name: str, model: str, models: Sequence[str]) -> bool:
    """Say whether a column is to be read: all are, but for text where `models` are named."""
    asked = any(model == each or model.startswith(f"{each}-") for each in models)
    return asked or not models or mostly_numbers(search.columns[name])


def with_actuals(forecasts: Forecasts, actuals: Reading) -> Forecasts:
    """Return the forecasts beside the values of another file for their series and dates.

    Raises DataError where it has a date twice, or none of theirs.
    """
    import pyarrow as pa

    check_alike(forecasts, actuals)
    _refuse_twice(actuals)
    table = forecasts.table.drop_columns(["y"] if forecasts.target else [])
    values = as_in(forecasts, actuals)
    keys = [name for name in ("unique_id", "ds") if name in values.column_names]
    joint = (
        table.select(keys)
        .append_column("row", pa.array(range(len(table))))
        .join(values.select([*keys, "y"]), keys)
        .sort_by("row")
    )
    lacking = joint["y"].null_count
    if lacking == len(joint):
        raise DataError(
            f"values of the dates and series of {forecasts.source} in {actuals.source}",
            "none",
            "name the file in which they came, or its columns with --time, --target and --id",
        )
    made = table.append_column("y", joint["y"])  # its order is that of the rows of FILE
    left = f"{actuals.source} has no value for {count(lacking, 'row')} of {len(joint):,}"
    notes = (*forecasts.notes, *actuals.notes, *([left] if lacking else []))
    return replace(forecasts, table=made, target=actuals.targets[0], notes=notes)


def as_in(forecasts: Forecasts, reading: Reading) -> Any:
    """Return the table of another file; a single series is called as that of the forecasts is."""
    import pyarrow as pa

    table = reading.table
    ours, theirs = (
        each["unique_id"].unique().to_pylist() if "unique_id" in each.column_names else ["series"]
        for each in (forecasts.table, table)
    )
    if reading.id is not None and forecasts.id is not None:
        return table
    if len(ours) != len(theirs):
        lacking, other = (reading, forecasts) if reading.id is None else (forecasts, reading)
        raise DataError(
            f"a column of {lacking.source} that tells its series apart, as {other.source} has",
            "none",
            "name it with --id",
        )
    if forecasts.id is None:
        return table.drop_columns(["unique_id"])
    same = pa.array(ours * len(table), pa.string())
    return table.set_column(table.column_names.index("unique_id"), "unique_id", same)


def check_alike(forecasts: Forecasts, reading: Reading) -> None:
    """Refuse dates beside running numbers."""
    import pyarrow as pa

    ours, theirs = (
        "dates" if pa.types.is_timestamp(each["ds"].type) else "whole numbers"
        for each in (forecasts.table, reading.table)
    )
    if ours != theirs:
        raise DataError(
            f"{ours} in column {reading.time!r} of {reading.source}, as in {forecasts.source}",
            theirs,
            "write them alike, or choose another column with --time",
        )


def _refuse_twice(reading: Reading) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = ["unique_id", "ds"]
    rows = reading.table.select(keys).append_column("row", pa.array(range(len(reading.table))))
    found = rows.group_by(keys).aggregate([("row", "min"), ("row", "max")])
    twice = found.filter(pc.less(found["row_min"], found["row_max"]))
    if len(twice):
        [first] = twice.slice(0, 1).to_pylist()
        raise DataError(
            f"one row a date of {reading.source}",
            f"{str(first['ds']).removesuffix(' 00:00:00')} of series {first['unique_id']!r} in both "
            f"{reading.place(first['row_min'])} and {reading.place(first['row_max'])}",
            "remove one, or name the column that tells series apart with --id",
        )
