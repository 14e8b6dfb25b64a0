"""Streams of forecasters of every kind: differences, counts, distributions, several targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import throughtime as tt
from throughtime.forecasting.calibration.online import GAMMA, Coverage
from throughtime.forecasting.uncertainty import Forecast
from throughtime.training import Observer, TrainingSettings

TRAINING = TrainingSettings(max_updates=3, batch_size=8, learning_rate=1e-2)
SEASON = np.tile([3.0, 7.0, 4.0, 9.0, 6.0], 20) + np.arange(100) % 7


def quick(**given: Any) -> tt.Forecaster:
    settings: dict[str, Any] = {
        "h": 3, "cell": "gru", "members": 2, "hidden_size": 4, "context_length": 6,
        "season_length": 5, "n_windows": 0, "training": TRAINING,
    }  # fmt: skip
    return tt.Forecaster(**settings | given)


def values(table: Any, but: tuple[str, ...] = ("unique_id", "ds")) -> np.ndarray:
    return np.array([table[name].to_pylist() for name in table.column_names if name not in but])


@pytest.mark.parametrize(
    "given",
    [
        {"difference": "both", "residual": "season"},
        {"difference": 1, "architecture": "recursive", "output": "gaussian"},
        {"segment": 3, "linear_skip": True},
        {"architecture": "ar", "lags": (5, 12), "context_length": 4},
        {"segment": 2, "linear_skip": True, "architecture": "segment"},
        {"scaling": "revin", "architecture": "synced"},
        {"scaling": "last", "output": "quantiles"},
        {"output": "negative-binomial"},
        {"scaling": "running", "architecture": "synced", "output": "mixture"},
        {"transform": "log"},
    ],
    ids=str,
)
def test_forecasters_of_every_kind_go_on_by_rows(given: dict[str, Any]) -> None:
    """Rows that come in one by one, some, or all at once: the same forecast and paths."""
    forecaster = quick(**{"n_windows": 2, **given}).fit(SEASON[:60])
    whole, drawn = forecaster.predict(SEASON[:90]), forecaster.sample(5, SEASON[:90])
    forecaster.update(SEASON[60])
    forecaster.update(SEASON[61:80]).update(SEASON[80:90])
    after = forecaster.predict()
    assert after["ds"].to_pylist() == [90, 91, 92]
    np.testing.assert_allclose(values(after), values(whole), rtol=2e-4)
    again = forecaster.sample(5)
    assert again["ds"].to_pylist() == drawn["ds"].to_pylist()
    np.testing.assert_allclose(values(again), values(drawn), rtol=2e-3)


def test_what_is_kept_reaches_back_to_every_difference() -> None:
    """Of the context, and of what its differences are taken from."""
    given = {"season_length": 24, "context_length": 26, "difference": "both", "companions": False}
    forecaster = quick(**given).fit(SEASON)
    nets, kept = forecaster.model.nets, forecaster.state.panel
    assert kept.lengths[0] < len(SEASON)
    found, whole = (
        nets.examples(panel).parts[0].newest()[0].differences for panel in (kept, forecaster.panel)
    )
    torch.testing.assert_close(found, whole)


def test_a_panel_with_several_targets_goes_on_with_running_scales() -> None:
    """20 series or more, whose scaling is not chosen where it is given."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(20), 40), "ds": np.tile(np.arange(40), 20)}
    ).assign(y=rng.normal(5, 1, 800), z=rng.normal(-2, 3, 800))
    forecaster = quick(target=["y", "z"], architecture="synced", scaling="running")
    forecaster.fit(table[table.ds < 30]).update(table[table.ds >= 30])
    after, whole = forecaster.predict(level=[]), forecaster.predict(table, level=[])
    np.testing.assert_allclose(after[["y-GRU", "z-GRU"]], whole[["y-GRU", "z-GRU"]], rtol=1e-5)


@pytest.mark.parametrize("found", [1.5, -1.0])
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_no_count_is_refused(found: float, alone: bool) -> None:
    """By a single value or a table; and the state stays."""
    forecaster = quick(output="negative-binomial").fit(SEASON[:60])
    with pytest.raises(tt.DataError, match=rf"counts .* found {found:g} on 6[01]"):
        forecaster.update(found if alone else [3.0, found])
    assert forecaster.predict(level=[])["ds"][0].as_py() == 60


@pytest.mark.parametrize(("transform", "least"), [("log", 0.0), ("sqrt", -1.0), (None, -1.0)])
def test_a_value_that_a_transform_does_not_take_is_refused(
    transform: str | None, least: float
) -> None:
    forecaster = quick(transform=transform).fit(SEASON[:60])
    with pytest.raises(tt.DataError):
        forecaster.update(least)
    assert forecaster.update(1.0).predict(level=[])["ds"][0].as_py() == 61


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"output": "negative-binomial"}, "neither counts nor differences"),
        ({"difference": 1}, "neither counts nor differences"),
        ({"architecture": "direct", "segment": 3}, "segment|'synced' or 'recursive'"),
    ],
)
def test_running_is_refused_where_it_is_not_built(given: dict[str, Any], said: str) -> None:
    with pytest.raises(tt.SettingError, match=said):
        quick(**{"scaling": "running", "architecture": "synced", **given}).fit(SEASON[:60])


@pytest.mark.parametrize("output", ["point", "quantiles"])
def test_a_factor_widens_intervals_about_their_middle(output: str) -> None:
    """A factor of 1 changes no bit, one of 2 puts the ends at twice the score; in a step each."""
    forecaster = quick(n_windows=4, output=output).fit(SEASON[:60])
    model, panel, backtest = forecaster.model, forecaster.panel, forecaster.backtest
    coverage = Coverage(3)
    plain = Forecast.of(model, panel, 3, backtest)
    followed = Forecast.of(model, panel, 3, backtest, coverage=coverage)
    for end, other in zip(plain.interval(80), followed.interval(80), strict=True):
        np.testing.assert_array_equal(end, other)
    coverage.theta[80] = np.log([1.0, 2.0, 0.5])
    score = plain.around.score(plain.interval(80)[1])
    wide = plain.around.score(followed.interval(80)[1])
    np.testing.assert_allclose(wide / score, [[1.0, 2.0, 0.5]], rtol=1e-6)


def test_a_shorter_horizon_is_scored_for_what_it_said() -> None:
    """Steps that were not forecast move no factor, and a file holds what waits."""
    coverage, ends = Coverage(3), np.ones((1, 1, 1, 1))
    coverage.issue([80.0], np.array([5]), -ends, ends)
    coverage.score(np.array([0]), np.array([5]), np.full((1, 1, 3), 2.0))
    np.testing.assert_allclose(coverage.theta[80.0], [GAMMA * 0.8, 0, 0])
    coverage.issue([80.0], np.array([5]), -ends, ends)
    for k in range(3):
        coverage.score_one(0, 5 + k, [2.0])
    np.testing.assert_allclose(coverage.theta[80.0], [2 * GAMMA * 0.8, 0, 0])
    assert coverage.factor(80.0, h=5).tolist() == [np.exp(2 * GAMMA * 0.8), 1, 1, 1, 1]


class Kill(Observer):
    """Ends a fit after so many updates, as a kill does."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_update(self, update: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise SystemExit


def test_a_checkpoint_goes_with_the_weights_that_a_fit_began_from(tmp_path: Path) -> None:
    """A warm fit that was killed goes on as if it never was; one from other weights is refused."""
    file = tmp_path / "fit.ckpt"
    checkpoint = tt.training.Checkpoint(file, every=1)
    quick(seed=1).fit(SEASON[:60]).save(tmp_path / "model")
    straight = tt.load(tmp_path / "model").fit(SEASON, warm_start=True).predict(level=[])
    again = tt.load(tmp_path / "model")
    with pytest.raises(SystemExit):
        again.fit(SEASON, warm_start=True, checkpoint=checkpoint, observers=[Kill(2)])
    others = [quick(seed=1).fit(SEASON[:70]), quick(seed=1)]
    for other, warm in zip(others, (True, False), strict=True):
        with pytest.raises(tt.ModelFileError, match="start"):
            other.fit(SEASON, warm_start=warm, checkpoint=checkpoint)
    resumed = tt.load(tmp_path / "model")
    resumed.fit(SEASON, warm_start=True, checkpoint=checkpoint)
    assert resumed.predict(level=[]) == straight
    assert not file.exists()


def test_what_was_issued_before_an_update_waits_in_the_file(tmp_path: Path) -> None:
    forecaster = quick(n_windows=2).fit(SEASON[:60])
    forecaster.predict(h=2, level=[80])
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    for each in (forecaster, loaded):
        each.update([1000.0, 3.0])
    assert forecaster.coverage.factor(80)[0] > 1
    np.testing.assert_array_equal(loaded.coverage.factor(80), forecaster.coverage.factor(80))
