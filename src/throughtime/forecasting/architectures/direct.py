"""All h steps at once, from the newest state.

    s_t = f(x_t, s_{t-1})                 t = 1 ... L
    y_{L+1} ... y_{L+h} = head(s_L)       without anything known ahead
    y_{L+k} = head(relu(W_k s_L + V a_{L+k} + c))     with a known ahead

With `segment` w the net reads w steps at a time, x_{(t-1)w+1} ... x_{tw} side by side, so that a long
context is few steps (Lin et al. 2023, "SegRNN"). With `linear_skip` what it says is moved by A z, a
linear map of the context that all targets share, beginning at 0: the part of a forecast that is
linear needs no state.

s_L has seen every observation: heads that read an older state cannot see the last ones. The second
form is the multi-horizon decoder of Wen, Torkkola, Narayanaswamy and Madeka (2017), "A multi-horizon
quantile recurrent forecaster", with its context and its step in one layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from throughtime.forecasting.architectures.architecture import (
    Ahead,
    Architecture,
    Beside,
    HeadOf,
    Inputs,
    Window,
    resized,
)
from throughtime.forecasting.channels import Sizes
from throughtime.forecasting.residuals import Base
from throughtime.nn import Recurrence
from throughtime.nn.sequences import newest


class Direct(Architecture):
    """From x [B, L, I] to parameters [B, M h, P]; see the module."""

    def __init__(
        self,
        sizes: Sizes,
        recurrence: Recurrence,
        head: HeadOf,
        h: int,
        segment: int = 1,
        linear_skip: int = 0,
    ) -> None:
        super().__init__(sizes, recurrence, head, h)
        size, M = recurrence.output_size, sizes.targets
        self.segment = segment
        self.head = head(size, M if sizes.futr else M * h)
        self.layer = recurrence.build(self.input_size + (segment - 1) * sizes.step)
        self.skip = nn.Linear(linear_skip, h, bias=False) if linear_skip else None
        if self.skip is not None:
            nn.init.zeros_(self.skip.weight)
        self.ahead = Ahead(size, sizes.futr, h) if sizes.futr else None

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read the context, say the target."""
        L = window.L
        h = window.z.shape[-1] - L
        r = window.truth[..., L:] - base.ahead(window.z[..., :L], h)
        ahead = window.futr[..., L:].transpose(-1, -2)
        return window.inputs(sizes, window.steps(sizes, 0, L), ahead), r.flatten(-2)

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map x [B, L, I] and what is beside it, [B, h, F] known ahead, to parameters."""
        given = Beside(*beside)
        steps = x.reshape(len(x), -1, self.segment * x.shape[-1])
        _, state = self.layer(self.read(steps, given.numbers, given.codes))
        params = self.answer(newest(self.layer, state), given.ahead)
        if self.skip is not None:
            z = x[..., : self.sizes.targets].mT.flatten(0, 1)  # 2-D: an ensemble copies no weights
            params = self.head.rescale(params, self.skip(z).reshape(len(x), -1))
        return resized(self.head, params, given.size, self.h)
