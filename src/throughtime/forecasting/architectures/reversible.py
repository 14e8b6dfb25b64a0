"""Reversible instance normalisation: the scale of every window, then an affine map that is learned.

With z_t the window as "standard" scales it, by its own mean and deviation, a net reads

    z'_t = gamma z_t + beta                     gamma = exp(g) > 0, one gamma and beta a target

and forecasts z' in its turn: z'_{T+k} = base_k(z') + r'_k. The naive base is linear in the values
that it repeats, so base(gamma z + beta) = gamma base(z) + base(beta). Solved for z,

    z_{T+k} = (z'_{T+k} - beta) / gamma = base_k(z) + r_k
    r_k = (r'_k - b) / gamma                    b = beta - base(beta)

b is 0 where the base is "last" or "season", which repeat beta; it is beta where it is "level" and
r' is z' itself. r is an affine map of r' whose slope is above 0: `head.rescale` takes parameters of any
distribution through it, and the rest of the forecast stays in z.

The loss is on r, with the affine map undone, as in the paper. There the window's deviation is undone
before it, too; here it is not, which weighs every window by 1 / deviation (for the mean absolute
error: |y - forecast| = deviation |r - said|), so that large series are not all that is learned from.
The gradient reaches gamma and beta from both sides, what is read and what is said. They begin
at 1 and 0, where all this is "standard". exp keeps gamma from 0, where nothing could be undone; the
paper adds a small number to it instead.

Kim, Kim, Tae, Park, Choi and Choo (2022), "Reversible instance normalization for accurate time-series
forecasting against distribution shift", equations 1 to 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.nn.heads import ValueHead


class Reversible(nn.Module):
    """gamma and beta of M targets; see the module.

    >>> from throughtime.nn.heads import PointHead
    >>> affine, head = Reversible(1, Base("level")), PointHead(1, 1)
    >>> _ = nn.init.constant_(affine.beta, 3.0)
    >>> affine.undo(head, affine.read(torch.tensor([[2.0]]))[..., None]).item()
    2.0
    """

    def __init__(self, targets: int, base: Base) -> None:
        super().__init__()
        self.shifts = base.residual == "level"
        self.log_gamma = nn.Parameter(torch.zeros(targets))
        self.beta = nn.Parameter(torch.zeros(targets))

    def read(self, x: Tensor) -> Tensor:
        """Map the first M of the features x [..., I], the values, to gamma x + beta."""
        M = len(self.beta)
        z = x[..., :M] * self.log_gamma.exp() + self.beta
        return torch.cat([z, x[..., M:]], dim=-1)

    def undo(self, head: ValueHead, params: Tensor) -> Tensor:
        """Map the parameters [..., M h, P] of r' to those of r = (r' - b) / gamma."""
        h = params.shape[-2] // len(self.beta)
        size = (-self.log_gamma).exp()
        b = self.beta if self.shifts else torch.zeros_like(self.beta)
        return head.rescale(params, (-b * size).repeat_interleave(h), size.repeat_interleave(h))
