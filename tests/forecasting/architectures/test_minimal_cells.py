"""A forecaster of the minGRU and the minLSTM, from the table to the file and new rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from forecasting_cases import quick, wave

import throughtime as tt
from throughtime._errors import SettingError
from throughtime.forecasting import read_frame
from throughtime.forecasting.models.state import State

PARTS = "design", "channels", "network"
CELLS = {"mingru": "MinGRU", "minlstm": "MinLSTM"}
every_cell = pytest.mark.parametrize("cell", CELLS)


def table(n: int = 80) -> pa.Table:
    return pa.table({"unique_id": ["a"] * n, "ds": range(n), "y": wave(n)})


@every_cell
def test_forecast_save_and_load(cell: str, tmp_path: Path) -> None:
    forecaster = quick(cell=cell, members=2, num_layers=2, dropout=0.1, init="chrono:16")
    made = forecaster.fit(table()).predict(level=[80])
    name = CELLS[cell]
    assert made.column_names == ["unique_id", "ds", name, f"{name}-lo-80", f"{name}-hi-80"]
    forecaster.save(tmp_path / "saved")
    again = tt.load(tmp_path / "saved")
    assert again.name == name
    assert again.predict(level=[80]).equals(made)
    assert name in forecaster.backtest.forecasts


@every_cell
def test_states_that_are_carried_equal_reading_all_again(cell: str) -> None:
    rows = table()
    how = {"cell": cell, "members": 2, "scaling": "running", "architecture": "recursive"}
    forecaster = quick(**how).fit(rows.slice(0, 60))
    again = quick(**how).fit(rows.slice(0, 60))
    for t in range(60, 80):
        forecaster.update(rows.slice(t, 1))
    again.update(rows.slice(60, 20))
    [hidden], [expected] = forecaster.state.hidden, again.state.hidden
    assert hidden.shape == (1, 2, 1, 4)
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-5)
    read = State.read(
        read_frame(rows, like=forecaster.panel), *(getattr(forecaster.model, n) for n in PARTS)
    )
    torch.testing.assert_close(hidden, read.hidden[0], rtol=1e-4, atol=1e-5)
    ours, theirs = (np.array(f.predict()[CELLS[cell]]) for f in (forecaster, again))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@every_cell
def test_the_doctor_of_a_forecaster(cell: str) -> None:
    diagnosis = quick(cell=cell).fit(table()).diagnose()
    assert [layer.operator for layer in diagnosis.layers] == [f"min_{cell.removeprefix('min')}"]


def test_recurrent_dropout_is_refused() -> None:
    with pytest.raises(SettingError, match="no recurrent_dropout in a MinGRU"):
        tt.Forecaster(h=2, cell="mingru", recurrent_dropout=0.1)
