"""What the trained nets say of the end of every series, in the units of the series.

Member e on scale k reads the newest window and says parameters of z (`architectures/`, `nn.heads`),
which are rescaled to u = location + size z and go back through the scale, y = f_k^-1(u). A scale is
monotone, so that a quantile of u becomes that of y. Quantiles of several members are averaged, level
by level (Vincent 1912; Ratcliff 1979): the average of forecasts that are alike is like them, where
their mixture would be wider than each. So are points. With `combine` "median" both are the median of
all members, whatever their scales. Paths are pooled: each member draws its share of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.architectures import ARCHITECTURES
from throughtime.forecasting.architectures.architecture import Inputs, Window
from throughtime.forecasting.architectures.recursive import Recursive
from throughtime.forecasting.architectures.synced import Synced
from throughtime.forecasting.examples.running import RunningWindow
from throughtime.forecasting.examples.scaled import ScaledWindows, SpreadExamples, stacked
from throughtime.forecasting.models.carrying import Sight, paths
from throughtime.forecasting.models.state import State
from throughtime.forecasting.preprocessing.scaling import Scale
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.nn import Ensemble
from throughtime.nn.heads import ValueHead
from throughtime.nn.recurrence import newest as layer_newest
from throughtime.training.sources import evaluation_batches

Floats = npt.NDArray[np.float64]

PATHS = 200  # drawn for a forecast that is made of paths


@dataclass(frozen=True, eq=False)
class Nets:
    """The trained nets, and what they read beside the targets."""

    design: Design
    network: Ensemble
    channels: Channels

    def examples(self, panel: Panel) -> SpreadExamples:
        """Return the windows of a panel that has the channels of the fitted one."""
        return self.design.examples(self.channels.check(panel), self.channels)

    def points(self, parts: Sequence[ScaledWindows], h: int) -> Floats:
        """Return a point forecast [scales, rows, h]; a median is one over all scales."""
        return self.distribution(parts, h, ())[0]

    def quantiles(self, parts: Sequence[ScaledWindows], h: int, levels: Sequence[float]) -> Floats:
        """Return the quantiles [rows, h, Q] at rising levels inside (0, 1)."""
        return self.distribution(parts, h, levels)[1]

    def distribution(
        self, parts: Sequence[ScaledWindows], h: int, levels: Sequence[float]
    ) -> tuple[Floats, Floats]:
        """Return points [scales, rows, h] and quantiles [rows, h, Q], the nets being asked once."""
        if self.design.draws:
            paths = self.paths(parts, h)
            quantiles = np.quantile(paths, levels, axis=0) if levels else paths[:0]
            return np.median(paths, axis=0)[None], np.moveaxis(quantiles, 0, -1)
        q = torch.tensor(tuple(levels), dtype=torch.float64)

        if self.design.combine == "median":
            said = self._medians(parts, h, q)
            return said[:1], np.moveaxis(said[1:], 0, -1)

        def say(head: ValueHead, params: Tensor) -> Tensor:
            z = head.point(params).mean(dim=0, keepdim=True)
            if not levels:
                return z
            return torch.cat([z, head.quantile(params, q).movedim(-1, 1).mean(dim=0)])

        made = [_y(part, scale.invert(z)) for part, scale, z in self._say(parts, say)]
        quantiles = np.mean([each[1:] for each in made], axis=0)
        points = np.stack([each[0] for each in made])
        return points[..., :h], np.moveaxis(quantiles, 0, -1)[:, :h]

    def _medians(self, parts: Sequence[ScaledWindows], h: int, q: Tensor) -> Floats:
        """Return the medians [1 + Q, rows, h] of the points and quantiles of all members."""

        def say(head: ValueHead, params: Tensor) -> Tensor:
            point = head.point(params).unsqueeze(1)
            if not len(q):
                return point
            return torch.cat([point, head.quantile(params, q).movedim(-1, 1)], dim=1)

        said = [_y(part, scale.invert(z)) for part, scale, z in self._say(parts, say)]
        return np.asarray(np.median(np.concatenate(said), axis=0)[..., :h])

    def paths(
        self, parts: Sequence[ScaledWindows], h: int, n: int = PATHS, seed: int | None = None
    ) -> Floats:
        """Draw n paths [n, rows, h] of `architecture="recursive"`, which members share."""
        design = self.design
        if design.carries:
            return self._carried_paths(parts, h, n, seed)
        generator = torch.Generator().manual_seed(design.training.seed if seed is None else seed)
        drawn = []
        for e in range(design.members):
            share = n // design.members + (e < n % design.members)
            part, net = parts[e % len(parts)], self.network.member(e).eval()
            assert isinstance(net, Recursive)
            window, scale = part.newest(ahead=h)
            z = net.paths(window, design.base, share, h, generator)
            y = _y(part, scale.invert(z))
            drawn.append(np.round(y) if design.counts else y)
        return np.concatenate(drawn)

    def _carried_paths(
        self, parts: Sequence[ScaledWindows], h: int, n: int, seed: int | None
    ) -> Floats:
        design, panel = self.design, parts[0].windows.panel
        generator = torch.Generator().manual_seed(design.training.seed if seed is None else seed)
        state, drawn = self.state(panel), []
        for e in range(design.members):
            share = n // design.members + (e < n % design.members)
            part = parts[e % len(parts)]
            net, mine = state.carrier.member(e, state.hidden)
            window, _ = part.newest(ahead=h)
            assert isinstance(window, RunningWindow)
            sight = Sight(*state.sums(part.transform.name), window.u[..., : window.L])
            static, futr = (window.numbers, window.codes), window.futr[..., window.L :]
            u = paths(net, mine, sight, futr, static, design.base, share, h, generator)
            drawn.append(_y(part, u))
        return np.concatenate(drawn)

    def _say(
        self, parts: Sequence[ScaledWindows], say: Callable[[ValueHead, Tensor], Tensor]
    ) -> Iterator[tuple[ScaledWindows, Scale, Tensor]]:
        """Yield for each scale what its members say [..., S, M, h] of z, `say` having joined them."""
        members, K, h = self.design.members, len(parts), self.design.h
        newest = [part.newest(ahead=h) for part in parts]
        inputs = [] if self.design.carries else [self._inputs(window) for window, _ in newest]
        params_E = (
            self._carried_on(parts, newest)
            if self.design.carries
            else self._called(stacked([inputs[e % K] for e in range(members)]))
        )
        head: Any = self.network.template.head
        for k, (part, (window, scale)) in enumerate(zip(parts, newest, strict=True)):
            if k < members:
                r = say(head, params_E[k::K])
                if self.design.counts:  # which are said in their own units
                    scale = Scale(torch.zeros(()), torch.ones(()))
                yield part, scale, r + window.naive(self.design.base, h)

    def state(self, panel: Panel) -> State:
        """Return the state after every step of a panel: what it remembers, or else read now."""
        if isinstance(panel.memory, State):
            return panel.memory
        return State.read(panel, self.design, self.channels, self.network)

    def remembered(self, panel: Panel) -> Panel:
        """Return a panel that remembers its state, where nets are carried."""
        if not self.design.carries:
            return panel
        return replace(panel, memory=self.state(self.channels.check(panel)))

    def _carried_on(
        self, parts: Sequence[ScaledWindows], newest: Sequence[tuple[Window, Scale]]
    ) -> Tensor:
        """Return the parameters [E, S, M, h, P] that the carried nets say."""
        state, made = self.state(parts[0].windows.panel), []
        for e in range(self.design.members):
            window, _ = newest[e % len(parts)]
            net, mine = state.carrier.member(e, state.hidden)
            assert isinstance(net, Synced)
            ahead = window.futr[..., window.L :].transpose(-1, -2)
            with torch.no_grad():
                made.append(net.answer(layer_newest(net.layer, mine), ahead))
        params_E = torch.stack(made)
        return params_E.reshape(*params_E.shape[:2], -1, self.design.h, params_E.shape[-1])

    def _inputs(self, window: Window) -> Inputs:
        architecture = ARCHITECTURES[self.design.architecture]
        return architecture.lay_out(window, self.channels.sizes, self.design.base)[0]

    def _called(self, inputs: Inputs) -> Tensor:
        """Return the parameters [E, S, M, h, P] that the nets say of the newest windows."""
        read = (inputs,) if isinstance(inputs, Tensor) else inputs
        batches = evaluation_batches(read[0].shape[1], self.design.members)
        with torch.no_grad():
            said = [self.network(*(each[:, batch] for each in read)) for batch in batches]
        params_E = torch.cat(said, dim=1)
        newest = params_E[:, :, -1] if self.design.architecture == "synced" else params_E
        E, S, _, P = newest.shape
        return newest.reshape(E, S, -1, self.design.h, P)


@np.errstate(over="ignore")  # the limits of a forecast hold what overflows, too
def _y(part: ScaledWindows, u: Tensor) -> Floats:
    """Return u [..., S, M, h] in the units of the series, [..., rows, h]."""
    return np.asarray(part.transform.inverse(u.flatten(-3, -2).double().numpy()))
