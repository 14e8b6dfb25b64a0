"""An ensemble computes what its members compute one by one, gradients included."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from throughtime._errors import SettingError
from throughtime.kernels.functorch import INSIDE, NAMES, inside
from throughtime.nn import GRU, LSTM, RNN
from throughtime.nn.ensemble import Ensemble, mapped
from throughtime.nn.heads import ClassHead, PointHead, QuantileHead
from throughtime.nn.records import recording
from throughtime.nn.recurrence import Recurrence
from throughtime.nn.sequences import (
    OneToOne,
    SequenceInput,
    SequenceOutput,
    SequenceToSequence,
    SyncedSequence,
)
from throughtime.training import Trainer, TrainingSettings, Truncation
from throughtime.training.losses import mse

E, B, T, F, H = 3, 4, 5, 2, 6


class Elman(nn.Module):
    """Plain operations only, with a buffer that takes part."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"W": nn.Linear(F, H), "U": nn.Linear(H, H)})
        self.register_buffer("start", torch.randn(H))

    def forward(self, x: Tensor) -> Tensor:
        h = self.start.expand(len(x), H)
        for t in range(x.shape[1]):
            h = torch.tanh(self.inner["W"](x[:, t]) + self.inner["U"](h))
        return h


class Foreign(nn.Module):
    """A fused layer of torch's, which cannot be mapped."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.LSTM(F, H, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.layer(x)


def recurrence(cell: str) -> Recurrence:
    return Recurrence(cell, H, num_layers=2)


MODELS = {
    "plain": Elman,
    "torch's own layer": Foreign,
    **{
        f"{shape.__name__}-{cell}": (
            lambda shape=shape, cell=cell: shape(F, recurrence(cell), QuantileHead(H))
        )
        for cell in ("rnn", "lstm", "gru")
        for shape in (OneToOne, SequenceInput, SyncedSequence)
    },
    **{
        f"{shape.__name__}-{cell}": (
            lambda shape=shape, cell=cell: shape(F, recurrence(cell), PointHead(H), 3)
        )
        for cell in ("rnn", "lstm", "gru")
        for shape in (SequenceOutput, SequenceToSequence)
    },
    "classes": lambda: SequenceToSequence(F, recurrence("gru"), ClassHead(H, 4), 3),
    "both directions": lambda: SequenceInput(
        F, Recurrence("lstm", H, bidirectional=True), PointHead(2 * H)
    ),
}


def ensemble_and_input(name: str) -> tuple[Ensemble, Tensor]:
    ensemble = Ensemble(MODELS[name], members=E, seed=1).double()
    steps = () if name.startswith(("OneToOne", "SequenceOutput")) else (T,)
    x = torch.randn(E, B, *steps, F, generator=torch.Generator().manual_seed(0)).double()
    return ensemble, x.requires_grad_()


def tensors(results) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    return [tensor for result in results for tensor in tensors(result)]


@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_are_those_of_the_separate_members(name):
    ensemble, x = ensemble_and_input(name)
    together = tensors(ensemble(x))
    sum(y.square().sum() for y in together).backward()
    for e in range(E):
        member, x_e = ensemble.member(e), x.detach()[e].clone().requires_grad_()
        alone = tensors(member(x_e))
        sum(y.square().sum() for y in alone).backward()
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[e], theirs)
        torch.testing.assert_close(x.grad[e], x_e.grad)
        for key, parameter in member.named_parameters():
            torch.testing.assert_close(ensemble.stacked.get_parameter(key).grad[e], parameter.grad)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_state_is_carried_for_each_member(cell):
    ensemble, x = ensemble_and_input(f"SyncedSequence-{cell}")
    whole, _ = ensemble(x, None)
    first, state = ensemble(x[:, :, :2])
    second, _ = ensemble(x[:, :, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), whole)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_the_short_way_of_members_is_the_long_one_to_the_last_bit(cell, bias, batch_first):
    ensemble = Ensemble(lambda: cell(F, H, bias=bias, batch_first=batch_first), members=E)
    weights = list(ensemble.parameters())
    x = torch.randn(E, B, T, F) if batch_first else torch.randn(E, T, B, F)

    def asked() -> list[Tensor]:
        first, state = ensemble(x)
        second, state = ensemble(x, state)
        told = [first, second, *(state if cell is LSTM else [state])]
        return [*told, *torch.autograd.grad(sum(y.square().sum() for y in told), weights)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell, "_forward", None)  # the short way goes all the way
        short = asked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell, "has_short_way", False)
        long = asked()
    assert all(map(torch.equal, short, long))


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_gradients_of_the_short_way_of_members_can_be_differentiated(cell):
    ensemble = Ensemble(lambda: cell(F, H, batch_first=True), members=E).double()
    weights = list(ensemble.parameters())
    x = torch.randn(E, B, T, F, dtype=torch.float64, requires_grad=True)

    def asked() -> tuple[Tensor, ...]:
        output, _ = ensemble(x)
        first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [x, *weights])

    short = asked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell, "has_short_way", False)
        long = asked()
    torch.testing.assert_close(short, long)


def test_forced_decoders_take_each_member_its_targets():
    ensemble, x = ensemble_and_input("SequenceToSequence-gru")
    targets = torch.randn(E, B, 3, 1, dtype=torch.float64)
    for e in range(E):
        torch.testing.assert_close(ensemble(x, targets)[e], ensemble.member(e)(x[e], targets[e]))
    assert ensemble(x, targets).shape == (E, B, 3, 1, 1)


def test_members_differ_and_follow_the_seed():
    one, same, other = (Ensemble(Elman, E, seed=s).stacked.inner.W.weight for s in (5, 5, 6))
    assert torch.equal(one, same)
    rows = {tuple(row.flatten().tolist()) for row in torch.cat([one, other])}
    assert len(rows) == 2 * E


def test_building_leaves_the_global_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Ensemble(Elman, E)
    assert torch.equal(torch.rand(3), expected)


def test_the_state_dict_is_readable_and_loads_back():
    ensemble, x = ensemble_and_input("SequenceInput-lstm")
    state = ensemble.state_dict()
    assert {"stacked.layer.weight_ih_l0", "stacked.head.linear.bias"} <= set(state)
    assert all(len(tensor) == E for tensor in state.values())
    other = Ensemble(MODELS["SequenceInput-lstm"], E, seed=2).double()
    assert not torch.allclose(other(x), ensemble(x))
    other.load_state_dict(state)
    torch.testing.assert_close(other(x), ensemble(x))


def test_a_member_and_a_copy_share_nothing_with_the_ensemble():
    ensemble, x = ensemble_and_input("plain")
    before = ensemble(x).detach()
    twin, member = copy.deepcopy(ensemble), ensemble.member(1)
    with torch.no_grad():
        for module in (twin, member):
            for tensor in [*module.parameters(), *module.buffers()]:
                tensor.zero_()
    torch.testing.assert_close(ensemble(x).detach(), before)
    assert not twin(x).any()


def test_dropout_follows_the_mode_and_differs_between_members():
    ensemble = Ensemble(lambda: nn.Dropout(0.5), members=2)
    ones = torch.ones(2, 1000)
    torch.manual_seed(0)
    first, second = ensemble(ones)
    assert 0.4 < (first > 0).float().mean() < 0.6
    assert not torch.equal(first, second)
    assert torch.equal(ensemble.eval()(ones), ones)
    assert not ensemble.member(0).training
    ensemble.training = True  # as a context manager does that restores modes
    assert ensemble.member(0).training
    assert not torch.equal(ensemble(ones), ones)


def test_dropout_between_recurrent_layers_differs_between_members():
    model = SequenceInput(F, Recurrence("lstm", H, num_layers=2, dropout=0.5), PointHead(H))
    ensemble = Ensemble(lambda: copy.deepcopy(model), members=2)
    x = torch.ones(2, 1, T, F)
    torch.manual_seed(0)
    first, second = ensemble(x)
    assert not torch.allclose(first, second)
    first, second = ensemble.eval()(x)
    torch.testing.assert_close(first, second)


def test_running_statistics_are_kept_for_each_member():
    ensemble = Ensemble(lambda: nn.BatchNorm1d(F), members=2)
    x = torch.randn(2, 50, F)
    ensemble(x)
    torch.testing.assert_close(ensemble.stacked.running_mean, 0.1 * x.mean(1))
    assert ensemble.stacked.num_batches_tracked.tolist() == [1, 1]


def test_frozen_and_shared_weights_stay_so():
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(F, F), nn.Linear(F, F), nn.Linear(F, F))
        model[2].weight = model[0].weight
        model[1].weight.requires_grad_(False)
        return model

    ensemble = Ensemble(build, members=E).double()
    assert not ensemble.stacked.get_parameter("1.weight").requires_grad
    member = ensemble.member(2)
    assert member[2].weight is member[0].weight
    x = torch.randn(E, B, F, dtype=torch.float64)
    torch.testing.assert_close(ensemble(x)[2], member(x[2]))


def test_a_dtype_that_the_kernels_do_not_know_runs_all_the_same():
    ensemble = Ensemble(MODELS["SyncedSequence-lstm"], E).to(torch.bfloat16)
    x = torch.randn(E, B, T, F, dtype=torch.bfloat16)
    for ours, theirs in zip(tensors(ensemble(x)), tensors(ensemble.member(1)(x[1])), strict=True):
        torch.testing.assert_close(ours[1], theirs)


def test_scheduled_sampling_differs_between_members():
    model = SequenceOutput(F, recurrence("gru"), PointHead(H), 3)
    ensemble = Ensemble(lambda: copy.deepcopy(model), members=2)
    targets = torch.full((2, 50, 3, 1), 5.0)
    torch.manual_seed(0)
    first, second = ensemble(torch.ones(2, 50, F), targets, 0.5)
    assert not torch.allclose(first, second)


def test_an_ensemble_learns_from_sequences_with_its_states_carried():
    x = torch.rand(2, 60, 1, generator=torch.Generator().manual_seed(0))
    y = x.roll(1, dims=1)
    y[:, 0] = torch.nan
    ensemble = Ensemble(lambda: SyncedSequence(1, Recurrence("gru", 8), PointHead(8)), members=2)
    settings = TrainingSettings(max_updates=90, learning_rate=0.03, truncation=Truncation(k1=10))
    history = Trainer(ensemble, mse, settings).fit_sequence(x, y)
    assert history.updates[-1].loss < 0.5 * history.updates[0].loss
    errors = [mse(ensemble.member(e)(x)[0], y).item() for e in range(2)]
    assert max(errors) < 0.5 * 1 / 12
    assert errors[0] != errors[1]


def sizes():
    yield from (nn.Linear(2, 1), nn.Linear(3, 1))


REFUSALS = [
    (lambda: Ensemble(Elman, 0), "members to be a whole number of at least 1"),
    (lambda: Ensemble(Elman, 2, seed=-1), "seed to be a whole number of at least 0"),
    (lambda: Ensemble(sizes().__next__, 2), "members of one form, found weight of shapes"),
    (lambda: Ensemble(Elman, 2).member(2), "index to be below 2, found 2"),
    (
        lambda: Ensemble(Elman, 2)(torch.zeros(3, B, T, F)),
        r"leading axis of 2 members, found shape \[3, 4, 5, 2\]",
    ),
]


@pytest.mark.parametrize(("act", "message"), REFUSALS)
def test_what_makes_no_sense_is_refused_with_its_reason(act, message):
    with pytest.raises(SettingError, match=message):
        act()


@pytest.mark.parametrize("kind", ["GRU", "torch's"])
def test_inputs_may_be_passed_by_name(kind: str) -> None:
    def build() -> nn.Module:
        model = SequenceToSequence(F, recurrence("gru"), PointHead(H), 3)
        if kind == "torch's":
            model.encoder = torch.nn.GRU(F, H, num_layers=2, batch_first=True)  # type: ignore[assignment]
        return model

    ensemble = Ensemble(build, E)
    x, y = torch.randn(E, B, T, F), torch.randn(E, B, 3, 1)
    together = ensemble(x, targets=y, forcing=1.0)
    assert not torch.equal(together, ensemble(x))
    for e in range(E):
        alone = ensemble.member(e)(x[e], targets=y[e], forcing=1.0)
        torch.testing.assert_close(together[e], alone)
    with pytest.raises(SettingError, match="leading axis of 3 members"):
        ensemble(x, targets=y[:2], forcing=1.0)


def test_members_that_are_recorded_run_in_turn() -> None:
    ensemble = Ensemble(lambda: SequenceInput(F, recurrence("lstm"), PointHead(H)).double(), E)
    x = torch.randn(E, B, T, F, dtype=torch.float64)
    plain = ensemble(x)
    with recording(ensemble.template) as records:
        recorded = ensemble(x)
    torch.testing.assert_close(recorded, plain)
    recorded.sum().backward()
    assert [(r.name, r.layer) for r in records] == [("layer", 0), ("layer", 1)] * E
    for record in records:
        assert record.tap.dh_TBH is not None
        assert record.tap.dh_TBH.shape == (T, B, H)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_members_read_rows_that_end_early(cell):
    def build():
        recurrence = Recurrence(cell, 4, num_layers=2, bidirectional=True)
        return SequenceInput(2, recurrence, PointHead(8)).double()

    ensemble, x = Ensemble(build, 3), torch.randn(3, 4, 6, 2, dtype=torch.float64)
    lengths = torch.tensor([[6, 1, 3, 2], [5, 5, 4, 1], [2, 6, 6, 6]])
    with recording(ensemble.template, in_turn=False) as records:
        said = ensemble(x, lengths)
    for e in range(3):
        torch.testing.assert_close(said[e], ensemble.member(e)(x[e], lengths[e]))
    real = torch.arange(6)[:, None, None] < lengths  # [T, E, B]
    assert all(torch.equal(record.mask, real) for record in records)


@pytest.mark.parametrize("inside", [INSIDE, None], ids=["private", "public"])
def test_what_is_mapped_equals_each_members_own(inside: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("throughtime.nn.ensemble._functorch", inside)
    a, b = torch.randn(3, 4, 2), {"w": torch.randn(3, 2)}
    leaves = [a.requires_grad_(), b["w"].requires_grad_()]

    def function(a: Tensor, b: dict[str, Tensor], k: int, none: None) -> Any:
        return a @ b["w"] * k, (none, a.sum())

    made, (none, sums) = mapped(function, 3, a, b, 2, None)
    assert none is None
    alone = [function(a[e], {"w": b["w"][e]}, 2, None) for e in range(3)]
    torch.testing.assert_close(made, torch.stack([each[0] for each in alone]))
    torch.testing.assert_close(sums, torch.stack([each[1][1] for each in alone]))
    ours = torch.autograd.grad(made.square().sum() + sums.sum(), leaves)
    theirs = sum(each[0].square().sum() + each[1][1] for each in alone)
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, leaves))


@pytest.mark.parametrize("gone", NAMES)
def test_without_a_private_name_of_torchs_the_public_way_is_taken(gone: str) -> None:
    assert INSIDE is torch._C._functorch
    kept = getattr(torch._C._functorch, gone)
    delattr(torch._C._functorch, gone)
    try:
        assert inside() is None
    finally:
        setattr(torch._C._functorch, gone, kept)


@pytest.mark.parametrize("name", ["plain", "SyncedSequence-rnn", "SyncedSequence-lstm"])
def test_the_public_way_of_an_ensemble_gives_the_same(name: str, monkeypatch: Any) -> None:
    ensemble, x = ensemble_and_input(name)

    def answers() -> list[Tensor]:
        made = tensors(ensemble(x))
        loss = sum((y.square().sum() for y in made), torch.zeros(()))
        return [*made, *torch.autograd.grad(loss, [x, *ensemble.parameters()])]

    usual = answers()
    for where in ("nn.ensemble", "kernels.transforms"):
        monkeypatch.setattr(f"throughtime.{where}._functorch", None)
    calls: list[Any] = []
    vmap = torch.func.vmap
    monkeypatch.setattr("torch.func.vmap", lambda *a, **k: calls.append(a) or vmap(*a, **k))
    torch.testing.assert_close(answers(), usual)
    assert calls


def test_an_error_within_leaves_no_mapping_behind() -> None:
    def broken(x: Tensor) -> Tensor:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        mapped(broken, 2, torch.zeros(2))
    assert not torch._C._are_functorch_transforms_active()
