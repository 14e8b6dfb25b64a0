"""How much there is to learn from decides how, and what a linear map says how long series are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import throughtime as tt
from throughtime._errors import SettingError
from throughtime.forecasting.planning.deciding import decide
from throughtime.forecasting.series.frame import Panel, read_frame
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.settings.effort import (
    FEW,
    LONG,
    MANY,
    MOST,
    NOISY,
    VAST,
    Effort,
    effort_for,
    noisy,
)
from throughtime.training import TrainingSettings


def panel_of(series: int, n: int) -> Panel:
    """Return a panel of so many series of n steps."""
    ids, ds = np.repeat(np.arange(series), n), np.tile(np.arange(n), series)
    return read_frame(pa.table({"unique_id": ids.astype(str), "ds": ds, "y": np.zeros(series * n)}))


@pytest.mark.parametrize(
    ("series", "n", "h", "season", "effort"),
    [
        (1, 499, 1, 1, FEW),
        (1, 500, 1, 1, LONG),
        (64, 50, 5, 1, LONG),
        (65, 50, 5, 1, MANY),
        (65, 35, 5, 1, FEW),
        (65, 200, 20, 4, MANY),  # 50 seasons each, but 10 horizons
        (65, 200, 4, 20, MANY),
        (65, 200, 20, 1, MANY),
        (65, 160, 20, 2, MOST),
        (100, 50, 1, 1, MOST),
        (1000, 50, 1, 1, VAST),
    ],
)
def test_an_effort_goes_by_horizons_or_shorter_seasons(
    series: int, n: int, h: int, season: int, effort: Effort
) -> None:
    assert effort_for(panel_of(series, n), h, season) == effort


@pytest.mark.parametrize(("n", "h", "updates"), [(1000, 100, 150), (1000, 2, 500), (4000, 2, 1000)])
def test_noise_is_given_an_update_for_every_horizon(n: int, h: int, updates: int) -> None:
    effort = noisy(panel_of(1, n), h)
    assert effort.training.max_updates == updates
    assert effort.companions == (n // h < 500)
    assert replace(effort, training=NOISY.training, companions=False) == NOISY


def long_series(noise: float) -> npt.NDArray[np.float64]:
    """Return 70 days of hours: a day that repeats, and a walk."""
    rng, t = np.random.default_rng(0), np.arange(70 * 24)
    return 10 * np.sin(t * 2 * np.pi / 24) + noise * rng.normal(size=len(t)).cumsum()


def decided(noise: float, h: int = 3, **given: Any) -> Design:
    """Return the design for such a series."""
    forecaster = tt.Forecaster(h, **{"season_length": 24, **given})
    panel = read_frame(long_series(noise))
    return decide(forecaster._given, panel, panel)


def test_a_long_series_that_can_be_told_has_a_linear_skip() -> None:
    design = decided(noise=0.1)
    assert (design.architecture, design.linear_skip, design.dropout) == ("direct", True, 0.0)
    assert design.scaling == "shift"
    assert design.weighting == "owa"
    assert design.training.max_updates == LONG.training.max_updates


def test_one_that_cannot_is_asked_for_segment_by_segment() -> None:
    design = decided(noise=20.0)
    assert (design.architecture, design.linear_skip, design.dropout) == ("segment", False, 0.5)
    assert design.training.max_updates == 70 * 24 // 3
    assert (design.companions, design.has_cycle) == (False, False)
    assert design.context_length % design.segment == 0
    assert design.segment > 1


def test_few_horizons_of_noise_have_the_linear_map_beside_them() -> None:
    design = decided(noise=20.0, h=24, season_length=2)
    assert (design.architecture, design.companions, design.has_cycle) == ("segment", True, False)


@pytest.mark.parametrize(
    "given",
    [
        {"architecture": "direct"},
        {"preprogram": "linear"},
        {"bidirectional": True},
        {"output": "negative-binomial"},
    ],
)
def test_what_is_asked_for_stays(given: dict[str, Any]) -> None:
    design = decided(noise=20.0, **given)
    assert (design.architecture, design.dropout) == ("direct", 0.0)


def test_training_that_was_chosen_stays() -> None:
    training = TrainingSettings(max_updates=7)
    assert decided(noise=20.0, training=training).training.max_updates == 7
    sizes = decided(noise=20.0, members=2, hidden_size=5)
    assert (sizes.members, sizes.hidden_size) == (2, 5)


def seasons(noise: float) -> Panel:
    """Return 130 series of 40 seasons of four steps: patterns that drift, under noise."""
    rng, S, n, m = np.random.default_rng(1), 130, 40, 4
    pattern = rng.normal(size=(S, 1, m)) + 0.1 * rng.normal(size=(S, n, m)).cumsum(axis=1)
    y = 100 + 10 * pattern + noise * rng.normal(size=(S, n, m))
    ids, ds = np.repeat(np.arange(S), n * m), np.tile(np.arange(n * m), S)
    return read_frame(pa.table({"unique_id": ids.astype(str), "ds": ds, "y": y.ravel()}))


def of_seasons(noise: float, **given: Any) -> Design:
    forecaster = tt.Forecaster(4, season_length=4, **given)
    panel = seasons(noise)
    assert effort_for(panel, 4, 4) == MOST
    return decide(forecaster._given, panel, panel)


def test_of_very_many_series_that_repeat_closely_differences_of_a_season_are_read() -> None:
    design = of_seasons(noise=0.5)
    assert (design.difference, design.residual) == ("season", "season")
    assert (design.linear_skip, design.combine) == (4, "median")


@pytest.mark.parametrize(
    "given",
    [
        {"difference": 0},
        {"residual": "last"},
        {"architecture": "es"},
        {"output": "negative-binomial"},
        {"preprogram": "linear", "residual": "season"},
    ],
)
def test_they_are_left_out_where_that_was_asked_for_or_they_do_not_go(
    given: dict[str, Any],
) -> None:
    assert of_seasons(noise=0.5, **given).difference is None


def test_noise_about_a_level_is_read_as_it_is() -> None:
    assert of_seasons(noise=50.0).difference is None


def test_what_is_said_of_maps_and_means_is_kept() -> None:
    design = of_seasons(noise=0.5, linear_skip=True, members=tt.Members(2, combine="mean"))
    assert (design.linear_skip, design.combine) == (1, "mean")
    with pytest.raises(SettingError, match="linear_skip to be a whole number of at least 0"):
        of_seasons(noise=0.5, linear_skip=-1)
