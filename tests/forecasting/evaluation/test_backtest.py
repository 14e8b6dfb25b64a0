"""Rolling origins: what is known at each, and the scores, intervals and tables made from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from forecasting_cases import NAN, panel, quick, wave
from utilsforecast import losses as oracle

from throughtime import DataError, SettingError
from throughtime.forecasting import Calibration, Panel, read_frame
from throughtime.forecasting.evaluation.backtest import Backtest, roll
from throughtime.forecasting.evaluation.baselines import Naive
from throughtime.forecasting.preprocessing.steps import series_sizes
from throughtime.forecasting.preprocessing.transforms import Identity, Log1p, Sqrt, Transform
from throughtime.forecasting.series.demands import windows_that_fit
from throughtime.training import Observer

H, R, STEP = 3, 4, 2
IDENTITY = Identity()


def drifting(known: Panel, r: int) -> tuple[np.ndarray, None]:
    """A forecast that errs: the last value and a drift that depends on all of the past."""
    newest = [
        y[~np.isnan(y)][-1] + np.nanmean(y) / 10 * np.arange(1, H + 1)
        for y in map(known.row, range(len(known)))
    ]
    return np.array(newest), None


def rolled(known: Panel, transform: Transform = IDENTITY, **settings: Any) -> Backtest:
    usual = {"h": H, "n_windows": R, "step_size": STEP, "season_length": 1, "levels": (50, 90)}
    return roll(known, "Ours", drifting, [Naive()], transform=transform, **{**usual, **settings})


def two_series() -> Panel:
    return panel(10 + wave(40), 100 + 20 * wave(25, 1))


def test_origins_lie_where_they_should_and_know_what_is_before_them() -> None:
    lengths = []

    def spy(known: Panel, r: int) -> tuple[np.ndarray, None]:
        lengths.append((r, known.lengths.tolist()))
        return drifting(known, r)

    made = roll(
        two_series(),
        "Ours",
        spy,
        [],
        h=H,
        n_windows=R,
        step_size=STEP,
        season_length=1,
        transform=Identity(),
        levels=(),
    )
    assert lengths == [
        (r, [40 - H - (R - 1 - r) * STEP, 25 - H - (R - 1 - r) * STEP]) for r in range(R)
    ]
    for r in range(R):
        start = 40 - H - (R - 1 - r) * STEP
        np.testing.assert_array_equal(made.y[r, 0], two_series().row(0)[start : start + H])


def test_overlapping_origins_judge_by_the_same_values() -> None:
    made = rolled(two_series(), step_size=1)
    np.testing.assert_array_equal(made.y[0, :, 1:], made.y[1, :, :-1])


FREQUENCIES = {
    "years as numbers": np.arange(1960, 2000),
    "month starts": pd.date_range("1990-01-01", periods=40, freq="MS"),
    "month ends": pd.date_range("1990-01-31", periods=40, freq="ME"),
    "days": pd.date_range("2024-01-20", periods=40, freq="D"),
    "half hours": pd.date_range("2024-01-20 10:30", periods=40, freq="30min"),
}  # fmt: skip


@pytest.mark.parametrize("name", FREQUENCIES)
def test_each_row_holds_the_value_of_its_date_and_the_last_date_known(name: str) -> None:
    ds, b = FREQUENCIES[name], slice(7, 33)
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": "a", "ds": ds, "y": 10 + wave(40)}),
            pd.DataFrame({"unique_id": "b", "ds": ds[b], "y": 100 + wave(40)[b]}),
        ]
    )
    made = rolled(read_frame(frame))
    table = made.table.to_pandas()
    assert len(table) == R * 2 * H
    dates = {"a": list(ds), "b": list(ds[b])}
    values = frame.set_index(["unique_id", "ds"])["y"]
    for (unique_id, cutoff), rows in table.groupby(["unique_id", "cutoff"]):
        own = dates[unique_id]
        at = own.index(cutoff)
        assert list(rows["ds"]) == own[at + 1 : at + 1 + H]
        known = values[unique_id].to_numpy()[: at + 1]
        np.testing.assert_allclose(rows["y"], values[unique_id].to_numpy()[at + 1 : at + 1 + H])
        np.testing.assert_allclose(rows["Naive"], known[-1])
        np.testing.assert_allclose(
            rows["Ours"], known[-1] + known.mean() / 10 * np.arange(1, H + 1)
        )
    assert set(table.groupby("unique_id")["cutoff"].nunique()) == {R}
    assert table.columns.tolist() == [
        "unique_id", "ds", "cutoff", "y",
        *(f"{m}{end}" for m in ("Ours", "Naive") for end in ("", "-lo-50", "-hi-50", "-lo-90", "-hi-90")),
    ]  # fmt: skip


def test_a_series_that_begins_late_has_the_later_origins_alone() -> None:
    made = rolled(panel(wave(40), wave(H + STEP + 1, 1)))
    table = made.table.to_pandas()
    assert table.groupby("unique_id")["cutoff"].nunique().to_dict() == {"a": R, "b": 2}
    assert not table[["Ours", "Naive", "y"]].isna().any().any()


def test_scores_are_those_of_the_table() -> None:
    made, season = rolled(two_series(), season_length=4), 4
    table = made.table.to_pandas()
    known = two_series()
    series = {name: known.row(i) for i, name in enumerate(known.ids)}
    assert [score.model for score in made.scores] == ["Ours", "Naive"]
    for score in made.scores:
        error = (table["y"] - table[score.model]).abs()
        scale = [
            np.abs(series[name][season : cutoff + 1] - series[name][: cutoff + 1 - season]).mean()
            for name, cutoff in zip(table["unique_id"], table["cutoff"], strict=True)
        ]
        assert score.mae == pytest.approx(error.mean())
        assert score.mase == pytest.approx((error / scale).mean())
        for level in (50, 90):
            lo, hi = (table[f"{score.model}-{end}-{level}"] for end in ("lo", "hi"))
            assert score.coverage[level] == pytest.approx(table["y"].between(lo, hi).mean())

        each = table.assign(unique_id=table["unique_id"] + table["cutoff"].astype(str))
        by_them = {
            f.__name__: f(each, models=[score.model])[score.model].mean()
            for f in (oracle.mae, oracle.smape)
        }
        assert score.mae == pytest.approx(by_them["mae"])
        assert score.smape == pytest.approx(200 * by_them["smape"])


def test_gaps_in_what_is_judged_are_left_out() -> None:
    y = 10 + wave(40)
    y[-2] = NAN
    made = rolled(panel(y))
    seen = ~np.isnan(made.y)
    assert seen.sum() == R * H - 1
    error = np.abs(made.y - made.forecasts["Ours"])[seen].mean()
    assert made.scores[0].mae == pytest.approx(error)


@pytest.mark.parametrize("transform", [Identity(), Sqrt(), Log1p()])
def test_intervals_at_an_origin_are_made_from_the_others(transform: Transform) -> None:
    made = rolled(two_series(), transform)
    for o in range(R):
        residuals = np.delete(made.residuals("Ours"), o, axis=0)
        z = transform.forward(made.forecasts["Ours"][o]) / made.sizes[:, None]
        lower, upper = Calibration.fit(residuals).interval(z, 90)
        lo, hi = made.intervals["Ours"][90]
        np.testing.assert_allclose(lo[o], transform.inverse(lower * made.sizes[:, None]))
        np.testing.assert_allclose(hi[o], transform.inverse(upper * made.sizes[:, None]))


def test_a_single_origin_has_no_intervals_but_scores() -> None:
    made = rolled(two_series(), n_windows=1)
    assert made.intervals == {}
    assert made.scores[0].coverage == {}
    assert made.table.column_names == ["unique_id", "ds", "cutoff", "y", "Ours", "Naive"]
    assert made.calibration("Ours").scale.shape == (H,)


def test_sizes_are_the_mean_steps_of_each_series() -> None:
    a, b = np.array([1.0, 3.0, NAN, 4.0, 9.0]), np.array([5.0, 5.0])
    np.testing.assert_allclose(series_sizes(panel(a, b), Identity()), [3.5, 1.0])


@pytest.mark.parametrize(("n", "step", "expected"), [(8, 3, 8), (20, 3, 9), (30, 1, 25), (1, 3, 1)])
def test_as_many_origins_as_leave_enough_to_learn_from(n: int, step: int, expected: int) -> None:
    known = panel(wave(35), wave(9))
    found = windows_that_fit(known, H, n, step)
    assert found == expected
    assert 35 - H - (found - 1) * step >= 8


def test_a_panel_too_short_for_one_origin_is_refused() -> None:
    with pytest.raises(DataError, match=r"at least 11 rows in the longest series .* found 10"):
        windows_that_fit(panel(wave(10)), H, 4, 1)


# the forecaster's rolling origins

POISON = {"one step of windows": H, "two": 2 * H}


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_future_decides_nothing(name: str, cell: Any) -> None:
    """Neither forecasts nor season, transform, look-back or updates know what comes later."""
    k, y = POISON[name], 5 + wave(90)
    poisoned = y.copy()
    poisoned[-k:] = 1e6 * np.arange(1, k + 1)  # a trend hides the season
    made = []
    for each in (y, poisoned):
        forecaster = quick(H, cell=cell)
        forecaster.cross_validation(each, n_windows=3, level=[])
        made.append(forecaster.backtest)
    before = 4 - k // H  # origins that lie before the poison, or at its beginning
    for model in made[0].models:
        np.testing.assert_array_equal(
            made[0].forecasts[model][:before], made[1].forecasts[model][:before]
        )
    assert made[0].transform == made[1].transform == Sqrt()
    assert made[0].season_length == made[1].season_length == 8


@pytest.mark.parametrize("first_below_0", [-1, -3, -7])
def test_a_series_may_fall_below_0_late(first_below_0: int) -> None:
    """Whether values may be negative is no forecast, but a fact about what is measured."""
    y = 5 + wave(60)
    y[first_below_0] = -1.0
    forecaster = quick(H).fit(y)
    assert forecaster.backtest.transform == forecaster.design.scale == Identity()
    assert forecaster.backtest.n_windows == 3


class Names(Observer):
    """Keeps the names of the runs it saw start."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, name: str, total: int) -> None:
        self.names.append(name)


@pytest.mark.parametrize("refit", [True, False])
def test_without_refit_the_model_is_fitted_once_before_the_first_origin(refit: bool) -> None:
    names, forecaster = Names(), quick(H)
    forecaster.cross_validation(wave(60), n_windows=3, refit=refit, observers=[names])
    fits = ["back-test 1/3", "back-test 2/3", "back-test 3/3"]
    assert names.names == ["pilot", *(fits if refit else fits[:1])]


def test_the_first_origin_is_the_same_with_and_without_refit() -> None:
    made = []
    for refit in (True, False):
        forecaster = quick(H)
        forecaster.cross_validation(wave(60), n_windows=3, refit=refit)
        made.append(forecaster.backtest.forecasts["LSTM"])
    np.testing.assert_array_equal(made[0][0], made[1][0])
    assert (made[0][1:] != made[1][1:]).any()


def test_step_size_may_be_shorter_than_the_horizon() -> None:
    forecaster = quick(H)
    table = forecaster.cross_validation(pa.array(wave(60)), n_windows=3, step_size=1)
    assert table["cutoff"].to_pylist() == [54, 54, 54, 55, 55, 55, 56, 56, 56]
    assert table["ds"].to_pylist() == [55, 56, 57, 56, 57, 58, 57, 58, 59]
    np.testing.assert_allclose(table["y"], wave(60)[table["ds"].to_numpy()])


@pytest.mark.parametrize("settings", [{"n_windows": 0}, {"step_size": 0}, {"level": [100]}])
def test_what_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        quick(H).cross_validation(wave(60), **settings)
