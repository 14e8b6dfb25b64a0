"""One step ahead from the state of every step, fed with paths that it draws.

    s_t = f([x_t, a_{t+1}], s_{t-1}),   y_{t+1} ~ head(s_t)      a known ahead

Learned at every step of context and target, each step being given the true value before it. Then n
paths are drawn from the newest state: each draws y_{t+1} and reads it as the next observation, so
that what is uncertain at one step is carried into the next. The mean is never fed back: it would
make every step but the first too sure. Any horizon can be drawn. Salinas, Flunkert, Gasthaus and
Januschowski (2020), "DeepAR".
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.forecasting.channels import Sizes
from throughtime.forecasting.decoders.decoder import Decoder, HeadOf, Inputs, Window
from throughtime.forecasting.residuals import Base
from throughtime.nn import Recurrence


class Recursive(Decoder):
    """From x [B, T, I] to parameters [B, T, M, P] of the step after each; see the module."""

    any_horizon = True

    def __init__(self, sizes: Sizes, recurrence: Recurrence, head: HeadOf, h: int) -> None:
        super().__init__(sizes, h)
        self.head = head(recurrence.output_size, sizes.targets)
        self.layer = recurrence.build(self.input_size)

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read every step but the last, say the step after each."""
        T = window.z.shape[-1] - 1
        before = window.z[..., :T]
        r = window.truth[..., 1:] - base.next(before)
        x = window.steps(sizes, 0, T)
        if sizes.futr:  # of the step that is said
            x = torch.cat([x[..., : -sizes.futr], window.futr[..., 1:].transpose(-1, -2)], dim=-1)
        none = x.new_zeros(*x.shape[:-2], 0, 0)
        return window.inputs(sizes, x, none), r.transpose(-1, -2)

    def forward(
        self,
        x: Tensor,
        ahead: Tensor | None = None,
        numbers: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Tensor:
        """Map x [B, T, I] and what is static to parameters [B, T, M, P]; `ahead` is not read."""
        s, _ = self.layer(self.read(x, numbers, codes))
        params: Tensor = self.head(s)
        return params

