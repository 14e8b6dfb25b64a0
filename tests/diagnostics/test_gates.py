"""Gates equal those of the equations, step by step, and say which units are stuck."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import throughtime as tt
from throughtime import SettingError
from throughtime.diagnostics import Gates, Trajectory, trajectories

T, B, IN, H = 9, 4, 2, 5
Values = dict[str, Tensor]


def normal(z: Tensor) -> Tensor:
    return nn.functional.layer_norm(z, z.shape[-1:])


def rnn(weights: Any, x: Tensor, h: Tensor) -> Values:
    W, U, b_ih, b_hh = weights
    return {"h": (x @ W.T + b_ih + h @ U.T + b_hh).tanh()}


def relu_rnn(weights: Any, x: Tensor, h: Tensor) -> Values:
    W, U, b_ih, b_hh = weights
    return {"h": (x @ W.T + b_ih + h @ U.T + b_hh).relu()}


def gru(weights: Any, x: Tensor, h: Tensor) -> Values:
    W, U, b_ih, b_hh = weights
    x_r, x_z, x_n = (x @ W.T + b_ih).chunk(3, -1)
    h_r, h_z, h_n = (h @ U.T + b_hh).chunk(3, -1)
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    return {"r": r, "z": z, "n": (x_n + r * h_n).tanh()}


def textbook_gru(weights: Any, x: Tensor, h: Tensor) -> Values:
    W, U, b_ih, b_hh = weights
    U_n, b_n = U[2 * H :], b_hh[2 * H :]
    values = gru(weights, x, h)
    x_n = (x @ W.T + b_ih)[:, 2 * H :]
    return {**values, "n": (x_n + (values["r"] * h) @ U_n.T + b_n).tanh()}


def lstm(weights: Any, x: Tensor, h: Tensor, c: Tensor) -> Values:
    W, U, b_ih, b_hh, _ = weights
    return cell(x @ W.T + b_ih + h @ U.T + b_hh, c, lambda c: c)


def layer_norm_lstm(weights: Any, x: Tensor, h: Tensor, c: Tensor) -> Values:
    W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c = weights
    b = sum(each for each in (b_ih, b_hh) if each is not None)
    a = gamma_x * normal(x @ W.T) + gamma_h * normal(h @ U.T) + b
    return cell(a, c, lambda c: gamma_c * normal(c) + beta_c)


def cell(a: Tensor, c: Tensor, shown: Callable[[Tensor], Tensor]) -> Values:
    i, f, g, o = a.chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    return {"i": i, "f": f, "g": g, "o": o, "tanh(c)": shown(f * c + i * g).tanh()}


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Values]]] = {
    "rnn": (lambda: nn.RNN(IN, H), rnn),
    "relu rnn": (lambda: nn.RNN(IN, H, nonlinearity="relu"), relu_rnn),
    "gru": (lambda: nn.GRU(IN, H), gru),
    "textbook gru": (lambda: tt.nn.GRU(IN, H, reset="before"), textbook_gru),
    "lstm": (lambda: nn.LSTM(IN, H), lstm),
    "projected lstm": (lambda: nn.LSTM(IN, H, proj_size=3), lstm),
    "layer norm lstm": (lambda: tt.nn.LayerNormLSTM(IN, H), layer_norm_lstm),
}


def read(layer: nn.Module, x: Tensor | None = None, std: float = 1.5) -> Trajectory:
    torch.manual_seed(0)
    for weight in layer.parameters():
        nn.init.normal_(weight, std=std)
    x = torch.randn(T, B, IN) if x is None else x
    return trajectories(layer.double(), x.double())[0]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_equations(name: str) -> None:
    make, equations = CASES[name]
    trajectory = read(make())
    steps = [
        equations(trajectory.weights, trajectory.x[t], *(s[t] for s in trajectory.states))
        for t in range(T)
    ]
    found = Gates.of(trajectory)
    assert list(found.gates) == list(steps[0])
    for gate_name, gate in found.gates.items():
        values = torch.stack([step[gate_name] for step in steps]).numpy()
        assert gate.mean == pytest.approx(values.mean())
        np.testing.assert_allclose(gate.units, values.mean((0, 1)), rtol=1e-10)
        quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        np.testing.assert_allclose(gate.quantiles, quantiles, rtol=1e-10)
        low = {"sigmoid": values < 0.05, "tanh": values < -0.95, "relu": values <= 0}
        assert gate.low == pytest.approx(low[gate.kind].mean())
        high = values > (0 if gate.kind == "relu" else 0.95)
        assert gate.high == pytest.approx(high.mean())
        stuck = low["relu"] if gate.kind == "relu" else low[gate.kind] | high
        assert gate.saturation == pytest.approx(stuck.mean())


@pytest.mark.parametrize(
    ("name", "kept"), [("lstm", "f"), ("gru", "z"), ("textbook gru", "z"), ("layer norm lstm", "f")]
)
def test_time_constants_are_those_of_the_product_over_time(name: str, kept: str) -> None:
    make, equations = CASES[name]
    trajectory = read(make())
    gates = torch.stack(
        [
            equations(trajectory.weights, trajectory.x[t], *(s[t] for s in trajectory.states))[kept]
            for t in range(T)
        ]
    )
    found = Gates.of(trajectory)
    logs = gates.prod(0).log().mean(0)  # what is left after T steps, in the mean over examples
    np.testing.assert_allclose(np.exp(-T / found.time_constants), logs.exp(), rtol=1e-9)
    assert found.longest == pytest.approx(found.time_constants.max())


@given(bias=st.floats(-30, 30))
@settings(max_examples=30, deadline=None)
def test_an_open_gate_keeps_for_as_long_as_its_bias_says(bias: float) -> None:
    layer = nn.LSTM(1, 2).double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias_ih_l0[2:4] = bias
    found = Gates.of(trajectories(layer, torch.zeros(3, 1, 1).double())[0])
    wanted = 1 / math.log1p(math.exp(-bias))  # -ln sigmoid(bias)
    np.testing.assert_allclose(found.time_constants, wanted, rtol=1e-9)
    assert found.gates["f"].saturation == (0 if 0.05 <= 1 / (1 + math.exp(-bias)) <= 0.95 else 1)


def test_a_gate_that_forgets_nothing_has_no_end() -> None:
    layer = nn.LSTM(1, 2).double()
    nn.init.constant_(layer.bias_ih_l0, 1e4)
    found = Gates.of(trajectories(layer, torch.zeros(3, 1, 1).double())[0])
    assert found.longest == math.inf
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown["longest"] is None
    assert shown["time_constants"] == [None] * 5


def test_dead_units_and_always_active_ones_are_told_apart() -> None:
    layer = nn.RNN(1, 4, nonlinearity="relu").double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.weight_ih_l0.fill_(1.0)
        layer.bias_ih_l0.copy_(torch.tensor([-10.0, 10.0, 0.0, -1.5]))
    x = torch.tensor([[-1.0, 1.0], [1.0, 2.0]]).double().unsqueeze(-1)
    found = Gates.of(trajectories(layer, x)[0])
    assert found.dead.tolist() == [True, False, False, False]
    assert found.linear.tolist() == [False, True, False, False]
    assert (found.dead_share, found.linear_share) == (0.25, 0.25)
    assert found.gates["h"].saturation == (4 + 0 + 1 + 3) / 16
    assert found.longest is None
    assert found.to_dict()["time_constants"] == []


def test_only_real_steps_count() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(IN, H, batch_first=True).double()
    x = torch.randn(2, 6, IN).double()
    series = nn.utils.rnn.pack_padded_sequence(x, [6, 2], batch_first=True)
    both = Gates.of(trajectories(layer, series)[0]).gates["z"].units
    alone = [Gates.of(trajectories(layer, x[b : b + 1, :n])[0]) for b, n in ((0, 6), (1, 2))]
    wanted = (6 * alone[0].gates["z"].units + 2 * alone[1].gates["z"].units) / 8
    np.testing.assert_allclose(both, wanted, rtol=1e-10)


def test_dropout_is_that_which_was_drawn() -> None:
    trajectory = read(tt.nn.LSTM(IN, H, recurrent_dropout=0.5))
    h = trajectory.states[0][:-1] * trajectory.extras[0]
    a = [lstm(trajectory.weights, trajectory.x[t], h[t], trajectory.states[1][t]) for t in range(T)]
    found = Gates.of(trajectory)
    assert found.gates["o"].mean == pytest.approx(float(torch.stack([s["o"] for s in a]).mean()))


@pytest.mark.parametrize("name", CASES)
def test_biases_may_be_missing(name: str) -> None:
    makers: dict[str, Any] = {
        "rnn": lambda: nn.RNN(IN, H, bias=False),
        "relu rnn": lambda: nn.RNN(IN, H, bias=False, nonlinearity="relu"),
        "gru": lambda: nn.GRU(IN, H, bias=False),
        "textbook gru": lambda: tt.nn.GRU(IN, H, bias=False, reset="before"),
        "lstm": lambda: nn.LSTM(IN, H, bias=False),
        "projected lstm": lambda: nn.LSTM(IN, H, bias=False, proj_size=3),
        "layer norm lstm": lambda: tt.nn.LayerNormLSTM(IN, H, bias=False),
    }
    found = Gates.of(read(makers[name]()))
    assert found.gates
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_cell_of_somebody_elses_has_no_known_gates() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
            return x if h is None else h / 2 + x

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Own()

        def forward(self, x: Tensor) -> Tensor:
            h = None
            for x_t in x:
                h = self.cell(x_t, h)
            assert h is not None
            return h

    model = Loop()
    found = Gates.of(trajectories(model, torch.randn(3, 2, 2), cells=[model.cell])[0])
    assert (found.operator, found.gates, found.longest, found.dead_share) == (
        "foreign",
        {},
        None,
        0,
    )
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_few_rows_are_enough_and_none_is_refused() -> None:
    trajectory = read(nn.GRU(IN, H))
    [alone] = [Gates.of(trajectory, rows=1)]
    whole = trajectories(read_layer(), trajectory.x[:, :1])[0]
    assert alone.gates["z"].mean == pytest.approx(Gates.of(whole).gates["z"].mean)
    with pytest.raises(SettingError, match="rows to be a whole number"):
        Gates.of(trajectory, rows=0)


def read_layer() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.GRU(IN, H)
    torch.manual_seed(0)
    for weight in layer.parameters():
        nn.init.normal_(weight, std=1.5)
    return layer.double()
