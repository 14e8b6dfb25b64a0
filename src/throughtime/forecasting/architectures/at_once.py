"""What says all h steps at once may read by segments, and is moved by a linear skip.

With `segment` w it reads w steps at a time, x_{(t-1)w+1} ... x_{tw} side by side, so that a long
context is few steps (Lin et al. 2023, "SegRNN"). With `skips` what it says is moved by K linear maps
of the context z that all targets share, beginning at 0: the part of a forecast that is linear needs
no state. Of several the newest state s says how much each counts (Jacobs, Jordan, Nowlan and Hinton
1991, "Adaptive mixtures of local experts"):

    A z                                                              K = 1
    g_1 A_1 z + ... + g_K A_K z,     g = softmax(G s + c)            K > 1

so that series that repeat closely and series that only turn about a level need not share one map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.forecasting.architectures.architecture import (
    Architecture,
    Beside,
    HeadOf,
    Inputs,
    Window,
    resized,
)
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence
from throughtime.nn.linear import Linear, affine

Skips = tuple[int, int]  # the look-back L that linear maps read, 0 for none, and how many there are


class AtOnce(Architecture):
    """From x [B, L, I] to parameters [B, M h, P]; see the module."""

    skip: LinearSkip | None

    def __init__(
        self, sizes: Sizes, recurrence: Recurrence, head: HeadOf, h: int, segment: int = 1
    ) -> None:
        super().__init__(sizes, recurrence, head, h)
        self.segment = segment

    @property
    def segment_size(self) -> int:
        """Features of a segment with what is static."""
        return self.input_size + (self.segment - 1) * self.sizes.step

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read the context, say the target."""
        L = window.L
        h = window.z.shape[-1] - L
        r = window.truth[..., L:] - base.ahead(window.z[..., :L], h)
        ahead = window.futr[..., L:].transpose(-1, -2)
        return window.inputs(sizes, window.steps(sizes, 0, L), ahead), r.flatten(-2)

    def segments(self, x: Tensor, given: Beside) -> Tensor:
        """Return x [B, L, I] by segments, [B, L / w, w I], each with what is static."""
        steps = self.rescaled(x)
        if self.segment > 1:
            steps = steps.reshape(len(x), -1, self.segment * x.shape[-1])
        return self.with_static(steps, given.numbers, given.codes)

    def moved(self, params: Tensor, x: Tensor, s: Tensor, size: Tensor | None) -> Tensor:
        """Return the parameters [B, M h, P] moved by linear maps, and of counts of these sizes."""
        if self.skip is not None:
            params = self.head.rescale(params, self.skip(x[..., : self.sizes.targets].mT, s))
        return resized(self.head, params, size, self.h)


class LinearSkip(nn.Module):
    """The K linear maps from L steps to h, `weight` [K h, L], and where K > 1 their gate, G and c."""

    def __init__(self, L: int, h: int, K: int, state_size: int) -> None:
        super().__init__()
        self.K = K
        self.weight = nn.Parameter(torch.zeros(K * h, L))
        self.gate = Linear(state_size, K) if K > 1 else None

    def forward(self, z: Tensor, s: Tensor) -> Tensor:
        """Map z [B, M, L] and states s [B, H] to what is added, [B, M h]."""
        made = affine(z.flatten(0, 1), self.weight)  # 2-D: an ensemble copies no weights
        if self.gate is None:
            return made.reshape(len(z), -1)
        g: Tensor = self.gate(s).softmax(dim=-1)
        return torch.einsum("bk,bmkh->bmh", g, made.reshape(*z.shape[:2], self.K, -1)).flatten(1)


def linear_skip_of(skips: Skips, h: int, state_size: int) -> LinearSkip | None:
    """Return the linear maps of L steps, if there are any."""
    L, K = skips
    return LinearSkip(L, h, K, state_size) if L else None
