"""Tables in, panels out: three kinds of table, every kind of date, and each bad cell by name."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime import DataError
from throughtime.forecasting.series.frame import Panel, read_frame

MAKERS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
PARIS = "Europe/Paris"


def days(n: int, start: str = "2024-01-30") -> list[dt.date]:
    return [dt.date.fromisoformat(start) + dt.timedelta(days=k) for k in range(n)]


def as_strings(column: Any) -> list[str]:
    return (
        [str(value) for value in column.to_pylist()]
        if hasattr(column, "to_pylist")
        else [str(value) for value in column.to_list()]
    )


@pytest.mark.parametrize("backend", MAKERS)
def test_long_tables_come_and_go_in_their_kind(backend: str) -> None:
    data = MAKERS[backend](
        {
            "unique_id": ["b", "a", "b", "a", "b"],
            "ds": [dt.datetime(2024, 1, d) for d in (1, 5, 2, 7, 4)],
            "y": [1.0, 10.0, None, 12.0, 4.0],
        }
    )
    panel = read_frame(data)
    assert panel.ids == ("b", "a")
    np.testing.assert_array_equal(panel.row(0), [1, np.nan, np.nan, 4])
    np.testing.assert_array_equal(panel.row(1), [10, np.nan, 12])
    assert panel.notes == ("2 missing dates filled as gaps", "1 empty value")
    assert (panel.n_gaps, panel.n_missing, panel.frequency.alias) == (2, 1, "D")

    ids, ds = panel.future(2)
    out = panel.like({"unique_id": ids, "ds": ds, "LSTM": np.arange(4.0)})
    assert type(out) is type(data)
    assert as_strings(out["unique_id"]) == ["b", "b", "a", "a"]
    assert [text[:10] for text in as_strings(out["ds"])] == [
        "2024-01-05", "2024-01-06", "2024-01-08", "2024-01-09",
    ]  # fmt: skip


DATES: dict[str, tuple[Any, list[str]]] = {
    "pandas nanoseconds": (
        pd.DataFrame({"ds": pd.date_range("1949-01-01", periods=3, freq="MS", unit="ns")}),
        ["1949-04-01 00:00:00"],
    ),
    "pandas seconds before 1677": (
        pd.DataFrame({"ds": pd.date_range("1500-01-01", periods=3, freq="YS", unit="s")}),
        ["1503-01-01 00:00:00"],
    ),
    "pandas zone over a clock change, daily": (
        pd.DataFrame({"ds": pd.date_range("2024-03-29", periods=3, freq="D", tz=PARIS)}),
        ["2024-04-01 00:00:00+02:00"],
    ),
    "pandas zone over a clock change, hourly": (
        pd.DataFrame({"ds": pd.date_range("2024-10-27 00:00", periods=4, freq="h", tz=PARIS)}),
        ["2024-10-27 03:00:00+01:00"],
    ),
    "pandas periods": (
        pd.DataFrame({"ds": pd.period_range("1949-01", periods=3, freq="M")}),
        ["1949-04-01 00:00:00"],
    ),
    "pandas Python dates": (pd.DataFrame({"ds": days(3)}), ["2024-02-02"]),
    "polars dates": (pl.DataFrame({"ds": days(3)}), ["2024-02-02"]),
    "polars zone": (
        pl.DataFrame({"ds": [dt.datetime(2024, 3, d) for d in (29, 30, 31)]}).with_columns(
            pl.col("ds").dt.replace_time_zone(PARIS)
        ),
        ["2024-04-01 00:00:00+02:00"],
    ),
    "arrow date32": (pa.table({"ds": pa.array(days(3), pa.date32())}), ["2024-02-02"]),
    "arrow zone": (
        pa.table({"ds": pa.array([0, 3600, 7200], pa.timestamp("s", PARIS))}),
        ["1970-01-01 04:00:00+01:00"],
    ),
    "arrow zone, daily, nanoseconds": (
        pa.table(
            {"ds": pa.array([k * 86400 * 10**9 for k in range(3)], pa.timestamp("ns", PARIS))}
        ),
        ["1970-01-04 01:00:00+01:00"],
    ),
    "text years": (pa.table({"ds": ["1949", "1950", "1951"]}), ["1952"]),
    "text months": (pl.DataFrame({"ds": ["1949-01", "1949-02", "1949-03"]}), ["1949-04"]),
    "text days": (pd.DataFrame({"ds": ["2024-01-31", "2024-02-29", "2024-03-31"]}), ["2024-04-30"]),
    "text minutes": (
        pa.table({"ds": ["2024-01-31 12:00", "2024-01-31 12:30", "2024-01-31 13:00"]}),
        ["2024-01-31 13:30"],
    ),
    "text seconds": (
        pa.table({"ds": [f"2024-01-31T12:00:{s}" for s in ("00", "15", "30")]}),
        ["2024-01-31T12:00:45"],
    ),
    "categorical text": (pd.DataFrame({"ds": pd.Categorical(["1949", "1950", "1951"])}), ["1952"]),
    "integer years": (pa.table({"ds": [1700, 1701, 1702]}), ["1703"]),
    "small integers": (pl.DataFrame({"ds": pl.Series([1, 2, 3], dtype=pl.Int16)}), ["4"]),
    "whole floats": (pd.DataFrame({"ds": [1700.0, 1701.0, 1702.0]}), ["1703.0"]),
}


def dated(frame: Any) -> Any:
    n = len(frame)
    if isinstance(frame, pd.DataFrame):
        return frame.assign(y=np.arange(n))
    column = np.arange(n)
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(y=pl.Series(column))
    return frame.append_column("y", pa.array(column))


@pytest.mark.parametrize(("frame", "ahead"), DATES.values(), ids=DATES)
def test_every_kind_of_date_goes_out_as_it_came(frame: Any, ahead: list[str]) -> None:
    panel = read_frame(dated(frame))
    out = panel.like(dict(zip(("unique_id", "ds"), panel.future(1), strict=True)))
    assert as_strings(out["ds"]) == ahead
    if isinstance(frame, pa.Table):
        assert out["ds"].type == frame["ds"].type
    elif not isinstance(frame["ds"].dtype, pd.PeriodDtype | pd.CategoricalDtype):
        assert out["ds"].dtype == frame["ds"].dtype


SERIES = {
    "list": [1, 2, None],
    "array": np.array([1.0, 2.0, np.nan]),
    "float32": np.array([1.0, 2.0, np.nan], dtype=np.float32),
    "arrow": pa.array([1, 2, None]),
    "chunks": pa.chunked_array([[1], [2, None]]),
    "polars": pl.Series([1, 2, None]),
    "pandas": pd.Series([1, 2, None], index=[7, 3, 5]),
}


@pytest.mark.parametrize("data", SERIES.values(), ids=SERIES)
def test_one_series_lies_on_positions(data: Any) -> None:
    panel = read_frame(data)
    np.testing.assert_array_equal(panel.values[0], [1, 2, np.nan])
    np.testing.assert_array_equal(panel.ds(0), [0, 1, 2])
    assert panel.ids == ("series",)
    kind = type(panel.like({"ds": panel.ds(0)})).__module__.split(".")[0]
    assert kind == (type(data).__module__.split(".")[0] if hasattr(data, "name") else "pyarrow")


@pytest.mark.parametrize("index", [
    pd.date_range("1949-01-31", periods=3, freq="ME"),
    pd.period_range("1949-01", periods=3, freq="M"),
])  # fmt: skip
def test_pandas_series_bring_dates_and_name(index: Any) -> None:
    panel = read_frame(pd.Series([1.0, 2.0, 3.0], index=index, name="passengers"))
    assert panel.ids == ("passengers",)
    assert panel.frequency.unit in ("ME", "MS")
    assert str(panel.last)[:7] == "1949-03"


NOW = "2024-01-01"
BAD: dict[str, tuple[Any, str]] = {
    "no y": (pa.table({"ds": [1], "value": [1]}), "found 'ds', 'value'"),
    "no columns": (pa.table({}), "found no columns"),
    "no rows": (pl.DataFrame({"ds": [], "y": []}), "a table with rows, found none"),
    "text in y": (pa.table({"ds": [1, 2], "y": ["1.5", "abc"]}), "column 'y', found 'abc' in row 1"),
    "true among y": (pd.DataFrame({"ds": [1, 2, 3], "y": [1.5, 2.0, True]}), "True in row 2"),
    "true among ds": (pd.DataFrame({"ds": [1.0, 2.0, True], "y": [1.0, 2.0, 4.0]}), "True in row 2"),
    "mixed y": (pd.DataFrame({"ds": [1, 2, 3], "y": [1, "abc", 2]}), "'abc' in row 1"),
    "boolean y": (pa.table({"ds": [1, 2], "y": [True, False]}), "found bool"),
    "dates in y": (pa.table({"ds": [1, 2], "y": days(2)}), "found date32"),
    "infinite": (pa.table({"ds": [1, 2], "y": [1.0, -np.inf]}), "found -inf in row 1"),
    "too large": (pa.table({"ds": [1, 2], "y": [1.0, -2e16]}), "found -2e+16 in row 1"),
    "text too large": (pa.table({"ds": [1, 2], "y": ["1e17", "1"]}), "found 1e+17 in row 0"),
    "twice": (
        pd.DataFrame({"unique_id": list("aab"), "ds": [NOW, NOW, NOW], "y": [1, 2, 3]}),
        "found 2024-01-01 in both row 0 and row 1 of series 'a'",
    ),
    "no date": (pa.table({"ds": [NOW, "soon"], "y": [1, 2]}), "column 'ds', found 'soon' in row 1"),
    "February 30": (pa.table({"ds": [NOW, "2024-02-30"], "y": [1, 2]}), "'2024-02-30' in row 1"),
    "empty date": (pa.table({"ds": [1, None], "y": [1, 2]}), "an empty cell in row 1"),
    "NaN date": (pd.DataFrame({"ds": [1, np.nan], "y": [1, 2]}), "an empty cell in row 1"),
    "NaT": (pd.DataFrame({"ds": [pd.Timestamp(NOW), pd.NaT], "y": [1, 2]}), "empty cell in row 1"),
    "half a year": (pa.table({"ds": [1700.0, 1700.5], "y": [1, 2]}), "found 1700.5 in row 1"),
    "boolean dates": (pa.table({"ds": [True], "y": [1]}), "in column 'ds', found bool"),
    "mixed dates": (
        pd.DataFrame({"ds": [NOW, 5], "y": [1, 2]}), "column 'ds', found 5 in row 1 after str",
    ),
    "a time after days": (
        pd.DataFrame({"ds": [dt.date(2024, 1, 1), dt.datetime(2024, 1, 2, 12)], "y": [1, 2]}),
        "found datetime.datetime(2024, 1, 2, 12, 0) in row 1 after date",
    ),
    "a number after days": (
        pd.DataFrame({"ds": [dt.date(2024, 1, 1), None, 19_000], "y": [1, 2, 3]}),
        "found 19000 in row 2 after date",
    ),
    "a zone after none": (
        pd.DataFrame(
            {"ds": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)], "y": [1, 2]},
            dtype=object,
        ),
        "in row 1 after a time without a time zone",
    ),
    "empty name": (
        pa.table({"unique_id": ["a", None], "ds": [1, 1], "y": [1, 2]}), "empty cell in row 1",
    ),
    "no values": (
        pa.table({"unique_id": ["a", "b"], "ds": [1, 1], "y": [1.0, None]}), "found none in 'b'",
    ),
    "no values at all": (pa.table({"ds": [1, 2], "y": [None, None]}), "found none in 'series'"),
    "irregular": (pa.table({"ds": [0, 3, 5, 9], "y": [1, 2, 3, 4]}), "steps of 2 (1 times)"),
    "stray": (
        pa.table({"ds": [1, 2, 10**12], "y": [1, 2, 3]}), "between 2 and 1000000000000 in row 2",
    ),
    "two dimensions": (np.ones((2, 2)), "found shape (2, 2)"),
    "lazy": (pl.LazyFrame({"ds": [1], "y": [1]}), "found LazyFrame: call .collect()"),
    "no table": (object(), "found object"),
    "list of text": (["a", "b"], "found 'a' in row 0"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "found"), BAD.values(), ids=BAD)
def test_each_bad_cell_has_one_clear_error(data: Any, found: str) -> None:
    with pytest.raises(DataError, match=re.escape(found)):
        read_frame(data)


def test_rows_can_be_lines_of_a_file() -> None:
    with pytest.raises(DataError, match="'abc' in line 3"):
        read_frame(BAD["text in y"][0], row_word="line", first_row=2)


def test_a_stated_frequency_is_held_against_the_dates() -> None:
    data = pa.table({"ds": days(3), "y": [1, 2, 3]})
    assert read_frame(data, freq="D").frequency.alias == "D"
    with pytest.raises(DataError, match="found 2024-01-31 in row 1 of series 'series'"):
        read_frame(data, freq="2D")


FINER = [
    (days(30), "h", r"every h.*found dates every D, so that 667 of 697 steps.*freq='D'"),
    (["2020-01", "2020-04", "2020-07", "2020-10"], "MS", "found dates every QS, so that 6 of 10"),
    ([1900, 1910, 1920], 1, "found dates every 10, so that 18 of 21 steps"),
]


@pytest.mark.parametrize(("ds", "freq", "said"), FINER)
def test_a_frequency_much_finer_than_the_dates_is_refused(ds: Any, freq: Any, said: str) -> None:
    data = pa.table({"ds": ds, "y": np.arange(len(ds))})
    with pytest.raises(DataError, match=said):
        read_frame(data, freq=freq)


def test_a_stated_frequency_may_leave_gaps() -> None:
    """Up to half of the grid; or more, where the dates are at no step or at this one."""
    for ds in ([0, 2, 4, 6], [0, 3, 5, 16], [0, 1, 2, 3, 40]):
        panel = read_frame(pa.table({"ds": ds, "y": np.arange(len(ds))}), freq=1)
        assert panel.n_gaps == ds[-1] + 1 - len(ds)


def test_order_and_other_columns_are_noted() -> None:
    panel = read_frame(pd.DataFrame({"ds": [3, 1, 2], "y": [3, 1, 2], "holiday": [0, 0, 1]}))
    assert panel.notes == ("ignored: 'holiday'", "rows sorted by date")
    np.testing.assert_array_equal(panel.values[0], [1, 2, 3])


def test_text_numbers_are_numbers() -> None:
    np.testing.assert_array_equal(read_frame(["1.5", " ", "2"]).values[0], [1.5, np.nan, 2])


@pytest.mark.parametrize("backend", MAKERS)
def test_integer_names_stay_integers(backend: str) -> None:
    data = MAKERS[backend]({"unique_id": [7, 7, 5, 5], "ds": [1, 2, 1, 2], "y": [1.0] * 4})
    panel = read_frame(data)
    assert panel.ids == (7, 5)
    column = panel.like({"unique_id": panel.future(1)[0]})["unique_id"]
    assert as_strings(column) == ["7", "5"]
    assert "int" in str(getattr(column, "dtype", "") or column.type).lower()


def test_numbers_as_names() -> None:
    def names(*ids: Any) -> tuple[Any, ...]:
        return read_frame(pd.DataFrame({"unique_id": ids, "ds": [1, 1], "y": [1, 2]}), freq=1).ids

    assert names(7.0, 1e10) == (7, 10**10)  # as pandas keeps whole numbers where a cell was empty
    assert names(7.0, 1.5) == ("7", "1.5")
    assert names(True, False) == ("true", "false")
    with pytest.raises(DataError, match="found inf in row 1"):
        names(7.0, np.inf)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reading_undoes_shuffling(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(2, 7), min_size=1, max_size=4))
    ids = np.repeat(np.arange(len(lengths)), lengths)
    ds = np.concatenate([np.arange(n) + 10 * i for i, n in enumerate(lengths)])
    shuffled = np.array(data.draw(st.permutations(range(len(ids)))))
    y = np.arange(len(ids)) + 0.5
    panel = read_frame(
        pa.table({"unique_id": ids[shuffled], "ds": ds[shuffled], "y": y[shuffled]}), freq=1
    )
    for i, name in enumerate(panel.ids):
        np.testing.assert_array_equal(panel.row(i), y[ids == name])
        np.testing.assert_array_equal(panel.ds(i), ds[ids == name])


def three_series() -> Panel:
    ids, lengths = list("abc"), [5, 2, 4]
    return read_frame(pa.table({
        "unique_id": np.repeat(ids, lengths).tolist(),
        "ds": np.concatenate([np.arange(n) for n in lengths]),
        "y": [0.0, 1, 2, 3, 4, 10, 11, None, None, 22, 23],
    }))  # fmt: skip


def test_cut_takes_the_end_of_every_series_off() -> None:
    panel = three_series().cut(2)
    assert panel.ids == ("a",)  # b has no step left, c no value
    np.testing.assert_array_equal(panel.row(0), [0, 1, 2])
    one = three_series().cut(1)
    assert one.ids == ("a", "b", "c")
    np.testing.assert_array_equal(one.row(2), [22])  # the empty rows before it are not part of it
    np.testing.assert_array_equal(one.future(2)[1], [4, 5, 1, 2, 3, 4])
    later = read_frame(
        pa.table({"unique_id": list("abbb"), "ds": [1, 7, 8, 9], "y": [1.0] * 4}), freq=1
    ).cut(1)
    assert (later.ids, later.ds(0).tolist()) == (("b",), [7, 8])
    with pytest.raises(DataError, match="before its last 5 steps"):
        three_series().cut(5)


def test_many_series_are_read_at_once() -> None:
    n_series, length = 100_000, 5
    panel = read_frame(pa.table({
        "unique_id": np.repeat(np.arange(n_series), length),
        "ds": np.tile(np.arange(length) + np.datetime64("2024-01-01"), n_series),
        "y": np.arange(n_series * length, dtype=float),
    }))  # fmt: skip
    assert len(panel) == n_series
    assert panel.future(3)[1].shape == (3 * n_series,)
    np.testing.assert_array_equal(panel.cut(2).row(n_series - 1), panel.row(n_series - 1)[:3])


def test_importing_needs_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from throughtime.forecasting.series.frame import read_frame;"
        "print({'torch', 'pandas', 'polars'} & set(sys.modules)); read_frame([1.0, 2.0]).future(2);"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["set()", "False"]
