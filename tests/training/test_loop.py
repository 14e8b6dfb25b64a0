import math
from dataclasses import replace

import pytest
import torch
from training_cases import Lines, Net, SequenceNet, same, sequence, waves, weights_of

from throughtime import DataError, DivergedError, SettingError
from throughtime.training import (
    Clip,
    Observer,
    TensorExamples,
    Trainer,
    TrainingSettings,
    Truncation,
    losses,
    sources,
)

QUICK = TrainingSettings(max_updates=12, batch_size=7, learning_rate=0.01, evaluate_every=3)


def fit(settings=QUICK, model=None, validation=True, **extra):
    model = model or Net(dropout=0.3)
    trainer = Trainer(model, losses.mse, settings, **extra)
    history = trainer.fit(waves(), waves(10, seed=1) if validation else None)
    return model, history


class Watcher(Observer):
    """Writes down what it is told and may act at an update."""

    def __init__(self, at=None, act=None):
        self.told, self.at, self.act = [], at, act

    def on_start(self, name, total):
        self.told.append(("start", name, total))

    def on_update(self, update):
        self.told.append(("update", update.index))
        if update.index == self.at:
            self.act()

    def on_evaluation(self, evaluation):
        self.told.append(("evaluation", evaluation.index))

    def on_end(self, reason):
        self.told.append(("end", reason))


def interrupt():
    raise KeyboardInterrupt


def test_a_plain_loop_of_torch_gives_the_same_weights():
    settings = TrainingSettings(
        max_updates=15, learning_rate=0.02, weight_decay=0.1, clip=Clip(0.1)
    )
    ours, theirs, data = SequenceNet().double(), SequenceNet().double(), waves()
    x, y = data.inputs.double(), data.targets.double().unsqueeze(1).expand(-1, 8, 1)

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ours

        def forward(self, x):
            return self.net(x)[0]

    history = Trainer(Outputs(), losses.mse, settings).fit(TensorExamples(x, y))
    assert {update.clipped for update in history.updates} == {True, False}
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.02, weight_decay=0.1)
    for _ in range(15):
        optimiser.zero_grad()
        ((theirs(x)[0][..., 0] - y) ** 2).mean().backward()
        norm = math.sqrt(sum((p.grad**2).sum().item() for p in theirs.parameters()))
        for p in theirs.parameters():
            p.grad *= min(1, 0.1 / norm)
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_learning_a_wave_lowers_the_loss():
    _, history = fit(replace(QUICK, max_updates=300, learning_rate=0.02), Net())
    assert history.updates[-1].loss < 0.1 * history.updates[0].loss
    assert history.reason == "all 300 updates made"


def test_one_seed_gives_one_result_whatever_the_global_generator_is_at():
    torch.manual_seed(1)
    a, history_a = fit()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    b, history_b = fit()
    assert torch.equal(torch.get_rng_state(), state)
    assert same(weights_of(a), weights_of(b))
    assert history_a == history_b
    c, _ = fit(replace(QUICK, seed=1))
    assert not same(weights_of(a), weights_of(c))


def test_observers_are_told_in_order_and_history_is_carried():
    watcher = Watcher()
    _, history = fit(replace(QUICK, max_updates=4), observers=[watcher])
    assert watcher.told == [
        ("start", "training", 4),
        *(("update", k) for k in range(3)),
        ("evaluation", 3),
        ("update", 3),
        ("evaluation", 4),
        ("end", "all 4 updates made"),
    ]
    assert [u.index for u in history.updates] == [0, 1, 2, 3]
    assert all(u.threshold == 1.0 and u.total == 4 for u in history.updates)


@pytest.mark.parametrize("average", [None, 0.9])
def test_the_best_validated_weights_are_left(average):
    settings = replace(QUICK, max_updates=40, learning_rate=0.1, average=average)
    model, data = Net(dropout=0.3), waves(10, seed=1)
    opposite = TensorExamples(data.inputs, -data.targets)  # learning makes these worse
    history = Trainer(model, losses.mse, settings).fit(waves(), opposite)
    best = min(e.loss for e in history.evaluations)
    assert history.evaluations[-1].loss > best
    assert history.best_index < 40
    model.eval()
    with torch.no_grad():
        left = losses.mse(model(opposite.inputs), opposite.targets).item()
    assert left == pytest.approx(best, rel=1e-6)


def test_patience_ends_training():
    settings = replace(QUICK, max_updates=500, learning_rate=0.3, patience=2)
    _, history = fit(settings)
    assert history.reason == "no better validation loss in 2 looks"
    assert [e.best for e in history.evaluations][-3:] == [True, False, False]
    assert len(history.updates) == history.best_index + 2 * 3


def test_the_average_follows_its_equation():
    model = Net()
    seen = []
    settings = replace(QUICK, average=0.5, batch_size=None)
    watcher = Watcher()
    watcher.on_update = lambda u: seen.append(model.head.weight.detach().clone())
    start = model.head.weight.detach().clone()
    fit(settings, model, validation=False, observers=[watcher])
    average = start
    for k, weight in enumerate(seen):
        d = min(0.5, (1 + k) / (10 + k))
        average = d * average + (1 - d) * weight
    torch.testing.assert_close(model.head.weight.detach(), average)


def test_modes_are_put_back_and_dropout_is_on_while_training_only():
    model = Net(dropout=0.5)
    model.eval()
    model.layer.train()
    modes = []
    model.dropout.register_forward_hook(lambda m, *_: modes.append(m.training))
    fit(replace(QUICK, max_updates=3), model)
    assert modes == [True, True, True, False]
    assert not model.norm.training
    assert model.layer.training


def test_the_learning_rate_follows_the_schedule():
    _, history = fit(replace(QUICK, schedule="cosine", warm_up=2))
    rates = [u.learning_rate for u in history.updates]
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert rates[-1] < 0.001


# Ensembles


def line_data(seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 2, generator=g).double()
    return TensorExamples(x, x.sum(1, keepdim=True))


class OneLine(torch.nn.Module):
    def __init__(self, lines, e):
        super().__init__()
        self.weight = torch.nn.Parameter(lines.weight[e].detach().clone())
        self.bias = torch.nn.Parameter(lines.bias[e].detach().clone())

    def forward(self, x):
        return (x @ self.weight + self.bias).unsqueeze(-1)


@pytest.mark.parametrize("clip", [Clip(norm=0.5), Clip(value=0.1), Clip()])
def test_each_member_learns_as_if_trained_alone(clip):
    settings = TrainingSettings(
        max_updates=25, learning_rate=0.05, clip=clip, average=0.9, weight_decay=0.01
    )
    lines = Lines()
    singles = [OneLine(lines, e) for e in range(3)]
    history = Trainer(lines, losses.mse, settings).fit(line_data())
    alone = [Trainer(single, losses.mse, settings).fit(line_data()) for single in singles]
    for e, single in enumerate(singles):
        torch.testing.assert_close(lines.weight[e], single.weight, rtol=1e-10, atol=1e-12)
    for k, update in enumerate(history.updates):
        assert update.loss == pytest.approx(sum(h.updates[k].loss for h in alone) / 3)
        assert update.grad_norm == pytest.approx(sum(h.updates[k].grad_norm for h in alone) / 3)
        assert update.clipped == any(h.updates[k].clipped for h in alone)


def test_members_learn_from_batches_of_their_own():
    asked = []

    class Asked(TensorExamples):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    data = line_data()
    settings = TrainingSettings(max_updates=2, batch_size=6, evaluate_every=2)
    history = Trainer(Lines(), losses.mse, settings).fit(Asked(data.inputs, data.targets), data)
    assert [tuple(i.shape) for i in asked] == [(3, 6), (3, 6)]
    assert not torch.equal(asked[0][0], asked[0][1])
    assert len(history.evaluations) == 1


def test_validation_of_an_ensemble_is_the_mean_over_members():
    lines, data = Lines(), line_data()
    history = Trainer(lines, losses.mae, TrainingSettings(max_updates=1)).fit(data, data)
    with torch.no_grad():
        outputs = lines(data.inputs.expand(3, -1, -1))
    each = [losses.mae(outputs[e], data.targets).item() for e in range(3)]
    assert history.evaluations[0].loss == pytest.approx(sum(each) / 3)


def test_large_validation_parts_are_measured_whole():
    model = Net()
    big = waves(2500)
    big.targets[::3] = math.nan
    history = Trainer(model, losses.mse, replace(QUICK, max_updates=1)).fit(waves(), big)
    model.eval()
    with torch.no_grad():
        expected = losses.mse(model(big.inputs), big.targets).item()
    assert history.evaluations[0].loss == pytest.approx(expected, rel=1e-5)


class Sum(torch.nn.Module):
    """A model of two inputs."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, a, b):
        return (self.weight * (a + b)).unsqueeze(-1)


class Pairs(TensorExamples):
    def __getitem__(self, index):
        inputs, targets = super().__getitem__(index)
        return (inputs[:, :1], inputs[:, 1:]), targets


def test_a_model_may_take_several_inputs():
    data, model = line_data(), Sum()
    pairs = Pairs(data.inputs, data.targets)
    Trainer(model, losses.mse, TrainingSettings(max_updates=200, learning_rate=0.1)).fit(
        pairs, pairs
    )
    assert model.weight.item() == pytest.approx(1, abs=1e-3)


# Sequences


@pytest.mark.parametrize("truncation", [None, Truncation(7), Truncation(7, 20)])
def test_sequences_are_walked_again_and_again(truncation):
    settings = TrainingSettings(
        max_updates=40, learning_rate=0.02, truncation=truncation, evaluate_every=10
    )
    model, (x, y) = SequenceNet(), sequence()
    history = Trainer(model, losses.mse, settings).fit_sequence(x, y, (x, y))
    assert len(history.updates) == 40
    assert history.evaluations[-1].loss < history.evaluations[0].loss
    with torch.no_grad():
        outputs, _ = model(x)
    assert losses.mse(outputs, y).item() == pytest.approx(
        min(e.loss for e in history.evaluations), rel=1e-5
    )


def test_truncated_updates_are_those_of_a_loop_by_hand():
    settings = TrainingSettings(max_updates=8, learning_rate=0.02, truncation=Truncation(20))
    ours, theirs, (x, y) = SequenceNet().double(), SequenceNet().double(), sequence(60)
    x, y = x.double(), y.double()
    Trainer(ours, losses.mse, settings).fit_sequence(x, y)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.02, weight_decay=0)
    state = None
    for k in range(8):
        begin = 20 * (k % 3)
        state = tuple(s.detach() for s in state) if begin else None
        outputs, state = theirs(x[:, begin : begin + 20], state)
        optimiser.zero_grad()
        ((outputs[..., 0] - y[:, begin : begin + 20]) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


class Stack(torch.nn.Module):
    """An ensemble of vanilla nets with the members in front, or one of them."""

    def __init__(self, weights, members=None):
        super().__init__()
        self.members = members
        self.u = torch.nn.Parameter(weights.clone())

    def forward(self, x, state):
        h = torch.zeros_like(x.select(-2, 0)) if state is None else state
        outputs = []
        for x_t in x.unbind(-2):
            h = torch.tanh(x_t + h @ self.u)
            outputs.append(h)
        return torch.stack(outputs, -2).unsqueeze(-1), h


def test_members_learn_from_sequences_as_if_trained_alone():
    settings = TrainingSettings(
        max_updates=12, learning_rate=0.05, truncation=Truncation(7, 12), evaluate_every=12
    )
    x, y = (tensor.double() for tensor in sequence())
    weights = torch.tensor([0.1, 0.9, -0.5]).double().reshape(3, 1, 1)
    stack = Stack(weights, members=3)
    history = Trainer(stack, losses.mse, settings).fit_sequence(x, y, (x, y))
    alone = [Stack(weight) for weight in weights]
    runs = [Trainer(net, losses.mse, settings).fit_sequence(x, y, (x, y)) for net in alone]
    torch.testing.assert_close(stack.u, torch.stack([net.u for net in alone]))
    mean = sum(run.evaluations[0].loss for run in runs) / 3
    assert history.evaluations[0].loss == pytest.approx(mean)


# What breaks


class Broken(torch.nn.Module):
    """Straight line whose loss becomes NaN once its weight has passed a limit."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        good = self.weight < self.limit
        return torch.where(good, self.weight * x, torch.nan).unsqueeze(-1)


def test_a_loss_that_diverges_names_the_update_and_leaves_the_weights_before():
    model, data = Broken(2.5), TensorExamples(torch.ones(4, 1), torch.full((4, 1), 100.0))
    settings = TrainingSettings(max_updates=99, learning_rate=1.0)
    watcher = Watcher()
    trainer = Trainer(model, losses.mse, settings, [watcher])
    with pytest.raises(
        DivergedError, match=r"update 3, found loss nan, first not finite: outputs"
    ) as caught:
        trainer.fit(data)
    assert "last gradient norm before: 196" in str(caught.value)
    assert "lower learning_rate from 1 to 0.1" in str(caught.value)
    assert model.weight.item() == pytest.approx(2.0, abs=1e-3)
    assert watcher.told[-1] == ("end", "diverged at update 3")
    assert len(trainer.history.updates) == 3


@pytest.mark.parametrize("average", [None, 0.5])
def test_divergence_leaves_the_best_validated_weights(average):
    model, data = Broken(5.5), TensorExamples(torch.ones(4, 1), torch.full((4, 1), 100.0))
    near_two = TensorExamples(torch.ones(4, 1), torch.full((4, 1), 2.0))
    settings = TrainingSettings(
        max_updates=99, learning_rate=1.0, evaluate_every=1, average=average
    )
    trainer = Trainer(model, losses.mse, settings)
    with pytest.raises(DivergedError):
        trainer.fit(data, near_two)
    best = min(e.loss for e in trainer.history.evaluations)
    assert (model.weight.item() - 2) ** 2 == pytest.approx(best, abs=1e-5)


class RootNet(torch.nn.Module):
    """Finite loss, infinite gradient: a root at zero."""

    def __init__(self):
        super().__init__()
        self.fine = torch.nn.Parameter(torch.ones(1))
        self.root = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return (self.fine * x + self.root.sqrt()).unsqueeze(-1)


def test_a_gradient_that_is_not_finite_names_its_parameter():
    model, data = RootNet(), TensorExamples(torch.ones(4, 1), torch.zeros(4, 1))
    with pytest.raises(DivergedError, match=r"update 0, .*gradient of root.*before: none"):
        Trainer(model, losses.mse, TrainingSettings(clip=Clip())).fit(data)
    assert model.fine.item() == 1
    assert model.root.item() == 0


def test_data_that_are_not_finite_are_named_and_no_weight_is_lost():
    data = waves()
    data.inputs[3, 2] = math.nan
    with pytest.raises(DivergedError, match=r"first not finite: inputs.*fill or leave out"):
        Trainer(Net(), losses.mse, TrainingSettings()).fit(data)
    data = waves()
    data.targets[3] = math.nan
    plain = lambda params, y: ((params[..., 0] - y) ** 2).mean()  # noqa: E731
    with pytest.raises(DivergedError, match=r"first not finite: targets.*mark gaps as NaN"):
        Trainer(Net(), plain, TrainingSettings()).fit(data)
    history = Trainer(Net(), losses.mse, TrainingSettings(max_updates=3)).fit(data)
    assert len(history.updates) == 3


def test_a_validation_loss_that_is_not_finite_is_not_passed_over():
    bad = waves(10, seed=1)
    bad.inputs[0] = math.nan
    with pytest.raises(DivergedError, match=r"the validation after update 2.* finite: inputs"):
        Trainer(Net(), losses.mse, QUICK).fit(waves(), bad)
    model, data = Broken(2.5), TensorExamples(torch.ones(4, 1), torch.full((4, 1), 100.0))
    settings = TrainingSettings(max_updates=3, learning_rate=1.0)
    with pytest.raises(DivergedError, match=r"the validation after update 2.* finite: outputs"):
        Trainer(model, losses.mse, settings).fit(data, data)
    assert model.weight.item() == pytest.approx(2.0, abs=1e-3)


def test_gaps_in_the_targets_are_not_to_blame_for_a_gradient():
    data = TensorExamples(torch.ones(4, 1), torch.tensor([[0.0], [0.0], [math.nan], [0.0]]))
    with pytest.raises(DivergedError, match="gradient of root"):
        Trainer(RootNet(), losses.mse).fit(data)


@pytest.mark.parametrize("validation", [True, False])
def test_an_interruption_ends_cleanly(validation):
    model = Net()
    weights = {}
    watcher = Watcher(at=7, act=interrupt)
    keep = Watcher(at=5, act=lambda: weights.update(weights_of(model)))
    settings = replace(QUICK, learning_rate=1e-4)
    _, history = fit(settings, model, validation, observers=[keep, watcher])
    assert history.reason == "interrupted"
    assert watcher.told[-1] == ("end", "interrupted")
    assert len(history.updates) == 8
    if validation:
        assert history.best_index == 6
        assert same(weights_of(model), weights)
    assert all(p.grad is None for p in model.parameters())


def test_an_error_of_the_users_own_is_passed_on():
    watcher = Watcher(at=2, act=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(observers=[watcher])
    assert watcher.told[-1] == ("end", "failed")


NONSENSE = [
    (lambda: fit(replace(QUICK, patience=2), validation=False), "validation part"),
    (lambda: fit(replace(QUICK, truncation=Truncation(2))), "fit_sequence"),
    (lambda: Trainer(SequenceNet(), losses.mse, QUICK).fit_sequence(*sequence()), "batch_size"),
    (
        lambda: Trainer(Net(), lambda p, y: (p[..., 0] - y) ** 2, QUICK).fit(waves()),
        "a scalar",
    ),
]


@pytest.mark.parametrize(("call", "words"), NONSENSE)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(SettingError, match=words):
        call()


def test_a_model_must_have_parameters_of_the_right_kind():
    frozen = Net().requires_grad_(False)
    with pytest.raises(DataError, match="trainable parameters"):
        Trainer(frozen, losses.mse).fit(waves())
    lines = Lines()
    lines.extra = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(DataError, match="leading axis of 3 members"):
        Trainer(lines, losses.mse).fit(line_data())


def test_frozen_parameters_stay_and_unused_ones_do_no_harm():
    model = Net()
    model.head.requires_grad_(False)
    model.unused = torch.nn.Parameter(torch.ones(2))
    before = weights_of(model)
    fit(QUICK, model)
    assert torch.equal(model.head.weight, before["head.weight"])
    assert torch.equal(model.unused, before["unused"])
    assert not torch.equal(model.layer.weight_hh_l0, before["layer.weight_hh_l0"])


@pytest.mark.parametrize("stop", [5, 9])
def test_batches_that_are_read_together_teach_what_they_do_alone(monkeypatch, stop):
    asked = []

    class Asked(TensorExamples):
        def __getitem__(self, index):
            asked.append(index.shape[-1])
            return super().__getitem__(index)

    def trained():
        asked.clear()
        torch.manual_seed(0)
        lines, data = Lines(), line_data()
        settings = TrainingSettings(max_updates=stop, batch_size=6)
        Trainer(lines, losses.mse, settings).fit(Asked(data.inputs, data.targets))
        return torch.cat([p.flatten() for p in lines.parameters()])

    together = trained()
    assert max(asked) > 6
    assert sum(asked) == 6 * stop
    monkeypatch.setattr(sources, "MOST_NUMBERS", 1)
    alone = trained()
    assert asked == [6] * stop
    assert torch.equal(together, alone)
