"""Several groups of members with a choice of an architecture, a budget, and errors of each series."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecasting_cases import TRAINING, Killed, panel, quick, wave
from test_budget import CYCLE, LONG, Kill, Time

import throughtime as tt
from throughtime._errors import SettingError
from throughtime.forecasting import forecaster as door
from throughtime.forecasting.calibration.spread import Spread
from throughtime.forecasting.models.committee import Committee
from throughtime.forecasting.planning.budget import Budget, shortened
from throughtime.forecasting.planning.deciding import decide
from throughtime.forecasting.planning.plan import Call, draft, redraft
from throughtime.forecasting.preprocessing.transforms import Identity

Y = 5 + wave(40)  # so short that every rolling origin of three has fits of its own
CONTEXTS = tt.Members(1, (6, 12))
SMALL: dict[str, Any] = {"cell": "rnn", "hidden_size": 2, "season_length": 8, "members": CONTEXTS}
TWO = panel(Y, 9 + 4 * wave(40, 1, noise=1.0))


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fit by a clock of its own."""

    def fit(time: Time, how: Any = None, **settings: Any) -> tt.Forecaster:
        monkeypatch.setattr(door, "Budget", partial(Budget, clock=time))
        made = quick(**{**SMALL, "training": CYCLE, **settings})
        return made.fit(Y, observers=[time], **how or {})

    return fit


def test_an_architecture_is_chosen_once_for_all_groups(fit: Any, tmp_path: Path) -> None:
    time = Time()
    made = fit(time, architecture="auto", training=TRAINING, n_windows=1)
    trials = [name for name in time.runs if "trial" in name]
    assert len(trials) == len({each.architecture for each in made.choice.tried}) > 1
    alone = {"architecture": "auto", "members": 1, "context_length": 6}
    first = fit(Time(), training=TRAINING, n_windows=1, **alone)
    assert [e.error for e in made.choice.tried] == [e.error for e in first.choice.tried]
    found = {each.design.architecture for each in made.model.models}
    assert found == {made.choice.architecture}
    assert [each.design.context_length for each in made.model.models] == [6, 12]
    made.save(tmp_path / "model")
    assert tt.load(tmp_path / "model").choice == made.choice


def test_an_architecture_is_open_for_several_contexts_alone() -> None:
    with pytest.raises(SettingError, match="architecture, or architectures of Members, not both"):
        quick(architecture="auto", members=tt.Members(architectures=("direct", "es")))


@pytest.mark.parametrize(
    ("training", "n_windows", "architecture", "T"),
    [(LONG, 0, "direct", 500), (CYCLE, 3, "direct", 600), (CYCLE, 1, "auto", 480)],
)
def test_several_groups_end_in_time(
    fit: Any, training: Any, n_windows: int, architecture: str, T: int
) -> None:
    time, settings = Time(), {"architecture": architecture, "training": training}
    made = fit(time, budget=T, n_windows=n_windows, **settings)
    assert time.now <= T
    assert max(each["updates"] for each in made.settings["groups"]) < 120
    fits = {name for name in time.runs if "measuring" not in name and "trial" not in name}
    pilots = 2 * (training is LONG)
    assert len([name for name in fits if "pilot" in name]) == pilots
    assert len(fits) == 2 * (n_windows + 1) + pilots


def test_groups_share_what_time_there_is(fit: Any) -> None:
    time, T = Time(), 440
    made = fit(time, budget=T, n_windows=1)
    n = {total for name, runs in time.runs.items() if "measuring" not in name for total in runs}
    assert n == {each["updates"] for each in made.settings["groups"]}
    assert len(n) == 1
    assert 50 < n.pop() < 120
    assert 0.75 * T < time.now <= T
    with pytest.raises(SettingError, match="for 4 runs of 50 updates each"):
        fit(Time(), budget=200, n_windows=1)


def test_a_killed_fit_of_groups_keeps_its_choice_and_its_updates(fit: Any, tmp_path: Path) -> None:
    settings = {"architecture": "auto", "season_length": 1, "budget": 750, "n_windows": 3}
    how = {"checkpoint": tmp_path / "fit"}

    class KilledInAGroup(Kill):
        def on_start(self, name: str, total: int) -> None:
            super().on_start(name, total)
            self.name = name.removesuffix(", group 2/2")  # where Kill kills

    whole = fit(Time(), **settings)
    with pytest.raises(Killed):
        fit(KilledInAGroup(), how, **settings)
    faster = fit(Time(step=0.1), how, **settings)
    assert faster.choice == whole.choice
    assert faster.settings == whole.settings
    assert faster.predict() == whole.predict()


@pytest.mark.parametrize("combine", ["mean", "median", "weighted"])
def test_errors_of_each_series_are_those_of_the_committee(combine: str, tmp_path: Path) -> None:
    members = replace(CONTEXTS, combine=combine)
    made = quick(**{**SMALL, "members": members, "transform": "identity", "n_windows": 2})
    made.cross_validation(TWO, 2, refit=False)
    # what was fitted before the first origin, made again
    before = quick(**{**SMALL, "transform": "identity", "n_windows": 0}).fit(TWO.cut(6)).model
    assert isinstance(before, Committee)
    alike = replace(before, combine="median" if combine == "median" else "mean")
    spreads = [Spread.of(alike, TWO.cut(ahead), Identity()) for ahead in (6, 3)]
    assert made.backtest.spread is not None
    for name in ("steps", "ratios", "counts"):
        expected = np.stack([getattr(each, name) for each in spreads])
        np.testing.assert_allclose(getattr(made.backtest.spread, name), expected, rtol=1e-12)
    made.fit(TWO)
    table = made.predict()
    model, found = made.model, made._stream.spread
    assert isinstance(model, Committee)
    assert found is not None
    own = Spread.of(replace(model, weights=None), TWO, Identity())
    np.testing.assert_array_equal(found.ratios, own.ratios)
    made.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.predict() == table == made.predict(TWO)
    assert loaded.update({"unique_id": ["a", "b"], "ds": [40, 40], "y": [5.0, 9.0]}).predict()


def test_what_all_tells_may_want_more_updates_but_not_in_a_budget() -> None:
    given = tt.Forecaster(4, season_length=1)._given
    whole = panel(wave(2000))  # 500 horizons, of which the first origin has not seen all
    call = Call(given)
    first, all_told = draft(call, whole.cut(8), whole, None), decide(given, whole, whole)
    assert first.updates < all_told.training.max_updates
    assert redraft(call, first, whole).design == all_told
    within = redraft(replace(call, budget=Budget(60)), first, whole)
    assert within.design == shortened(all_told, first.updates)
