"""scikit-learn takes the estimators for its own: clone, cross-validation, grid search, pipelines."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_cases import classifier, labeler, ragged, waves

import throughtime as tt
from throughtime._errors import SettingError
from throughtime.training import TrainingSettings

FEW = TrainingSettings(max_updates=10, learning_rate=0.02)
X, Y = waves()


def test_settings_are_kept_as_they_were_given_and_changed_by_name():
    init = ["chrono:5", "orthogonal"]
    model = tt.SequenceClassifier(cell="lstm", init=init, training=FEW)
    assert model.get_params()["init"] is init
    assert model.get_params(deep=False)["training"] is FEW
    assert model.set_params(cell="rnn", seed=3) is model
    assert (model.cell, model.seed) == ("rnn", 3)
    assert repr(tt.SequenceLabeler(seed=3, zoneout=0.1)) == "SequenceLabeler(zoneout=0.1, seed=3)"
    with pytest.raises(SettingError, match="found 'hidden': pass one of these"):
        model.set_params(seed=4, hidden=3)
    assert model.seed == 3


def test_clone_makes_an_unfitted_twin():
    base = pytest.importorskip("sklearn.base")
    model = classifier(init="orthogonal", class_weight={"fast": 2.0}, training=FEW).fit(X, Y)
    twin = base.clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "classes_")
    assert np.array_equal(twin.fit(X, Y).predict_proba(X), model.predict_proba(X))
    assert base.is_classifier(model)
    assert not base.is_classifier(labeler())


def test_cross_validation_stratifies_and_scores():
    selection = pytest.importorskip("sklearn.model_selection")
    model, sorted_labels = classifier(training=FEW), np.sort(Y)
    scores = selection.cross_val_score(model, X[np.argsort(Y)], sorted_labels, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()  # an unstratified half would hold one class alone
    rows = ragged(12)
    accuracy = selection.cross_val_score(model, rows, [0, 1] * 6, cv=2, scoring="neg_log_loss")
    assert (accuracy < 0).all()
    labels = [row[:, 0] > 0 for row in rows]
    steps = selection.cross_val_score(
        labeler(training=FEW), rows, labels, cv=2, error_score="raise"
    )
    assert ((steps >= 0) & (steps <= 1)).all()


def test_a_pipeline_is_searched_through():
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), classifier(training=FEW))
    grid = {"sequenceclassifier__cell": ["rnn", "gru"], "sequenceclassifier__zoneout": [0.1]}
    search = selection.GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, Y)
    assert search.best_params_["sequenceclassifier__zoneout"] == 0.1
    assert search.classes_.tolist() == ["fast", "slow"]
    assert search.predict_proba(X).shape == (40, 2)
    assert search.score(X, Y) == (search.predict(X) == Y).mean()
