"""The labeler learns rules that need memory, and looks ahead only where it is told to."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_cases import labeler, ragged

import throughtime as tt
from throughtime._errors import DataError, NotFittedError
from throughtime.training import TrainingSettings

RNG = np.random.default_rng(0)
BITS = RNG.choice([0.0, 1.0], size=(100, 8), p=[0.75, 0.25])
SEEN = BITS.cumsum(1) > 0
FEW = TrainingSettings(max_updates=6)


def steps_of(rows):
    """A label for every step: whether the first feature is positive."""
    return [row[:, 0] > 0 for row in rows]


def test_whether_a_one_was_seen_is_learned_exactly():
    training = TrainingSettings(max_updates=150, batch_size=32, learning_rate=0.03)
    model = labeler(hidden_size=8, training=training).fit(BITS, SEEN)
    every = np.array([[(k >> i) & 1 for i in range(8)] for k in range(256)], dtype=float)
    assert model.score(every, every.cumsum(1) > 0) == 1.0
    longer = np.zeros((1, 40))
    longer[0, 20] = 1
    assert model.score(longer, longer.cumsum(1) > 0) == 1.0


def test_parity_is_learned_exactly():
    training = TrainingSettings(max_updates=400, batch_size=64, learning_rate=0.03)
    bits = np.random.default_rng(1).integers(0, 2, size=(200, 6)).astype(float)
    model = labeler(cell="lstm", hidden_size=12, training=training)
    model.fit(bits, bits.cumsum(1).astype(int) % 2)
    every = np.array([[(k >> i) & 1 for i in range(6)] for k in range(64)], dtype=float)
    assert model.score(every, every.cumsum(1) % 2) == 1.0


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_nothing_is_looked_at_ahead_unless_both_ways(cell):
    one_way, both = (
        labeler(cell=cell, bidirectional=b, num_layers=2, training=FEW).fit(BITS, SEEN)
        for b in (None, True)
    )
    changed = BITS.copy()
    changed[:, 5:] = 7.0
    before, after = one_way.predict_proba(BITS), one_way.predict_proba(changed)
    assert np.array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any()
    assert (both.predict_proba(BITS) != both.predict_proba(changed))[:, :5].any()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sequence_is_labelled_as_if_it_were_alone(bidirectional):
    rows = ragged()
    model = labeler(bidirectional=bidirectional, training=FEW).fit(rows, steps_of(rows))
    together = model.predict_proba(rows)
    assert [p.shape for p in together] == [(len(row), 2) for row in rows]
    for row, p in zip(rows, together, strict=True):
        np.testing.assert_allclose(model.predict_proba([row])[0], p, atol=1e-6)


def test_arrays_give_arrays_and_lists_give_lists():
    model = labeler(training=FEW).fit(BITS, np.where(SEEN, "yes", "no"))
    assert model.classes_.tolist() == ["no", "yes"]
    p, said = model.predict_proba(BITS), model.predict(BITS)
    assert p.shape == (100, 8, 2)
    assert said.shape == (100, 8)
    assert (said == model.classes_[p.argmax(-1)]).all()
    assert all(map(np.array_equal, model.predict(list(BITS)), said))
    assert model.score(BITS, np.where(SEEN, "yes", "no")) == ((said == "yes") == SEEN).mean()


@pytest.mark.parametrize("missing", [None, np.nan], ids=str)
def test_from_a_label_that_is_missing_nothing_is_learned(missing):
    known = RNG.random(SEEN.shape) < 0.7
    some = np.where(known, SEEN.astype(float), np.nan)
    lists = [[missing if v != v else v for v in row] for row in some.tolist()]
    model = labeler(training=FEW).fit(BITS, lists)
    assert model.classes_.tolist() == [0.0, 1.0]
    assert np.array_equal(
        model.predict_proba(BITS), labeler(training=FEW).fit(BITS, some).predict_proba(BITS)
    )
    right = model.predict(BITS) == SEEN
    assert model.score(BITS, lists) == right[known].mean()
    with pytest.raises(DataError, match="a label that is known"):
        model.score(BITS[:1], [[missing] * 8])


def test_labels_that_do_not_fit_the_steps_are_refused():
    with pytest.raises(DataError, match=r"3 labels for the 3 steps of sequence 1.*found 2"):
        labeler().fit([[0.0], [0.0, 1.0, 2.0]], [["a"], ["a", "b"]])
    with pytest.raises(DataError, match="labels for 2 sequences"):
        labeler().fit([[0.0], [1.0]], [["a"]])
    with pytest.raises(DataError, match="labels in a list"):
        labeler().fit([[0.0], [1.0]], ["a", "b"])
    with pytest.raises(NotFittedError):
        labeler().predict(BITS)


def test_the_doctor_reads_the_newest_step_of_every_row():
    rows = ragged(40)
    diagnosis = labeler(training=FEW).fit(rows, steps_of(rows)).diagnose(rows, steps_of(rows))
    [layer] = diagnosis.layers
    assert (layer.examples, layer.skipped) == (40, 0)
    assert layer.lag_profile.norms[0] == 1


def test_a_loaded_labeler_is_the_saved_one(tmp_path):
    model = labeler(training=FEW, class_weight="balanced").fit(BITS, SEEN)
    model.save(tmp_path / "model")
    loaded = tt.SequenceLabeler.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(BITS), model.predict_proba(BITS))
    assert loaded.get_params() == model.get_params()
