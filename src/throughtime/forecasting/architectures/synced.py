"""All h steps at once, from the state of every step.

    s_t = f(x_t, s_{t-1})                                t = 1 ... L
    y_{t+1} ... y_{t+h} = head(s_t)                      learned at every t, asked for at the newest
    y_{t+k} = head(relu(W_k s_t + V a_{t+k} + c))        with a known ahead

One pass trains as many forecasts as there are steps ("forking sequences", Wen et al. 2017, section
3.2), and the state can be carried on when a new observation comes.
"""

from __future__ import annotations

from torch import Tensor

from throughtime.forecasting.architectures.architecture import (
    Ahead,
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


class Synced(Architecture):
    """From x [B, L, I] to parameters [B, L, M h, P], a forecast at every step; see the module."""

    def __init__(self, sizes: Sizes, recurrence: Recurrence, head: HeadOf, h: int) -> None:
        super().__init__(sizes, recurrence, head, h)
        size, M = recurrence.output_size, sizes.targets
        self.head = head(size, M if sizes.futr else M * h)
        self.layer = recurrence.build(self.input_size)
        self.ahead = Ahead(size, sizes.futr, h) if sizes.futr else None

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read the context, say what follows each of its steps."""
        L = window.L
        h = window.z.shape[-1] - L
        r = window.beyond(base, L, h).transpose(-2, -3).flatten(-2)
        ahead = window.futr[..., 1:].unfold(-1, h, 1).movedim(-3, -1)  # [..., L, h, F]
        return window.inputs(sizes, window.steps(sizes, 0, L), ahead), r

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map x [B, L, I] and what is beside it, [B, L, h, F] known ahead, to parameters."""
        given = Beside(*beside)
        s, _ = self.layer(self.read(x, given.numbers, given.codes))
        return resized(self.head, self.answer(s, given.ahead), given.size, self.h)
