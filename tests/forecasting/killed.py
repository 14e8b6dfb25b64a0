"""Fits that are killed or stopped by real signals, and fits in processes of their own.

Run by `test_resuming.py`: torch is imported once, and every fit is made by a child that is forked
before any tensor was made.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from forecasting_cases import wave

import throughtime as tt
from throughtime.training import AutoClip, Checkpoint, Observer, TrainingSettings

TRAINING = TrainingSettings(
    max_updates=24,
    batch_size=16,
    learning_rate=0.02,
    schedule="cosine",
    clip=AutoClip(40, window=6),
    evaluate_every=2,
    patience=6,
    average=0.9,
)


def table(n: int = 80) -> pa.Table:
    """Two series with gaps, a covariate known ahead and one that is not."""
    t = np.arange(n)
    series = []
    for s, name in enumerate("ab"):
        y = 5 + s + wave(n, seed=s)
        y[[9, 30]] = np.nan
        columns = {"unique_id": [name] * n, "ds": t, "y": y, "price": wave(n, 7), "ad": t % 5 * 1.0}
        series.append(pa.table(columns))
    return pa.concat_tables(series)


def new(**settings: Any) -> tt.Forecaster:
    usual = {
        "members": 2,
        "hidden_size": 4,
        "num_layers": 2,
        "dropout": 0.2,
        "zoneout": 0.1,
        "n_windows": 2,
        "hist": "price",
        "futr": "ad",
        "training": TRAINING,
    }
    return tt.Forecaster(3, **{**usual, **settings})


def outcome(forecaster: tt.Forecaster) -> dict[str, Any]:
    """All that came of a fit, each number to its last bit."""
    n, h = 80, forecaster.h
    futr = [{"unique_id": s, "ds": n + k, "ad": (n + k) % 5} for s in "ab" for k in range(h)]
    level = [80] if forecaster._backtest else []
    made = forecaster.predict(futr_df=pa.Table.from_pylist(futr), level=level)
    tables = [made, *([forecaster.backtest.table] if forecaster._backtest else [])]
    return {
        "weights": {
            name: [w.hex() for w in tensor.flatten().tolist()]
            for name, tensor in forecaster.model.network.state_dict().items()
        },
        "tables": [
            {
                n: [v.hex() if isinstance(v, float) else v for v in c]
                for n, c in t.to_pydict().items()
            }
            for t in tables
        ],
        "reasons": [forecaster.pilot.reason, forecaster.history.reason],
        "norms": [u.grad_norm.hex() for u in forecaster.history.updates],
    }


def child(work: Any) -> int:
    """Run `work()` in a process of its own; return its id."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        work()
        os._exit(0)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def write(path: Path, forecaster: tt.Forecaster) -> None:
    path.write_text(json.dumps(outcome(forecaster)))


def die_in_replace(nth: int, after: bool) -> None:
    """Let the nth `os.replace` be the last thing that this process does."""
    replace, calls = os.replace, [0]

    def deadly(source: Any, target: Any) -> None:
        calls[0] += 1
        if calls[0] == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = deadly


def kill(folder: Path, seed: int) -> None:
    """Fit once without a stop and once with many; write what came of both, and the moments."""
    draw, file = random.Random(seed), folder / "fit.ckpt"

    def unbroken() -> None:
        write(folder / "unbroken.json", new().fit(table()))

    def broken(nth: int | None = None, after: bool = False) -> None:
        if nth is not None:
            die_in_replace(nth, after)
        write(folder / "broken.json", new().fit(table(), checkpoint=Checkpoint(file, every=3)))

    reference, left, sizes = child(unbroken), 0, []
    for nth, after in ((1, False), (3, False), (2, True)):
        assert code(child(lambda nth=nth, after=after: broken(nth, after))) == -signal.SIGKILL
        left += len(list(folder.glob(".fit.ckpt.*")))
    for _ in range(4):
        before = file.stat().st_ino
        pid = child(broken)
        while file.exists() and file.stat().st_ino == before:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        if not file.exists():  # it was done before the signal
            break
        sizes.append(file.stat().st_size)
        os.kill(pid, signal.SIGKILL)
        code(pid)
    assert code(child(broken)) == 0
    assert code(reference) == 0
    files = sorted(path.name for path in folder.iterdir())
    print(json.dumps({"half-written": left, "killed": len(sizes), "files": files}))


class Telling(Observer):
    """Says through a pipe when a run has made so many updates, and waits for the signal."""

    def __init__(self, run: str, pipe: int) -> None:
        self.run, self.pipe, self.name = run, pipe, ""

    def on_start(self, name: str, total: int) -> None:
        self.name = name

    def on_update(self, update: Any) -> None:
        if self.name == self.run and update.index == 4:
            os.write(self.pipe, b".")
            time.sleep(60)


def interrupt(folder: Path) -> None:
    """Press Ctrl-C in the pilot, at an origin and in the final fit; then go on."""
    file, codes, states = folder / "fit.ckpt", [], []
    for run in ("pilot", "back-test 1/2", "final fit"):
        end, begin = os.pipe()

        def stopped(run: str = run, pipe: int = begin) -> None:
            forecaster = new()
            try:
                forecaster.fit(
                    table(), checkpoint=Checkpoint(file, every=3), observers=[Telling(run, pipe)]
                )
                assert forecaster.history.reason == "interrupted"
                assert len(forecaster.history.updates) == 5
            finally:
                assert (forecaster._fitted is None) == (run != "final fit")

        pid = child(stopped)
        os.close(begin)  # so that reading ends where the child does
        assert os.read(end, 1)
        os.kill(pid, signal.SIGINT)
        codes.append(code(pid))
        states.append(file.exists())
    done = child(
        lambda: write(folder / "broken.json", new().fit(table(), checkpoint=Checkpoint(file, 3)))
    )
    reference = child(lambda: write(folder / "unbroken.json", new().fit(table())))
    assert (code(done), code(reference)) == (0, 0)
    print(json.dumps({"codes": codes, "kept": states, "left": file.exists()}))


def fresh() -> None:
    """Print what comes of fits with two architectures and everything that a table may have."""
    brief = replace(TRAINING, max_updates=8)
    made = [
        outcome(new(architecture=architecture, training=brief, n_windows=1).fit(table()))
        for architecture in ("direct", "seq2seq")
    ]
    print(json.dumps(made))


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "interrupt":
        interrupt(Path(sys.argv[2]))
    else:
        fresh()
