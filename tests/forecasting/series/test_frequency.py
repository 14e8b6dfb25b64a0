"""Grids of dates: every alias against pandas, inference from gappy stamps, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.forecasting.series.frequency import FIXED, Frequency, show

ALIASES = ["YS", "YE", "QS", "QE", "MS", "ME", "B", *FIXED, "30min", "2h", "3MS", "2W-TUE", "15s"]


def pandas_grid(alias: str, n: int, start: str = "1871-03-05 06:00") -> np.ndarray:
    return pd.date_range(start, periods=n, freq=alias, unit="us").to_numpy()


def months_in_quarters(alias: str) -> str:
    return "QS" if alias == "3MS" else alias


@pytest.mark.parametrize("alias", ALIASES)
def test_range_and_index_agree_with_pandas(alias: str) -> None:
    grid = pandas_grid(alias, 400)
    frequency = Frequency.parse(alias)
    np.testing.assert_array_equal(frequency.range(grid[0], 400), grid)
    np.testing.assert_array_equal(frequency.index(grid[0], grid), np.arange(400))


@settings(max_examples=60, deadline=None)
@given(
    alias=st.sampled_from(ALIASES),
    holes=st.sets(st.integers(1, 59), max_size=12),
    start=st.dates(pd.Timestamp("1700-01-01").date(), pd.Timestamp("2200-01-01").date()),
)
def test_infer_sees_through_gaps(alias: str, holes: set[int], start: object) -> None:
    grid = np.delete(pandas_grid(alias, 60, str(start)), sorted(holes))
    assert Frequency.infer(grid).alias == months_in_quarters(alias)


@pytest.mark.parametrize("day", [1, 15, 28])
def test_months_keep_their_day(day: int) -> None:
    stamps = pd.date_range("1999-01-01", periods=30, freq="MS").to_numpy() + np.timedelta64(
        day - 1, "D"
    )
    frequency = Frequency.infer(stamps)
    assert frequency.alias == "MS"
    np.testing.assert_array_equal(frequency.range(stamps[0], 30), stamps)


def test_years_may_start_in_any_month() -> None:
    fiscal = pd.date_range("1999-07-01", periods=9, freq="YS-JUL").to_numpy()
    assert Frequency.infer(fiscal).alias == "YS"
    np.testing.assert_array_equal(Frequency("YS-JUL").range(fiscal[0], 9), fiscal)


def test_integers_are_positions_or_years() -> None:
    years = np.array([1700, 1705, 1710, 1720])
    assert Frequency.infer(years).alias == "5"
    np.testing.assert_array_equal(Frequency(5).index(1700, years), [0, 1, 2, 4])
    np.testing.assert_array_equal(Frequency(5).range(1700.0, 3), [1700, 1705, 1710])


def test_a_short_series_may_have_more_gaps_than_steps() -> None:
    assert Frequency.infer(np.array([1, 3, 5, 6])).alias == "1"
    days = np.array(["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-06"], "M8[D]")
    assert Frequency.infer(days).alias == "D"


def test_infer_does_not_look_across_series() -> None:
    ds = np.array(["2020-01-01", "2020-02-01", "1999-05-15", "1999-06-15"], "M8[D]")
    assert Frequency.infer(ds, np.array([0, 2, 4])).alias == "MS"


def test_weeks_on_several_weekdays_are_steps_of_seven_days() -> None:
    ds = np.array(["2024-01-01", "2024-01-08", "2024-01-03", "2024-01-10"], "M8[D]")
    assert Frequency.infer(ds, np.array([0, 2, 4])).alias == "7D"
    assert Frequency.infer(ds[:2]).alias == "W-MON"


def test_a_grid_of_many_starts_broadcasts() -> None:
    starts = np.array(["2020-01-01", "1999-05-15"], "M8[D]")
    ahead = Frequency("MS").at(starts[:, None], np.arange(3))
    assert ahead.astype("M8[D]").astype(str).tolist() == [
        ["2020-01-01", "2020-02-01", "2020-03-01"],
        ["1999-05-15", "1999-06-15", "1999-07-15"],
    ]


SPELLINGS = {
    "M": "ME", "1M": "ME", "H": "h", "T": "min", "30T": "30min", "A": "YE", "Y": "YE", "W": "W-SUN",
    "Q": "QE", "QS-OCT": "QS", "A-DEC": "YE", "1mo": "MS", "1d": "D", "1": "1", "7": "7", "S": "s",
}  # fmt: skip


@pytest.mark.parametrize(("spelling", "alias"), SPELLINGS.items())
def test_common_spellings(spelling: str, alias: str) -> None:
    assert Frequency.parse(spelling) == Frequency(alias)
    assert Frequency.parse(spelling).alias == alias


SEASONS = {
    "h": 24, "D": 7, "W-SUN": 52, "ME": 12, "QS": 4, "B": 5, "YE": 1, "30min": 48, "15min": 96,
    "1": 1, "2h": 12, "7h": 1, "2D": 1, "2MS": 6, "10s": 360, "2YS": 1, "4W-MON": 13,
}  # fmt: skip


@pytest.mark.parametrize(("alias", "season"), SEASONS.items())
def test_season_length(alias: str, season: int) -> None:
    assert Frequency(alias).season_length == season


@pytest.mark.parametrize("alias", ["", "X", "MS2", "W-ABC", "-1", "1.5h", "0D", "BME", "None"])
def test_unknown_aliases_are_refused(alias: str) -> None:
    with pytest.raises(SettingError, match="freq to be"):
        Frequency.parse(alias)


@pytest.mark.parametrize("alias", ["9" * 30, "2000YS", "999999D", "99999999h", f"{2**50 + 1}"])
def test_steps_that_would_wrap_around_are_refused(alias: str) -> None:
    with pytest.raises(SettingError, match="freq of at most"):
        Frequency(alias)


OFF_GRID = {
    "another day": ("MS", ["2024-01-01", "2024-02-02"], "2024-02-02"),
    "month starts for month ends": ("ME", ["2024-01-01", "2024-02-01"], "2024-01-01"),
    "not the last day": ("ME", ["2024-01-30", "2024-03-30"], "2024-01-30"),
    "a day that February lacks": ("MS", ["2024-01-30", "2024-03-30"], "2024-01-30"),
    "a weekend": ("B", ["2024-03-01", "2024-03-02"], "2024-03-02"),
    "a start at the weekend": ("B", ["2024-03-02", "2024-03-04"], "2024-03-02"),
    "between": ("2D", ["2024-03-01", "2024-03-03", "2024-03-04"], "2024-03-04"),
    "another weekday": ("W-MON", ["2024-03-05"], "2024-03-05"),
    "half an hour": ("h", ["2024-03-05T10:00", "2024-03-05T10:30"], "2024-03-05 10:30"),
}


@pytest.mark.parametrize(("alias", "ds", "found"), OFF_GRID.values(), ids=OFF_GRID)
def test_the_first_stamp_off_the_grid_is_named(alias: str, ds: list[str], found: str) -> None:
    stamps = np.array(ds, "M8[us]")
    with pytest.raises(DataError, match=f"found {found}:"):
        Frequency(alias).index(stamps[0], stamps)


IRREGULAR = {
    "days": (np.array(["2024-03-01", "2024-03-03", "2024-03-06"], "M8[D]"), "2 days (1 times), 3"),
    "integers": (np.array([1, 3, 5, 8]), "steps of 2 (2 times), 3 (1 times)"),
    "few on a grid": (np.array([0, 1, 11, 21]), "steps of 10 (2 times), 1 (1 times)"),
    "fractions": (np.array([0, 1500], "M8[ms]"), "1.5 seconds"),
    "one stamp": (np.array(["2024-03-01"], "M8[D]"), "one date a series"),
}


@pytest.mark.parametrize(("ds", "found"), IRREGULAR.values(), ids=IRREGULAR)
def test_irregular_steps_are_named(ds: np.ndarray, found: str) -> None:
    with pytest.raises(DataError) as error:
        Frequency.infer(ds)
    assert found in str(error.value)


def test_dates_and_integers_do_not_mix() -> None:
    with pytest.raises(DataError, match="Expected dates for freq='MS', found integers"):
        Frequency("MS").range(1, 3)
    with pytest.raises(DataError, match="Expected integers for freq='1', found dates"):
        Frequency("1").range(np.datetime64("2024-01-01"), 3)


def test_show_leaves_out_what_is_zero() -> None:
    stamps = ["1949-01-31", "1949-01-31T12:00", "1949-01-31T12:00:07"]
    assert [show(np.datetime64(stamp)) for stamp in stamps] == [s.replace("T", " ") for s in stamps]
