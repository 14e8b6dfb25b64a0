"""The race of architectures: who may run, how they are judged, what is kept, and that it is honest."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from forecasting_cases import NAN, TRAINING, Killed, panel, quick, wave
from hypothesis import given
from hypothesis import strategies as st
from test_budget import Time

import throughtime as tt
from throughtime._errors import DivergedError, SettingError
from throughtime.forecasting import forecaster as door
from throughtime.forecasting import read_frame
from throughtime.forecasting.evaluation.baselines import Naive
from throughtime.forecasting.planning import choosing
from throughtime.forecasting.planning.budget import Budget
from throughtime.forecasting.planning.choosing import (
    Choice,
    Judges,
    Tried,
    candidates,
    choose,
    origins_of,
    ranked,
)

Y = 5 + wave(80)
AUTO: dict[str, Any] = {"architecture": "auto", "cell": "rnn", "season_length": 8}


def arguments(**settings: Any) -> Any:
    return quick(**{**AUTO, **settings})._given


def names(data: Any = Y, futr: str = "", **settings: Any) -> list[str]:
    columns = {"futr": futr} if futr else {}
    read = read_frame(data, **{**columns, **({"hist": h} if (h := settings.get("hist")) else {})})
    return [*candidates(arguments(**settings, **columns), read, read)]


def with_price(n: int = 80) -> pa.Table:
    t = np.arange(n)
    return pa.table({"unique_id": ["a"] * n, "ds": t, "y": 5 + wave(n), "price": wave(n, 7)})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["direct", "segment", "es"]),
        ({"season_length": 1}, ["direct", "segment"]),
        ({"data": with_price(), "hist": "price"}, ["direct", "segment", "es"]),
        ({"data": with_price(), "futr": "price"}, ["direct", "segment", "es", "seq2seq"]),
        ({"output": "student-t"}, ["direct", "segment", "es", "ar"]),
        (
            {"output": "student-t", "data": with_price(), "hist": "price"},
            ["direct", "segment", "es"],
        ),
        ({"output": "negative-binomial", "data": np.arange(80.0) % 7}, ["direct", "segment", "ar"]),
        ({"residual": "season"}, ["direct", "segment"]),
        ({"preprogram": "linear"}, ["direct"]),
        ({"scaling": "running"}, ["synced"]),
        ({"scaling": "running", "output": "gaussian"}, ["synced", "recursive"]),
        ({"linear_skip": True}, ["direct", "segment", "es"]),
        ({"lags": [2, 8], "output": "gaussian"}, ["ar"]),
    ],
)
def test_who_may_run(settings: dict[str, Any], expected: list[str]) -> None:
    assert names(**settings) == expected


def test_what_no_architecture_can_do_is_refused_as_ever() -> None:
    with pytest.raises(SettingError, match="lags for architecture='ar' alone"):
        quick(**AUTO, lags=[2]).fit(Y)
    with pytest.raises(
        SettingError, match="architecture to be one of None, 'auto', 'ar', 'direct'"
    ):
        quick(architecture="best")


@given(
    st.dictionaries(
        st.sampled_from(choosing.ORDER), st.floats(0.5, 2) | st.just(math.inf), min_size=1
    )
)
def test_what_is_less_than_two_per_cent_better_does_not_overtake(errors: dict[str, float]) -> None:
    ranks, least = ranked(errors), min(errors.values())
    assert sorted(ranks) == sorted(errors)
    alike = [name for name in errors if 0.98 * errors[name] <= least]
    assert ranks[: len(alike)] == alike
    rest = [errors[name] for name in ranks[len(alike) :]]
    assert rest == sorted(rest)


def test_errors_are_those_of_a_loop_over_series_and_origins() -> None:
    y = [5 + wave(60), 9 * wave(41, 1), np.where(np.arange(50) % 11, wave(50, 2), NAN), wave(9)]
    ragged, h, m = panel(*y), 3, 4
    ahead = origins_of(ragged, h)
    assert ahead.tolist() == [11, 9, 8, 7, 6, 5, 4, 3][-len(ahead) :] or len(ahead) > 2

    class Last:
        def forecast(self, known: Any) -> Any:
            return np.stack([Naive().forecast(known.row(r), h) for r in range(len(known))])

    errors = []
    for series in (s for s in y if len(s) > ahead.max()):
        known = series[: len(series) - ahead.max()]
        s = np.nanmean(np.abs(known[m:] - known[:-m]))
        for k in ahead:
            before, after = series[: len(series) - k], series[len(series) - k :][:h]
            errors.append(np.abs(after - Naive().forecast(before, h)) / s)
    judges = Judges.of(ragged, ahead, h, m)
    assert judges.error(Last()) == pytest.approx(np.nanmean(errors), rel=1e-12)


@given(st.lists(st.integers(1, 120), min_size=1, max_size=30), st.integers(1, 12))
def test_origins_leave_enough_to_learn_from(lengths: list[int], h: int) -> None:
    lengths = [max(lengths[0], 2), *lengths[1:26]]
    ragged = panel(*(np.arange(n) % 5 for n in lengths))
    ahead = origins_of(ragged, h)
    if len(ahead) == 0:
        assert max(lengths) < max(8, 2 * h) + max(h, 8 * h)
        return
    assert ahead[-1] == h
    assert (np.diff(ahead) < 0).all()
    assert max(lengths) - ahead[0] >= max(8, 2 * h)
    assert ahead[0] <= max(h, np.median(lengths) // 4)


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Race with errors that are given in place of those of nets; returns the choice."""

    def race(errors: dict[str, Any], most: int = 600, **settings: Any) -> Choice:
        def fit(known: Any, design: Any, updates: int, observers: Any, name: str) -> Any:
            for observer in observers:
                observer.on_start(name, updates)
            for _ in range(updates):
                for observer in observers:
                    observer.on_update(None)
            error = errors[design.architecture]
            if error is None:
                raise DivergedError("a finite loss", "none", "lower the rate")
            made = type("Model", (), {"forecast": lambda self, known: None, "error": error})()
            return made, None

        monkeypatch.setattr(choosing.fitting, "fit", fit)
        monkeypatch.setattr(Judges, "error", lambda self, model: model.error)
        time, seconds = Time(), settings.pop("budget", None)
        read, training = read_frame(Y), replace(TRAINING, max_updates=most)
        budget = Budget(seconds, time)
        made = choose(arguments(training=training, **settings), read, read, budget, [time])
        race.time = time.now  # type: ignore[attr-defined]
        return made

    return race


def rows(choice: Choice) -> list[tuple[str, int]]:
    return [(each.architecture, each.updates) for each in choice.tried]


def test_the_better_half_runs_on_with_more_updates(race: Any) -> None:
    made = race({"direct": 1.0, "segment": 0.8, "es": 0.9})
    three = [("direct", 100), ("segment", 100), ("es", 100)]
    assert rows(made) == [*three, ("segment", 150), ("es", 150)]
    assert (made.architecture, made.reason) == ("segment", "errs least")
    assert rows(race({"direct": 1, "segment": 2, "es": 3}, most=3000))[2:4] == [
        ("es", 300),
        ("direct", 450),
    ]


def test_four_run_two_rounds_of_as_many_updates(race: Any) -> None:
    made = race({"direct": 4, "segment": 3, "es": 2, "ar": 1}, output="gaussian")
    assert rows(made)[4:] == [("es", 200), ("ar", 200)]
    assert [each.seconds for each in made.tried] == [100] * 4 + [200] * 2


def test_whoever_made_all_updates_runs_no_more(race: Any) -> None:
    assert len(race({"direct": 1, "segment": 2, "es": 3}, most=80).tried) == 3


def test_what_is_alike_goes_to_the_simpler(race: Any) -> None:
    made = race({"direct": 1.01, "segment": 1.0, "es": 1.2})
    assert (made.architecture, made.reason) == ("direct", "errs at most 2 % more")
    assert race({"direct": 1.03, "segment": 1.0, "es": 1.2}).architecture == "segment"


def test_whoever_diverges_is_out(race: Any) -> None:
    made = race({"direct": None, "segment": 1.0, "es": None})
    assert made.architecture == "segment"
    assert made.tried[0].error == math.inf
    assert "direct diverged" in made.words
    assert Choice.of(made.to_dict()) == made


def test_a_race_takes_three_tenths_of_a_budget(race: Any) -> None:
    errors = {"direct": 1.0, "segment": 0.8, "es": 0.9}
    made = race(errors, budget=1000)
    assert 200 < race.time <= 300
    n = [each.updates for each in made.tried]
    assert n[0] < 100
    assert n[0] < n[-1]
    assert rows(race(errors, budget=1e6)) == rows(race(errors))  # no more than without
    few = race(errors, budget=400)  # 120: 30 to measure, 60 and 90 of three
    assert [name for name, _ in rows(few)] == ["direct", "segment"]
    none = race(errors, budget=100)
    assert (none.architecture, none.tried) == ("direct", ())
    assert "too little time" in none.words


def test_auto_is_what_asking_for_the_chosen_would_be() -> None:
    made = quick(**AUTO).fit(Y)
    assert made.choice is not None
    name = made.design.architecture
    assert name == made.choice.architecture in ("direct", "segment", "es")
    asked = quick(**{**AUTO, "architecture": name}).fit(Y)
    assert asked.choice is None
    assert made.settings == asked.settings
    assert made.predict().equals(asked.predict())


def test_the_choice_knows_nothing_after_the_first_origin() -> None:
    known = 80 - 3 * 3  # of three rolling origins, h = 3
    other = Y.copy()
    other[known:] = 50.0 + np.arange(9) ** 2
    one, two = quick(**AUTO).fit(Y).choice, quick(**AUTO).fit(other).choice
    assert one is not None
    assert two is not None
    assert [each.error for each in one.tried] == [each.error for each in two.tried]
    other[known - 1] = 50.0
    three = quick(**AUTO).fit(other).choice
    assert three is not None
    assert [each.error for each in one.tried] != [each.error for each in three.tried]


def test_too_few_rows_leave_the_first() -> None:
    made = quick(2, **{**AUTO, "season_length": 2}, n_windows=1).fit(wave(10))
    assert made.choice == Choice("direct", "stands first where there are too few rows")
    assert made.design.architecture == "direct"
    alone = quick(**AUTO, preprogram="linear").fit(Y)
    assert alone.choice is not None
    assert alone.choice.words == "direct, which is the only one that fits"


def test_a_look_back_too_long_for_the_part_before_the_origins() -> None:
    made = quick(**AUTO, context_length=30, n_windows=0).fit(Y[:36])
    assert made.context_length == 30


def test_every_call_keeps_its_choice(tmp_path: Path) -> None:
    made = quick(**AUTO, n_windows=1).fit(Y)
    choice = made.choice
    made.fit(Y, warm_start=True)
    assert made.choice == choice
    made.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.choice == choice
    assert loaded.predict().equals(made.predict())
    assert loaded.fit(Y).choice is not None  # anew
    made.cross_validation(Y, 2, refit=False)
    assert made.choice is not None
    assert choice is not None
    assert [t.error for t in made.choice.tried] != [t.error for t in choice.tried]


def test_the_doctor_treats_what_was_chosen() -> None:
    made = quick(**AUTO, cure="auto", n_windows=0).fit(Y[:40])
    assert made.choice is not None
    assert made.choice.tried


def test_a_killed_fit_keeps_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kill(Time):
        def on_start(self, name: str, total: int) -> None:
            super().on_start(name, total)
            if name == "final fit":
                raise Killed

    def fit(time: Time) -> tt.Forecaster:
        monkeypatch.setattr(door, "Budget", partial(Budget, clock=time))
        long = replace(TRAINING, max_updates=52, schedule="one-cycle")
        own = {"linear_skip": False, "residual": "last", "context_length": 8}  # no ES
        new = quick(**AUTO, **own, training=long, budget=300, n_windows=1)
        return new.fit(Y, observers=[time], checkpoint=tmp_path / "fit")

    whole = fit(Time())
    with pytest.raises(Killed):
        fit(Kill())
    time = Time(step=0.01)
    again = fit(time)
    assert again.choice == whole.choice
    assert again.predict().equals(whole.predict())
    assert [*time.runs] == ["final fit"]  # what is done is not done again


def test_words_say_what_was_tried() -> None:
    tried = (Tried("direct", 100, 1.0, 2.0), Tried("segment", 100, math.inf, 1.0))
    made = Choice("direct", "errs least", 8, tried)
    assert made.words == (
        "direct, which errs least at 8 origins: direct 1.00, segment diverged after 100 updates"
    )
    with pytest.raises(ValueError, match="architecture"):
        Choice.of(made.to_dict() | {"architecture": "best"})
