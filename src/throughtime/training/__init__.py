"""Floor 2. Losses, truncation, clipping, the loop, checkpoints."""

from __future__ import annotations

from throughtime.training import losses
from throughtime.training.checkpoint import Checkpoint
from throughtime.training.clipping import Clip, Clipped
from throughtime.training.examples import Examples, TensorExamples
from throughtime.training.loop import Trainer
from throughtime.training.losses import Loss
from throughtime.training.observer import Evaluation, History, Observer, Update
from throughtime.training.settings import TrainingSettings
from throughtime.training.truncation import Position, Reach, Truncation, reaches

__all__ = [
    "Checkpoint",
    "Clip",
    "Clipped",
    "Evaluation",
    "Examples",
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
    "losses",
    "reaches",
]
