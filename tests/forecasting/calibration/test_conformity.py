"""Scores of values about points and quantiles, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import gamma, norm, poisson

from throughtime.forecasting.calibration.conformity import GRID, MOST, AroundPoint, AroundQuantiles
from throughtime.forecasting.preprocessing.transforms import Identity, Log1p, Sqrt, Transform

RNG = np.random.default_rng(0)
TRANSFORMS = [Identity(), Sqrt(), Log1p()]


def test_the_scores_of_a_normal_forecast_are_standardised_errors() -> None:
    mu, sigma = RNG.normal(size=(5, 3)), RNG.gamma(2.0, size=(5, 3))
    quantiles = mu[..., None] + sigma[..., None] * norm.ppf(GRID)
    around, y = AroundQuantiles(quantiles, Identity()), RNG.normal(size=(5, 3)) * 2
    expected = np.clip((y - mu) / sigma, -MOST, MOST)
    np.testing.assert_allclose(around.score(y), expected, atol=1e-9)
    np.testing.assert_allclose(around.value(expected), mu + sigma * expected, atol=1e-9)


def test_the_scores_of_any_forecast_are_the_normal_scores_of_its_distribution() -> None:
    y = gamma.ppf(np.array(GRID)[None], 3.0)
    around = AroundQuantiles(np.broadcast_to(y, (1, len(GRID), len(GRID))), Identity())
    np.testing.assert_allclose(around.score(y), norm.ppf(GRID)[None], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float64, (2, 3, len(GRID)), elements=st.floats(0, 100).map(lambda v: round(v, 2))),
    arrays(np.float64, (2, 3), elements=st.floats(0, 200).map(lambda v: round(v, 2))),
    arrays(np.float64, (3,), elements=st.floats(0, 8.0)),
    st.sampled_from(TRANSFORMS),
)
def test_a_value_is_inside_where_its_score_is(
    quantiles: np.ndarray, y: np.ndarray, half: np.ndarray, transform: Transform
) -> None:
    """The equivalence that makes intervals of scores intervals of values, with ties and all."""
    around = AroundQuantiles(np.sort(quantiles), transform)
    score, lo, hi = np.abs(around.score(y)), around.value(-half), around.value(half)
    assert (lo <= hi + 1e-9).all()
    outside = score > half + 1e-6
    within = score < half - 1e-6
    slack = 1e-6 * (1 + np.abs(y))
    assert ((lo - slack <= y) & (y <= hi + slack))[within].all()
    assert ((y <= lo + slack) | (y >= hi - slack))[outside].all()


def test_counts_are_inside_where_their_score_is_and_ends_are_whole() -> None:
    rates = np.array([0.3, 2.0, 40.0])
    quantiles = poisson.ppf(np.array(GRID), rates[:, None])[None]
    around = AroundQuantiles(quantiles, Identity(), counts=True)
    for half in np.linspace(0.01, 4, 12):
        lo, hi = around.value(np.array(-half)), around.value(np.array(half))
        assert (lo >= 0).all()
        assert (lo == np.round(lo)).all()
        for y in np.arange(0.0, 90.0, 2.0):
            inside = (lo <= y) & (y <= hi)
            np.testing.assert_array_equal(inside, np.abs(around.score(np.full((1, 3), y))) <= half)


def test_where_nothing_is_unsure_only_that_value_is_near() -> None:
    around = AroundQuantiles(np.full((1, 1, len(GRID)), 7.0), Identity())
    for y, expected in ((7.0, 0.0), (7.1, MOST), (6.9, -MOST)):
        assert around.score(np.array([[y]])) == expected
    assert around.value(np.array(5.0)) == 7.0


def test_what_was_not_observed_has_no_score() -> None:
    q = np.sort(RNG.gamma(2.0, size=(1, 2, len(GRID))))
    score = AroundQuantiles(q, Sqrt()).score(np.array([[np.nan, 1.0]]))
    assert np.isnan(score).tolist() == [[True, False]]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_errors_about_points_are_taken_on_their_scale(transform: Transform) -> None:
    point, y, sizes = RNG.gamma(2, 3, (4, 3)), RNG.gamma(2, 3, (4, 3)), RNG.gamma(2, 3, 4)
    around = AroundPoint(point, sizes, transform)
    score = around.score(y)
    expected = (transform.forward(y) - transform.forward(point)) / sizes[:, None]
    np.testing.assert_allclose(score, expected)
    np.testing.assert_allclose(around.value(score), y)


def test_bent_errors_are_those_of_fourth_roots() -> None:
    """Far above 0, scores are differences of y^(1/4), in units of size at the point."""
    point, y, sizes = RNG.gamma(9, 9, (4, 3)) + 9, RNG.gamma(9, 9, (4, 3)), RNG.uniform(0.1, 3, 4)
    made = AroundPoint(point, sizes, Sqrt(), bent=True).score(y)
    slope = 0.5 * point**-0.25  # of the fourth root, by the square root
    expected = (y**0.25 - point**0.25) / (slope * sizes[:, None])
    np.testing.assert_allclose(made, expected)


@given(st.floats(0, 1e4), st.floats(1e-2, 1e2), st.floats(0, 1e4), st.floats(0, 9))
def test_bent_scores_rise_with_the_value_and_lead_back(
    point: float, size: float, y: float, c: float
) -> None:
    around = AroundPoint(np.array([[point]]), np.array([size]), Sqrt(), bent=True)
    u, a = point**0.5 / size, max(point**0.5 / size, 1.0)
    ys = np.array([0.0, point, y, y + 1])
    scores = np.concatenate([around.score(each.reshape(1, 1))[0] for each in ys])
    assert scores[0] <= scores[1] == 0.0
    assert scores[0] <= scores[2] < scores[3]
    back = [around.value(each)[0, 0] for each in scores]
    np.testing.assert_allclose(back, ys, rtol=1e-6, atol=1e-6 * size**2)
    lo, hi = (around.value(np.array(each))[0, 0] ** 0.5 / size for each in (-c, c))
    if c <= 2 * a:
        np.testing.assert_allclose(lo, max(u - c + c * c / (4 * a), 0.0), rtol=1e-6, atol=1e-6)
    else:
        assert lo == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(hi, u + c + c * c / (4 * a), rtol=1e-6, atol=1e-12)
