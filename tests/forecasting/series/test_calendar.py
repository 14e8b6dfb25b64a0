"""Calendar features: every phase against pandas, and the cycles that suit a frequency."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.forecasting.series.calendar import CYCLES, checked_calendar, choose, features
from throughtime.forecasting.series.columns import DateKind
from throughtime.forecasting.series.frequency import Frequency

MICROSECONDS = st.integers(
    int(np.datetime64("1600-01-01", "us").astype(int)),
    int(np.datetime64("2400-12-31", "us").astype(int)),
)


def phases_of_pandas(ds: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    seconds = (ds - ds.normalize()) / pd.Timedelta(seconds=1)
    iso = ds.isocalendar()
    last_weeks = pd.to_datetime([f"{year}-12-28" for year in iso["year"]]).isocalendar()
    made = {
        "minute_of_hour": seconds % 3600 / 3600,
        "hour": seconds / 86400,
        "day_of_week": ds.day_of_week / 7,
        "day_of_month": (ds.day - 1) / ds.days_in_month,
        "day_of_year": (ds.day_of_year - 1) / (365 + ds.is_leap_year),
        "week_of_year": (iso["week"].to_numpy(int) - 1) / last_weeks["week"].to_numpy(int),
        "month": (ds.month - 1) / 12,
        "quarter": (ds.quarter - 1) / 4,
    }
    return {name: np.asarray(u, dtype=float) for name, u in made.items()}


@settings(max_examples=150, deadline=None)
@given(st.lists(MICROSECONDS, min_size=1, max_size=20))
def test_every_phase_agrees_with_pandas(microseconds: list[int]) -> None:
    stamps = np.array(microseconds, dtype="datetime64[us]")
    theirs = phases_of_pandas(pd.DatetimeIndex(stamps))
    assert set(theirs) == set(CYCLES)
    for name, u in theirs.items():
        np.testing.assert_allclose(CYCLES[name](stamps), u, atol=1e-12)
        assert ((CYCLES[name](stamps) >= 0) & (CYCLES[name](stamps) < 1)).all()
        made = features(stamps, [name])
        wanted = np.stack([np.sin(2 * np.pi * u), np.cos(2 * np.pi * u)], axis=-1)
        np.testing.assert_allclose(made, wanted, atol=1e-6)


def test_axes_stay_and_names_follow_each_other() -> None:
    stamps = np.array([["2024-01-31T12:00", "2024-02-29T18:30"]], "M8[s]")
    made = features(stamps, list(CYCLES))
    assert made.shape == (1, 2, 16)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made[..., 2:4], features(stamps, ["hour"]))
    assert features(np.arange(3), []).shape == (3, 0)


CHOSEN = {
    "s": ("minute_of_hour", "hour", "day_of_week", "day_of_year"),
    "5min": ("minute_of_hour", "hour", "day_of_week", "day_of_year"),
    "30min": ("hour", "day_of_week", "day_of_year"),
    "12h": ("hour", "day_of_week", "day_of_year"),
    "24h": ("day_of_week", "day_of_year"),
    "D": ("day_of_week", "day_of_year"),
    "B": ("day_of_week", "day_of_year"),
    "W-MON": ("day_of_year",),
    "7D": ("day_of_year",),
    "52W-MON": (),
    "MS": ("month",), "ME": ("month",), "2MS": ("month",), "18MS": ("quarter",),
    "QE": ("quarter",), "3MS": ("quarter",), "YS": (), "12ME": (), "1": (), "7": (),
}  # fmt: skip


@pytest.mark.parametrize(("alias", "names"), CHOSEN.items())
def test_the_cycles_that_a_frequency_turns_through_are_chosen(
    alias: str, names: tuple[str, ...]
) -> None:
    assert choose(Frequency(alias)) == names
    assert checked_calendar(True, Frequency(alias)) == names
    assert checked_calendar(False, Frequency(alias)) == ()


@pytest.mark.parametrize("alias", [alias for alias in CHOSEN if not alias.isdigit()])
def test_a_chosen_cycle_changes_from_step_to_step(alias: str) -> None:
    start = np.datetime64("2024-01-31" if alias.endswith("E") else "2024-01-01", "us")
    stride = 997 if Frequency(alias).unit in ("s", "min") else 1
    stamps = Frequency(alias).at(start, np.arange(300) * stride)
    for name in choose(Frequency(alias)):
        assert len(np.unique(CYCLES[name](stamps))) > 1


def test_integers_and_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="dates for calendar='hour', found integers"):
        features(np.arange(3), ["hour"])
    with pytest.raises(DataError, match="dates for calendar='hour', 'month', found integers"):
        checked_calendar(["hour", "month"], Frequency("1"))
    for refused in (lambda: features(np.array(["2024"], "M8[D]"), ["minute"]),
                    lambda: checked_calendar(["minute"], Frequency("h"))):  # fmt: skip
        with pytest.raises(SettingError, match="calendar to be one of 'minute_of_hour', 'hour'"):
            refused()
    assert checked_calendar(["month", "hour", "month"], Frequency("h")) == ("month", "hour")


def test_the_hour_is_that_of_the_clock_where_the_dates_come_from() -> None:
    """Stamps of hourly data with a time zone are kept in UTC; a day goes by the local clock."""
    local = pd.date_range("2024-10-26", periods=60, freq="h", tz="Europe/Paris")
    stamps = local.tz_convert("UTC").tz_localize(None).to_numpy()
    wall = DateKind("datetime64[us]", "Europe/Paris", "utc").local(stamps)
    np.testing.assert_allclose(CYCLES["hour"](wall) * 24, local.hour, atol=1e-9)
    same = DateKind("datetime64[us]", "Europe/Paris", "wall").local(stamps)
    np.testing.assert_array_equal(same, stamps)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=9),
    st.integers(2, 400),
    st.integers(1, 5),
)
def test_harmonics_of_integers_are_those_of_their_turn(numbers: list[int], m: int, K: int) -> None:
    n = np.array(numbers)
    made = features(n, [f"{m}:{K}"])
    z = np.exp(2j * np.pi * n / m)[:, None] ** np.arange(1, K + 1)
    np.testing.assert_allclose(made[:, 0::2], z.imag, atol=1e-5)
    np.testing.assert_allclose(made[:, 1::2], z.real, atol=1e-5)
    np.testing.assert_array_equal(features(n + m, [f"{m}:{K}"]), made)


def test_the_first_harmonic_is_the_cycle_and_the_others_follow() -> None:
    stamps = np.array(["2024-01-31T03:00", "2024-02-29T18:30"], "M8[s]")
    made = features(stamps, ["hour:3", "month"])
    assert made.shape == (2, 8)
    np.testing.assert_array_equal(made[:, :2], features(stamps, ["hour"]))
    np.testing.assert_array_equal(made[:, 6:], features(stamps, ["month"]))
    s, c = made[:, 0], made[:, 1]
    np.testing.assert_allclose(made[:, 2:4].T, [2 * s * c, c**2 - s**2], atol=1e-6)


def test_integers_turn_through_their_season() -> None:
    assert choose(Frequency("1"), 12) == ("12",)
    assert choose(Frequency("7"), 12) == ("84",)
    assert choose(Frequency("MS"), 12) == ("month",)
    assert checked_calendar(True, Frequency("1")) == ()


@pytest.mark.parametrize(
    ("name", "alias", "words"),
    [
        ("hour:0", "h", "a number of harmonics above 0, found 'hour:0'"),
        ("hour:two", "h", "a number of harmonics above 0"),
        ("1", "1", "calendar"),
        ("hour", "1", "found integers"),
        ("24", "h", "integers for calendar='24', found dates"),
    ],
)
def test_a_cycle_that_does_not_turn_is_refused(name: str, alias: str, words: str) -> None:
    with pytest.raises((SettingError, DataError), match=words):
        checked_calendar([name], Frequency(alias))
