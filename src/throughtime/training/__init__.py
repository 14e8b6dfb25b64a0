"""Floor 2. Losses, truncation, clipping, the loop, checkpoints."""

from __future__ import annotations

from throughtime.training import losses
from throughtime.training.clipping import Clip, Clipped
from throughtime.training.observer import Evaluation, History, Observer, Update
from throughtime.training.truncation import Position, Reach, Truncation, reaches

__all__ = [
    "Clip",
    "Clipped",
    "Evaluation",
    "History",
    "Observer",
    "Position",
    "Reach",
    "Truncation",
    "Update",
    "losses",
    "reaches",
]
