"""What the network learns from: windows on a common scale, less a naive forecast.

With u = f(y) the transformed series, C its window of L steps and T the h steps after it:

    z = (C - location) / size                            the network's input
    r = (T - location) / size - base(z)                  what it learns to say

    location = (mean(C) + mean of the series) / 2        size = (deviation of C + of the series) / 2

A window's own moments follow a level that drifts, those of its series are less noisy and keep the
level in sight; the scale is half of each. base is a naive forecast (`residual`), so that the
network begins where that stands:

    level     0                                          the location
    last      z_L                                        the last value
    season    z_{L + k - m ceil(k / m)}, k = 1..h        the last season, of m steps

Gaps in a window carry the last observed value on; what lies before a series begins is 0. A window
without a value has the scale of its series. Gaps in a target are left out of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.panel import Panel
from throughtime.forecasting.transforms import Scale, Transform, mean_and_deviation
from throughtime.forecasting.windows import Windows

Floats = npt.NDArray[Any]
Residual = Literal["level", "last", "season"]
RESIDUALS: tuple[Residual, ...] = get_args(Residual)
_BLOCK = 2**9  # windows that are looked at together, where many are


@dataclass(frozen=True, eq=False)
class SpreadExamples:
    """Examples for an ensemble whose members see the panel on different scales.

    Member e learns from `parts[e mod K]`: `examples[index [E, B]] -> (x [E, B, L, I], r [E, B, M h])`.
    The parts hold the same windows in the same order.
    """

    parts: tuple[ScaledWindows, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        K = len(self.parts)
        pairs = [self.parts[e % K][row] for e, row in enumerate(index)]
        x, r = zip(*pairs, strict=True)
        return torch.stack(x), torch.stack(r)

    def split(self, n_validation: int) -> tuple[SpreadExamples, SpreadExamples]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = self.parts[0].windows.split(n_validation)
        return self._on(train), self._on(validation)

    def _on(self, windows: Windows) -> SpreadExamples:
        return SpreadExamples(tuple(replace(part, windows=windows) for part in self.parts))


@dataclass(frozen=True, eq=False)
class ScaledWindows:
    """The windows of a panel as examples, `examples[index] -> (x [..., L, M], r [..., M h])`.

    `means` and `deviations` [S, M, 1] are the moments of every row.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.transforms import Identity
    >>> panel = read_frame([0.0, 2.0, 0.0, 2.0, 0.0, 2.0])
    >>> examples = ScaledWindows.of(panel, Identity(), context_length=2, h=1)
    >>> x, r = examples[torch.tensor([0])]
    >>> x.flatten().tolist(), r.tolist()
    ([-1.0, 1.0], [[-1.0]])
    """

    windows: Windows
    transform: Transform
    means: Tensor
    deviations: Tensor
    residual: Residual = "level"
    season_length: int = 1

    @classmethod
    def of(
        cls,
        panel: Panel,
        transform: Transform,
        context_length: int,
        h: int,
        residual: Residual = "level",
        season_length: int = 1,
    ) -> ScaledWindows:
        """Cut and scale the windows of a panel; `DataError` where it has none."""
        windows = Windows(panel, context_length, h)
        means, deviations = (
            torch.from_numpy(m).float().reshape(len(panel.ids), -1, 1)
            for m in moments(panel, transform)
        )
        return cls(windows, transform, means, deviations, residual, season_length)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        context, target = map(self._transformed, self.windows[index])
        z, scale = self._scaled(context, self.windows.places(index)[0])
        return z.transpose(-1, -2), (scale.apply(target) - self.base(z)).flatten(-2)

    def newest(self) -> tuple[Tensor, Scale]:
        """Return the input x [S, L, M] at the end of every series, and its scale [S, M, 1]."""
        context = self._transformed(self.windows.newest())
        z, scale = self._scaled(context, self.windows.newest_places()[0])
        return z.transpose(-1, -2), scale

    def row_scale(self) -> Scale:
        """Return the scale of every row by its own moments, [S, M, 1]."""
        return Scale(self.means, torch.where(self.deviations > 0, self.deviations, 1.0))

    def split(self, n_validation: int) -> tuple[ScaledWindows, ScaledWindows]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = self.windows.split(n_validation)
        return replace(self, windows=train), replace(self, windows=validation)

    def base(self, z: Tensor) -> Tensor:
        """Return the naive forecast [..., h] that belongs to contexts z [..., L]."""
        h, m, L = self.windows.h, self.season_length, z.shape[-1]
        if self.residual == "level":
            return z.new_zeros(*z.shape[:-1], h)
        if self.residual == "last":
            return z[..., -1:].expand(*z.shape[:-1], h)
        return z[..., L - m + torch.arange(h) % m]

    def _transformed(self, y: Tensor) -> Tensor:
        return self.transform.forward(y.double()).float()

    def _scaled(self, context: Tensor, series: Tensor) -> tuple[Tensor, Scale]:
        context = carry_on(context)
        own = mean_and_deviation(context)
        mean, deviation = self.means[series], self.deviations[series]
        whole = Scale(mean, torch.where(deviation > 0, deviation, own.size))
        share = torch.where(context.isnan().all(dim=-1, keepdim=True), 0.0, 0.5)
        scale = Scale(
            torch.lerp(whole.location, own.location, share),
            torch.lerp(whole.size, own.size, share),
        )
        return scale.apply(context).nan_to_num(0.0), scale


def moments(panel: Panel, transform: Transform) -> tuple[Floats, Floats]:
    """Return mean and standard deviation [rows] of the transformed values of every row.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.transforms import Identity
    >>> moments(read_frame([0.0, 2.0, np.nan]), Identity())
    (array([1.]), array([1.]))
    """
    count = np.maximum(_sums(panel, lambda y, _: ~np.isnan(y)), 1)
    means = _sums(panel, lambda y, _: np.nan_to_num(transform.forward(y))) / count

    def square(y: Floats, rows: Floats) -> Floats:
        return np.nan_to_num((transform.forward(y) - means[rows]) ** 2)

    return means, np.sqrt(_sums(panel, square) / count)


def _sums(panel: Panel, of: Callable[[Floats, Floats], Floats]) -> Floats:
    """Return the sum [rows] of `of(values, rows)` over each row."""
    total = np.zeros(len(panel))
    for rows, y, offsets in panel.pieces():
        each = of(y.astype(np.float64, copy=False), np.repeat(rows, np.diff(offsets)))
        total[rows] += np.add.reduceat(each, offsets[:-1], dtype=np.float64)
    return total


def carry_on(context: Tensor) -> Tensor:
    """Return windows [..., L] in which a gap repeats the value before it.

    >>> carry_on(torch.tensor([float("nan"), 1.0, float("nan"), 3.0]))
    tensor([nan, 1., 1., 3.])
    """
    position = torch.arange(context.shape[-1])
    latest = torch.where(context.isnan(), 0, position).cummax(dim=-1).values
    return context.gather(-1, latest)


def choose_residual(examples: ScaledWindows, calendar_season: bool) -> Residual:
    """Return the naive forecast that errs least over (at most 10,000 of) the windows.

    The season is among them only where it is the calendar's: a cycle that was found in the data
    keeps no calendar, and last time's is soon out of step.
    """
    n = len(examples)
    index = torch.from_numpy(np.unique(np.linspace(0, n - 1, 10_000).astype(np.int64)))
    candidates = RESIDUALS if calendar_season else RESIDUALS[:2]

    def error(residual: Residual) -> float:
        by_it = replace(examples, residual=residual)
        r = torch.cat([by_it[some][1] for some in torch.split(index, _BLOCK)])
        return r.abs().nanmean().item()

    return min(candidates, key=error)
