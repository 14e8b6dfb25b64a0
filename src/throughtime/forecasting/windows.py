"""Training examples: every window of every series, as views of one tensor.

buffer     NaN x L | series 0 | NaN x L | series 1 | ...      (L = `context_length`)
window     L + h neighbours in it: the context, then the target

Row w of `buffer.unfold(0, L + h, 1)` is the window that begins at w, without a copy; a batch
copies its own rows only. The padding lets a short series have windows, and no target is padding.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import DataError

Ints = npt.NDArray[np.int64]


class Windows:
    """The windows of a panel of series, to be indexed by a tensor of their numbers.

    `y` [N] holds the series one after the other (NaN where nothing was observed), series i in
    `y[offsets[i]:offsets[i + 1]]`. Windows are ordered by series, then time. A window counts if it
    has at least `min_observed` observed values in its context and one in its target. Its context
    lies inside its series, except in a series shorter than `context_length + h`: there it may
    begin in the padding.

    Raises `DataError` if there is no such window.

    >>> windows = Windows(np.arange(6.0), np.array([0, 6]), context_length=3, h=2)
    >>> context, target = windows[torch.tensor([0, 1])]
    >>> context.tolist(), target.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    >>> windows.newest().tolist()
    [[3.0, 4.0, 5.0]]
    """

    def __init__(
        self,
        y: npt.NDArray[np.float64],
        offsets: Ints,
        context_length: int,
        h: int,
        *,
        min_observed: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.context_length = positive_int("context_length", context_length)
        self.h = positive_int("h", h)
        self._min_observed = positive_int("min_observed", min_observed)
        self._offsets = np.asarray(offsets, dtype=np.int64)
        self._lengths = np.diff(self._offsets)
        self._series = np.repeat(np.arange(len(self._lengths)), self._lengths)
        self._observed_before = np.concatenate([[0], np.cumsum(~np.isnan(y))])

        padding = self.context_length * (self._series + 1)
        size = len(y) + self.context_length * len(self._lengths)
        self.buffer = torch.full((size,), float("nan"), dtype=dtype)
        self.buffer[torch.from_numpy(np.arange(len(y)) + padding)] = torch.as_tensor(y, dtype=dtype)
        self.starts = self._starting(self._candidates(self._lengths))
        if len(self) == 0:
            raise DataError(
                f"a series of at least {h + 1} steps with values, for a horizon of {h}",
                f"at most {self._lengths.max()} steps",
                "ask for a shorter horizon, or pass longer series",
            )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return contexts [..., L] and targets [..., h] of the windows numbered `index` [...]."""
        rows = self.buffer.unfold(0, self.context_length + self.h, 1)[self.starts[index]]
        return rows[..., : self.context_length], rows[..., self.context_length :]

    @property
    def series(self) -> Tensor:
        """The number of the series that each window comes from."""
        ends = self._offsets[1:] + self.context_length * np.arange(1, len(self._offsets))
        return torch.searchsorted(
            torch.from_numpy(ends), self.starts + self.context_length, right=True
        )

    def newest(self) -> Tensor:
        """Return the last L values of every series, [S, L], padded on the left where shorter."""
        ends = self._offsets[1:] + self.context_length * np.arange(len(self._lengths))
        return self.buffer.unfold(0, self.context_length, 1)[torch.from_numpy(ends)]

    def split(self, n_validation: int) -> tuple[Windows, Windows]:
        """Return training and validation windows, which share this buffer.

        The last `n_validation` windows of each series validate. Training windows end where the
        targets of these begin, so that no target value is in both. A series that would have no
        training window left trains with all it has and validates with none; so validation may be
        empty.
        """
        positive_int("n_validation", n_validation)
        first = np.maximum(self._lengths - self.h - n_validation + 1, 0)
        train = self._candidates(first)
        splits = np.bincount(self._series[train], minlength=len(first)) > 0
        train |= self._candidates(self._lengths) & ~splits[self._series]
        validation = self._candidates(self._lengths) & splits[self._series]
        validation &= self._position() >= first[self._series]
        return self._taking(train), self._taking(validation)

    def _taking(self, targets: npt.NDArray[np.bool_]) -> Windows:
        taken = copy(self)
        taken.starts = self._starting(targets)
        return taken

    def _starting(self, targets: npt.NDArray[np.bool_]) -> Tensor:
        """Return where in the buffer the windows begin whose targets begin at the marked places."""
        place = np.flatnonzero(targets)
        return torch.from_numpy(place + self.context_length * self._series[place])

    def _position(self) -> Ints:
        return np.asarray(np.arange(len(self._series)) - self._offsets[:-1][self._series])

    def _candidates(self, ends: Ints) -> npt.NDArray[np.bool_]:
        """Mark the places [N] of `y` where a target may begin that ends by step `ends` [S]."""
        place, position, n = np.arange(len(self._series)), self._position(), self._offsets[-1]
        earliest = np.where(ends >= self.context_length + self.h, self.context_length, 1)
        inside = (position >= earliest[self._series]) & (position + self.h <= ends[self._series])
        before = self._observed_before
        oldest = np.maximum(place - self.context_length, self._offsets[:-1][self._series])
        in_context = before[place] - before[oldest]
        in_target = before[np.minimum(place + self.h, n)] - before[place]
        return np.asarray(inside & (in_context >= self._min_observed) & (in_target > 0))
