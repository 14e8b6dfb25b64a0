"""Metrics against utilsforecast, and what it does not define: gaps, zero scales, empty input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import utilsforecast.losses as oracle
from hypothesis import given
from hypothesis import strategies as st

from throughtime import SettingError
from throughtime.forecasting import metrics

NAN = float("nan")
numbers = st.floats(-1e3, 1e3).map(lambda v: round(v, 3))
rows = st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=30)


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
    }
    theirs = {
        "mae": oracle.mae(frame, ["m"]),
        "rmse": oracle.rmse(frame, ["m"]),
        "smape": oracle.smape(frame, ["m"]),
        "coverage": oracle.coverage(frame, ["m"], level=80),
        "quantile_loss": oracle.quantile_loss(frame, {"m": "q"}, q=0.9),
    }
    for name, value in ours.items():
        assert value == pytest.approx(float(theirs[name]["m"].iloc[0]), abs=1e-9), name


@given(
    train=st.lists(numbers, min_size=5, max_size=30),
    season=st.integers(1, 4),
    pairs=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6),
)
def test_mase_equals_utilsforecast(
    train: list[float], season: int, pairs: list[tuple[float, float]]
) -> None:
    y, f = np.array(pairs).T
    if metrics.naive_scale(train, season) < 1e-6:
        return
    theirs = oracle.mase(
        pd.DataFrame({"unique_id": "s", "y": y, "m": f}), ["m"], season,
        pd.DataFrame({"unique_id": "s", "y": train}),
    )  # fmt: skip
    assert metrics.mase(y, f, train, season) == pytest.approx(float(theirs["m"].iloc[0]))


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
