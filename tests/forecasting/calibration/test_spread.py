"""Sizes that errors are divided by: their formula, what they may know, and what they are good for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from forecasting_cases import NAN, design, panel, quick, wave
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import laplace

import throughtime as tt
from throughtime.forecasting import Calibration, Panel
from throughtime.forecasting.calibration.spread import PRIORS, Common, K, Spread
from throughtime.forecasting.evaluation.metrics import coverage
from throughtime.forecasting.preprocessing.transforms import Identity, Sqrt
from throughtime.forecasting.settings.design import Design

H, PERIOD = 4, 8


class Knows:
    """A model that knows the cycle of each row, and so errs by the noise alone."""

    def __init__(self, cycles: np.ndarray) -> None:
        self.cycles = cycles

    @property
    def design(self) -> Design:
        return design(h=H)

    def forecast(self, panel: Panel, h: int | None = None) -> np.ndarray:
        rows = [ord(name) - 97 for name in panel.ids]
        ahead = panel.lengths[:, None] + np.arange(H)
        return np.take_along_axis(self.cycles[rows], ahead % PERIOD, axis=1)


def noisy(deviations: np.ndarray, n: int, seed: int = 0) -> tuple[Panel, Knows]:
    """Series of alike steps, as their cycles are high, with noise of these deviations."""
    rng = np.random.default_rng(seed)
    cycles = 50 + 20 * rng.normal(size=(len(deviations), PERIOD))
    noise = deviations[:, None] * rng.normal(size=(len(deviations), n))
    return panel(*(np.resize(c, n) + e for c, e in zip(cycles, noise, strict=True))), Knows(cycles)


def scores_ahead(known: Panel, model: Knows, whole: Panel) -> np.ndarray:
    ahead = int(whole.lengths[0] - known.lengths[0])
    y = np.stack([whole.row(r)[-ahead:][:H] for r in range(len(whole))])
    return y - model.forecast(known)


@pytest.mark.parametrize("level", [80, 95])
def test_calm_and_lively_series_are_covered_alike(level: int) -> None:
    """Coverage given the noise, which units of mean steps have for no group of series."""
    deviations = np.repeat([0.1, 1.0, 5.0], 100)
    made, model = noisy(deviations, n=100)
    before, now = made.cut(2 * H), made.cut(H)
    past, new = (scores_ahead(known, model, made) for known in (before, now))
    spread, later = (Spread.of(model, known, Identity()) for known in (before, now))

    def covered(past_sizes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        half = Calibration.fit(past / past_sizes[:, None]).half(level, H) * sizes[:, None]
        return np.array([coverage(new[some], -half[some], half[some]) for some in groups])

    groups = np.arange(300).reshape(3, 100)
    common = spread.common(past)
    ours = covered(spread.sizes(common), later.sizes(common))
    np.testing.assert_allclose(ours, level / 100, atol=0.035)
    steps = covered(spread.steps, later.steps)
    assert steps.max() - steps.min() > 0.15


def test_sizes_are_those_of_the_equations() -> None:
    made, model = noisy(np.array([0.5, 2.0, 1.0]), n=4 * H + 3)
    u = [np.sqrt(made.row(r)) for r in range(3)]
    b = [np.abs(np.diff(row)).mean() for row in u]
    q = []
    for r in range(3):
        squares = []
        for t in range(3, len(u[r])):  # K horizons leave three steps
            squares.append((u[r][t] - np.sqrt(model.cycles[r, t % PERIOD])) ** 2)
        q.append(np.log(np.mean(squares) ** 0.5 / b[r]))
    w = K * H / (K * H + 24)
    common = Common(step=9.0, ratio=0.3, prior=24)
    expected = [b_i * np.exp(w * (q_i - 0.3)) for b_i, q_i in zip(b, q, strict=True)]
    np.testing.assert_allclose(Spread.of(model, made, Sqrt()).sizes(common), expected)


def test_errors_count_by_their_number_and_steps_stand_in_where_there_are_none() -> None:
    steps, ratios = np.array([1.0, 2.0, 4.0, NAN]), np.array([2.0, 8.0, NAN, NAN])
    spread = Spread(steps, ratios, np.array([24.0, 72.0, 0.0, 0.0]))
    q = (np.log(2) / 2 + np.log(8) * 3 / 4) / (1 / 2 + 3 / 4)
    common = replace(spread.common(np.zeros((4, 1))), ratio=q, prior=24.0)
    assert common.step == pytest.approx(2.0)
    expected = [np.exp((np.log(2) - q) / 2), 2 * np.exp((np.log(8) - q) * 3 / 4), 4.0, 2.0]
    np.testing.assert_allclose(spread.sizes(common), expected)
    nothing = Spread(np.array([NAN]), np.array([NAN]), np.zeros(1))
    assert nothing.sizes(nothing.common(np.ones((1, 2)))).tolist() == [1.0]


@pytest.mark.parametrize("scatter", [0.0, 0.1, 2.0])
def test_own_errors_count_as_much_as_they_tell(scatter: float) -> None:
    """Ratios known up to noise of 1: the less they truly differ, the more the panel counts."""
    rng, n = np.random.default_rng(0), 2000
    true = scatter * rng.normal(size=n)
    spread = Spread(np.ones(n), np.exp(true + rng.normal(size=n)), np.full(n, 24.0))
    common = spread.common(np.exp(true)[:, None] * rng.laplace(size=(n, 5)))
    best = 24 / scatter**2 if scatter else np.inf  # tau^2 / (tau^2 + 1) = 24 / (24 + nu)
    assert common.prior == min(PRIORS, key=lambda nu: abs(24 / (24 + nu) - 24 / (24 + best)))
    np.testing.assert_allclose(
        common.ratio, np.log(spread.ratios).mean() if common.prior < np.inf else 0.0
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_prior_is_the_likeliest_by_laplace_laws(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratios, counts = np.exp(rng.normal(size=(2, 9))), rng.integers(0, 40, (2, 9)).astype(float)
    spread = Spread(rng.gamma(2.0, size=(2, 9)), ratios, counts)
    errors = rng.normal(size=(2, 9, 3))
    errors[0, :6] = NAN  # without these the mean of log sigma is the same for every prior
    common = spread.common(errors)
    judged = ~np.isnan(errors[..., 0])
    sizes = np.abs(errors[judged]).mean(axis=-1)

    def likelihood(prior: float) -> float:
        w = spread.weights(prior)
        q = np.average(np.log(spread.ratios), weights=w) if w.any() else 0.0
        sigma = spread.sizes(Common(common.step, q, prior))[judged]
        width = (sizes / sigma).mean()
        return float(laplace.logpdf(sizes, scale=width * sigma).mean())

    assert common.prior == max(PRIORS, key=likelihood)


def test_short_gapped_and_constant_rows_have_sizes() -> None:
    y, model = noisy(np.ones(4), n=30)
    rows = [np.array(y.row(r)) for r in range(4)]
    rows[0][5::3] = NAN
    rows[1] = rows[1][: H + 1]  # one step was known H steps before its end
    rows[2] = rows[2][:1]
    rows[3][:] = 7.0
    made = panel(*rows)
    spread = Spread.of(model, made, Identity())
    observed = (~np.isnan(rows[0][-K * H :])).sum()
    assert spread.counts.tolist() == [observed, H, 0, K * H]
    assert np.isnan(spread.ratios).tolist() == [False, False, True, True]
    common = spread.common(np.ones((4, H)))
    sizes = spread.sizes(common)
    assert (sizes > 0).all()
    assert sizes[2] == sizes[3] == common.step


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float64, (3, 5), elements=st.floats(0.01, 100.0)),
    st.floats(0.01, 100.0),
    st.integers(0, 4),
)
def test_a_row_in_another_unit_has_its_size_in_that_unit_and_the_others_stay(
    each: np.ndarray, unit: float, row: int
) -> None:
    steps, ratios, counts = each
    other = steps.copy()
    other[row] *= unit
    before, after = Spread(steps, ratios, counts), Spread(other, ratios, counts)
    common = Common(step=NAN, ratio=0.5, prior=12.0)
    expected = before.sizes(common)
    expected[row] *= unit
    np.testing.assert_allclose(after.sizes(common), expected)


# within the forecaster


def table(n: int = 60, series: int = 3) -> pa.Table:
    """Noise, a random walk and a slow wave: errors of very unlike size beside their steps."""
    noise = np.random.default_rng(0).normal(size=(2, n))
    every = [40 + noise[0], 40 + np.cumsum(noise[1]), 40 + 9 * np.sin(np.arange(n) / 9)]
    ids = np.repeat([chr(97 + s) for s in range(series)], n)
    ds = np.tile(np.arange(n), series)
    return pa.table({"unique_id": ids, "ds": ds, "y": np.concatenate(every[:series])})


def test_origins_know_nothing_of_what_comes_after_them() -> None:
    y = table()["y"].to_numpy()
    poisoned = y.reshape(3, 60).copy()
    poisoned[:, -3:] += 50.0
    made, other = (
        quick().fit(table().set_column(2, "y", pa.array(each.ravel()))).backtest.spread
        for each in (y, poisoned)
    )
    assert made is not None
    assert other is not None
    for name in ("steps", "ratios", "counts"):
        np.testing.assert_array_equal(getattr(made, name), getattr(other, name))


@pytest.mark.parametrize("name", ["identity", "sqrt"])
def test_the_widths_of_predictions_are_the_sizes(name: str) -> None:
    forecaster = quick(transform=name, companions=False).fit(table())
    backtest, f = forecaster.backtest, forecaster.design.scale
    assert _common(forecaster).prior < np.inf
    made = forecaster.predict(level=[80])
    lo, hi = (made[f"LSTM-{end}-80"].to_numpy().reshape(3, 3) for end in ("lo", "hi"))
    sizes = Spread.of(forecaster.model, forecaster.panel, f).sizes(_common(forecaster))
    half = backtest.calibration("LSTM").half(80, 3) * sizes[:, None]
    np.testing.assert_allclose((f.forward(hi) - f.forward(lo)) / 2, half, rtol=1e-6)
    assert made == forecaster.predict(table(), level=[80])


def test_each_target_of_one_series_has_a_size_of_its_own() -> None:
    two = pa.table({"ds": np.arange(60), "a": 10 + wave(), "b": 10 + wave(60, 1, noise=2.0)})
    forecaster = quick(target=("a", "b"), transform="identity").fit(two)
    assert _spread(forecaster).ratios.shape == (3, 2)
    made = forecaster.predict(level=[80])
    width = {
        t: made[f"{t}-LSTM-hi-80"][0].as_py() - made[f"{t}-LSTM-lo-80"][0].as_py() for t in "ab"
    }
    assert width["b"] > 1.5 * width["a"]


@pytest.mark.parametrize(
    "settings", [{}, {"output": "gaussian"}, {"scaling": "running", "architecture": "synced"}]
)
def test_one_row_distributions_and_carried_states_are_pooled_as_they_are(settings: Any) -> None:
    data = table(series=2 if settings else 1)
    assert quick(**settings).fit(data).backtest.spread is None


def rows(series: int, at: int) -> dict[str, list[Any]]:
    ids = [chr(97 + s) for s in range(series)]
    return {"unique_id": ids, "ds": [at] * series, "y": [10.0 + s for s in range(series)]}


def test_a_stream_goes_on_with_the_ratios_of_the_fit(tmp_path: Path) -> None:
    forecaster = quick(transform="identity").fit(table())
    fitted = Spread.of(forecaster.model, forecaster.panel, Identity())
    forecaster.update(rows(4, 60), learn=True)  # "d" is new
    forecaster.save(tmp_path / "stream")
    made = forecaster.predict(level=[80])
    assert tt.load(tmp_path / "stream").predict(level=[80]) == made
    u = [np.append(forecaster.panel.row(s), 10.0 + s) for s in range(3)]
    steps = np.array([*(np.abs(np.diff(row)).mean() for row in u), NAN])
    moved = Spread(steps, np.append(fitted.ratios, NAN), np.append(fitted.counts, 0.0))
    widths = made["LSTM-hi-80"].to_numpy() - made["LSTM-lo-80"].to_numpy()
    expected = moved.sizes(_common(forecaster))
    ratio = widths.reshape(4, 3)[:, 0] / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_a_file_keeps_what_was_known_at_the_origins(tmp_path: Path) -> None:
    forecaster = quick().fit(table())
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.backtest.sizes, forecaster.backtest.sizes)
    assert loaded.predict() == forecaster.predict()


def test_a_cross_validation_on_another_scale_measures_anew() -> None:
    forecaster = quick(members=3).fit(table())
    forecaster.predict()
    negative = table().set_column(2, "y", pa.array(table()["y"].to_numpy() - 60))
    forecaster.cross_validation(negative, n_windows=2)
    assert (forecaster.design.scale, forecaster.backtest.transform) == (Sqrt(), Identity())
    assert _spread(forecaster).ratios.shape == (2, 3)
    assert forecaster.predict() == forecaster.predict(table())


def _common(forecaster: tt.Forecaster) -> Common:
    common = forecaster.backtest.common
    assert common is not None
    return common


def _spread(forecaster: tt.Forecaster) -> Spread:
    spread = forecaster.backtest.spread
    assert spread is not None
    return spread
