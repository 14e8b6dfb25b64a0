"""A linear layer whose members are one product.

    y_e = x_e W_e' + b_e       e = 1 ... E, beneath the vmap of an `Ensemble`

PyTorch makes several small operators of `torch.nn.Linear` under a vmap, forward and backward, and an
ensemble of small nets spends more time in them than in the product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from throughtime.kernels.transforms import beneath, in_one_vmap


class Linear(nn.Linear):
    """`torch.nn.Linear`, with the same numbers to the last bit.

    >>> from throughtime.nn import Ensemble
    >>> Ensemble(lambda: Linear(4, 2), members=3)(torch.zeros(3, 5, 4)).shape
    torch.Size([3, 5, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map [..., in_features] to [..., out_features]."""
        return affine(input, self.weight, self.bias)


def affine(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """Return x W' + b, as `torch.nn.functional.linear`, of all members beneath a vmap at once."""
    made = None
    if x.dim() == 2 and not is_compiling() and in_one_vmap():
        made = beneath(_affine, (x, W, b))
    return nn.functional.linear(x, W, b) if made is None else made


def _affine(x_EBI: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    y = torch.bmm(x_EBI, W.mT)
    return y if b is None else y + b.unsqueeze(1)
