"""Before training: the nets imitate a forecast that is known, and learn from the data from there on.

The teacher of a member on scale k, in the space of its examples (`examples/scaled.py`), says

    linear      A_k z - base(z)                              A_k of `models/linear.py`
    seasonal    z_{L + i - m ceil(i / m)} - base(z)          i = 1..h, the last season of m steps

for the windows that training will read. A_k is fitted to series about their mean; a window is about
a level between its own and that, so that the map is exact where series wander (its rows then sum to
1) and near it where they have a level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.examples.scaled import SpreadExamples
from throughtime.forecasting.fitting.resuming import whole
from throughtime.forecasting.settings.cures import Preprogram
from throughtime.nn import Ensemble
from throughtime.training import LinearTeacher, Observer, SeasonalTeacher, TrainingSettings, imitate

Floats = npt.NDArray[np.float64]


def preprogram(
    network: Ensemble,
    kind: Preprogram,
    linear: Floats | None,
    examples: SpreadExamples,
    training: TrainingSettings,
    observers: Sequence[Observer],
) -> float | None:
    """Make the nets say what the teacher says; `linear` [K, h, L] is needed for that kind.

    Return the share of the teacher's variance that they explain, None where it always says the same.
    """
    teacher = _teacher(kind, linear, examples)
    imitation = imitate(network, teacher, examples, training, observers)
    whole(imitation.history)
    return None if math.isnan(imitation.explained) else imitation.explained


def _teacher(
    kind: Preprogram, linear: Floats | None, examples: SpreadExamples
) -> Callable[[Tensor], Tensor]:
    first = examples.parts[0]  # the base is the same on every scale
    K, h, m = len(examples.parts), first.windows.h, first.base.season_length
    each: Sequence[Callable[[Tensor], Tensor]] = (
        [SeasonalTeacher(m, h)] * K
        if kind == "seasonal" or linear is None
        else [LinearTeacher(A_k) for A_k in linear]
    )

    def say(z_E: Tensor) -> Tensor:
        said = torch.stack([each[e % K](z) for e, z in enumerate(z_E)])
        return said - first.base.ahead(
            z_E.squeeze(-1), first.windows.h
        )  # one target: the teachers know no other

    return say
