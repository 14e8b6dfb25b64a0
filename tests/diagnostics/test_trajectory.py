"""Whatever runs a recurrence, its states and adjoints are those of brute force, and it is left alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt
from throughtime import DataError, SettingError
from throughtime.diagnostics import Trajectory, trajectories
from throughtime.diagnostics.untouched import untouched

T, B, IN, H = 7, 3, 2, 4


def x_BTI(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(B, T, IN, generator=torch.Generator().manual_seed(1), dtype=dtype)


class CellLoop(nn.Module):
    """A cell called in a loop, as people write it."""

    def __init__(self, cell: nn.Module, start: bool = False) -> None:
        super().__init__()
        self.cell, self.head, self.start = cell, nn.Linear(H, 1), start

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        if self.start:
            zeros = x.new_zeros(len(x), H)
            state = (zeros, zeros) if "LSTM" in type(self.cell).__name__ else zeros
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Reader(nn.Module):
    """A layer and a head on its newest output."""

    def __init__(self, layer: nn.Module, width: int = H) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class Subclass(nn.LSTM):
    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return super().forward(x * 2, hx)


class Handwritten(nn.Module):
    """A cell that nobody knows the equations of."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(IN, H), nn.Linear(H, H)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        past = 0 if h is None else self.U(h)
        return torch.sin(self.W(x) + past)


def cell_step(trajectory: Trajectory, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One step by the equations in DESIGN, apart from the kernels."""
    W, U, b_ih, b_hh = (w.double() for w in trajectory.weights[:4])
    h = states[0]
    from_x, from_h = x @ W.T + b_ih, h @ U.T + b_hh
    if trajectory.operator == "rnn_tanh":
        return ((from_x + from_h).tanh(),)
    if trajectory.operator == "rnn_relu":
        return ((from_x + from_h).relu(),)
    if trajectory.operator == "gru_after":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        z = (x_z + h_z).sigmoid()
        return ((1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * h,)
    if trajectory.operator == "gru_before":
        (x_r, x_z, x_n), (h_r, h_z, _) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        z, r = (x_z + h_z).sigmoid(), (x_r + h_r).sigmoid()
        return ((1 - z) * (x_n + (r * h) @ U.chunk(3)[2].T + b_hh.chunk(3)[2]).tanh() + z * h,)
    i, f, g, o = (from_x + from_h).chunk(4, -1)
    c = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def brute_force(trajectory: Trajectory, head: nn.Linear) -> tuple[list[Tensor], list[Tensor]]:
    """The states by a plain loop, and the gradient of head(h_T).sum() by each joint state."""
    S = len(trajectory.states)
    path = [tuple(torch.zeros(B, H).double() for _ in range(S))]
    for x in trajectory.x.double():
        path.append(cell_step(trajectory, x, path[-1]))
    adjoints = []
    for t, states in enumerate(path):
        leaves = tuple(s.detach().requires_grad_() for s in states)
        state = leaves
        for x in trajectory.x[t:].double():
            state = cell_step(trajectory, x, state)
        grads = torch.autograd.grad(head(state[0]).sum(), leaves, allow_unused=True)
        adjoints.append(torch.cat([torch.zeros(B, H) if g is None else g for g in grads], -1))
    return [torch.cat(states, -1) for states in path], adjoints


MODELS: dict[str, Callable[[], nn.Module]] = {
    "torch rnn": lambda: Reader(nn.RNN(IN, H, batch_first=True)),
    "torch relu rnn": lambda: Reader(nn.RNN(IN, H, nonlinearity="relu", batch_first=True)),
    "torch lstm": lambda: Reader(nn.LSTM(IN, H, batch_first=True)),
    "torch gru": lambda: Reader(nn.GRU(IN, H, batch_first=True)),
    "our rnn": lambda: Reader(tt.nn.RNN(IN, H, batch_first=True)),
    "our lstm": lambda: Reader(tt.nn.LSTM(IN, H, batch_first=True)),
    "our gru": lambda: Reader(tt.nn.GRU(IN, H, batch_first=True)),
    "our textbook gru": lambda: Reader(tt.nn.GRU(IN, H, batch_first=True, reset="before")),
    "subclass": lambda: Reader(Subclass(IN, H, batch_first=True)),
    "rnn cell": lambda: CellLoop(nn.RNNCell(IN, H)),
    "lstm cell": lambda: CellLoop(nn.LSTMCell(IN, H)),
    "gru cell": lambda: CellLoop(nn.GRUCell(IN, H), start=True),
    "our lstm cell": lambda: CellLoop(tt.nn.LSTMCell(IN, H), start=True),
    "our textbook cell": lambda: CellLoop(tt.nn.GRUCell(IN, H, reset="before"), start=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_states_and_adjoints_are_those_of_brute_force(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().double()
    [trajectory] = trajectories(model, x_BTI(), loss=lambda out, _: out.sum())
    states, adjoints = brute_force(trajectory, model.head)
    assert trajectory.real.all()
    assert trajectory.skipped == 0
    torch.testing.assert_close(trajectory.joint, torch.stack(states), rtol=1e-12, atol=1e-12)
    found, wanted = torch.cat(trajectory.adjoints, -1), torch.stack(adjoints)
    known = slice(1 if name == "our textbook cell" else 0, None)  # h_0 is not seen in the last
    torch.testing.assert_close(found[known], wanted[known], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_leads_from_each_state_to_the_next(name: str) -> None:
    torch.manual_seed(0)
    [trajectory] = trajectories(MODELS[name]().double(), x_BTI())
    rows = trajectory.rows()
    after = trajectory.step(rows.x, rows.before, extras=rows.extras)
    for made, states in zip(after, trajectory.states, strict=True):
        torch.testing.assert_close(made, states[rows.t + 1, rows.b], rtol=1e-12, atol=1e-12)


def test_a_cell_of_ones_own_is_watched_where_it_is_named() -> None:
    torch.manual_seed(0)
    model = CellLoop(Handwritten()).double()
    with pytest.raises(DataError, match=r"cells=\(model.my_cell,\)"):
        trajectories(model, x_BTI())
    [trajectory] = trajectories(model, x_BTI(), loss=lambda out, _: out.sum(), cells=[model.cell])
    assert (trajectory.layer, trajectory.operator, trajectory.length) == ("cell", "foreign", T)
    h, states = None, []
    for t in range(T):
        h = model.cell(x_BTI()[:, t], h)
        h.retain_grad()
        states.append(h)
    model.head(h).sum().backward()
    wanted = torch.stack([h.grad for h in states])
    torch.testing.assert_close(trajectory.adjoints[0][1:], wanted, rtol=1e-12, atol=0)


def test_stacks_and_directions_keep_their_names_and_order() -> None:
    layer = nn.LSTM(IN, H, 2, bidirectional=True, batch_first=True, proj_size=3)
    found = trajectories(Reader(layer, 6).double(), x_BTI())
    names = ["layer.l0", "layer.l0 reverse", "layer.l1", "layer.l1 reverse"]
    assert [t.layer for t in found] == names
    # head reads the reverse direction where it has just begun
    assert [t.length for t in found] == [T, T, T, 1]
    assert found[3].skipped == T - 1
    assert found[0].states[0].shape == (T + 1, B, 3)


@pytest.mark.parametrize("kind", [nn.GRU, tt.nn.GRU, nn.LSTM, tt.nn.LSTM])
@pytest.mark.parametrize("both", [False, True])
def test_rows_of_packed_series_are_aligned_at_their_ends(kind: Any, both: bool) -> None:
    torch.manual_seed(0)
    layer, lengths, x = (
        kind(IN, H, batch_first=True, bidirectional=both).double(),
        [4, 7, 2],
        x_BTI(),
    )

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            states = self.layer(packed)[1]
            return (states if isinstance(states, Tensor) else states[0]).sum(0)

    found = trajectories(Packed(), x, loss=lambda out, _: out.sum())
    for n, one in enumerate(found):
        for b, sorted_b in enumerate([1, 0, 2]):  # where the packed rows lie
            alone = trajectories(
                layer,
                x[b : b + 1, : lengths[b]],
                output=lambda out: out[1] if isinstance(out[1], Tensor) else out[1][0],
                loss=lambda h, _: h.sum(),
            )[n]
            tail = slice(-1 - lengths[b], None)
            assert one.real[:, sorted_b].sum() == lengths[b] + 1
            torch.testing.assert_close(one.norms[tail, sorted_b], alone.norms[:, 0])
            torch.testing.assert_close(one.joint[tail, sorted_b], alone.joint[:, 0])
            torch.testing.assert_close(one.x[-lengths[b] :, sorted_b], alone.x[:, 0])


def test_packed_inputs_are_read_at_the_end_of_each_row() -> None:
    layer = nn.GRU(IN, H, batch_first=True).double()
    packed = pack_padded_sequence(x_BTI(), [7, 4, 2], batch_first=True)
    [trajectory] = trajectories(layer, packed)
    assert trajectory.real.sum(0).tolist() == [8, 5, 3]
    assert bool((trajectory.norms[-1] > 0).all())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda out, h: {"hidden": h, "y": out}["y"],
        lambda out, h: (out, h),
        lambda out, h: {"mask": torch.ones(1).long(), "y": out, "h": h},
        lambda out, h: ((None, out), h),
    ],
)
def test_tuples_and_dicts_are_read_at_the_newest_step(wrap: Any) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.GRU(IN, H)

        def forward(self, x: Tensor) -> Any:
            return wrap(*self.layer(x))

    model, x = Wrapped().double(), x_BTI().transpose(0, 1)
    [found] = trajectories(model, x)
    [wanted] = trajectories(model.layer, x)
    torch.testing.assert_close(found.norms, wanted.norms)
    assert found.skipped == 0


def test_a_forecast_as_long_as_the_window_is_no_axis_of_time() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Reader(nn.GRU(IN, H, batch_first=True)))
    model[0].head = nn.Linear(H, T)
    y = torch.randn(B, T).double()
    [whole] = trajectories(model.double(), x_BTI(), y)
    [chosen] = trajectories(model, x_BTI(), y, output=lambda out: out)
    torch.testing.assert_close(whole.norms, chosen.norms, rtol=0, atol=0)
    [last] = trajectories(model, x_BTI(), y[:, -1], output=lambda out: out[:, -1])
    assert not torch.allclose(whole.norms, last.norms)


def test_targets_and_loss_see_the_newest_step() -> None:
    torch.manual_seed(0)
    layer, y = nn.GRU(IN, H, batch_first=True).double(), torch.randn(B, T, H).double()
    [own] = trajectories(layer, x_BTI(), y)
    [same] = trajectories(layer, x_BTI(), y, nn.functional.mse_loss)
    [by_hand] = trajectories(
        layer, x_BTI(), y, lambda o, y: (o[0][:, -1] - y[:, -1]).square().mean(), output=lambda o: o
    )
    torch.testing.assert_close(own.norms, same.norms)
    torch.testing.assert_close(own.norms, by_hand.norms)
    classes = torch.tensor([0, 3, 1])
    [labelled] = trajectories(layer, x_BTI(), classes)
    [entropy] = trajectories(layer, x_BTI(), classes, nn.functional.cross_entropy)
    torch.testing.assert_close(labelled.norms, entropy.norms)


def test_a_loss_that_skips_the_newest_steps_is_counted_from_where_it_reads() -> None:
    layer = nn.GRU(IN, H, batch_first=True).double()
    [early] = trajectories(layer, x_BTI(), output=lambda out: out[0][:, 4])
    [short] = trajectories(layer, x_BTI()[:, :5])
    assert (early.length, early.skipped) == (5, 2)
    torch.testing.assert_close(early.norms, short.norms)


def test_a_decoder_that_feeds_on_itself_is_one_run() -> None:
    model = tt.nn.SequenceToSequence(
        IN, tt.nn.Recurrence("lstm", H), tt.nn.PointHead(H), length=5
    ).double()
    found = trajectories(model, x_BTI(), output=lambda out: out[:, -1])
    assert {t.layer: t.length for t in found} == {"encoder.l0": T, "decoder.l0": 5}


def test_one_layer_over_two_series_lies_side_by_side() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(IN, H, batch_first=True)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return (self.layer(x)[0][:, -1] - self.layer(y)[0][:, -1]).square()

    [trajectory] = trajectories(Siamese().double(), (x_BTI(), x_BTI().flip(1)))
    assert trajectory.x.shape == (T, 2 * B, IN)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured_in_single(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Reader(nn.LSTM(IN, H, batch_first=True)).to(dtype)
    x = x_BTI(torch.float32).to(dtype)
    [trajectory] = trajectories(model, x)
    [wide] = trajectories(copy.deepcopy(model).float(), x.float())
    assert trajectory.joint.dtype == torch.float32
    torch.testing.assert_close(trajectory.norms, wide.norms)
    assert model.head.weight.dtype == dtype


def test_regularised_layers_are_followed_as_they_ran() -> None:
    torch.manual_seed(0)
    layer = tt.nn.LSTM(IN, H, batch_first=True, recurrent_dropout=0.5, zoneout=(0.3, 0.2)).double()
    for training in (True, False):
        [trajectory] = trajectories(layer.train(training), x_BTI())
        rows = trajectory.rows()
        after = trajectory.step(rows.x, rows.before, extras=rows.extras)
        for made, states in zip(after, trajectory.states, strict=True):
            torch.testing.assert_close(made, states[rows.t + 1, rows.b], rtol=1e-12, atol=1e-12)
        leaves = tuple(s.requires_grad_() for s in rows.before)
        after = trajectory.step(rows.x, leaves, extras=rows.extras)
        back = torch.autograd.grad(after, leaves, rows.adjoints)
        early = rows.t < T - 1  # the adjoint of h_t is the pull-back of that of h_{t+1}
        wanted = torch.cat([a[rows.t, rows.b] for a in trajectory.adjoints], -1)
        torch.testing.assert_close(torch.cat(back, -1)[early], wanted[early])


class Forgetful(nn.Module):
    """Everything that a look might leave traces in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(IN, H, 2, batch_first=True, dropout=0.5)
        self.norm, self.drop, self.head = nn.BatchNorm1d(H), nn.Dropout(0.3), nn.Linear(H, 1)
        self.state: Any = None
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.layer(x, self.state)
        self.state = tuple(s.detach() for s in state)
        self.calls += 1
        return self.head(self.drop(self.norm(out[:, -1]))) * (1 + 0 * random.random())


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_found(training: bool) -> None:
    torch.manual_seed(0)
    model, x = Forgetful().double().train(training), x_BTI().requires_grad_()
    model.head.eval()
    model.layer.weight_hh_l0.requires_grad_(False)
    seen: list[int] = []
    handle = model.layer.register_forward_hook(lambda *_: seen.append(1))
    model(x).sum().backward()
    state = copy.deepcopy(model.state_dict())
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    kept, hidden, x_grad = model.calls, [s.clone() for s in model.state], x.grad.clone()
    facts = [(m, m.training, dict(m._forward_hooks)) for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    noise = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()

    with torch.no_grad():
        trajectories(model, x)
    with torch.inference_mode():
        trajectories(model, x)

    assert torch.equal(torch.get_rng_state(), noise[0])
    assert random.getstate() == noise[1]
    assert (np.random.get_state()[1] == noise[2]).all()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for name, p in model.named_parameters():
        assert (p.grad is None) == (grads[name] is None)
        assert p.grad is None or torch.equal(p.grad, grads[name])
    assert model.calls == kept
    assert all(torch.equal(a, b) for a, b in zip(model.state, hidden, strict=True))
    assert facts == [(m, m.training, dict(m._forward_hooks)) for m in model.modules()]
    assert flags == [p.requires_grad for p in model.parameters()]
    assert torch.equal(x.grad, x_grad)
    handle.remove()


def test_whatever_happens_within_is_undone() -> None:
    torch.manual_seed(0)
    model = Forgetful().double()
    model(x_BTI()).sum().backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    with untouched(model) as parameters:
        assert len(parameters) == len(list(model.parameters()))
        model.eval()
        model.calls = 99
        model.layer.register_forward_hook(lambda *_: None)
        model.norm.running_mean.fill_(7.0)
        (model(x_BTI()).sum() * 5).backward()
    assert model.training
    assert model.norm.training
    assert model.calls == 1
    assert not model.layer._forward_hooks
    assert bool((model.norm.running_mean != 7).all())
    for name, p in model.named_parameters():
        assert (name in grads) == (p.grad is not None)
        assert p.grad is None or torch.equal(p.grad, grads[name])


def test_shared_weights_are_seen_once_for_each_call() -> None:
    cell = nn.GRUCell(IN, H)
    model = nn.ModuleDict({"a": CellLoop(cell), "b": CellLoop(cell)})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor) -> Tensor:
            return self.parts["a"](x) + self.parts["b"](x.flip(1))

    [trajectory] = trajectories(Both().double(), x_BTI())
    assert trajectory.x.shape == (T, 2 * B, IN)


@pytest.mark.parametrize(
    ("model", "arguments", "error", "words"),
    [
        (nn.Flatten(), {}, DataError, "runs an RNN, LSTM or GRU"),
        (nn.Linear(IN, 1), {}, DataError, "none in Linear"),
        (nn.GRU, {}, SettingError, "torch.nn.Module, found type"),
        (nn.GRU(IN, H), {"loss": lambda *_: torch.zeros(())}, DataError, "depends on the states"),
        (nn.GRU(IN, H), {"targets": torch.zeros(2)}, DataError, r"targets of shape \[7, 4\]"),
        (tt.nn.Ensemble(lambda: nn.GRU(IN, H), 2), {}, SettingError, "ensemble.member"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    model: Any, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        trajectories(model, x_BTI(torch.float32), **arguments)


def test_one_step_is_refused() -> None:
    with pytest.raises(DataError, match="two time steps or more"):
        trajectories(nn.GRU(IN, H, batch_first=True), torch.zeros(B, 1, IN))


def test_outputs_that_are_no_tensor_are_refused() -> None:
    class Mute(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(IN, H)

        def forward(self, x: Tensor) -> str:
            self.layer(x)
            return "done"

    with pytest.raises(DataError, match="pick it: output="):
        trajectories(Mute(), torch.zeros(T, B, IN))
