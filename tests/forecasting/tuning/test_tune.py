"""The search makes the trials it should, goes on where it was killed, and answers honestly."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from itertools import count
from statistics import fmean, median

import numpy as np
import optuna
import pyarrow as pa
import pytest
from forecasting_cases import TRAINING, panel, quick, wave
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import throughtime as tt
from throughtime._errors import DataError, DivergedError, MissingExtraError, SettingError
from throughtime.forecasting.tuning import study
from throughtime.forecasting.tuning.origins import Origin
from throughtime.forecasting.tuning.search import JUDGES
from throughtime.forecasting.tuning.trials import CellScore, Pair, Trial, Tuning
from throughtime.training import Observer

SMALL = {"members": 1, "training": TRAINING}
SPACE = {"cell": ["lstm", "gru"], "hidden_size": (2, 6), "context_length": (4, 12)}


def search(data=None, h=3, **settings):
    usual = {"n_trials": 4, "n_windows": 2, "space": SPACE}
    return tt.tune(wave() if data is None else data, h, **usual | SMALL | settings)


def rows(found):
    """All that a table of trials says but how long they took."""
    return found.trials.drop_columns(["seconds"]).to_pylist()


@pytest.fixture
def pretend(monkeypatch):
    """Let trials err as a function of forecaster and origin says, without any training."""

    def put(error):
        origins = count()

        def pretended(self, forecaster, observers):
            for observer in observers:
                observer.on_start("fit", 1)
            return error(forecaster, next(origins))

        monkeypatch.setattr(Origin, "error", pretended)

    return put


def width(forecaster, origin):
    return float(forecaster._given.design["hidden_size"] or 32)


class Stop(Observer):
    """Presses Ctrl-C, or worse, when a run of some name begins."""

    def __init__(self, at, how):
        self.at, self.how, self.names = at, how, []

    def on_start(self, name, total):
        self.names.append(name)
        if name.startswith(self.at):
            self.how()


def interrupt():
    raise KeyboardInterrupt


# what a trial is judged by


def test_a_score_is_the_mase_of_a_back_test():
    fixed = {"context_length": 8, "season_length": 8, "residual": "level", "transform": "identity"}
    data = panel(wave(60), 3 + 5 * wave(50, seed=1))
    found = search(data, n_trials=1, space={"cell": ["gru"]}, **fixed)
    forecaster = quick(cell="gru", hidden_size=32, **fixed)
    forecaster.cross_validation(data, n_windows=2)
    [ours, *others] = forecaster.backtest.scores
    assert found.score == pytest.approx(ours.mase, rel=1e-6)
    assert found.baselines == pytest.approx({other.model: other.mase for other in others})


def test_an_origin_knows_nothing_of_what_comes_after_it():
    y = wave()
    later = np.concatenate([y[:-3], y[-3:] + 9])
    before, after = search(y, n_trials=2), search(later, n_trials=2)
    for one, other in zip(before.tried, after.tried, strict=True):
        assert one.errors[0] == other.errors[0]
        assert one.errors[1] != other.errors[1]


def test_there_are_no_more_origins_than_the_data_allow():
    found = search(wave(20), h=3, n_windows=5, n_trials=1)
    assert found.n_windows == len(found.winner.errors) == 3  # 8 rows and a test part are left


def test_a_table_that_cannot_judge_is_refused():
    y = np.concatenate([wave(40), np.full(3, np.nan)])
    with pytest.raises(DataError, match="none in one of them"):
        search(y, n_windows=1)


# which trials are made


def test_the_same_seed_makes_the_same_trials(pretend):
    pretend(width)
    assert rows(search(n_trials=14)) == rows(search(n_trials=14))
    assert rows(search(n_trials=14)) != rows(search(n_trials=14, seed=1))


def test_cells_take_turns_and_begin_with_the_usual_settings(pretend):
    pretend(width)
    found = search(n_trials=9, space=None)
    assert [trial.cell for trial in found.tried] == ["LSTM", "GRU", "RNN"] * 3
    assert [set(trial.settings) == {"cell"} for trial in found.tried] == [True] * 3 + [False] * 6
    assert {each.trials for each in found.by_cell.values()} == {3}


def test_ranges_hold_and_choices_may_be_anything(pretend):
    pretend(width)
    chosen = [tt.nn.forget_bias(2.0), None]
    space = SPACE | {
        "cell": ["lstm"],
        "zoneout": (0.0, 0.5),
        "init": chosen,
        "learning_rate": (1e-3, 1e-2),
    }
    found = search(n_trials=12, space=space)
    assert len({trial.settings["hidden_size"] for trial in found.tried}) > 2
    for trial in found.tried:
        assert 2 <= trial.settings["hidden_size"] <= 6
        assert 4 <= trial.settings["context_length"] <= 12
        assert 0 <= trial.settings["zoneout"] <= 0.5
        assert trial.settings["init"] in chosen
    assert {trial.settings["init"] for trial in found.tried} == set(chosen)
    rate = found.winner.settings["learning_rate"]
    assert found.best["training"].learning_rate == rate != TRAINING.learning_rate
    assert found.best["training"].max_updates == TRAINING.max_updates


def test_the_usual_context_is_one_to_four_seasons_where_the_data_allow(pretend):
    pretend(width)
    found = search(wave(300), n_trials=20, space=None, season_length=8)
    contexts = {t.settings["context_length"] for t in found.tried if "context_length" in t.settings}
    assert 8 <= min(contexts) < 12 < 24 < max(contexts) <= 32
    short = search(wave(40), n_trials=20, space=None, season_length=8)
    contexts = {t.settings["context_length"] for t in short.tried if "context_length" in t.settings}
    assert max(contexts) <= (40 - 2 * 3 - 3) // 2


def test_the_best_are_arguments_of_a_forecaster():
    found = search(hidden_size=3, space={"cell": ["gru"], "learning_rate": (1e-3, 1e-2)})
    assert found.best["hidden_size"] == 3
    assert found.best["seed"] == 0
    forecaster = found.forecaster()
    assert (forecaster.h, forecaster.name) == (3, "GRU")
    quick = tt.Forecaster(**{**found.best, "n_windows": 0})
    table = quick.fit(wave()).predict(level=[])
    assert table.num_rows == 3


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"hiden_size": (2, 4)}, "a name in space"),
        ({"h": [2, 3]}, "a name in space"),
        ({"members": [1, 2]}, "searched or fixed"),
        ({"hidden_size": (8, 2)}, "range"),
        ({"hidden_size": (2,)}, "range"),
        ({"hidden_size": ("a", "b")}, "range"),
        ({"cell": []}, "range"),
        ({"hidden_size": 8}, "range"),
        ({"cell": ["lstn"]}, "'lstn'"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space, said):
    with pytest.raises(SettingError, match=said):
        search(space=space)


@pytest.mark.parametrize("wrong", [{"n_trials": 0}, {"timeout": 0}, {"n_windows": 0}, {"sell": 1}])
def test_an_argument_out_of_its_range_is_refused(wrong):
    with pytest.raises(SettingError):
        search(**wrong)


# stopping


def test_a_hopeless_trial_is_stopped_and_does_not_win(pretend):
    pretend(width)
    found = search(n_trials=20, n_windows=3)
    stopped = [trial for trial in found.tried if trial.state == "pruned"]
    assert stopped
    for trial in stopped:
        before = found.tried[: trial.number - 1]
        r = len(trial.errors)
        others = [fmean(other.errors[:r]) for other in before if len(other.errors) >= r]
        assert r < 3
        assert len(others) >= JUDGES
        assert fmean(trial.errors) > median(others)
    assert found.winner.state == "complete"
    assert found.winner.settings["hidden_size"] == 2


def test_training_that_breaks_down_is_a_trial_that_is_lost(pretend):
    def error(forecaster, origin):
        if origin == 2:
            raise DivergedError("a finite loss", "nan", "lower the learning rate")
        return 1.0

    pretend(error)
    found = search()
    assert [trial.state for trial in found.tried] == [
        "complete",
        "diverged",
        "complete",
        "complete",
    ]
    assert "1 diverged" in found.text

    def always(forecaster, origin):
        raise DivergedError("a finite loss", "nan", "lower the learning rate")

    pretend(always)
    with pytest.raises(DivergedError, match="4 trials that all diverged"):
        search()


def test_no_trial_begins_when_time_is_up(pretend):
    pretend(width)
    found = search(timeout=1e-9)
    assert (len(found.tried), found.reason) == (1, "out of time")
    assert search(n_trials=1, timeout=1e-9).reason == "all trials done"


def test_control_c_ends_with_the_best_so_far(pretend):
    pretend(width)
    found = search(observers=[Stop("trial 3/4, origin 2", interrupt)])
    assert (len(found.tried), found.reason) == (2, "interrupted")
    with pytest.raises(KeyboardInterrupt):
        search(observers=[Stop("trial 1/4, origin 2", interrupt)])


def test_observers_see_runs_by_name_and_trials_as_they_end(pretend):
    pretend(width)
    seen = []

    class Watcher(Stop):
        def on_trial(self, trial, n_trials):
            seen.append((trial.number, trial.score, n_trials))

    watcher = Watcher("never", interrupt)
    found = search(n_trials=2, observers=[watcher])
    assert watcher.names == [f"trial {k}/2, origin {r}/2, fit" for k in (1, 2) for r in (1, 2)]
    assert seen == [(trial.number, trial.score, 2) for trial in found.tried]


# going on

KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_tune import Stop, search
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
search(storage="search.db", observers=[Stop("trial 3/4, origin 2", kill)])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing here kills like that")
def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = KILLED.format(path=sys.path)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    watcher = Stop("never", interrupt)
    found = search(storage="search.db", observers=[watcher])
    assert rows(found) == rows(search())
    assert watcher.names[0].startswith("trial 3/4, origin 1/2")
    study = optuna.load_study(study_name="throughtime", storage="sqlite:///search.db")
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 2 + ["FAIL"] + ["COMPLETE"] * 2


def test_more_trials_go_on_and_as_many_make_none(tmp_path, pretend):
    pretend(width)
    place = tmp_path / "search.db"
    first = search(n_trials=11, storage=place)
    watcher = Stop("never", interrupt)
    again = search(n_trials=11, storage=f"sqlite:///{place}", observers=[watcher])
    assert rows(again) == rows(first)
    assert watcher.names == []
    assert rows(search(n_trials=13, storage=place)) == rows(search(n_trials=13))
    assert rows(search(n_trials=5, storage=place)) == rows(first)[:5]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"h": 2}, "h"),
        ({"data": wave(seed=1)}, "data"),
        ({"data": panel(wave())}, "data"),
        ({"seed": 1}, "seed"),
        ({"n_windows": 1}, "n_windows"),
        ({"space": {"cell": ["gru"]}}, "space"),
        ({"members": 2}, "fixed"),
    ],
)
def test_the_storage_of_another_search_is_refused(pretend, other, what):
    pretend(width)
    place = optuna.storages.InMemoryStorage()
    search(n_trials=1, storage=place)
    with pytest.raises(SettingError, match=rf"same {what}, .*another name="):
        search(n_trials=1, storage=place, **other)
    assert len(search(n_trials=1, storage=place, name="second", **other).tried) == 1


def test_a_study_of_something_else_is_refused(pretend):
    pretend(width)
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="throughtime").optimize(lambda _: 1.0, 1)
    with pytest.raises(SettingError, match="another name="):
        search(storage=storage)


def test_a_storage_that_is_none_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text(
        "not a database, and longer than its header of 100 bytes" * 9
    )
    for place in (tmp_path / "notes.txt", tmp_path / "no" / "folder.db", "nothing://here"):
        with pytest.raises(SettingError, match=r"Expected a (storage|place)"):
            search(storage=place)
    assert "not a database" in (tmp_path / "notes.txt").read_text()


# beside Optuna


def test_optuna_is_silent_and_left_as_it_was(pretend):
    pretend(width)
    said = []
    handler = logging.Handler()
    handler.emit = said.append
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.INFO)
    logging.getLogger("optuna").addHandler(handler)
    try:
        search()
        assert said == []
        assert optuna.logging.get_verbosity() == logging.INFO
        optuna.create_study()
        assert len(said) == 1
    finally:
        logging.getLogger("optuna").removeHandler(handler)
        optuna.logging.set_verbosity(before)


def test_without_optuna_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setattr(study, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'throughtime\[tune\]'"):
        search()


# columns beside the values


def load(n=60, seed=0):
    """Two series of two targets, with a temperature, a price that is known ahead, and dates."""
    rng = np.random.default_rng(seed)
    columns = {
        "unique_id": np.repeat(["a", "b"], n),
        "ds": np.tile(np.datetime64("2024-01-01") + np.arange(n), 2),
        "load": np.concatenate([wave(n), 30 + 4 * wave(n, seed=1)]),
        "wind": np.concatenate([9 - wave(n, seed=2), wave(n, seed=3)]),
        "temp": rng.normal(size=2 * n),
        "price": rng.normal(size=2 * n),
    }
    return pa.table(columns)


AREA = pa.table({"unique_id": ["b", "a"], "area": [3.0, 1.0], "side": ["south", "north"]})
ROLES = {"target": ["load", "wind"], "futr": ["price"]}


def put(name, table, i, value):
    """Return a table with another value in one cell."""
    values = table[name].to_pylist()
    values[i] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def test_every_column_that_a_fit_reads_is_read():
    found = search(
        load(),
        n_trials=2,
        static_df=AREA,
        hist=["temp"],
        calendar=["day_of_week"],
        **ROLES,
    )
    assert [trial.state for trial in found.tried] == ["complete"] * 2
    forecaster = tt.Forecaster(**{**found.best, "n_windows": 0}).fit(load(), static_df=AREA)
    assert forecaster.panel.targets == ("load", "wind")
    assert (forecaster.panel.hist, forecaster.panel.futr) == (("temp",), ("price",))
    assert forecaster.settings["calendar"] == ("day_of_week",)


def test_the_score_of_several_targets_is_that_of_their_back_test():
    fixed = {"context_length": 8, "season_length": 8, "residual": "level", "transform": "identity"}
    found = search(load(), n_trials=1, space={"cell": ["gru"]}, **fixed, **ROLES)
    forecaster = quick(cell="gru", hidden_size=32, **fixed, **ROLES)
    forecaster.cross_validation(load(), n_windows=2)
    [ours, *others] = forecaster.backtest.scores
    assert found.score == pytest.approx(ours.mase, rel=1e-6)
    assert found.baselines == pytest.approx({other.model: other.mase for other in others})


def test_a_covariate_changes_what_is_learned():
    y = load()["load"].to_numpy()
    helpful = load().set_column(5, "price", pa.array(np.roll(y, 1)))
    one, other = (
        search(table, n_trials=1, space={"cell": ["gru"]}, target="load", futr="price")
        for table in (load(), helpful)
    )
    assert one.tried[0].errors != other.tried[0].errors


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"data": put("load", load(), 9, 1.5)}, "data"),
        ({"data": put("wind", load(), 9, 1.5)}, "data"),
        ({"data": put("temp", load(), 9, 1.5)}, "data"),
        ({"data": put("price", load(), 9, 1.5)}, "data"),
        ({"static_df": put("area", AREA, 0, 2.0)}, "data"),
        ({"static_df": put("side", AREA, 0, "east")}, "data"),
        ({"static_df": AREA.drop_columns(["side"])}, "data"),
        ({"static_df": None}, "data"),
        ({"hist": [], "futr": ["price", "temp"]}, "data"),
        ({"target": ["wind", "load"]}, "data"),
        ({"calendar": True}, "fixed"),
    ],
)
def test_the_storage_of_other_columns_is_refused(pretend, other, what):
    pretend(width)
    usual = {"data": load(), "static_df": AREA, "hist": ["temp"], **ROLES}
    place = optuna.storages.InMemoryStorage()
    first = search(n_trials=1, storage=place, **usual)
    assert rows(search(n_trials=1, storage=place, **usual)) == rows(first)
    with pytest.raises(SettingError, match=rf"same {what}, .*another name="):
        search(n_trials=1, storage=place, **usual | other)


def test_only_architectures_that_read_such_columns_are_searched(pretend):
    pretend(width)

    def architectures(**columns):
        found = search(load(), n_trials=40, space={"cell": ["gru"]}, target="load", **columns)
        return {t.settings["architecture"] for t in found.tried if "architecture" in t.settings}

    every = {"ar", "direct", "es", "recursive", "segment", "seq2seq", "synced"}
    assert architectures(futr="price") == every
    assert architectures(hist="temp") == every - {"ar", "recursive"}
    assert architectures(output="point") == every - {"ar", "recursive"}


@pytest.mark.parametrize("name", ["target", "hist", "futr"])
def test_columns_are_given_and_not_searched(name):
    with pytest.raises(SettingError, match="a name in space"):
        search(load(), target="load", space={name: ["temp", "price"]})


def test_values_that_an_output_cannot_have_are_refused_before_any_trial(tmp_path):
    place = tmp_path / "search.db"
    for how in ({"output": "negative-binomial"}, {"space": {"output": ["negative-binomial"]}}):
        with pytest.raises(DataError, match="counts"):
            search(wave(), storage=place, **how)
    assert not place.exists()


# what is said


def trial(number, cell, *errors, state="complete", **settings):
    return Trial(number, {"cell": cell, **settings}, errors, state)


def pair(a, b):
    one, two = trial(1, "gru", *a), trial(2, "lstm", *b)
    return Pair(CellScore("GRU", 9, 5, one, 1.0), CellScore("LSTM", 8, 5, two, 1.0))


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=12))
def test_the_sign_test_is_scipys(signs):
    made = pair([5 + s for s in signs], [5.0] * len(signs))
    n = sum(s != 0 for s in signs)
    expected = binomtest(made.wins, n).pvalue if n else 1.0
    assert made.p == pytest.approx(expected)


def test_a_difference_is_clear_only_where_the_origins_can_tell():
    clear = str(pair([0.9] * 6, [1.0] * 6))
    assert clear == (
        "the GRU errs 10% less than the LSTM (best of 9 and 8 trials; ahead on 6 of 6 origins): "
        "a clear difference (sign test, p = 0.031)."
    )
    assert str(pair([0.9] * 5, [1.0] * 5)).endswith("no clear difference.")
    assert "no clear difference (sign test, p = 0.22)" in str(pair([0.9] * 5 + [1.1], [1.0] * 6))
    assert "errs as much as the LSTM" in str(pair([1.0], [1.001]))
    # ahead in the mean by one lucky origin, behind at all others
    assert "no clear difference" in str(pair([0.0] + [1.1] * 9, [1.0] * 10))


def test_the_score_left_out_is_that_of_the_best_elsewhere():
    errors = 1 + np.random.default_rng(0).lognormal(size=(7, 4))
    errors[0] = [0.0, 0.9, 0.9, 0.9]  # the winner, by one lucky origin
    errors[1] = 0.8
    tried = [trial(k + 1, "gru", *row) for k, row in enumerate(errors.tolist())]
    tried.append(trial(8, "gru", 0.0, state="pruned"))
    expected = [errors[np.argmin(np.delete(errors, r, 1).mean(1)), r] for r in range(4)]
    found = Tuning(1, 4, {}, tuple(tried))
    assert found.left_out_score == pytest.approx(np.mean(expected))
    assert found.left_out_score > found.score
    assert Tuning(1, 1, {}, (trial(1, "gru", 0.5),)).left_out_score is None


def test_the_text_says_what_was_found_gained_and_is_worth():
    tried = (
        trial(1, "lstm", 1.0, 1.0),
        trial(2, "gru", 1.1, 1.1),
        trial(3, "lstm", 0.8, 1.0, hidden_size=9, learning_rate=0.00123),
        trial(4, "gru", 1.2, state="pruned", hidden_size=4, learning_rate=0.002),
        trial(5, "rnn", 1.3, state="pruned", hidden_size=4, learning_rate=0.002),
    )
    found = Tuning(2, 2, {"members": 1}, tried, {"Naive": 2.0, "AR": 0.85})
    assert (
        str(found)
        == found.text
        == "\n".join(
            [
                "The best of 5 trials (2 stopped early) is the LSTM with hidden_size=9 and "
                "learning_rate=0.00123: mean absolute scaled error 0.900 over 2 origins.",
                "On these data the LSTM errs 18% less than the GRU (best of 2 and 2 trials; ahead on 2 "
                "of 2 origins): no clear difference. Fewer than 6 origins cannot show a "
                "clear one. No trial of the RNN, of 1, came to all origins.",
                "The usual settings (LSTM) err 1.00: the search gained 10%.",
                "The best baseline, AR, errs 0.850 there.",
                "The score of a winner flatters it: chosen at the other origins, the best err 0.900 at "
                "the one left out. Judge it on values that the search has not seen.",
            ]
        )
    )
    assert list(found.by_cell) == ["LSTM", "GRU", "RNN"]
    gru = found.by_cell["GRU"]
    assert (gru.trials, gru.complete, gru.best, gru.median) == (2, 1, tried[1], 1.1)
    table = found.trials
    assert table["hidden_size"].to_pylist() == [None, None, 9, 4, 4]
    assert table["errors"].to_pylist()[3] == [1.2]
    assert found.to_dict()["trials"][2]["settings"]["hidden_size"] == 9
    alone = Tuning(2, 2, {}, tried[:1])
    assert alone.answer == "All trials were of the LSTM."
    assert "with the usual settings" in alone.found
