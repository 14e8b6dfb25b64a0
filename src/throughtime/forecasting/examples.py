"""What the network learns from: windows on a common scale, less a naive forecast.

With u = f(y) the transformed series, C its window of L steps and T the h steps after it:

    z = (C - location) / size                            the network's input
    r = (T - location) / size - base(z)                  what it learns to say

    location = (mean(C) + mean of the series) / 2        size = (deviation of C + of the series) / 2

A window's own moments follow a level that drifts, those of its series are less noisy and keep the
level in sight; the scale is half of each. base is a naive forecast (`residuals.py`), so that the
network begins where that stands. What of it all is input and what target is the decoder's to say
(`decoders/`).

Gaps in a window carry the last observed value on; what lies before a series begins is 0. A window
without a value has the scale of its series. Gaps in a target are left out of the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.channels import Channels
from throughtime.forecasting.decoders import Decoder
from throughtime.forecasting.decoders.decoder import Inputs, Window
from throughtime.forecasting.decoders.direct import Direct
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.residuals import RESIDUALS, Base, Residual
from throughtime.forecasting.transforms import Scale, Transform, mean_and_deviation
from throughtime.forecasting.windows import Windows

Floats = npt.NDArray[Any]
_BLOCK = 2**10  # windows that are looked at together, where many are


@dataclass(frozen=True, eq=False)
class SpreadExamples:
    """Examples for an ensemble whose members see the panel on different scales.

    Member e learns from `parts[e mod K]`: `examples[index [E, B]] -> (inputs [E, B, ...], r [E, B, ...])`.
    The parts hold the same windows in the same order.
    """

    parts: tuple[ScaledWindows, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: Tensor) -> tuple[Inputs, Tensor]:
        K = len(self.parts)
        inputs, r = zip(*(self.parts[e % K][row] for e, row in enumerate(index)), strict=True)
        return stacked(inputs), torch.stack(r)

    def split(self, n_validation: int) -> tuple[SpreadExamples, SpreadExamples]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = zip(*(part.split(n_validation) for part in self.parts), strict=True)
        return SpreadExamples(train), SpreadExamples(validation)


@dataclass(frozen=True, eq=False)
class ScaledWindows:
    """The windows of a panel as examples of a decoder, `examples[index] -> (inputs, r)`.

    `means` and `deviations` [S, M, 1] are the moments of every row.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.transforms import Identity
    >>> panel = read_frame([0.0, 2.0, 0.0, 2.0, 0.0, 2.0])
    >>> examples = ScaledWindows.of(panel, Identity(), context_length=2, h=1)
    >>> x, r = examples[torch.tensor([0])]  # [..., L, I], [..., M h]
    >>> x.flatten().tolist(), r.tolist()
    ([-1.0, 1.0], [[-1.0]])
    """

    windows: Windows
    transform: Transform
    means: Tensor
    deviations: Tensor
    channels: Channels
    base: Base = Base()
    decoder: type[Decoder] = Direct

    @classmethod
    def of(
        cls,
        panel: Panel,
        transform: Transform,
        context_length: int,
        h: int,
        base: Base = Base(),  # noqa: B008  (frozen)
        decoder: type[Decoder] = Direct,
        channels: Channels | None = None,
    ) -> ScaledWindows:
        """Cut and scale the windows of a panel; `DataError` where it has none.

        `channels` are those of the fitted panel; this one's, where None.
        """
        windows = Windows(panel, context_length, h)
        means, deviations = (
            torch.from_numpy(m).float().reshape(len(panel.ids), -1, 1)
            for m in moments(panel, transform)
        )
        channels = Channels.of(panel) if channels is None else channels
        return cls(windows, transform, means, deviations, channels, base, decoder)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Tensor) -> tuple[Inputs, Tensor]:
        window, _ = self.window(*self.windows.places(index), self.windows.h)
        return self.decoder.lay_out(window, self.channels.sizes, self.base)

    def window(self, series: Tensor, origin: Tensor, ahead: int) -> tuple[Window, Scale]:
        """Return contexts with the `ahead` steps after them on their scale [..., M, 1]."""
        L, M = self.windows.context_length, len(self.windows.panel.targets)
        y = self.windows.gather(range(M), series, origin, ahead)
        u = self.transform.forward(y.double()).float()
        scale = self._scale(u[..., :L], series)
        z = scale.apply(carry_on(u)).nan_to_num(0.0)
        hist, futr = self.channels.covariates(self.windows, series, origin, ahead)
        static = self.channels.static(self.windows.panel.static, series)
        return Window(L, z, scale.apply(u), hist, futr, *static), scale

    def newest(self, series: Tensor | None = None, ahead: int = 0) -> tuple[Window, Scale]:
        """Return the windows at the end of (some of the) series."""
        every, ends = self.windows.newest_places()
        chosen = every if series is None else series
        return self.window(chosen, ends[chosen], ahead)

    def row_scale(self) -> Scale:
        """Return the scale of every row by its own moments, [S, M, 1]."""
        return Scale(self.means, torch.where(self.deviations > 0, self.deviations, 1.0))

    def split(self, n_validation: int) -> tuple[ScaledWindows, ScaledWindows]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = self.windows.split(n_validation)
        return replace(self, windows=train), replace(self, windows=validation)

    def _scale(self, context: Tensor, series: Tensor) -> Scale:
        own = mean_and_deviation(carry_on(context))
        mean, deviation = self.means[series], self.deviations[series]
        whole = Scale(mean, torch.where(deviation > 0, deviation, own.size))
        share = torch.where(context.isnan().all(dim=-1, keepdim=True), 0.0, 0.5)
        return Scale(
            torch.lerp(whole.location, own.location, share),
            torch.lerp(whole.size, own.size, share),
        )


def stacked(inputs: Sequence[Inputs]) -> Inputs:
    """Return what several members read as what their ensemble reads, with a leading axis E."""
    if isinstance(inputs[0], Tensor):
        return torch.stack([x for x in inputs if isinstance(x, Tensor)])
    return tuple(torch.stack(each) for each in zip(*inputs, strict=True))


def moments(panel: Panel, transform: Transform) -> tuple[Floats, Floats]:
    """Return mean and standard deviation [rows] of the transformed values of every row.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.transforms import Identity
    >>> moments(read_frame([0.0, 2.0, np.nan]), Identity())
    (array([1.]), array([1.]))
    """
    if panel.memory is not None and panel.memory.knows(transform.name):
        return panel.memory.moments(transform.name)
    count = np.maximum(row_sums(panel, lambda y, _: ~np.isnan(y)), 1)
    means = row_sums(panel, lambda y, _: np.nan_to_num(transform.forward(y))) / count

    def square(y: Floats, rows: Floats) -> Floats:
        return np.nan_to_num((transform.forward(y) - means[rows]) ** 2)

    return means, np.sqrt(row_sums(panel, square) / count)


def row_sums(panel: Panel, of: Callable[[Floats, Floats], Floats]) -> Floats:
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


def choose_residual(panel: Panel, transform: Transform, L: int, h: int, m: int) -> Residual:
    """Return the naive forecast that errs least over (at most 10,000 of) the windows.

    The season of m steps is among them where it is the calendar's, and within the context: a cycle
    that was found in the data keeps no calendar, and last time's is soon out of step.
    """
    examples = ScaledWindows.of(panel, transform, L, h)
    index = torch.from_numpy(np.unique(np.linspace(0, len(examples) - 1, 10_000).astype(np.int64)))
    calendar = panel.frequency.season_length == m > 1 and m <= L
    candidates = RESIDUALS if calendar else RESIDUALS[:2]
    errors: dict[Residual, list[Tensor]] = {residual: [] for residual in candidates}
    for some in index.split(_BLOCK):
        window, _ = examples.window(*examples.windows.places(some), h)
        for residual, each in errors.items():
            error = window.truth[..., L:] - Base(residual, m).ahead(window.z[..., :L], h)
            each.append(error.abs())
    means = {residual: torch.cat(each).nanmean().item() for residual, each in errors.items()}
    return min(means, key=means.__getitem__)
