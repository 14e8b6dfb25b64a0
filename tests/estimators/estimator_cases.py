"""Small problems with known answers, and estimators that learn them in a second."""

from __future__ import annotations

from typing import Any

import numpy as np

import throughtime as tt
from throughtime.training import TrainingSettings

QUICK = TrainingSettings(max_updates=40, batch_size=32, learning_rate=0.02, evaluate_every=10)


def classifier(**settings: Any) -> tt.SequenceClassifier:
    return tt.SequenceClassifier(**{"hidden_size": 6, "members": 2, "training": QUICK, **settings})


def labeler(**settings: Any) -> tt.SequenceLabeler:
    return tt.SequenceLabeler(**{"hidden_size": 6, "members": 2, "training": QUICK, **settings})


def ragged(n: int = 30, features: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Noise of 1 to 9 steps."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(1, 10), features)) for _ in range(n)]


def waves(n: int = 40, T: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Slow and fast waves of random phase, and their names."""
    rng = np.random.default_rng(seed)
    fast = np.arange(n) % 2 == 1
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1))
    angle = np.where(fast, 2.2, 0.5)[:, None] * np.arange(T) + phase
    return np.sin(angle), np.where(fast, "fast", "slow")
