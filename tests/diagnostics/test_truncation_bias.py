"""The bias of a truncation equals that of cutting the graph there."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import throughtime as tt
from throughtime import SettingError
from throughtime.diagnostics import LagProfile, TruncationBias, trajectories

T, B, IN, H = 9, 3, 2, 4

LAYERS: dict[str, Any] = {
    "rnn": lambda: nn.RNN(IN, H),
    "relu rnn": lambda: nn.RNN(IN, H, nonlinearity="relu"),
    "gru": lambda: nn.GRU(IN, H),
    "textbook gru": lambda: tt.nn.GRU(IN, H, reset="before"),
    "lstm": lambda: nn.LSTM(IN, H),
    "projected lstm": lambda: nn.LSTM(IN, H, proj_size=3),
    "no bias": lambda: nn.LSTM(IN, H, bias=False),
    "layer norm lstm": lambda: tt.nn.LayerNormLSTM(IN, H),
    "stack": lambda: nn.GRU(IN, H, 2),
}


class Cut(nn.Module):
    """A layer that detaches its states `K` steps before the end; T, and it is whole."""

    def __init__(self, layer: nn.Module, K: int | None = None) -> None:
        super().__init__()
        self.layer, self.K = layer, K

    def forward(self, x: Tensor) -> Tensor:
        if self.K is None or len(x) == self.K:
            return self.layer(x)[0]
        _, state = self.layer(x[: -self.K])
        cut = state.detach() if isinstance(state, Tensor) else tuple(s.detach() for s in state)
        return self.layer(x[-self.K :], cut)[0]


def data(length: int = T) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(length, B, IN, generator=generator, dtype=torch.float64)
    return x, torch.randn(B, 1, generator=generator, dtype=torch.float64)


def gradient(layer: nn.Module, K: int, level: str = "l0") -> Tensor:
    x, y = data()
    loss = (Cut(layer, K)(x)[-1] - y).square().mean()
    weights = [w for name, w in layer.named_parameters() if name.endswith(level)]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_that_of_detaching_the_state(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x, y = data()
    found = trajectories(layer, x, loss=lambda out, _: (out - y).square().mean())
    for level, trajectory in enumerate(found):
        measured = TruncationBias.of(trajectory, range(1, T + 1))
        whole = gradient(layer, T, f"l{level}")
        for K, bias in zip(measured.lengths, measured.bias, strict=True):
            wanted = (gradient(layer, int(K), f"l{level}") - whole).norm() / whole.norm()
            assert bias == pytest.approx(float(wanted), rel=1e-8, abs=1e-14)
        assert measured.bias[-1] == 0


def test_it_is_that_of_the_mean_loss_whether_mean_or_sum_or_one_an_example() -> None:
    layer, (x, y) = nn.GRU(IN, H).double(), data()
    losses: list[Any] = [
        lambda out, _: (out - y).square().mean(),
        lambda out, _: (out - y).square().sum(),
        lambda out, _: (out - y).square().mean(-1),
    ]
    found = [TruncationBias.of(trajectories(layer, x, loss=loss)[0]).bias for loss in losses]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-12)


def test_a_cell_of_ones_own_is_measured_and_left_alone() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.Linear(IN + H, H)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.sin(self.rnn(torch.cat([x, h], -1)))

    class Loop(nn.Module):
        def __init__(self, K: int = T) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell, self.K = Own(), K

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(B, H)
            for t, x_t in enumerate(x):
                h = self.cell(x_t, h.detach() if t == T - self.K else h)
            return h

    model, (x, _) = Loop().double(), data()
    model.cell.rnn.bias.requires_grad_(False)
    [trajectory] = trajectories(model, x, loss=lambda out, _: out.sum(), cells=[model.cell])
    with torch.no_grad():
        measured = TruncationBias.of(trajectory, [3, T])
    gradients = []
    for K in (3, T):
        cut = Loop(K).double()
        grads = torch.autograd.grad(cut(x).sum(), list(cut.parameters()))
        gradients.append(torch.cat([g.flatten() for g in grads]))
    wanted = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    np.testing.assert_allclose(measured.bias, [wanted, 0], rtol=1e-10)
    assert not model.cell.rnn.bias.requires_grad
    assert model.cell.rnn.weight.grad is None


def test_dropout_and_zoneout_are_those_that_were_drawn() -> None:
    torch.manual_seed(0)
    layer = tt.nn.LSTM(IN, H, recurrent_dropout=0.5, zoneout=0.3).double()
    [trajectory] = trajectories(layer, data()[0])
    weights = [None if w is None else w.clone().requires_grad_() for w in trajectory.weights]
    theta = [w for w in weights if w is not None]

    def parts(K: int) -> Tensor:
        states = tuple(s[T - K] for s in trajectory.states)
        for t in range(T - K, T):
            extras = [None if e is None else e[t] for e in trajectory.extras]
            states = trajectory.step(trajectory.x[t], states, weights, extras)
        newest = tuple(a[-1] for a in trajectory.adjoints)
        return torch.cat([g.flatten() for g in torch.autograd.grad(states, theta, newest)])

    found = TruncationBias.of(trajectory, [1, 3, T])
    wanted = [float((parts(K) - parts(T)).norm() / parts(T).norm()) for K in (1, 3, T)]
    np.testing.assert_allclose(found.bias, wanted, rtol=1e-9)


def test_a_gradient_of_zero_has_no_bias() -> None:
    layer = nn.RNN(1, 2, nonlinearity="relu").double()
    nn.init.constant_(layer.bias_ih_l0, -100.0)
    found = TruncationBias.of(trajectories(layer, torch.zeros(5, 1, 1).double())[0])
    assert np.isnan(found.bias).all()
    assert found.smallest() is None
    assert found.to_dict()["bias"] == [None] * 5


def test_short_rows_contribute_what_they_have() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(IN, H, batch_first=True).double()
    x, lengths = torch.randn(2, 6, IN).double(), [6, 2]
    series = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    [trajectory] = trajectories(layer, series, loss=lambda out, _: out.sum())
    weights = list(layer.parameters())

    def parts(K: int) -> Tensor:
        total = torch.zeros(())
        for b, n in enumerate(lengths):
            out = Cut(nn_time_first(layer), min(K, n))(x[b, :n].unsqueeze(1))
            grads = torch.autograd.grad(out[-1].sum(), weights)
            total = total + torch.cat([g.flatten() for g in grads])
        return total

    measured = TruncationBias.of(trajectory, [1, 2, 4])
    whole = parts(6)
    wanted = [float((parts(K) - whole).norm() / whole.norm()) for K in (1, 2, 4)]
    np.testing.assert_allclose(measured.bias, wanted, rtol=1e-9)


def nn_time_first(layer: nn.GRU) -> nn.GRU:
    """Return a layer on the same weights that reads the time first."""
    other = nn.GRU(IN, H).double()
    for name, weight in layer.named_parameters():
        setattr(other, name, weight)
    return other


@given(beta=st.floats(0.1, 0.95), length=st.integers(2, 60))
@settings(max_examples=20, deadline=None)
def test_of_a_geometric_profile_the_prediction_is_geometric(beta: float, length: int) -> None:
    """One linear unit: g_l is beta^l h_{T-l-1}, so with equal states both are the share of a tail."""
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False).double()
    nn.init.constant_(layer.weight_hh_l0, beta)
    nn.init.constant_(layer.weight_ih_l0, 1 - beta)
    start = torch.ones(1, 1, 1).double()  # a fixed point: h = beta h + (1 - beta) x
    [trajectory] = trajectories(layer, (torch.ones(length, 1, 1).double(), start))
    found = TruncationBias.of(trajectory)
    K = found.lengths
    wanted = (beta**K - beta**length) / (1 - beta**length)
    np.testing.assert_allclose(found.predicted, wanted, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.bias, wanted, rtol=1e-7, atol=1e-12)
    assert found.beyond == pytest.approx(beta**length, rel=1e-6)
    assert (K[0], K[-1]) == (1, length)
    for bias in (0.5, 0.1, 0.01):
        assert found.smallest(bias) == K[found.bias <= bias][0]


def test_the_prediction_is_the_share_of_the_lag_profile() -> None:
    layer, (x, _) = nn.LSTM(IN, H).double(), data()
    [trajectory] = trajectories(layer, x)
    phi = LagProfile.of(trajectory).norms[:-1]
    found = TruncationBias.of(trajectory, [T, 1, 4])
    assert found.lengths.tolist() == [1, 4, T]
    np.testing.assert_allclose(found.predicted, [phi[k:].sum() / phi.sum() for k in (1, 4, T)])


def test_a_profile_that_does_not_decay_has_no_end() -> None:
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False).double()
    for weight in layer.parameters():
        nn.init.ones_(weight)
    found = TruncationBias.of(trajectories(layer, torch.ones(5, 1, 1).double())[0])
    assert math.isnan(found.beyond)
    assert found.smallest(0.01) == 5
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown["beyond"] is None
    assert shown["smallest"] == 4  # at a bias of 0.089


def test_one_short_length_may_not_be_enough() -> None:
    layer, (x, _) = nn.GRU(IN, H).double(), data()
    found = TruncationBias.of(trajectories(layer, x)[0], [1])
    assert found.smallest(1e-6) is None


@pytest.mark.parametrize("lengths", [[], [0], [T + 1], [1.5]])
def test_lengths_that_there_are_not_are_refused(lengths: list[Any]) -> None:
    layer, (x, _) = nn.GRU(IN, H).double(), data()
    with pytest.raises(SettingError, match="length"):
        TruncationBias.of(trajectories(layer, x)[0], lengths)
