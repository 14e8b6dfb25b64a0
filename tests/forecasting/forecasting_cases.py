"""Series and settings small enough to fit in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

import throughtime as tt
from throughtime.forecasting import Panel, read_frame
from throughtime.forecasting.settings.design import Design
from throughtime.training import Clip, Observer, TrainingSettings

NAN = float("nan")
CELLS = ("rnn", "lstm", "gru")
TRAINING = TrainingSettings(
    max_updates=4, batch_size=16, learning_rate=0.02, clip=Clip(norm=1.0), evaluate_every=2
)


class Killed(BaseException):
    """Ends a fit as a kill does: nothing catches it."""


class Kill(Observer):
    """Kills (or whatever `by` is) after so many updates, and writes down the runs that began."""

    def __init__(self, after: int, by: type[BaseException] = Killed) -> None:
        self.left, self.by, self.names = after, by, []

    def on_start(self, name: str, total: int) -> None:
        self.names.append(name)

    def on_update(self, update: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.by


def wave(n: int = 60, seed: int = 0, noise: float = 0.2) -> np.ndarray:
    """A sine of period 8 with noise."""
    return np.sin(np.arange(n) * np.pi / 4) + noise * np.random.default_rng(seed).normal(size=n)


def quick(h: int = 3, **settings: Any) -> tt.Forecaster:
    small = {"members": 1, "hidden_size": 4, "n_windows": 3, "training": TRAINING}
    return tt.Forecaster(h, **{**small, **settings})


def design(**settings: Any) -> Design:
    small: dict[str, Any] = {
        "h": 3,
        "cell": "lstm",
        "hidden_size": 4,
        "num_layers": 1,
        "dropout": 0.0,
        "members": 2,
        "context_length": 8,
        "season_length": 4,
        "transforms": ("identity",),
        "residual": "level",
        "training": TRAINING,
    }
    return Design(**{**small, **settings})


def panel(*series: Any) -> Panel:
    """Series of integers' dates, named a, b, c ..."""
    rows = [(chr(97 + s), t, value) for s, y in enumerate(series) for t, value in enumerate(y)]
    ids, ds, y = zip(*rows, strict=True)
    return read_frame(pa.table({"unique_id": ids, "ds": ds, "y": [float(v) for v in y]}))
