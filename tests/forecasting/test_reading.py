"""What a forecaster reads: a Parquet file makes the forecasts of its table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import throughtime as tt
from throughtime.forecasting.series import parquet
from throughtime.training import TrainingSettings

BRIEF = TrainingSettings(max_updates=3, batch_size=8)
S, N, H = 3, 40, 2


def table(start: int = 0, n: int = N) -> pa.Table:
    t = np.arange(start, start + n)
    y = np.stack([10 + i + np.sin(2 * np.pi * t / 6 + i) for i in range(S)])
    rng = np.random.default_rng(start)
    return pa.table({
        "unique_id": np.repeat([f"s{i}" for i in range(S)], n).tolist(),
        "ds": np.tile(np.datetime64("2024-01-01") + t, S),
        "y": y.ravel() + 0.1 * rng.normal(size=S * n),
        "wind": rng.normal(size=S * n),
        "promotion": rng.random(S * n) < 0.5,
    })  # fmt: skip


def static() -> pa.Table:
    return pa.table({"unique_id": ["s0", "s1", "s2"], "kind": ["a", "b", "a"]})


def new(**settings: Any) -> tt.Forecaster:
    usual: dict[str, Any] = {"hidden_size": 4, "members": 2, "n_windows": 1, "training": BRIEF}
    return tt.Forecaster(H, **{**usual, **settings})


def written(made: pa.Table, folder: Path, name: str = "table.parquet") -> Path:
    pq.write_table(made, folder / name, row_group_size=17)
    return folder / name


CASES: dict[str, dict[str, Any]] = {
    "values": {},
    "another name": {"target": "wind"},
    "several targets": {"target": ["y", "wind"]},
    "covariates": {"hist": "wind", "futr": ["promotion"]},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
@pytest.mark.parametrize("order", ["series", "dates"])
def test_a_file_makes_the_forecasts_of_its_table(
    settings: dict[str, Any], order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 19)
    made = table() if order == "series" else table().sort_by("ds")
    path = written(made, tmp_path)
    ahead = {"futr_df": table(N, H)} if "futr" in settings else {}
    ours = new(**settings).fit(path)
    theirs = new(**settings).fit(made)
    assert ours.predict(**ahead) == theirs.predict(**ahead)
    assert ours.backtest.table == theirs.backtest.table
    assert (parquet.AT_ONCE in ours.panel.notes) == (order == "dates" or "futr" in settings)


def test_paths_are_texts_too_and_static_tables_go_with_them(tmp_path: Path) -> None:
    path = str(written(table(), tmp_path, "TABLE.PQ"))
    ours = new(n_windows=0).fit(path, static_df=static())
    theirs = new(n_windows=0).fit(table(), static_df=static())
    assert ours.panel.static.names == ("kind",)
    assert ours.predict(level=[]) == theirs.predict(level=[])


def test_a_stated_frequency_is_that_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(tt.DataError, match="dates every h, as freq='h' says"):
        new(freq="h").fit(written(table(), tmp_path))


def test_whatever_reads_a_table_reads_a_file(tmp_path: Path) -> None:
    path, later = written(table(), tmp_path), table(n=N + 5)
    longer = written(later, tmp_path, "later.parquet")
    assert new().cross_validation(path, 2) == new().cross_validation(table(), 2)
    ours, theirs = (new(n_windows=0).fit(each) for each in (path, table()))
    assert ours.predict(longer, level=[]) == theirs.predict(later, level=[])
    ours.fit(longer, warm_start=True)
    theirs.fit(later, warm_start=True)
    assert ours.predict(level=[]) == theirs.predict(level=[])


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table", "https://a.org/b.csv"])
def test_other_files_are_not_read_and_the_error_says_what_to_do(name: str) -> None:
    forecaster = new()
    said = (
        f"Expected a table, or the path of a Parquet file (.parquet or .pq), found {name!r}: read it "
        "first, with pandas.read_csv or polars.read_csv, and pass the table; or use the command "
        f"line: throughtime forecast {name} --h 12."
    )
    with pytest.raises(tt.DataError, match=re.escape(said)):
        forecaster.fit(name)
    with pytest.raises(tt.NotFittedError):
        forecaster.predict()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("ds,y\n1,2\n")
    fitted = new(n_windows=0).fit(table())
    for name in ("text.parquet", "nowhere.parquet"):
        for read in (new().fit, fitted.predict):
            with pytest.raises(tt.DataError, match="a Parquet file"):
                read(tmp_path / name)
