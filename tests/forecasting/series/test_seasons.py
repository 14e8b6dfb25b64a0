"""Seasons by the calendar and by the data; noise and random walks have none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import throughtime as tt
from throughtime.forecasting.series.frame import Panel, read_frame
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.series.seasons import panel_season_length, season_length

SUNSPOTS = tt.datasets.sunspots()["y"].to_numpy()


def test_the_calendar_comes_first() -> None:
    assert season_length(SUNSPOTS, Frequency("MS")) == 12
    assert season_length(SUNSPOTS, Frequency("YS")) == 11


@pytest.mark.parametrize("n", [221, 250, 298, 309])
def test_sunspots_come_back_after_eleven_years(n: int) -> None:
    assert season_length(SUNSPOTS[:n], Frequency("1")) == 11


def test_gaps_and_trends_hide_no_season() -> None:
    y = SUNSPOTS + 3 * np.arange(309)
    y[[0, 50, 51, 120, 308]] = np.nan
    assert season_length(y) == 11


@pytest.mark.parametrize("season", [3, 4, 7, 12, 24])
def test_a_noisy_season_is_found(season: int) -> None:
    rng = np.random.default_rng(season)
    shape = 2 * np.sin(2 * np.pi * np.arange(season) / season)
    found = [
        season_length(np.tile(shape, 12) + rng.normal(scale=0.5, size=12 * season))
        for _ in range(20)
    ]
    assert found.count(season) >= 18


@pytest.mark.parametrize("kind", ["noise", "walk", "autoregression"])
def test_no_season_where_there_is_none(kind: str) -> None:
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(200):
        y = rng.normal(size=150)
        if kind == "walk":
            y = np.cumsum(y)
        elif kind == "autoregression":
            for t in range(1, 150):
                y[t] += 0.9 * y[t - 1]
        false += season_length(y) > 1
    assert false <= 4


@pytest.mark.parametrize(
    "y", [[], [1.0], [np.nan] * 9, [5.0] * 99, [1.0, 2, 1, 2, 1], np.arange(99)]
)
def test_hardly_a_series_has_no_season(y: list[float]) -> None:
    assert season_length(y) == 1


@pytest.mark.parametrize("season", [27, 31, 33])
def test_a_long_season_stays_inside_the_series(season: int) -> None:
    y = np.tile(np.random.default_rng(0).normal(size=season), 4)[:100]
    assert season_length(y) == season


def panel_of(seasons: list[int]) -> Panel:
    rng = np.random.default_rng(0)
    series = [np.tile(rng.normal(size=m), 120 // m) for m in seasons]
    return read_frame(
        pa.table(
            {
                "unique_id": np.repeat(np.arange(len(seasons)), [len(y) for y in series]),
                "ds": np.concatenate([np.arange(len(y)) for y in series]),
                "y": np.concatenate(series),
            }
        )
    )


def test_a_panel_has_the_season_that_half_its_series_share() -> None:
    assert panel_season_length(panel_of([6, 6, 10, 6])) == 6
    assert panel_season_length(panel_of([6, 8, 10, 12])) == 1
    assert panel_season_length(panel_of([6] + [10] * 6), at_most=2) == 6
    monthly = pa.table({"ds": ["1949-01", "1949-02"], "y": [1, 2]})
    assert panel_season_length(read_frame(monthly)) == 12
