"""A long Parquet file, read in pieces, is what it is when read at once; so are its mistakes."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from throughtime._errors import DataError
from throughtime.forecasting.series import parquet
from throughtime.interfaces import files, reading
from throughtime.interfaces.options import Options

N = 40


def days(n=N, start="2024-01-01"):
    return np.datetime64(start) + np.arange(n)


def plain(n=N, shops=2, **columns):
    """A table of shops, each with `n` days."""
    y = np.random.default_rng(0).normal(size=shops * n)
    table = {"shop": np.repeat([f"s{i}" for i in range(shops)], n), "ds": np.tile(days(n), shops)}
    return pa.table(table | {"y": y} | columns)


def without(table, *rows):
    return table.take([i for i in range(len(table)) if i not in rows])


def put(table, name, values):
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def spoiled(table, name, row, value):
    values = table[name].to_pylist()
    values[row] = value
    return put(table, name, values)


def outcome(path, head, **told):
    """All that reading a file gives, or the error, where `head` rows find its columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "HEAD", head)
        options = Options(str(path), 2, **told)
        try:
            found, panel = reading.read(reading.open_sheet(options), options)
        except DataError as error:
            return str(error)
    names = ("ids", "frequency", "n_gaps", "n_missing", "dates", "backend", "targets", "notes")
    made = {name: getattr(panel, name) for name in names}
    made["rows"] = [np.nan_to_num(panel.row(r), nan=1e9).tolist() for r in range(len(panel))]
    made |= {"starts": panel.starts.tolist(), "dtype": panel.values.dtype}
    made |= {"static": panel.static.names, "room": panel.room.tolist()}
    names = ("source", "time", "targets", "id", "rows", "hist", "futr", "notes")
    return made, {name: getattr(found, name) for name in names}


LISTS = pa.array([[1]] * 2 * N)
DAYS = np.tile(days(), 2)
SHOPS = plain(temp=np.arange(2 * N) / 7)
ID, BOTH = {"id": "shop"}, {"id": "shop", "target": ["y", "temp"]}

# name: (the table, options, whether it is read in pieces)
TABLES = {
    "shops": (plain(), ID, True),
    "one series": (plain(shops=1).drop_columns(["shop"]), {}, True),
    "two targets": (SHOPS, BOTH, True),
    "a column of another name": (plain().rename_columns(["shop", "day", "sold"]), ID, True),
    "a name twice": (
        pa.Table.from_arrays([*plain().columns, plain()["shop"]], ["shop", "ds", "y", "shop"]), ID, False),
    "values twice": (
        pa.Table.from_arrays([*plain().columns, plain()["y"]], ["shop", "ds", "y", "y"]), ID | {"target": ["y"]}, False),
    "gaps": (without(plain(), 7, 8, 50), ID, True),
    "empty values": (spoiled(plain(), "y", 30, None), ID, True),
    "values of NaN": (spoiled(plain(), "y", 30, float("nan")), ID, True),
    "a late first value": (spoiled(plain(), "y", N, None), ID, True),
    "single precision": (put(plain(), "y", np.arange(2 * N, dtype=np.float32)), ID, True),
    "whole numbers": (put(plain(), "y", np.arange(2 * N)), ID, True),
    "stamps": (put(plain(), "ds", DAYS.astype("datetime64[ns]")), ID, True),
    "running numbers": (put(plain(), "ds", np.tile(np.arange(N), 2)), ID, True),
    "years": (put(plain(), "ds", np.tile(np.arange(1700, 1700 + N), 2)), ID, True),
    "names of numbers": (put(plain(), "shop", np.repeat([7, 30], N)), ID, True),
    "names of a dictionary": (
        put(plain(), "shop", pa.array(np.repeat(["a", "b"], N)).dictionary_encode()), ID, True),
    "large text": (put(plain(), "shop", pa.array(np.repeat(["a", "b"], N), pa.large_string())), ID, True),
    "names that are found": (plain().rename_columns(["id", "ds", "y"]), {}, True),
    "a stated step": (without(plain(), 5), ID | {"freq": "D"}, True),
    "lists beside": (plain().append_column("tags", LISTS), ID, True),
    "numbers of days": (put(plain(), "ds", [int(str(day).replace("-", "")) for day in DAYS]), ID, False),
    "text for dates": (put(plain(), "ds", [str(day) for day in DAYS]), ID, False),
    "a zone": (put(plain(), "ds", pa.array(DAYS.astype("datetime64[us]"), pa.timestamp("us", "Asia/Tokyo"))), ID, False),
    "text for values": (put(plain(), "y", [str(k) for k in range(2 * N)]), ID, False),
    "decimals": (put(plain(), "y", pa.array(range(2 * N), pa.decimal128(9, 2))), ID, False),
    "not in order": (plain().take(np.random.default_rng(1).permutation(2 * N)), ID, False),
    "shops by turns": (plain().sort_by([("ds", "ascending"), ("shop", "ascending")]), ID, False),
    "covariates": (SHOPS, ID | {"target": ["y"], "hist": ["temp"]}, False),
    "a late covariate": (SHOPS, ID | {"target": ["y"], "futr": ["temp"]}, False),
    "names in turn": (
        put(put(plain(), "ds", days(2 * N)), "shop", np.repeat([1, 2], N)).rename_columns(["id", "ds", "y"]), {}, False),
    "a number for each row": (
        put(plain(shops=1), "shop", np.arange(N)).rename_columns(["id", "ds", "y"]), {}, True),
    "a late infinity": (spoiled(plain(), "y", 70, float("inf")), ID, False),
    "a late empty date": (spoiled(plain(), "ds", 70, None), ID, False),
    "a late empty name": (spoiled(plain(), "shop", 70, None), ID, False),
    "a late slip": (put(plain(), "ds", np.append(DAYS[:-1], np.datetime64("2924-01-01"))), ID, False),
    "a date twice": (plain().take([*range(2 * N), 2 * N - 1]), ID, False),
    "text among names": (plain(), {}, False),
    "no such column": (plain(), {"id": "shp"}, False),
    "no values at first": (put(plain(), "y", pa.array([None] * 20 + [1.0, 2.0] * 30)), ID, False),
    "an empty row": (
        pa.concat_tables([plain(), pa.table({"shop": ["s1"], "ds": days(1), "y": [0.0]}).take(pa.array([None], pa.int64()))]),
        ID, False),
    "no step": (put(plain(), "ds", np.cumsum(np.random.default_rng(2).integers(1, 9, 2 * N)) + np.datetime64("2024-01-01")), ID, False),
}  # fmt: skip


@pytest.mark.parametrize(("table", "told", "pieces"), TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("group", [7, 10**6])
def test_the_panel_and_the_errors_are_the_same(tmp_path, monkeypatch, table, told, pieces, group):
    path = tmp_path / "data.parquet"
    pq.write_table(table, path, row_group_size=group)
    expected = outcome(path, 10**6, **told)
    monkeypatch.setattr(parquet, "_ROWS", 11)
    whole = []
    monkeypatch.setattr(files, "_bytes", lambda *source: whole.append(1) or bytes_of(*source))
    assert outcome(path, 10, **told) == expected
    assert not whole if pieces else whole


bytes_of = files._bytes


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    lost=st.sets(st.integers(0, 60), max_size=9),
    empty=st.sets(st.integers(0, 60), max_size=9),
    head=st.integers(1, 20),
    group=st.integers(1, 40),
    step=st.sampled_from(["D", "h", "M"]),
    told=st.booleans(),
)
def test_tables_with_holes_are_the_same(tmp_path, lengths, lost, empty, head, group, step, told):
    start = np.datetime64("2024-01", step)
    ds = np.concatenate([(start + np.arange(n)).astype("datetime64[us]") for n in lengths])
    names = np.repeat([f"s{i}" for i in range(len(lengths))], lengths)
    y = [None if k in empty else k**0.5 for k in range(len(ds))]
    kept = [k for k in range(len(ds)) if k not in lost] or [0]
    table = pa.table({"id": names, "ds": ds, "y": pa.array(y, pa.float64())}).take(kept)
    path = tmp_path / "data.parquet"
    pq.write_table(table, path, row_group_size=group)
    options = {"id": "id"} if told else {}
    assert outcome(path, head, **options) == outcome(path, 10**6, **options)


def test_what_a_series_never_changes_is_read_beside_the_pieces(tmp_path):
    pq.write_table(plain(), tmp_path / "data.parquet")
    (tmp_path / "more.csv").write_text("shop,area\ns1,3\ns0,4\n")
    told = {"id": "shop", "static": str(tmp_path / "more.csv")}
    made = outcome(tmp_path / "data.parquet", 10, **told)
    assert made == outcome(tmp_path / "data.parquet", 10**6, **told)
    assert made[0]["static"] == ("area",)


def test_other_files_are_begun_as_they_are_read(tmp_path):
    (tmp_path / "data.csv").write_text("ds,y\n" + "".join(f"{k},{k}\n" for k in range(30)))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + bytes(90))
    assert files.begin(str(tmp_path / "data.csv")).first_of is None
    for name in ("cut.parquet", "none.parquet", ""):
        with pytest.raises(DataError) as begun:
            files.begin(str(tmp_path / name))
        with pytest.raises(DataError) as whole:
            files.read(str(tmp_path / name))
        assert str(begun.value) == str(whole.value)


def test_the_date_of_a_piece_is_that_of_a_reading(tmp_path):
    pq.write_table(plain(), tmp_path / "data.parquet")
    options = Options(str(tmp_path / "data.parquet"), 2, id="shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "HEAD", 10)
        found, panel = reading.read(reading.open_sheet(options), options)
    assert (found.rows, found.table.num_rows) == (2 * N, 10)
    assert panel.like({"ds": panel.future(1)[1]})["ds"][0].as_py() == datetime(2024, 2, 10)
