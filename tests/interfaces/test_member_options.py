"""`--members`, `--contexts`, `--architectures`, `--combine`: what reaches the forecaster, what does not."""

from __future__ import annotations

import json

import pytest
from stand_in import StandIn

import throughtime as tt
from throughtime.forecasting.settings.members import COMBINE
from throughtime.interfaces.cli import main
from throughtime.interfaces.groups import COMBINED
from throughtime.interfaces.options import Options

MEMBERS = {
    "--members 3": 3,
    "--contexts 24,48": tt.Members(contexts=(24, 48)),
    "--architectures direct,segment --members 2": tt.Members(2, (), ("direct", "segment")),
    "--combine median": tt.Members(combine="median"),
}
WRONG = {
    "--members 0": "--members to be a whole number of at least 1, found 0",
    "--contexts 24,0": "--contexts to be whole numbers of at least 1, parted by commas, found '0'",
    "--architectures drect": "--architectures to be one of 'ar', 'direct'",
    "--combine mode": "--combine to be one of 'mean', 'median', 'weighted', found 'mode'",
    "--contexts 24 --context-length 24": "--context-length or --contexts, found both",
    "--architectures es --architecture es": "--architecture or --architectures, found both",
}


def given(line: str) -> dict:
    words = [word.removeprefix("--") for word in line.split()]
    named = dict(zip(words[::2], words[1::2], strict=True))
    numbers = {"members": int(named["members"])} if "members" in named else {}
    return Options("t.csv", 2, **named | numbers).answer


@pytest.mark.parametrize("line", MEMBERS)
def test_options_are_the_members_of_a_forecaster(line):
    assert given(line) == {"members": MEMBERS[line]}


def test_without_them_it_has_its_own():
    assert Options("t.csv", 2).answer == {}
    assert given("--architecture direct") == {"architecture": "direct"}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_refused_before_anything_is_read(line, capsys):
    assert main(["forecast", "no-such-file.csv", "--h", "2", *line.split()]) == 2
    assert WRONG[line] in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("line", ["forecast --no-report", "backtest"])
def test_they_reach_the_forecaster(line, forecaster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("day,load\n" + "".join(f"{k},{k % 7}\n" for k in range(60)))
    options = "t.csv --h 2 --windows 1 --json --contexts 4,8 --combine median"
    seen = []
    monkeypatch.setattr(StandIn, "seen", seen, raising=False)
    init = StandIn.__init__

    def remembers(self, h, **given):
        init(self, h, **given)
        seen.append(self.given)

    monkeypatch.setattr(StandIn, "__init__", remembers)
    assert main([*line.split(), *options.split()]) == 0
    json.loads(capsys.readouterr().out)
    assert seen == [{"members": tt.Members(contexts=(4, 8), combine="median")}]


@pytest.mark.parametrize("combine", COMBINE)
def test_the_terminal_and_the_machine_hear_of_every_group(
    combine, forecaster, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("day,load\n" + "".join(f"{k},{k % 7}\n" for k in range(60)))
    init = StandIn.__init__

    def in_groups(self, h, **given):
        init(self, h, **given)
        shared = self.settings | {"combine": combine}
        choices = [(c, a) for c in (4, 8) for a in ("direct", "es")]
        groups = [shared | {"context_length": c, "architecture": a} for c, a in choices]
        self.settings |= groups[0] | {"weights": [0.25] * 4, "groups": groups}

    monkeypatch.setattr(StandIn, "__init__", in_groups)
    assert main(["forecast", "t.csv", "--h", "2", "--windows", "1", "--no-report", "--json"]) == 0
    out, err = capsys.readouterr()
    err = " ".join(err.split())
    assert "architecture direct and es members 4 groups of 5, their" in err
    assert COMBINED[combine] in err
    assert "look-back 4 and 8 steps" in err
    last = json.loads(out)["groups"][-1]
    assert last == {"context_length": 8, "architecture": "es", "weight": 0.25}


def test_a_search_has_its_own(capsys):
    assert main(["tune", "t.csv", "--h", "2", "--members", "3"]) == 2
    assert "--members" in capsys.readouterr().err
