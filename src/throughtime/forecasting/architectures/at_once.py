"""What says all h steps at once may read by segments, and is moved by a linear skip.

With `segment` w it reads w steps at a time, x_{(t-1)w+1} ... x_{tw} side by side, so that a long
context is few steps (Lin et al. 2023, "SegRNN"). With `linear_skip` what it says is moved by A z, a
linear map of the context that all targets share, beginning at 0: the part of a forecast that is
linear needs no state.
"""

from __future__ import annotations

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
from throughtime.nn.linear import Linear


class AtOnce(Architecture):
    """From x [B, L, I] to parameters [B, M h, P]; see the module."""

    skip: Linear | None

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

    def moved(self, params: Tensor, x: Tensor, size: Tensor | None) -> Tensor:
        """Return the parameters [B, M h, P] moved by A z, and of counts of these sizes."""
        if self.skip is not None:
            z = x[..., : self.sizes.targets].mT.flatten(0, 1)  # 2-D: an ensemble copies no weights
            params = self.head.rescale(params, self.skip(z).reshape(len(x), -1))
        return resized(self.head, params, size, self.h)


def linear_skip_of(L: int, h: int) -> Linear | None:
    """Return A, from L steps to h, beginning at 0; None where L is 0."""
    if not L:
        return None
    A = Linear(L, h, bias=False)
    nn.init.zeros_(A.weight)
    return A
