import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_cases import (
    Lines,
    Net,
    SequenceNet,
    Writer,
    same,
    sequence,
    waves,
    weights_of,
    written_waves,
)

from throughtime import DataError, ModelFileError, SettingError
from throughtime._archive import Snapshot
from throughtime.training import (
    AGC,
    L1,
    AutoClip,
    Checkpoint,
    Clip,
    Forcing,
    Observer,
    RandomTruncation,
    TensorExamples,
    Trainer,
    TrainingSettings,
    Truncation,
    Vanishing,
    ZClip,
    losses,
)
from throughtime.training.checkpoint import write

SETTINGS = TrainingSettings(
    max_updates=30,
    batch_size=7,
    learning_rate=0.05,
    schedule="cosine",
    warm_up=3,
    weight_decay=0.01,
    clip=Clip(norm=0.3, value=0.2),
    evaluate_every=4,
    average=0.8,
    seed=5,
)


class Stop(Observer):
    """Interrupts after an update, as a user does."""

    def __init__(self, at):
        self.at = at

    def on_update(self, update):
        if update.index == self.at:
            raise KeyboardInterrupt


def ensemble_data(count=20, seed=0):
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)).double()
    return TensorExamples(x, x.sum(1, keepdim=True))


CASES = {
    "examples with dropout": (
        lambda seed: Net(seed, dropout=0.4),
        SETTINGS,
        lambda trainer, **extra: trainer.fit(waves(), waves(9, seed=1), **extra),
    ),
    "without validation or average": (
        lambda seed: Net(seed, dropout=0.4),
        replace(SETTINGS, average=None, schedule="one-cycle", warm_up=0, clip=Clip()),
        lambda trainer, **extra: trainer.fit(waves(), **extra),
    ),
    "an ensemble": (
        lambda seed: Lines(seed=seed),
        SETTINGS,
        lambda trainer, **extra: trainer.fit(ensemble_data(), ensemble_data(5, 1), **extra),
    ),
    "early stopping": (
        lambda seed: Net(seed),
        replace(SETTINGS, patience=2, learning_rate=0.3, evaluate_every=2, average=None),
        lambda trainer, **extra: trainer.fit(waves(), waves(9, seed=1), **extra),
    ),
    "clipped to a percentile": (
        lambda seed: Net(seed, dropout=0.4),
        replace(SETTINGS, clip=AutoClip(40, window=6)),
        lambda trainer, **extra: trainer.fit(waves(), waves(9, seed=1), **extra),
    ),
    "members clipped to percentiles": (
        lambda seed: Lines(seed=seed),
        replace(SETTINGS, clip=AutoClip(40)),
        lambda trainer, **extra: trainer.fit(ensemble_data(), ensemble_data(5, 1), **extra),
    ),
    "clipped by z-score": (
        lambda seed: Net(seed, dropout=0.4),
        replace(SETTINGS, clip=ZClip(z=0.05, warm_up=6, alpha=0.5)),
        lambda trainer, **extra: trainer.fit(waves(), waves(9, seed=1), **extra),
    ),
    "members clipped by z-score": (
        lambda seed: Lines(seed=seed),
        replace(SETTINGS, clip=ZClip(z=0.2, warm_up=6, alpha=0.5)),
        lambda trainer, **extra: trainer.fit(ensemble_data(), ensemble_data(5, 1), **extra),
    ),
    "clipped by unit": (
        lambda seed: Net(seed, dropout=0.4),
        replace(SETTINGS, clip=AGC(0.05)),
        lambda trainer, **extra: trainer.fit(waves(), waves(9, seed=1), **extra),
    ),
    "sequences": (
        lambda seed: SequenceNet(seed, dropout=0.4),
        replace(SETTINGS, batch_size=None, truncation=Truncation(7, 12)),
        lambda trainer, **extra: trainer.fit_sequence(*sequence(), sequence(20), **extra),
    ),
    "sequences cut at random": (
        lambda seed: SequenceNet(seed, dropout=0.4),
        replace(SETTINGS, batch_size=None, truncation=RandomTruncation(4, 0.3)),
        lambda trainer, **extra: trainer.fit_sequence(*sequence(), sequence(20), **extra),
    ),
    "penalties and forcing": (
        lambda seed: Writer(seed),
        replace(
            SETTINGS,
            penalties=(L1(0.01, "weight_hh"), Vanishing(0.1)),
            forcing=Forcing("linear"),
        ),
        lambda trainer, **extra: trainer.fit(written_waves(), written_waves(9, 1), **extra),
    ),
    "full sequences": (
        lambda seed: SequenceNet(seed, dropout=0.4),
        replace(SETTINGS, batch_size=None),
        lambda trainer, **extra: trainer.fit_sequence(*sequence(), **extra),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("every", "stop"), [(5, 12), (1, 1), (8, 17), (30, None)])
def test_a_resumed_run_is_the_run_that_never_stopped(case, every, stop, tmp_path):
    build, settings, fit = CASES[case]
    whole = build(0)
    history = fit(Trainer(whole, losses.mse, settings))
    if not isinstance(settings.clip, Clip):  # a threshold that moves has moved
        assert any(update.clipped for update in history.updates)
    path = tmp_path / "run.safetensors"
    first = Trainer(build(0), losses.mse, settings, [] if stop is None else [Stop(stop)])
    fit(first, checkpoint=Checkpoint(path, every))
    torch.manual_seed(999)  # as another process would
    rest = build(1)
    trainer = Trainer.resume(path, rest, losses.mse)
    resumed = fit(trainer)
    assert trainer.settings == settings
    assert resumed == history
    assert same(weights_of(rest), weights_of(whole))


def test_the_data_must_be_those_of_before(tmp_path):
    build, settings, fit = CASES["examples with dropout"]
    path = tmp_path / "run.safetensors"
    fit(Trainer(build(0), losses.mse, settings), checkpoint=Checkpoint(path))
    with pytest.raises(DataError, match="the 24 examples"):
        Trainer.resume(path, build(0), losses.mse).fit(waves(25), waves(9, seed=1))
    with pytest.raises(ModelFileError, match="one with other parameters"):
        Trainer.resume(path, Lines(), losses.mse).fit(waves())
    build, settings, fit = CASES["sequences"]
    settings = replace(settings, max_updates=2)
    fit(Trainer(build(0), losses.mse, settings), checkpoint=Checkpoint(path))
    x, y = sequence(40)
    with pytest.raises(DataError, match=r"\(2, 50, 1\)"):
        Trainer.resume(path, build(0), losses.mse).fit_sequence(x, y, sequence(20))


def test_sequences_and_examples_are_told_apart(tmp_path):
    build, settings, fit = CASES["full sequences"]
    path = tmp_path / "run.safetensors"
    fit(Trainer(build(0), losses.mse, settings), checkpoint=Checkpoint(path))
    with pytest.raises(ModelFileError, match="one on sequences"):
        Trainer.resume(path, build(0), losses.mse).fit(waves())


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "run.safetensors"
    Trainer(Net(), losses.mse, replace(SETTINGS, max_updates=2)).fit(
        waves(), checkpoint=Checkpoint(path)
    )
    return path


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


DAMAGES = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "last byte flipped": lambda data: flip(data, len(data) - 1),
    "header length": lambda data: flip(data, 0),
    "header": lambda data: flip(data, 12),
    "text": lambda data: b"not a checkpoint at all",
    "facts": lambda data: data.replace(b'{\\"settings\\"', b'[\\"settings\\"'),
    "settings": lambda data: data.replace(b"max_updates", b"min_updates"),
    "values": lambda data: data.replace(b'max_updates\\": 2', b'max_updates\\": 0'),
    "checksum": lambda data: data.replace(b'"checksum":"', b'"checksun":"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_a_sentence(damage, written):
    sound = written.read_bytes()
    broken = DAMAGES[damage](sound)
    assert broken != sound
    written.write_bytes(broken)
    with pytest.raises(ModelFileError) as caught:
        Trainer.resume(written, Net(), losses.mse)
    assert "\n" not in str(caught.value)
    assert str(written) in str(caught.value)


def test_a_file_without_settings_is_refused(tmp_path):
    for facts in ({}, {"settings": {"truncation": None, "clip": {}, "wings": 2}}):
        write(tmp_path / "other", Snapshot(facts=facts))
        with pytest.raises(ModelFileError, match="settings of a run"):
            Trainer.resume(tmp_path / "other", Net(), losses.mse)


def test_foreign_and_missing_files_are_refused(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(ModelFileError, match="the format None"):
        Trainer.resume(foreign, Net(), losses.mse)
    with pytest.raises(ModelFileError, match="no such file"):
        Trainer.resume(tmp_path / "missing", Net(), losses.mse)
    with pytest.raises(ModelFileError):
        Trainer.resume(tmp_path, Net(), losses.mse)


def test_a_file_is_replaced_whole_or_not_at_all(written, monkeypatch):
    before = written.read_bytes()

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(SettingError, match="disk full"):
        Trainer(Net(), losses.mse, SETTINGS).fit(waves(), checkpoint=Checkpoint(written, 1))
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_any_reader_of_safetensors_finds_the_weights_by_name(written):
    names = {name.removeprefix("model.") for name in load_file(written) if "model." in name}
    assert names == set(Net().state_dict())
    with open(written, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header["__metadata__"]["format"] == "throughtime checkpoint 1"


def test_a_run_that_was_done_stays_done_and_the_next_fit_is_new(written):
    model = Net(seed=3)
    trainer = Trainer.resume(written, model, losses.mse)
    assert len(trainer.fit(waves()).updates) == 2
    after = weights_of(model)
    assert len(trainer.fit(waves()).updates) == 2
    assert not same(weights_of(model), after)


def test_a_finished_run_can_be_prolonged(written):
    trainer = Trainer.resume(written, Net(), losses.mse)
    trainer.settings = replace(trainer.settings, max_updates=5)
    assert [u.index for u in trainer.fit(waves()).updates] == [0, 1, 2, 3, 4]


def test_bad_intervals_are_refused():
    with pytest.raises(SettingError, match="every"):
        Checkpoint("run", every=0)
