"""`throughtime diagnose FILE` fits and diagnoses; `throughtime diagnose MODEL FILE` loads a saved one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from stand_in import SUNSPOTS, StandIn, sunspots

import throughtime
from throughtime.drawing import theme
from throughtime.interfaces import checkup
from throughtime.interfaces.cli import main

STAMP = b'{"__metadata__":{"format":"throughtime forecaster 1"}}'
MODEL = len(STAMP).to_bytes(8, "little") + STAMP


@pytest.fixture
def run(forecaster, tmp_path, monkeypatch, capsys):
    """Run the command line in a folder with a table and a model; returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{1700 + k},{y}\n" for k, y in enumerate(SUNSPOTS))
    (tmp_path / "spots.csv").write_text("YEAR,SUNACTIVITY\n" + rows)
    (tmp_path / "m.st").write_bytes(MODEL)
    fitted = StandIn(5, "gru", n_windows=0).fit(sunspots())
    monkeypatch.setitem(vars(throughtime), "load", lambda path: fitted)  # not loaded yet

    def run(line):
        code = main(["diagnose", *line.split()])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def made(monkeypatch):
    """What the forecaster was made with, and on what it was diagnosed."""
    seen = {}

    class Watched(StandIn):
        def __init__(self, h, **options):
            seen.update(options, h=h)
            super().__init__(h, **options)

    def diagnose(self, data=None, **options):
        seen["data"] = data
        return whole(self, data, **options)

    whole = StandIn.diagnose
    monkeypatch.setattr(StandIn, "diagnose", diagnose)
    monkeypatch.setattr(sys.modules["throughtime.forecasting.forecaster"], "Forecaster", Watched)
    return seen


def test_a_table_is_fitted_and_diagnosed_without_origins(run, made, tmp_path):
    code, out, err = run("spots.csv")
    assert code == 0
    assert "this net cannot learn it" in out
    assert "1700 to 1844" in err
    assert err.endswith("wrote the report to spots-diagnosis.html\n")
    assert (made["h"], made["n_windows"], made["data"]) == (10, 0, None)  # the season that is found
    page = (tmp_path / "spots-diagnosis.html").read_text(encoding="utf-8")
    assert "spots: how gradients travel through the LSTM" in page
    assert "years before the newest" in page
    assert "<dt>horizon</dt><dd>10</dd>" in page


def test_options_reach_the_forecaster(run, made):
    options = (
        "--h 4 --season 10 --cell gru --context-length 20 --seed 7 --freq 1 --no-report --quiet"
    )
    assert run(f"spots.csv {options}")[0] == 0
    del made["data"]
    assert made == {
        "h": 4,
        "cell": "gru",
        "context_length": 20,
        "season_length": 10,
        "freq": "1",
        "n_windows": 0,
        "seed": 7,
    }


def test_cures_reach_the_options(run, monkeypatch):
    seen = []
    monkeypatch.setattr(checkup, "diagnose", lambda options, *more: seen.append(options.cures))
    line = "--init orthogonal:kept --clip 0.25 --preprogram linear --zoneout 0.1 --layer-norm"
    assert run(f"spots.csv {line} --recurrent-dropout 0.2")[0] == 0
    assert run("spots.csv --cell rnn --nonlinearity relu")[0] == 0
    assert seen == [
        {
            "init": "orthogonal:kept",
            "clip": 0.25,
            "preprogram": "linear",
            "zoneout": 0.1,
            "recurrent_dropout": 0.2,
            "layer_norm": True,
        },
        {"nonlinearity": "relu"},
    ]


@pytest.mark.parametrize(
    ("options", "h"), [("--season 7", 7), ("--season 70", 1), ("--season 1", 1)]
)
def test_the_horizon_is_a_season_where_the_history_allows_one(run, made, options, h):
    assert run(f"spots.csv --no-report {options}")[0] == 0
    assert made["h"] == h


def test_a_saved_model_is_diagnosed_on_the_rows_of_the_file(run, made, tmp_path):
    code, _, _ = run("m.st spots.csv --report r.html")
    assert code == 0
    assert "h" not in made  # nothing was fitted
    assert list(made["data"].row(0)) == SUNSPOTS
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "GRU" in page


def test_json_is_all_there_is_on_stdout(run):
    code, out, _ = run("m.st spots.csv --json")
    told = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert (told["model"], told["h"], told["rows"]) == ("GRU", 5, 145)
    assert told["diagnosis"]["findings"][0]["severity"] == "serious"
    assert told["diagnosis"]["step"] == "year"
    assert told["files"] == {"report": "spots-diagnosis.html"}


def test_quiet_says_one_line(run):
    assert run("spots.csv --quiet --no-report") == (0, "", "done\n")


def test_without_plotly_the_report_is_left_out_unless_it_was_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.setattr(theme, "find_spec", lambda name: None)
    code, out, err = run("spots.csv")
    assert (code, "cannot learn" in out) == (0, True)
    assert "for a report to look at: pip install 'throughtime[report]'" in err
    assert run("spots.csv --report r.html")[0] == 2
    assert not list(tmp_path.glob("*.html"))


WRONG = {
    "no file": ("", "Missing argument"),
    "three files": ("a b c", "one table, or a saved model and a table, found 3 files"),
    "wrong order": ("spots.csv m.st", "pass throughtime diagnose m.st spots.csv"),
    "model alone": ("m.st", "a table to diagnose the model on, found 'm.st' alone"),
    "two models": ("m.st m.st", "a table after the model, found another model, 'm.st'"),
    "two tables": (
        "spots.csv spots.csv",
        "spots.csv to be a forecaster that was saved, found another",
    ),
    "model missing": (
        "none.st spots.csv",
        "none.st to be a forecaster that was saved, found no such",
    ),
    "model a folder": (". spots.csv", ". to be a forecaster that was saved, found Is a directory"),
    "table missing": ("none.csv", "no such file"),
    "table missing beside a model": ("m.st none.csv", "no such file"),
    "horizon beside a model": ("m.st spots.csv --h 3", "no --h beside a saved model"),
    "cell beside a model": ("m.st spots.csv --cell gru", "no --cell beside a saved model"),
    "seed beside a model": ("m.st spots.csv --seed 0", "no --seed beside a saved model"),
    "season beside a model": ("m.st spots.csv --season 11", "no --season beside a saved model"),
    "context beside a model": ("m.st spots.csv --context-length 9", "no --context-length beside"),
    "start beside a model": ("m.st spots.csv --init chrono:9", "no --init beside a saved model"),
    "norm beside a model": ("m.st spots.csv --layer-norm", "its own, found --layer-norm: leave"),
    "zoneout": ("spots.csv --zoneout 2", "zoneout"),
    "horizon zero": ("spots.csv --h 0", "--h to be a whole number of at least 1, found 0"),
    "cell": ("spots.csv --cell lstn", "'rnn', 'lstm', 'gru', 'mingru', 'minlstm', found 'lstn'"),
    "too long": ("spots.csv --h 60", "at least 180 rows"),
    "report over the table": ("spots.csv --report spots.csv", "a file that is read"),
    "report over the model": ("m.st spots.csv --report m.st", "which the model names too"),
    "report folder": ("spots.csv --report no/r.html", "there is no folder"),
    "frequency": ("spots.csv --freq Z", "--freq"),
    "unknown option": ("spots.csv --level 80", "--level"),
}


@pytest.mark.parametrize(("line", "said"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_one_sentence_and_leave_nothing(run, tmp_path, line, said):
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith("throughtime: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "m.st").read_bytes() == MODEL


def test_another_step_than_the_models_is_refused(run, tmp_path):
    days = "".join(f"2024-01-{day:02},{day % 7}\n" for day in range(1, 32))
    (tmp_path / "days.csv").write_text("ds,y\n" + days)
    code, _, err = run("m.st days.csv --no-report")
    assert code == 2
    assert "dates '1' apart, as those that the model was fitted to, found 'D'" in err


@pytest.mark.parametrize(
    "content",
    [b"", b"1234567", b"\xff" * 64, b"ds,y\n2024-01-01,1\n", (2).to_bytes(8, "little") + b"{}"],
)
def test_what_is_no_model_is_not_taken_for_one(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not checkup.is_model(str(path))
    assert not checkup.is_model(str(tmp_path))
    assert not checkup.is_model("none\0such")


@pytest.mark.parametrize("line", ["x.csv y.csv", "none.csv", "--help", "m.st"])
def test_mistakes_are_told_before_torch_is_loaded(tmp_path, line):
    (tmp_path / "m.st").write_bytes(MODEL)
    script = (
        "import sys; from throughtime.interfaces.cli import main; code = main(sys.argv[1:]);"
        "print('torch' in sys.modules, 'plotly' in sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, "diagnose", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == (0 if line == "--help" else 2)
    assert done.stdout.splitlines()[-1] == "False False"
