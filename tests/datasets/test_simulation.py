"""Simulated series: always finite, made anew by each seed, with the season that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.datasets import simulated


@given(st.integers(1, 5), st.integers(1, 90), st.integers(1, 60), st.integers(0, 2**62))
def test_they_are_finite_whatever_is_asked(S: int, n: int, m: int, seed: int) -> None:
    y = simulated(S, n, m, seed)
    assert y.shape == (S, n)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(y, simulated(S, n, m, seed))


def test_no_two_are_alike() -> None:
    y = np.concatenate([simulated(50, 60, 4, seed) for seed in (0, 1)])
    varying = y[y.std(axis=1) > 0]
    assert len(varying) > 95
    assert len(np.unique(varying.round(9), axis=0)) == len(varying)


def repeated(y: np.ndarray, lag: int) -> np.ndarray:
    """The correlation of the steps of each series with those `lag` earlier."""
    d = np.diff(y, axis=1)
    d = d - d.mean(axis=1, keepdims=True)
    return (d[:, lag:] * d[:, :-lag]).mean(axis=1) / (d.var(axis=1) + 1e-12)


@pytest.mark.parametrize("m", [4, 7, 12])
def test_many_have_the_season_and_some_have_none(m: int) -> None:
    seasonal = repeated(simulated(400, 20 * m, m), m) > 0.5
    assert 0.3 < seasonal.mean() < 0.8
    assert (repeated(simulated(400, 20 * m, 1), m) > 0.5).mean() < 0.1


def test_levels_cycles_and_growth_are_among_them() -> None:
    y = simulated(600, 120, 1)
    turns = np.sign(np.diff(y - y.mean(axis=1, keepdims=True), axis=1))
    grown = np.abs(y[:, -20:].mean(axis=1) - y[:, :20].mean(axis=1)) / (y.std(axis=1) + 1e-12)
    assert (grown > 1.5).mean() > 0.1  # trends
    assert (grown < 0.3).mean() > 0.1  # levels
    assert ((turns[:, 1:] * turns[:, :-1] < 0).mean(axis=1) < 0.2).any()  # smooth ones


@pytest.mark.parametrize("name", ["S", "n", "season_length"])
def test_counts_are_positive(name: str) -> None:
    with pytest.raises(tt.SettingError, match=name):
        simulated(**{"S": 2, "n": 9, "season_length": 3, name: 0})
