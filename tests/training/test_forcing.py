"""Schedules follow their formulas, and a decoder is fed what they say, in training alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_cases import (
    Net,
    SequenceNet,
    Writer,
    same,
    sequence,
    waves,
    weights_of,
    written_waves,
)

from throughtime import SettingError
from throughtime.nn import ClassHead, Ensemble, PointHead, Recurrence, SequenceOutput
from throughtime.nn import SequenceToSequence as Reader
from throughtime.training import Forcing, TensorExamples, Trainer, TrainingSettings, losses

DECAYS = ["all", "none", "linear", "exponential", "inverse-sigmoid"]
totals = st.integers(1, 5000)


@given(total=totals, share=st.floats(0, 1), least=st.floats(0, 1))
def test_decays_are_those_of_bengio_and_others(total, share, least):
    k = int(share * total)
    formulas = {
        "all": 1.0,
        "none": 0.0,
        "linear": max(least, 1 - k / total),
        "exponential": max(least, 0.97**k),
        "inverse-sigmoid": max(least, 9 / (9 + math.exp(min(k / 9, 500)))),
    }
    constants = {"exponential": 0.97, "inverse-sigmoid": 9.0}
    for decay, expected in formulas.items():
        forcing = Forcing(decay, least, constants.get(decay))
        assert forcing(k, total) == pytest.approx(expected, abs=1e-12)


@given(total=totals, decay=st.sampled_from(DECAYS), least=st.floats(0, 1))
def test_it_is_a_probability_that_never_rises(total, decay, least):
    path = [Forcing(decay, least)(k, total) for k in range(0, total, max(1, total // 50))]
    assert all(0 <= p <= 1 for p in path)
    assert path == sorted(path, reverse=True)
    assert decay in ("none",) or min(path) >= least


@given(total=st.integers(2, 100_000))
def test_constants_that_are_not_given_fit_the_length_of_training(total):
    assert Forcing("exponential")(total, total) == pytest.approx(0.01)
    assert Forcing("inverse-sigmoid")(total / 2, total) == pytest.approx(0.5)


BAD = [
    {"decay": "cosine"},
    {"decay": "linear", "least": 1.5},
    {"decay": "exponential", "constant": 1.0},
    {"decay": "exponential", "constant": 0.0},
    {"decay": "inverse-sigmoid", "constant": 0.5},
    {"decay": "linear", "constant": 0.5},
    {"decay": "all", "constant": 2.0},
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_schedules_are_refused(bad):
    with pytest.raises(SettingError, match=r"decay|least|constant"):
        Forcing(**bad)


class Told(Writer):
    """Writes down what it is called with."""

    def __init__(self, **how):
        super().__init__(**how)
        self.told = []

    def forward(self, x, targets=None, forcing=1.0):
        self.told.append((self.training, targets, forcing))
        return super().forward(x, targets, forcing)


def test_training_feeds_the_targets_and_validation_runs_freely():
    model, data = Told(), written_waves()
    settings = TrainingSettings(
        max_updates=4, batch_size=6, evaluate_every=2, forcing=Forcing("linear")
    )
    Trainer(model, losses.mse, settings).fit(data, written_waves(5, seed=1))
    training = [told for told in model.told if told[0]]
    assert [p for _, _, p in training] == [1.0, 0.75, 0.5, 0.25]
    assert all(targets.shape == (6, 3, 1) for _, targets, _ in training)
    looks = [told for told in model.told if not told[0]]
    assert len(looks) == 2
    assert all(targets is None for _, targets, _ in looks)


def test_no_forcing_is_a_decoder_on_its_own():
    settings = TrainingSettings(max_updates=5, batch_size=6)
    free, none = Writer(), Writer()
    Trainer(free, losses.mse, settings).fit(written_waves())
    forced = TrainingSettings(max_updates=5, batch_size=6, forcing=Forcing("none"))
    Trainer(none, losses.mse, forced).fit(written_waves())
    for a, b in zip(free.parameters(), none.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_all_forcing_is_a_net_that_reads_its_targets():
    data, ours, theirs = written_waves(), Writer().double(), Writer().double()
    x, y = data.inputs.double(), data.targets.double()
    settings = TrainingSettings(max_updates=5, learning_rate=0.01, forcing=Forcing("all"))
    Trainer(ours, losses.mse, settings).fit(TensorExamples(x, y))
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0)
    for _ in range(5):
        _, state = theirs.encoder(x)
        fed = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)
        hidden, _ = theirs.decoder(fed, state)
        optimiser.zero_grad()
        ((theirs.head(hidden)[..., 0] - y) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


SCHEDULES = [Forcing("all"), Forcing("linear"), Forcing("exponential", least=0.3)]


@pytest.mark.parametrize("forcing", SCHEDULES)
def test_gaps_in_the_targets_are_fed_as_zeros(forcing):
    data = written_waves()
    data.targets[::3, 1] = math.nan
    settings = TrainingSettings(max_updates=20, learning_rate=0.02, forcing=forcing)
    history = Trainer(Writer(), losses.mse, settings).fit(data)
    assert history.updates[-1].loss < history.updates[0].loss


@pytest.mark.parametrize("forcing", SCHEDULES)
def test_members_of_an_ensemble_are_fed_their_own(forcing):
    ensemble = Ensemble(lambda: Writer(seed=int(torch.randint(99, ()))), members=3)
    settings = TrainingSettings(max_updates=60, learning_rate=0.02, batch_size=8, forcing=forcing)
    history = Trainer(ensemble, losses.mse, settings).fit(written_waves(), written_waves(6, 1))
    assert history.updates[-1].loss < 0.6 * history.updates[0].loss


def test_members_that_are_fed_everything_learn_as_if_alone():
    ensemble = Ensemble(lambda: Writer(seed=int(torch.randint(99, ()))).double(), members=2)
    singles, data = [ensemble.member(e) for e in range(2)], written_waves()
    data = TensorExamples(data.inputs.double(), data.targets.double())
    settings = TrainingSettings(max_updates=9, learning_rate=0.02, forcing=Forcing("all"))
    Trainer(ensemble, losses.mse, settings).fit(data)
    for e, single in enumerate(singles):
        Trainer(single, losses.mse, settings).fit(data)
        for name, p in single.named_parameters():
            stacked = ensemble.stacked.get_parameter(name)[e]
            torch.testing.assert_close(stacked, p, rtol=1e-9, atol=1e-11)


def test_a_decoder_of_one_input_and_one_of_classes_are_fed_too():
    y = torch.randint(4, (10, 3, 1), generator=torch.Generator().manual_seed(0))
    settings = TrainingSettings(max_updates=30, learning_rate=0.05, forcing=Forcing("linear"))
    models = [
        (Reader(1, Recurrence("gru", 5), ClassHead(5, 4), 3), y / 4, y),
        (SequenceOutput(1, Recurrence("gru", 5), ClassHead(5, 4), 3), y[:, 0] / 4, y),
    ]
    for model, x, targets in models:
        history = Trainer(model, losses.cross_entropy, settings).fit(TensorExamples(x, targets))
        assert history.updates[-1].loss < history.updates[0].loss
    model = SequenceOutput(1, Recurrence("rnn", 5), PointHead(5), 3)
    Trainer(model, losses.mse, settings).fit(TensorExamples(y[:, 0] / 4, y / 4))


def test_scheduled_sampling_draws_from_the_seed():
    settings = TrainingSettings(max_updates=6, forcing=Forcing("linear"), seed=1)
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        model = Writer()
        Trainer(model, losses.mse, settings).fit(written_waves())
        runs.append(weights_of(model))
    assert same(*runs)


def test_models_that_cannot_be_fed_are_refused():
    settings = TrainingSettings(max_updates=2, forcing=Forcing("all"))
    with pytest.raises(SettingError, match=r"`targets` and `forcing`.*found Net: take Sequence"):
        Trainer(Net(), losses.mse, settings).fit(waves())
    with pytest.raises(SettingError, match="found Net: take"):
        Trainer(Ensemble(Net, 2), losses.mse, settings).fit(waves())
    with pytest.raises(SettingError, match="no forcing for sequences"):
        Trainer(SequenceNet(), losses.mse, settings).fit_sequence(*sequence())
