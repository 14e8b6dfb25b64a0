"""The scale that moves on with its series."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime import SettingError
from throughtime.forecasting import read_frame
from throughtime.forecasting.architectures import ARCHITECTURES
from throughtime.forecasting.examples.running import (
    EVERY,
    FEW,
    RunningWindows,
    Sums,
    location_and_size,
)
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS, Identity
from throughtime.forecasting.settings.design import Design
from throughtime.training import TrainingSettings


def brute(u):
    """Return location and size at every step, each from all values up to it."""
    made = []
    for t in range(1, len(u) + 1):
        seen = u[:t][~np.isnan(u[:t])]
        m, s = (seen.mean(), seen.std()) if len(seen) else (0.0, 0.0)
        if len(seen) < FEW:
            s = max(s, 0.1 * abs(m))
        if s <= 1e-12 * abs(m):
            s = abs(m) or 1.0
        made.append((m, s))
    return np.array(made).T


def table(series):
    ids = np.repeat(np.arange(len(series)), [len(y) for y in series])
    ds = np.concatenate([np.arange(len(y)) for y in series])
    return pa.table({"unique_id": ids, "ds": ds, "y": np.concatenate(series)})


@settings(deadline=None, max_examples=12)
@given(
    lengths=st.lists(st.integers(6, 3 * EVERY), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    level=st.sampled_from([0.0, 10.0, 1e6]),
    name=st.sampled_from(sorted(TRANSFORMS)),
)
def test_window_scales_are_those_of_everything_up_to_each_step(lengths, seed, level, name):
    """Sums kept every 64 steps and what lies between give the moments of a whole series."""
    rng = np.random.default_rng(seed)
    series = []
    for n in lengths:
        y = level + rng.gamma(2.0, 1.0, n)
        y[1:-1][rng.random(n - 2) < 0.2] = np.nan
        series.append(y)
    panel = read_frame(table(series))
    examples = RunningWindows.of(panel, TRANSFORMS[name], context_length=4, h=2)
    moments = [brute(TRANSFORMS[name].forward(y)) for y in series]
    windows, index = examples.windows, torch.arange(len(examples))
    places = windows.places(index)
    window, scale = examples.window(*places, 2)
    for w, (i, p) in enumerate(zip(*map(torch.Tensor.tolist, places), strict=True)):
        u = TRANSFORMS[name].forward(series[i])
        k = np.arange(p - 4, p + 2)
        inside = (k >= 0) & (k < len(u))
        m, s = moments[i][:, k[inside]]
        tolerance = 1e-12 * np.nanmax(np.abs(u))
        np.testing.assert_allclose(window.location[w, 0][inside], m, rtol=1e-12, atol=tolerance)
        np.testing.assert_allclose(window.sizes[w, 0][inside], s, rtol=1e-7, atol=tolerance)
        assert scale.location[w].item() == window.location[w, 0, 3].item()


def test_a_row_that_comes_in_several_pieces_adds_up(monkeypatch):
    """A long row is read in pieces; its sums are those of the whole."""
    monkeypatch.setattr("throughtime.forecasting.series.panel.PIECE", 2 * EVERY)
    y = np.random.default_rng(0).normal(5, 1, 1000)
    sums = Sums.of(read_frame(y), Identity())
    d = y - y[0]
    starts = np.arange(0, 1000, EVERY)
    expected = [[len(d[:k]), d[:k].sum(), (d[:k] ** 2).sum()] for k in starts]
    np.testing.assert_allclose(sums.before.T, expected, rtol=1e-12)


def test_what_comes_later_is_not_in_a_scale():
    """The scale, the inputs and the bases of a window know nothing of its future."""
    y = np.random.default_rng(0).normal(0, 1, 200)
    later = np.where(np.arange(200) < 100, y, 1e3)
    windows = [
        RunningWindows.of(read_frame(each), Identity(), 10, 3).window(
            torch.tensor([0]), torch.tensor([100]), 3
        )[0]
        for each in (y, later)
    ]
    assert torch.equal(windows[0].z[..., :10], windows[1].z[..., :10])
    assert torch.equal(windows[0].naive(Base(), 3), windows[1].naive(Base(), 3))


@pytest.mark.parametrize("residual", ["level", "last", "season"])
def test_targets_are_what_the_values_add_to_the_base_in_units_of_each_step(residual):
    """r_{t,k} s_t + b_{t,k} is the value k steps after t."""
    y = np.random.default_rng(1).normal(3, 2, 80)
    examples = RunningWindows.of(read_frame(y), Identity(), context_length=12, h=3)
    window, _ = examples.window(torch.tensor([0]), torch.tensor([40]), 3)
    r = window.beyond(Base(residual, 4), 12, 3)[0, 0].double().numpy()
    m, s = brute(y)
    for t in range(4, 12):
        p = 28 + t
        for k in range(1, 4):
            base = {"level": m[p], "last": y[p], "season": y[p + k - 4]}[residual]
            assert r[t, k - 1] * s[p] + base == pytest.approx(y[p + k], abs=1e-5)
    naive = window.naive(Base(residual, 4), 3)[0, 0].numpy() * s[39] + m[39]
    np.testing.assert_allclose(naive[0], {"level": m[39], "last": y[39], "season": y[36]}[residual])


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_flat_series_has_a_size(level):
    """A deviation of 0 becomes the level, or 1."""
    size = location_and_size(np.array([level]), np.array([20.0]), np.zeros(1), np.zeros(1))[1]
    assert size == (level or 1.0)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_running_is_for_architectures_that_read_step_by_step(architecture):
    """The others answer from a window that has one scale."""

    def design():
        return Design(
            2,
            "gru",
            4,
            1,
            0.0,
            1,
            4,
            1,
            ("identity",),
            "level",
            TrainingSettings(),
            architecture=architecture,
            output="gaussian",
            scaling="running",
        )

    if architecture in ("synced", "recursive"):
        assert design().carries
        return
    with pytest.raises(SettingError, match="step by step"):
        design()
