"""Intervals of what nets say, their measured coverage, sample paths, counts, and several targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from forecasting_cases import NAN, panel, quick, wave
from scipy.stats import norm

import throughtime as tt
from throughtime.forecasting.calibration import copula
from throughtime.forecasting.calibration.conformity import GRID, MOST
from throughtime.forecasting.calibration.intervals import Calibration
from throughtime.forecasting.evaluation.backtest import Backtest, StepCoverage, roll
from throughtime.forecasting.evaluation.metrics import interval_loss
from throughtime.forecasting.preprocessing.transforms import Identity
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.uncertainty import normal_scores, stretched, tied
from throughtime.training import Forcing, TrainingSettings

Y = 5 + wave(60)
COUNTS = np.random.default_rng(0).poisson(3 + 2 * np.sin(np.arange(60) * np.pi / 4)) * 1.0
H = 3
OUTPUTS = ["quantiles", "gaussian", "student-t", "mixture", "negative-binomial"]
ARCHITECTURES = ["direct", "segment", "seq2seq", "synced", "recursive", "ar"]


def ends(table: Any, name: str = "LSTM") -> np.ndarray:
    """lo-95, lo-80, hi-80, hi-95 of every row."""
    names = [f"{name}-{end}" for end in ("lo-95", "lo-80", "hi-80", "hi-95")]
    return np.array([table[each].to_numpy() for each in names])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_output_of_every_architecture_has_nested_intervals_and_paths(
    architecture: str, output: str, tmp_path: Path
) -> None:
    counts = output == "negative-binomial"
    forecaster = quick(architecture=architecture, output=output, n_windows=2)
    made = forecaster.fit(COUNTS if counts else Y).predict()
    drawn = forecaster.sample(n=4)
    values = ends(made)
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=0) >= 0).all()
    if counts:
        for each in (values, drawn["LSTM"].to_numpy()):
            assert (each == np.round(each)).all()
            assert (each >= 0).all()
    assert set(forecaster.backtest.scores[0].coverage) == {80, 95}
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.predict() == made
    assert loaded.sample(n=4) == drawn
    assert loaded.backtest.table == forecaster.backtest.table
    assert loaded.reach.layer == forecaster.reach.layer


@pytest.mark.parametrize("architecture", ["direct", "recursive"])
def test_without_origins_intervals_are_the_quantiles_that_the_nets_say(architecture: str) -> None:
    forecaster = quick(architecture=architecture, output="gaussian", n_windows=0).fit(Y)
    said = forecaster.model.quantiles(forecaster.panel, [0.025, 0.1, 0.9, 0.975])
    np.testing.assert_allclose(ends(forecaster.predict()), said[0].T, rtol=1e-6)


def test_with_origins_intervals_reach_to_the_calibrated_score() -> None:
    forecaster = quick(output="gaussian", transform="identity").fit(Y)
    panel, backtest = forecaster.panel, forecaster.backtest
    middle, one_above = forecaster.model.quantiles(panel, [0.5, norm.cdf(1.0)])[0].T
    sigma = one_above - middle
    unit = sigma.mean() / backtest.sizes[0] if backtest.in_errors else 1.0
    half = backtest.calibration("LSTM").half(80, H) / unit
    made = ends(forecaster.predict())
    np.testing.assert_allclose(made[1], middle - half * sigma, rtol=1e-5)
    np.testing.assert_allclose(made[2], middle + half * sigma, rtol=1e-5)


def with_quantiles(spread: float, R: int = 40, h: int = 3, seed: int = 0) -> Backtest:
    """Values that are normal, beside quantiles `spread` times as wide as they should be."""
    rng = np.random.default_rng(seed)
    sigma = rng.gamma(3.0, size=(R, 1, h))  # known, and not the same at any two places
    y = sigma * rng.normal(size=sigma.shape)
    known = panel(np.zeros(R * h + 20) + rng.normal(size=R * h + 20))
    forecasts, q = {"LSTM": np.zeros_like(y)}, spread * sigma[..., None] * norm.ppf(GRID)
    return Backtest(known, h, R, h, 1, Identity(), (80, 95), y, forecasts, q)


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_whatever_width_is_said_the_calibrated_one_covers(spread: float) -> None:
    made = with_quantiles(spread, R=120)
    for level in (80.0, 95.0):
        assert made.scores[0].coverage[level] == pytest.approx(level / 100, abs=0.03)
        lo, hi = made.intervals["LSTM"][level]
        exact = with_quantiles(1.0, R=120).intervals["LSTM"][level]
        # but for the scores that lie beyond all quantiles, the width said does not matter
        np.testing.assert_allclose((hi - lo).mean(), (exact[1] - exact[0]).mean(), rtol=0.05)


def test_a_net_that_was_too_sure_while_it_knew_little_is_measured_by_its_errors() -> None:
    """Widths said that grow tenfold from origin to origin, beside errors that do not."""
    made = with_quantiles(1.0)
    assert not made.in_errors
    sure = np.linspace(0.1, 1.0, 40)[:, None, None]
    sigma = np.full_like(made.y, 1.0)
    y = np.random.default_rng(1).normal(size=sigma.shape)
    q = (sure * sigma)[..., None] * norm.ppf(GRID)
    later = replace(made, y=y, quantiles=q)
    assert later.in_errors
    lo, hi = later.intervals["LSTM"][80]
    np.testing.assert_allclose(hi - lo, np.mean(hi - lo), rtol=0.1)


def test_the_widths_follow_what_is_said_of_each_place() -> None:
    """Errors of one size for all places would miss where the spread is large."""
    made = with_quantiles(1.0, R=120)
    wide = made.quantiles[..., -1] > np.median(made.quantiles[..., -1])
    lo, hi = made.intervals["LSTM"][80]
    inside = (lo <= made.y) & (made.y <= hi)
    assert inside[wide].mean() == pytest.approx(inside[~wide].mean(), abs=0.06)


def test_a_short_past_makes_no_forecast_sure_of_itself() -> None:
    """Walks that drift leave the range of what is known of them, the sooner the less that is."""
    rng = np.random.default_rng(0)
    steps = [rng.normal(1.0, 0.5, size=n) for n in rng.integers(8, 60, size=40)]
    ids = np.repeat(np.arange(len(steps)), [len(each) for each in steps])
    y = np.concatenate([100 + each.cumsum() for each in steps])
    ds = np.concatenate([np.arange(len(each)) for each in steps])
    walks = pa.table({"unique_id": ids, "ds": ds, "y": y})
    lost: dict[str, float] = {}
    for output in ("point", "gaussian", "quantiles"):
        made = quick(output=output, n_windows=2, residual="last").fit(walks).backtest
        assert made.scores[0].coverage[95] == pytest.approx(0.95, abs=0.03)
        assert np.nanmax(np.abs(made.residuals("LSTM"))) < MOST / 2
        lo, hi = made.intervals["LSTM"][95]
        lost[output] = float(np.nanmean(interval_loss(made.y, lo, hi, 95)))
    assert max(lost.values()) < 2 * lost["point"]


def test_coverage_by_step_is_that_of_the_table() -> None:
    made = quick(output="quantiles").fit(Y).backtest
    table = made.table.to_pandas()
    table["step"] = table["ds"] - table["cutoff"]
    assert set(made.coverage_by_step) == set(made.models)
    for model, levels in made.coverage_by_step.items():
        for level, each in levels.items():
            lo, hi = (table[f"{model}-{end}-{level:g}"] for end in ("lo", "hi"))
            expected = table["y"].between(lo, hi).groupby(table["step"]).mean()
            np.testing.assert_allclose(each.shares, expected)
            assert each.n.tolist() == [3] * H
            assert "3 values a step" in each.note
    rows = made.coverage_table.to_pandas().query("model == 'LSTM' and level == 95")
    np.testing.assert_allclose(rows["coverage"], made.coverage_by_step["LSTM"][95].shares)
    assert rows["step"].tolist() == [1, 2, 3]


def test_coverage_that_can_be_told_well_needs_no_note() -> None:
    n = np.array([300, 400])
    assert StepCoverage(80, np.array([0.8, 0.8]), n).note == ""  # 2 sqrt(.16 / 300) = 4.6 points
    assert "5 points" in StepCoverage(80, np.array([0.8, 0.8]), n - 45).note


def random_walk(known: Panel, r: int) -> tuple[np.ndarray, None]:
    """The last value, for ever."""
    return np.array([[known.row(i)[-1]] * 6 for i in range(len(known))]), None


def test_paths_of_a_random_walk_have_the_variance_of_its_sums() -> None:
    """sum_{k<=h} e_k has variance h (h + 1) (2 h + 1) / 6; with independent steps h (h + 1) / 2."""
    h, rng = 6, np.random.default_rng(0)
    whole = panel(rng.normal(size=6 * 300 + 20).cumsum())
    settings: dict[str, Any] = {"h": h, "step_size": h, "season_length": 1, "levels": (80,)}
    true, alone = h * (h + 1) * (2 * h + 1) / 6, h * (h + 1) / 2
    for R, tolerance in ((300, 0.15), (12, 0.25)):
        made = roll(whole, "Ours", random_walk, [], transform=Identity(), n_windows=R, **settings)
        calibration = made.calibration("Ours")
        g = copula.draw(tied(made, calibration, h), 20_000, np.random.default_rng(1))
        e = stretched(calibration, g) * made.sizes[0]
        if R == 300:  # of 12 origins the widths are not told so well
            assert np.var(e.sum(axis=1)) == pytest.approx(true, rel=tolerance)
        share = np.var(e.sum(axis=1)) / np.var(e, axis=0).sum()
        assert share == pytest.approx(true / alone, rel=tolerance)  # 1 with independent steps
        assert np.corrcoef(e[:, 2], e[:, 3])[0, 1] == pytest.approx((3 / 4) ** 0.5, abs=0.1)


def test_normal_scores_and_stretching_are_each_others_inverse() -> None:
    residuals = np.random.default_rng(0).standard_t(3, size=(400, 4)) * [1, 2, 3, 4]
    calibration = Calibration.fit(residuals)
    w = normal_scores(calibration, residuals)
    assert w.std() == pytest.approx(1.0, abs=0.05)
    bulk = np.abs(w) < 2
    np.testing.assert_allclose(stretched(calibration, w)[bulk], residuals[bulk], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("architecture", "output"), [
    ("direct", "point"), ("direct", "gaussian"), ("direct", "mixture"), ("recursive", "student-t"),
])  # fmt: skip
def test_the_paths_quantiles_are_the_tables_intervals(architecture: str, output: str) -> None:
    forecaster = quick(architecture=architecture, output=output).fit(Y)
    made, drawn = forecaster.predict(), forecaster.sample(n=6000, seed=1)
    paths = drawn["LSTM"].to_numpy().reshape(6000, H)
    for q, end in zip((0.025, 0.1, 0.9, 0.975), ends(made), strict=True):
        below, until = (paths < end - 1e-9).mean(axis=0), (paths <= end + 1e-9).mean(axis=0)
        assert (below < q + 0.02).all()  # few scores are repeated: an end may be a jump
        assert (q - 0.02 < until).all()


def test_recursive_paths_keep_what_ties_their_steps() -> None:
    forecaster = quick(architecture="recursive", output="gaussian", residual="last").fit(Y.cumsum())
    own = forecaster.model.paths(forecaster.panel, 2000, H, seed=0)[:, 0]
    drawn = forecaster.sample(n=2000)["LSTM"].to_numpy().reshape(2000, H)
    order = [np.argsort(np.argsort(p, axis=0), axis=0) for p in (own, drawn)]
    tied_own, tied_drawn = (np.corrcoef(ranks.T) for ranks in order)
    assert tied_own[0, 2] > 0.3
    np.testing.assert_allclose(tied_drawn, tied_own, atol=0.05)


def test_a_seed_repeats_paths_and_another_does_not() -> None:
    forecaster = quick().fit(Y)
    assert forecaster.sample(n=5, seed=3) == forecaster.sample(n=5, seed=3)
    assert forecaster.sample(n=5, seed=3) != forecaster.sample(n=5, seed=4)


def test_paths_of_several_series_come_in_the_kind_of_the_table() -> None:
    frame = pd.DataFrame({"unique_id": ["b"] * 60 + ["a"] * 60, "ds": [*range(60)] * 2})
    frame["y"] = [*Y, *(100 - Y)]
    forecaster = quick().fit(frame)
    drawn = forecaster.sample(n=2)
    assert isinstance(drawn, pd.DataFrame)
    assert drawn["unique_id"].tolist() == ["b"] * 6 + ["a"] * 6
    assert drawn["ds"].tolist() == [60, 61, 62] * 4
    assert drawn["sample"].tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert (drawn["LSTM"][:6] < 50).all()
    assert (drawn["LSTM"][6:] > 50).all()


def test_paths_need_origins_unless_the_architecture_draws_its_own() -> None:
    for output in ("point", "gaussian"):
        with pytest.raises(tt.NotFittedError, match="n_windows above 0"):
            quick(n_windows=0, output=output).fit(Y).sample()
    forecaster = quick(n_windows=0, architecture="recursive").fit(Y)
    assert len(forecaster.sample(n=2)) == 2 * H


# counts


@pytest.mark.parametrize(("wrong", "said"), [(-1.0, "-1 on 1990-06"), (2.5, "2.5 on 1990-06")])
def test_what_is_no_count_is_named(wrong: float, said: str) -> None:
    counts = COUNTS.copy()
    counts[5] = wrong
    months = pd.date_range("1990-01-01", periods=60, freq="MS")
    frame = pd.DataFrame({"unique_id": "shop", "ds": months, "y": counts})
    forecaster = quick(output="negative-binomial", n_windows=0)
    with pytest.raises(tt.DataError, match=f"{said}.* in series 'shop'"):
        forecaster.fit(frame)
    frame["y"] = COUNTS
    forecaster.fit(frame)
    frame["y"] = counts
    with pytest.raises(tt.DataError, match=said):
        forecaster.predict(frame)


@pytest.mark.parametrize("settings", [{"transform": "sqrt"}, {"residual": "last"}])
def test_counts_cannot_be_shifted(settings: dict[str, Any]) -> None:
    with pytest.raises(tt.SettingError, match="counts, which cannot be shifted"):
        quick(output="negative-binomial", **settings).fit(COUNTS)


LEARN = TrainingSettings(max_updates=60, batch_size=16, learning_rate=0.05, evaluate_every=30)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_counts_of_series_of_unlike_size_are_learned_in_their_own_units(architecture: str) -> None:
    """Poisson counts about 2 and about 200: means and spreads come out as they are."""
    rng, means = np.random.default_rng(0), (2.0, 200.0)
    y = [rng.poisson(mean, 80).astype(float) for mean in means]
    table = pa.table(
        {"unique_id": ["a"] * 80 + ["b"] * 80, "ds": [*range(80)] * 2, "y": np.concatenate(y)}
    )
    forcing = {"forcing": Forcing("linear")} if architecture == "seq2seq" else {}
    training = TrainingSettings(**{**LEARN.__dict__, **forcing})
    forecaster = quick(
        output="negative-binomial", architecture=architecture, n_windows=0, training=training
    ).fit(table)
    made = forecaster.predict().to_pandas().groupby("unique_id").mean()
    for name, mean in zip("ab", means, strict=True):
        row = made.loc[name]
        assert row["LSTM"] == pytest.approx(mean, rel=0.35)
        assert row["LSTM-lo-95"] < mean < row["LSTM-hi-95"]
    assert made.loc["b", "LSTM-hi-95"] - made.loc["b", "LSTM-lo-95"] < 300  # not 200 times a's


def test_a_window_without_any_count_is_no_end() -> None:
    counts = COUNTS.copy()
    counts[-20:] = 0
    made = quick(output="negative-binomial", context_length=8).fit(counts).predict()
    assert np.isfinite(ends(made)).all()
    counts[3] = NAN
    assert np.isfinite(ends(quick(output="negative-binomial").fit(counts).predict())).all()


# several targets


def weather(n: int = 60) -> pd.DataFrame:
    both = wave(n, 3, 1.0)
    load, price = 50 + 5 * wave(n, 1) + both, 10 + 2 * wave(n, 2) + both
    rows = {"ds": range(n), "load": load, "price": price}
    return pd.concat([pd.DataFrame({"unique_id": s, **rows}) for s in "ab"], ignore_index=True)


@pytest.mark.parametrize("output", ["point", "gaussian"])
def test_several_targets_have_columns_of_their_own(output: str) -> None:
    frame = weather()
    forecaster = quick(target=["load", "price"], output=output).fit(frame)
    made = forecaster.predict(level=[80])
    assert made.columns.tolist() == [
        "unique_id", "ds", "load-LSTM", "load-LSTM-lo-80", "load-LSTM-hi-80",
        "price-LSTM", "price-LSTM-lo-80", "price-LSTM-hi-80",
    ]  # fmt: skip
    assert made["unique_id"].tolist() == ["a"] * H + ["b"] * H
    assert made["ds"].tolist() == [60, 61, 62] * 2
    assert made["load-LSTM"].between(30, 70).all()
    assert made["price-LSTM"].between(0, 25).all()
    point = forecaster.model.forecast(forecaster.panel)
    np.testing.assert_array_equal(made["price-LSTM"][H:], point[3])
    drawn = forecaster.sample(n=2)
    assert drawn.columns.tolist() == ["unique_id", "ds", "sample", "load-LSTM", "price-LSTM"]
    assert drawn["load-LSTM"].between(20, 80).all()


def test_back_tests_of_several_targets_can_be_evaluated() -> None:
    frame = weather()
    forecaster = quick(target=["load", "price"])
    table = forecaster.cross_validation(frame, n_windows=2, level=[80])
    assert table.columns[:5].tolist() == ["unique_id", "ds", "cutoff", "load", "load-LSTM"]
    assert {"price", "price-LSTM", "price-Naive", "price-Naive-hi-80"} < set(table.columns)
    truth = frame.set_index(["unique_id", "ds"])
    for target in ("load", "price"):
        places = list(zip(table["unique_id"], table["ds"], strict=True))
        np.testing.assert_array_equal(table[target], truth.loc[places, target])
        scored = tt.evaluate(table, target=target, models=[f"{target}-LSTM", f"{target}-Naive"])
        error = (table[target] - table[f"{target}-LSTM"]).abs().mean()
        assert scored.set_index("model").loc[f"{target}-LSTM", "mae"] == pytest.approx(error)
        assert scored["coverage-80"].notna().all()


def test_one_target_of_another_name_keeps_it() -> None:
    frame = weather()[["unique_id", "ds", "load"]]
    forecaster = quick(target="load")
    table = forecaster.cross_validation(frame, n_windows=2, level=[80])
    assert table.columns[:5].tolist() == ["unique_id", "ds", "cutoff", "load", "LSTM"]
    assert tt.evaluate(table, target="load")["model"].tolist()[:2] == ["LSTM", "Naive"]
    assert "LSTM" in forecaster.fit(frame).predict(level=[]).columns


# any horizon


def test_recursive_forecasts_go_on_for_as_long_as_they_are_asked_to() -> None:
    forecaster = quick(architecture="recursive", output="gaussian").fit(Y)
    short, own, long = (forecaster.predict(h=h) for h in (2, None, 7))
    assert [len(each) for each in (short, own, long)] == [2, H, 7]
    assert long["ds"].to_pylist() == list(range(60, 67))
    calibration = forecaster.backtest.calibration("LSTM")
    half = calibration.half(80, 7)
    np.testing.assert_array_equal(half[H:], half[H - 1])
    assert len(forecaster.sample(n=2, h=7)) == 14
    assert quick(architecture="recursive", n_windows=0).fit(Y).predict(h=5).num_rows == 5


@pytest.mark.parametrize("architecture", ["direct", "segment", "seq2seq", "synced"])
def test_others_give_their_first_steps_and_no_more(architecture: str) -> None:
    forecaster = quick(architecture=architecture, output="gaussian").fit(Y)
    whole = forecaster.predict().to_pydict()
    assert forecaster.predict(h=2).to_pydict() == {name: each[:2] for name, each in whole.items()}
    assert len(forecaster.sample(n=3, h=2)) == 6
    with pytest.raises(tt.SettingError, match=r"h of at most 3.* architecture='recursive'"):
        forecaster.predict(h=4)


def test_covariates_are_needed_for_the_steps_that_are_asked_for() -> None:
    table = pa.table({"ds": range(60), "y": Y, "heat": wave(60, 5)})
    ahead = pa.table({"ds": range(60, 65), "heat": wave(5, 6)})
    forecaster = quick(architecture="recursive", futr="heat", n_windows=2).fit(table)
    assert len(forecaster.predict(h=5, futr_df=ahead)) == 5
    with pytest.raises(tt.DataError, match="heat for 65"):
        forecaster.predict(h=6, futr_df=ahead)
    direct = quick(futr="heat", n_windows=2).fit(table)
    whole = direct.predict(futr_df=ahead)["LSTM"].to_pylist()
    assert direct.predict(h=2, futr_df=ahead.slice(0, 2))["LSTM"].to_pylist() == whole[:2]
