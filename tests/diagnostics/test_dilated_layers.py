"""The doctor on dilated layers: everything that is counted in steps counts steps of the series."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from throughtime.diagnostics import diagnose, lag_profile, trajectories
from throughtime.diagnostics.gates import Gates
from throughtime.diagnostics.lyapunov import Lyapunov
from throughtime.diagnostics.truncation_bias import TruncationBias
from throughtime.nn import RNN, PointHead, Recurrence, Stack
from throughtime.nn.sequences import SequenceInput, SequenceToSequence, SyncedSequence

D = 3


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def halving(d: int) -> Stack:
    """h_t = (x_t + h_{t-d}) / 2, whose gradient halves every d steps."""
    layer = RNN(1, 1, nonlinearity="relu", bias=False, dtype=torch.float64)
    for weight in layer.parameters():
        nn.init.constant_(weight, 0.5)
    return Stack([layer], (d,))


def ones(T: int) -> torch.Tensor:
    return torch.ones(T, 1, 1, dtype=torch.float64)


def test_lags_count_steps_of_the_series():
    [profile] = lag_profile(halving(D), ones(4 * D))
    expected = np.repeat(0.5 ** np.arange(5.0), D)[: 4 * D + 1]
    np.testing.assert_allclose(profile.norms, expected)
    assert profile.half_life == pytest.approx(D, rel=0.2)


def test_exponents_truncation_and_steps_do_so_too():
    [trajectory] = trajectories(halving(D), ones(20 * D))
    assert Lyapunov.of(trajectory).largest == pytest.approx(np.log(0.5) / D)
    bias = TruncationBias.of(trajectory)
    assert bias.lengths.max() == 20 * D
    [plain] = trajectories(halving(1), ones(20))
    [layer] = diagnose(halving(D), ones(20 * D)).layers
    assert layer.steps == 20 * D
    assert layer.truncation_bias.smallest() == D * TruncationBias.of(plain).smallest()
    assert layer.jacobians.lags.max() == layer.jacobians.steps.max() == 20 * D


def test_time_constants_do_so_too():
    stack = Recurrence("gru", 2, dilations=(D,)).build(1)
    for weight in stack.parameters():
        nn.init.zeros_(weight)  # z = 1/2 halves the state every d steps
    [trajectory] = trajectories(stack, torch.zeros(1, 4 * D, 1))
    np.testing.assert_allclose(Gates.of(trajectory).time_constants, D / np.log(2), rtol=1e-5)


@pytest.mark.parametrize("T", [30, 31])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_of_outputs_at_all_steps_the_newest_is_read(cell, T):
    """A loss over all steps would leave a gradient in every phase of the only layer."""
    recurrence = Recurrence(cell, 4, dilations=(D,))
    model, x = SyncedSequence(1, recurrence, PointHead(4)).double(), torch.randn(2, T, 1).double()
    [trajectory] = trajectories(model, x)
    assert int((trajectory.norms != 0).any(0).sum()) == 2


def test_a_writers_steps_take_turns():
    recurrence = Recurrence("gru", 4, dilations=(1, 2))
    model = SequenceToSequence(1, recurrence, PointHead(4), 8).double()
    found = trajectories(model, torch.randn(2, 9, 1).double(), output=lambda y: y[:, -1])
    lengths = {(t.layer, t.length, t.x.shape[1]) for t in found if t.layer.startswith("decoder")}
    assert lengths >= {("decoder.layers.0.l0", 8, 2), ("decoder.layers.1.l0", 4, 4)}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_windows_are_as_long_as_they_are(cell):
    recurrence = Recurrence(cell, 4, dilations=(2, 4), skip_connections=True)
    model = SequenceInput(1, recurrence, PointHead(4))
    for T in (32, 35):
        found = diagnose(model, torch.randn(8, T, 1), need=20)
        assert all(T <= layer.steps < T + 4 for layer in found.layers)
        assert "window" not in {finding.topic for finding in found.findings}
