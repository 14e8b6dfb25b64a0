"""Learning on from a stream, and fits that go on from fits."""

import numpy as np
import pyarrow as pa
import pytest
import torch

import throughtime as tt
from throughtime import DataError, DivergedError, NotFittedError
from throughtime.forecasting.streaming import learning
from throughtime.training import TrainingSettings

TRAINING = TrainingSettings(max_updates=30, batch_size=32, learning_rate=1e-2, weight_decay=0.01)


def quick(**given):
    settings = {"cell": "gru", "members": 2, "hidden_size": 8, "context_length": 8, "h": 1,
                "season_length": 1, "residual": "level", "n_windows": 0, "companions": False,
                "training": TRAINING}  # fmt: skip
    return tt.Forecaster(**{**settings, **given})


def signs(n, phi, seed=0):
    """Return an autoregression y_t = phi y_{t-1} + noise."""
    noise = np.random.default_rng(seed).normal(0, 0.5, n)
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = phi * y[t - 1] + noise[t]
    return y


@pytest.mark.parametrize(
    ("architecture", "scaling"),
    [("direct", "blend"), ("synced", "running"), ("recursive", "running")],
)
def test_learning_follows_a_rule_that_changes(architecture, scaling):
    """After the sign of an autoregression turns, the nets that learn err less than the frozen."""
    output = "gaussian" if architecture == "recursive" else "point"
    before, after = signs(200, 0.9), signs(360, -0.9, seed=1)
    errors = {}
    for learn in (False, True):
        forecaster = quick(architecture=architecture, scaling=scaling, output=output).fit(before)
        for t in range(0, 320, 4):
            forecaster.update(after[t : t + 4], learn=learn)
        error = []
        for t in range(320, 360):
            table = forecaster.predict(level=[])
            error.append(abs(table["GRU"][0].as_py() - after[t]))
            forecaster.update(after[t], learn=learn)
        errors[learn] = np.mean(error)
    assert errors[True] < 0.85 * errors[False]


def test_the_loss_before_every_update_is_told():
    """An update for every 8 steps of a call, or the rest of them."""
    forecaster = quick().fit(signs(100, 0.5))
    forecaster.update(np.ones(20), learn=True).update(1.0, learn=True).update(1.0)
    assert len(forecaster.losses) == 4
    assert np.isfinite(forecaster.losses).all()


def test_what_diverges_leaves_the_weights_before(monkeypatch):
    """The state has moved on, the weights are finite and as they were."""
    forecaster = quick().fit(signs(100, 0.5))
    weights = {n: p.clone() for n, p in forecaster.model.network.state_dict().items()}
    monkeypatch.setattr(
        learning.Run, "_losses", lambda *_: torch.full((2,), torch.nan, requires_grad=True)
    )
    with pytest.raises(DivergedError):
        forecaster.update(1.0, learn=True)
    for name, found in forecaster.model.network.state_dict().items():
        assert torch.equal(found, weights[name])
    assert forecaster.state.arrays["lengths"] == 101


def test_frozen_weights_stay():
    """Without learn no weight changes."""
    forecaster = quick().fit(signs(100, 0.5))
    weights = {n: p.clone() for n, p in forecaster.model.network.state_dict().items()}
    forecaster.update(np.ones(30))
    for name, found in forecaster.model.network.state_dict().items():
        assert torch.equal(found, weights[name])


@pytest.mark.parametrize(("architecture", "scaling"), [("direct", "blend"), ("synced", "running")])
def test_a_loaded_forecaster_learns_on_as_the_saved_one(tmp_path, architecture, scaling):
    """Weights, moments of the optimiser and what is drawn are in the file."""
    forecaster = quick(architecture=architecture, scaling=scaling).fit(signs(100, 0.5))
    forecaster.update(signs(30, -0.5), learn=True)
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    for each in (forecaster, loaded):
        each.update(signs(30, -0.5, seed=2), learn=True)
    assert list(loaded.losses) == list(forecaster.losses)
    assert loaded.predict(level=[]) == forecaster.predict(level=[])


def test_many_series_learn_from_some_at_a_time():
    """At most 256 of them an update."""
    S = 300
    rng = np.random.default_rng(0)
    ids, ds = np.repeat(np.arange(S), 30), np.tile(np.arange(30), S)
    table = pa.table({"unique_id": ids, "ds": ds, "y": rng.normal(size=S * 30)})
    forecaster = quick(training=TrainingSettings(max_updates=3, batch_size=8)).fit(table)
    row = {"unique_id": np.arange(S), "ds": np.full(S, 30), "y": rng.normal(size=S)}
    forecaster.update(row, learn=True)
    assert len(forecaster._stream.learner.panel.ids) == learning.MOST_SERIES


def test_a_warm_start_goes_on_from_the_weights_there_are():
    """Each fit of one small update moves the weights on, where one that is cold begins again."""
    y = signs(300, 0.9)
    warm = quick(training=TrainingSettings(max_updates=1, learning_rate=1e-4)).fit(y[:200])
    first = {n: p.clone() for n, p in warm.model.network.state_dict().items()}

    def moved():
        now = warm.model.network.state_dict()
        return max(float((now[name] - first[name]).abs().max()) for name in first)

    for _ in range(4):
        warm.fit(y, warm_start=True)
    assert 3e-4 < moved() < 6e-4
    assert len(warm.panel.row(0)) == 300
    warm.fit(y)
    assert moved() < 3e-4


def test_a_warm_start_needs_a_fit_and_its_columns():
    """Nothing to go on from, or another table, is refused; what was fitted stays."""
    with pytest.raises(NotFittedError):
        quick().fit(signs(50, 0.5), warm_start=True)
    y = signs(60, 0.5)
    forecaster = quick(hist="x").fit(pa.table({"ds": np.arange(60), "y": y, "x": y}))
    with pytest.raises(DataError, match="'x'"):
        forecaster.fit(pa.table({"ds": np.arange(60), "y": y}), warm_start=True)
    assert len(forecaster.panel.row(0)) == 60
    positive = quick().fit(np.abs(y))
    with pytest.raises(DataError, match="below 0"):
        positive.fit(y, warm_start=True)


def test_a_warm_start_with_rolling_origins_judges_nets_that_begin_anew():
    """No origin is forecast by weights that may know what came after it."""
    y = signs(60, 0.9)
    warm = quick(n_windows=2).fit(y).fit(y, warm_start=True)
    cold = quick(n_windows=2).fit(y)
    np.testing.assert_array_equal(warm.backtest.forecasts["GRU"], cold.backtest.forecasts["GRU"])
