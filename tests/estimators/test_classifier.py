"""The classifier learns, answers each sequence as if alone, and refuses what does not fit."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import torch
from estimator_cases import QUICK, classifier, ragged, waves

import throughtime as tt
from throughtime._errors import DataError, ModelFileError, NotFittedError, SettingError
from throughtime.training import L2, Clip, TrainingSettings

X, Y = waves()


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, Y)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_waves_are_told_apart_by_their_frequency(cell):
    training = TrainingSettings(max_updates=120, batch_size=32, learning_rate=0.02)
    model = classifier(cell=cell, hidden_size=8, training=training).fit(X, Y)
    assert model.score(*waves(seed=1)) >= 0.95


def test_probabilities_are_in_the_order_of_the_classes(fitted):
    assert fitted.classes_.tolist() == ["fast", "slow"]
    p = fitted.predict_proba(X)
    assert p.shape == (len(X), 2)
    np.testing.assert_allclose(p.sum(1), 1)
    assert p[Y == "fast", 0].mean() > 0.5 > p[Y == "slow", 0].mean()
    assert (fitted.predict(X) == fitted.classes_[p.argmax(1)]).all()
    assert fitted.score(X, Y) == (fitted.predict(X) == Y).mean()
    weight = np.arange(len(X))
    right = fitted.predict(X) == Y
    assert fitted.score(X, Y, weight) == pytest.approx((right * weight).sum() / weight.sum())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_sequence_is_told_as_if_it_were_alone(cell, bidirectional):
    rows = ragged()
    model = classifier(cell=cell, bidirectional=bidirectional, num_layers=2, training=QUICK)
    model.fit(rows, [len(row) > 4 for row in rows])
    alone = np.concatenate([model.predict_proba([row]) for row in rows])
    np.testing.assert_allclose(model.predict_proba(rows), alone, atol=1e-6)


def test_padding_changes_nothing_that_is_learned():
    X, y = ragged(12), [0, 1] * 6
    one = classifier().fit(X, y)
    longer = [*X, np.zeros((30, 2))]  # pads the others further
    two = classifier().fit(X, y)
    np.testing.assert_allclose(one.predict_proba(longer)[:12], two.predict_proba(X), atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    state = torch.random.get_rng_state()
    first, second, other = (classifier(seed=s).fit(X, Y).predict_proba(X) for s in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "pair",
    [
        ("a", "b"),
        (7, -2),
        (0.5, 1.5),
        (True, False),
        (("x", 1), ("y", 2)),
        (date(2024, 1, 1), "new"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [list, np.array], ids=["list", "array"])
def test_labels_of_any_kind_come_back_as_they_came(pair, kind):
    if kind is np.array and not isinstance(pair[0], (str, int, float)):
        kind = list
    labels = kind([pair[0], pair[1]] * 20)
    model = classifier(training=TrainingSettings(max_updates=5)).fit(X, labels)
    said = model.predict(X).tolist()
    assert {*said} <= {*pair}
    assert {type(label) for label in said} <= {type(label) for label in pair}
    assert model.score(X, labels) == np.mean([a == b for a, b in zip(said, labels, strict=True)])


def test_arrays_lists_tensors_and_tables_are_read_alike(fitted):
    expected = fitted.predict_proba(X)
    import pandas as pd

    for other in (X[..., None], X.tolist(), list(X), torch.tensor(X), pd.DataFrame(X)):
        assert np.array_equal(fitted.predict_proba(other), expected)


def test_units_do_not_matter():
    moved = classifier().fit(1e6 + 1e3 * X, Y).predict_proba(1e6 + 1e3 * X)
    np.testing.assert_allclose(moved, classifier().fit(X, Y).predict_proba(X), atol=1e-3)


def test_whether_a_value_is_missing_can_be_learned():
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=(60, 8))
    missing = np.arange(60) % 2 == 0
    gaps[missing, 5] = np.nan
    training = TrainingSettings(max_updates=100, learning_rate=0.02)
    model = classifier(hidden_size=8, training=training).fit(gaps, missing)
    assert model.score(gaps, missing) == 1.0
    assert np.isfinite(model.predict_proba(np.full((2, 8), np.nan))).all()


def test_rare_classes_count_as_often_as_they_come_unless_balanced():
    noise = np.random.default_rng(0).normal(size=(100, 4))
    y = np.arange(100) % 10 == 0  # says nothing about the noise
    plain = classifier().fit(noise, y).predict_proba(noise)[:, 1].mean()
    balanced = classifier(class_weight="balanced").fit(noise, y).predict_proba(noise)[:, 1].mean()
    by_hand = classifier(class_weight={False: 1 / 1.8, True: 5.0}).fit(noise, y)
    assert plain == pytest.approx(0.1, abs=0.05)
    assert balanced == pytest.approx(0.5, abs=0.1)
    assert by_hand.predict_proba(noise)[:, 1].mean() == pytest.approx(balanced, abs=1e-4)


def test_the_number_of_updates_is_that_of_the_least_validation_loss():
    training = TrainingSettings(max_updates=100, evaluate_every=10, patience=2, learning_rate=0.05)
    noise = np.random.default_rng(0).normal(size=(40, 6))  # which is learned by heart
    model = classifier(training=training, hidden_size=16).fit(noise, Y)
    losses = [e.loss for e in model.pilot_.evaluations]
    best = model.pilot_.evaluations[int(np.argmin(losses))].index
    assert len(model.history_.updates) == best < 100


def test_two_examples_are_enough():
    model = classifier(training=TrainingSettings(max_updates=8)).fit([[0.0], [1.0]], ["a", "b"])
    assert len(model.history_.updates) == 2  # nothing to validate on: a quarter
    assert model.predict_proba([[0.0]]).shape == (1, 2)


INF = float("inf")
BAD = {
    "infinite": ([[0.0, 1.0], [0.0, INF]], "inf in sequence 1 at step 1, feature 0"),
    "huge": ([[0.0, 1.0], [0.0, -1e300]], r"none beyond 1e\+16, .* found -1e\+300 in sequence 1"),
    "ragged features": ([np.ones((2, 2)), np.ones((3, 1))], "1 in sequence 1"),
    "empty": ([[0.0], []], "none in sequence 1"),
    "no steps": (np.ones((2, 0)), r"shape \(2, 0\)"),
    "no sequences": ([], "none"),
    "one sequence": ([1.0, 2.0], r"shape \(\) in sequence 0"),
    "a row of numbers": (np.ones(3), r"shape \(3,\)"),
    "words": ([["a"], ["b"]], "could not convert"),
    "a text": ("abc", "type str"),
    "four axes": (np.ones((2, 2, 2, 2)), "shape"),
    "four axes in a list": ([np.ones((2, 2, 2))] * 2, r"shape \(2, 2, 2\) in sequence 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_sequences_that_do_not_fit_are_refused_in_a_sentence(name):
    X, words = BAD[name]
    with pytest.raises(DataError, match=words):
        classifier().fit(X, [0, 1])


BAD_LABELS = {
    "NaN": ([0.0, np.nan], "nan for sequence 1"),
    "None": (["a", None], "None for sequence 1"),
    "one class": ([1, 1], "1 alone"),
    "too few": ([1], "found 1"),
    "a matrix": (np.ones((2, 3)), r"shape \(2, 3\)"),
    "lists": ([[1], [2]], "unhashable"),
    "a text": ("ab", "'ab'"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_labels_that_do_not_fit_are_refused_in_a_sentence(name):
    y, words = BAD_LABELS[name]
    with pytest.raises(DataError, match=words):
        classifier().fit([[0.0], [1.0]], y)


def test_other_features_than_in_fit_are_refused(fitted):
    with pytest.raises(DataError, match=r"1 feature in every sequence, as in fit, found 3"):
        fitted.predict(np.ones((2, 5, 3)))


def test_nothing_is_told_before_fit():
    for ask in (
        lambda model: model.predict(X),
        lambda model: model.predict_proba(X),
        lambda model: model.score(X, Y),
        lambda model: model.diagnose(X, Y),
        lambda model: model.save("never"),
    ):
        with pytest.raises(NotFittedError):
            ask(classifier())


@pytest.mark.parametrize(
    "setting",
    [
        {"cell": "lstn"},
        {"members": 0},
        {"hidden_size": 0},
        {"seed": -1},
        {"bidirectional": "yes"},
        {"class_weight": "fair"},
        {"class_weight": {"fast": -1.0}},
        {"clip": -1.0},
        {"training": 7},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_fit_which_leaves_things_as_they_were(setting):
    model = classifier().fit(X, Y)
    before = model.predict_proba(X)
    with pytest.raises(SettingError):
        model.set_params(**setting).fit(X, Y)
    assert np.array_equal(model.predict_proba(X), before)


def test_cures_reach_the_nets_and_the_training():
    settings = {
        "cell": "lstm",
        "init": "forget_bias:3",
        "zoneout": (0.1, 0.0),
        "clip": 0.5,
        "penalties": L2(1e-3),
    }
    model = classifier(**settings, training=TrainingSettings(max_updates=4)).fit(X, Y)
    net = model.network_.member(0).layer
    assert net.zoneout == (0.1, 0.0)
    assert all(update.threshold == 0.5 for update in model.history_.updates)
    plain = classifier(cell="lstm", training=TrainingSettings(max_updates=4)).fit(X, Y)
    assert plain.network_.member(0).layer.bias_ih_l0[6:12].mean() < 1 < net.bias_ih_l0[6:12].mean()
    assert plain.history_.updates[0].threshold == 1.0


@pytest.mark.parametrize("rows", [list(X), ragged(40, features=1)], ids=["even", "ragged"])
def test_the_doctor_looks_at_the_first_net(rows):
    diagnosis = classifier(bidirectional=False).fit(rows, Y).diagnose(rows, Y, step="hour")
    assert diagnosis.measures.model == "the GRU"
    assert diagnosis.findings
    [layer] = diagnosis.layers
    assert layer.steps == max(map(len, rows))


@pytest.mark.parametrize("labels", [Y, Y == "fast", np.arange(40) % 2, [1.5, 2.5] * 20], ids=str)
def test_a_loaded_classifier_is_the_saved_one(tmp_path, labels):
    rows = ragged(40, features=1)
    rows[0][0] = np.nan
    settings = {"init": "orthogonal", "clip": Clip(norm=0.5), "penalties": L2(1e-4), "zoneout": 0.1}
    weight = {np.asarray(labels).tolist()[0]: 2.0}
    model = classifier(**settings, class_weight=weight).fit(rows, labels)
    model.save(tmp_path / "model")
    loaded = tt.SequenceClassifier.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(rows), model.predict_proba(rows))
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.score(rows, labels) == model.score(rows, labels)
    assert loaded.pilot_ == model.pilot_
    assert loaded.history_ == model.history_
    again = loaded.fit(rows, labels).predict_proba(rows)
    assert np.array_equal(again, model.predict_proba(rows))


def test_files_of_something_else_are_refused(tmp_path, fitted):
    from safetensors.torch import save_file

    from throughtime import _archive
    from throughtime.estimators.storage import FORMAT

    path = tmp_path / "model"
    fitted.save(path)
    with pytest.raises(ModelFileError, match="not a SequenceLabeler"):
        tt.SequenceLabeler.load(path)
    whole = _archive.read(path, FORMAT)
    for name, value in (("hidden_size", 7), ("cell", "lstm"), ("members", 10**9)):
        settings = {**whole.facts["settings"], name: value}
        _archive.write(
            path, FORMAT, _archive.Snapshot(whole.tensors, whole.facts | {"settings": settings})
        )
        with pytest.raises(ModelFileError, match="contents that do not fit"):
            tt.SequenceClassifier.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError):
        tt.SequenceClassifier.load(path)
    with pytest.raises(ModelFileError, match="no such file"):
        tt.SequenceClassifier.load(tmp_path / "none")
    model = classifier(training=TrainingSettings(max_updates=2)).fit(X, [("a", 1), ("b", 2)] * 20)
    with pytest.raises(SettingError, match="texts, numbers or truth values"):
        model.save(path)
