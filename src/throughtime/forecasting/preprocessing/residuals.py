"""The naive forecast that a net begins from: it learns to say what is to be added.

Of scaled values z_1 ... z_t, k steps ahead:

    level     0                                  the location of the scale
    last      z_t                                the last value
    season    z_{t + k - m ceil(k / m)}          the last season, of m steps
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Residual = Literal["level", "last", "season"]
RESIDUALS: tuple[Residual, ...] = get_args(Residual)


@dataclass(frozen=True)
class Base:
    """The naive forecast of this kind, for seasons of m steps.

    >>> z = torch.tensor([1.0, 2.0, 3.0])
    >>> Base("season", 2).ahead(z, 3).tolist()
    [2.0, 3.0, 2.0]
    >>> Base("season", 2).next(z).tolist()
    [nan, 1.0, 2.0]
    """

    residual: Residual = "level"
    season_length: int = 1

    def ahead(self, z: Tensor, h: int) -> Tensor:
        """Return the forecast [..., h] from the end of z [..., L]."""
        L, m = z.shape[-1], self.season_length
        if self.residual == "level":
            return z.new_zeros(*z.shape[:-1], h)
        if self.residual == "last":
            return z[..., -1:].expand(*z.shape[:-1], h)
        return z[..., L - m + torch.arange(h) % m]

    def at_each(self, z: Tensor, h: int) -> Tensor:
        """Return the forecast [..., L, h] from every step of z [..., L], NaN where m steps lack."""
        L, m = z.shape[-1], self.season_length
        if self.residual == "level":
            return z.new_zeros(*z.shape, h)
        if self.residual == "last":
            return z[..., None].expand(*z.shape, h)
        place = torch.arange(1, L + 1)[:, None] - m + torch.arange(h) % m
        return torch.where(place >= 0, z[..., place.clamp(min=0)], torch.nan)

    def next(self, z: Tensor) -> Tensor:
        """Return the forecast [..., L] of the step after each of z [..., L]."""
        return self.at_each(z, 1).squeeze(-1)
