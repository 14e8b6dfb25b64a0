"""The lag profile equals brute force, and looking changes nothing."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from throughtime.diagnostics import LagProfile, lag_profile
from throughtime.nn import LSTM, PointHead, Recurrence, SequenceInput
from throughtime.training import losses

T, B, H = 6, 3, 4


def newest_state_reader(cell: str, num_layers: int = 1, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return SequenceInput(
        2,
        Recurrence(cell, H, num_layers, dropout),
        PointHead(H, 2),  # type: ignore[arg-type]
    ).double()


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(B, T, 2, generator=generator, dtype=torch.float64)
    return x, torch.randn(B, 2, generator=generator, dtype=torch.float64)


def step(cell: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> Any:
    W, U, b_ih, b_hh = weights
    from_x, from_h = x @ W.mT + b_ih, state[0] @ U.mT + b_hh
    if cell == "rnn":
        return ((from_x + from_h).tanh(),)
    if cell == "gru":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        z = (x_z + h_z).sigmoid()
        return ((1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * state[0],)
    i, f, g, o = (from_x + from_h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def brute_force(cell: str, model: Any, x: Tensor, y: Tensor) -> list[float]:
    """For each lag, make the state there a leaf of its own and run on from it."""
    weights = list(model.layer.parameters())[:4]
    states = [tuple(torch.zeros(B, H).double() for _ in range(1 + (cell == "lstm")))]
    for t in range(T):
        states.append(step(cell, x[:, t], states[-1], weights))
    phi = []
    for lag in range(T + 1):
        leaves = tuple(s.detach().requires_grad_() for s in states[T - lag])
        state = leaves
        for t in range(T - lag, T):
            state = step(cell, x[:, t], state, weights)
        loss = losses.mse(model.head(state[0]), y)
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        whole = torch.cat([torch.zeros(B, H) if g is None else g for g in grads], -1)
        phi.append(whole.norm(dim=-1).mean().item())
    return phi


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_norms_are_those_of_the_gradient_by_the_joint_state(cell: str) -> None:
    model, (x, y) = newest_state_reader(cell), data()
    [profile] = lag_profile(model, x, y, losses.mse)
    phi = np.array(brute_force(cell, model, x, y))
    assert profile.newest == pytest.approx(phi[0], rel=1e-12)
    np.testing.assert_allclose(profile.norms * profile.newest, phi, rtol=1e-10)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("part", ["", "layer"])
def test_frozen_weights_do_not_stop_the_gradient(cell: str, part: str) -> None:
    model, (x, y) = newest_state_reader(cell), data()
    [free] = lag_profile(model, x, y, losses.mse)
    model.get_submodule(part).requires_grad_(False)
    [frozen] = lag_profile(model, x, y, losses.mse)
    assert frozen.newest == free.newest
    np.testing.assert_array_equal(frozen.norms, free.norms)
    assert not x.requires_grad


def test_frozen_layers_behind_whole_numbers_pass_the_gradient_all_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 2), LSTM(2, 3, batch_first=True))
    words = torch.tensor([[1, 2, 3]])
    [free] = lag_profile(model, words)
    model.requires_grad_(False)
    [frozen] = lag_profile(model, words)
    np.testing.assert_array_equal(frozen.norms, free.norms)
    assert not any(p.requires_grad for p in model.parameters())


def test_a_closed_gate_hides_the_cell_from_h_but_not_from_the_state() -> None:
    """With the forget gate open and all else shut, dL/dc lasts where dL/dh is gone at once."""
    model = LSTM(1, 1, batch_first=True).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.bias_ih_l0.copy_(torch.tensor([-50.0, 50.0, 0.0, 0.0]))  # i f g o
    x = torch.zeros(1, 5, 1).double()
    [profile] = lag_profile(model, x)
    # c = 0, so dh/dc = o (1 - tanh^2 c) = 1/2, and the forget gate keeps all of it
    np.testing.assert_allclose(profile.norms, [1.0, 0.5, 0.5, 0.5, 0.5, 0.5], rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training: bool) -> None:
    model, (x, y) = newest_state_reader("lstm", num_layers=2, dropout=0.5), data()
    losses.mse(model(x), y).backward()
    model.train(training)
    model.head.eval()
    weights = copy.deepcopy(model.state_dict())
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    modes = [module.training for module in model.modules()]
    noise = torch.get_rng_state()

    with torch.no_grad():
        assert len(lag_profile(model, x, y, losses.mse)) == 2
        assert not torch.is_grad_enabled()

    assert torch.equal(torch.get_rng_state(), noise)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == grads.keys()
    assert all(torch.equal(found[name], grads[name]) for name in grads)


def test_every_layer_and_direction_is_named() -> None:
    model = nn.ModuleDict({"reader": LSTM(2, 3, 2, batch_first=True, bidirectional=True)}).double()
    wrapped = nn.Sequential(model["reader"])
    x, _ = data()
    profiles = lag_profile(wrapped, x)
    assert [p.layer for p in profiles] == ["0.l0", "0.l0 reverse", "0.l1", "0.l1 reverse"]


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.9, 1.2])
def test_decay_half_life_and_memory_of_a_geometric_profile(beta: float) -> None:
    profile = LagProfile("l0", beta ** np.arange(20.0), newest=1.0)
    assert profile.decay == pytest.approx(beta)
    assert profile.lags.tolist() == list(range(20))
    if beta < 1:
        assert beta**profile.half_life == pytest.approx(0.5)
    else:
        assert profile.half_life == math.inf
    reaches = [lag for lag in range(20) if beta**lag < 0.01]
    assert profile.memory == (reaches[0] if reaches else None)


def test_a_profile_without_gradient_says_so() -> None:
    profile = LagProfile("l0", np.array([1.0, 0.0, 0.0]), newest=1.0)
    assert math.isnan(profile.decay)
    assert math.isnan(profile.half_life)
    assert profile.memory == 1
