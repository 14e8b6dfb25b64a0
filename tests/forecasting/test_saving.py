"""A loaded forecaster is the saved one, and a file that is none is refused in a sentence."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from forecasting_cases import CELLS, NAN, quick, wave
from safetensors.torch import save_file

import throughtime as tt
from throughtime import _archive
from throughtime.forecasting.saving import FORMAT
from throughtime.training import Clip, TrainingSettings

Y = 5 + wave(30)


def two(ids: list[Any], ds: Any, other: Any = None) -> dict[str, Any]:
    """Columns of two series on the same dates."""
    both = list(ds) * 2
    return {"unique_id": [ids[0]] * 30 + [ids[1]] * 30, "ds": both, "y": [*Y, *(20 - 3 * Y)]}


MONTHS = pd.date_range("1990-01-01", periods=30, freq="MS")
TABLES: dict[str, Callable[[], Any]] = {
    "an array": lambda: Y,
    "pandas, months": lambda: pd.DataFrame(two(["a", "b"], MONTHS)),
    "pandas, time zone": lambda: pd.DataFrame(two(["a", "b"], MONTHS.tz_localize("Europe/Zurich"))),
    "pandas, Python dates": lambda: pd.DataFrame(two([7, -1], [d.date() for d in MONTHS])),
    "pandas, floats as dates": lambda: pd.DataFrame({"ds": np.arange(30.0), "y": Y}),
    "polars, unicode": lambda: pl.DataFrame(two(["Zürich", "東京 ☂"], [d.date() for d in MONTHS])),
    "polars, half hours": lambda: pl.DataFrame(
        {
            "ds": pd.date_range("2024-01-01", periods=30, freq="30min").to_pydatetime().tolist(),
            "y": Y,
        }
    ),
    "pyarrow, large ids": lambda: pa.table(two([2**63 - 1, 0], range(1900, 1930))),
    "pyarrow, text": lambda: pa.table(two(["a", ""], [f"{y}-12-31" for y in range(1900, 1930)])),
    "pyarrow, gaps": lambda: pa.table({"ds": range(30), "y": [*Y[:9], NAN, *Y[10:]]}),
}


def rows(table: Any) -> dict[str, list[Any]]:
    """Any table's columns as lists."""
    if isinstance(table, pd.DataFrame):
        return {name: table[name].tolist() for name in table}
    return table.to_dict(as_series=False) if isinstance(table, pl.DataFrame) else table.to_pydict()


def types(table: Any) -> Any:
    if isinstance(table, pa.Table):
        return table.schema
    return dict(table.dtypes) if isinstance(table, pd.DataFrame) else table.schema


def assert_same(loaded: tt.Forecaster, saved: tt.Forecaster) -> None:
    levels = [80, 95] if saved._backtest else []
    one, other = loaded.predict(level=levels), saved.predict(level=levels)
    assert type(one) is type(other)
    assert types(one) == types(other)
    assert rows(one) == rows(other)
    assert loaded.settings == saved.settings
    assert (loaded.history, loaded.pilot) == (saved.history, saved.pilot)
    assert loaded.design == saved.design
    assert (loaded.h, loaded._given.freq) == (saved.h, saved._given.freq)
    assert loaded._given.n_windows == saved._given.n_windows
    for name in ("ids", "frequency", "n_gaps", "n_missing", "notes", "backend", "dates"):
        assert getattr(loaded.panel, name) == getattr(saved.panel, name)
    for name in ("values", "begins", "lengths", "starts"):
        np.testing.assert_array_equal(getattr(loaded.panel, name), getattr(saved.panel, name))
        assert getattr(loaded.panel, name).dtype == getattr(saved.panel, name).dtype
    assert loaded.reach.layer == saved.reach.layer
    np.testing.assert_array_equal(loaded.reach.norms, saved.reach.norms)
    if saved._backtest:
        assert str(loaded.backtest.scores) == str(saved.backtest.scores)  # NaN is not NaN
        assert loaded.backtest.table == saved.backtest.table or np.isnan(saved.panel.values).any()


@pytest.mark.parametrize("name", TABLES)
def test_what_was_saved_is_loaded(name: str, tmp_path: Path) -> None:
    saved = quick(n_windows=2).fit(TABLES[name]())
    saved.save(tmp_path / "model")
    assert_same(tt.load(tmp_path / "model"), saved)


SETTINGS: dict[str, dict[str, Any]] = {
    **{cell: {"cell": cell, "members": 2, "num_layers": 2, "dropout": 0.1} for cell in CELLS},
    "no origins": {"n_windows": 0},
    "all chosen": {
        "context_length": np.int64(6),
        "season_length": 5,
        "freq": "2",
        "transform": "log1p",
        "residual": "season",
        "seed": 7,
        "training": TrainingSettings(
            max_updates=np.int64(3), clip=Clip(value=0.5), schedule="cosine", patience=1
        ),
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_travel_and_the_next_fit_is_the_same(name: str, tmp_path: Path) -> None:
    table = pa.table({"ds": np.arange(0, 60, 2), "y": Y})
    saved = quick(**{"n_windows": 2, **SETTINGS[name]}).fit(table)
    saved.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert_same(loaded, saved)
    more = pa.table({"ds": np.arange(0, 70, 2), "y": np.append(Y, Y[:5])})
    assert rows(loaded.predict(more, level=[])) == rows(saved.predict(more, level=[]))
    assert rows(loaded.fit(more).predict(level=[])) == rows(saved.fit(more).predict(level=[]))


def test_a_cross_validation_of_other_data_travels_with_its_panel(tmp_path: Path) -> None:
    saved = quick(n_windows=0).fit(Y)
    saved.cross_validation(pa.table(two(["a", "b"], range(30))), n_windows=2)
    saved.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.backtest.panel.ids == ("a", "b")
    assert loaded.panel.ids == ("series",)
    assert_same(loaded, saved)


def test_a_loaded_forecaster_saves_the_same(tmp_path: Path) -> None:
    quick(n_windows=2).fit(Y).save(tmp_path / "one")
    tt.load(tmp_path / "one").save(tmp_path / "two")
    one, two = (_archive.read(tmp_path / name, FORMAT) for name in ("one", "two"))
    assert one.facts == two.facts
    assert one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())


def test_another_process_forecasts_the_same_bits(tmp_path: Path) -> None:
    saved = quick(n_windows=2).fit(Y)
    saved.save(tmp_path / "model")
    code = (
        "import sys, torch, throughtime as tt; torch.set_num_threads(1)\n"
        "table = tt.load(sys.argv[1]).predict()\n"
        "print([[v.hex() for v in c.to_pylist()] for c in table.columns[2:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model"], capture_output=True, text=True, check=True
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = [[v.hex() for v in column.to_pylist()] for column in saved.predict().columns[2:]]
    torch.set_num_threads(threads)
    assert done.stdout.strip() == str(expected)


def test_a_missing_library_is_named_when_its_table_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(n_windows=2).fit(pd.DataFrame({"ds": MONTHS, "y": Y})).save(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "pandas", None)
    loaded = tt.load(tmp_path / "model")
    assert loaded.backtest.scores[0].model == "LSTM"
    with pytest.raises(tt.MissingExtraError, match=r"Expected pandas.*: pip install pandas\."):
        loaded.predict()


def test_before_fit_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(tt.NotFittedError):
        quick().save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forecaster = quick(n_windows=0).fit(Y)
    with pytest.raises(tt.SettingError, match="there is no folder"):
        forecaster.save(tmp_path / "missing" / "model")
    with pytest.raises(tt.SettingError, match="it is a folder"):
        forecaster.save(tmp_path)
    for path in (tmp_path / "missing", tmp_path / "missing" / "model"):
        with pytest.raises(tt.ModelFileError, match="no such file"):
            tt.load(path)
    with pytest.raises(tt.ModelFileError):
        tt.load(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    forecaster.save("~/model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert rows(tt.load("~/model").predict(level=[])) == rows(forecaster.predict(level=[]))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    quick(n_windows=2).fit(pd.DataFrame(two(["a", "b"], MONTHS))).save(path)
    return path


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


FOREIGN: dict[str, Callable[[Path, bytes, Path], Any]] = {
    "empty": lambda file, data, trace: file.write_bytes(b""),
    "cut short": lambda file, data, trace: file.write_bytes(data[: len(data) // 2]),
    "a flipped byte": lambda file, data, trace: file.write_bytes(
        data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]
    ),
    "an edited fact": lambda file, data, trace: file.write_bytes(
        data.replace(b'hidden_size\\": 4', b'hidden_size\\": 5')
    ),
    "text": lambda file, data, trace: file.write_text("unique_id,ds,y\n"),
    "a pickle": lambda file, data, trace: file.write_bytes(pickle.dumps(Bomb(trace))),
    "a torch file": lambda file, data, trace: torch.save(Bomb(trace), file),
    "other tensors": lambda file, data, trace: save_file({"y": torch.zeros(3)}, file),
    "a checkpoint": lambda file, data, trace: file.write_bytes(
        data.replace(b"throughtime forecaster 1", b"throughtime checkpoint 1")
    ),
    "another release's": lambda file, data, trace: file.write_bytes(
        data.replace(b"throughtime forecaster 1", b"throughtime forecaster 2")
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_in_a_sentence_and_runs_no_code(
    kind: str, sound: Path, tmp_path: Path
) -> None:
    file, trace = tmp_path / "model.safetensors", tmp_path / "trace"
    FOREIGN[kind](file, sound.read_bytes(), trace)
    with pytest.raises(tt.ModelFileError) as caught:
        tt.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("upgrade throughtime" in str(caught.value)) == (kind == "another release's")
    assert not trace.exists()


def leaves(facts: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to every fact in nested dicts, and to the first entry of lists."""
    if isinstance(facts, dict):
        return [
            leaf
            for key, value in facts.items()
            for leaf in [(*path, key), *leaves(value, (*path, key))]
        ]
    if isinstance(facts, list) and facts:
        return [(*path, 0), *leaves(facts[0], (*path, 0))]
    return []


WRONG = [None, -1, 2.5, "nonsense", [], {}, True, NAN, 10**30, [[1]]]
FREE = {"reason", "notes", "n_gaps", "n_missing"}  # any text or count may stand there


def test_every_fact_is_checked(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the place of a fact is refused, or does no harm."""
    read = _archive.read(sound, FORMAT)
    text, refused = json.dumps(read.facts), 0
    for path in leaves(json.loads(text)):
        for wrong in [*WRONG, KeyError]:
            facts = json.loads(text)
            *parents, last = path
            place = facts
            for key in parents:
                place = place[key]
            if wrong is KeyError:
                del place[last]
            else:
                place[last] = wrong
            snapshot = _archive.Snapshot(read.tensors, facts)
            monkeypatch.setattr(_archive, "read", lambda *_, found=snapshot: found)
            try:
                forecaster = tt.load(sound)
            except tt.ModelFileError as error:
                refused += 1
                assert "\n" not in str(error)  # noqa: PT017
                continue
            if forecaster._backtest is None:
                continue
            assert np.isfinite(forecaster.predict()["LSTM-lo-80"].to_numpy()).all(), (path, wrong)
            assert len(forecaster.backtest.table) > 0
            assert forecaster.backtest.scores
    assert refused > 300


def _unpacked(path: Path, snapshot: _archive.Snapshot) -> tt.Forecaster:
    _archive.write(path, FORMAT, snapshot)
    return tt.load(path)


CHANGES: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
    ("panel.values", lambda y: y[:, :-1]),
    ("panel.values", lambda y: y.half()),
    ("panel.values", lambda y: y * torch.inf),
    ("panel.values", lambda y: y * torch.nan),
    ("panel.values", lambda y: -y),
    ("panel.values", lambda y: torch.cat([y, y])),
    ("panel.begins", lambda b: b + 1),
    ("panel.begins", lambda b: b[:0]),
    ("panel.lengths", lambda n: n * 0),
    ("panel.room", lambda r: r + 1),
    ("panel.starts", lambda s: s[:1]),
    ("panel.starts", lambda s: torch.full_like(s, -(2**63))),
    ("panel.starts", lambda s: s + 10**6 * 86400 * 30),
    ("model.linear", lambda a: a[:, 1:]),
    ("model.linear", lambda a: a * torch.nan),
    ("model.own.maps", lambda a: a[:, :1]),
    ("model.own.maps", lambda a: a * torch.nan),
    ("model.network.stacked.head.map.weight", lambda w: w * torch.inf),
    ("backtest.y", lambda y: y[:1]),
    ("backtest.y", lambda y: y * torch.nan),
    ("backtest.forecast.0", lambda y: y.mT),
    ("history.updates", lambda u: u[:, 1:]),
    ("history.updates", lambda u: u * torch.nan),
    ("pilot.evaluations", lambda e: e * torch.inf),
]


@pytest.mark.parametrize("i", range(len(CHANGES)))
def test_tensors_that_do_not_fit_are_refused(i: int, sound: Path, tmp_path: Path) -> None:
    name, change = CHANGES[i]
    snapshot = _archive.read(sound, FORMAT)
    if name not in snapshot.tensors:
        name = next(n for n in snapshot.tensors if n.startswith("model.network") and "head" in n)
    snapshot.tensors[name] = change(snapshot.tensors[name])
    with pytest.raises(tt.ModelFileError, match="contents that do not fit"):
        _unpacked(tmp_path / "model", snapshot)
    del snapshot.tensors[name]
    with pytest.raises(tt.ModelFileError, match="contents that do not fit"):
        _unpacked(tmp_path / "model", snapshot)


@pytest.mark.parametrize(
    "names", [[], ["identity", "sqrt", "sqrt"], ["identity", "sqrt"], ["identity", "sqrt", "cbrt"]]
)
def test_scales_that_do_not_fit_the_maps_are_refused(
    names: list[str], sound: Path, tmp_path: Path
) -> None:
    snapshot = _archive.read(sound, FORMAT)
    assert snapshot.facts["model"]["design"]["transforms"] == ["identity", "sqrt", "log1p"]
    snapshot.facts["model"]["design"]["transforms"] = names
    with pytest.raises(tt.ModelFileError, match="contents that do not fit"):
        _unpacked(tmp_path / "model", snapshot)


def test_a_backtest_of_another_horizon_is_refused(sound: Path, tmp_path: Path) -> None:
    quick(2, n_windows=2).fit(pd.DataFrame(two(["a", "b"], MONTHS))).save(tmp_path / "other")
    snapshot, other = _archive.read(sound, FORMAT), _archive.read(tmp_path / "other", FORMAT)
    snapshot.include("backtest", other.part("backtest"))
    with pytest.raises(tt.ModelFileError, match="the horizon of the back-test"):
        _unpacked(tmp_path / "model", snapshot)


@pytest.mark.parametrize("kind", ["none", "counts", "nonsense", None, [], 7])
def test_quantiles_that_do_not_fit_are_refused(kind: Any, tmp_path: Path) -> None:
    saved = quick(n_windows=2, output="gaussian").fit(Y)
    saved.save(tmp_path / "model")
    snapshot = _archive.read(tmp_path / "model", FORMAT)
    assert snapshot.facts["backtest"]["quantiles"] == "numbers"
    for change in (lambda q: q[..., 1:], lambda q: q * torch.nan):
        changed = _archive.read(tmp_path / "model", FORMAT)
        changed.tensors["backtest.quantiles"] = change(changed.tensors["backtest.quantiles"])
        with pytest.raises(tt.ModelFileError, match="contents that do not fit"):
            _unpacked(tmp_path / "other", changed)
    snapshot.facts["backtest"]["quantiles"] = kind
    if kind == "none":  # intervals about the points, as an older release made
        made = _unpacked(tmp_path / "other", snapshot).predict()
        assert np.isfinite(made["LSTM-lo-80"].to_numpy()).all()
        return
    with pytest.raises(tt.ModelFileError, match="contents that do not fit"):
        _unpacked(tmp_path / "other", snapshot)


def test_dates_of_python_are_dates(tmp_path: Path) -> None:
    quick(n_windows=0).fit(TABLES["pandas, Python dates"]()).save(tmp_path / "model")
    assert tt.load(tmp_path / "model").predict(level=[])["ds"][0] == date(1992, 7, 1)
