"""MinGRU and MinLSTM as layers: torch.nn's interface, states, directions, starts and refusals."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime import SettingError
from throughtime._types import CELLS, model_name
from throughtime.kernels import linear_scan, reference
from throughtime.nn import Ensemble, PointHead, Recurrence, SyncedSequence, recording
from throughtime.nn.recurrence import LAYERS
from throughtime.training import Trainer, TrainingSettings, Truncation, losses

I, H, B, T = 3, 4, 2, 7  # noqa: E741
NAMES = ["MinGRU", "MinLSTM"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "candidate": "positive"},
]
every_layer = pytest.mark.parametrize("name", NAMES)
in_all_ways = pytest.mark.parametrize("options", OPTIONS, ids=str)
close = torch.testing.assert_close


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def made(name: str, **options: Any) -> Any:
    return getattr(tt.nn, name)(I, H, **options).double()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def oracle(layer: Any, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
    """All layers and directions of x [T, B, I] by the oracle."""
    function = reference.min_gru if type(layer).__name__ == "MinGRU" else reference.min_lstm
    y, last, k = x.detach().numpy(), [], 0
    for depth in range(layer.num_layers):
        ways = []
        for way in ["", "_reverse"][: 1 + layer.bidirectional]:
            W, b = (getattr(layer, f"{n}_l{depth}{way}", None) for n in ("weight_ih", "bias_ih"))
            given = [None if w is None else w.detach().numpy() for w in (W, b)]
            turn = slice(None, None, -1 if way else 1)
            h, h_n = function(y[turn], h_0[k].numpy(), *given, candidate=layer.candidate)
            ways.append(h[turn])
            last.append(h_n)
            k += 1
        y = np.concatenate(ways, -1)
    return torch.tensor(y), torch.tensor(np.stack(last))


def keeping(layer: Any) -> Tensor:
    """The share of the state that stays where the input is zero."""
    gates = layer.bias_ih_l0.detach().chunk(layer.BLOCKS)
    if layer.BLOCKS == 2:
        return 1 - gates[0].sigmoid()
    i, f = gates[0].sigmoid(), gates[1].sigmoid()
    return f / (f + i)


@every_layer
@in_all_ways
def test_layers_equal_the_oracle(name: str, options: dict[str, Any]) -> None:
    layer = made(name, **options)
    x, h_0 = drawn(T, B, I), drawn(layer.num_layers * (1 + layer.bidirectional), B, H)
    turned = (lambda x: x.transpose(0, 1)) if layer.batch_first else (lambda x: x)
    output, h_n = layer(turned(x), h_0)
    close((turned(output), h_n), oracle(layer, x, h_0))
    alone, last = layer(turned(x).select(0 if layer.batch_first else 1, 0), h_0[:, 0])
    close((alone, last), (turned(output)[:, 0], h_n[:, 0]))


@every_layer
@in_all_ways
def test_packed_sequences_equal_rows_alone(name: str, options: dict[str, Any]) -> None:
    layer = made(name, **{**options, "batch_first": True})
    x, lengths = drawn(3, T, I), [2, T, 4]
    h_0 = drawn(layer.num_layers * (1 + layer.bidirectional), 3, H)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, h_n = layer(packed, h_0)
    padded, _ = pad_packed_sequence(output, batch_first=True)
    mask = torch.arange(T) < torch.tensor(lengths).unsqueeze(1)
    masked, _ = layer.masked(torch.where(mask.unsqueeze(-1), x, torch.nan), mask)
    for b, n in enumerate(lengths):
        alone, last = layer(x[b : b + 1, :n], h_0[:, b : b + 1])
        close((padded[b, :n], h_n[:, b]), (alone[0], last[:, 0]))
        close(masked[b, :n], layer(x[b : b + 1, :n])[0][0])


@every_layer
def test_a_state_that_is_carried_equals_one_pass(name: str) -> None:
    layer, x = made(name, num_layers=2), drawn(T, B, I)
    whole, last = layer(x)
    first, state = layer(x[:3])
    second, h_n = layer(x[3:], state)
    close((torch.cat([first, second]), h_n), (whole, last))


@every_layer
def test_truncation_cuts_the_gradient_where_the_state_is_detached(name: str) -> None:
    layer, x = made(name), drawn(T, B, I).requires_grad_()
    _, state = layer(x[:3])
    layer(x[3:], state.detach())[0].sum().backward()
    assert not x.grad[:3].any()
    assert x.grad[3:].all()


@every_layer
def test_layers_learn_in_pieces(name: str) -> None:
    model = SyncedSequence(1, Recurrence(name.lower(), 8), PointHead(8))
    x = torch.randn(4, 60, 1)
    y = linear_scan(torch.full((60, 4, 1), 0.8), 0.2 * x.transpose(0, 1), torch.zeros(4, 1))
    settings = TrainingSettings(max_updates=60, learning_rate=0.02, truncation=Truncation(20))
    history = Trainer(model, losses.mse, settings).fit_sequence(x, y.transpose(0, 1))
    assert history.updates[-1].loss < 0.5 * history.updates[0].loss


@every_layer
def test_members_run_as_one(name: str) -> None:
    ensemble = Ensemble(lambda: made(name, num_layers=2, batch_first=True), members=3)
    x = drawn(3, B, T, I)
    assert ensemble._maps()
    output, h_n = ensemble(x)
    for e in range(3):
        close((output[e], h_n[e]), ensemble.member(e)(x[e]))


@every_layer
def test_stacks_with_dilations_carry_their_rings(name: str) -> None:
    how = {"dilations": (1, 2, 4), "skip_connections": True}
    stack = Recurrence(name.lower(), H, **how).build(I).double()
    x = drawn(B, 12, I)
    whole, last = stack(x)
    first, state = stack(x[:, :5])
    second, h_n = stack(x[:, 5:], state)
    close((torch.cat([first, second], 1), h_n), (whole, last))


@every_layer
def test_units_remember_for_2_to_55_steps_where_inputs_are_zero(name: str) -> None:
    layer = getattr(tt.nn, name)(I, 4000)
    u = torch.logit(keeping(layer))
    assert u.min() >= -1e-4
    assert u.max() <= 4 + 1e-4
    assert abs(u.mean() - 2) < 0.1
    candidates = layer.bias_ih_l0[-4000:]
    assert candidates.abs().max() <= I**-0.5
    assert abs(float(layer.weight_ih_l0.detach().std()) - (3 * I) ** -0.5) < 0.02


@every_layer
def test_weights_start_as_a_linear_layer_of_their_width_does(name: str) -> None:
    layer = getattr(tt.nn, name)(4, 50, num_layers=2, bidirectional=True)
    for W, b in layer.all_weights:
        bound = W.shape[1] ** -0.5  # 1/2 for the input, 1/10 for both directions of the first layer
        for drawn_so in (W, b[-50:]):
            assert 0.9 * bound < drawn_so.abs().max() <= bound


@every_layer
def test_chrono_spreads_the_memory(name: str) -> None:
    layer = tt.nn.chrono(200)(getattr(tt.nn, name)(I, 4000))
    steps = 1 / (1 - keeping(layer))
    assert steps.min() >= 2 - 1e-3
    assert steps.max() <= 200.5
    assert abs(float(steps.mean()) - 101) < 5  # 1 + exp(b) is uniform


@every_layer
def test_copies_files_and_states_come_back(name: str) -> None:
    layer, x = made(name, num_layers=2, candidate="positive"), drawn(T, B, I)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(layer), torch.load(buffer, weights_only=False)):
        close(other(x), layer(x))
        assert repr(other) == repr(layer)
    fresh = made(name, num_layers=2, candidate="positive")
    fresh.load_state_dict(layer.state_dict())
    close(fresh(x), layer(x))
    assert layer.float()(x.float())[0].dtype == torch.float32


@every_layer
def test_the_gradient_of_every_state_is_recorded(name: str) -> None:
    layer = made(name)
    with recording(layer) as records:
        output, _ = layer(drawn(T, B, I))
    output[-1].sum().backward()
    norms = records[0].tap.dh_TBH.abs().sum((1, 2))
    assert records[0].kernel.operator.startswith("min_")
    assert (norms[1:] > norms[:-1]).all()


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_zoneout_keeps_states(name: str, training: bool) -> None:
    layer = made(name, zoneout=0.5).train(training)
    output, _ = layer(drawn(200, B, I), torch.zeros(1, B, H).double())
    kept = (output[1:] == output[:-1]).double().mean()
    assert abs(kept - 0.5 * training) < 0.05


@every_layer
def test_a_graph_holds_the_operator(name: str) -> None:
    layer = made(name, batch_first=True)
    x = drawn(B, T, I)
    graph = torch.export.export(layer, (x,))
    assert "throughtime.min_" in str(graph.graph)
    close(graph.module()(x), layer(x))


@every_layer
def test_what_does_not_fit_is_refused(name: str) -> None:
    layer = made(name, batch_first=True)
    with pytest.raises(SettingError, match="input with 3 features"):
        layer(drawn(B, T, I + 1))
    with pytest.raises(SettingError, match=r"hx of shape \[1, 2, 4\], found \[1, 3, 4\]"):
        layer(drawn(B, T, I), drawn(1, 3, H))
    with pytest.raises(SettingError, match=r"in the dtype of the weights, torch\.float64"):
        layer(drawn(B, T, I).float())
    with pytest.raises(SettingError, match="no recurrent_dropout in a Min"):
        made(name, recurrent_dropout=0.1)
    with pytest.raises(SettingError, match="candidate to be one of"):
        made(name, candidate="log")
    with pytest.raises(SettingError, match="at least one time step"):
        layer(drawn(B, 0, I))
    with pytest.raises(ValueError, match="hidden_size must be greater than zero"):
        getattr(tt.nn, name)(I, 0)
    with pytest.raises(
        SettingError, match=r"a recurrent matrix for orthogonal.* pass another model.$"
    ):
        tt.nn.orthogonal()(layer)
    with pytest.raises(SettingError, match=f"a GRU for orthogonal_, found {name}"):
        tt.nn.orthogonal_(layer)
    with pytest.raises(SettingError, match=f"a GRU to keep orthogonal, found {name}"):
        tt.nn.keep_orthogonal(layer)
    assert layer(drawn(0, T, I))[0].shape == (0, T, H)


@every_layer
def test_the_doctor_reads_them(name: str) -> None:
    layer = getattr(tt.nn, name)(I, 16, batch_first=True)
    diagnosis = tt.diagnose(layer, torch.randn(8, 200, I), need=150)
    assert "this net" in str(diagnosis)
    gates = tt.diagnostics.Gates.of(tt.diagnostics.trajectories(layer, torch.zeros(2, 9, I))[0])
    expected = np.sort(-1 / keeping(layer).log())
    np.testing.assert_allclose(np.sort(gates.time_constants), expected, rtol=1e-4)
    assert set(gates.gates) == {"f"}


def test_every_name_of_a_cell_has_a_layer() -> None:
    assert tuple(LAYERS) == CELLS
    for cell in CELLS:
        assert type(Recurrence(cell, 2).build(1)) is getattr(tt.nn, model_name(cell))


def test_accelerate_leaves_them() -> None:
    model = nn.Sequential(made("MinGRU"))
    assert "throughtime's already" in str(tt.accelerate(model))
