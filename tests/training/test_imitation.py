"""A net that has imitated forecasts as its teacher does, and learns on from there."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_cases import Lines, Net, Writer

from throughtime import DataError, SettingError
from throughtime.nn import (
    Ensemble,
    GaussianHead,
    PointHead,
    QuantileHead,
    Recurrence,
    SequenceInput,
)
from throughtime.training import (
    Forcing,
    History,
    LinearTeacher,
    SeasonalTeacher,
    TensorExamples,
    Trainer,
    TrainingSettings,
    imitate,
    losses,
)
from throughtime.training.imitation import TaughtExamples, explained

L, SEASON = 12, 6
QUICK = TrainingSettings(max_updates=400, batch_size=32, learning_rate=0.02, schedule="one-cycle")


def series(length=240, seed=0):
    """A season, an autoregression, and noise."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(length, generator=g)
    y = torch.zeros(length)
    for t in range(1, length):
        y[t] = 0.6 * y[t - 1] + 0.4 * noise[t]
    return torch.sin(2 * math.pi * torch.arange(length) / SEASON) + 0.3 * y


def windows(h=2, values=None):
    values = series() if values is None else values
    pieces = values.unfold(0, L + h, 1)
    return TensorExamples(pieces[:, :L, None].contiguous(), pieces[:, L:].contiguous())


def autoregression(h=2):
    """Fit h steps ahead by least squares: A [h, L]."""
    examples = windows(h)
    x, y = examples.inputs[..., 0].double().numpy(), examples.targets.double().numpy()
    return np.linalg.lstsq(x, y, rcond=None)[0].T


def net(head=PointHead, h=2, seed=0, cell="gru"):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SequenceInput(1, Recurrence(cell, 16), head(16, h))


TEACHERS = {
    "linear": lambda: LinearTeacher(autoregression()),
    "seasonal": lambda: SeasonalTeacher(SEASON, 2),
    "any function": lambda: lambda x: torch.tanh(x[:, -2:, 0]) + torch.tensor([0.0, 3.0]),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_net_forecasts_as_its_teacher_does(name):
    model, teacher, examples = net(), TEACHERS[name](), windows()
    imitation = imitate(model, teacher, examples, QUICK)
    assert imitation.explained > 0.95
    assert len(imitation.history.updates) == 400
    model.eval()
    with torch.no_grad():
        said, taught = model(examples.inputs)[..., 0], teacher(examples.inputs)
    errors = (said - taught).double().square().sum()
    spread = (taught - taught.mean(0)).double().square().sum()
    assert imitation.explained == pytest.approx(1 - float(errors / spread), abs=1e-6)


def test_training_goes_on_from_there():
    examples, settings = windows(), TrainingSettings(max_updates=20, learning_rate=1e-3)
    fresh, taught = net(), net()
    imitate(taught, LinearTeacher(autoregression()), examples, QUICK)
    start = Trainer(taught, losses.mse, settings).fit(examples).updates
    cold = Trainer(fresh, losses.mse, settings).fit(examples).updates
    best = TaughtExamples(examples, LinearTeacher(autoregression()))
    _, y = best[torch.arange(len(best))]
    of_the_teacher = (y - examples.targets).square().mean().item()
    assert start[0].loss < 1.2 * of_the_teacher
    assert start[-1].loss <= start[0].loss
    assert cold[-1].loss > 2 * start[0].loss


def test_the_targets_are_not_looked_at():
    weights = []
    for targets in (0.0, math.nan):
        examples = windows()
        examples.targets.fill_(targets)
        model = net()
        few = TrainingSettings(max_updates=5, batch_size=32)
        assert math.isfinite(imitate(model, SeasonalTeacher(SEASON, 2), examples, few).explained)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_no_gradient_runs_through_the_teacher():
    teacher = torch.nn.Linear(L, 2)

    def ask(x):
        assert not torch.is_grad_enabled()
        return teacher(x[..., 0])

    model = net()
    imitate(model, ask, windows(), TrainingSettings(max_updates=3))
    assert teacher.weight.grad is None


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_members_of_an_ensemble_imitate_one_by_one(cell):
    seeds = iter(range(3))
    ensemble = Ensemble(lambda: net(seed=next(seeds), cell=cell), members=3)
    teacher = LinearTeacher(autoregression())
    imitation = imitate(ensemble, teacher, windows(), QUICK)
    assert imitation.explained > 0.95
    each = [explained(ensemble.member(e), TaughtExamples(windows(), teacher)) for e in range(3)]
    assert imitation.explained == pytest.approx(sum(each) / 3, abs=1e-6)


def test_a_decoder_imitates_and_may_be_forced():
    examples = windows(3)
    examples = TensorExamples(examples.inputs, examples.targets[..., None])
    settings = TrainingSettings(
        max_updates=300, learning_rate=0.03, schedule="one-cycle", forcing=Forcing("linear")
    )
    imitation = imitate(Writer(seed=1), SeasonalTeacher(SEASON, 3), examples, settings)
    assert imitation.explained > 0.9


@pytest.mark.parametrize(
    ("head", "loss"),
    [(GaussianHead, losses.gaussian_nll), (QuantileHead, losses.Quantile((0.1, 0.5, 0.9)))],
)
def test_a_head_of_several_parameters_says_which_is_the_forecast(head, loss):
    model, teacher = net(head), SeasonalTeacher(SEASON, 2)
    imitation = imitate(model, teacher, windows(), QUICK, loss=loss, point=model.head.point)
    assert imitation.explained > 0.9
    with pytest.raises(DataError, match=r"point=head\.point"):
        imitate(model, teacher, windows(), TrainingSettings(max_updates=1), loss=loss)


def test_observers_are_told():
    watcher = History()
    few = TrainingSettings(max_updates=3)
    imitation = imitate(net(), SeasonalTeacher(SEASON, 2), windows(), few, [watcher])
    assert watcher == imitation.history


def test_nothing_is_explained_of_a_teacher_that_says_one_thing():
    few = TrainingSettings(max_updates=1)
    said = imitate(net(), lambda x: torch.ones(len(x), 2), windows(), few)
    assert math.isnan(said.explained)


def test_several_inputs_go_to_the_teacher_one_by_one():
    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, a, b):
            return (self.weight * (a + b)).unsqueeze(-1)

    class Pairs(TensorExamples):
        def __getitem__(self, index):
            inputs, targets = super().__getitem__(index)
            return (inputs[:, :1], inputs[:, 1:]), targets

    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    model = Sum()
    settings = TrainingSettings(max_updates=200, learning_rate=0.1)
    imitation = imitate(model, lambda a, b: 3 * a + 3 * b, Pairs(x, x[:, :1]), settings)
    assert model.weight.item() == pytest.approx(3, abs=0.01)
    assert imitation.explained > 0.999


def test_an_ensemble_without_layers_of_ours_imitates_too():
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    settings = TrainingSettings(max_updates=300, learning_rate=0.05)
    imitation = imitate(
        Lines(), LinearTeacher([[1.0, -2.0]]), TensorExamples(x, x[:, :1]), settings
    )
    assert imitation.explained > 0.999


# Teachers

sizes = {"length": st.integers(2, 8), "h": st.integers(1, 5), "B": st.integers(1, 4)}


@given(**sizes)
def test_the_linear_teacher_is_a_matrix(length, h, B):
    g = torch.Generator().manual_seed(length)
    A, x = torch.randn(h, length, generator=g), torch.randn(3, B, length, generator=g)
    expected = torch.einsum("hl,ebl->ebh", A, x)
    for given_A in (A, A.numpy(), A.tolist()):
        torch.testing.assert_close(LinearTeacher(given_A)(x), expected)
        torch.testing.assert_close(LinearTeacher(given_A)(x[..., None]), expected)
        torch.testing.assert_close(LinearTeacher(given_A)(x[0, 0]), expected[0, 0])


@given(season=st.integers(1, 6), more=st.integers(0, 5), h=st.integers(1, 15))
def test_the_seasonal_teacher_goes_on_with_a_periodic_series(season, more, h):
    season_values = torch.randn(season, generator=torch.Generator().manual_seed(season))
    length = max(2, season + more)
    whole = season_values.repeat(length + h)[: length + h]
    x = whole[:length].expand(3, 2, -1)
    teacher = SeasonalTeacher(season, h)
    assert torch.equal(teacher(x), whole[length:].expand(3, 2, -1))
    assert torch.equal(teacher(x[..., None]), whole[length:].expand(3, 2, -1))


BAD = [
    (lambda: LinearTeacher(torch.zeros(3)), DataError, r"matrix A \[h, L\]"),
    (lambda: LinearTeacher(torch.zeros(2, 4))(torch.zeros(1, 5, 1)), DataError, "windows of 4"),
    (lambda: SeasonalTeacher(4, 2)(torch.zeros(1, 3, 1)), DataError, "one season, 4"),
    (lambda: SeasonalTeacher(0, 2), SettingError, "season"),
    (lambda: SeasonalTeacher(4, 0), SettingError, "h to be"),
    (
        lambda: imitate(Net(), SeasonalTeacher(2, 5), windows(1), QUICK),
        DataError,
        "answers of the targets' shape",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_what_makes_no_sense_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
