"""Parquet in pieces: the panel that the whole table makes, and the same errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.forecasting import read_frame, read_parquet
from throughtime.forecasting.series import parquet
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.series.panel import Panel

PARIS = "Europe/Paris"
NAN = float("nan")


def written(table: pa.Table, folder: Path, **how: Any) -> Path:
    path = folder / "table.parquet"
    pq.write_table(table, path, **how)
    return path


def assert_equal(found: Panel, expected: Panel) -> None:
    for name in ("ids", "frequency", "n_gaps", "n_missing", "dates", "backend", "targets"):
        assert getattr(found, name) == getattr(expected, name), name
    assert [n for n in found.notes if n != parquet.AT_ONCE] == list(expected.notes)
    np.testing.assert_array_equal(found.starts, expected.starts)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    for r in range(len(expected)):
        np.testing.assert_array_equal(found.row(r), expected.row(r))


def either(read: Any) -> Panel | str:
    try:
        return read()
    except DataError as error:
        return str(error)


KINDS: dict[str, Any] = {
    "days": lambda ds: pa.array(ds.astype("datetime64[D]")),
    "seconds": lambda ds: pa.array(ds.astype("datetime64[s]")),
    "nanoseconds": lambda ds: pa.array(ds.astype("datetime64[ns]")),
    "a zone": lambda ds: pa.array(ds.astype(np.int64), pa.timestamp("us", PARIS)),
    "text": lambda ds: pa.array(np.datetime_as_string(ds, "m").tolist()),
}  # fmt: skip
NAMES: dict[str, Any] = {
    "text": lambda codes: pa.array([f"s{i}" for i in codes]),
    "dictionary": lambda codes: pa.array([f"s{i}" for i in codes]).dictionary_encode(),
    "integers": lambda codes: pa.array(codes, pa.int32()),
    "large text": lambda codes: pa.array([f"s{i}" for i in codes], pa.large_string()),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    alias = draw(st.sampled_from(["D", "B", "h", "MS", "ME", "W-TUE", "2D", "QS", "1", "3"]))
    frequency = Frequency(alias)
    start = 7 if frequency.is_integer else np.datetime64("2024-01-01T00:00:00", "us")
    if alias == "ME":
        start = np.datetime64("2024-01-31T00:00:00", "us")
    if alias == "W-TUE":
        start = np.datetime64("2024-01-02T00:00:00", "us")
    if draw(st.booleans()) and not frequency.is_integer:
        start = start + np.timedelta64(90, "m")
    codes, ds = [], []
    for i in range(draw(st.integers(1, 4))):
        steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 3, 5]), max_size=9))
        k = draw(st.integers(0, 5)) + np.concatenate([[0], np.cumsum(steps, dtype=np.int64)])
        codes += [i] * len(k)
        ds.append(frequency.at(start, k.astype(np.int64)))
    n = len(codes)
    y = draw(st.lists(st.sampled_from([1.0, -2.5, 0.0, None, NAN]), min_size=n, max_size=n))
    stamps = np.concatenate(ds)
    kind = draw(st.sampled_from(sorted(KINDS)))
    column = pa.array(stamps) if frequency.is_integer else KINDS[kind](stamps)
    columns = {"ds": column, "y": pa.array(y, draw(st.sampled_from([pa.float32(), pa.float64()])))}
    if codes[-1] or draw(st.booleans()):
        columns["unique_id"] = NAMES[draw(st.sampled_from(sorted(NAMES)))](codes)
    if draw(st.booleans()):
        columns["other"] = pa.array(range(n))
    return pa.table(columns)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=tables(), rows=st.integers(1, 30), freq=st.sampled_from([None, None, "D", "MS", 1]))
def test_pieces_make_the_panel_of_the_whole(
    table: pa.Table, rows: int, freq: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS", rows)
    path = written(table, tmp_path, row_group_size=7)
    expected = either(lambda: read_frame(pq.read_table(path), freq))
    found = either(lambda: read_parquet(path, freq))
    if isinstance(expected, str):
        assert found == expected
    else:
        assert isinstance(found, Panel)
        assert_equal(found, expected)


def sales(n_series: int = 40, n: int = 30) -> pa.Table:
    days = np.datetime64("2024-01-01") + np.arange(n)
    return pa.table({
        "unique_id": np.repeat([f"s{i}" for i in range(n_series)], n).tolist(),
        "ds": np.tile(days, n_series),
        "y": np.arange(n_series * n, dtype=np.float32),
    })  # fmt: skip


def test_what_is_in_order_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sales()
    monkeypatch.setattr(parquet, "_ROWS", 77)
    with_gaps = table.filter(np.arange(len(table)) % 30 != 13)
    for each in (table, with_gaps, table.drop_columns("unique_id")[:30], table[:1190]):
        panel = read_parquet(written(each, tmp_path))
        assert parquet.AT_ONCE not in panel.notes
        assert panel.values.dtype == np.float32
        assert_equal(panel, read_frame(each))


@pytest.mark.parametrize("order", ["dates first", "backwards"])
def test_what_is_not_in_order_is_read_at_once(order: str, tmp_path: Path) -> None:
    table = sales(3, 10)
    table = table.sort_by("ds") if order == "dates first" else table.take(np.arange(30)[::-1])
    panel = read_parquet(written(table, tmp_path))
    assert parquet.AT_ONCE in panel.notes
    assert_equal(panel, read_frame(table))


@pytest.mark.parametrize(("kind", "expected"), [
    (pa.float32(), "float32"), (pa.float64(), "float64"), (pa.int16(), "float32"), (pa.int64(), "float64"),
])  # fmt: skip
def test_values_are_as_fine_as_the_column(kind: Any, expected: str, tmp_path: Path) -> None:
    path = written(pa.table({"ds": [1, 2, 3], "y": pa.array([5, None, 7], kind)}), tmp_path)
    assert read_parquet(path).values.dtype == expected
    for dtype in ("float32", "float64"):
        assert read_parquet(path, dtype=dtype).values.dtype == dtype
    with pytest.raises(SettingError, match="dtype to be one of"):
        read_parquet(path, dtype="int8")


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    plain = sales(3, 10)
    table = plain.rename_columns(["shop", "day", "sold"])
    how = {"id_column": "shop", "time_column": "day", "target": "sold"}
    for each in (table, table.sort_by("day")):
        panel = read_parquet(written(each, tmp_path), **how)
        assert panel.targets == ("sold",)
        np.testing.assert_array_equal(panel.row(1), np.arange(10.0, 20))
    with pytest.raises(DataError, match="columns 'ds' and 'y', found 'shop', 'day', 'sold'"):
        read_parquet(written(table, tmp_path))


def test_several_targets_lie_beside_each_other(tmp_path: Path) -> None:
    table = sales(3, 10)
    z = np.arange(30.0)
    z[0] = NAN
    y = table["y"].to_numpy().copy()
    y[[0, 10]] = NAN
    table = table.set_column(2, "y", pa.array(y)).append_column("z", pa.array(z))
    panel = read_parquet(written(table, tmp_path), target=["y", "z"])
    assert panel.targets == ("y", "z")
    assert panel.lengths.tolist() == [9, 10, 10]
    np.testing.assert_array_equal(panel.row(3), z[10:20])
    np.testing.assert_array_equal(panel.row(2), [NAN, *y[11:20]])
    assert (panel.n_gaps, panel.n_missing) == (0, 3)


@pytest.mark.parametrize("order", ["y", "ds"])
def test_covariates_and_targets_are_those_of_the_frame(order: str, tmp_path: Path) -> None:
    table = sales(3, 10)
    for k, name in enumerate(("z", "wind", "price")):
        table = table.append_column(name, pa.array(np.arange(30.0) ** (k + 1)))
    path = written(table.sort_by(order).rename_columns(["shop", *table.column_names[1:]]), tmp_path)
    for columns in (
        {"target": ["z", "y"]},
        {"target": "z", "hist": "wind"},
        {"hist": ["wind"], "futr": "price"},
    ):
        found = read_parquet(path, id_column="shop", **columns)
        expected = read_frame(table, **columns)
        assert found.targets == expected.targets
        assert (found.hist, found.futr) == (expected.hist, expected.futr)
        np.testing.assert_array_equal(found.values, expected.values)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "infinite": ({"y": [1.0, 2, np.inf, 4]}, "found inf in row 2"),
    "empty date": ({"ds": [1, 2, None, 4]}, "empty cell in row 2"),
    "twice": ({"ds": [1, 2, 2, 3]}, "found 2 in both row 1 and row 2"),
    "stray": ({"ds": [1, 2, 3, 10**12]}, "in row 3"),
    "irregular": ({"ds": [0, 3, 5, 9]}, "steps of 2"),
    "no values": ({"y": pa.nulls(4, pa.float64())}, "found none in 'series'"),
}


@pytest.mark.parametrize(("columns", "found"), BAD.values(), ids=BAD)
def test_bad_cells_are_named(columns: Any, found: str, tmp_path: Path) -> None:
    table = pa.table({"ds": [1, 2, 3, 4], "y": [1.0, 2, 3, 4], **columns})
    with pytest.raises(DataError, match=re.escape(found)):
        read_parquet(written(table, tmp_path))


def test_rows_can_be_counted_from_one(tmp_path: Path) -> None:
    path = written(pa.table({"ds": [1, 2], "y": [1.0, np.inf]}), tmp_path)
    with pytest.raises(DataError, match="found inf in place 2"):
        read_parquet(path, row_word="place", first_row=1)


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("ds,y\n1,2\n")
    for name in ("text.parquet", "nowhere.parquet"):
        with pytest.raises(DataError, match="a Parquet file"):
            read_parquet(tmp_path / name)
    with pytest.raises(DataError, match="found none"):
        read_parquet(
            written(
                pa.table({"ds": pa.array([], pa.int64()), "y": pa.array([], pa.float64())}),
                tmp_path,
            )
        )
