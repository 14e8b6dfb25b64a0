"""The correlation of errors across steps and targets, and draws that have it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from throughtime.forecasting.calibration.copula import correlation, draw, ranks


def walks(n: int, M: int, h: int, phi: float, seed: int, tie: float = 0.0) -> np.ndarray:
    """Errors of autoregressions [n, M, h] that share a part `tie` of the variance of their shocks."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(n, 1, h)), rng.normal(size=(n, M, h))
    shocks, e = tie**0.5 * common + (1 - tie) ** 0.5 * own, np.zeros((n, M, h))
    for k in range(h):
        e[..., k] = shocks[..., k] + (phi * e[..., k - 1] if k else 0.0)
    return e / np.sqrt((e**2).mean(axis=0))


def true_correlation(phi: float, h: int) -> np.ndarray:
    """By brute force: e = A shocks, A lower triangular."""
    A = np.array([[phi ** (j - i) if i <= j else 0.0 for i in range(h)] for j in range(h)])
    C = A @ A.T
    return C / np.sqrt(np.outer(C.diagonal(), C.diagonal()))


@pytest.mark.parametrize("phi", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("n", "tolerance"), [(8, 0.25), (40, 0.12), (2000, 0.05)])
def test_the_correlation_of_an_autoregression_is_found_from_few_origins(
    phi: float, n: int, tolerance: float
) -> None:
    h = 10
    errors, naive = [], []
    for seed in range(20):
        w = walks(n, 1, h, phi, seed)
        R = correlation(w)
        errors.append(np.abs(R - true_correlation(phi, h)).mean())
        naive.append(np.abs(np.corrcoef(w[:, 0].T) - true_correlation(phi, h)).mean())
    assert np.mean(errors) < tolerance
    assert np.mean(errors) < np.mean(naive)


def test_where_origins_are_many_what_no_autoregression_has_is_kept() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(5, 5))
    C = A @ A.T
    C /= np.sqrt(np.outer(C.diagonal(), C.diagonal()))
    w = rng.multivariate_normal(np.zeros(5), C, size=20_000)[:, None]
    np.testing.assert_allclose(correlation(w), C, atol=0.03)


def test_targets_are_tied_as_their_shocks_are() -> None:
    R = correlation(walks(5000, 2, 4, 0.7, 0, tie=0.8)).reshape(2, 4, 2, 4)
    steps = true_correlation(0.7, 4)
    for m in (0, 1):
        np.testing.assert_allclose(R[m, :, m], steps, atol=0.05)
    np.testing.assert_allclose(R[0, :, 1], 0.8 * steps, atol=0.05)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 6), st.integers(0, 99), st.booleans())
def test_it_is_always_a_correlation_that_can_be_drawn_from(
    n: int, M: int, h: int, seed: int, gaps: bool
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, M, h))
    if gaps:
        w[rng.random(w.shape) < 0.4] = np.nan
    R = correlation(w)
    np.testing.assert_allclose(R, R.T, atol=1e-12)
    np.testing.assert_allclose(R.diagonal(), 1.0)
    assert (np.abs(R) <= 1 + 1e-9).all()
    assert np.isfinite(draw(R, 3, rng)).all()


def test_draws_have_the_correlation_and_are_standard_normal() -> None:
    R = true_correlation(0.8, 6)
    g = draw(R, 50_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.corrcoef(g.T), R, atol=0.02)
    for column in g.T:
        assert kstest(column[:5000], "norm").pvalue > 0.001


def test_ranks_keep_the_order_of_paths_and_are_uniform() -> None:
    rng = np.random.default_rng(0)
    paths = rng.normal(size=(500, 3)).cumsum(axis=1)
    u = ranks(paths, rng)
    np.testing.assert_array_equal(u.argsort(axis=0), paths.argsort(axis=0))
    for column in u.T:
        assert kstest(column, "uniform").statistic < 1 / 500 + 1e-12


def test_equal_counts_are_ordered_by_chance() -> None:
    u = ranks(np.zeros((2000, 2)), np.random.default_rng(0))
    assert abs(np.corrcoef(u.T)[0, 1]) < 0.1
