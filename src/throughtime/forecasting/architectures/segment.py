"""A recurrence over segments, and from its newest state one more step for each segment ahead.

    e_i = relu(W x_i + b)                    x_i the i-th w steps side by side, i = 1 ... n = L / w
    s_i = f(e_i, s_{i-1})                    s_0 = 0
    u_j = f([p_j, c] + V a_j, s_n)           j = 1 ... m = ceil(h / w), side by side
    y_{L+(j-1)w+1} ... y_{L+jw} = head(dropout(u_j))

p_j is learned for every position j, c for every series (the paper's channel) where a panel has 2 to 64
of them, 0 for one that was not fitted; for other panels p_j is as wide as both. a_j is what is known
ahead of the w steps of segment j, 0 beyond h, and what is said beyond h is left out. f is any of the
recurrences, the same for the context and beyond. Its steps ahead do not wait for each other, so that
no error is fed back and a horizon takes the time of one step.

Lin, Lin, Wu, Zhao, Mo and Zhang (2023), "SegRNN: segment recurrent neural network for long-term time
series forecasting", sections 4.1 and 4.2. There targets are read one at a time, here side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.forecasting.architectures.architecture import Beside, HeadOf, copies
from throughtime.forecasting.architectures.at_once import AtOnce, Skips, linear_skip_of
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence
from throughtime.nn.recurrence import newest

MOST_SERIES = 64  # that are told apart


class Segment(AtOnce):
    """From x [B, L, I] to parameters [B, M h, P]; see the module."""

    def __init__(
        self,
        sizes: Sizes,
        recurrence: Recurrence,
        head: HeadOf,
        h: int,
        segment: int = 1,
        skips: Skips = (0, 0),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(sizes, recurrence, head, h, segment)
        d, m = recurrence.hidden_size, -(-h // segment)
        of_series = d // 2 if sizes.series else 0  # features of c
        self.W = nn.Linear(self.segment_size, d)
        self.layer = recurrence.build(d)
        self.p = nn.Parameter(torch.randn(m, d - of_series))
        self.c = nn.Parameter(torch.randn(sizes.series, of_series)) if of_series else None
        self.V = nn.Linear(segment * sizes.futr, d, bias=False) if sizes.futr else None
        self.dropout = nn.Dropout(dropout)
        self.head = head(recurrence.output_size, sizes.targets * segment)
        self.skip = linear_skip_of(skips, h, recurrence.output_size)

    @classmethod
    def tells_apart(cls, n_series: int) -> bool:
        """Say whether series are few enough: with more, each says too little of itself."""
        return 1 < n_series <= MOST_SERIES

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map x [B, L, I] and what is beside it, [B, h, F] known ahead, to parameters."""
        given, B, M, m = Beside(*beside), len(x), self.sizes.targets, len(self.p)
        x_i = self.segments(x, given)
        # Linear maps read 2-D: an ensemble copies no weights.
        e = torch.relu(self.W(x_i.flatten(0, 1))).reshape(B, x_i.shape[1], -1)
        _, s_n = self.layer(e)
        u, _ = self.layer(self._asked(given, B).flatten(0, 1)[:, None], copies(s_n, m))
        said = self.head(self.dropout(u[:, 0]))  # [m B, M w, P]
        y = said.reshape(m, B, M, self.segment, -1).permute(1, 2, 0, 3, 4)
        params = self.undone(y.flatten(2, 3)[:, :, : self.h].flatten(1, 2))
        return self.moved(params, x, newest(self.layer, s_n), given.size)

    def _asked(self, given: Beside, B: int) -> Tensor:
        """Return [p_j, c] + V a_j, [m, B, d]."""
        m = len(self.p)
        asked = self.p[:, None].expand(-1, B, -1)
        if self.c is not None and given.codes is not None:
            c_0 = nn.functional.pad(self.c, (0, 0, 1, 0))  # of a series that was not fitted
            c = nn.functional.embedding(given.codes[:, -1], c_0)
            asked = torch.cat([asked, c.expand(m, -1, -1)], dim=-1)
        if self.V is not None and given.ahead is not None:
            beyond = m * self.segment - self.h
            a = nn.functional.pad(given.ahead, (0, 0, 0, beyond)).reshape(B * m, -1)
            asked = asked + self.V(a).reshape(B, m, -1).transpose(0, 1)
        return asked
