"""Metrics against utilsforecast, and what it does not define: gaps, zero scales, empty input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import utilsforecast.losses as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime import SettingError
from throughtime.forecasting.evaluation import metrics

NAN = float("nan")
numbers = st.floats(-1e3, 1e3).map(lambda v: round(v, 3))
rows = st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=30)


@settings(deadline=None, max_examples=40)
@given(rows)
def test_metrics_equal_utilsforecast(table: list[tuple[float, ...]]) -> None:
    y, f, a, b = np.array(table).T
    lower, upper = np.minimum(a, b), np.maximum(a, b)
    frame = pd.DataFrame(
        {"unique_id": "s", "y": y, "m": f, "m-lo-80": lower, "m-hi-80": upper, "q": f}
    )
    ours = {
        "mae": metrics.mae(y, f),
        "rmse": metrics.rmse(y, f),
        "smape": metrics.smape(y, f) / 200,
        "coverage": metrics.coverage(y, lower, upper),
        "quantile_loss": metrics.pinball(y, f, 0.9),
        "winkler_score": metrics.interval_score(y, lower, upper, 80),
    }
    theirs = {
        "mae": oracle.mae(frame, ["m"]),
        "rmse": oracle.rmse(frame, ["m"]),
        "smape": oracle.smape(frame, ["m"]),
        "coverage": oracle.coverage(frame, ["m"], level=80),
        "quantile_loss": oracle.quantile_loss(frame, {"m": "q"}, q=0.9),
        "winkler_score": oracle.winkler_score(frame, ["m"], level=80),
    }
    if np.abs(y).sum() > 0:
        ours["scaled_crps"] = metrics.scaled_crps(y, {0.1: lower, 0.9: upper})
        ends = {"m": ["m-lo-80", "m-hi-80"]}
        theirs["scaled_crps"] = oracle.scaled_crps(frame, ends, np.array([0.1, 0.9]))
    for name, value in ours.items():
        assert value == pytest.approx(float(theirs[name]["m"].iloc[0]), rel=1e-9, abs=1e-9), name


@settings(deadline=None)
@given(
    train=st.lists(numbers, min_size=5, max_size=30),
    season=st.integers(1, 4),
    pairs=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6),
)
def test_scaled_errors_equal_utilsforecast(
    train: list[float], season: int, pairs: list[tuple[float, float]]
) -> None:
    y, f = np.array(pairs).T
    if metrics.naive_scale(train, season) < 1e-6:
        return
    table = pd.DataFrame({"unique_id": "s", "y": y, "m": f})
    past = pd.DataFrame({"unique_id": "s", "y": train})
    for name in ("mase", "rmsse"):
        theirs = getattr(oracle, name)(table, ["m"], season, past)["m"].iloc[0]
        ours = getattr(metrics, name)(y, f, train, season)
        assert ours == pytest.approx(float(theirs)), name


def test_msis_is_the_interval_score_in_units_of_the_naive_error() -> None:
    """As M4 defines it; `test_scores` has GluonTS's numbers."""
    y, lower, upper, train = [3.0, 9.0, 5.0], [4.0, 4.0, 4.0], [8.0, 8.0, 8.0], [1.0, 5.0, 2.0, 9.0]
    outside = 2 / 0.05 * (1 + 1) / 3
    assert metrics.msis(y, lower, upper, 95, train, 2) == pytest.approx((4 + outside) / 2.5)
    assert np.isnan(metrics.msis(y, lower, upper, 95, [1.0, 1.0]))


def test_owa_is_the_mean_of_two_ratios() -> None:
    found = metrics.owa([12.0, 12.0], [3.0, 3.0], [16.0, 0.0], [4.0, 4.0])
    np.testing.assert_array_equal(found, [0.75, NAN])


def test_a_place_without_a_quantile_is_left_out_of_the_scaled_crps() -> None:
    assert metrics.scaled_crps([4, 6, 100], {0.5: [3, 8, 9], 0.9: [4, 6, NAN]}) == pytest.approx(
        0.15
    )
    assert np.isnan(metrics.scaled_crps([0], {0.5: [3]}))
    with pytest.raises(SettingError, match="at least one quantile"):
        metrics.scaled_crps([1], {})


@given(rows, st.sampled_from([50, 80, 95]))
def test_interval_score_is_the_two_pinball_losses(
    table: list[tuple[float, ...]], level: int
) -> None:
    y, _, a, b = np.array(table).T
    lower, upper = np.minimum(a, b), np.maximum(a, b)
    alpha = 1 - level / 100
    both = metrics.pinball(y, lower, alpha / 2) + metrics.pinball(y, upper, 1 - alpha / 2)
    assert metrics.interval_score(y, lower, upper, level) == pytest.approx(
        2 / alpha * both, abs=1e-6
    )


def test_gaps_are_left_out() -> None:
    y, f = np.array([1.0, NAN, 3.0]), np.array([2.0, 5.0, NAN])
    assert metrics.mae(y, f) == metrics.rmse(y, f) == 1
    assert metrics.smape(y, f) == pytest.approx(200 / 3)
    assert metrics.coverage([1, NAN, 3, 4], [0, 0, NAN, 5], [2, 9, 9, 9]) == 0.5
    assert metrics.mase([1.0, NAN], [3.0, 1.0], train=[1.0, NAN, 3.0, 4.0]) == 2


def test_what_cannot_be_said_is_nan() -> None:
    assert np.isnan(metrics.mae([], []))
    assert np.isnan(metrics.mae([NAN], [1]))
    assert np.isnan(metrics.mase([1], [2], train=[3, 3, 3]))
    assert np.isnan(metrics.mase([1], [2], train=[3], season=1))
    assert np.isnan(metrics.mase([1], [2], train=[1, 2, 3], season=3))


def test_shapes_do_not_matter() -> None:
    y, f = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    assert metrics.mae(y, f) == metrics.mae(y.ravel(), f.ravel())


def test_levels_and_quantiles_are_checked() -> None:
    with pytest.raises(SettingError, match="quantile"):
        metrics.pinball([1], [1], 90)
    with pytest.raises(SettingError, match="level"):
        metrics.interval_score([1], [0], [2], 0)
    with pytest.raises(SettingError, match="season"):
        metrics.naive_scale([1, 2], 0)
