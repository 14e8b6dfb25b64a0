"""Clipping: what is done to a gradient that is too long.

By norm, which keeps the direction (Pascanu, Mikolov and Bengio 2013, algorithm 1):

    g <- g min(1, c / ‖g‖),   ‖g‖ the joint norm over all parameters

and by value, which does not: each entry is cut to [-v, v]. With both, the norm comes first.

A gradient is a matrix [E, N] here: a row for each member of an ensemble (one row for a single
model), a column for each weight. Each row is clipped by its own norm, as if trained alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime._checks import real


@dataclass(frozen=True)
class Clipped:
    """A gradient [E, N] after clipping, its norms [E] before, and where [E] clipping changed it."""

    gradient: Tensor
    norm: Tensor
    fired: Tensor


@dataclass(frozen=True)
class Clip:
    """Clip gradients to a joint `norm`, their entries to `value`; None leaves them alone.

    Raises SettingError for a threshold that is not above 0.

    >>> clipped = Clip(norm=1.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    >>> clipped.gradient
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    >>> clipped.norm, clipped.fired
    (tensor([5.0000, 0.5000]), tensor([ True, False]))
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        for name, threshold in (("clip norm", self.norm), ("clip value", self.value)):
            if threshold is not None:
                real(name, threshold, above=0)

    def __call__(self, gradient: Tensor) -> Clipped:
        """Clip each row of `gradient` [E, N]; the tensor passed in is left as it was."""
        norm = torch.linalg.vector_norm(gradient, dim=1)
        fired = torch.zeros_like(norm, dtype=torch.bool)
        if self.norm is not None:
            fired = norm > self.norm
            gradient = gradient * (self.norm / norm).clamp(max=1).unsqueeze(1)
        if self.value is not None:
            fired = fired | (gradient.abs() > self.value).any(dim=1)
            gradient = gradient.clamp(-self.value, self.value)
        return Clipped(gradient, norm, fired)
