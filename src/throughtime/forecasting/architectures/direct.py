"""All h steps at once, from the newest state.

    s_t = f(x_t, s_{t-1})                 t = 1 ... L, or by segments of w steps (`at_once.py`)
    y_{L+1} ... y_{L+h} = head(s_L)       without anything known ahead
    y_{L+k} = head(relu(W_k s_L + V a_{L+k} + c))     with a known ahead

s_L has seen every observation: heads that read an older state cannot see the last ones. The second
form is the multi-horizon decoder of Wen, Torkkola, Narayanaswamy and Madeka (2017), "A multi-horizon
quantile recurrent forecaster", with its context and its step in one layer.
"""

from __future__ import annotations

from torch import Tensor

from throughtime.forecasting.architectures.architecture import Ahead, Beside, HeadOf
from throughtime.forecasting.architectures.at_once import AtOnce, Skips, linear_skip_of
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence
from throughtime.nn.recurrence import newest


class Direct(AtOnce):
    """From x [B, L, I] to parameters [B, M h, P]; see the module."""

    def __init__(
        self,
        sizes: Sizes,
        recurrence: Recurrence,
        head: HeadOf,
        h: int,
        segment: int = 1,
        skips: Skips = (0, 0),
    ) -> None:
        super().__init__(sizes, recurrence, head, h, segment)
        size, M = recurrence.output_size, sizes.targets
        self.head = head(size, M if sizes.futr else M * h)
        self.layer = recurrence.build(self.segment_size)
        self.skip = linear_skip_of(skips, h, size)
        self.ahead = Ahead(size, sizes.futr, h) if sizes.futr else None

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map x [B, L, I] and what is beside it, [B, h, F] known ahead, to parameters."""
        given = Beside(*beside)
        _, state = self.layer(self.segments(x, given))
        s = newest(self.layer, state)
        return self.moved(self.answer(s, given.ahead), x, s, given.size)
