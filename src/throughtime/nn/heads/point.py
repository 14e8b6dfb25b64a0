"""One number for each output: y = V h + c.

As a distribution, all its mass is at y: every quantile and every sample is y, and F is the step there,
of which `uniform` takes the middle: 0 below y, 1/2 at it, 1 above it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.nn.heads.base import ValueHead


class PointHead(ValueHead):
    """One number for each output: y = V h + c.

    >>> head = PointHead(8, outputs=2)
    >>> head(torch.zeros(5, 8)).shape
    torch.Size([5, 2, 1])
    >>> head.quantile(torch.tensor([[3.0]]), 0.9)
    tensor([3.])
    """

    def __init__(self, hidden_size: int, outputs: int = 1) -> None:
        super().__init__(hidden_size, outputs, powers=(1,), shifts=(1,))

    def point(self, params: Tensor) -> Tensor:
        """The number itself: [..., outputs]."""
        return params[..., 0]

    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        d = y - params[..., 0]
        return torch.where(d.isnan(), d, (1 + torch.sign(d)) / 2)

    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        return params[..., 0] + torch.zeros_like(u)
