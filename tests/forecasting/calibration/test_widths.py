"""Widths by the past of a row: traits, the regression against least squares, and what it may know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from forecasting_cases import NAN, panel, quick
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting.calibration.intervals import Calibration
from throughtime.forecasting.calibration.spread import Common, Spread
from throughtime.forecasting.calibration.widths import EDGE, LEAST, Widths, traits
from throughtime.forecasting.evaluation.metrics import coverage
from throughtime.forecasting.preprocessing.transforms import Identity, Sqrt
from throughtime.forecasting.storage.spread import pack_spread, unpack_spread

H = 2
R, ROWS, J = 3, 60, 7


@pytest.mark.parametrize("h", [2, 4, 11])
def test_traits_are_those_of_the_equations(h: int) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.gamma(3.0, size=n) for n in (60, 9, 4, 2)]
    rows[0][[3, 54, 59]] = NAN
    made = traits(panel(*rows), Sqrt(), h)
    for x, y in zip(made, rows, strict=True):
        d = np.diff(np.sqrt(y))
        b = np.nanmean(np.abs(d))

        def v(steps: np.ndarray, b: float = b) -> float:
            steps = steps[~np.isnan(steps)]
            squares = ((steps - steps.mean()) ** 2).sum() if len(steps) else 0.0
            return float(((squares + 2 * b**2) / (max(len(steps) - 1, 0) + 2)) ** 0.5)

        newest = d[-{2: 1, 4: 1, 11: 2}[h] :]
        newest = newest[~np.isnan(newest)]
        size = ((newest @ newest + 2 * b**2) / (len(newest) + 2)) ** 0.5
        seen = y[~np.isnan(y)]
        level = seen[-1] / seen.mean()
        expected = [v(d[-h:]) / b, v(d[-4 * h :]) / b, b, len(seen), level, size / b]
        np.testing.assert_allclose(np.exp(x), expected)


def test_a_row_that_never_moved_has_its_number_and_level_alone() -> None:
    made = traits(panel([0.0] * 9, [5.0] * 9, [5.0]), Identity(), H)
    np.testing.assert_allclose(made[1], [NAN, NAN, NAN, np.log(9), 0.0, NAN])
    np.testing.assert_allclose(made[2], [NAN, NAN, NAN, 0.0, 0.0, NAN])
    assert np.isnan(made[0]).tolist() == [True, True, True, False, True, True]


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(2, 12))
def test_in_another_unit_the_mean_step_alone_is_another(unit: float, n: int) -> None:
    y = np.random.default_rng(n).normal(size=(3, n)) - 0.3
    made, other = (traits(panel(*each), Identity(), H) for each in (y, unit * y))
    made[:, 2] += np.log(unit)
    np.testing.assert_allclose(other, made, atol=1e-8)


def told(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Traits [R, rows, J], and errors [R, rows] that go with two of them, and with the origin."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(R, ROWS, J)) * np.arange(1, J + 1) + 7
    r = np.exp(0.4 * x[..., 1] - 0.1 * x[..., 3] + 0.5 * rng.normal(size=(R, ROWS)))
    return x, r * np.array([1.0, 9.0, 0.1])[:, None]


def test_weights_are_those_of_least_squares_with_a_level_of_each_origin() -> None:
    x, r = told()
    r[1, 5:20] = NAN
    judged = ~np.isnan(r)
    low, high = np.quantile(x[judged], [EDGE, 1 - EDGE], axis=0)
    held = np.clip(x, low, high)
    z = (held - held[judged].mean(axis=0)) / held[judged].std(axis=0)
    t = np.log(r + 0.05 * np.nanmedian(r, axis=1)[:, None])[judged]
    origin = np.broadcast_to(np.eye(R)[:, None], (R, ROWS, R))[judged]
    ridge = np.sqrt(0.1 * (len(t) + 200)) * np.eye(J)
    A = np.block([[z[judged], origin], [ridge, np.zeros((J, R))]])
    solved = np.linalg.lstsq(A, np.append(t, np.zeros(J)), rcond=None)[0]
    made = Widths.fit(x, r)
    np.testing.assert_allclose(made.beta, solved[:J], rtol=1e-9)
    np.testing.assert_allclose(made.factors(x), np.exp(z @ solved[:J]), rtol=1e-9)
    np.testing.assert_allclose(Widths.fit(x, r * [[5.0], [1.0], [2.0]]).beta, made.beta)


def test_what_is_not_known_counts_as_the_mean_and_what_is_far_out_as_the_edge() -> None:
    x, r = told()
    made = Widths.fit(x, r)
    assert made.factors(np.full(J, NAN)) == 1.0
    assert made.factors(made.mean) == pytest.approx(1.0)
    np.testing.assert_array_equal(made.factors(np.full(J, 1e9)), made.factors(made.edges[1]))


def test_traits_that_no_row_or_every_row_has_alike_say_nothing() -> None:
    x, r = told()
    x[..., 0], x[..., 2] = NAN, 4.0
    r[0, :9] = 0.0  # forecast exactly: no logarithm
    made = Widths.fit(x, r)
    assert made.beta[0] == made.beta[2] == 0.0
    assert np.isfinite(made.factors(x)).all()


# in units of sigma


def spread_of(x: np.ndarray) -> Spread:
    ratios, counts = np.exp(x[..., 6] / 9), np.full(x.shape[:2], 24.0)
    return Spread(np.exp(x[..., 2] / 9), ratios, counts, x[..., :6])


def test_widths_at_an_origin_are_by_the_errors_at_the_others() -> None:
    x, r = told()
    spread, errors = spread_of(x), r[..., None] * [1.0, -1.0]
    common = spread.common(errors)
    made = spread.left_out(common, errors)
    for o in range(R):
        other = errors.copy()
        other[o] = np.random.default_rng(o).normal(size=(ROWS, 2))
        np.testing.assert_array_equal(spread.left_out(common, other)[o], made[o])
        assert not np.allclose(spread.left_out(common, other)[o - 1], made[o - 1])


def test_widths_are_learned_from_errors_in_units_of_sigma() -> None:
    x, r = told()
    spread, errors = spread_of(x), r[..., None] * [1.0, -1.0]
    common = spread.common(errors)
    plain = replace(common, widths=None)
    w = spread.counts / (spread.counts + common.prior)
    own = w * (np.log(spread.ratios) - common.ratio)
    whole = np.concatenate([x[..., :6], own[..., None]], axis=-1)
    expected = Widths.fit(whole, r / spread.sizes(plain)).factors(whole)
    np.testing.assert_allclose(spread.sizes(common), spread.sizes(plain) * expected)


@pytest.mark.parametrize("rows", [LEAST - 1, LEAST])
def test_few_rows_or_one_origin_learn_no_widths(rows: int) -> None:
    x, r = told()
    errors = r[..., None]
    errors[0, rows:] = errors[2, rows:] = errors[1] = NAN
    spread = spread_of(x)
    assert (spread.common(errors).widths is None) == (rows < LEAST)
    errors[2] = NAN
    assert spread.common(errors).widths is None


def test_files_without_traits_have_the_sizes_of_before() -> None:
    x, r = told()
    spread = spread_of(x)
    common = spread.common(r[..., None])
    before = replace(spread, traits=None)
    assert before.common(r[..., None]) == replace(common, widths=None)
    np.testing.assert_array_equal(before.sizes(common), spread.sizes(replace(common, widths=None)))


def test_files_with_five_traits_go_by_these_and_bend_no_errors() -> None:
    x, r = told()
    spread, errors = spread_of(x), r[..., None]
    before = replace(spread, traits=x[..., :5])
    common = before.common(errors)
    w = before.weights(common.prior)
    own = w * (np.log(before.ratios) - common.ratio)
    plain = before.sizes(replace(common, widths=None))
    five = np.concatenate([x[..., :5], own[..., None]], axis=-1)
    expected = plain * Widths.fit(five, r / plain).factors(five)
    for each in (before, spread):  # of the file, of what a loaded model says of other rows
        np.testing.assert_allclose(each.sizes(common), expected)
    rows = panel(*np.arange(3.0 * (ROWS + 1)).reshape(-1, 3))  # one of them new
    one = Spread(before.steps[0], before.ratios[0], before.counts[0], x[0, :, :5])
    assert np.isfinite(one.moved_to(rows, Identity()).sizes(common)).all()
    assert not common.bent
    assert spread.common(errors).bent
    assert unpack_spread(pack_spread(before), R, ROWS).traits.shape == (R, ROWS, 5)
    short = replace(spread, traits=x[..., :4])
    with pytest.raises(ValueError, match="traits"):
        unpack_spread(pack_spread(short), R, ROWS)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_grow_steadily_are_covered_more_like_those_that_jump_about(seed: int) -> None:
    """Half of them go up by 9 and noise, which the mean step takes for noise of 9."""
    rng, n, h = np.random.default_rng(seed), 80, 6
    d = rng.normal(size=(200, n)) * np.repeat([0.5, 7.0], 100)[:, None]
    d[:100] += 9.0
    y = np.cumsum(d, axis=1)
    ends = [n - 3 * h, n - 2 * h, n - h]  # two origins, and the one that is judged
    made = [spread_of_steps(y[:, :end], h) for end in ends]
    drift = np.where(np.arange(200) < 100, 9.0, 0.0)[:, None] * np.arange(1, h + 1)
    errors = np.stack([y[:, end : end + h] - y[:, end - 1 : end] - drift for end in ends])
    past = Spread.at_origins(made[:2], np.ones((2, 200), dtype=bool))
    common = past.common(errors[:2])

    def covered(common: Common) -> list[float]:
        scores = errors[:2] / past.left_out(common, errors[:2])[..., None]
        half = Calibration.fit(scores).half(80, h) * made[2].sizes(common)[:, None]
        groups = slice(None, 100), slice(100, None)
        return [coverage(errors[2, g], -half[g], half[g]) for g in groups]

    apart, before = (np.subtract(*covered(each)) for each in (common, replace(common, widths=None)))
    assert before > 0.3
    assert abs(apart) < 0.65 * before


def spread_of_steps(y: np.ndarray, h: int) -> Spread:
    steps = np.abs(np.diff(y)).mean(axis=1)
    rows = tt.forecasting.read_frame(table(y))
    return Spread(
        steps, np.full_like(steps, NAN), np.zeros_like(steps), traits(rows, Identity(), h)
    )


def table(y: np.ndarray) -> pa.Table:
    ids, ds = (each.ravel() for each in np.indices(y.shape))
    return pa.table({"unique_id": ids, "ds": ds, "y": y.ravel()})


# within the forecaster


@pytest.fixture(scope="module")
def fitted() -> tt.Forecaster:
    return quick(transform="sqrt").fit(walks())


def walks() -> pa.Table:
    rng = np.random.default_rng(0)
    return table(
        90 + np.cumsum(rng.normal(size=(LEAST, 40)) * rng.gamma(1.0, size=(LEAST, 1)), axis=1)
    )


def widths(forecaster: tt.Forecaster, made: pa.Table) -> np.ndarray:
    f = forecaster.design.scale
    lo, hi = (f.forward(made[f"LSTM-{end}-80"].to_numpy()) for end in ("lo", "hi"))
    return (hi - lo).reshape(-1, 3)[:, 0]


def test_forecasts_are_as_wide_as_their_past_says(fitted: tt.Forecaster, tmp_path: Path) -> None:
    common = fitted.backtest.common
    assert common is not None
    assert common.widths is not None
    sizes = Spread.of(fitted.model, fitted.panel, Sqrt()).sizes(common)
    made = fitted.predict(level=[80])
    ratio = widths(fitted, made) / sizes
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert not np.allclose(
        sizes, Spread.of(fitted.model, fitted.panel, Sqrt()).sizes(replace(common, widths=None))
    )
    assert fitted.predict(walks(), level=[80]) == made
    fitted.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.backtest.sizes, fitted.backtest.sizes)
    assert loaded.predict(level=[80]) == made


def test_intervals_of_many_rows_lie_as_much_higher_as_they_are_wide(fitted: tt.Forecaster) -> None:
    made = fitted.predict(level=[80])
    u, lo, hi = (np.sqrt(made[f"LSTM{end}"].to_numpy()) for end in ("", "-lo-80", "-hi-80"))
    half = (hi - lo) / 2
    np.testing.assert_allclose((lo + hi) / 2, u + half**2 / (4 * u), rtol=1e-6)
    backtest = fitted.backtest
    assert backtest.bent
    assert not replace(backtest, transform=Identity()).bent
    u = np.sqrt(backtest.forecasts["LSTM"])
    lo, hi = np.sqrt(backtest.intervals["LSTM"][80.0])
    half = (hi - lo) / 2
    np.testing.assert_allclose((lo + hi) / 2, u + half**2 / (4 * u), rtol=1e-6)


def test_a_stream_keeps_the_widths_of_the_fit(tmp_path: Path) -> None:
    forecaster = quick(transform="sqrt").fit(walks())
    before = Spread.of(forecaster.model, forecaster.panel, Sqrt())
    rows = range(LEAST + 1)  # the last is new
    new = {"unique_id": [*rows], "ds": [40 for _ in rows], "y": [90.0 + r for r in rows]}
    forecaster.update(new)
    made = forecaster.predict(level=[80])
    common = forecaster.backtest.common
    assert common is not None
    steps = [
        np.abs(np.diff(np.sqrt([*forecaster.panel.row(r), 90.0 + r]))).mean() for r in rows[:-1]
    ]
    assert before.traits is not None
    moved = Spread(
        np.append(steps, NAN),
        np.append(before.ratios, NAN),
        np.append(before.counts, 0.0),
        np.vstack([before.traits, np.full(6, NAN)]),
    )
    ratio = widths(forecaster, made) / moved.sizes(common)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert np.isfinite(ratio[-1])
    forecaster.save(tmp_path / "stream")
    assert tt.load(tmp_path / "stream").predict(level=[80]) == made
