"""The doctor in the forecaster: it looks without touching, and a cure that it takes helps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import throughtime as tt
from throughtime import NotFittedError, SettingError
from throughtime.forecasting import final as module
from throughtime.forecasting.settings.effort import TRAINING
from throughtime.nn import forget_bias
from throughtime.training import Evaluation, Observer, Update

QUICK = replace(TRAINING, max_updates=20)


def cyclic(period: int, turns: int = 8) -> np.ndarray:
    t = np.arange(period * turns)
    noise = np.random.default_rng(0).normal(scale=0.1, size=len(t))
    return np.sin(2 * np.pi * t / period) + noise


def small(**how: object) -> tt.Forecaster:
    usual = {"h": 2, "members": 2, "hidden_size": 8, "n_windows": 0, "training": QUICK}
    return tt.Forecaster(**{**usual, **how})  # type: ignore[arg-type]


def test_a_fitted_forecaster_is_diagnosed_with_its_series_and_its_training() -> None:
    forecaster = small().fit(cyclic(12))
    diagnosis = forecaster.diagnose(step="month")
    assert diagnosis.need is not None
    assert diagnosis.need.cycle == 12
    assert diagnosis.measures.log is forecaster.log
    assert [look.index for look in forecaster.log.looks] == list(range(20))
    assert len(forecaster.log.updates) == len(forecaster.history.updates)
    assert "every 12 months" in str(diagnosis)
    json.dumps(diagnosis.to_dict(), allow_nan=False)


def test_other_rows_are_diagnosed_with_the_weights_as_they_are() -> None:
    forecaster = small().fit(cyclic(12))
    other = forecaster.diagnose(cyclic(6))
    assert other.need is not None
    assert other.need.cycle == 6


def test_looking_on_does_not_change_a_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(Observer):
        log = None

        def __init__(self, every: int) -> None:
            pass

    watched = small().fit(cyclic(12)).predict(level=[])
    monkeypatch.setattr(module, "Watch", Blind)
    assert small().fit(cyclic(12)).predict(level=[]) == watched


def test_a_loaded_forecaster_can_be_diagnosed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    small(cure="auto").fit(cyclic(12)).save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded._given.cure == "auto"
    assert loaded.diagnose().layers[0].operator == "lstm"


def test_the_doctor_chooses_a_start_and_says_why() -> None:
    plain = small(context_length=60).fit(cyclic(50))
    before = plain.diagnose().measures.reach(50)[0]
    cured = small(context_length=60, cure="auto").fit(cyclic(50))
    [finding] = cured.treatment
    assert finding.topic == "reach"
    assert "every 50 steps" in finding.sentence
    [start] = cured.design.init
    assert start == finding.cures[0].arguments["init"]
    assert cured.diagnose().measures.reach(50)[0] > 10 * before


def test_the_doctor_lengthens_windows_that_are_too_short() -> None:
    cured = small(cure="auto", season_length=5, h=3).fit(cyclic(40))
    assert {finding.topic for finding in cured.treatment} == {"reach", "window"}
    assert cured.context_length == 80


def test_what_was_passed_stays() -> None:
    start = forget_bias(-1.0)
    kept = small(context_length=60, cure="auto", init=start).fit(cyclic(50))
    assert kept.design.init == (start,)
    assert kept.treatment == ()
    assert kept.diagnose().findings[0].cures  # though there is something that would help


def test_a_window_that_was_passed_stays() -> None:
    kept = small(cure="auto", season_length=5, h=3, context_length=20).fit(cyclic(40))
    assert kept.context_length == 20
    assert "window" not in {finding.topic for finding in kept.treatment}


def test_a_net_that_is_well_is_left_alone() -> None:
    assert small(cure="auto", context_length=8).fit(cyclic(4, 20)).treatment == ()


def test_the_doctor_needs_a_fit_and_knows_its_own_name() -> None:
    with pytest.raises(NotFittedError):
        small().diagnose()
    with pytest.raises(SettingError, match="cure to be one of None, 'auto'"):
        small(cure="all")


@pytest.mark.parametrize("run", ["the doctor's pilot", "pilot"])
def test_a_fit_that_is_stopped_leaves_the_forecaster_as_it_was(run: str) -> None:
    class Stop(Observer):
        name = ""

        def on_start(self, name: str, total: int) -> None:
            self.name = name

        def on_update(self, update: Update) -> None:
            if self.name == run:
                raise KeyboardInterrupt

        def on_evaluation(self, evaluation: Evaluation) -> None:
            pass

    forecaster = small(cure="auto", context_length=60)
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(cyclic(50), observers=[Stop()])
    assert forecaster.treatment == ()
    assert forecaster.log is None
    with pytest.raises(NotFittedError):
        forecaster.predict()
