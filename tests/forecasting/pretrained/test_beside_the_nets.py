"""Where the pretrained net stands beside nets of few data, what it counts, and that it is carried on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import throughtime as tt
from throughtime.forecasting.models.companions import pretrained
from throughtime.forecasting.pretrained.net import FARTHEST, LONGEST, WEIGHTS, carried

Floats = npt.NDArray[np.float64]


def quick(**settings: Any) -> tt.Forecaster:
    training = tt.training.TrainingSettings(max_updates=2)
    made = {"h": 4, "n_windows": 0, "members": 2, "hidden_size": 4, "training": training}
    return tt.Forecaster(**{**made, **settings})


def quarters(n: int = 60, series: int = 1) -> pa.Table:
    ds = [f"{1700 + k // 4}-{3 * (k % 4) + 1:02}-01" for k in range(n)]
    y = 50 + np.arange(n) + 9.0 * (np.arange(n) % 4)
    noise = np.random.default_rng(0).normal(size=(series, n)).cumsum(axis=1)
    ids = np.repeat([f"s{i:02}" for i in range(series)], n)
    return pa.table({"unique_id": ids, "ds": ds * series, "y": (y + noise).ravel()})


@pytest.mark.parametrize(
    ("settings", "stands"),
    [
        ({}, True),
        ({"residual": "level"}, False),  # a cycle about a level
        ({"residual": "level", "season_length": 1}, True),
        ({"residual": "level", "scaling": "standard"}, True),
        ({"companions": False}, False),
        ({"calendar": True}, True),
        ({"output": "quantiles"}, True),
        ({"h": FARTHEST + 1}, False),
        ({"season_length": FARTHEST + 1}, False),
    ],
)
def test_it_stands_beside_the_nets_of_few_data(settings: dict[str, Any], stands: bool) -> None:
    fitted = quick(**settings).fit(quarters(200))
    assert fitted.design.pretrained == (WEIGHTS[-1] if stands else None)
    assert ("a pretrained net" in fitted.beside_words) is stands
    assert fitted.design.taught == 0


def test_it_stands_beside_those_of_many_series_as_long_as_they_are_short() -> None:
    few = quick(season_length=1).fit(quarters(40, series=21))
    assert few.design.pretrained == WEIGHTS[-1]
    assert not few.design.smoothing
    many = quick(season_length=1, members=1).fit(quarters(100, series=21))  # 525 horizons
    assert many.design.pretrained is None


def test_it_is_half_of_the_recurrent_part() -> None:
    fitted = quick(transform="sqrt").fit(quarters(series=2))
    recurrent = fitted.model.kinds(fitted.panel)["recurrent"]
    own, other = recurrent  # of one scale
    said = pretrained(fitted.panel, fitted.design, 4, carried(WEIGHTS[-1]))[0]
    np.testing.assert_allclose(other, said)
    assert not np.allclose(own, other)
    parts = [np.mean(kind, axis=0) for kind in fitted.model.kinds(fitted.panel).values()]
    np.testing.assert_allclose(fitted.model.forecast(fitted.panel), np.mean(parts, axis=0))


def test_what_was_carried_on_forecasts_as_the_whole(tmp_path: Path) -> None:
    """The state keeps as many steps as it reads, in a file, too, with no smoothing to ask for more."""
    table, n = quarters(LONGEST + 200), LONGEST + 100
    settings = {"season_length": 4, "scaling": "standard", "transform": "identity"}
    fitted = quick(**settings, context_length=8, members=1).fit(table.slice(0, n))
    assert fitted.design.pretrained is not None
    assert not fitted.design.smoothing
    fitted.update(table.slice(n, 50))
    fitted.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.design.pretrained == WEIGHTS[-1]
    loaded.update(table.slice(n + 50))
    said = loaded.predict(level=[])
    again = fitted.predict(table, level=[])
    np.testing.assert_allclose(said["LSTM"].to_numpy(), again["LSTM"].to_numpy(), rtol=1e-6)


def test_weights_that_are_not_carried_are_refused() -> None:
    design = quick().fit(quarters()).design
    with pytest.raises(tt.SettingError, match="simulated-1"):
        replace(design, pretrained="simulated-9")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "a pretrained net, linear autoregression and exponential smoothing"),
        ({"residual": "level"}, "linear autoregression and the last two seasons"),
        ({"companions": False}, ""),
    ],
)
def test_what_stands_beside_the_nets_is_said(settings: dict[str, Any], words: str) -> None:
    assert quick(**settings).fit(quarters()).beside_words == words


def test_it_is_half_beside_the_median_of_the_nets_too() -> None:
    fitted = quick(members=tt.Members(3, combine="median")).fit(quarters(series=2))
    panel = fitted.panel
    own, other = np.split(fitted.model.kinds(panel)["recurrent"], 2)
    assert len(other) == len(fitted.design.transforms) == 3
    nets = fitted.model.nets
    median = nets.points(nets.examples(panel).parts, 4)
    assert len(median) == 1
    np.testing.assert_allclose(own, np.repeat(median, 3, axis=0))


def test_it_is_half_beside_fewer_nets_than_scales() -> None:
    fitted = quick(members=2).fit(quarters(series=2))
    panel = fitted.panel
    own, other = np.split(fitted.model.kinds(panel)["recurrent"], 2)
    assert len(other) == 3
    nets = fitted.model.nets
    points = nets.points(nets.examples(panel).parts, 4)
    assert len(points) == 2
    np.testing.assert_allclose(own.mean(axis=0), points.mean(axis=0))
