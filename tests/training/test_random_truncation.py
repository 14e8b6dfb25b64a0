"""Cuts at random, made up for: the expectation over all patterns of cuts is the full gradient."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_cases import SequenceNet, sequence

from throughtime import SettingError
from throughtime.nn import Ensemble, PointHead, Recurrence, SyncedSequence
from throughtime.training import (
    RandomTruncation,
    Trainer,
    TrainingSettings,
    Truncation,
    losses,
    reaches,
)
from throughtime.training.run import Run
from throughtime.training.sources import SequenceSource

B, T, FEATURES, H = 2, 9, 3, 4


class CellLoop(torch.nn.Module):
    """A user's own loop: the last output and the state are one tensor."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.GRUCell(FEATURES, H)

    def forward(self, x, state):
        h = x.new_zeros(len(x), H) if state is None else state[0][0]
        outputs = []
        for x_t in x.unbind(1):
            h = self.cell(x_t, h)
            outputs.append(h)
        return torch.stack(outputs, 1), ((h,), None)


MODELS = {
    "rnn": lambda: torch.nn.RNN(FEATURES, H, batch_first=True),
    "lstm": lambda: torch.nn.LSTM(FEATURES, H, num_layers=2, batch_first=True),
    "loop": CellLoop,
}


def build(kind):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = MODELS[kind]().double()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.7)
        return model, torch.randn(B, T, FEATURES).double(), torch.randn(B, T, H).double()


def squares(outputs, targets):
    return ((outputs - targets) ** 2).sum()


def gradient(model):
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return flat


def full(model, inputs, targets):
    squares(model(inputs, None)[0], targets).backward()
    return gradient(model)


def walk(model, inputs, targets, truncation, pattern, monkeypatch):
    """Sum the gradients of all reaches, the cuts falling as `pattern` says."""
    coins = iter(pattern)
    monkeypatch.setattr(RandomTruncation, "cuts", lambda self, generator: next(coins))
    walked = list(reaches(model, inputs, targets, truncation))
    for reach in walked:
        squares(reach.outputs, reach.targets).backward()
    assert next(coins, None) is None
    return gradient(model), walked


@pytest.mark.parametrize(("k1", "cut"), [(1, 0.5), (2, 0.3), (3, 0.9), (4, 0.01), (9, 0.5)])
@pytest.mark.parametrize("kind", MODELS)
def test_the_expected_gradient_is_that_of_full_bptt(kind, k1, cut, monkeypatch):
    model, inputs, targets = build(kind)
    boundaries = len(range(k1, T, k1))
    expected = torch.zeros_like(full(model, inputs, targets))
    worst = 0.0
    wanted = full(model, inputs, targets)
    for pattern in product([True, False], repeat=boundaries):
        probability = cut ** sum(pattern) * (1 - cut) ** (boundaries - sum(pattern))
        found, _ = walk(model, inputs, targets, RandomTruncation(k1, cut), pattern, monkeypatch)
        expected += probability * found
        worst = max(worst, (found - wanted).norm().item())
    torch.testing.assert_close(expected, wanted, rtol=1e-12, atol=1e-12 * wanted.abs().max().item())
    assert boundaries == 0 or worst > 1e-3 * wanted.norm()


def test_fixed_truncation_is_biased():
    model, inputs, targets = build("rnn")
    wanted = full(model, inputs, targets)
    for reach in reaches(model, inputs, targets, Truncation(2)):
        squares(reach.outputs, reach.targets).backward()
    assert (gradient(model) - wanted).norm() > 0.05 * wanted.norm()


@pytest.mark.parametrize("kind", MODELS)
@given(pattern=st.lists(st.booleans(), min_size=4, max_size=4))
def test_outputs_are_those_of_one_pass_and_reaches_lie_between_cuts(kind, pattern):
    model, inputs, targets = build(kind)
    with pytest.MonkeyPatch.context() as patch:
        _, walked = walk(model, inputs, targets, RandomTruncation(2, 0.5), pattern, patch)
    torch.testing.assert_close(torch.cat([r.outputs for r in walked], 1), model(inputs, None)[0])
    assert torch.equal(torch.cat([r.targets for r in walked], 1), targets)
    ends = [2 * (i + 1) for i, cut in enumerate(pattern) if cut]
    assert [r.stop for r in walked] == [*ends, T]
    assert [r.start for r in walked] == [r.learn_from for r in walked] == [0, *ends]


def test_coins_fall_as_often_as_they_should():
    truncation, g = RandomTruncation(1, 0.25), torch.Generator().manual_seed(0)
    heads = sum(truncation.cuts(g) for _ in range(2000))
    assert heads == pytest.approx(500, abs=5 * (2000 * 0.25 * 0.75) ** 0.5)


def test_reaches_are_as_long_as_promised():
    x = torch.zeros(1, 4000, 1)
    truncation, g = RandomTruncation(2, 0.2), torch.Generator().manual_seed(0)
    walked = list(reaches(lambda x, state: (x, state), x, x, truncation, generator=g))
    lengths = [r.stop - r.start for r in walked]
    assert sum(lengths) / len(lengths) == pytest.approx(truncation.mean_reach, rel=0.2)


def test_one_generator_gives_one_walk_from_any_position():
    model, inputs, targets = build("lstm")
    truncation, g = RandomTruncation(1, 0.4), torch.Generator().manual_seed(3)
    walked, states = [], []
    for reach in reaches(model, inputs, targets, truncation, generator=g):
        walked.append(reach)
        states.append(g.get_state())
    assert 2 < len(walked) < T
    for i, reach in enumerate(walked):
        g.set_state(states[i])
        again = reaches(model, inputs, targets, truncation, reach.position, generator=g)
        for a, b in zip(again, walked[i + 1 :], strict=True):
            assert torch.equal(a.outputs, b.outputs)


def trained_gradients(model, x, y, settings):
    """Return the gradients of every update over the sequence once, the weights held still."""
    generator = torch.Generator().manual_seed(settings.seed)
    source = SequenceSource(model, (x, y), None, settings)
    run = Run(model, losses.mse, settings, source, generator)
    found = []
    while not found or source.position.stop < x.shape[1]:
        run.update()
        found.append(run.matrix.gradient())
        run.matrix.assign(run.before)
        run.weights = run.before
    return found


def test_the_trainers_updates_are_parts_of_one_sum(monkeypatch):
    x, y = (tensor[:, :8].double() for tensor in sequence())
    settings = TrainingSettings(truncation=RandomTruncation(2, 0.5))
    total = 0.0
    for pattern in product([True, False], repeat=3):
        coins = iter(pattern)
        monkeypatch.setattr(RandomTruncation, "cuts", lambda self, g, coins=coins: next(coins))
        total = total + sum(trained_gradients(SequenceNet().double(), x, y, settings)) / 8
    model = SequenceNet().double()
    (losses.mse(model(x)[0], y) * 8 / 4).backward()  # the mean over 8 steps, of reaches of 4
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(total[0], wanted, rtol=1e-10, atol=1e-12)


def test_members_walk_together_and_learn_as_if_alone():
    def synced():
        return SyncedSequence(1, Recurrence("gru", 4), PointHead(4)).double()

    ensemble = Ensemble(synced, members=3)
    singles = [ensemble.member(e) for e in range(3)]
    x, y = (tensor.double() for tensor in sequence(20))
    settings = TrainingSettings(max_updates=9, truncation=RandomTruncation(3, 0.5))
    Trainer(ensemble, losses.mse, settings).fit_sequence(x, y)
    for e, single in enumerate(singles):
        Trainer(single, losses.mse, settings).fit_sequence(x, y)
        for name, p in single.named_parameters():
            stacked = ensemble.stacked.get_parameter(name)[e]
            torch.testing.assert_close(stacked, p, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "bad",
    [{"k1": 0, "cut": 0.5}, {"k1": 2, "cut": 0.0}, {"k1": 2, "cut": 1.0}, {"k1": 2, "cut": "a"}],
)
def test_bad_truncations_are_refused(bad):
    with pytest.raises(SettingError, match=r"k1|cut"):
        RandomTruncation(**bad)
