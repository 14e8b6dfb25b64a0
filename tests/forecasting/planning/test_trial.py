"""A pretrained net on trial beside the nets of many series: who decides, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import throughtime as tt
from throughtime.forecasting.models.companions import pretrained
from throughtime.forecasting.planning import deciding, trial
from throughtime.forecasting.pretrained.net import WEIGHTS, carried
from throughtime.forecasting.settings import effort
from throughtime.training import TrainingSettings


def walks(S: int = 70, n: int = 40) -> pa.Table:
    """13 horizons each, so that 70 are many."""
    g = np.random.default_rng(0)
    y = 50 + g.normal(size=(S, n)).cumsum(axis=1)
    ids = np.repeat([f"s{i:02}" for i in range(S)], n)
    return pa.table({"unique_id": ids, "ds": np.tile(np.arange(n), S), "y": y.ravel()})


def fitted(
    stays: bool | None,
    monkeypatch: pytest.MonkeyPatch,
    updates: int = 5,
    table: pa.Table | None = None,
    **settings: Any,
) -> tt.Forecaster:
    """Fit with the outcome of the trial as told; None asks the rows."""
    if stays is not None:
        monkeypatch.setattr(trial, "gap", lambda model, known: -0.1 if stays else 0.1)
    monkeypatch.setattr(effort, "MANY", replace(effort.MANY, taught=updates))
    made = {"h": 3, "season_length": 1, "n_windows": 2, "members": 1, "hidden_size": 8}
    training = TrainingSettings(max_updates=3)
    return tt.Forecaster(**{**made, "training": training, **settings}).fit(table or walks())


def test_it_stays_and_is_taught_where_the_first_origin_bears_it_out(monkeypatch, tmp_path) -> None:
    made = fitted(True, monkeypatch)
    design, model, panel = made.design, made.model, made.panel
    assert (design.pretrained, design.taught) == (WEIGHTS[-1], 5)
    said = "a pretrained net that was taught the series"
    assert made.beside_words == said
    own, other = np.split(model.kinds(panel)["recurrent"], 2)
    net = model.models[0].taught
    np.testing.assert_allclose(other, pretrained(panel, design, 3, net))
    assert not np.allclose(other, pretrained(panel, design, 3, carried(WEIGHTS[-1])))
    half = (own.mean(axis=0) + other.mean(axis=0)) / 2
    np.testing.assert_allclose(model.forecast(panel), half)
    made.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.model.forecast(panel), model.forecast(panel))
    again = loaded.fit(walks(), warm_start=True)
    assert again.design.taught == 5
    learned = again.model.models[0].taught
    assert not np.array_equal(learned.says.weight, net.says.weight)


def test_it_goes_where_it_does_not(monkeypatch) -> None:
    made = fitted(False, monkeypatch)
    assert (made.design.pretrained, made.design.taught) == (None, 0)
    assert made.model.models[0].taught is None
    alone = fitted(None, monkeypatch, companions=False)
    np.testing.assert_array_equal(made.predict()["LSTM"], alone.predict()["LSTM"])


@pytest.mark.parametrize(
    "settings",
    [
        {"n_windows": 0},  # with nothing to tell by
        {"companions": False},
        {"architecture": "direct"},
        {"architecture": "synced"},
        {"budget": "10m"},
        {"members": tt.Members(cells=("gru", "lstm"))},
        {"output": "negative-binomial"},
        {"preprogram": "linear"},
    ],
)
def test_there_is_no_trial(settings: dict[str, Any], monkeypatch) -> None:
    monkeypatch.setattr(trial, "gap", lambda model, known: pytest.fail("a trial"))
    y = walks()["y"].to_numpy()
    counts = walks().set_column(2, "y", pa.array(np.round(np.abs(y))))
    made = fitted(None, monkeypatch, table=counts, **settings)
    assert made.design.pretrained is None
    assert made.beside_words in ("", "linear autoregression")


@pytest.mark.parametrize(("most", "held"), [(70 * 34, True), (70 * 34 - 1, False)])
def test_a_panel_that_takes_too_long_to_read_has_none(most, held, monkeypatch) -> None:
    monkeypatch.setattr(deciding, "MOST_READ", most)  # of what is known at the first origin
    asked = []
    monkeypatch.setattr(trial, "gap", lambda model, known: asked.append(known) or 0.1)
    fitted(None, monkeypatch)
    assert bool(asked) is held


def test_the_gap_is_that_of_the_rows_on_average(monkeypatch) -> None:
    held = []
    real = trial.gap
    monkeypatch.setattr(trial, "gap", lambda m, k: held.append((m, k)) or real(m, k))
    made = fitted(None, monkeypatch)
    model, known = held[0]
    own, other = np.split(model.kinds(known)["recurrent"], 2)
    gaps = []
    for i in range(len(known)):
        n = len(known.row(i))
        came = made.panel.row(i)[n : n + 3]
        a = np.abs(came - own[:, i].mean(axis=0)).mean()
        b = np.abs(came - (own[:, i].mean(axis=0) + other[:, i].mean(axis=0)) / 2).mean()
        gaps.append((b - a) / (b + a))
    assert real(model, known) == pytest.approx(np.mean(gaps))
    assert (made.design.pretrained is not None) == (real(model, known) < trial.NEAR)
    assert len(held) == 1


@pytest.mark.parametrize(("found", "stays"), [(0.019, True), (0.021, False), (-0.5, True)])
def test_it_stays_where_it_comes_near(found: float, stays: bool, monkeypatch) -> None:
    monkeypatch.setattr(trial, "gap", lambda model, known: found)
    made = fitted(None, monkeypatch)
    assert made.design.pretrained == (WEIGHTS[-1] if stays else None)


def test_with_no_updates_it_stays_as_it_was_carried(monkeypatch) -> None:
    made = fitted(True, monkeypatch, updates=0)
    assert (made.design.pretrained, made.design.taught) == (WEIGHTS[-1], 0)
    assert made.beside_words == "a pretrained net"
    assert made.model.models[0].taught is None


def test_cross_validation_holds_it_at_its_first_origin(monkeypatch) -> None:
    held = []
    monkeypatch.setattr(trial, "gap", lambda m, k: held.append(k) or -0.1)
    made = tt.Forecaster(h=3, season_length=1, members=1, hidden_size=8,
                         training=TrainingSettings(max_updates=3))  # fmt: skip
    made.cross_validation(walks(), n_windows=3, refit=True)
    assert [int(k.lengths[0]) for k in held] == [40 - 9]
