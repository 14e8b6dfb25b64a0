"""Floor 2. Losses, truncation, clipping, the loop, checkpoints."""

from __future__ import annotations

from throughtime.training import losses
from throughtime.training.agc import AGC
from throughtime.training.autoclip import AutoClip
from throughtime.training.checkpoint import Checkpoint
from throughtime.training.clipping import Clip, Clipped, Clipping
from throughtime.training.examples import Examples, TensorExamples
from throughtime.training.loop import Trainer
from throughtime.training.losses import Loss
from throughtime.training.observer import (
    Evaluation,
    Gradient,
    GradientObserver,
    History,
    Observer,
    Update,
)
from throughtime.training.settings import TrainingSettings
from throughtime.training.truncation import Position, Reach, Truncation, reaches
from throughtime.training.zclip import ZClip

__all__ = [
    "AGC",
    "AutoClip",
    "Checkpoint",
    "Clip",
    "Clipped",
    "Clipping",
    "Evaluation",
    "Examples",
    "Gradient",
    "GradientObserver",
    "History",
    "Loss",
    "Observer",
    "Position",
    "Reach",
    "TensorExamples",
    "Trainer",
    "TrainingSettings",
    "Truncation",
    "Update",
    "ZClip",
    "losses",
    "reaches",
]
