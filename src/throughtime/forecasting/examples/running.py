"""A scale that moves on with its series, so that nets which read it can be carried on.

Of the observed values u_1 ... u_t of a transformed series, with d_i = u_i - u_1,

    n_t = count        A_t = Σ d_i        B_t = Σ d_i²
    m_t = u_1 + A_t / n_t                 s_t = sqrt(B_t / n_t - (A_t / n_t)²)
    z_t = (u_t - m_t) / s_t               what a net reads at t
    r_{t,k} = (u_{t+k} - b_{t,k}) / s_t   what it learns to say there: base b in units of u

Nothing after t is in them, and three numbers a series carry them on. Since d_1 = 0 is one of the
values, (A/n)² is at most n times the variance, which therefore loses at most n rounding errors.
A size that is 0 is |m_t|, or 1; of fewer than 8 values it is at least a tenth of |m_t|.

Sums kept every 64 steps of a row, about 0.4 bytes a value, give those at any step of a window by
adding what lies between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.architectures.architecture import Window
from throughtime.forecasting.examples.scaled import ScaledWindows
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.preprocessing.scaling import Scale, carry_on
from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.series.panel import Panel

Floats = npt.NDArray[np.float64]

EVERY = 64  # steps between two sums that are kept
FEW = 8  # values, of which the deviation says little


def location_and_size(shift: Any, n: Any, A: Any, B: Any) -> tuple[Floats, Floats]:
    """Return m and s from the first value and the sums after it.

    >>> location_and_size(np.array([3.0]), np.array([8.0]), np.array([8.0]), np.array([16.0]))
    (array([4.]), array([1.]))
    """
    count = np.maximum(n, 1)
    mean = A / count
    location = shift + mean
    size = np.sqrt(np.maximum(B / count - mean * mean, 0.0))
    least = np.abs(location)
    size = np.where(n < FEW, np.maximum(size, 0.1 * least), size)
    flat = size <= 1e-12 * least
    size = np.where(flat, np.where(least > 0, least, 1.0), size)
    return location, size


def of_one(shift: float, n: float, A: float, B: float) -> tuple[float, float]:
    """Return `location_and_size` of single numbers: the same operations, and so the same bits."""
    count = max(n, 1.0)
    mean = A / count
    location = shift + mean
    size = math.sqrt(max(B / count - mean * mean, 0.0))
    least = abs(location)
    if n < FEW:
        size = max(size, 0.1 * least)
    if size <= 1e-12 * least:
        size = least if least > 0 else 1.0
    return location, size


@dataclass(frozen=True, eq=False)
class Sums:
    """`shift` [rows], the first value of each; (n, A, B) [3, blocks] before every 64th step.

    Those of row r begin at `first[r]`.
    """

    shift: Floats
    before: Floats
    first: npt.NDArray[np.int64]

    @classmethod
    def of(cls, panel: Panel, transform: Transform) -> Sums:
        """Add up the transformed values of every row.

        >>> from throughtime.forecasting import read_frame
        >>> from throughtime.forecasting.preprocessing.transforms import Identity
        >>> Sums.of(read_frame(np.arange(65.0)), Identity()).before[:, 1]
        array([6.4000e+01, 2.0160e+03, 8.5344e+04])
        """
        blocks = -(-panel.row_lengths // EVERY)
        first = np.concatenate([[0], np.cumsum(blocks)])
        sums = np.zeros((3, int(first[-1])))
        shift, done = np.full(len(panel), np.nan), np.zeros(len(panel), dtype=np.int64)
        for rows, y, offsets in panel.pieces():
            u = transform.forward(y.astype(np.float64, copy=False))
            observed, of_row = ~np.isnan(u), np.repeat(np.arange(len(rows)), np.diff(offsets))
            place = np.flatnonzero(observed)
            at = np.searchsorted(place, offsets)
            new = np.isnan(shift[rows]) & (at[1:] > at[:-1])
            shift[rows[new]] = u[place[at[:-1][new]]]
            d = np.where(observed, u - shift[rows][of_row], 0.0)
            n_blocks = -(-np.diff(offsets) // EVERY)
            inside = np.arange(n_blocks.sum()) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
            starts = np.repeat(offsets[:-1], n_blocks) + EVERY * inside
            to = np.repeat(first[rows] + done[rows], n_blocks) + inside
            for each, sum_of in zip((observed, d, d * d), sums, strict=True):
                sum_of[to] = np.add.reduceat(each, starts, dtype=np.float64)
            done[rows] += n_blocks
        for r in np.flatnonzero(blocks > 1):
            part = sums[:, first[r] : first[r + 1]]
            part[:, 1:] = np.cumsum(part[:, :-1], axis=1)
        sums[:, first[:-1][blocks > 0]] = 0.0
        if panel.memory is not None:
            shift, start = panel.memory.sums_before(panel, transform)
            sums += np.repeat(start, blocks, axis=1)
        return cls(np.nan_to_num(shift), sums, first[:-1])


@dataclass(frozen=True, eq=False, kw_only=True)
class RunningWindow(Window):
    """Windows whose scale moves on from step to step, `location` and `sizes` [..., M, L + h].

    `truth` and `u` are not scaled: transformed values, NaN in the gaps of the first.
    """

    u: Tensor
    location: Tensor
    sizes: Tensor

    def values(self, scale: Scale) -> Tensor:
        """Return the transformed values of the context, [..., M, L]."""
        return self.u[..., : self.L].float().nan_to_num(0.0)

    def beyond(self, base: Base, T: int, h: int) -> Tensor:
        """Return what the h steps after each of the first T add to the naive forecast."""
        following = self.truth[..., 1 : T + h].unfold(-1, h, 1)
        naive = _naive(base, self.location[..., :T], base.at_each(self.u[..., :T], h))
        return ((following - naive) / self.sizes[..., :T, None]).float()

    def naive(self, base: Base, h: int) -> Tensor:
        """Return the naive forecast [..., M, h] from the end of the context, on its newest scale."""
        L = self.L
        made = base.ahead(self.u[..., :L], h)
        location, size = self.location[..., L - 1 : L], self.sizes[..., L - 1 : L]
        return (_naive(base, location[..., 0], made) - location) / size


def _naive(base: Base, location: Tensor, made: Tensor) -> Tensor:
    return location[..., None].expand_as(made) if base.residual == "level" else made


@dataclass(frozen=True, eq=False)
class RunningWindows(ScaledWindows):
    """The windows of a panel on this scale, for architectures that read step by step."""

    @property
    def sums(self) -> Sums:
        """The sums that the scales are made of, added up when first asked for."""
        made = self.__dict__.get("_sums")
        if made is None:
            made = Sums.of(self.windows.panel, self.transform)
            object.__setattr__(self, "_sums", made)
        return made

    def window(self, series: Tensor, origin: Tensor, ahead: int) -> tuple[Window, Scale]:
        """Return contexts with the `ahead` steps after them, and their newest scale [..., M, 1]."""
        L, M = self.windows.context_length, len(self.windows.panel.targets)
        longer = self.windows.with_context(L + EVERY)
        u = self.transform.forward(longer.gather(range(M), series, origin, ahead).double())
        location, size = self._scales(u, series, origin)
        carried, truth = carry_on(u)[..., EVERY:], u[..., EVERY:]
        z = ((carried - location) / size).float().nan_to_num(0.0)
        hist, futr = self.channels.covariates(self.windows, series, origin, ahead)
        static = self.channels.static(self.windows.panel.static, series)
        parts = (L, z, truth, hist, futr, *static)
        window = RunningWindow(*parts, u=carried, location=location, sizes=size)
        return window, Scale(location[..., L - 1 : L], size[..., L - 1 : L])

    def newest(self, series: Tensor | None = None, ahead: int = 0) -> tuple[Window, Scale]:
        """Return the windows at the end of (some of the) series, on the newest scale."""
        panel, L = self.windows.panel, self.windows.context_length
        if panel.memory is None:
            return super().newest(series, ahead)
        every, ends = self.windows.newest_places()
        chosen = every if series is None else series
        u = self.windows.gather(range(len(panel.targets)), chosen, ends[chosen], ahead).double()
        truth = self.transform.forward(u)
        made = location_and_size(*panel.memory.sums(self.transform.name))
        location, size = (torch.from_numpy(each)[chosen][..., None] for each in made)
        u = carry_on(truth)
        z = ((u - location) / size).float().nan_to_num(0.0)
        hist, futr = self.channels.covariates(self.windows, chosen, ends[chosen], ahead)
        static = self.channels.static(panel.static, chosen)
        parts = (L, z, truth, hist, futr, *static)
        window = RunningWindow(*parts, u=u, location=location.expand_as(u), sizes=size.expand_as(u))
        return window, Scale(location, size)

    def _scales(self, u: Tensor, series: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
        """Return location and size at every step of u [..., M, 64 + L + ahead] but the first 64."""
        L, M = self.windows.context_length, u.shape[-2]
        position = (origin[..., None] - L - EVERY + torch.arange(u.shape[-1])).numpy()
        begin = np.maximum(position[..., EVERY], 0) // EVERY
        after = position >= (begin * EVERY)[..., None]
        row = series.numpy()[..., None] * M + np.arange(M)  # [..., M]
        block = np.minimum(self.sums.first[row] + begin[..., None], self.sums.before.shape[1] - 1)
        shift = self.sums.shift[row][..., None]
        d = u.numpy() - shift
        counted = after[..., None, :] & ~np.isnan(d)
        d = np.where(counted, d, 0.0)
        n, A, B = (
            self.sums.before[i][block][..., None] + np.cumsum(each, axis=-1)
            for i, each in enumerate((counted, d, d * d))
        )
        made = location_and_size(shift, n, A, B)
        location, size = (torch.from_numpy(each[..., EVERY:]) for each in made)
        return location, size
