"""Floor 2. Losses, truncation, clipping, the loop, checkpoints."""

from __future__ import annotations

from throughtime.training import losses
from throughtime.training.agc import AGC
from throughtime.training.autoclip import AutoClip
from throughtime.training.checkpoint import Checkpoint
from throughtime.training.clipping import Clip, Clipped, Clipping
from throughtime.training.examples import Examples, TensorExamples
from throughtime.training.forcing import Forcing
from throughtime.training.imitation import Imitation, LinearTeacher, SeasonalTeacher, imitate
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
from throughtime.training.outputs import OUTPUTS, output
from throughtime.training.penalties import L1, L2
from throughtime.training.settings import TrainingSettings
from throughtime.training.truncation import (
    Position,
    RandomTruncation,
    Reach,
    Truncation,
    reaches,
)
from throughtime.training.vanishing import Vanishing, vanishing_penalty
from throughtime.training.zclip import ZClip

__all__ = [
    "AGC",
    "L1",
    "L2",
    "OUTPUTS",
    "AutoClip",
    "Checkpoint",
    "Clip",
    "Clipped",
    "Clipping",
    "Evaluation",
    "Examples",
    "Forcing",
    "Gradient",
    "GradientObserver",
    "History",
    "Imitation",
    "LinearTeacher",
    "Loss",
    "Observer",
    "Position",
    "RandomTruncation",
    "Reach",
    "SeasonalTeacher",
    "TensorExamples",
    "Trainer",
    "TrainingSettings",
    "Truncation",
    "Update",
    "Vanishing",
    "ZClip",
    "imitate",
    "losses",
    "output",
    "reaches",
    "vanishing_penalty",
]
