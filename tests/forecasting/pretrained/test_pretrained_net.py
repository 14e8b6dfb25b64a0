"""The pretrained net: ahead of repeating the last season on series that it never saw; its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime._archive import read, write
from throughtime.datasets import simulated
from throughtime.forecasting.pretrained import net
from throughtime.forecasting.pretrained.net import (
    FARTHEST,
    FORMAT,
    LONGEST,
    WEIGHTS,
    answers,
    forecast,
)
from throughtime.forecasting.pretrained.reading import read as reading_of


def naive(u: np.ndarray, h: int, m: int) -> np.ndarray:
    return u[:, u.shape[1] - m + np.arange(h) % m]


@pytest.mark.parametrize(("m", "most"), [(1, 0.93), (4, 0.9), (7, 0.9), (12, 0.9), (24, 0.9)])
def test_it_is_ahead_of_the_last_season_on_simulated_series(m: int, most: float) -> None:
    y, h = simulated(300, 5 * m + 60, m, seed=2**62 + m), 8  # seeds beyond those of the training
    u, ahead = y[:, :-h], y[:, -h:]
    unit = reading_of(torch.from_numpy(u), h, m).unit.numpy() + 1e-9
    said, last = forecast(u, h, m), naive(u, h, m)
    ratio = np.abs((said - ahead) / unit).mean() / np.abs((last - ahead) / unit).mean()
    assert ratio < most


def test_it_is_ahead_on_real_numbers() -> None:
    y = tt.datasets.sunspots()["y"].to_numpy()
    errors = {"net": 0.0, "season": 0.0}
    for end in range(100, 210, 11):
        u = y[None, :end]
        errors["net"] += np.abs(forecast(u, 11, 11) - y[end : end + 11]).sum()
        errors["season"] += np.abs(naive(u, 11, 11) - y[end : end + 11]).sum()
    assert errors["net"] < 0.95 * errors["season"]


@given(st.integers(0, 99), st.floats(-50, 50), st.floats(0.01, 50), st.integers(1, 8))
def test_forecasts_have_the_units_of_the_series(seed: int, a: float, b: float, m: int) -> None:
    u = np.random.default_rng(seed).normal(size=(2, 24)).cumsum(axis=1)
    np.testing.assert_allclose(
        forecast(a + b * u, 5, m), a + b * forecast(u, 5, m), rtol=1e-3, atol=1e-3 * b
    )


@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 30])
@pytest.mark.parametrize("m", [1, 4])
def test_whatever_does_not_vary_goes_on(T: int, m: int) -> None:
    np.testing.assert_allclose(forecast(np.full((2, T), 7.0), 9, m), 7.0, rtol=1e-6)


def test_each_series_is_forecast_for_itself_from_its_newest_values() -> None:
    y = simulated(4, LONGEST + 30, 7)
    together = forecast(y, 9, 7)
    for i in range(4):
        np.testing.assert_allclose(
            forecast(y[i : i + 1, -LONGEST:], 9, 7)[0], together[i], rtol=1e-4, atol=1e-5
        )
    assert answers(FARTHEST, FARTHEST)
    assert not answers(FARTHEST + 1, 1)
    assert not answers(1, FARTHEST + 1)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_file_says_what_made_it(name: str) -> None:
    path = Path(net.__file__).with_name(f"{name}.safetensors")
    facts = read(path, FORMAT).facts
    assert facts["command"].startswith("python benchmarks/pretraining.py")
    assert path.stat().st_size < 2**19


def test_weights_of_another_shape_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / f"{WEIGHTS[-1]}.safetensors", FORMAT, net.snapshot(net.PretrainedNet(8), {}))
    monkeypatch.setattr(net, "files", lambda room: tmp_path)
    net.carried.cache_clear()
    try:
        with pytest.raises(tt.ModelFileError, match="install throughtime again"):
            net.carried(WEIGHTS[-1])
    finally:
        net.carried.cache_clear()
