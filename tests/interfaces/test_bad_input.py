"""Whatever is wrong with the input is said in one sentence, in time, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from throughtime.interfaces.cli import main
from throughtime.interfaces.progress import Tally

DAYS = [f"2024-01-{day:02},{day % 7}" for day in range(1, 31)]
UNEVEN = ["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-12 11:11", "2024-01-14"]


def table(rows, header="ds,y"):
    return "\n".join([header, *rows]) + "\n"


def spoiled(row):
    return table([*DAYS[:9], row, *DAYS[10:]])


def parquet(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


DATES = [row.split(",")[0] for row in DAYS]
NUMBERS = [float(day % 7) for day in range(30)]
WHOLE = parquet(ds=DATES, y=NUMBERS)

# name: (the file, more options, what the one sentence must say)
BAD = {
    "empty": ("", "", ("an empty file", "fill it")),
    "blank lines": ("\n \n\n", "", ("an empty file",)),
    "header only": ("ds,y\n", "", ("rows under the header", "found none")),
    "one column": (table("12345", "y"), "", ("one column, 'y'", "add the column")),
    "dates only": (table(DATES, "ds"), "", ("one column, 'ds'",)),
    "text for a value": (spoiled("2024-01-10,abc"), "", ("column 'y'", "'abc' in line 11")),
    "no date": (spoiled("2024-01-32,3"), "", ("column 'ds'", "'2024-01-32' in line 11")),
    "empty date": (spoiled(",3"), "", ("column 'ds'", "none in line 11")),
    "no values": (table(f"{d}," for d in DATES), "", ("column 'y'", "missing values only")),
    "infinity": (spoiled("2024-01-10,-inf"), "", ("finite numbers in column 'y'", "line 11")),
    "too large": (spoiled("2024-01-10,1e999"), "", ("finite numbers in column 'y'", "line 11")),
    "date twice": (spoiled("2024-01-09,3"), "", ("2024-01-09 in line 10 and in line 11", "keep")),
    "date twice in a panel": (
        table([f"a,{r}" for r in DAYS[:9]] + [f"b,{r}" for r in (*DAYS[:9], DAYS[8])], "id,ds,y"),
        "",
        ("one row a date", "line 19 and line 20 of series 'b'"),
    ),
    "cells too many": (spoiled("2024-01-10,3,4"), "", ("2 cells in line 11", "found 3")),
    "open quotation": (spoiled('2024-01-10,"3'), "", ("line 11", "quotation mark")),
    "no regular step": (
        table(f"{date},{k}" for k, date in enumerate(UNEVEN)),
        "",
        ("a regular step", "1 day (1 times)", "pass --freq if"),
    ),
    "unknown frequency": (table(DAYS), "--freq xyz", ("--freq to be one of", "found 'xyz'")),
    "off the frequency": (table(DAYS), "--freq MS", ("every MS", "line 3", "pass --freq with")),
    "frequency of numbers": (table(DAYS), "--freq 1", ("--freq 1", "found dates")),
    "far date": (table([*DAYS, "2924-01-31,3"]), "", ("line 32", "correct that date")),
    "folder": (None, "", ("a folder", "name one of its files")),
    "binary": (bytes(range(256)) * 8, "", ("binary data", "export it as CSV")),
    "spreadsheet": (b"PK\x03\x04" + bytes(99), "", ("a spreadsheet", "export it as CSV")),
    "web page": ("<!DOCTYPE html>\n<p>Not found, sorry</p>\n", "", ("a web page",)),
    "JSON": ('{"ds": [1, 2], "y": [3, 4]}\n', "", ("JSON", "export it as CSV")),
    "cut gzip": (b"\x1f\x8b\x08" + bytes(9), "", ("a whole gzip file", "fetch it again")),
    "cut Parquet": (WHOLE[:-9], "", ("a whole Parquet file", "one that is cut off")),
    "spoiled Parquet": (b"PAR1" + bytes(99) + b"PAR1", "", ("a whole Parquet file",)),
    "infinity in Parquet": (
        parquet(ds=DATES, y=[*NUMBERS[:7], float("inf"), *NUMBERS[8:]]),
        "",
        ("finite numbers in column 'y'", "inf in row 8"),
    ),
    "text in Parquet": (
        parquet(ds=DATES, y=[*map(str, NUMBERS[:7]), "a", *map(str, NUMBERS[8:])]),
        "",
        ("numbers in column 'y'", "'a' in row 8"),
    ),
    "lists in Parquet": (parquet(ds=[[1]] * 30, y=NUMBERS), "", ("lists in 'ds'",)),
    # these are the forecaster's to refuse
    "five rows": (table(DAYS[:5]), "", ("at least 10 rows", "found 5", "pass more history")),
    "long horizon": (table(DAYS), "--h 12", ("at least 36 rows", "found 30", "shorter horizon")),
    "constant": (table(f"{date},5" for date in DATES), "", ("varies", "the value 5 in all 30")),
}

# covariates: the values with a temperature and a holiday, and two shops
WARM = table(
    (f"{row},{day}.5,{'TRUE' if day % 7 else 'false'}" for day, row in enumerate(DAYS)),
    "ds,y,temp,off",
)
SHOPS = table(
    (f"{shop},{row},{day}" for shop in "ab" for day, row in enumerate(DAYS)), "shop,ds,y,temp"
)
AHEAD = table(["2024-01-31,3,TRUE", "2024-02-01,4,FALSE"], "ds,temp,off")
FUTURE = "--futr temp,off --future more"
STATIC = "--id shop --target y --static more"

# name: (the file, the file beside it, more options, what the one sentence must say)
BAD_COVARIATES = {
    "no such covariate": (WARM, "", "--futr tmp", ("--futr to name a column of data", "'tmp'", "'temp'")),
    "no such past covariate": (WARM, "", "--hist off,tmp", ("--hist to name", "'tmp'")),
    "no such target": (WARM, "", "--target y,z", ("--target to name a column", "'z'")),
    "target twice": (WARM, "", "--target y,y", ("'y' in --target twice", "name it once")),
    "two roles": (WARM, "", "--target y --futr off,y", ("'y' in --futr and in --target",)),
    "date as a covariate": (WARM, "", "--time ds --hist ds", ("'ds' in --hist and in --time",)),
    "text in a covariate": (
        WARM.replace("9.5", "warm"), "", "--futr temp --target y", ("column 'temp'", "'warm' in line 11")),
    "infinite covariate": (WARM.replace("9.5", "inf"), "", "--hist temp --target y", ("'temp'", "line 11")),
    "half a truth": (WARM.replace("false", "no"), "", "--hist off", ("column 'off'", "in line 2")),
    "empty covariate": (
        table((f"{r}," for r in DAYS), "ds,y,x"), "", "--hist x", ("column 'x'", "missing values only")),
    "name that is taken": (
        WARM.replace("temp", "y").replace("ds,y", "ds,load", 1), "", "--target load --hist y",
        ("no column called", "'y'", "rename that column")),
    "nothing known ahead": (
        WARM, "", "--futr temp,off --target y",
        ("temp and off for 2024-01-31", "2 steps up to 2024-02-01", "with --future")),
    "one step known ahead": (
        WARM + "2024-01-31,,3,TRUE\n", "", "--futr temp,off --target y", ("for 2024-02-01", "'y'")),
    "future without futr": (WARM, AHEAD, "--future more", ("--futr with --future", "temperature,holiday")),
    "no future file": (WARM, None, FUTURE, ("at 'more'", "no such file")),
    "future too short": (
        WARM, AHEAD.replace("2024-02-01", "2024-03-01"), FUTURE,
        ("temp and off for 2024-02-01 of series 'y'", "no row in more", "all 2 steps")),
    "future of another step": (
        WARM, table(["2024-01-31 00:00,3,1", "2024-01-31 12:00,4,0"], "ds,temp,off"), FUTURE,
        ("dates every D", "2024-01-31 12:00 in line 3 of more")),
    "future of numbers": (WARM, table(["31,3,1", "32,4,0"], "ds,temp,off"), FUTURE, ("dates in column 'ds' of more", "whole numbers")),
    "future without a column": (WARM, AHEAD.replace("off", "on"), FUTURE, ("a column of more", "'off'")),
    "hole in the future": (WARM, AHEAD.replace(",4,", ",,"), FUTURE, ("temp for 2024-02-01", "line 3 of more")),
    "text in the future": (WARM, AHEAD.replace(",4,", ",hot,"), FUTURE, ("column 'temp'", "'hot' in line 3 of more")),
    "future twice": (WARM, AHEAD + "2024-02-01,4,TRUE\n", FUTURE, ("line 3 of more and line 4 of more",)),
    "future of one shop": (
        SHOPS, table(["a,2024-01-31,3", "a,2024-02-01,3"], "shop,ds,temp"),
        "--id shop --target y --futr temp --future more", ("for 2024-01-31 of series 'b'", "no row in more")),
    "future without shops": (
        SHOPS, AHEAD, "--id shop --target y --futr temp --future more",
        ("a column 'shop' with the names of the series in more",)),
    "static lacks a shop": (SHOPS, table(["a,3"], "shop,area"), STATIC, ("row for every series in more", "'b'")),
    "static has a shop twice": (
        SHOPS, table(["a,3", "b,2", "a,4"], "shop,area"), STATIC, ("line 2 of more and line 4 of more", "'a'")),
    "static without names": (SHOPS, table(["3,south"], "area,side"), STATIC, ("a column 'shop'", "in more")),
    "static of an empty name": (SHOPS, table(["a,3", ",4"], "shop,area"), STATIC, ("none in line 3 of more",)),
    "hole in what never changes": (
        SHOPS, table(["a,3,1", "b,,2"], "shop,area,floor"), STATIC, ("'area' of more", "line 3 of more")),
    "static of one series": (WARM, "shop,area\na,3\n", "--target y --static more", ("several series", "--id")),
    "no static file": (SHOPS, None, STATIC, ("at 'more'", "no such file")),
    "unknown architecture": (WARM, "", "--architecture lstm", ("--architecture to be one of 'auto', 'ar', 'direct'", "found 'lstm'")),
    "unknown output": (WARM, "", "--output normal", ("--output to be one of 'point', 'quant", "found 'normal'")),
    "endless seed": (WARM, "", "--seed 99999999999999999999", ("--seed to be a whole number below 2^63", "a smaller one")),
    "long season": (WARM, "", "--target y --season 90", ("--season of at most", "found 90: shorten it")),
    "long look-back": (WARM, "", "--target y --context-length 90", ("--context-length of at most", "found 90")),
    "weights of one": (WARM, "", "--combine weighted", ("several --contexts or --architectures", "--contexts 24,48")),
    "points to draw from": (WARM, "", "--architecture recursive --output point", ("a distribution", "--output point")),
    "past of another architecture": (WARM, "", "--architecture recursive --hist off", ("no --hist with", "--hist off")),
    "start of another architecture": (WARM, "", "--architecture synced --preprogram linear", ("--preprogram", "synced")),
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(content, *options):
        if content is None:
            (tmp_path / "data").mkdir()
        else:
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / "data").write_bytes(data)
        code = main(["forecast", "data", "--h", "2", "--cell", "rnn", "--windows", "1", *options])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(("content", "options", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_leaves_nothing(run, tmp_path, content, options, said):
    code, out, err = run(content, *options.split())
    assert (code, out) == (2, "")
    *before, sentence = err.splitlines()
    assert not any("error" in line or "Traceback" in line for line in before)
    assert sentence.startswith("throughtime: error: Expected ")
    assert sentence.endswith(".")
    for part in (", found ", ": ", *said):
        assert part in sentence.removeprefix("throughtime: error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("content", "more", "options", "said"), BAD_COVARIATES.values(), ids=BAD_COVARIATES.keys()
)
def test_bad_covariates_are_one_sentence_and_leave_nothing(
    run, tmp_path, content, more, options, said
):
    if more is not None:
        (tmp_path / "more").write_text(more)
    code, out, err = run(content, *options.split())
    assert (code, out) == (2, "")
    *_, sentence = err.splitlines()
    assert sentence.startswith("throughtime: error: Expected ")
    for part in (", found ", ": ", *said):
        assert part in sentence
    for inner in ("\0", "futr_df", "static_df", "predict(", "future_frame"):
        assert inner not in sentence
    left = ["data"] if more is None else ["data", "more"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_what_can_be_repaired_is_repaired_and_said(run, tmp_path):
    rows = [*DAYS[20:], *DAYS[:10], "2024-01-11,", *DAYS[11:15], *DAYS[17:20]]
    code, _, err = run(table(rows), "--no-report")
    assert code == 0
    for said in ("rows sorted by date", "2 missing dates", "1 empty value", "3 of 30 values"):
        assert said in err
    lines = (tmp_path / "data-forecast.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["2024-01-31", "2024-02-01"]


def test_a_series_too_short_for_the_windows_says_how_many_it_allows(run):
    code, _, err = run(table(DAYS[:13]), "--no-report", "--windows", "50")
    assert code == 0
    assert "the history allows 2 rolling origins, not 50" in err


@pytest.mark.parametrize("name", ["pilot", "final fit"])
def test_stopping_one_fit_stops_the_program(run, tmp_path, monkeypatch, name):
    names = []

    def stop(self, update):
        if names[-1] == name:
            raise KeyboardInterrupt

    monkeypatch.setattr(Tally, "on_start", lambda self, name, total: names.append(name))
    monkeypatch.setattr(Tally, "on_update", stop)
    code, out, err = run(table(DAYS))
    assert (code, out) == (130, "")
    assert err.endswith("throughtime: stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "line", ["none.csv", "text.csv", "warm.csv", "warm.csv --future ahead.csv"]
)
def test_a_mistake_in_a_file_is_told_before_torch_is_loaded(tmp_path, line):
    (tmp_path / "text.csv").write_text(spoiled("2024-01-10,abc"))
    (tmp_path / "warm.csv").write_text(WARM)
    (tmp_path / "ahead.csv").write_text(AHEAD.replace("2024-02-01", "2024-03-01"))
    covariates = ["--futr", "temp,off", "--quiet"] if "warm" in line else []
    script = (
        "import sys; from throughtime.interfaces.cli import main;"
        "code = main(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "forecast", *line.split(), "--h", "2", *covariates],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith("throughtime: error: Expected ")
    assert done.stderr.count("\n") == 1
