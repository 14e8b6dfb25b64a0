"""Covariates, several targets and what is forecast, from the command line to the forecaster."""

from __future__ import annotations

import gzip
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stand_in import StandIn

from throughtime.forecasting.architectures import ARCHITECTURES, DRAWS
from throughtime.forecasting.settings.members import COMBINE
from throughtime.interfaces import options
from throughtime.interfaces.cli import main
from throughtime.training.outputs import OUTPUTS

N, H = 60, 2
DATES = np.arange("2024-01-01", "2024-03-03", dtype="M8[D]").astype(str).tolist()
LOAD = [20 + (7 * k) % 11 for k in range(N)]
WARM = [10 + k % 5 for k in range(N + H)]
OFF = [k % 7 == 6 for k in range(N + H)]


def rows(first, last, names, **columns):
    """Return lines of a CSV file; what has no value there is empty."""
    cells = [columns[name][first:last] for name in names.split(",")]
    lines = [",".join(str(c) for c in line) for line in zip(*cells, strict=True)]
    return "\n".join([names, *lines]) + "\n"


TABLE = rows(0, N, "day,load,warm,off", day=DATES, load=LOAD, warm=WARM, off=OFF)
AHEAD = rows(N, N + H, "off,day,warm", day=DATES, warm=WARM, off=OFF)
BOTH = rows(0, N + H, "day,load,warm,off", day=DATES, load=[*LOAD, "", ""], warm=WARM, off=OFF)


@pytest.fixture
def seen(monkeypatch):
    """What the forecaster was made with, and the panel that it was fitted to."""
    seen = {}

    class Watched(StandIn):
        def __init__(self, h, **given):
            super().__init__(h, **given)
            seen.update(self.given)

        def fit(self, panel, **given):
            seen["panel"] = panel
            return super().fit(panel, **given)

        def cross_validation(self, panel, *windows, **given):
            seen["panel"] = panel
            return super().cross_validation(panel, *windows, **given)

    monkeypatch.setattr(sys.modules["throughtime.forecasting.forecaster"], "Forecaster", Watched)
    return seen


@pytest.fixture
def run(forecaster, seen, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    (tmp_path / "ahead.csv").write_text(AHEAD)

    def run(line):
        code = main(line.split())
        out, err = capsys.readouterr()
        assert code == 0, err
        return out, err

    return run


def known(panel):
    """Return what is known ahead, past and future, in numbers."""
    return panel.values[len(panel.targets) + len(panel.hist) :].tolist()


@pytest.mark.parametrize("how", ["--future", "rows", "Parquet", "gzip and semicolons", "repeated"])
def test_what_is_known_ahead_comes_from_a_file_or_from_rows_without_a_value(
    run, seen, tmp_path, how
):
    line = "t.csv --future ahead.csv"
    if how == "rows":
        (tmp_path / "both.csv").write_text(BOTH)
        line = "both.csv"
    if how == "Parquet":
        columns = {"day": DATES[N:], "off": OFF[N:], "warm": WARM[N:]}
        pq.write_table(pa.table(columns), tmp_path / "ahead.pq")
        line = "t.csv --future ahead.pq"
    if how == "gzip and semicolons":
        packed = gzip.compress(AHEAD.replace(",", ";").encode())
        (tmp_path / "ahead.csv").write_bytes(packed)
    covariates = "--futr warm --futr off" if how == "repeated" else "--futr warm,off"
    _, err = run(f"forecast {line} {covariates} --h {H} --windows 1 --no-report")
    assert seen["futr"] == ("warm", "off")
    assert known(seen["panel"]) == [WARM, [float(off) for off in OFF]]
    assert (seen["panel"].lengths, seen["panel"].room) == ([N], [H])
    assert "known ahead" in err
    assert "warm, off" in err


def test_the_column_of_values_is_what_is_left_beside_the_covariates(run, seen):
    run(f"backtest t.csv --futr off --hist warm --h {H} --windows 1")
    assert seen["panel"].row(0).tolist() == LOAD
    assert (seen["hist"], seen["futr"]) == (("warm",), ("off",))
    assert "target" not in seen  # one target is y


def test_a_back_test_needs_nothing_known_ahead(run, seen):
    run(f"backtest t.csv --futr warm,off --h {H} --windows 1")
    assert seen["panel"].room.tolist() == [0]


def test_what_a_model_says_and_reads_off_dates_reaches_it(run, seen):
    run(
        f"forecast t.csv --target load --h {H} --windows 1 --architecture recursive --output gaussian "
        "--calendar --no-report"
    )
    del seen["panel"]
    assert seen == {"architecture": "recursive", "output": "gaussian", "calendar": True}


def test_several_targets_are_forecast_together(run, seen, tmp_path):
    out, err = run(f"forecast t.csv --target load,warm --futr off --h {H} --windows 1 {BESIDE}")
    assert seen["target"] == ("load", "warm")
    assert "load, warm" in err
    assert "Forecast of load" in out
    assert "Forecast of warm" in out
    header, first, _ = (tmp_path / "t-forecast.csv").read_text().splitlines()
    names = ["LSTM", "LSTM-lo-80", "LSTM-hi-80"]
    columns = [f"{target}-{name}" for target in ("load", "warm") for name in names]
    assert header.split(",") == ["unique_id", "ds", *columns]
    assert first.startswith("series,2024-03-01,")
    page = (tmp_path / "t-report.html").read_text(encoding="utf-8")
    for target in ("load", "warm"):
        assert f">{target}</option>" in page
        assert f"The forecast in numbers: {target}<" in page


BESIDE = "--future ahead.csv --level 80"


def test_json_says_which_column_is_what(run):
    out, _ = run(
        f"forecast t.csv --target load,warm --futr off --h {H} --json {BESIDE} --windows 1"
    )
    told = json.loads(out)
    assert told["columns"] == {
        "time": "day",
        "target": ["load", "warm"],
        "id": None,
        "futr": ["off"],
        "hist": [],
        "static": [],
    }
    assert (told["architecture"], told["output"]) == ("direct", "point")
    assert told["scale"].startswith("identity")
    assert set(told["forecast"][0]) >= {"load-LSTM", "warm-LSTM-hi-80"}


def test_what_never_changes_is_read_by_series(run, seen, tmp_path):
    shops = "".join(
        f"{shop},{DATES[k]},{LOAD[k] + i}\n" for i, shop in enumerate("ab") for k in range(N)
    )
    (tmp_path / "shops.csv").write_text("shop,day,load\n" + shops)
    (tmp_path / "static.csv").write_text("area;shop;side\n2,5;b;south\n1;a;north\n9;c;south\n")
    line = f"--id shop --h {H} --windows 1 --static static.csv"
    _, err = run(f"forecast shops.csv {line} --no-report")
    static = seen["panel"].static
    assert static.numbers.tolist() == [[1.0], [2.5]]
    assert static.categories == (("north", "south"),)
    assert "area, side" in err


def test_names_may_have_commas_in_them(run, seen, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE.replace("warm", '"warm, outside"'))
    assert main(["backtest", "t.csv", "--hist", "warm, outside", "--hist", "off", "--h", "2"]) == 0
    assert seen["hist"] == ("warm, outside", "off")


def test_a_note_names_its_covariate(run, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE.replace(",13,", ",,", 1))
    _, err = run(f"backtest t.csv --hist warm --futr off --h {H} --windows 1")
    assert "1 empty value in 'warm'" in err


def test_a_saved_model_is_diagnosed_on_its_own_columns(run, tmp_path, monkeypatch):
    import throughtime
    from throughtime.forecasting import read_frame

    made = StandIn(H, hist="warm", futr="off", n_windows=0)
    names = {"ds": DATES[:N], "y": LOAD, "warm": WARM[:N], "off": OFF[:N]}
    fitted = made.fit(read_frame(pa.table(names), hist="warm", futr="off"))
    monkeypatch.setitem(vars(throughtime), "load", lambda path: fitted)
    header = b'{"__metadata__":{"format":"throughtime forecaster 1"}}'
    (tmp_path / "m.st").write_bytes(len(header).to_bytes(8, "little") + header)
    _, err = run("diagnose m.st t.csv --no-report")
    assert "known up to the present  warm" in err
    assert main(["diagnose", "m.st", "t.csv", "--futr", "warm"]) == 2


def test_the_names_that_are_known_without_torch_are_those_there_are():
    assert tuple(ARCHITECTURES) == options.ARCHITECTURES
    assert tuple(OUTPUTS) == options.OUTPUTS
    assert (DRAWS, COMBINE) == (options.DRAWS, options.COMBINE)


@pytest.mark.parametrize("command", ["forecast", "backtest", "diagnose", "tune"])
def test_every_command_has_the_options_that_concern_it(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    for option in (
        "--h",
        "--target",
        "--futr",
        "--hist",
        "--static",
        "--calendar",
        "--architecture",
    ):
        assert f"{option} " in text or f"{option}," in text
    assert ("--future" in text) == (command == "forecast")
    assert ("--zoneout" in text) == (command != "tune")
    assert ("--windows" in text) == (command != "diagnose")
