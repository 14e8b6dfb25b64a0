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

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.panel import Panel
from throughtime.forecasting.transforms import Scale, Transform, mean_and_deviation
from throughtime.forecasting.windows import Windows

Floats = npt.NDArray[np.float64]
Residual = Literal["level", "last", "season"]
RESIDUALS: tuple[Residual, ...] = get_args(Residual)


@dataclass(frozen=True, eq=False)
class SpreadExamples:
    """Examples for an ensemble whose members see the panel on different scales.

    Member e learns from `parts[e mod K]`: `examples[index [E, B]] -> (z [E, B, L, 1], r [E, B, h])`.
    The parts hold the same windows in the same order.
    """

    parts: tuple[ScaledWindows, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        K = len(self.parts)
        pairs = [self.parts[e % K][row] for e, row in enumerate(index)]
        z, r = zip(*pairs, strict=True)
        return torch.stack(z), torch.stack(r)

    def split(self, n_validation: int) -> tuple[SpreadExamples, SpreadExamples]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = zip(*(part.split(n_validation) for part in self.parts), strict=True)
        return SpreadExamples(train), SpreadExamples(validation)


@dataclass(frozen=True, eq=False)
class ScaledWindows:
    """The windows of a panel as examples, `examples[index] -> (z [..., L, 1], r [..., h])`.

    `means` and `deviations` [S] are the moments of every series.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.transforms import Identity
    >>> panel = read_frame([0.0, 2.0, 0.0, 2.0, 0.0, 2.0])
    >>> examples = ScaledWindows.of(panel, Identity(), context_length=2, h=1)
    >>> z, r = examples[torch.tensor([0])]
    >>> z.flatten().tolist(), r.tolist()
    ([-1.0, 1.0], [[-1.0]])
    """

    windows: Windows
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
        u = transform.forward(panel.y)
        windows = Windows(u, panel.offsets, context_length, h)
        means, deviations = (torch.from_numpy(m).float() for m in moments(u, panel.offsets))
        return cls(windows, means, deviations, residual, season_length)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        context, target = self.windows[index]
        z, scale = self._scaled(context, self.windows.series[index])
        return z.unsqueeze(-1), scale.apply(target) - self.base(z)

    def newest(self) -> tuple[Tensor, Scale]:
        """Return the input z [S, L, 1] at the end of every series, and its scale."""
        z, scale = self._scaled(self.windows.newest(), torch.arange(len(self.means)))
        return z.unsqueeze(-1), scale

    def series_scale(self) -> Scale:
        """Return the scale of every series by its own moments, [S, 1]."""
        deviations = torch.where(self.deviations > 0, self.deviations, 1.0)
        return Scale(self.means.unsqueeze(-1), deviations.unsqueeze(-1))

    def split(self, n_validation: int) -> tuple[ScaledWindows, ScaledWindows]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = self.windows.split(n_validation)
        return replace(self, windows=train), replace(self, windows=validation)

    def base(self, z: Tensor) -> Tensor:
        """Return the naive forecast [..., h] that belongs to the inputs z [..., L]."""
        h, m, L = self.windows.h, self.season_length, z.shape[-1]
        if self.residual == "level":
            return z.new_zeros(*z.shape[:-1], h)
        if self.residual == "last":
            return z[..., -1:].expand(*z.shape[:-1], h)
        return z[..., L - m + torch.arange(h) % m]

    def _scaled(self, context: Tensor, series: Tensor) -> tuple[Tensor, Scale]:
        context = carry_on(context)
        own = mean_and_deviation(context)
        mean, deviation = self.means[series].unsqueeze(-1), self.deviations[series].unsqueeze(-1)
        whole = Scale(mean, torch.where(deviation > 0, deviation, own.size))
        share = torch.where(context.isnan().all(dim=-1, keepdim=True), 0.0, 0.5)
        scale = Scale(
            torch.lerp(whole.location, own.location, share),
            torch.lerp(whole.size, own.size, share),
        )
        return scale.apply(context).nan_to_num(0.0), scale


def moments(u: Floats, offsets: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return mean and standard deviation [S] of the observed values of every series.

    >>> moments(np.array([0.0, 2.0, np.nan, 5.0]), np.array([0, 3, 4]))
    (array([1., 5.]), array([1., 0.]))
    """
    S = len(offsets) - 1
    owner = np.repeat(np.arange(S), np.diff(offsets))
    observed = ~np.isnan(u)
    count = np.maximum(np.bincount(owner, observed, S), 1)
    means = np.bincount(owner, np.where(observed, u, 0.0), S) / count
    squares = np.where(observed, u - means[owner], 0.0) ** 2
    return means, np.sqrt(np.bincount(owner, squares, S) / count)


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
    errors = {
        residual: replace(examples, residual=residual)[index][1].abs().nanmean().item()
        for residual in candidates
    }
    return min(candidates, key=errors.__getitem__)
