"""The linear map equals the autoregressions that it stands for, iterated step by step."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting_cases import NAN, panel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from throughtime.forecasting.examples.scaled import RESIDUALS, Residual
from throughtime.forecasting.models.linear import fit_linear_map
from throughtime.forecasting.preprocessing.transforms import Identity, Sqrt

Floats = np.ndarray


def autoregression(n: int, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    y = np.zeros(n + 50)
    for t in range(2, len(y)):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + generator.normal()
    return y[50:]


def rows_by_hand(series: list[Floats], p: int, residual: Residual) -> tuple[Floats, Floats]:
    """The newest p lags (values or steps) before every observed value, window by window."""
    rows, targets = [], []
    for y in series:
        z = (y - np.nanmean(y)) / np.nanstd(y)
        for t in range(p + 1, len(y)):
            context = z[t - p - 1 : t].copy()
            for i in range(1, p + 1):
                context[i] = context[i - 1] if np.isnan(context[i]) else context[i]
            if np.isnan(context).any() or np.isnan(z[t]):
                continue
            if residual == "level":
                rows.append([context[-i] for i in range(1, p + 1)])
                targets.append(z[t])
            else:
                rows.append([context[-i] - context[-i - 1] for i in range(1, p + 1)])
                targets.append(z[t] - context[-1])
    return np.array(rows), np.array(targets)


def iterated_by_hand(phi: Floats, L: int, h: int, residual: Residual) -> Floats:
    """The h steps that follow a 1 at each place of an empty window, one step after the other."""
    A = np.zeros((h, L))
    for j in range(L):
        path = list(np.eye(L)[j])
        for k in range(h):
            lags = path[::-1] if residual == "level" else list(np.diff(path)[::-1])
            step = sum(phi[i] * lags[i] for i in range(len(phi)))
            path.append(step if residual == "level" else path[-1] + step)
            A[k, j] = path[-1]
    return A


def by_hand(series: list[Floats], L: int, h: int, residual: Residual, season: int) -> Floats:
    """Every order fitted and iterated alone; the mean of them by their Akaike weights."""
    n = sum(int((~np.isnan(y)).sum()) for y in series)
    highest = min(max(int(10 * np.log10(n)), season + 1), L - 1, n // 4)
    X, target = rows_by_hand(series, highest, residual)
    maps, scores = [], []
    for p in range(highest + 1):
        phi = np.linalg.lstsq(X[:, :p], target, rcond=None)[0] if p else np.zeros(0)
        rss = ((target - X[:, :p] @ phi) ** 2).sum()
        scores.append(len(target) * np.log(rss / len(target)) + 2 * p)
        maps.append(iterated_by_hand(phi, L, h, residual))
    relative = [np.exp(-(score - min(scores)) / 2) for score in scores]
    weights = [weight if weight >= 0.01 else 0.0 for weight in relative]
    return sum(w * A for w, A in zip(weights, maps, strict=True)) / sum(weights)


each_residual = pytest.mark.parametrize("residual", RESIDUALS)


@each_residual
@settings(max_examples=12, deadline=None)
@example(8, 1, 1, 64)  # as many lags as the window has
@example(40, 4, 30, 5)  # as many lags as a quarter of the values
@given(st.integers(2, 12), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99))
def test_the_map_is_the_weighted_mean_of_orders_fitted_and_iterated_by_hand(
    residual: Residual, L: int, h: int, season: int, seed: int
) -> None:
    series = [autoregression(40, seed), 100 + 7 * autoregression(31, seed + 1)]
    for y in series:
        y[np.random.default_rng(seed).random(len(y)) < 0.1] = NAN
        y[0] = 1.0
    A = fit_linear_map(panel(*series), Identity(), L, h, residual, season)
    np.testing.assert_allclose(A, by_hand(series, L, h, residual, season), atol=1e-8)


# Each obeys a recurrence of finite order in its values less their mean (a constant has root 1), or
# in its steps, so least squares of that order and above is exact. Lower orders have no weight: what
# is left over counts as 1e-12 of the sum of squares, and that is also how exact h steps can be.
t = np.arange(87.0)
NOISELESS: dict[str, tuple[Residual, Floats]] = {
    "a sine": ("level", np.sin(0.7 * t + 1)),
    "a sine about a level, whole cycles": ("level", 40 + 3 * np.sin(2 * np.pi * t / 10)),
    "a sine about a level, a cycle cut": ("level", 40 + 3 * np.sin(0.7 * t)),
    "two sines": ("level", np.sin(0.7 * t) + 2 * np.sin(1.9 * t)),
    "a damped sine": ("level", 0.99**t * np.sin(0.7 * t)),
    "a sine on the way": ("last", 40 + 3 * np.sin(0.7 * t)),
    "a trend": ("last", 5 + 0.3 * t),
    "a trend with a season": ("last", 0.3 * t + np.resize([0.0, 3.0, 1.0, -4.0], len(t))),
}


@pytest.mark.parametrize("name", NOISELESS)
def test_a_noiseless_process_is_forecast_exactly(name: str) -> None:
    (residual, y), L, h = NOISELESS[name], 12, 7
    known, mean = y[:-h], y[:-h].mean()
    A = fit_linear_map(panel(known), Identity(), L, h, residual, 4)
    found = mean + A @ (known[-L:] - mean)
    np.testing.assert_allclose(found, y[-h:], atol=1e-5 * np.ptp(y))


@each_residual
def test_what_wanders_goes_on_from_where_it_is(residual: Residual) -> None:
    """A constant added to a window is added to its forecast, or returned from."""
    A = fit_linear_map(panel(autoregression(120)), Identity(), 12, 60, residual, 4)
    kept = A.sum(axis=1)
    if residual == "level":
        assert abs(kept[-1]) < 0.01
    else:
        np.testing.assert_allclose(kept, 1.0, atol=1e-9)


@each_residual
def test_series_of_every_scale_count_alike(residual: Residual) -> None:
    a, b = autoregression(120, 1), autoregression(90, 2)
    alike = fit_linear_map(panel(a, b), Identity(), 8, 4, residual, 1)
    scaled = fit_linear_map(panel(a, 1e6 * b - 3e5), Identity(), 8, 4, residual, 1)
    np.testing.assert_allclose(scaled, alike, atol=1e-7)


@each_residual
def test_it_works_on_the_transformed_scale(residual: Residual) -> None:
    y = (autoregression(100) / 5 + 10) ** 2
    np.testing.assert_allclose(
        fit_linear_map(panel(y), Sqrt(), 6, 3, residual, 1),
        fit_linear_map(panel(np.sqrt(y)), Identity(), 6, 3, residual, 1),
        atol=1e-9,
    )


FEW: list[tuple[list[list[float]], int]] = [
    ([[1.0, 2.0]], 4),
    ([[1.0, 2.0, 1.0]], 4),
    ([[1.0, NAN, 2.0, NAN, 1.0]], 4),
    ([list(range(30))], 1),  # no room for a lag beside the value itself
    ([[1.0, 4.0, 2.0]] * 20, 24),  # many values, and none with as many lags
    ([[1.0, 4.0, 2.0]] * 20 + [[*range(22)]], 24),  # two that have
]


@each_residual
@pytest.mark.parametrize(("series", "L"), FEW)
def test_too_few_rows_make_the_naive_forecast(
    residual: Residual, series: list[list[float]], L: int
) -> None:
    A = fit_linear_map(panel(*series), Identity(), L, 3, residual, 1)
    naive = np.zeros((3, L))
    naive[:, -1] = residual != "level"
    np.testing.assert_array_equal(A, naive)
