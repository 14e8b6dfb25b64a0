"""`--architecture auto` and `--budget`: what reaches the forecaster, what is said of the choice."""

from __future__ import annotations

import json
import sys

import pytest
from stand_in import StandIn

from throughtime.interfaces.cli import main

ROWS = "day,load\n" + "".join(f"{k},{20 + (7 * k) % 11}\n" for k in range(60))


class Choice:
    words = "segment, which errs least at 7 origins: direct 0.95, segment 0.90 after 100 updates"

    def to_dict(self):
        return {"architecture": "segment", "tried": []}


class Chosen(StandIn):
    def __init__(self, h, **given):
        super().__init__(h, **given)
        Chosen.seen = self.given
        self.choice = Choice()


@pytest.fixture
def run(forecaster, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["throughtime.forecasting.forecaster"], "Forecaster", Chosen)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(ROWS)

    def run(line):
        code = main(line.split())
        out, err = capsys.readouterr()
        return code, out, err

    return run


AUTO = "t.csv --h 2 --windows 1 --architecture auto --budget 1m30s"


def test_a_choice_is_said_on_the_terminal_and_in_the_report(run, tmp_path):
    code, _, err = run(f"forecast {AUTO}")
    assert code == 0
    assert Chosen.seen == {"architecture": "auto", "budget": "1m30s"}
    assert "segment, which errs least" in err
    assert Choice.words in (tmp_path / "t-report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["forecast --no-report", "backtest"])
def test_a_choice_is_said_to_machines(run, command):
    _, out, _ = run(f"{command} {AUTO} --json")
    assert json.loads(out)["choice"] == {"architecture": "segment", "tried": []}


def test_a_back_test_says_it_too(run):
    _, _, err = run(f"backtest {AUTO}")
    assert Choice.words in " ".join(err.split())  # lines are broken where the terminal ends


def test_a_budget_that_is_no_time_is_refused_at_once(run):
    code, _, err = run("forecast t.csv --h 2 --budget soon")
    assert code == 2
    assert "Expected --budget to be a time above 0, found 'soon': pass such as '90s'" in err


def test_a_search_has_its_own_limit(run):
    code, _, err = run("tune t.csv --h 2 --budget 2m")
    assert code == 2
    assert "--budget" in err
