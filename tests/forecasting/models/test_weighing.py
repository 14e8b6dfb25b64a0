"""Weights are inverse mean squares, and those that judge an origin know nothing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forecasting_cases import panel, quick, wave
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting.calibration.conformity import GRID
from throughtime.forecasting.evaluation.backtest import roll
from throughtime.forecasting.models.committee import Committee
from throughtime.forecasting.models.weighing import weighed, weights
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS

ERRORS = st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=5).map(np.array)


@given(ERRORS, st.floats(1e-3, 1e3))
def test_weights_sum_to_one_fall_with_errors_and_know_no_units(m: Any, unit: float) -> None:
    w = weights(m)
    assert w.sum() == pytest.approx(1.0)
    assert (w > 0).all()
    np.testing.assert_allclose(w * m, w[0] * m[0])
    np.testing.assert_allclose(weights(unit * m), w)


def test_a_group_that_never_errs_has_all_the_weight() -> None:
    np.testing.assert_allclose(weights(np.array([0.0, 1.0, 2.0])), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(weights(np.array([0.0, 0.0])), [0.5, 0.5])


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_no_other_weights_of_errors_that_know_nothing_of_each_other_vary_less(
    a: float, b: float
) -> None:
    w = weights(np.array([a, b]))
    variance = w @ (np.array([a, b]) * w)
    for other in np.linspace(0, 1, 41):
        assert variance <= other**2 * a + (1 - other) ** 2 * b + 1e-12


def rolled(R: int, quantiles: bool = False) -> tuple[Any, list[tuple[Any, Any]], Any]:
    """A back-test of two series, one of them too short for the first origin, and what groups said."""
    series, rng = panel(5 + wave(40), 5 + 3 * wave(26, 1)), np.random.default_rng(0)
    said: list[tuple[Any, Any]] = []

    def forecast(known: Any, r: int) -> Any:
        points = 5 + rng.normal(size=(3, len(known), 3)) * np.array([0.1, 1, 3])[:, None, None]
        held = np.sort(rng.normal(size=(*points.shape, len(GRID))), axis=-1)
        said.append((points, held))
        return points.mean(axis=0), held.mean(axis=0) if quantiles else None

    how: dict[str, Any] = {"n_windows": R, "step_size": 12, "season_length": 8, "levels": (80,)}
    return (
        roll(series, "LSTM", forecast, (), h=3, transform=TRANSFORMS["sqrt"], **how),
        said,
        series,
    )


@pytest.mark.parametrize("quantiles", [False, True])
def test_an_origin_is_weighed_by_the_others(quantiles: bool) -> None:
    backtest, said, series = rolled(3, quantiles)
    made, whole = weighed(backtest, said)
    f, errors = np.sqrt, []
    for r, (points, _) in enumerate(said):
        rows = [s for s in range(2) if len(series.row(s)) > backtest.ahead(r)]
        sizes = [np.abs(np.diff(f(series.row(s)))).mean() for s in rows]
        y = np.stack([backtest.y[r, s] for s in rows])
        e = (f(y) - f(np.maximum(points, 0))) / np.array(sizes)[:, None]
        errors.append(e.reshape(3, -1) ** 2)
    for r, (points, held) in enumerate(said):
        m = np.concatenate([e for q, e in enumerate(errors) if q != r], axis=1).mean(axis=1)
        w = (1 / m) / (1 / m).sum()
        known = ~np.isnan(backtest.forecasts["LSTM"][r, :, 0])
        assert known.sum() == points.shape[1]
        expected = np.einsum("g,grh->rh", w, points)
        np.testing.assert_allclose(made.forecasts["LSTM"][r, known], expected)
        if quantiles:
            expected = np.einsum("g,grhq->rhq", w, held)
            np.testing.assert_allclose(made.quantiles[r, known], expected)
    m = np.concatenate(errors, axis=1).mean(axis=1)
    np.testing.assert_allclose(whole, (1 / m) / (1 / m).sum())
    assert whole[0] > whole[1] > whole[2]
    np.testing.assert_array_equal(np.isnan(made.forecasts["LSTM"]), np.isnan(backtest.y))


def test_one_origin_is_combined_in_equal_parts() -> None:
    backtest, said, _ = rolled(1)
    made, whole = weighed(backtest, said)
    np.testing.assert_allclose(made.forecasts["LSTM"], backtest.forecasts["LSTM"])
    assert whole[0] > 0.5


def test_a_fit_weighs_by_its_origins_and_forecasts_by_all() -> None:
    y = 5 + wave(60)
    members = tt.Members(1, (8, 16), combine="weighted")
    forecaster = quick(members=members, n_windows=3).fit(y)
    equal = quick(members=replace(members, combine="mean"), n_windows=3).fit(y)
    model = forecaster.model
    assert isinstance(model, Committee)
    assert model.weights is not None
    assert model.weights.sum() == pytest.approx(1.0)
    assert forecaster.settings["weights"] == model.weights.tolist() != [0.5, 0.5]
    points = np.stack([each.forecast(forecaster.panel) for each in equal.model.models])
    expected = np.einsum("g,grh->rh", model.weights, points)
    np.testing.assert_allclose(model.forecast(forecaster.panel), expected)
    before = forecaster.predict()
    assert forecaster.cross_validation(y, 1).num_rows == 3
    assert forecaster.predict(level=[]) == before.select(["unique_id", "ds", "LSTM"])
