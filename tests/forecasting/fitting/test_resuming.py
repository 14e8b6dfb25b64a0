"""A fit that was killed ends as one that never was, to the last bit; and Ctrl-C ends one cleanly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from forecasting_cases import Kill, Killed, quick, wave
from killed import new, outcome, table

import throughtime as tt
from throughtime.forecasting import read_frame
from throughtime.forecasting.fitting import resuming
from throughtime.forecasting.fitting.resuming import fingerprint
from throughtime.training import (
    AGC,
    AutoClip,
    Checkpoint,
    Clip,
    TrainingSettings,
    ZClip,
)

QUICK = TrainingSettings(
    max_updates=8, batch_size=16, learning_rate=0.02, evaluate_every=2, patience=2, average=0.9
)
BRIEF: dict[str, Any] = {"num_layers": 1, "dropout": 0.0, "zoneout": 0.0, "training": QUICK}


CASES: dict[str, dict[str, Any]] = {
    "members, layers, dropout": {
        **{**BRIEF, "num_layers": 2, "dropout": 0.3, "clip": AutoClip(50)},
    },
    "zoneout of a layer-normalised LSTM": {
        **{**BRIEF, "zoneout": 0.2, "layer_norm": True, "clip": ZClip(warm_up=3)},
    },
    "recurrent dropout, dilations": {
        **{**BRIEF, "recurrent_dropout": 0.2, "dilations": (1, 2), "clip": AGC(0.05)},
    },
    "seq2seq with a distribution": {**BRIEF, "architecture": "seq2seq", "output": "gaussian"},
    "paths": {**BRIEF, "architecture": "recursive", "hist": ()},
    "synced": {**BRIEF, "architecture": "synced", "hist": (), "clip": Clip(norm=0.3, value=0.2)},
    "preprogrammed": {**BRIEF, "preprogram": "linear", "hist": (), "futr": ()},
    "treated by the doctor": {**BRIEF, "cure": "auto", "n_windows": 0, "context_length": 20},
    "no origins": {**BRIEF, "n_windows": 0},
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_fit_ends_as_one_that_never_was(case: str, tmp_path: Path) -> None:
    settings, path = CASES[case], tmp_path / "fit"
    data = table() if settings.get("futr", "ad") else 5 + wave(60)
    whole = new(**settings).fit(data)
    killed = 0
    for after in (9, 5, 12, 6):  # a pilot has 4 to 8 updates, every other run as many as it found
        # the doctor's pilot of 50 updates is made again
        kill = Kill(after + 50 * ("cure" in settings))
        try:
            done = new(**settings).fit(data, checkpoint=Checkpoint(path, 2), observers=[kill])
            break
        except Killed:
            killed += 1
    else:
        done = new(**settings).fit(data, checkpoint=Checkpoint(path, 2))
    assert killed > 1
    assert done.treatment == whole.treatment
    assert (done.history, done.pilot) == (whole.history, whole.pilot)
    assert str(done.settings) == str(whole.settings)
    assert _forecast(done) == _forecast(whole)
    assert list(tmp_path.iterdir()) == []


def _forecast(forecaster: tt.Forecaster) -> Any:
    if forecaster._given.design["output"] == "point" and forecaster._given.columns["futr"]:
        return outcome(forecaster)
    weights = forecaster.model.network.state_dict()
    return {name: w.tolist() for name, w in weights.items()}, str(forecaster.backtest.forecasts)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    path, names = tmp_path / "fit", []
    whole = Kill(0)
    new(**BRIEF).fit(table(), observers=[whole])
    for _ in range(20):
        kill = Kill(5)
        try:
            new(**BRIEF).fit(table(), checkpoint=Checkpoint(path, every=1), observers=[kill])
        except Killed:
            names += kill.names
            continue
        names += kill.names
        break
    assert list(dict.fromkeys(names)) == whole.names
    updates = -whole.left
    assert -5 * 20 < kill.left <= 5
    assert len(names) <= len(whole.names) + updates // 4


def test_the_log_is_of_a_whole_final_fit_or_none(tmp_path: Path) -> None:
    settings = {**BRIEF, "n_windows": 0}
    whole, path = new(**settings).fit(table()), Checkpoint(tmp_path / "fit", every=1)
    assert whole.log is not None
    pilot = len(whole.pilot.updates)
    for after, is_whole in ((pilot + 3, False), (pilot, True)):
        with pytest.raises(Killed):
            new(**settings).fit(table(), checkpoint=path, observers=[Kill(after)])
        done = new(**settings).fit(table(), checkpoint=path)
        assert (done.log is not None) == is_whole


def test_a_cross_validation_goes_on_too(tmp_path: Path) -> None:
    path = tmp_path / "rolled"
    for refit in (True, False, 2):
        how: dict[str, Any] = {"n_windows": 3, "step_size": 2, "refit": refit}
        whole = new(**BRIEF).cross_validation(table(), **how)
        with pytest.raises(Killed):
            new(**BRIEF).cross_validation(
                table(), **how, checkpoint=Checkpoint(path, 2), observers=[Kill(14)]
            )
        with pytest.raises(tt.ModelFileError, match="step_size 2, not 3"):
            new(**BRIEF).cross_validation(table(), **{**how, "step_size": 3}, checkpoint=path)
        with pytest.raises(tt.ModelFileError, match="call 'cross_validation', not 'fit'"):
            new(**BRIEF).fit(table(), checkpoint=path)
        assert str(new(**BRIEF).cross_validation(table(), **how, checkpoint=path)) == str(whole)
        assert list(tmp_path.iterdir()) == []


def changed(column: str, row: int, value: Any) -> pa.Table:
    rows = table().to_pylist()
    rows[row][column] = value
    return pa.Table.from_pylist(rows)


FOREIGN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "hidden_size": (
        lambda path: new(**{**BRIEF, "hidden_size": 5}).fit(table(), checkpoint=path),
        "one with hidden_size 4, not 5: delete it to start afresh, or pass another path.",
    ),
    "h": (lambda path: tt.Forecaster(2).fit(table(), checkpoint=path), "one with h 3, not 2"),
    "seed": (lambda path: new(**BRIEF, seed=1).fit(table(), checkpoint=path), "seed 0, not 1"),
    "columns": (
        lambda path: new(**{**BRIEF, "hist": ()}).fit(table(), checkpoint=path),
        "one with hist 'price', not []",
    ),
    "a value": (
        lambda path: new(**BRIEF).fit(changed("y", 3, 5.5), checkpoint=path),
        "other data",
    ),
    "a covariate": (
        lambda path: new(**BRIEF).fit(changed("ad", 3, 5.5), checkpoint=path),
        "other data",
    ),
    "what is static": (
        lambda path: new(**BRIEF).fit(
            table(), static_df=pa.table({"unique_id": ["a", "b"], "x": [1, 2]}), checkpoint=path
        ),
        "other data",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("begun") / "fit"
    with pytest.raises(Killed):
        new(**BRIEF).fit(table(), checkpoint=Checkpoint(path, 2), observers=[Kill(5)])
    return path


@pytest.mark.parametrize("other", FOREIGN)
def test_the_checkpoint_of_another_fit_is_refused(other: str, begun: Path) -> None:
    before = begun.read_bytes()
    call, said = FOREIGN[other]
    with pytest.raises(tt.ModelFileError) as caught:
        call(begun)
    assert said in str(caught.value)
    assert str(begun) in str(caught.value)
    assert begun.read_bytes() == before


def test_files_that_are_none_and_places_that_cannot_be(begun: Path, tmp_path: Path) -> None:
    forecaster, path = new(**BRIEF), tmp_path / "fit"
    for content in (b"", b"text", begun.read_bytes()[:-9]):
        path.write_bytes(content)
        with pytest.raises(tt.ModelFileError, match="a checkpoint of a fit"):
            forecaster.fit(table(), checkpoint=path)
    quick(n_windows=0).fit(np.arange(40.0)).save(path)
    with pytest.raises(tt.ModelFileError, match="throughtime forecaster"):
        forecaster.fit(table(), checkpoint=path)
    with pytest.raises(tt.SettingError, match="it is a folder"):
        forecaster.fit(table(), checkpoint=tmp_path)
    with pytest.raises(tt.SettingError, match="there is no folder"):
        forecaster.fit(table(), checkpoint=tmp_path / "none" / "fit")
    with pytest.raises(tt.NotFittedError):
        forecaster.predict()


def test_where_the_same_bits_cannot_be_promised_it_is_said(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit"
    path.write_bytes(begun.read_bytes())
    now = resuming.conditions()
    monkeypatch.setattr(resuming, "conditions", lambda: {**now, "threads": now["threads"] + 1})
    with pytest.warns(UserWarning, match=f"begun with threads {now['threads']}, not") as caught:
        new(**BRIEF).fit(table(), checkpoint=path)
    assert caught[0].filename == __file__


def test_a_fingerprint_is_of_what_a_table_says() -> None:
    rows = table().to_pylist()

    def changed(**cells: Any) -> pa.Table:
        return pa.Table.from_pylist(
            [{**row, **{k: f(row[k]) for k, f in cells.items()}} for row in rows]
        )

    prints = {fingerprint(read_frame(table(), hist="price", futr="ad"))}
    prints.add(fingerprint(read_frame(table(), hist=("price", "ad"))))
    prints.add(fingerprint(read_frame(table(), target="price", futr="ad", hist="y")))
    prints.add(fingerprint(read_frame(changed(ds=lambda t: t + 1))))
    prints.add(fingerprint(read_frame(changed(unique_id=str.upper))))
    prints.add(fingerprint(read_frame(table())))
    assert len(prints) == 6
    assert fingerprint(read_frame(table().to_pandas())) == fingerprint(read_frame(table()))


@pytest.mark.parametrize("n_windows", [0, 2])
def test_ctrl_c_in_the_final_fit_ends_it_with_the_weights_so_far(n_windows: int) -> None:
    settings = {**BRIEF, "n_windows": n_windows}
    whole = new(**settings).fit(table())
    n = len(whole.history.updates)
    fits = 1 + min(n_windows, 1)  # one model serves all origins
    all_updates = n * fits + len(whole.pilot.updates)
    stopped = new(**settings).fit(table(), observers=[Kill(all_updates - 1, KeyboardInterrupt)])
    assert stopped.history.reason == "interrupted"
    assert stopped.history.updates == whole.history.updates[:-1]
    assert stopped.pilot == whole.pilot
    assert outcome(stopped)["tables"][1:] == outcome(whole)["tables"][1:]
    early = new(**settings)
    with pytest.raises(KeyboardInterrupt):
        early.fit(table(), observers=[Kill(len(whole.pilot.updates) - 1, KeyboardInterrupt)])
    with pytest.raises(tt.NotFittedError):
        early.predict()


def test_ctrl_c_in_an_imitation_stops_the_fit() -> None:
    forecaster = quick(n_windows=0, preprogram="seasonal")
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(np.arange(40.0) % 7, observers=[Kill(1, KeyboardInterrupt)])


def run(*arguments: Any, seed: str = "0") -> subprocess.Popen[str]:
    script = Path(__file__).parents[1] / "killed.py"
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@needs_fork
def test_sigkill_at_any_moment_loses_nothing_but_time(tmp_path: Path) -> None:
    told = said(run("kill", tmp_path, 1))
    assert told["half-written"] == 2
    assert told["killed"] >= 1
    assert told["files"] == ["broken.json", "unbroken.json"]
    broken, unbroken = (tmp_path / f"{name}.json" for name in ("broken", "unbroken"))
    assert broken.read_text() == unbroken.read_text()


@needs_fork
def test_ctrl_c_is_clean_and_what_it_stopped_can_go_on(tmp_path: Path) -> None:
    told = said(run("interrupt", tmp_path))
    assert told == {"codes": [130, 130, 0], "kept": [True] * 3, "left": False}
    broken, unbroken = (tmp_path / f"{name}.json" for name in ("broken", "unbroken"))
    assert broken.read_text() == unbroken.read_text()


def test_the_same_seed_in_a_fresh_process_gives_the_same_bits() -> None:
    one, two = run("fresh", seed="1"), run("fresh", seed="2")
    first, second = said(one), said(two)
    assert first == second
    assert first[0] != first[1]
