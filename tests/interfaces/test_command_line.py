import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stand_in import SUNSPOTS, StandIn

import throughtime
from throughtime.drawing import theme
from throughtime.interfaces.cli import main

HEAVY = ("torch", "optuna", "pandas", "polars", "plotly", "pyarrow", "numpy", "rich")


@pytest.fixture
def run(forecaster, tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def yearly(tmp_path):
    rows = "".join(f"{1700 + k}.0,{y}\n" for k, y in enumerate(SUNSPOTS))
    (tmp_path / "spots.csv").write_text("YEAR,SUNACTIVITY\n" + rows)
    return "spots.csv"


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("arguments", "code", "loads"),
    [
        (["--help"], 0, ()),
        (["--version"], 0, ()),
        (["forecast", "--help"], 0, ()),
        (["tune", "--help"], 0, ()),
        (["evaluate", "--help"], 0, ()),
        (["evaluate", "x.csv", "--season", "0"], 2, ()),
        (["evaluate", "x.csv"], 2, ("pyarrow", "numpy", "rich")),
        (["forecast", "x.csv", "--h", "0"], 2, ()),
        (["forecast", "x.csv", "--h", "2", "--no-report"], 2, ("pyarrow", "numpy", "rich")),
    ],
)
def test_what_needs_no_model_imports_none(arguments, code, loads):
    script = (
        "import sys; from throughtime.interfaces.cli import main; code = main(sys.argv[1:]);"
        f"print('loaded', *[n for n in {HEAVY} if n in sys.modules]); sys.exit(code)"
    )
    done = python(script, *arguments)
    assert done.returncode == code
    loaded = done.stdout.splitlines()[-1].split()[1:]
    assert set(loaded) <= set(loads)


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "throughtime", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"throughtime {throughtime.__version__}\n")


def test_forecast_says_what_it_read_compares_forecasts_and_writes(run, yearly, tmp_path):
    code, out, err = run("forecast", yearly, "--h", "11")
    assert code == 0
    for said in (
        "spots.csv",
        "145",
        "1700 to 1844",
        "every year",
        "YEAR",
        "SUNACTIVITY",
        "nothing",
    ):
        assert said in err
    for said in ("8 rolling origins, 11 years", "Naive", "in 95%", "1855", "gradient", "best base"):
        assert said in out
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "spots-forecast.csv",
        "spots-report.html",
        "spots.csv",
    ]
    lines = (tmp_path / "spots-forecast.csv").read_text().splitlines()
    assert lines[0] == "unique_id,ds,LSTM,LSTM-lo-80,LSTM-hi-80,LSTM-lo-95,LSTM-hi-95"
    assert lines[1].startswith("SUNACTIVITY,1845,")
    assert len(lines) == 12


def test_options_reach_the_forecaster(run, yearly, monkeypatch):
    made = {}

    class Watched(StandIn):
        def __init__(self, h, **options):
            made.update(options, h=h)
            super().__init__(h, **options)

    monkeypatch.setattr(
        sys.modules["throughtime.forecasting.forecaster"], "Forecaster", Watched, raising=True
    )
    options = "--season 10 --cell gru --context-length 20 --seed 7 --windows 3 --freq 1 --no-report"
    code, out, _ = run("forecast", yearly, "--horizon", "4", "--level", "50", *options.split())
    assert code == 0
    assert made == {
        "h": 4,
        "cell": "gru",
        "context_length": 20,
        "season_length": 10,
        "freq": "1",
        "n_windows": 3,
        "seed": 7,
    }
    assert "GRU" in out
    assert "50% interval" in out
    assert "3 rolling origins" in out


def test_json_is_all_there_is_on_stdout(run, yearly):
    code, out, err = run("forecast", yearly, "--h", "3", "--json", "--save", "model.st")
    told = json.loads(out)
    assert code == 0
    assert told["columns"] == {
        "time": "YEAR",
        "target": "SUNACTIVITY",
        "id": None,
        "futr": [],
        "hist": [],
        "static": [],
    }
    assert [row["ds"] for row in told["forecast"]] == [1845, 1846, 1847]
    assert {score["model"] for score in told["scores"]} == {
        "LSTM",
        "Naive",
        "SeasonalNaive",
        "LinearAR",
    }
    assert set(told["files"]) == {"forecast", "report", "model"}
    assert "model.st" in err


def test_json_has_no_word_for_infinity(run, yearly, monkeypatch):
    fit = StandIn.fit

    def without_decay(self, table, **options):
        fit(self, table, **options)
        self.reach.half_life = math.inf

    monkeypatch.setattr(StandIn, "fit", without_decay)
    _, out, _ = run("forecast", yearly, "--h", "1", "--json", "--no-report")
    assert json.loads(out, parse_constant=pytest.fail)["reach"]["half_life"] is None


def test_quiet_says_one_line(run, yearly):
    code, out, err = run("forecast", yearly, "--h", "3", "--quiet", "--no-report")
    assert (code, out) == (0, "")
    assert err == "wrote the forecast to spots-forecast.csv\n"


def test_without_a_terminal_training_is_one_line(run, yearly):
    _, _, err = run("forecast", yearly, "--h", "3", "--no-report")
    assert sum("trained 10 fits" in line for line in err.splitlines()) == 1
    assert "\x1b" not in err


def test_backtest_forecasts_nothing(run, yearly, tmp_path):
    code, out, err = run("backtest", yearly, "--h", "5", "--windows", "2", "--out", "b.csv")
    assert code == 0
    assert "2 rolling origins, 5 years" in out
    assert "Forecast" not in out
    header, *rows = (tmp_path / "b.csv").read_text().splitlines()
    assert header.startswith("unique_id,ds,cutoff,y,LSTM,")
    assert len(rows) == 10
    assert "b.csv" in err


def test_standard_input_and_the_carried_data(run, yearly, tmp_path, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO((tmp_path / yearly).read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("forecast", "-", "--h", "2", "--no-report", "--quiet")[0] == 0
    assert (tmp_path / "stdin-forecast.csv").exists()
    assert run("forecast", "sunspots", "--h", "2", "--no-report", "--quiet")[0] == 0
    lines = (tmp_path / "sunspots-forecast.csv").read_text().splitlines()
    assert lines[1].startswith("sunspots,2009,")
    # a file of that name goes before the carried one
    (tmp_path / "sunspots").write_text(
        "ds,y\n" + "".join(f"{1900 + k},{k % 7}\n" for k in range(90))
    )
    assert run("forecast", "sunspots", "--h", "2", "--no-report", "--quiet")[0] == 0
    assert (tmp_path / "sunspots-forecast.csv").read_text().splitlines()[1].startswith("y,1990,")


def test_a_name_that_says_parquet_gets_parquet(run, yearly, tmp_path):
    code, _, _ = run("forecast", yearly, "--h", "3", "--no-report", "--out", "f.parquet")
    assert code == 0
    assert pq.read_table(tmp_path / "f.parquet")["ds"].to_pylist() == [1845, 1846, 1847]
    run("backtest", yearly, "--h", "3", "--windows", "2", "--out", "b.PQ")
    assert pq.read_table(tmp_path / "b.PQ").num_rows == 6


def test_many_series_show_the_first_and_say_so(run, tmp_path):
    rows = "".join(
        f"s{i:02},{1900 + k},{(k * (i + 3)) % 11}\n" for i in range(30) for k in range(60)
    )
    (tmp_path / "long.csv").write_text("unique_id,ds,y\n" + rows)
    code, out, err = run("forecast", "long.csv", "--h", "2", "--windows", "2")
    assert code == 0
    assert "3 of 30 series shown" in out
    assert "s02" in out
    assert "s03" not in out
    assert "series by" in err
    assert len((tmp_path / "long-forecast.csv").read_text().splitlines()) == 61
    page = (tmp_path / "long-report.html").read_text(encoding="utf-8")
    assert "first 20 of 30" in page


def test_dates_are_written_as_short_as_they_are(run, tmp_path):
    days = "".join(f"2024-01-{d:02},{d % 7}\n" for d in range(1, 32))
    (tmp_path / "days.csv").write_text('day,"a ""b"", c"\n' + days)
    run("forecast", "days.csv", "--h", "2", "--windows", "1", "--no-report", "--quiet")
    assert '"a ""b"", c",2024-02-01,' in (tmp_path / "days-forecast.csv").read_text()
    hours = "".join(f"2024-01-01 {k:02}:00,{k % 7}\n" for k in range(24))
    (tmp_path / "hours.csv").write_text("time,y\n" + hours)
    run("forecast", "hours.csv", "--h", "2", "--windows", "1", "--no-report", "--quiet")
    assert "y,2024-01-02 00:00:00," in (tmp_path / "hours-forecast.csv").read_text()


WRONG = {
    "no horizon": ("forecast spots.csv", "Missing option"),
    "horizon zero": ("forecast spots.csv --h 0", "--h to be a whole number of at least 1, found 0"),
    "horizon no number": ("forecast spots.csv --h x", "'x' is no whole number"),
    "level zero": ("forecast spots.csv --h 1 --level 0", "--level to be per cents"),
    "level too high": ("forecast spots.csv --h 1 --level 80,100", "found '100'"),
    "level empty": ("forecast spots.csv --h 1 --level 80,", "found ''"),
    "cell": (
        "forecast spots.csv --h 1 --cell lstn",
        "'rnn', 'lstm', 'gru', 'mingru', 'minlstm', found 'lstn'",
    ),
    "season": ("forecast spots.csv --h 1 --season 0", "--season"),
    "context": ("forecast spots.csv --h 1 --context-length 0", "--context-length"),
    "windows": ("backtest spots.csv --h 1 --windows 0", "--windows"),
    "seed": ("backtest spots.csv --h 1 --seed -1", "--seed"),
    "frequency": ("forecast spots.csv --h 1 --freq Z", "freq"),
    "no file": ("forecast none.csv --h 1", "no such file"),
    "column": ("forecast spots.csv --h 1 --target z", "'YEAR', 'SUNACTIVITY'"),
    "out folder": ("forecast spots.csv --h 1 --out no/a.csv", "there is no folder"),
    "report folder": ("forecast spots.csv --h 1 --report no/a.html", "there is no folder"),
    "save folder": ("forecast spots.csv --h 1 --save no/a.st", "there is no folder"),
    "out over the source": ("forecast spots.csv --h 1 --out spots.csv", "a file that is read"),
    "one file twice": ("forecast spots.csv --h 1 --out a --report a", "--out names too"),
    "unknown option": ("forecast spots.csv --h 1 --horison 2", "--horison"),
    "unknown command": ("forcast spots.csv --h 1", "forcast"),
    "no file given": ("forecast --h 1", "Missing argument"),
}


@pytest.mark.parametrize(("line", "said"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_one_sentence_and_leave_nothing(run, yearly, tmp_path, line, said):
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith("throughtime: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert [p.name for p in tmp_path.iterdir()] == [yearly]


def test_errors_after_reading_speak_in_lines_of_the_file(run, tmp_path):
    rows = [f"2024-01-0{d},1" for d in (1, 2, 3)] + ["", "2024-01-04 05:00,1"]
    (tmp_path / "a.csv").write_text("ds,y\n" + "\n".join(rows) + "\n")
    code, _, err = run("forecast", "a.csv", "--h", "1", "--freq", "D", "--no-report")
    assert code == 2
    assert "line 6" in err
    assert "\0" not in err


def test_a_failure_while_training_leaves_nothing_half_written(run, yearly, tmp_path, monkeypatch):
    def stop(self, table, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(StandIn, "fit", stop)
    code, out, err = run("forecast", yearly, "--h", "1")
    assert (code, out) == (130, "")
    assert err.endswith("throughtime: stopped\n")
    assert [p.name for p in tmp_path.iterdir()] == [yearly]


def test_a_bug_is_not_dressed_up_as_a_mistake(run, yearly, monkeypatch):
    def bug(self, table, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(StandIn, "fit", bug)
    with pytest.raises(ZeroDivisionError):
        run("forecast", yearly, "--h", "1")


def test_without_plotly_the_report_is_refused_if_asked_for_and_left_out_if_not(
    run, yearly, tmp_path, monkeypatch
):
    monkeypatch.setattr(theme, "find_spec", lambda name: None)
    code, _, err = run("forecast", yearly, "--h", "1", "--report", "r.html")
    assert code == 2
    assert "pip install 'throughtime[report]'" in err
    code, _, err = run("forecast", yearly, "--h", "1")
    assert code == 0
    assert "for a report to look at: pip install 'throughtime[report]'" in err
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_broken_pipe_is_quiet(unbuffered):
    here = Path(__file__).parent
    script = (
        f"import sys; sys.path.insert(0, {str(here)!r});"
        "from types import ModuleType; from stand_in import StandIn;"
        "m = ModuleType('throughtime.forecasting.forecaster'); m.Forecaster = StandIn;"
        "sys.modules[m.__name__] = m;"
        "from throughtime.interfaces.cli import main;"
        "sys.exit(main(['backtest', 'sunspots', '--h', '2', '--json']))"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    reader.stdout.close()
    err = reader.stderr.read()
    reader.stderr.close()
    assert reader.wait(timeout=60) == 1
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
