"""The linear map equals the autoregression that it stands for, iterated step by step."""

from __future__ import annotations

import numpy as np
import pytest
from forecasting_cases import NAN, panel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from throughtime.forecasting.linear import fit_linear_map
from throughtime.forecasting.transforms import Identity, Sqrt

Floats = np.ndarray


def autoregression(n: int, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    y = np.zeros(n + 50)
    for t in range(2, len(y)):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + generator.normal()
    return y[50:]


def by_hand(series: list[Floats], L: int, h: int, season: int) -> Floats:
    """Lags and targets window by window, every order fitted alone, the best one iterated."""
    rows, targets = [], []
    for y in series:
        for t in range(L, len(y)):
            context = y[t - L : t].copy()
            for i in range(1, L):
                context[i] = context[i - 1] if np.isnan(context[i]) else context[i]
            if np.isnan(context).any() or np.isnan(y[t]):
                continue
            size, mean = np.nanstd(y), context.mean()
            rows.append((context[::-1] - mean) / size)
            targets.append((y[t] - mean) / size)
    X, target = np.array(rows), np.array(targets)
    n = len(target)
    highest = min(max(int(10 * np.log10(n)), season + 1), L - 1, n // 3)
    best, phi = np.inf, np.zeros(0)
    for p in range(highest + 1):
        fitted = np.linalg.lstsq(X[:, :p], target, rcond=None)[0] if p else np.zeros(0)
        score = n * np.log(((target - X[:, :p] @ fitted) ** 2).mean()) + 2 * p
        if score < best:
            best, phi = score, fitted
    A = np.zeros((h, L))
    for j in range(L):
        path = list(np.eye(L)[j])
        for k in range(h):
            mean = sum(path[-L:]) / L
            path.append(mean + sum(phi[i] * (path[-1 - i] - mean) for i in range(len(phi))))
            A[k, j] = path[-1]
    return A


@settings(max_examples=12, deadline=None)
@example(8, 1, 1, 64)  # as many lags as the window has
@given(st.integers(3, 9), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99))
def test_the_map_equals_least_squares_iterated_by_hand(
    L: int, h: int, season: int, seed: int
) -> None:
    series = [autoregression(40, seed), 100 + 7 * autoregression(31, seed + 1)]
    for y in series:
        y[np.random.default_rng(seed).random(len(y)) < 0.1] = NAN
        y[0] = 1.0
    A = fit_linear_map(panel(*series), Identity(), L, h, season)
    np.testing.assert_allclose(A, by_hand(series, L, h, season), atol=1e-8)


t = np.arange(80.0)
NOISELESS = {
    "a sine": np.sin(0.7 * t + 1),
    "a sine about a level": 40 + 3 * np.sin(0.7 * t),
    "a trend": 5 + 0.3 * t,
    "a trend with a season": 0.3 * t + np.tile([0.0, 3.0, 1.0, -4.0], 20),
    "a damped sine": 0.99**t * np.sin(0.7 * t),
}


@pytest.mark.parametrize("name", NOISELESS)
def test_a_noiseless_process_is_forecast_exactly(name: str) -> None:
    y, L, h = NOISELESS[name], 12, 7
    A = fit_linear_map(panel(y[:-h]), Identity(), L, h, 4)
    window = y[-h - L : -h]
    found = window.mean() + A @ (window - window.mean())
    np.testing.assert_allclose(found, y[-h:], atol=1e-4 * np.ptp(y))


def test_series_of_every_scale_count_alike() -> None:
    a, b = autoregression(120, 1), autoregression(90, 2)
    alike = fit_linear_map(panel(a, b), Identity(), 8, 4, 1)
    scaled = fit_linear_map(panel(a, 1e6 * b - 3e5), Identity(), 8, 4, 1)
    np.testing.assert_allclose(scaled, alike, atol=1e-7)


def test_it_works_on_the_transformed_scale() -> None:
    y = (autoregression(100) / 5 + 10) ** 2
    np.testing.assert_allclose(
        fit_linear_map(panel(y), Sqrt(), 6, 3, 1),
        fit_linear_map(panel(np.sqrt(y)), Identity(), 6, 3, 1),
        atol=1e-9,
    )


@pytest.mark.parametrize("y", [[1.0, 2.0], [1.0, 2.0, 1.0, 3.0, 1.0], [1.0, NAN, 2.0, NAN, 1.0]])
def test_too_few_windows_forecast_the_level(y: list[float]) -> None:
    assert not fit_linear_map(panel(y), Identity(), 4, 1, 1).any()
