"""Exponents equal those that are known: of linear nets, of volumes, of chaos."""

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
from throughtime import DataError, SettingError
from throughtime.diagnostics import Lyapunov, Trajectory, jacobians, trajectories

H = 6


def linear_net(U: Tensor, length: int, rows: int = 1) -> Trajectory:
    """A tanh net at zero, where it is linear."""
    layer = nn.RNN(1, len(U), bias=False).double()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(U)
    return trajectories(layer, torch.zeros(length, rows, 1).double())[0]


def of_gain(gain: float, size: int, length: int, rows: int) -> Trajectory:
    """A tanh net with independent weights of standard deviation gain / sqrt(size), and no inputs."""
    generator = torch.Generator().manual_seed(3)
    layer = nn.RNN(1, size, bias=False).double()
    with torch.no_grad():
        layer.weight_ih_l0.zero_()
        layer.weight_hh_l0.copy_(torch.randn(size, size, generator=generator) * gain / size**0.5)
    h_0 = torch.randn(1, rows, size, generator=generator).double()
    return trajectories(layer, (torch.zeros(length, rows, 1).double(), h_0))[0]


def read(layer: nn.Module, length: int = 40, rows: int = 4) -> Trajectory:
    torch.manual_seed(0)
    for weight in layer.parameters():
        nn.init.normal_(weight, std=0.5)
    return trajectories(layer.double(), torch.randn(length, rows, 2).double())[0]


LAYERS: dict[str, Any] = {
    "rnn": lambda: nn.RNN(2, H),
    "gru": lambda: nn.GRU(2, H),
    "lstm": lambda: nn.LSTM(2, H),
    "projected lstm": lambda: nn.LSTM(2, H, proj_size=3),
    "textbook gru": lambda: tt.nn.GRU(2, H, reset="before"),
    "layer norm lstm": lambda: tt.nn.LayerNormLSTM(2, H),
    "zoneout": lambda: tt.nn.LSTM(2, H, zoneout=0.3, recurrent_dropout=0.0),
}


@given(seed=st.integers(0, 100), scale=st.floats(0.2, 3.0))
@settings(max_examples=15, deadline=None)
def test_of_a_linear_net_they_are_the_logarithms_of_the_eigenvalues(
    seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(4, 4, generator=generator).double()
    values = torch.tensor([1.0, 0.6, -0.3, 0.1]).double() * scale
    U = basis @ torch.diag(values) @ torch.linalg.inv(basis)
    found = Lyapunov.of(linear_net(U, 300), warm_up=100)
    np.testing.assert_allclose(found.exponents, values.abs().log().numpy(), atol=1e-6)
    assert (found.size, found.steps) == (4, 200)


@pytest.mark.parametrize("name", LAYERS)
def test_their_sum_is_the_mean_logarithm_of_the_determinant(name: str) -> None:
    trajectory = read(LAYERS[name]())
    found = Lyapunov.of(trajectory)
    determinants = torch.linalg.slogdet(jacobians(trajectory)[4:]).logabsdet
    assert found.exponents.sum() == pytest.approx(float(determinants.mean()), rel=1e-9)
    assert found.size == trajectory.joint.shape[-1] == len(found.exponents)
    assert (np.diff(found.exponents) <= 0).all()


@pytest.mark.parametrize("name", LAYERS)
def test_they_are_those_of_the_product_of_many_jacobians(name: str) -> None:
    """The first, and with it the long-term Jacobian's largest singular value, by plain products."""
    trajectory = read(LAYERS[name](), length=300, rows=2)
    product, size = torch.eye(trajectory.joint.shape[-1]).double().expand(2, -1, -1), 0.0
    for J in jacobians(trajectory):
        product = J @ product
        size = size + product.norm(dim=(-2, -1)).log()
        product = product / product.norm(dim=(-2, -1), keepdim=True)
    found = Lyapunov.of(trajectory, exponents=2, warm_up=0)
    assert found.largest == pytest.approx(float((size / 300).mean()), abs=0.02)
    assert len(found.exponents) == 2


@pytest.mark.parametrize("name", LAYERS)
def test_tangents_go_forward_in_the_order_of_time(name: str) -> None:
    """At the newest step the first one lies where all steps before have turned it."""
    trajectory = read(LAYERS[name](), length=400, rows=2)
    *before, newest = jacobians(trajectory)
    q = torch.ones_like(newest[:, :, :1])
    for J in before:
        q = J @ q / (J @ q).norm(dim=1, keepdim=True)
    found = Lyapunov.of(trajectory, exponents=1, warm_up=399)
    wanted = (newest @ q).norm(dim=1).log().mean()
    assert found.largest == pytest.approx(float(wanted), abs=1e-6)


def test_a_rotation_in_the_linear_part_of_a_relu_is_at_the_edge() -> None:
    layer = nn.RNN(1, H, nonlinearity="relu", bias=False).double()
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.weight_hh_l0.copy_(torch.eye(H).roll(1, 0))
    found = Lyapunov.of(trajectories(layer, torch.ones(50, 3, 1).double())[0])
    np.testing.assert_allclose(found.exponents, 0, atol=1e-12)
    assert found.verdict == "near the edge"
    assert found.dimension == pytest.approx(H, abs=1e-6)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.5, "contracting"), (0.9, "contracting"), (2.0, "chaotic")]
)
def test_the_gain_of_a_random_net_decides(gain: float, verdict: str) -> None:
    found = Lyapunov.of(of_gain(gain, 80, 300, 4), exponents=4)
    assert found.verdict == verdict
    if gain < 1:  # with independent weights of that deviation, the eigenvalues fill a disc
        assert found.largest == pytest.approx(math.log(gain), abs=0.1)


@pytest.mark.parametrize("rate", [0.5, 1.5])
def test_few_steps_are_not_taken_for_a_verdict(rate: float) -> None:
    """In T steps a change by less than a factor of e is near the edge."""
    length = 20
    trajectory = linear_net(torch.eye(2).double() * math.exp(rate / length), length)
    assert Lyapunov.of(trajectory, warm_up=0).verdict == (
        "near the edge" if rate < 1 else "chaotic"
    )


def test_the_error_is_that_over_the_examples() -> None:
    """Diagonal nets held at different states by their inputs: each row has an exponent of its own."""
    layer = nn.RNN(1, 1, nonlinearity="tanh", bias=False).double()
    nn.init.ones_(layer.weight_hh_l0)
    nn.init.ones_(layer.weight_ih_l0)
    x = torch.linspace(0.1, 0.8, 4).double().expand(200, 4).unsqueeze(-1)
    [trajectory] = trajectories(layer, x)
    found = Lyapunov.of(trajectory, warm_up=100)
    h = trajectory.states[0][101:, :, 0]
    rates = (1 - h.square()).log().mean(0)
    assert found.largest == pytest.approx(float(rates.mean()))
    assert found.error == pytest.approx(float(rates.std() / 2))


def test_the_error_of_one_example_is_that_over_blocks_of_time() -> None:
    layer = nn.RNN(1, 1, bias=False).double()
    for weight in layer.parameters():
        nn.init.ones_(weight)
    x = torch.linspace(0, 2, 80).double().reshape(80, 1, 1)
    [trajectory] = trajectories(layer, x)
    found = Lyapunov.of(trajectory, warm_up=0)
    blocks = (1 - trajectory.states[0][1:, 0, 0].square()).log().reshape(8, 10).mean(1)
    assert found.error == pytest.approx(float(blocks.std() / 8**0.5))


def test_directions_that_are_lost_have_minus_infinity() -> None:
    layer = nn.RNN(1, 3, nonlinearity="relu", bias=True).double()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.eye(3))
        layer.bias_ih_l0.copy_(torch.tensor([1.0, 1.0, -100.0]))
    found = Lyapunov.of(trajectories(layer, torch.zeros(30, 2, 1).double())[0])
    np.testing.assert_allclose(found.exponents, [0, 0, -math.inf], atol=1e-12)
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown["exponents"][2] is None
    assert shown["verdict"] == "near the edge"
    assert shown["dimension"] == 2.0


def test_a_direction_that_only_rounding_keeps_alive_is_lost() -> None:
    U = torch.outer(torch.tensor([0.3, 0.7, 0.1]).double(), torch.tensor([1.0, 0.9, 0.2]).double())
    found = Lyapunov.of(linear_net(U, 40))
    np.testing.assert_allclose(found.exponents, [math.log(0.95), -math.inf, -math.inf], atol=1e-7)


def test_a_net_that_is_dead_contracts() -> None:
    layer = nn.RNN(1, 3, nonlinearity="relu").double()
    nn.init.constant_(layer.bias_ih_l0, -100.0)
    found = Lyapunov.of(trajectories(layer, torch.zeros(30, 2, 1).double())[0])
    assert (found.verdict, found.dimension, found.largest) == ("contracting", 0.0, -math.inf)


def test_a_stack_has_the_exponents_of_its_layers() -> None:
    """Its Jacobian is block-triangular; take it whole, and the two layers one by one."""
    torch.manual_seed(0)
    stack = nn.RNN(2, 3, 2).double()
    x = torch.randn(400, 1, 2).double()
    found = [Lyapunov.of(each, warm_up=100).exponents for each in trajectories(stack, x)]
    states = [each.states[0][:, 0] for each in trajectories(stack, x)]
    W, logs = stack.weight_ih_l1, []
    U = stack.weight_hh_l0, stack.weight_hh_l1
    Q = torch.eye(6).double()
    for t in range(400):
        D = [torch.diag(1 - s[t + 1].square()) for s in states]
        lower = D[1] @ W @ D[0] @ U[0]  # a change of h0_{t-1} reaches h1_t through h0_t
        J = torch.cat(
            [torch.cat([D[0] @ U[0], torch.zeros(3, 3)], 1), torch.cat([lower, D[1] @ U[1]], 1)]
        )
        Q, R = torch.linalg.qr(J.detach() @ Q)
        logs.append(R.diagonal().abs().log())
    whole = torch.stack(logs[100:]).mean(0).sort(descending=True).values
    parts = np.sort(np.concatenate(found))[::-1]
    np.testing.assert_allclose(parts, whole.numpy(), atol=0.03)


def test_a_cell_of_ones_own_is_measured_too() -> None:
    class Halving(nn.Module):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return h / 2 + x

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Halving()

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[1], 3)
            for x_t in x:
                h = self.cell(x_t, h)
            return h

    model = Loop()
    [trajectory] = trajectories(model, torch.randn(20, 2, 3).double(), cells=[model.cell])
    np.testing.assert_allclose(Lyapunov.of(trajectory).exponents, math.log(0.5), atol=1e-12)


def test_short_rows_count_only_where_they_are() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(2, 3, batch_first=True).double()
    x, lengths = torch.randn(2, 30, 2).double(), [30, 12]
    series = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    both = Lyapunov.of(trajectories(layer, series)[0], warm_up=0)
    alone = [
        Lyapunov.of(trajectories(layer, x[b : b + 1, :n])[0], warm_up=0)
        for b, n in enumerate(lengths)
    ]
    wanted = (alone[0].exponents.sum() + alone[1].exponents.sum()) / 2
    assert both.exponents.sum() == pytest.approx(wanted)


def test_what_is_not_finite_is_left_out_or_refused() -> None:
    trajectory = linear_net(torch.eye(2).double() / 2, 20)
    trajectory.states[0][10:] = math.nan
    found = Lyapunov.of(trajectory, warm_up=2)
    np.testing.assert_allclose(found.exponents, math.log(0.5))
    with pytest.raises(DataError, match="finite weights and states"):
        Lyapunov.of(trajectory, warm_up=12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_in_any_mode(mode: Any) -> None:
    trajectory = read(nn.LSTM(2, H))
    wanted = Lyapunov.of(trajectory).exponents
    with mode():
        np.testing.assert_array_equal(Lyapunov.of(trajectory).exponents, wanted)


@pytest.mark.parametrize("arguments", [{"rows": 0}, {"exponents": 0}, {"warm_up": 40}])
def test_settings_out_of_range_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(SettingError):
        Lyapunov.of(read(nn.RNN(2, H)), **arguments)
