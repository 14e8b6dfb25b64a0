"""Several targets, covariates of the past and known ahead, and what does not change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from throughtime import DataError, SettingError
from throughtime.forecasting import Panel, read_frame
from throughtime.forecasting.series.covariates import future_frame, need_future, with_future

NAN = np.nan
MAKERS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
BOTH = {
    "unique_id": list("aaaabbb"),
    "ds": [1, 2, 3, 4, 7, 8, 9],
    "y": [1.0, 2.0, None, None, 5.0, None, 7.0],
    "z": [None, 3.0, None, None, 1.0, 1.0, 1.0],
    "wind": [1.0, 2.0, 3.0, 4.0, 5.0, None, 7.0],
    "sale": [True, False, True, False, True, True, None],
}


@pytest.mark.parametrize("backend", MAKERS)
def test_each_column_is_a_channel(backend: str) -> None:
    panel = read_frame(MAKERS[backend](BOTH), target=["y", "z"], hist="wind", futr=["sale"])
    assert (panel.targets, panel.hist, panel.futr) == (("y", "z"), ("wind",), ("sale",))
    np.testing.assert_array_equal(panel.values, [
        [1, 2, NAN, NAN, 5, NAN, 7],
        [NAN, 3, NAN, NAN, 1, 1, 1],
        [1, 2, 3, 4, 5, NAN, 7],
        [1, 0, 1, 0, 1, 1, NAN],
    ])  # fmt: skip
    assert (panel.lengths.tolist(), panel.room.tolist(), len(panel)) == ([2, 3], [2, 0], 4)
    assert panel.row_ids == ("a", "a", "b", "b")
    np.testing.assert_array_equal(panel.row(1), [NAN, 3])
    assert panel.n_missing == 2
    assert panel.notes == (
        "2 empty values",
        "1 empty value in 'wind'",
        "1 empty value in 'sale'",
        "2 rows after the last values taken as known ahead",
    )


def test_a_series_begins_with_a_value_of_any_target() -> None:
    table = pa.table({"ds": [1, 2, 3, 4], "y": [None, None, 5, 6], "z": [None, 2, None, None]})
    panel = read_frame(table, target=["y", "z"])
    assert (panel.starts.tolist(), panel.lengths.tolist()) == ([2], [3])


def test_rows_without_a_value_at_the_end_are_gaps_where_nothing_is_known_ahead() -> None:
    panel = read_frame(pa.table(BOTH), hist=["wind"])
    assert (panel.lengths.tolist(), panel.room.tolist()) == ([4, 3], [0, 0])
    empty = pa.table({"ds": [1, 2, 3], "y": [5, 6, None], "sale": [1, 0, None]})
    panel = read_frame(empty, futr="sale")
    assert (panel.lengths.tolist(), panel.room.tolist()) == ([3], [0])


def test_a_gap_in_the_dates_is_one_in_every_channel() -> None:
    table = pa.table({"ds": [4, 1, 2], "y": [4.0, 1, 2], "wind": [40.0, 10, 20]})
    panel = read_frame(table, hist="wind")
    np.testing.assert_array_equal(panel.values, [[1, 2, NAN, 4], [10, 20, NAN, 40]])
    assert panel.notes == ("rows sorted by date", "1 missing date filled as gap")


SMALL = {
    "float32": (pa.float32(), np.float32),
    "float16": (pa.float16(), np.float32),
    "int16": (pa.int16(), np.float32),
    "uint8": (pa.uint8(), np.float32),
    "int32": (pa.int32(), np.float64),
    "float64": (pa.float64(), np.float64),
}


@pytest.mark.parametrize(("kind", "wanted"), SMALL.values(), ids=SMALL)
def test_single_precision_stays_where_it_holds_every_number(kind: Any, wanted: Any) -> None:
    y, sale = pa.array(np.arange(3.0, dtype=np.float32)), pa.array([True, None, False])
    wind = pa.array(np.array([1, 2, 3], dtype=kind.to_pandas_dtype()), kind)
    panel = read_frame(
        pa.table({"ds": [1, 2, 3], "y": y, "wind": wind, "sale": sale}), hist=["wind", "sale"]
    )
    assert panel.values.dtype == wanted
    np.testing.assert_array_equal(panel.values, [[0, 1, 2], [1, 2, 3], [1, NAN, 0]])


BAD_COLUMNS: dict[str, tuple[dict[str, list[Any]], str]] = {
    "text": ({"x": ["a", "b"]}, r"numbers in column 'x', found 'a' in row 0: make it numbers.*0 and"),
    "dates": ({"x": [dt.date(2024, 1, 1)] * 2}, "column 'x', found date32.*static_df"),
    "infinite": ({"x": [1.0, np.inf]}, "column 'x'.* found inf in row 1"),
    "empty": ({"x": [None, None]}, "values in column 'x', found none: leave that column out"),
    "missing": ({}, "columns 'ds', 'y' and 'x', found 'ds', 'y'"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "said"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
@pytest.mark.parametrize("role", ["hist", "futr"])
def test_a_covariate_that_is_no_number_is_refused(
    columns: dict[str, list[Any]], said: str, role: str
) -> None:
    table = pa.table({"ds": [1, 2], "y": [1, 2]} | columns)
    roles: dict[str, Any] = {role: ["x"]}
    with pytest.raises(DataError, match=said):
        read_frame(table, **roles)


BAD_ROLES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"target": []}, "target to name a column, found none"),
    "twice": ({"hist": ["wind", "wind"]}, "found 'wind' for another use"),
    "two uses": ({"hist": "wind", "futr": ["wind"]}, "found 'wind' for another use"),
    "the dates": ({"futr": "ds"}, "found 'ds' for another use"),
    "a number": ({"hist": [3]}, "names of columns to be text|names of columns, found 3"),
}


@pytest.mark.parametrize(("roles", "said"), BAD_ROLES.values(), ids=BAD_ROLES)
def test_every_column_has_one_use(roles: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_frame(pa.table(BOTH), **roles)


def test_one_name_of_two_columns_is_refused() -> None:
    frame = pd.DataFrame([[1, 2.0, 3.0]], columns=["ds", "y", "y"])
    with pytest.raises(DataError, match="one column of each name, found 'y' twice"):
        read_frame(frame)
    with pytest.raises(DataError, match="one column of each name, found 'y' twice"):
        read_frame(pa.Table.from_arrays([pa.array([1])] * 3, names=["ds", "y", "y"]))


def test_new_data_are_read_as_those_before() -> None:
    zone = "Europe/Paris"
    hours = pd.date_range("2024-10-26 20:00", periods=8, freq="h", tz=zone)
    fitted = read_frame(
        pd.DataFrame({"ds": hours, "load": np.arange(8.0), "wind": 1.0}), target="load", hist="wind"
    )
    assert (fitted.dates.clock, fitted.frequency.alias) == ("utc", "h")
    one = pd.DataFrame({"ds": hours[-1:].tz_convert("UTC"), "load": [5.0], "wind": [1]})
    panel = read_frame(one, like=fitted)
    assert (panel.targets, panel.hist, panel.frequency) == (("load",), ("wind",), fitted.frequency)
    assert panel.starts[0] == fitted.last  # by the same clock, though one stamp shares its time
    with pytest.raises(DataError, match="time zone Europe/Paris, as before, found no time zone"):
        read_frame(one.assign(ds=one["ds"].dt.tz_localize(None)), like=fitted)
    naive = read_frame(pd.DataFrame({"ds": hours.tz_localize(None)[:4], "y": 1.0}))
    with pytest.raises(
        DataError, match=f"with no time zone, as before, found the time zone {zone}"
    ):
        read_frame(pd.DataFrame({"ds": hours, "y": 1.0}), like=naive)


# what does not change

STATIC = {
    "unique_id": ["b", "c", "a"],
    "area": [2.5, 9.0, 1.0],
    "state": ["south", "west", "north"],
    "coast": [True, None, False],
    "size": [2, 9, 1],
}


@pytest.mark.parametrize("backend", MAKERS)
def test_numbers_and_labels_of_each_series(backend: str) -> None:
    static = read_frame(MAKERS[backend](BOTH), static_df=MAKERS[backend](STATIC)).static
    assert static.number_names == ("area", "size")
    assert static.category_names == ("state", "coast")
    np.testing.assert_array_equal(static.numbers, [[1.0, 1], [2.5, 2]])
    assert static.categories == (("north", "south"), ("false", "true"))  # not those of series c
    np.testing.assert_array_equal(static.codes, [[1, 1], [2, 2]])


def test_categories_of_numbers_are_labels() -> None:
    table = pd.DataFrame(STATIC)[["unique_id", "size"]].astype({"size": "category"})
    static = read_frame(pa.table(BOTH), static_df=table).static
    assert (static.number_names, static.categories) == ((), (("1", "2"),))


def test_labels_keep_their_codes_and_unseen_ones_have_none() -> None:
    fitted = read_frame(pa.table(BOTH), static_df=pa.table(STATIC))
    changed = pa.table(
        STATIC
        | {"state": ["north", "west", "moon"], "coast": [None, True, True], "more": [1, 2, 3]}
    )
    panel = read_frame(pa.table(BOTH), like=fitted, static_df=changed)
    assert panel.static.categories == fitted.static.categories
    np.testing.assert_array_equal(panel.static.codes, [[0, 2], [1, 0]])
    again = read_frame(pa.table(BOTH).slice(4), like=fitted)  # what was known of b
    np.testing.assert_array_equal(again.static.numbers, [[2.5, 2]])
    new = pa.table(BOTH | {"unique_id": list("xxxxxxx"), "ds": list(range(7))})
    with pytest.raises(DataError, match="series 'x', which was not fitted, found no static_df"):
        read_frame(new, like=fitted)
    with pytest.raises(DataError, match="no static_df, as the panel before had none"):
        read_frame(pa.table(BOTH), like=read_frame(pa.table(BOTH)), static_df=pa.table(STATIC))


BAD_STATICS: dict[str, tuple[Any, str]] = {
    "a missing series": (pa.table(STATIC).slice(0, 2), "every series in static_df, found none for 'a'"),
    "twice": (
        pa.table({"unique_id": ["a", "b", "b"], "x": [1, 2, 3]}),
        "found row 1 of static_df and row 2 of static_df for series 'b'",
    ),
    "an empty number": (
        pa.table({"unique_id": ["a", "b"], "x": [1.0, None]}),
        "column 'x' of static_df, found an empty cell in row 1 of static_df, series 'b'",
    ),
    "all empty": (pa.table({"unique_id": ["a", "b"], "x": [None, None]}), "an empty cell in row 0"),
    "infinite": (pa.table({"unique_id": ["a", "b"], "x": [1.0, np.inf]}), "inf in row 1 of static_df"),
    "dates": (
        pa.table({"unique_id": ["a", "b"], "x": [dt.date(2024, 1, 1)] * 2}),
        "true and false in column 'x' of static_df, found date32",
    ),
    "no name": (pa.table({"x": [1.0, 2]}), "static_df with columns 'unique_id', found 'x'"),
    "nothing else": (pa.table({"unique_id": ["a", "b"]}), "columns beside 'unique_id', found none"),
    "no table": ([1.0, 2.0], "static_df with columns 'unique_id'"),
}  # fmt: skip


@pytest.mark.parametrize(("static_df", "said"), BAD_STATICS.values(), ids=BAD_STATICS)
def test_each_static_defect_is_named(static_df: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_frame(pa.table(BOTH), static_df=static_df)


def test_labels_cannot_become_numbers() -> None:
    fitted = read_frame(pa.table(BOTH), static_df=pa.table(STATIC))
    for name, cells, said in (
        ("area", ["big", "big", "small"], "numbers in column 'area', found 'big' in row 0 of stat"),
        ("state", [1, 2, 3], "true and false in column 'state' of static_df, found int64"),
    ):
        with pytest.raises(DataError, match=said):
            read_frame(pa.table(BOTH), like=fitted, static_df=pa.table(STATIC | {name: cells}))


def test_one_series_without_a_name_has_nothing_that_tells_it_from_others() -> None:
    with pytest.raises(DataError, match="static_df is about several series, found one series"):
        read_frame([1.0, 2.0], static_df=pa.table(STATIC))


# what is known ahead


def hourly(backend: str = "pandas") -> Panel:
    stamps = [dt.datetime(2014, 12, 24, 23), dt.datetime(2014, 12, 25)]
    return read_frame(
        MAKERS[backend]({
            "unique_id": ["vic", "vic", "nsw", "nsw"],
            "ds": stamps * 2,
            "y": [1.0, 2.0, 3.0, 4.0],
            "temperature": [10.0, 20.0, 30.0, 40.0],
            "holiday": [False, True, False, True],
        }),
        futr=["temperature", "holiday"],
    )  # fmt: skip


def ahead(panel: Panel, h: int) -> pd.DataFrame:
    table = nw.from_native(future_frame(panel, h), eager_only=True).to_pandas()
    return table.assign(temperature=np.arange(len(table)) + 50.0, holiday=False)


@pytest.mark.parametrize("backend", MAKERS)
def test_the_table_to_fill_in_lists_the_dates_to_come(backend: str) -> None:
    panel = hourly(backend)
    table = future_frame(panel, 2)
    assert type(table) is type(MAKERS[backend]({"y": [1]}))
    filled = ahead(panel, 2)
    assert filled["unique_id"].tolist() == ["vic", "vic", "nsw", "nsw"]
    assert filled["ds"].dt.hour.tolist() == [1, 2, 1, 2]
    made = with_future(panel, filled, 2)
    np.testing.assert_array_equal(made.values[1], [10, 20, 50, 51, 30, 40, 52, 53])
    np.testing.assert_array_equal(made.values[0], [1, 2, NAN, NAN, 3, 4, NAN, NAN])
    assert made.room.tolist() == [2, 2]
    need_future(made, 2)


def test_rows_of_other_series_and_dates_are_left_out() -> None:
    panel = hourly()
    filled = ahead(panel, 4).assign(ds=lambda f: f["ds"] - pd.Timedelta(hours=1))
    filled.loc[len(filled)] = ["sa", filled["ds"][0], NAN, False]
    made = with_future(panel, filled.sample(frac=1, random_state=0), 2, keep=1)
    np.testing.assert_array_equal(made.values[1], [20, 51, 52, 40, 55, 56])
    assert (made.lengths.tolist(), made.starts[0]) == ([1, 1], panel.last)


Change = Any
DEFECTS: dict[str, tuple[Change, str]] = {
    "a row": (
        lambda f: f.drop(index=3),
        r"temperature and holiday for 2014-12-25 02:00 of series 'nsw', found no row in futr_df",
    ),
    "a cell": (
        lambda f: f.assign(temperature=[1.0, 2.0, NAN, 4.0]),
        "temperature for 2014-12-25 01:00 of series 'nsw', found an empty cell in row 2 of futr_df",
    ),
    "infinite": (lambda f: f.assign(temperature=np.inf), "found inf in row 0 of futr_df"),
    "text": (lambda f: f.assign(holiday="no"), "column 'holiday', found 'no' in row 0 of futr_df"),
    "a column": (
        lambda f: f.drop(columns="holiday"), "columns 'unique_id', 'ds', 'temperature' and 'hol"
    ),
    "names": (lambda f: f.drop(columns="unique_id"), "columns 'unique_id', 'ds', 'temp"),
    "twice": (
        lambda f: pd.concat([f, f.tail(1)]),
        "2014-12-25 02:00 in both row 3 of futr_df and row 4 of futr_df, series 'nsw'",
    ),
    "between two dates": (
        lambda f: f.assign(ds=f["ds"] + pd.Timedelta(minutes=-30)),
        r"every h from 2014-12-24 23:00, found 2014-12-25 00:30 in row 0 of futr_df for series 'vic'",
    ),
    "integers": (lambda f: f.assign(ds=1), "dates for freq='h', found integers"),
    "a time zone": (lambda f: f.assign(ds=f["ds"].dt.tz_localize("UTC")), "found the time zone UTC"),
    "no rows": (lambda f: f.head(0), "futr_df with rows, found none"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), DEFECTS.values(), ids=DEFECTS)
def test_what_lacks_ahead_is_named_by_series_and_date(change: Change, said: str) -> None:
    with pytest.raises(DataError, match=said):
        with_future(hourly(), change(ahead(hourly(), 2)), 2)


def test_a_panel_without_its_future_says_what_to_call() -> None:
    panel = hourly()
    with pytest.raises(DataError) as error:
        need_future(panel, 3)
    assert str(error.value) == (
        "Expected temperature and holiday for 2014-12-25 01:00 of series 'vic', as a forecast of 3 "
        "steps up to 2014-12-25 03:00 needs, found no value: call predict(futr_df=...) with a table "
        "of unique_id, ds, temperature, holiday of these dates."
    )
    need_future(read_frame([1.0, 2.0]), 3)


def test_a_table_may_bring_its_future_along() -> None:
    table = {"ds": [1, 2, 3, 4], "y": [5, 6, None, None], "sale": [1, 0, 1, None]}
    panel = read_frame(pa.table(table), futr="sale")
    need_future(panel, 1)
    with pytest.raises(DataError, match="sale for 4 of series 'series'"):
        need_future(panel, 2)
    need_future(panel.cut(1), 2)
    holes = read_frame(pa.table(table | {"sale": [1, 0, None, 1]}), futr="sale")
    with pytest.raises(DataError, match="sale for 3 of series 'series'"):
        need_future(holes, 2)
    made = with_future(holes, pa.table({"ds": [3, 4], "sale": [8, 9]}), 2)
    np.testing.assert_array_equal(made.values[1], [1, 0, 8, 9])


def test_nothing_is_known_ahead_of_a_panel_without_such_columns() -> None:
    with pytest.raises(SettingError, match="no futr_df, as no column is known ahead, found one"):
        with_future(read_frame([1.0, 2.0]), pa.table({"ds": [2], "y": [1]}), 1)


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("night", ["2024-03-30", "2024-10-26", "2024-11-02", "2024-03-09"])
@pytest.mark.parametrize("freq", ["h", "30min"])
def test_hours_go_on_over_a_jump_of_the_clock(zone: str, night: str, freq: str) -> None:
    stamps = pd.date_range(night, periods=150, freq=freq, tz=zone)
    n = 40
    table = pd.DataFrame({"ds": stamps, "y": np.arange(150.0), "hour": stamps.hour})
    panel = read_frame(table[:n], futr="hour")
    made = with_future(panel, table[["ds", "hour"]], 110)
    np.testing.assert_array_equal(made.values[1], stamps.hour)
    out = future_frame(panel, 110)
    pd.testing.assert_series_equal(
        out["ds"], table["ds"][n:].reset_index(drop=True), check_freq=False
    )


def test_hours_of_a_wall_clock_without_its_zone_meet_one_hour_twice() -> None:
    """In spring an hour is a gap; in autumn one comes twice, which nothing can put in order."""
    spring = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Paris")
    panel = read_frame(pd.DataFrame({"ds": spring.tz_localize(None), "y": 1.0}))
    assert (panel.n_gaps, panel.frequency.alias) == (1, "h")
    autumn = pd.date_range("2024-10-26", periods=60, freq="h", tz="Europe/Paris")
    with pytest.raises(DataError, match="2024-10-27 02:00 in both row 26 and row 27"):
        read_frame(pd.DataFrame({"ds": autumn.tz_localize(None), "y": 1.0}))


def test_days_go_out_at_a_time_that_the_clocks_show() -> None:
    """Half past two does not come on the 31st of March, and comes twice on the 27th of October."""
    for before, out in (("2024-03-28", "2024-03-31 03:00:00+02:00"),
                        ("2024-10-24", "2024-10-27 02:30:00+02:00")):  # fmt: skip
        ds = pd.date_range(f"{before} 02:30", periods=3, freq="D", tz="Europe/Paris")
        panel = read_frame(pd.DataFrame({"ds": ds, "y": 1.0}))
        assert panel.dates.clock == "wall"
        assert str(future_frame(panel, 1)["ds"][0]) == out


NARROW = {
    "int8": (pa.array([125, 126, 127], pa.int8()), ["128", "129"]),
    "uint64": (pa.array([1, 2, 3], pa.uint64()), ["4", "5"]),
    "nanoseconds": (
        pa.array((np.datetime64("2262-04-09") + np.arange(3)).astype("M8[ns]")),
        ["2262-04-12 00:00:00", "2262-04-13 00:00:00"],
    ),
}


@pytest.mark.parametrize(("ds", "wanted"), NARROW.values(), ids=NARROW)
def test_dates_that_do_not_fit_the_kind_that_came_go_out_wider(ds: Any, wanted: list[str]) -> None:
    out = future_frame(read_frame(pa.table({"ds": ds, "y": [1, 2, 3]})), 2)
    assert [str(cell) for cell in out["ds"].to_pylist()] == wanted


FAR: dict[str, tuple[Any, str]] = {
    "uint64": (pa.array([2**63, 2**63 + 1], pa.uint64()), "whole numbers between"),
    "floats": (pa.array([1e300, 2e300]), "whole numbers between"),
    "seconds": (pa.array([2**60, 2**60 + 1], pa.timestamp("s")), "between the years 1 and 9999"),
    "zoned seconds": (
        pa.array([2**60, 2**60 + 1], pa.timestamp("s", "UTC")), "between the years 1 and 9999",
    ),
    "an unknown zone": (pa.array([0, 1], pa.timestamp("s", "Mars/Base")), "found Mars/Base"),
}  # fmt: skip


@pytest.mark.parametrize(("ds", "said"), FAR.values(), ids=FAR)
def test_dates_that_would_wrap_around_are_refused(ds: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_frame(pa.table({"ds": ds, "y": [1, 2]}))


def test_forecasts_beyond_the_year_9999_are_refused() -> None:
    panel = read_frame(
        pa.table({"ds": [dt.date(9999, 12, d) for d in (29, 30, 31)], "y": [1, 2, 3]})
    )
    with pytest.raises(DataError, match="dates up to the year 9999, found 10000-01-01"):
        future_frame(panel, 1)
