"""Exponential smoothing over a grid of settings, against loops, and where it stands beside the nets."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting.models import smoothing
from throughtime.forecasting.models.smoothing import memory, smoothed

Floats = npt.NDArray[np.float64]


def series(n: int = 40, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=n).cumsum() + np.arange(n) % 4


def only(monkeypatch: pytest.MonkeyPatch, *settings: tuple[float, float, float, float]) -> None:
    """Let the grid be of these alpha, beta, phi, gamma."""
    grid = smoothing._Grid(*np.array(settings, dtype=float).T)
    monkeypatch.setattr(smoothing._Grid, "of", classmethod(lambda cls, seasonal: grid))


def by_loop(
    u: Floats, h: int, m: int, alpha: float, beta: float, phi: float, gamma: float
) -> tuple[Floats, Floats]:
    """Return the forecast from the end, and the errors of all forecasts on the way."""
    n = len(u)
    seasons = min(4, n // m)
    means = [np.mean(u[j * m : (j + 1) * m]) for j in range(seasons)]
    slope = (means[-1] - means[0]) / ((seasons - 1) * m)
    s = {
        p - m: np.mean(
            [u[j * m + p] - means[j] - slope * (p - (m - 1) / 2) for j in range(seasons)]
        )
        for p in range(m)
    }
    level, trend, errors = means[0] - slope * (m + 1) / 2, slope, []

    def ahead(t: int, k: int) -> float:
        damping = sum(phi**i for i in range(1, k + 1))
        return float(level + damping * trend + s[t + k - 1 - m * -(-k // m)])

    for t in range(n):
        if t >= min(m, n // 4):
            errors += [abs(u[t + k - 1] - ahead(t, k)) for k in range(1, min(h, n - t) + 1)]
        e = 0.0 if np.isnan(u[t]) else u[t] - ahead(t, 1)
        level, trend, s[t] = (
            level + phi * trend + alpha * e,
            phi * trend + alpha * beta * e,
            s[t - m] + gamma * e,
        )
    return np.array([ahead(n, k) for k in range(1, h + 1)]), np.array(errors)


SETTINGS = [(0.3, 0.4, 0.9, 0.2), (0.8, 0.1, 0.98, 0.0)]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("gap", [False, True])
def test_it_is_the_recursion(
    setting: tuple[float, float, float, float], gap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    u = series()
    if gap:
        u[25:28] = np.nan
    only(monkeypatch, setting)
    np.testing.assert_allclose(smoothed(u[None], 6, 4)[0], by_loop(u, 6, 4, *setting)[0])


def test_settings_have_their_akaike_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    u = series()
    u[30] = np.nan
    near = SETTINGS[1], (0.75, 0.1, 0.98, 0.05)
    only(monkeypatch, *near)
    made, errors = zip(*(by_loop(u, 6, 4, *each) for each in near), strict=True)
    E, p, n = np.nanmean(errors, axis=1), np.array([3, 4]), len(u) - 4 - 1
    w = E**-n * np.exp(-p)
    expected = w @ np.array(made) / w.sum()
    np.testing.assert_allclose(smoothed(u[None], 6, 4)[0], expected)
    assert 0.01 < w[0] / w.sum() < 0.99


@given(st.integers(0, 99), st.floats(-50, 50), st.floats(0.01, 50), st.integers(1, 5))
def test_it_is_blind_to_units_and_scales_know_nothing_of_each_other(
    seed: int, a: float, b: float, m: int
) -> None:
    u = series(24, seed)
    one, other = smoothed(np.stack([u, a + b * u]), 3, m)
    np.testing.assert_allclose(other, a + b * one, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one, smoothed(u[None], 3, m)[0], rtol=1e-9)


def test_what_is_long_ago_is_not_read() -> None:
    u = series(600)
    longer = np.concatenate([[1e6, np.nan, -1e6], u])
    assert memory(4) == 512
    np.testing.assert_array_equal(smoothed(longer[None], 5, 4), smoothed(u[None], 5, 4))
    np.testing.assert_array_equal(smoothed(u[None], 5, 4), smoothed(u[None, -512:], 5, 4))


@pytest.mark.parametrize(("n", "m"), [*product((1, 2, 3, 9, 10, 11), (1, 4))])
def test_the_shortest_series_are_forecast(n: int, m: int) -> None:
    assert np.isfinite(smoothed(series(n)[None], 5, m)).all()
    np.testing.assert_allclose(smoothed(np.full((1, n), 7.0), 5, m), 7.0)
    assert np.isnan(smoothed(np.full((1, n), np.nan), 5, m)).all()


def quick(**settings: Any) -> tt.Forecaster:
    training = tt.training.TrainingSettings(max_updates=2)
    made = {"h": 4, "n_windows": 0, "members": 2, "hidden_size": 4, "training": training}
    return tt.Forecaster(**{**made, **settings})


def quarters(n: int = 60) -> pa.Table:
    ds = [f"{1990 + k // 4}-{3 * (k % 4) + 1:02}-01" for k in range(n)]
    return pa.table({"ds": ds, "y": 50 + np.arange(n) + 9.0 * (np.arange(n) % 4)})


@pytest.mark.parametrize(
    ("settings", "smooths"),
    [
        ({}, True),
        ({"residual": "last"}, True),
        ({"residual": "level"}, False),  # a cycle about a level has its last two seasons
        ({"residual": "level", "season_length": 1}, True),
        ({"companions": False}, False),
        ({"scaling": "standard"}, False),
        ({"architecture": "es"}, False),
    ],
)
def test_it_stands_beside_the_nets_of_few_data(settings: dict[str, Any], smooths: bool) -> None:
    fitted = quick(**settings).fit(quarters())
    assert fitted.design.smoothing is smooths
    assert ("smoothing" in fitted.model.kinds(fitted.panel)) is smooths


def test_the_forecast_is_the_mean_of_three_kinds_and_smoothing_goes_by_scales() -> None:
    fitted = quick(transform="log").fit(quarters())
    kinds = fitted.model.kinds(fitted.panel)
    assert set(kinds) == {"recurrent", "linear", "smoothing"}
    y = np.array(quarters()["y"].to_pylist())
    expected = np.exp(smoothed(np.log(y)[None], 4, 4))
    np.testing.assert_allclose(kinds["smoothing"][:, 0], expected)
    means = [each.mean(axis=0) for each in kinds.values()]
    np.testing.assert_allclose(fitted.model.forecast(fitted.panel), sum(means) / 3)


def test_what_was_carried_on_forecasts_as_the_whole(tmp_path: Any) -> None:
    """The state keeps as many steps as smoothing reads, in a file, too."""
    table = quarters(700)
    fitted = quick(season_length=4, residual="season", members=1).fit(table.slice(0, 600))
    fitted.update(table.slice(600, 50))
    fitted.save(tmp_path / "model")
    carried = tt.load(tmp_path / "model")
    carried.update(table.slice(650))
    said = carried.predict(level=[])
    again = fitted.predict(table, level=[])
    np.testing.assert_allclose(said["LSTM"].to_numpy(), again["LSTM"].to_numpy(), rtol=1e-6)
