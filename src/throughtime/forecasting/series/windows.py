"""Training examples: every window of every series, by index arithmetic on one buffer.

    origin p of series i      the step at which a forecast is made, p = 1 ... lengths[i]
    context                   the L steps before it, p - L ... p - 1     (L = `context_length`)
    target                    the h steps from it on, p ... p + h - 1

What lies before a series begins or after it ends is NaN. The origins of a series are a range:

    L ... n - h                  in a series of n >= 2 L + h steps
    max(1, n - h - L) ... n - h  in a shorter one, whose contexts may begin before it does
    1 ... n - 1                  in one of n <= h steps, whose targets end after it does

so that windows are numbered without a list of them: they take no memory, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import DataError
from throughtime.forecasting.series.panel import Panel

Ints = npt.NDArray[np.int64]


class Windows:
    """The windows of a panel, to be indexed by a tensor of their numbers.

    Windows are ordered by series, then time. Raises `DataError` if there is none.

    >>> from throughtime.forecasting import read_frame
    >>> windows = Windows(read_frame(np.arange(6.0)), context_length=3, h=2)
    >>> context, target = windows[torch.tensor([2, 3])]  # [..., targets M, L], [..., M, h]
    >>> context.tolist(), target.tolist()
    ([[[0.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]]], [[[3.0, 4.0]], [[4.0, 5.0]]])
    >>> windows.newest().tolist()
    [[[3.0, 4.0, 5.0]]]
    """

    def __init__(self, panel: Panel, context_length: int, h: int) -> None:
        self.context_length = positive_int("context_length", context_length)
        self.h = positive_int("h", h)
        self.panel = panel
        self._values = [torch.from_numpy(channel) for channel in panel.values]
        self._begins, self._lengths = map(torch.from_numpy, (panel.begins, panel.lengths))
        self._ends = self._lengths + torch.from_numpy(panel.room)  # of what is known ahead
        whole = panel.lengths - np.where(panel.lengths > h, h, 1)
        self._take_origins(*self._origins(panel.lengths, whole))
        if len(self) == 0:
            raise DataError(
                "a series of at least 2 steps",
                f"at most {panel.lengths.max()} steps",
                "pass longer series",
            )

    def __len__(self) -> int:
        return int(self._before[-1])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return contexts [..., M, L] and targets [..., M, h] of the windows `index` [...]."""
        rows = self.gather(range(len(self.panel.targets)), *self.places(index))
        return rows[..., : self.context_length], rows[..., self.context_length :]

    def with_context(self, context_length: int) -> Windows:
        """Return the same windows with contexts of another length."""
        other = copy(self)
        other.context_length = context_length
        return other

    def places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return series and origin [...] of the windows numbered `index` [...]."""
        series = torch.searchsorted(self._before, index, right=True) - 1
        return series, self._first[series] + index - self._before[series]

    def newest_places(self) -> tuple[Tensor, Tensor]:
        """Return every series and its end, [S] each: where the next forecast is made."""
        return torch.arange(len(self._lengths)), self._lengths

    def newest_complete(self, n: int) -> Tensor:
        """Return the numbers of (at most) the last n windows of every series.

        >>> from throughtime.forecasting import read_frame
        >>> Windows(read_frame(np.arange(6.0)), context_length=2, h=1).newest_complete(2)
        tensor([2, 3])
        """
        back = self._before[1:, None] - torch.arange(n, 0, -1)
        return back[back >= self._before[:-1, None]]

    def gather(
        self,
        channels: Sequence[int],
        series: Tensor,
        origin: Tensor,
        ahead: int | None = None,
        before: int = 0,
    ) -> Tensor:
        """Return contexts with the `ahead` (h) steps after them, [..., channels, L + ahead].

        And with so many steps `before` them.

        Targets and past covariates end with their series, the rest where its values do.
        """
        ahead = self.h if ahead is None else ahead
        known_ahead = len(self.panel.targets) + len(self.panel.hist)
        back = self.context_length + before
        made = []
        for c in channels:
            ends = self._lengths if c < known_ahead else self._ends
            span = _Span(self._begins[series], ends[series], origin - back, back + ahead)
            made.append(span.of(self._values[c]))
        return made[0].unsqueeze(-2) if len(made) == 1 else torch.stack(made, dim=-2)

    def newest(self) -> Tensor:
        """Return the last L values of every target of every series, [S, M, L]."""
        return self.gather(range(len(self.panel.targets)), *self.newest_places(), ahead=0)

    def split(self, n_validation: int) -> tuple[Windows, Windows]:
        """Return training and validation windows, which share this buffer.

        The last `n_validation` windows of each series validate. Training windows end where the
        targets of these begin, so that no target value is in both. A series that would have no
        training window left trains with all it has and validates with none; so validation may be
        empty.
        """
        positive_int("n_validation", n_validation)
        n = self.panel.lengths
        boundary = np.maximum(n - self.h - n_validation + 1, 0)
        first, last = self._origins(boundary, boundary - self.h)
        splits = last >= first
        every_first = self._first.numpy()
        every_last = every_first + np.diff(self._before.numpy()) - 1
        train, validation = copy(self), copy(self)
        train._take_origins(
            np.where(splits, first, every_first), np.where(splits, last, every_last)
        )
        validation._take_origins(
            np.maximum(every_first, boundary), np.where(splits, every_last, -1)
        )
        return train, validation

    def _origins(self, ends: Ints, last: Ints) -> tuple[Ints, Ints]:
        """Return the first origin of each series, if it ended at `ends`, beside its last."""
        return np.clip(ends - self.h - self.context_length, 1, self.context_length), last

    def _take_origins(self, first: Ints, last: Ints) -> None:
        counts = np.maximum(last - first + 1, 0)
        self._first = torch.from_numpy(first)
        self._before = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))


class _Span(NamedTuple):
    """The `width` steps from `first` [...] on of series that lie in a buffer from `begin` on.

    They may reach to before its first step, and beyond its `end`.
    """

    begin: Tensor
    end: Tensor
    first: Tensor
    width: int

    def of(self, values: Tensor) -> Tensor:
        """Return the values [..., width] there, NaN where the series has none."""
        begin, end, first = (each.flatten() for each in self[:3])
        place, steps, last = begin + first, torch.arange(self.width), len(values) - self.width
        if last < 0:
            rows = values.new_empty(len(first), self.width)
        else:  # whole rows are copied many times as fast as single values
            rows = values.unfold(0, self.width, 1).index_select(0, place.clamp(0, last))
        across = ((place < 0) | (place > last)).nonzero()[:, 0]  # an end of the buffer
        if len(across):
            rows[across] = values[(place[across, None] + steps).clamp_(0, len(values) - 1)]
        apart = ((first < 0) | (first + self.width > end)).nonzero()[:, 0]
        if len(apart):
            position = first[apart, None] + steps
            inside = (position >= 0) & (position < end[apart, None])
            rows[apart] = rows[apart].where(inside, torch.nan)
        return rows.reshape(*self.first.shape, self.width)


def spread(n: int, most: int) -> Tensor:
    """Return (at most) so many of the numbers below n, spread evenly.

    >>> spread(5, 3)
    tensor([0, 2, 4])
    """
    return torch.from_numpy(np.unique(np.linspace(0, n - 1, min(most, n)).astype(np.int64)))
