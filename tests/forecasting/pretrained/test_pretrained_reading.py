"""What the pretrained net reads, against loops; blind to units; 0 repeats the last season."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime.datasets import simulated
from throughtime.forecasting.pretrained.reading import EPSILON, SEASONS, read


def by_loop(u: np.ndarray, h: int, m: int) -> tuple[list[list[float]], list[list[float]]]:
    """Return what the encoder reads at each t, and the decoder at each k, of one window."""
    T, s = len(u), u.std()
    z = (u - u[-1]) / s
    D = np.mean([abs(z[t] - z[t - m]) for t in range(m, T)]) + EPSILON
    d = np.mean([abs(z[t] - z[t - 1]) for t in range(1, T)]) + EPSILON
    w = max(m, 4)
    level = [np.mean(z[max(0, t - w + 1) : t + 1]) for t in range(T)]

    def change(t: int) -> float:
        return (z[t] - z[t - m]) / D if t >= m else 0.0

    past = [
        [
            z[t],
            math.asinh(z[t] / D),
            (z[t] - z[t - 1]) / d if t else 0.0,
            change(t),
            change(t) - change(t - 1) if t else 0.0,
            (level[t] - level[t - m]) / D if t >= m else 0.0,
            (z[t] - level[t]) / D,
            z[t - m] if t >= m else 0.0,
            float(t >= m),
            float(m > 1),
            math.log(m) / 4,
            (t - T) / 100,
        ]
        for t in range(T)
    ]
    n = T // m
    seasons = z[T - n * m :].reshape(n, m)
    v = seasons.mean(axis=1)
    a, few = seasons - v[:, None], min(n, SEASONS)
    drift = v[-1] - v[-2] if n > 1 else 0.0
    drifts = (v[-1] - v[-few]) / (few - 1) if few > 1 else 0.0
    ahead = [
        [
            math.asinh(seasons[-1, k % m] / D),
            *(np.mean(a[-j:, k % m] - a[-1, k % m]) / D for j in (2, few, n)),
            a[-1, k % m] / D,
            *(math.asinh(each / D) for each in (drift, drifts, v[-1])),
            seasons[-1, k % m],
            z.max(),
            z.min(),
            z.mean(),
            (k + 1) / h,
            (k + 1) / 20,
            k // m / 2,
            float(m > 1),
            math.log(m) / 4,
            math.log(T) / 4,
            math.log(D) / 2,
            math.log(d) / 2,
        ]
        for k in range(h)
    ]
    return past, ahead


@pytest.mark.parametrize(("T", "m"), [(9, 1), (9, 4), (13, 4), (7, 5), (26, 5), (5, 3), (2, 1)])
def test_it_is_what_loops_read(T: int, m: int) -> None:
    u = np.random.default_rng(T).normal(size=T).cumsum()
    made = read(torch.from_numpy(u[None]), 7, m)
    past, ahead = by_loop(u, 7, m)
    np.testing.assert_allclose(made.past[0], past, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made.ahead[0], ahead, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 99), st.floats(-50, 50), st.floats(0.01, 50), st.integers(1, 8))
def test_it_is_blind_to_units(seed: int, a: float, b: float, m: int) -> None:
    u = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 20)))
    one, other = read(u, 5, m), read(a + b * u, 5, m)
    torch.testing.assert_close(other.past, one.past, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.ahead, one.ahead, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.base, a + b * one.base, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(other.unit, b * one.unit, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("m", [1, 4, 30])
def test_the_base_repeats_the_last_season_and_the_unit_is_its_error(m: int) -> None:
    y = simulated(6, 40, 4)
    made = read(torch.from_numpy(y[:, :30]), 10, m)
    m = m if m < 30 else 1  # a season that the window has not
    expected = y[:, 30 - m + np.arange(10) % m]
    torch.testing.assert_close(made.base, torch.from_numpy(expected))
    error = np.abs(y[:, m:30] - y[:, : 30 - m]).mean(axis=1)
    error += EPSILON * y[:, :30].std(axis=1)
    np.testing.assert_allclose(made.unit[:, 0], error, rtol=1e-6)
