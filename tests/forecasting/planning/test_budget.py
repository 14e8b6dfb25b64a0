"""A fit within a budget ends in time, and makes what it would make with as many updates."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from forecasting_cases import TRAINING, Killed, design, panel, quick, wave
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime import _checks, _words
from throughtime._errors import ModelFileError, SettingError
from throughtime.forecasting import forecaster as door
from throughtime.forecasting.planning.budget import Budget, Pace, affordable, measure, needed
from throughtime.training import Observer

LONG = replace(TRAINING, max_updates=120)
CYCLE = replace(LONG, schedule="one-cycle")
Y = 5 + wave(40)  # so short that every rolling origin has a fit of its own
seconds = st.floats(0.01, 100)


class Time(Observer):
    """A clock that updates move on, the first `slow` of each run by 10 and others by `step` seconds."""

    def __init__(self, step: float = 1.0, slow: int = 0) -> None:
        self.now, self.step, self.slow, self.runs = 0.0, step, slow, {}
        self.made = 0

    def __call__(self) -> float:
        return self.now

    def on_start(self, name: str, total: int) -> None:
        self.name, self.made = name, 0
        self.runs.setdefault(name, []).append(total)

    def on_update(self, update: Any) -> None:
        self.made += 1
        self.now += 10 if self.made <= self.slow else self.step


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fit by a clock of its own."""

    def fit(time: Time, data: Any = Y, how: Any = None, **settings: Any) -> tt.Forecaster:
        monkeypatch.setattr(door, "Budget", partial(Budget, clock=time))
        usual = {"training": CYCLE, "context_length": 8, "cell": "rnn"}
        return quick(**{**usual, **settings}).fit(data, observers=[time], **how or {})

    return fit


@given(st.lists(st.builds(Pace, seconds, seconds, seconds), min_size=1, max_size=4), seconds)
def test_as_many_updates_as_there_is_time_for(paces: list[Pace], T: float) -> None:
    n = affordable(paces, 100 * T)
    assert needed(paces, n) <= 100 * T * (1 + 1e-9)
    assert needed(paces, n + 1) >= 100 * T * (1 - 1e-9)


@given(st.floats(0.001, 1e6))
def test_times_in_words_are_no_shorter_and_can_be_passed(s: float) -> None:
    assert s <= _checks.duration("budget", _words.duration(s)) < s + 1


@pytest.mark.parametrize(
    "wrong", ["", "2", "m", "2 m 3", "1s2m", "-3s", 0, -1.0, True, math.nan, []]
)
def test_what_is_no_time_is_refused_with_an_example(wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"budget to be a time above 0.*'1m30s'"):
        quick(budget=wrong)


def test_an_update_costs_what_it_does_after_warm_up() -> None:
    time = Time(step=2.0, slow=2)
    pace = measure(panel(Y), design(training=LONG), time, [time])
    assert pace == Pace(fit=16.0, update=2.0, forecast=0.0)


@pytest.mark.parametrize("n_windows", [0, 3])
@pytest.mark.parametrize("training", [LONG, CYCLE])
def test_a_fit_ends_in_time(fit: Any, training: Any, n_windows: int) -> None:
    time = Time()
    T = 500 if n_windows else 120 if training is CYCLE else 240
    made = fit(time, budget=T, training=training, n_windows=n_windows)
    assert time.now <= T
    assert 50 <= made.settings["updates"] < 120
    if training is CYCLE:
        assert time.now > 0.75 * T
        assert made.history.updates[-1].total == made.settings["updates"]  # the cycle's own end


def test_every_fit_makes_as_many_updates(fit: Any) -> None:
    time = Time()
    made = fit(time, budget="6m40s")
    fits = {name: n for name, n in time.runs.items() if "measuring" not in name}
    assert len(fits) == 4
    n = {total for totals in fits.values() for total in totals}
    assert n == {made.settings["updates"]} == {made.settings["training"]["max_updates"]}
    assert n != {120}


def test_time_enough_changes_nothing(fit: Any) -> None:
    rich, without = fit(Time(), budget="1h", n_windows=1), fit(Time(), n_windows=1)
    assert rich.settings == without.settings
    assert rich.predict().equals(without.predict())


def test_as_many_updates_by_hand_make_the_same_bits(fit: Any) -> None:
    made = fit(Time(), budget=200, n_windows=1)
    n = made.settings["updates"]
    assert n < 120
    again = fit(Time(), training=replace(CYCLE, max_updates=n), n_windows=1)
    assert again.predict().equals(made.predict())


def test_too_little_time_says_how_much_is_needed(fit: Any) -> None:
    with pytest.raises(SettingError, match="a budget of at least") as refused:
        fit(Time(), budget=150)
    enough = re.search(r"budget='(\w+)'", str(refused.value))
    assert enough is not None
    assert fit(Time(), budget=enough[1]).settings["updates"] >= 50
    with pytest.raises(SettingError, match="a budget of at least"):
        fit(Time(), budget=5)  # which measuring alone takes


def test_what_took_longer_than_it_should_leaves_fewer_updates_at_the_end(fit: Any) -> None:
    class Slower(Time):
        def on_start(self, name: str, total: int) -> None:
            super().on_start(name, total)
            self.now += 150 * (name == "back-test 3/3")

    made = fit(Slower(), budget=400)
    planned = made.settings["training"]["max_updates"]
    assert 50 <= made.settings["updates"] < planned


def test_a_warm_start_and_cross_validation_have_it_too(fit: Any) -> None:
    time = Time()
    made = fit(time, budget=120, n_windows=0)
    before, n = time.now, made.settings["updates"]
    made.fit(Y, observers=[time], warm_start=True)
    assert time.now - before <= 120
    assert 50 <= made.settings["updates"] <= n
    before, made._given = time.now, replace(made._given, budget=200)
    made.cross_validation(Y, 2, observers=[time])
    assert time.now - before <= 200


class Kill(Time):
    """Kills in the middle of a run."""

    def on_update(self, update: Any) -> None:
        super().on_update(update)
        if self.name == "back-test 2/3" and self.made == 5:
            raise Killed


def test_a_killed_fit_keeps_its_number_of_updates(fit: Any, tmp_path: Path) -> None:
    whole, how = fit(Time(), budget=400), {"checkpoint": tmp_path / "fit"}
    with pytest.raises(Killed):
        fit(Kill(), how=how, budget=400)
    with pytest.raises(ModelFileError, match="budget 400"):
        fit(Time(), how=how, budget=600)
    faster = fit(Time(step=0.1), how=how, budget=400)  # and would have time for all updates
    assert faster.predict().equals(whole.predict())


def test_the_budget_is_kept_in_a_file(fit: Any, tmp_path: Path) -> None:
    fit(Time(), budget="10m", n_windows=0).save(tmp_path / "model")
    assert tt.load(tmp_path / "model")._given.budget == 600
