"""Intervals that follow their coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting.calibration.online import GAMMA, MOST, Coverage
from throughtime.training import TrainingSettings

SOON = TrainingSettings(max_updates=3, batch_size=8, learning_rate=1e-2)


def followed(errors, h, level, adapt=True):
    """Return who missed, [T, h]: errors [T] against widths of 1 for h steps, as values come."""
    coverage, missed = Coverage(h), np.full((len(errors), h), np.nan)
    for t in range(len(errors)):
        w = coverage.factor(level) if adapt else np.ones(h)
        coverage.issue([level], np.array([t]), -w[None, None, None], w[None, None, None])
        coming = errors[t : t + h]
        missed[t, : len(coming)] = np.abs(coming) > w[: len(coming)]
        coverage.score(np.array([0]), np.array([t]), errors[None, None, t : t + 1])
    return missed, coverage


@settings(deadline=None, max_examples=20)
@given(h=st.integers(1, 4), level=st.sampled_from([50.0, 80.0, 95.0]), seed=st.integers(0, 99))
def test_the_share_of_misses_is_the_one_promised_whatever_comes(h, level, seed):
    """Every step's share of misses is within (2 b + 2 γ k) / (γ T) of α: the theorem."""
    rng, T = np.random.default_rng(seed), 600
    b = np.log(4)
    drift = np.exp(np.clip(np.cumsum(rng.normal(0, 0.1, T)), -0.9 * b, 0.9 * b))
    errors = np.clip(drift * rng.choice([0.5, 1.0, 1.9], T), np.exp(-b), np.exp(b))
    missed, coverage = followed(errors, h, level)
    for k in range(1, h + 1):
        share = np.nanmean(missed[: T - k + 1, k - 1])
        assert abs(share - (1 - level / 100)) <= (2 * b + 2 * GAMMA * k) / (GAMMA * (T - k + 1))
        assert abs(np.log(coverage.factor(level)[k - 1])) <= b + GAMMA * k


def test_coverage_returns_after_a_change_where_frozen_intervals_lose_it():
    """Errors three times as large: 80 % again, where the frozen cover a third."""
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 1 / 1.2816, 1000) * np.where(np.arange(1000) < 200, 1, 3)
    adaptive, _ = followed(errors, 1, 80.0)
    frozen, _ = followed(errors, 1, 80.0, adapt=False)
    assert abs(1 - adaptive[400:].mean() - 0.8) < 0.03
    assert 1 - frozen[400:].mean() < 0.4


def test_it_does_not_matter_how_the_values_come():
    """One by one, or many series and steps at once: the same factor."""
    rng, (S, h) = np.random.default_rng(0), (5, 6)
    y = rng.normal(0, 2, (S, 1, h))
    y[2, 0, 1] = np.nan
    one, many, soon = Coverage(h), Coverage(h), Coverage(h)
    for each in (one, many, soon):
        each.issue([80.0, 95.0], np.full(S, 7), -np.ones((2, S, 1, h)), np.ones((2, S, 1, h)))
    many.score(np.arange(S), np.full(S, 7), y)
    for t in range(h):
        for i in rng.permutation(S):
            one.score(np.array([i]), np.array([7 + t]), y[i : i + 1, :, t : t + 1])
            if not np.isnan(y[i, 0, t]):
                soon.score_one(int(i), 7 + t, y[i, :, t].tolist())
    for level in (80.0, 95.0):
        missed = np.where(np.isnan(y[:, 0]), np.nan, np.abs(y[:, 0]) > 1)
        theta = GAMMA / S * np.nansum(missed - (1 - level / 100), axis=0)
        np.testing.assert_allclose(many.theta[level], theta, atol=1e-15)
        np.testing.assert_allclose(one.theta[level], theta, atol=1e-15)
        np.testing.assert_allclose(soon.theta[level], theta, atol=1e-15)
    assert many.waiting == []


@pytest.mark.parametrize("h", [1, 5, 40])
def test_what_waits_is_bounded_and_reaches_every_step(h):
    """A forecast at every step of the stream leaves few waiting, and all steps scored."""
    coverage = Coverage(h)
    for t in range(5 * h + 50):
        ends = np.ones((1, 1, 1, h))
        coverage.issue([80.0], np.array([t]), -ends, ends)
        assert len(coverage.waiting) <= min(h, MOST)
        coverage.score(np.array([0]), np.array([t]), np.zeros((1, 1, 1)))
    assert (coverage.theta[80.0] < 0).all()


def test_a_forecaster_widens_its_intervals_when_the_stream_gets_rougher(tmp_path):
    """Intervals of a back-test lose their coverage to a change, and find it again."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(50, 1, 120), rng.normal(50, 4, 120)])
    forecaster = tt.Forecaster(
        h=1, cell="rnn", members=1, hidden_size=4, context_length=4, season_length=1,
        n_windows=8, companions=False, training=SOON,
    ).fit(y[:120])  # fmt: skip
    inside = []
    for value in y[120:]:
        table = forecaster.predict(level=[80]).to_pydict()
        inside.append(table["RNN-lo-80"][0] <= value <= table["RNN-hi-80"][0])
        forecaster.update(value)
    assert np.mean(inside[:20]) < 0.6
    assert abs(np.mean(inside[-60:]) - 0.8) <= 0.12
    forecaster.predict(level=[80])
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    for each in (forecaster, loaded):
        each.update(90.0)
    assert loaded.coverage.factor(80) == forecaster.coverage.factor(80)
    assert loaded.predict(level=[80]) == forecaster.predict(level=[80])


def test_series_and_targets_are_scored_each_by_its_own_interval():
    """Two series with two targets, of which one misses: a fourth of γ."""
    coverage = Coverage(1)
    low = np.array([[[[0.0], [10.0]], [[20.0], [30.0]]]])
    coverage.issue([80.0], np.array([3, 9]), low, low + 1)
    y = np.array([[[0.5], [10.5]], [[20.5], [35.0]]])
    coverage.score(np.array([0, 1]), np.array([3, 9]), y)
    assert coverage.theta[80.0][0] == pytest.approx(GAMMA / 4 * (1 - 4 * 0.2))
