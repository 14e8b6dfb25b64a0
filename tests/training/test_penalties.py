"""Penalties on weights are their sums, and training adds their gradients member by member."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_cases import Lines, Net, SequenceNet, sequence, waves

from throughtime import SettingError
from throughtime.nn import Ensemble
from throughtime.training import L1, L2, TensorExamples, Trainer, TrainingSettings, losses
from throughtime.training.penalties import weights_in
from throughtime.training.run import Run
from throughtime.training.sources import ExampleSource

SLOPE = {L1: torch.sign, L2: lambda w: 2 * w}
VALUE = {L1: torch.abs, L2: torch.square}
both = pytest.mark.parametrize("kind", [L1, L2])

GROUPS = {
    "weight_hh": ["layer.weight_hh_l0", "layer.weight_hh_l1"],
    "weight_ih": ["layer.weight_ih_l0", "layer.weight_ih_l1"],
    "_l1": [f"layer.{name}_l1" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
    "layer.weight_*_l0": ["layer.weight_ih_l0", "layer.weight_hh_l0"],
    "head": ["head.weight", "head.bias"],
    "bias": [f"layer.bias_{k}_l{n}" for n in (0, 1) for k in ("ih", "hh")] + ["head.bias"],
    "*.weight": ["head.weight"],
}


class Stacked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.GRU(2, 3, num_layers=2)
        self.head = torch.nn.Linear(3, 1)


def build():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Stacked().double()


@both
@given(strength=st.floats(0, 1e3), group=st.sampled_from(sorted(GROUPS)))
def test_it_is_the_sum_over_the_weights_of_its_groups(kind, strength, group):
    model = build()
    chosen = [model.get_parameter(name) for name in GROUPS[group]]
    penalty = kind(strength, group)(model)
    expected = strength * sum(VALUE[kind](w).sum() for w in chosen)
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    for name, w in model.named_parameters():
        if name in GROUPS[group]:
            torch.testing.assert_close(w.grad, strength * SLOPE[kind](w.detach()))
        else:
            assert w.grad is None


@both
def test_groups_that_overlap_count_a_weight_once(kind):
    model = build()
    overlapping = kind(1.0, ("weight_hh", "layer.weight_*", "_l0"))(model)
    names = [n for n, _ in model.named_parameters() if n.startswith("layer.weight") or "_l0" in n]
    expected = kind(1.0, tuple(names))(model)
    torch.testing.assert_close(overlapping, expected)
    assert len(names) == 6


@both
def test_all_weights_are_the_default_and_frozen_ones_are_left_out(kind):
    model = build()
    model.layer.requires_grad_(False)
    expected = sum(VALUE[kind](w).sum() for w in model.head.parameters())
    torch.testing.assert_close(kind(1.0)(model), expected)
    with pytest.raises(SettingError, match=r"'weight_hh', found only head\.weight, head\.bias"):
        kind(1.0, "weight_hh")(model)


def test_groups_that_match_nothing_are_refused_with_the_names_there_are():
    with pytest.raises(
        SettingError, match=r"'weigth', found only layer\.weight_ih_l0, .*head\.bias"
    ):
        weights_in(build(), ("head", "weigth"))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "a"])
@both
def test_bad_strengths_are_refused(kind, bad):
    with pytest.raises(SettingError, match="strength"):
        kind(bad)


@pytest.mark.parametrize("bad", [(), "", ("bias", ""), (1,)])
@both
def test_bad_groups_are_refused(kind, bad):
    with pytest.raises(SettingError, match="weight groups"):
        kind(1.0, bad)


@both
def test_members_have_a_penalty_each(kind):
    ensemble = Ensemble(build_net, members=3)
    penalty = kind(0.3, ("weight_hh", "head.*", "layer.bias_*_l0"))
    values = penalty(ensemble)
    alone = [penalty(ensemble.member(e)) for e in range(3)]
    torch.testing.assert_close(values, torch.stack(alone))


def build_net():
    return Net().double()


def update(model, data, penalties):
    settings = TrainingSettings(max_updates=1, penalties=penalties)
    generator = torch.Generator().manual_seed(0)
    run = Run(
        model,
        losses.mse,
        settings,
        ExampleSource(model, data, None, settings, generator),
        generator,
    )
    told = run.update()
    return run.matrix.gradient(), told


@both
def test_training_adds_the_gradient_and_tells_the_loss_of_the_data(kind):
    plain, told = update(Net(), waves(), ())
    both, told_too = update(Net(), waves(), (kind(0.2, "weight_hh"), kind(0.1, "head.weight")))
    model = Net()
    expected = [
        0.2 * SLOPE[kind](w)
        if "weight_hh" in name
        else 0.1 * SLOPE[kind](w)
        if name == "head.weight"
        else torch.zeros_like(w)
        for name, w in model.named_parameters()
    ]
    expected = torch.cat([e.detach().flatten() for e in expected])
    torch.testing.assert_close((both - plain)[0], expected, rtol=1e-4, atol=1e-6)
    assert told_too.loss == told.loss
    assert told_too.grad_norm == pytest.approx(both.norm().item())


@both
def test_members_of_any_ensemble_learn_from_their_own(kind):
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(1)).double()
    data, lines = TensorExamples(x, x[:, :1]), Lines()
    before = lines.weight.detach().clone()
    plain, _ = update(Lines(), data, ())
    both, _ = update(lines, data, (kind(0.2, "weight"),))
    expected = 0.2 * SLOPE[kind](before).flatten(1)
    torch.testing.assert_close((both - plain)[:, :2], expected)
    torch.testing.assert_close(both[:, 2:], plain[:, 2:])


def test_a_strong_lasso_empties_what_nothing_needs():
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    data = TensorExamples(x, x[:, :1])
    line = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Unflatten(-1, (1, 1)))
    settings = TrainingSettings(
        max_updates=400, learning_rate=0.02, schedule="cosine", penalties=(L1(0.1, "weight"),)
    )
    Trainer(line, losses.mse, settings).fit(data)
    used, idle = line[0].weight[0].tolist()
    # the minimum of E (w - 1)² x² + λ |w| is at 1 - λ / (2 E x²)
    assert used == pytest.approx(1 - 0.05 / x[:, 0].square().mean().item(), abs=0.05)
    assert abs(idle) < 0.01


def test_sequences_are_penalised_too():
    model = SequenceNet()
    settings = TrainingSettings(
        max_updates=200, learning_rate=0.02, schedule="cosine", penalties=(L2(10.0, "weight_hh"),)
    )
    Trainer(model, losses.mse, settings).fit_sequence(*sequence())
    assert model.layer.weight_hh_l0.abs().max() < 0.02
