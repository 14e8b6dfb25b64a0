"""A second net writes the steps one after the other, from the newest state of the first.

    s_t = f(x_t, s_{t-1})                          t = 1 ... L
    w_0 = s_L,  w_k = g([y_{k-1}, a_{L+k}], w_{k-1}),  y_k = head(w_k)     y_0 = 0, a known ahead

f and g have the same form and their own weights; g is fed the point of what it said. In training it
may be fed the target in its place (teacher forcing, `training.Forcing`). Sutskever, Vinyals and Le
(2014), "Sequence to sequence learning with neural networks".
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.forecasting.architectures.architecture import (
    Architecture,
    Beside,
    HeadOf,
    Inputs,
    Window,
    by_row,
    resized,
)
from throughtime.forecasting.architectures.at_once import AtOnce
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence


class Seq2Seq(Architecture):
    """From x [B, L, I] to parameters [B, M h, P]; see the module."""

    def __init__(self, sizes: Sizes, recurrence: Recurrence, head: HeadOf, h: int) -> None:
        super().__init__(sizes, recurrence, head, h)
        self.head = head(recurrence.output_size, sizes.targets)
        self.layer = recurrence.build(self.input_size)
        self.decoder = recurrence.build(self.head.feedback_size + sizes.futr)

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read the context, say the target."""
        return AtOnce.lay_out(window, sizes, base)

    def forward(
        self,
        x: Tensor,
        *beside: Tensor,
        targets: Tensor | None = None,
        forcing: float = 0.0,
    ) -> Tensor:
        """Map x [B, L, I] and what is beside it, [B, h, F] known ahead, to parameters.

        With `targets` [B, M h], each row and step is fed the target with probability `forcing`.
        """
        ahead, numbers, codes, size = Beside(*beside)
        _, state = self.layer(self.read(x, numbers, codes))
        a = x.new_zeros(len(x), self.h, 0) if ahead is None else ahead
        known = None
        if targets is not None and forcing > 0:
            y_k = targets.reshape(len(x), -1, self.h)  # [B, M, h]
            known = self.head.feedback((y_k if size is None else y_k / size).mT)
        y = x.new_zeros(len(x), self.head.feedback_size)
        written = []
        for k in range(self.h):
            w, state = self.decoder(torch.cat([y, a[:, k]], dim=-1)[:, None], state)
            written.append(self.say(w[:, 0]))
            y = self.head.feedback(self.head.point(written[-1]))
            if known is not None:
                forced = torch.rand_like(y[:, :1]) < forcing
                y = torch.where(forced, known[:, k], y)
        return resized(self.head, by_row(torch.stack(written, dim=1)), size, self.h)
