"""What broke, when a loss or a gradient is not finite, and what is likely to help."""

from __future__ import annotations

import math
from statistics import median

import torch
from torch import Tensor

from throughtime._errors import DivergedError
from throughtime.training.clipping import Clip
from throughtime.training.examples import Inputs
from throughtime.training.settings import TrainingSettings
from throughtime.training.sources import Lesson


def data_to_blame(lesson: Lesson, loss: float) -> str | None:
    """Say what in the data made `loss` what it is, if anything.

    Targets may be NaN where the loss leaves those out; one that does not is NaN itself.
    """
    if not _all_finite(lesson.inputs):
        return "inputs"
    if _all_finite(lesson.outputs):
        gaps_count = math.isnan(loss) and bool(lesson.targets.isnan().any())
        if gaps_count or bool(lesson.targets.isinf().any()):
            return "targets"
    return None


def diverged(
    moment: str,
    loss: float,
    broken: str,
    data: str | None,
    norms: list[float],
    settings: TrainingSettings,
) -> DivergedError:
    """Make the error: when, what was found, which tensor was first, and a cure.

    `moment` says when, `broken` names the first tensor that is not finite, `data` the part of the
    data that is to blame (if any), `norms` are the finite gradient norms so far.

    >>> raise diverged("update 3", float("nan"), "outputs", None, [1.0, 9.0], TrainingSettings())
    Traceback (most recent call last):
    throughtime._errors.DivergedError: Expected a finite loss and gradient at update 3, found loss nan, first not finite: outputs, last gradient norm before: 9: lower learning_rate from 0.001 to 0.0001, or clip at Clip(norm=0.5).
    """
    before = f"{norms[-1]:.3g}" if norms else "none"
    return DivergedError(
        f"a finite loss and gradient at {moment}",
        f"loss {loss:.4g}, first not finite: {broken}, last gradient norm before: {before}",
        _cure(data, norms, settings),
    )


def _cure(data: str | None, norms: list[float], settings: TrainingSettings) -> str:
    if data == "inputs":
        return "fill or leave out the NaN or infinite values in the inputs"
    if data == "targets":
        return "fill the targets, or mark gaps as NaN and use a loss of throughtime.training.losses"
    rate = settings.learning_rate
    slower = f"lower learning_rate from {rate:.3g} to {rate / 10:.3g}"
    usual = median(norms) if norms else 1.0
    if not isinstance(settings.clip, Clip):
        return f"{slower}, or clip at Clip(norm={usual:.2g})"
    if settings.clip.norm is None:
        return f"clip at Clip(norm={usual:.2g}), or {slower}"
    return f"{slower}, or clip at Clip(norm={min(usual, settings.clip.norm / 2):.2g})"


def _all_finite(tensors: Inputs) -> bool:
    tensors = (tensors,) if isinstance(tensors, Tensor) else tensors
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
