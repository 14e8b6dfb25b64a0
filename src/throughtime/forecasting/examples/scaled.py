"""What the network learns from: windows on a common scale, less a naive forecast.

With u = f(y) the transformed series, C its window of L steps and T the h steps after it:

    z = (C - location) / size                            the network's input
    r = (T - location) / size - base(z)                  what it learns to say

location and size are those of the window, of its series, or between them
(`preprocessing/scaling.py`). base is a naive forecast (`preprocessing/residuals.py`), so that the
network begins where that stands. In place of z it may read differences of it
(`preprocessing/differences.py`). What of it all is input and what target is the architecture's to
say (`architectures/`).

Counts have no place to be shifted to: their location is 0, their size the mean of both, and what the
network learns to say is the count itself, size and all (`nn/heads/negative_binomial.py`).

Gaps in a window carry the last observed value on; before a series begins its first value is read.
Gaps in a target are left out of the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.architectures import Architecture
from throughtime.forecasting.architectures.architecture import Inputs, Place, Window
from throughtime.forecasting.architectures.direct import Direct
from throughtime.forecasting.preprocessing.differences import differenced
from throughtime.forecasting.preprocessing.residuals import RESIDUALS, Base, Residual
from throughtime.forecasting.preprocessing.scaling import (
    OF_WINDOWS,
    Scale,
    begun,
    carry_on,
)
from throughtime.forecasting.preprocessing.transforms import Transform, in_single
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import Windows

Floats = npt.NDArray[Any]
WORTH = 2 / 3  # of the error of the level: what repeats less exactly turns about that level
_BLOCK = 2**9  # windows that are looked at together, where many are


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
        inputs, r = of_members([part[each] for part, each in self.on_scales(index)])
        return inputs, r

    def on_scales(self, index: Tensor) -> Iterator[tuple[ScaledWindows, Tensor]]:
        """Yield the parts that members learn from, with the rows of index [E, B] of those members."""
        K = len(self.parts)
        return ((part, index[k::K].contiguous()) for k, part in enumerate(self.parts[: len(index)]))

    def split(self, n_validation: int) -> tuple[SpreadExamples, SpreadExamples]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = self.parts[0].windows.split(n_validation)
        return self._on(train), self._on(validation)

    def _on(self, windows: Windows) -> SpreadExamples:
        return SpreadExamples(tuple(replace(part, windows=windows) for part in self.parts))


@dataclass(frozen=True, eq=False)
class ScaledWindows:
    """The windows of a panel as examples of an architecture, `examples[index] -> (inputs, r)`.

    `whole` is the scale of every row by its own moments, [S, M, 1]; `lags` those of the differences
    that are read, and `back` those that are read beside the values. `places` [S, 2] are number and
    first step of series that have parameters of their own.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.preprocessing.transforms import Identity
    >>> panel = read_frame([0.0, 2.0, 0.0, 2.0, 0.0, 2.0])
    >>> examples = ScaledWindows.of(panel, Identity(), context_length=2, h=1)
    >>> x, r = examples[torch.tensor([0])]  # [..., L, I], [..., M h]
    >>> x.flatten().tolist(), r.tolist()
    ([-1.0, 1.0], [[-1.0]])
    """

    windows: Windows
    transform: Transform
    whole: Scale
    channels: Channels
    base: Base = field(default_factory=Base)
    architecture: type[Architecture] = Direct
    scaling: str = "blend"
    lags: tuple[int, ...] = ()
    counts: bool = False
    back: tuple[int, ...] = ()
    places: Tensor | None = None

    @classmethod
    def of(
        cls,
        panel: Panel,
        transform: Transform,
        context_length: int,
        h: int,
        base: Base = Base(),  # noqa: B008  (frozen)
        architecture: type[Architecture] = Direct,
        channels: Channels | None = None,
        scaling: str = "blend",
        lags: tuple[int, ...] = (),
        counts: bool = False,
        back: tuple[int, ...] = (),
    ) -> ScaledWindows:
        """Cut and scale the windows of a panel; `DataError` where it has none.

        `channels` are those of the fitted panel; this one's, where None.
        """
        windows = Windows(panel, context_length, h)
        location, size = (
            torch.from_numpy(m).float().reshape(len(panel.ids), -1, 1)
            for m in moments(panel, transform)
        )
        whole = Scale(location, torch.where(size > 0, size, 1.0))
        channels = Channels.of(panel) if channels is None else channels
        places = None
        if channels.ids:
            each = channels.numbers(panel), panel.frequency.number(panel.starts)
            places = torch.from_numpy(np.stack(each, axis=-1))
        return cls(
            windows,
            transform,
            whole,
            channels,
            base,
            architecture,
            scaling,
            lags,
            counts,
            back,
            places,
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Tensor) -> tuple[Inputs, Tensor]:
        return self.laid_out(self.window(*self.windows.places(index), self.windows.h)[0])

    def laid_out(self, window: Window) -> tuple[Inputs, Tensor]:
        """Return what the architecture reads of windows, and what it is to say."""
        return self.architecture.lay_out(window, self.channels.sizes, self.base)

    def window(self, series: Tensor, origin: Tensor, ahead: int) -> tuple[Window, Scale]:
        """Return contexts with the `ahead` steps after them on their scale [..., M, 1]."""
        L, M = self.windows.context_length, len(self.windows.panel.targets)
        before = max(sum(self.lags), max(self.back, default=1) - 1)
        y = self.windows.gather(range(M), series, origin, ahead, before)
        u = in_single(self.transform, y)
        known = carry_on(u)
        scale = self._scale(u[..., before : before + L], series)
        scaled = scale.apply(known)
        z = begun(scaled[..., before:], L)
        truth = (scaled if known is u else scale.apply(u))[..., before:]
        hist, futr = self.channels.covariates(self.windows, series, origin, ahead)
        numbers = None if self.places is None else self.places[:, 0]
        static = self.channels.static(self.windows.panel.static, series, numbers)
        truth, size = (u[..., before:], scale.size) if self.counts else (truth, None)
        window = Window(L, z, truth, hist, futr, *static, size=size)
        if self.places is not None:
            number, start = self.places[series].unbind(-1)
            place = Place(number, start + origin - L, self.whole.size[series] / scale.size)
            window = replace(window, place=place)
        if self.back:
            earlier = begun(scaled, before + L)[..., :before]
            window = replace(window, back=self.back, earlier=earlier)
        if not self.lags:
            return window, scale
        read = differenced(scaled, self.lags)[..., before:].nan_to_num(0.0)
        return replace(window, lags=self.lags, differences=read), scale

    def newest(self, series: Tensor | None = None, ahead: int = 0) -> tuple[Window, Scale]:
        """Return the windows at the end of (some of the) series."""
        every, ends = self.windows.newest_places()
        chosen = every if series is None else series
        return self.window(chosen, ends[chosen], ahead)

    def split(self, n_validation: int) -> tuple[ScaledWindows, ScaledWindows]:
        """Return a training and a later validation part (`Windows.split`)."""
        train, validation = self.windows.split(n_validation)
        return replace(self, windows=train), replace(self, windows=validation)

    def _scale(self, context: Tensor, series: Tensor) -> Scale:
        whole = Scale(self.whole.location[series], self.whole.size[series])
        if not self.counts:
            return OF_WINDOWS[self.scaling](context, whole)
        share = torch.where(context.isnan().all(dim=-1, keepdim=True), 0.0, 0.5)
        size = torch.lerp(whole.location, carry_on(context).nanmean(dim=-1, keepdim=True), share)
        return Scale(torch.zeros_like(size), torch.where(size > 0, size, 1.0))


def stacked(inputs: Sequence[Inputs]) -> Inputs:
    """Return what several members read as what their ensemble reads, with a leading axis E."""
    if isinstance(inputs[0], Tensor):
        return torch.stack([x for x in inputs if isinstance(x, Tensor)])
    return tuple(torch.stack(each) for each in zip(*inputs, strict=True))


def of_members(made: Sequence[Any]) -> Any:
    """Return what is made on each of K scales, for members k, k + K, ..., in the members' order.

    >>> of_members([torch.tensor([0, 2]), torch.tensor([1])])
    tensor([0, 1, 2])
    """
    if len(made) == 1:
        return made[0]
    if isinstance(made[0], tuple):
        return tuple(map(of_members, zip(*made, strict=True)))
    K, E = len(made), sum(map(len, made))
    return torch.stack([made[e % K][e // K] for e in range(E)])


def moments(panel: Panel, transform: Transform) -> tuple[Floats, Floats]:
    """Return mean and standard deviation [rows] of the transformed values of every row.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.preprocessing.transforms import Identity
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


def choose_residual(
    panel: Panel, transform: Transform, L: int, h: int, m: int, known: bool = False
) -> Residual:
    """Return the naive forecast that errs least over (at most 10,000 of) the windows.

    The season of m steps is among them where it is the calendar's, or `known` to the user, and within
    the context: a cycle that was found in the data keeps no calendar, and last time's is soon out of
    step. So may be one that is known: it has to err a third less than the level.
    """
    examples = ScaledWindows.of(panel, transform, L, h)
    index = torch.from_numpy(np.unique(np.linspace(0, len(examples) - 1, 10_000).astype(np.int64)))
    of_calendar = panel.frequency.season_length == m
    candidates = RESIDUALS if (known or of_calendar) and 1 < m <= L else RESIDUALS[:2]
    errors: dict[Residual, list[Tensor]] = {residual: [] for residual in candidates}
    for some in torch.split(index, _BLOCK):
        window, _ = examples.window(*examples.windows.places(some), h)
        for residual, each in errors.items():
            error = window.truth[..., L:] - Base(residual, m).ahead(window.z[..., :L], h)
            each.append(error.abs())
    means = {residual: torch.cat(each).nanmean().item() for residual, each in errors.items()}
    if not of_calendar and means.get("season", 0.0) > WORTH * means["level"]:
        del means["season"]
    return min(means, key=means.__getitem__)
