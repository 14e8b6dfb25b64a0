"""Jacobians equal those of finite differences, and their products those of the whole run."""

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
from throughtime.diagnostics import Jacobians, Trajectory, jacobians, trajectories

T, B, IN, H = 6, 3, 2, 4

LAYERS: dict[str, Any] = {
    "rnn": lambda: nn.RNN(IN, H, batch_first=True),
    "relu rnn": lambda: nn.RNN(IN, H, nonlinearity="relu", batch_first=True),
    "lstm": lambda: nn.LSTM(IN, H, batch_first=True),
    "projected lstm": lambda: nn.LSTM(IN, H, proj_size=3, batch_first=True),
    "gru": lambda: nn.GRU(IN, H, batch_first=True),
    "textbook gru": lambda: tt.nn.GRU(IN, H, batch_first=True, reset="before"),
    "layer norm lstm": lambda: tt.nn.LayerNormLSTM(IN, H, batch_first=True),
    "zoneout": lambda: tt.nn.LSTM(IN, H, batch_first=True, zoneout=0.3, recurrent_dropout=0.4),
}


class OwnCell(nn.Module):
    """A cell that nobody knows the equations of, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Sine()

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), H)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return h


class Sine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W, self.U, self.drop = nn.Linear(IN, H), nn.Linear(H, H), nn.Dropout(0.0)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.drop(torch.sin(self.W(x) + 2 * self.U(h)))


def trajectory_of(name: str, length: int = T) -> Trajectory:
    torch.manual_seed(0)
    x = torch.randn(B, length, IN).double()
    if name == "own cell":
        model = OwnCell().double()
        return trajectories(model, x, cells=[model.cell])[0]
    return trajectories(LAYERS[name]().double(), x)[0]


def step(trajectory: Trajectory, t: int, joint: Tensor) -> Tensor:
    """Run one step of all rows from the joint state."""
    states = joint.split([s.shape[-1] for s in trajectory.states], -1)
    extras = tuple(None if e is None else e[t] for e in trajectory.extras)
    return torch.cat(trajectory.step(trajectory.x[t], states, None, extras), -1).detach()


def by_differences(trajectory: Trajectory, first: int, last: int, width: float = 1e-6) -> Tensor:
    """Return ds_last / ds_first of every row, [B, n, n], by central differences through the run."""
    start = trajectory.joint[first]
    columns = []
    for j in range(start.shape[-1]):
        ends = []
        for sign in (1, -1):
            state = start.clone()
            state[:, j] += sign * width
            for t in range(first, last):
                state = step(trajectory, t, state)
            ends.append(state)
        columns.append((ends[0] - ends[1]) / (2 * width))
    return torch.stack(columns, -1)


@pytest.mark.parametrize("name", [*LAYERS, "own cell"])
def test_one_step_is_that_of_finite_differences(name: str) -> None:
    trajectory = trajectory_of(name)
    J = jacobians(trajectory)
    for t in range(T):
        wanted = by_differences(trajectory, t, t + 1)
        torch.testing.assert_close(J[t], wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(jacobians(trajectory, 2, 4), J[2:4])


@pytest.mark.parametrize("name", [*LAYERS, "own cell"])
def test_the_adjoint_is_pulled_back_by_the_jacobian(name: str) -> None:
    trajectory = trajectory_of(name)
    a = torch.cat(trajectory.adjoints, -1)
    pulled = (a[1:].unsqueeze(-2) @ jacobians(trajectory)).squeeze(-2)
    torch.testing.assert_close(pulled[1:], a[1:-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [*LAYERS, "own cell"])
def test_singular_values_and_radius_are_means_over_the_examples(name: str) -> None:
    trajectory = trajectory_of(name)
    found, J = Jacobians.of(trajectory), jacobians(trajectory).numpy()
    singular = np.linalg.svd(J, compute_uv=False)
    assert found.steps.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(found.largest, singular[..., 0].mean(1), rtol=1e-10)
    np.testing.assert_allclose(found.smallest, singular[..., -1].mean(1), rtol=1e-8, atol=1e-14)
    radius = np.abs(np.linalg.eigvals(J)).max(-1).mean(1)
    np.testing.assert_allclose(found.radius, radius, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "layer norm lstm", "zoneout", "own cell"])
def test_the_long_term_jacobian_is_that_of_the_run(name: str) -> None:
    trajectory = trajectory_of(name)
    found = Jacobians.of(trajectory)
    assert found.lags.tolist() == [1, 2, 3, 4, 5, 6]
    for lag, largest, condition in zip(
        found.lags, found.log10_long_largest, found.log10_long_condition, strict=True
    ):
        whole = by_differences(trajectory, T - lag, T, width=1e-5).numpy()
        singular = np.linalg.svd(whole, compute_uv=False)
        assert 10**largest == pytest.approx(singular[:, 0].mean(), rel=1e-5)
        with np.errstate(divide="ignore"):
            wanted = np.median(singular[:, 0] / singular[:, -1])
        if wanted < 1e4:  # beyond, differences are not precise enough
            assert 10**condition == pytest.approx(wanted, rel=1e-3)


@given(gain=st.floats(0.01, 20.0), length=st.integers(2, 400))
@settings(max_examples=15, deadline=None)
def test_products_neither_overflow_nor_underflow(gain: float, length: int) -> None:
    """A scaled rotation in the linear part of a ReLU: σ of l steps is gain^l, at condition 1."""
    layer = nn.RNN(1, H, nonlinearity="relu", bias=False).double()
    turn = torch.eye(H).roll(1, 0)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.weight_hh_l0.copy_(gain * turn.double())
    # the gradient of relu is 1 everywhere, since inputs keep every state above zero
    [trajectory] = trajectories(layer, torch.full((length, 2, 1), 1e-3).double())
    found = Jacobians.of(trajectory, steps=3)
    np.testing.assert_allclose(
        found.log10_long_largest, found.lags * math.log10(gain), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(found.log10_long_condition, 0, atol=1e-9)
    assert len(found.steps) == min(3, length)
    assert (found.lags[0], found.lags[-1]) == (1, length)


def test_a_dead_net_has_no_size_and_no_condition() -> None:
    layer = nn.RNN(1, H, nonlinearity="relu").double()
    nn.init.constant_(layer.bias_ih_l0, -100.0)
    head = nn.Linear(1, 1).double()

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = layer, head

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0][-1]

    [trajectory] = trajectories(Kept(), torch.zeros(5, 2, 1).double())
    found = Jacobians.of(trajectory)
    assert (found.largest == 0).all()
    assert (found.log10_long_largest == -math.inf).all()
    assert (found.log10_long_condition == math.inf).all()
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown["log10_long_largest"] == [None] * 5
    assert shown["layer"] == "layer.l0"


def test_the_median_of_conditions_may_be_infinite_without_being_nan() -> None:
    found = Jacobians.of(trajectory_of("lstm", length=200))
    assert not np.isnan(found.log10_long_condition).any()
    assert found.log10_long_condition[-1] == math.inf
    assert np.isfinite(found.log10_long_largest).all()


def packed(lengths: list[int]) -> Trajectory:
    torch.manual_seed(0)
    layer = nn.GRU(IN, H, batch_first=True).double()
    x = torch.randn(len(lengths), max(lengths), IN).double()
    series = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return trajectories(layer, series)[0]


def test_short_rows_count_only_where_they_are() -> None:
    trajectory = packed([6, 2, 5])
    J = jacobians(trajectory)
    real = trajectory.real[:-1]
    torch.testing.assert_close(J[~real], torch.eye(H).double().expand_as(J[~real]))
    found = Jacobians.of(trajectory)
    for t in range(6):
        singular = torch.linalg.svdvals(J[t][real[t]])
        assert found.largest[t] == pytest.approx(float(singular[:, 0].mean()))
    first = torch.linalg.matrix_norm(torch.linalg.multi_dot(list(J[:, real[0]].flip(0)[:, 0])), 2)
    assert 10 ** found.log10_long_largest[-1] == pytest.approx(float(first))


def test_a_few_rows_hold_one_of_the_longest() -> None:
    trajectory = packed([2, 3, 2, 6])
    assert np.isfinite(Jacobians.of(trajectory, rows=1).largest).all()
    assert jacobians(trajectory, rows=2).shape == (6, 2, H, H)


def test_states_that_are_not_finite_are_told_as_such() -> None:
    trajectory = trajectory_of("rnn")
    trajectory.states[0][4:] = math.nan
    shown = Jacobians.of(trajectory).to_dict()
    assert [value is None for value in shown["radius"]] == [False] * 4 + [True] * 2
    assert shown["log10_long_largest"] == [None] * 6
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_in_any_mode_and_leaves_a_cell_alone(mode: Any) -> None:
    trajectory, wanted = trajectory_of("own cell"), jacobians(trajectory_of("own cell"))
    cell = trajectory.kernel.cell
    cell.U.requires_grad_(False)
    with mode():
        torch.testing.assert_close(jacobians(trajectory), wanted)
        assert not jacobians(trajectory).requires_grad
    assert not cell.U.weight.requires_grad
    assert all(p.grad is None for p in cell.parameters())


@pytest.mark.parametrize("arguments", [{"rows": 0}, {"steps": 0}, {"rows": 1.5}])
def test_settings_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="whole number of at least 1"):
        Jacobians.of(trajectory_of("rnn"), **arguments)
