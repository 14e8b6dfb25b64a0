"""Baselines against their definitions, published errors, and series that are hardly any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting.evaluation.baselines import (
    LinearAutoregression,
    Naive,
    SeasonalNaive,
    _complete_rows,
    _order_by_aic,
)
from throughtime.forecasting.evaluation.metrics import mae

NAN = float("nan")
BASELINES = [Naive(), SeasonalNaive(4), LinearAutoregression(), LinearAutoregression(season=4)]


def mae_of_eight_origins(baseline: Any, y: np.ndarray, h: int = 11) -> float:
    cutoffs = [len(y) - h * k for k in range(8, 0, -1)]
    return mae([y[c : c + h] for c in cutoffs], [baseline.forecast(y[:c], h) for c in cutoffs])


PUBLISHED = [(Naive(), 50.9), (SeasonalNaive(11), 25.2), (LinearAutoregression(order=9), 21.1)]


@pytest.mark.parametrize(("baseline", "published"), PUBLISHED)
def test_errors_on_the_sunspots_are_the_published_ones(baseline: Any, published: float) -> None:
    y = tt.datasets.sunspots()["y"].to_numpy()
    assert mae_of_eight_origins(baseline, y) == pytest.approx(published, abs=0.06)


def test_the_order_by_aic_is_nearly_as_good() -> None:
    y = tt.datasets.sunspots()["y"].to_numpy()
    assert mae_of_eight_origins(LinearAutoregression(), y) < 23


@given(
    y=st.lists(st.one_of(st.just(NAN), st.floats(-9, 9)), min_size=1, max_size=20),
    season=st.integers(1, 7),
    h=st.integers(1, 15),
)
def test_seasonal_naive_is_the_last_value_a_whole_number_of_seasons_ago(
    y: list[float], season: int, h: int
) -> None:
    if np.isnan(y).all():
        return
    expected = []
    for k in range(h):
        same = [v for v in y[(len(y) + k) % season :: season] if not np.isnan(v)]
        expected.append(same[-1] if same else [v for v in y if not np.isnan(v)][-1])
    np.testing.assert_array_equal(SeasonalNaive(season).forecast(y, h), expected)


def simulate(c: float, phi: list[float], n: int, noise: float = 1.0) -> np.ndarray:
    rng, p = np.random.default_rng(0), len(phi)
    y = np.zeros(n)
    for t in range(p, n):
        y[t] = c + np.dot(phi, y[t - p : t][::-1]) + noise * rng.normal()
    return y


def test_autoregression_is_ordinary_least_squares() -> None:
    y = simulate(2.0, [0.6, -0.3], 200)
    X = np.column_stack([np.ones(198), y[1:-1], y[:-2]])
    c, one, two = np.linalg.lstsq(X, y[2:], rcond=None)[0]
    path = list(y)
    for _ in range(5):
        path.append(c + one * path[-1] + two * path[-2])
    np.testing.assert_allclose(LinearAutoregression(order=2).forecast(y, 5), path[-5:])


def test_aic_finds_the_lags_that_matter() -> None:
    y = simulate(1.0, [0, 0, 0, 0.9], 400)
    ahead = LinearAutoregression().forecast(y, 4)
    np.testing.assert_allclose(ahead, 1 + 0.9 * y[-4:], atol=0.6)


@pytest.mark.parametrize("phi", [[0.0], [0.5], [0.6, -0.3], [0.2, 0.2, 0.2]])
def test_one_factorisation_gives_the_criterion_of_every_order(phi: list[float]) -> None:
    X, target = _complete_rows(simulate(1.0, phi, 120), 15)

    def aic(p: int) -> float:
        fit = np.linalg.lstsq(X[:, : p + 1], target, rcond=None)[0]
        rss = np.sum((target - X[:, : p + 1] @ fit) ** 2)
        return float(len(target) * np.log(rss / len(target)) + 2 * p)

    assert _order_by_aic(X, target) == min(range(16), key=aic) < 8


def test_gaps_are_left_out_of_the_fit_and_filled_by_it() -> None:
    y = simulate(0.0, [1.6, -0.9], 300, noise=0.0)
    y[:2] = 1.0
    for t in range(2, 60):
        y[t] = 1.6 * y[t - 1] - 0.9 * y[t - 2]
    y = y[:60]
    holes = y.copy()
    holes[[10, 30, 31, 57, 59]] = NAN
    np.testing.assert_allclose(
        LinearAutoregression(order=2).forecast(holes, 3),
        LinearAutoregression(order=2).forecast(y, 3),
        atol=1e-8,
    )


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(
    "y", [[3.0], [3.0, 3.0], [NAN, 3.0, NAN], [3.0] * 50, [NAN] * 9 + [3.0] * 9]
)
def test_short_and_constant_series_repeat_their_value(baseline: Any, y: list[float]) -> None:
    np.testing.assert_array_equal(baseline.forecast(y, 5), [3.0] * 5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_nothing_observed_is_refused(baseline: Any) -> None:
    with pytest.raises(tt.DataError, match="a value in the series"):
        baseline.forecast([NAN, NAN], 3)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 40))
def test_autoregression_never_runs_away(y: list[float], h: int) -> None:
    low, high = min(y), max(y)
    ahead = LinearAutoregression(season=3).forecast(y, h)
    slack = 1e-9 * (1 + abs(low) + abs(high))
    assert ahead.shape == (h,)
    assert ahead.min() >= 2 * low - high - slack
    assert ahead.max() <= 2 * high - low + slack


def test_growth_ends_one_range_above_the_highest_value() -> None:
    y = 1.3 ** np.arange(40)
    assert LinearAutoregression().forecast(y, 60).max() == pytest.approx(2 * y.max() - y.min())
