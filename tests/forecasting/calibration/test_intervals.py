"""Intervals: their coverage on simulated residuals, their order, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import isotonic_regression

from throughtime import DataError, SettingError
from throughtime.forecasting.calibration.intervals import Calibration, leave_one_out
from throughtime.forecasting.evaluation.metrics import coverage

residual_tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 6)),
    elements=st.one_of(st.just(np.nan), st.floats(-1e3, 1e3)),
).filter(lambda r: not np.isnan(r).all())


@settings(deadline=None)
@given(residual_tables, st.floats(1, 98), st.floats(0.1, 1.9))
def test_levels_nest_around_the_point_and_widen_with_the_step(
    residuals: np.ndarray, level: float, more: float
) -> None:
    calibration = Calibration.fit(residuals)
    point = np.linspace(-5, 5, residuals.shape[-1])
    lower, upper = calibration.interval(point, level)
    outer_lower, outer_upper = calibration.interval(point, level + more)
    assert (outer_lower <= lower).all()
    assert (lower <= point).all()
    assert (point <= upper).all()
    assert (upper <= outer_upper).all()
    assert (np.diff(upper - point) >= -1e-9).all()


KINDS = {
    "independent": lambda rng, n, h: rng.normal(size=(n, h)),
    "growing, heavy tails": lambda rng, n, h: rng.standard_t(3, (n, h)) * np.sqrt(1 + np.arange(h)),
    "random walk": lambda rng, n, h: np.cumsum(rng.normal(size=(n, h)), axis=1),
}


@pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("level", [80, 95])
def test_eight_origins_cover_new_values_about_as_often_as_said(draw: object, level: int) -> None:
    rng = np.random.default_rng(7)
    new, back_test = [], []
    for _ in range(300):
        residuals = draw(rng, 40, 11)  # type: ignore[operator]
        past, future = residuals[:8], residuals[8:]
        ends = Calibration.fit(past).interval(np.zeros((32, 11)), level)
        new.append(coverage(future, *ends))
        for r, calibration in zip(past, leave_one_out(past), strict=True):
            back_test.append(coverage(r, *calibration.interval([0] * 11, level)))
    assert np.mean(new) == pytest.approx(level / 100, abs=0.025)
    assert np.mean(back_test) == pytest.approx(level / 100, abs=0.025)


@pytest.mark.parametrize("level", [50, 80, 90])
def test_split_conformal_covers_at_least_the_level(level: int) -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(3000):
        residuals = rng.normal(size=(10, 1))
        inside.append(coverage(residuals[9], *Calibration.fit(residuals[:9]).interval([0], level)))
    assert level / 100 - 0.02 <= np.mean(inside) <= level / 100 + 1 / 10 + 0.02


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 9)), min_size=1, max_size=8))
def test_scales_are_the_isotonic_regression(steps: list[tuple[float, int]]) -> None:
    residuals = np.full((9, len(steps)), np.nan)
    for k, (size, count) in enumerate(steps):
        residuals[:count, k] = size
    means, counts = np.array(steps).T
    np.testing.assert_allclose(
        Calibration.fit(residuals).scale, isotonic_regression(means, weights=counts).x, atol=1e-9
    )


def test_a_step_without_residuals_takes_a_neighbours_scale() -> None:
    nan = np.nan
    assert Calibration.fit([[nan, 1.0, nan, 3.0, nan]]).scale.tolist() == [1, 1, 1, 3, 3]
    assert Calibration.fit([[nan, nan, 2.0]]).scale.tolist() == [2, 2, 2]


def test_series_and_origins_are_pooled() -> None:
    residuals = np.random.default_rng(0).normal(size=(4, 5, 3))
    pooled, flat = Calibration.fit(residuals), Calibration.fit(residuals.reshape(20, 3))
    np.testing.assert_array_equal(pooled.scores, flat.scores)
    assert len(leave_one_out(residuals)) == 4
    assert len(leave_one_out(residuals)[0].scores) == 45


def test_no_origin_calibrates_itself() -> None:
    residuals = np.ones((5, 2))
    residuals[3] = 1000
    honest = leave_one_out(residuals)[3]
    assert honest.scale.max() == 1
    assert coverage(residuals[3], *honest.interval([0, 0], 99)) == 0


def test_steps_may_be_picked_and_points_have_any_shape() -> None:
    calibration = Calibration.fit([[1.0, 2.0, 4.0]] * 9)
    lower, upper = calibration.interval(np.zeros((2, 1)), 80, steps=[3])
    assert lower.tolist() == [[-4], [-4]]
    assert upper.tolist() == [[4], [4]]
    with pytest.raises(SettingError, match="steps from 1 to 3, found steps from 1 to 4"):
        calibration.interval(np.zeros(4), 80)


def test_perfect_forecasts_have_intervals_of_no_width() -> None:
    lower, upper = Calibration.fit(np.zeros((8, 3))).interval([1, 2, 3], 95)
    assert lower.tolist() == upper.tolist() == [1, 2, 3]


def test_few_scores_are_widened_beyond_the_largest() -> None:
    calibration = Calibration.fit([[1.0], [2.0], [3.0]])
    widest = calibration.scores[-1]
    assert calibration.quantile(50) < calibration.quantile(75) == widest
    assert calibration.quantile(95) == pytest.approx(widest * 1.95996 / 1.15035, rel=1e-4)


def test_steps_that_err_together_count_for_less() -> None:
    rng = np.random.default_rng(0)
    alone, together = rng.normal(size=(8, 11)), np.repeat(rng.normal(size=(8, 1)), 11, axis=1)
    assert Calibration.fit(together).independent == pytest.approx(8)
    assert Calibration.fit(alone).independent > 40


def test_what_cannot_calibrate_is_refused() -> None:
    with pytest.raises(DataError, match="residuals"):
        Calibration.fit(np.full((2, 2), np.nan))
    with pytest.raises(DataError, match="at least 2 origins"):
        leave_one_out(np.ones((1, 3)))
    with pytest.raises(SettingError, match="level"):
        Calibration.fit([[1.0]]).quantile(100)
