"""`throughtime tune` passes options on, says what was found, and writes a page that shows it."""

from __future__ import annotations

import json
import re

import pytest
from stand_in import SUNSPOTS, StandIn, sunspots
from test_report_page import NASTY, Page

from throughtime.drawing import theme
from throughtime.forecasting.tuning import tune as search
from throughtime.forecasting.tuning.search import TrialObserver
from throughtime.forecasting.tuning.trials import Trial, Tuning
from throughtime.interfaces.cli import main
from throughtime.interfaces.page import render
from throughtime.interfaces.progress import Trials
from throughtime.interfaces.report import report_data
from throughtime.interfaces.searching import code
from throughtime.interfaces.tuning_page import Search, render_tuning


def found(reason="all trials done"):
    settings = {"hidden_size": 24, "learning_rate": 0.0123}
    tried = (
        Trial(1, {"cell": "lstm"}, (1.0, 1.0)),
        Trial(2, {"cell": "gru", **settings}, (0.8, 1.0)),
        Trial(3, {"cell": "lstm", **settings}, (1.5,), "pruned"),
        Trial(4, {"cell": "gru", **settings}, (), "diverged"),
    )
    return Tuning(11, 2, {"seed": 0}, tried, {"AR": 0.95}, reason)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the search was asked for, which pretends to be over at once."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{1700 + k},{y}\n" for k, y in enumerate(SUNSPOTS))
    (tmp_path / "spots.csv").write_text("YEAR,SUNACTIVITY\n" + rows)
    seen = {"reason": "all trials done"}

    def tune(panel, h, *, observers, **options):
        seen.update(options, h=h, series=len(panel))
        made = found(seen.pop("reason"))
        for trial in made.tried:
            for observer in observers:
                if isinstance(observer, TrialObserver):
                    observer.on_trial(trial, 4)
        return made

    monkeypatch.setattr(search, "tune", tune)
    return seen


def test_options_reach_the_search(asked):
    options = "--cell gru,lstm --season 10 --freq 1 --seed 7 --windows 6 --trials 9 --timeout 60"
    assert main(f"tune spots.csv --h 4 {options} --storage s.db --name mine".split()) == 0
    assert asked == {
        "h": 4,
        "series": 1,
        "n_trials": 9,
        "timeout": 60.0,
        "storage": "s.db",
        "name": "mine",
        "space": {"cell": ["gru", "lstm"]},
        "n_windows": 6,
        "seed": 7,
        "season_length": 10,
        "freq": "1",
    }


def test_it_says_what_was_found_and_writes_a_page(asked, capsys, tmp_path):
    assert main(["tune", "spots.csv", "--h", "11"]) == 0
    out, err = capsys.readouterr()
    out = re.sub(r"\s+", " ", out)  # where its lines end is the terminal's affair
    assert "the GRU errs 10% less than the LSTM" in out
    assert "tt.Forecaster(h=11, seed=0, cell='gru', hidden_size=24, training=replace(" in out
    assert "trial 1/4: LSTM with the usual settings: 1.00, the best so far" in err
    assert "trial 3/4: LSTM hidden_size=24, learning_rate=0.0123: stopped early" in err
    assert "trial 4/4: GRU hidden_size=24, learning_rate=0.0123: diverged" in err
    assert err.endswith("wrote the report to spots-settings.html\n")
    page = Page((tmp_path / "spots-settings.html").read_text(encoding="utf-8"))
    for said in ("spots, 11 years ahead", "10% less than the LSTM", "hidden_size=24", "AR, errs"):
        assert said in page.text
    assert list(page.figures) == ["tuning"]


def test_json_holds_all_trials(asked, capsys):
    assert main(["tune", "spots.csv", "--h", "11", "--json", "--no-report"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "GRU"
    assert told["tuning"]["winner"] == 2
    assert [each["state"] for each in told["tuning"]["trials"]] == [
        *("complete", "complete", "pruned", "diverged"),
    ]
    assert told["files"] == {}


def test_what_was_interrupted_is_said_and_written(asked, capsys, tmp_path):
    asked["reason"] = "interrupted"
    assert main(["tune", "spots.csv", "--h", "11"]) == 130
    out, err = capsys.readouterr()
    assert "the GRU errs 10% less" in re.sub(r"\s+", " ", out)
    assert "interrupted after 4 trials" in err
    assert err.endswith("throughtime: stopped\n")
    assert (tmp_path / "spots-settings.html").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--cell lstm,gur", "--cell to be one of"),
        ("--trials 0", "--trials"),
        ("--timeout 0", "--timeout"),
        ("--windows 0", "--windows"),
        ("--storage spots.csv", "--storage to be a file of its own"),
        ("--storage no/search.db", "no/search.db"),
        ("--report no/page.html", "no/page.html"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(asked, capsys, options, said):
    assert main(f"tune spots.csv --h 11 {options}".split()) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("throughtime: error: Expected")
    assert said in err
    assert "n_trials" not in asked


def test_without_plotly_there_is_a_hint_and_no_page(asked, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(theme, "find_spec", lambda name: None)
    assert main(["tune", "spots.csv", "--h", "11"]) == 0
    assert theme.INSTALL in capsys.readouterr().err
    assert not (tmp_path / "spots-settings.html").exists()


def test_the_lines_of_python_make_the_best_forecaster():
    namespace = {}
    exec(code(found()), namespace)
    forecaster = namespace["forecaster"]
    assert (forecaster.h, forecaster.name) == (11, "GRU")
    theirs, ours = found().forecaster()._given.design, forecaster._given.design
    assert ours == theirs
    assert ours["training"].learning_rate == 0.0123


def test_a_forecast_report_shows_the_search_that_found_its_settings():
    forecaster = StandIn(11).fit(sunspots())
    made = {"forecaster": forecaster, "forecast": forecaster.predict(), "level": [80]}
    page = Page(render(report_data(**made, tuning=found())))
    assert "How the settings were found" in page.text
    assert "tuning" in page.figures
    without = Page(render(report_data(**made)))
    assert "How the settings were found" not in without.text
    assert "tuning" not in without.figures


def test_the_page_is_accessible_and_escapes_what_users_wrote():
    plain = found().to_dict()
    plain["trials"][1]["settings"] = {"cell": "gru", NASTY: NASTY}
    plain["answer"] = plain["found"] = plain["by_cell"][0]["cell"] = NASTY
    text = render_tuning(Search(NASTY, plain, {NASTY: NASTY}, "1", code=NASTY, command=NASTY))
    page = Page(text)
    assert len(page.named("b")) == 0
    assert len(page.named("script")) == 3
    assert page.text.count("alert") >= 8
    assert len(page.named("h1")) == 1
    assert all("scope" in attrs for attrs in page.named("th"))
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for _, attrs in page.tags:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids


def test_only_a_complete_trial_can_be_the_best_so_far():
    said = []
    watcher = Trials(said.append)
    for number, errors, state in [(1, (0.1,), "pruned"), (2, (1.0, 1.0), "complete")]:
        watcher.on_trial(Trial(number, {"cell": "rnn"}, errors, state), 2)
    assert [line.endswith("best so far") for line in said] == [False, True]
