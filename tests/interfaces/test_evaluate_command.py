"""`throughtime evaluate` says of files what `tt.evaluate` says of their tables."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from throughtime.forecasting.evaluation.scores import evaluate
from throughtime.interfaces.cli import main

H, ORIGINS = 3, (24, 27)
MONTHS = np.arange("2020-01", "2022-07", dtype="datetime64[M]").astype("datetime64[us]")


def shops():
    """The past of two shops, and a back-test of two models on it."""
    rng = np.random.default_rng(3)
    past = {"unique_id": [], "ds": [], "y": []}
    made = {
        name: [] for name in ("unique_id", "ds", "cutoff", "y", "LSTM", "LSTM-lo-80", "LSTM-hi-80")
    }
    made["SeasonalNaive"] = []
    for shop in "ab":
        y = np.round(rng.normal(50, 9, len(MONTHS)), 2)
        past["unique_id"] += [shop] * len(y)
        past["ds"] += MONTHS.tolist()
        past["y"] += y.tolist()
        for cut in ORIGINS:
            actual = y[cut : cut + H]
            point = np.round(actual + rng.normal(0, 4, H), 2)
            made["unique_id"] += [shop] * H
            made["ds"] += MONTHS[cut : cut + H].tolist()
            made["cutoff"] += [MONTHS[cut - 1].item()] * H
            made["y"] += actual.tolist()
            made["LSTM"] += point.tolist()
            made["LSTM-lo-80"] += (point - 5).tolist()
            made["LSTM-hi-80"] += (point + 5).tolist()
            made["SeasonalNaive"] += y[cut - 12 : cut - 12 + H].tolist()
    return pa.table(past), pa.table(made)


PAST, MADE = shops()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with both tables; returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    arrow_csv.write_csv(PAST, "past.csv")
    arrow_csv.write_csv(MADE, "made.csv")

    def run(line):
        code = main(["evaluate", *line.split()])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def as_floats(table):
    """The columns of scores, NaN where a cell is empty."""
    names = [name for name in table.column_names if pa.types.is_floating(table[name].type)]
    return {name: table[name].to_numpy() for name in names}


def same(found, wanted):
    """Assert that two tables of scores are equal, to the last digit."""
    assert found.column_names == wanted.column_names
    for name, values in as_floats(wanted).items():
        np.testing.assert_array_equal(as_floats(found)[name], values)
    for name in ("model", "n"):
        assert found[name].to_pylist() == wanted[name].to_pylist()


@pytest.mark.parametrize(
    ("line", "train", "options"),
    [
        ("", None, {}),
        ("--train past.csv", PAST, {}),
        ("--train past.csv --season 5 --by series,horizon", PAST, {"season_length": 5, "by": ["unique_id", "horizon"]}),
        ("--train past.csv --metrics owa,mase --models LSTM", PAST, {"metrics": ["owa", "mase"], "models": ["LSTM"]}),
        ("--by cutoff --level 80 --metrics coverage", None, {"by": "cutoff", "level": 80, "metrics": "coverage"}),
        ("--train past.csv --metrics owa --baseline LSTM", PAST, {"metrics": "owa", "baseline": "LSTM"}),
    ],
)  # fmt: skip
def test_the_command_says_what_the_function_says(run, line, train, options):
    assert run(f"made.csv --quiet --out scores.parquet {line}")[0] == 0
    same(pq.read_table("scores.parquet"), evaluate(MADE, train, **options))


def test_parquet_and_csv_are_read_alike(run):
    pq.write_table(MADE, "made.parquet")
    assert run("made.parquet --train past.csv --quiet --out a.csv")[0] == 0
    assert run("made.csv --train past.csv --quiet --out b.csv")[0] == 0
    with open("a.csv") as one, open("b.csv") as other:
        assert one.read() == other.read()


def test_actuals_come_from_another_file_in_any_order(run):
    arrow_csv.write_csv(MADE.drop_columns(["y"]), "ahead.csv")
    rows = np.random.default_rng(0).permutation(len(PAST))
    renamed = PAST.take(rows).rename_columns(["shop", "month", "sold"])
    arrow_csv.write_csv(renamed, "sold.csv")
    line = "ahead.csv --actuals sold.csv --train sold.csv --id shop --time month --target sold"
    assert run(f"{line} --quiet --out scores.parquet")[0] == 0
    same(pq.read_table("scores.parquet"), evaluate(MADE, PAST))


def test_dates_without_an_actual_value_are_left_out_and_counted(run):
    arrow_csv.write_csv(PAST.slice(0, 28), "late.csv")
    code, out, err = run("made.csv --actuals late.csv --json")
    assert code == 0
    assert "late.csv has no value for 8 rows of 12" in err
    scores = json.loads(out)["scores"]
    assert [row["n"] for row in scores] == [4, 4]
    known = MADE.filter(pa.array([True] * 4 + [False] * 8))
    assert scores[0]["mae"] == pytest.approx(evaluate(known)["mae"][0].as_py(), rel=1e-14)


def test_one_series_is_the_same_whatever_files_call_it(run, tmp_path):
    one = MADE.slice(0, 6)
    arrow_csv.write_csv(one.drop_columns(["y"]), "one.csv")
    arrow_csv.write_csv(PAST.slice(0, len(MONTHS)).drop_columns(["unique_id"]), "past1.csv")
    assert run("one.csv --actuals past1.csv --train past1.csv --quiet --out s.parquet")[0] == 0
    same(pq.read_table("s.parquet"), evaluate(one, PAST))


def test_of_several_targets_one_is_scored_under_the_names_of_its_models(run):
    names = {"y": "load", "LSTM": "load-LSTM", "LSTM-lo-80": "load-LSTM-lo-80",
             "LSTM-hi-80": "load-LSTM-hi-80", "SeasonalNaive": "load-SeasonalNaive"}  # fmt: skip
    two = MADE.rename_columns([names.get(name, name) for name in MADE.column_names])
    two = two.append_column("price", MADE["y"]).append_column("price-LSTM", MADE["LSTM"])
    arrow_csv.write_csv(two, "two.csv")
    arrow_csv.write_csv(PAST.rename_columns(["unique_id", "ds", "load"]), "loads.csv")
    assert run("two.csv --target load --train loads.csv --quiet --out s.parquet")[0] == 0
    same(pq.read_table("s.parquet"), evaluate(MADE, PAST))


def test_text_beside_forecasts_tells_groups_apart_or_is_left_out_by_name(run):
    marked = MADE.append_column("kind", pa.array(["new", "old"] * 6))
    arrow_csv.write_csv(marked, "marked.csv")
    assert run("marked.csv --by kind --quiet --out s.parquet")[0] == 0
    same(pq.read_table("s.parquet"), evaluate(marked, by="kind"))
    assert run("marked.csv --models LSTM --quiet --out s.parquet")[0] == 0
    same(pq.read_table("s.parquet"), evaluate(MADE, models="LSTM"))


def test_the_terminal_shows_points_quantiles_and_intervals(run):
    code, out, err = run("made.csv --train past.csv --by series")
    assert code == 0
    for said in ("Point forecasts", "MASE", "OWA", "Quantiles", "scaled CRPS", "in 80%"):
        assert said in out
    points, _, rest = out.partition("Quantiles")
    assert points.count("SeasonalNaive") == 2
    assert "SeasonalNaive" not in rest  # it has no quantiles
    for said in ("made.csv", "2022-01-01 to 2022-06-01", "60 values"):
        assert said in err


def test_scores_are_read_without_torch(run, tmp_path):
    script = (
        "import sys; from throughtime.interfaces.cli import main;"
        "code = main(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "evaluate", "made.csv", "--train", "past.csv", "--quiet"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "done\n")


ROWS = ["2024-01-01,3,4", "2024-01-02,5,5", "2024-01-03,2,1"]


def lines(rows=ROWS, header="ds,y,LSTM"):
    return "\n".join([header, *rows]) + "\n"


AHEAD = lines([row[:11] + row[13:] for row in ROWS], "ds,LSTM")
VALUES = lines([row.rpartition(",")[0] for row in ROWS], "ds,y")
SHOPS = lines([f"{shop},{row}" for shop in "ab" for row in ROWS], "shop,ds,y,LSTM")

# name: (the file, the file beside it, more options, what the one sentence must say)
BAD = {
    "no file": (None, None, "", ("at 'data'", "no such file")),
    "no file beside it": (lines(), None, "--actuals more", ("at 'more'", "no such file")),
    "no past": (lines(), None, "--train more", ("at 'more'", "no such file")),
    "no values": (lines(header="ds,x,LSTM"), None, "", ("a column 'y'", "only 'ds', 'x' and 'LSTM'", "--actuals")),
    "no forecasts": (lines(ROWS, "ds,y,horizon"), None, "", ("a column of forecasts", "'ds'")),
    "text in a forecast": (
        lines([*ROWS[:2], "2024-01-03,2,none yet"]), None, "", ("column 'LSTM'", "'none yet' in line 4", "--models")),
    "forecast too large": (lines(["2024-01-04,2,1e30", *ROWS]), None, "", ("column 'LSTM'", "1e+30 in line 2", "--models")),
    "no date": (lines(["2024-01-32,2,3", *ROWS]), None, "", ("column 'ds'", "'2024-01-32' in line 2")),
    "no cutoff": (
        lines([f"{row},{'2023' if k else ''}" for k, row in enumerate(ROWS)], "ds,y,LSTM,cutoff"), None, "",
        ("column 'cutoff'", "none in line 2")),
    "late cutoff": (
        lines([f"{row},2024-01-02" for row in ROWS], "ds,y,LSTM,cutoff"), None, "",
        ("dates after the cutoff", "2024-01-01 with cutoff 2024-01-02 in line 2")),
    "date twice": (lines([*ROWS, ROWS[0]]), None, "", ("one row a date", "in both line 2 and line 5")),
    "no such column": (lines(), VALUES, "--actuals more --target z", ("--target to name a column of data or more", "'z'")),
    "no such group": (lines(), None, "--by shop", ("--by among unique_id, horizon, ds, y, LSTM", "'shop'")),
    "no such metric": (lines(), None, "--metrics mea", ("--metrics among mae", "'mae'")),
    "no such model": (lines(), None, "--models GRU", ("--models among LSTM", "'GRU'")),
    "no such baseline": (lines(), VALUES.replace("2024", "2023"), "--train more --metrics owa", ("--baseline among LSTM",)),
    "no past to scale by": (lines(), None, "--metrics mase", ("the past of the series", "with --train")),
    "no quantiles": (lines(), None, "--metrics pinball", ("MODEL-lo-80", "--level 80")),
    "no such level": (lines(), None, "--level 80", ("a level that the table has (none)", "80")),
    "no level": (lines(), None, "--level much", ("--level to be per cents", "'much'")),
    "season of nothing": (lines(), None, "--season 0", ("--season to be", "found 0")),
    "unknown frequency": (lines(), None, "--freq xyz", ("--freq to be one of", "'xyz'")),
    "no frequency to count horizons in": (
        lines(["2024-01-01,3,4", "2024-01-01 07:00,5,5", "2024-02-03,2,1"]), None, "--by horizon", ("a regular step", "--freq")),
    "other dates": (AHEAD, VALUES.replace("2024", "2023"), "--actuals more", ("dates and series of data in more", "found none")),
    "numbers for dates": (AHEAD, lines(["1,3", "2,4"], "ds,y"), "--actuals more", ("dates in column 'ds' of more", "whole numbers")),
    "actual value twice": (
        SHOPS, lines(["a,2024-01-01,3", "b,2024-01-01,3", "a,2024-01-01,4"], "shop,ds,y"), "--id shop --actuals more",
        ("one row a date of more", "2024-01-01 of series 'a' in both line 2 and line 4")),
    "several series beside one": (SHOPS, VALUES, "--id shop --actuals more", ("a column of more that tells its series apart", "--id")),
    "one series beside several": (
        lines(), SHOPS, "--id shop --train more", ("a column of data that tells its series apart", "as more has")),
    "past that comes later": (lines(), VALUES, "--train more", ("rows before the cutoffs in more",)),
    "out over the file": (lines(), None, "--out data", ("--out to be a file of its own", "'data'")),
    "out in no folder": (lines(), None, "--out away/scores.csv", ("'away/scores.csv' can be written", "no folder")),
}  # fmt: skip


@pytest.mark.parametrize(("content", "more", "options", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, content, more, options, said
):
    monkeypatch.chdir(tmp_path)
    for name, text in {"data": content, "more": more}.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    before = sorted(tmp_path.iterdir())
    out = [] if "--out" in options else ["--out", "scores.csv"]
    code = main(["evaluate", "data", *options.split(), *out])
    printed, err = capsys.readouterr()
    assert (code, printed) == (2, "")
    *_, sentence = err.splitlines()
    assert sentence.startswith("throughtime: error: Expected ")
    for part in (", found ", ": ", *said):
        assert part in sentence
    for inner in ("\0", "train=", "models=", "freq="):
        assert inner not in sentence
    assert not re.search(r"\brow \d", sentence)
    assert sorted(tmp_path.iterdir()) == before
