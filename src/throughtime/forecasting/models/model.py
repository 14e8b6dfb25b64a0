"""What one fit makes: linear autoregressions and recurrent nets, whose mean is the forecast.

For each of the K scales f_k (as is, square root, logarithm; `preprocessing/transforms.py`),

    linear_k      f_k^-1( location + size A_k (w - location) / size )       in closed form (`companions.py`)
    recurrent_k   f_k^-1( location + size (base(z) + V h_T + c) )           by training
    pretrained_k  f_k^-1 of a net that learned from simulated series        as it is, or taught (`pretrained/`)
    seasonal      the mean of the last two seasons                          for a cycle about a level
    smoothing_k   f_k^-1 of a level, a trend and seasons (`smoothing.py`)   for other short series

w is the window of the transformed series, location and size its scale; h_T the newest state of a
net that reads z (`examples/scaled.py`); members e = k, k + K, ... of the ensemble are on scale k,
and recurrent_k is the mean of what they say. Each is held within the range of the window widened by
itself on either side. The forecast y is the mean over the kinds of the mean over the scales, for which
what the pretrained net says counts as recurrent.

    F^-1(q)       F_n^-1(q) + y - y_n

Quantiles are those F_n^-1 of the nets, moved from what these forecast, y_n, to y. They and y_n are held
within the range of the series widened by a hundred of itself on either side, which only what runs off
leaves: of few values the range is narrow, and all quantiles would be its end, as if that were sure.

Each answers for itself and is trained for itself. The autoregression is hard to beat on few data
and cannot bend; the nets bend and err in other places; the last seasons keep the level and
the shape that both smooth away. Which scale is right cannot be told from a few cycles. A combination of
forecasts that err differently is better than most of them, and equal parts are hard to improve by
weights that have to be estimated (Bates and Granger 1969; Claeskens et al. 2016, "The forecast
combination puzzle").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from throughtime.diagnostics import LagProfile, lag_profile
from throughtime.forecasting.models import companions
from throughtime.forecasting.models.nets import PATHS, Nets
from throughtime.forecasting.pretrained.net import PretrainedNet, carried
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.nn import Ensemble

Floats = npt.NDArray[np.float64]

BLOCK = 2**10  # series that are forecast together


@dataclass(frozen=True, eq=False)
class Model:
    """The linear maps A_k and the trained nets, with what they read beside the targets.

    `explained` is the share of their teacher's variance that the nets explained before training,
    `taught` the pretrained net where it has learned from the panel.
    """

    design: Design
    linear: companions.Maps
    network: Ensemble
    channels: Channels
    explained: float | None = None
    taught: PretrainedNet | None = None

    @property
    def models(self) -> tuple[Model, ...]:
        """This one alone; a `Committee` has several."""
        return (self,)

    @property
    def nets(self) -> Nets:
        """The nets, to be asked for themselves."""
        return Nets(self.design, self.network, self.channels)

    def forecast(self, panel: Panel, h: int | None = None) -> Floats:
        """Return the next h values [rows, h] after the end of every series, some at a time."""
        return self.distribution(panel, (), h)[0]

    def quantiles(self, panel: Panel, levels: Sequence[float], h: int | None = None) -> Floats:
        """Return quantiles [rows, h, Q] at rising levels: those of the nets, about the forecast."""
        return self.distribution(panel, levels, h)[1]

    def distribution(
        self, panel: Panel, levels: Sequence[float], h: int | None = None
    ) -> tuple[Floats, Floats]:
        """Return forecast [rows, h] and quantiles [rows, h, Q] at rising levels, some at a time."""
        panel, negative = self.nets.remembered(panel), panel.is_negative
        points, made = [], []
        for block in self._blocks(panel):
            kinds, own, quantiles = self._said(block, h or self.design.h, negative, levels)
            points.append(_mean(kinds))
            if levels:
                low, high = self._limits(block, negative, far=True)
                shift = points[-1] - np.clip(own, low, high)
                held = np.clip(quantiles + shift[..., None], low[..., None], high[..., None])
                made.append(np.round(held) if self.design.counts else held)
        point = np.concatenate(points)
        return point, np.concatenate(made) if levels else np.zeros((*point.shape, 0))

    def paths(self, panel: Panel, n: int, h: int, seed: int) -> Floats:
        """Draw n paths [n, rows, h] of architecture="recursive", as the nets alone see them."""
        blocks = enumerate(self._blocks(self.nets.remembered(panel)))
        drawn = [self.nets.paths(self.nets.examples(b).parts, h, n, seed + i) for i, b in blocks]
        return np.concatenate(drawn, axis=1)

    def kinds(
        self, panel: Panel, h: int | None = None, negative: bool | None = None
    ) -> dict[str, Floats]:
        """Return the forecasts [scales, rows, h] that are combined, by their kind.

        They are not below 0 unless they may be `negative`; None asks whether the panel is.
        """
        panel = self.nets.remembered(panel)
        negative = panel.is_negative if negative is None else negative
        return self._said(panel, h or self.design.h, negative, ())[0]

    def _said(
        self, panel: Panel, h: int, negative: bool, levels: Sequence[float]
    ) -> tuple[dict[str, Floats], Floats, Floats]:
        """Return the kinds, and the forecast and quantiles of the nets alone."""
        design, parts = self.design, self.nets.examples(panel).parts
        points, quantiles = self.nets.distribution(parts, h, levels)
        made = {"recurrent": points}
        if design.pretrained:
            net = self.taught or carried(design.pretrained)
            others = companions.pretrained(panel, design, h, net)
            alike = len(points) == len(others)  # not of a median, nor of fewer members than scales
            own = points if alike else np.broadcast_to(points.mean(axis=0), others.shape)
            made["recurrent"] = np.concatenate([own, others])
        if design.companions:
            made["linear"] = companions.linear(self.linear, panel, parts)[..., :h]
            if design.has_cycle:
                seasonal = companions.last_two_seasons(panel, h, design.season_length)
                made["seasonal"] = seasonal[None]
            if design.smoothing:
                made["smoothing"] = companions.smoothing(panel, design, h)
        low, high = self._limits(panel, negative)
        kinds = {kind: np.clip(values, low, high) for kind, values in made.items()}
        return kinds, points.mean(axis=0), quantiles

    def _limits(self, panel: Panel, negative: bool, far: bool = False) -> tuple[Floats, Floats]:
        """Return the limits of forecasts; counts, on no scale that could run off, have none above."""
        if far:
            low, high = companions.far_limits(panel, negative)
        else:
            low, high = companions.limits(panel, self.design.context_length, negative)
        return (low * 0.0, high + np.inf) if self.design.counts else (low, high)

    def reach(self, panel: Panel) -> LagProfile:
        """Measure how far back the gradient of one forecast reaches, on (at most 256) windows.

        The mean of the members' profiles, of their top layer.
        """
        parts = self.nets.examples(panel).parts
        index = torch.linspace(0, len(parts[0]) - 1, min(len(parts[0]), 256)).long()
        profiles = []
        for e in range(self.design.members):
            inputs, r = parts[e % len(parts)][index]
            profiles.append(lag_profile(self.network.member(e), inputs, r, self.design.loss)[-1])
        phi = np.mean([profile.norms * profile.newest for profile in profiles], axis=0)
        return LagProfile(profiles[0].layer, phi / phi[0], newest=float(phi[0]))

    def _blocks(self, panel: Panel) -> Iterator[Panel]:
        """Go over the series, fewer at a time where each is drawn many paths of."""
        paths = PATHS if self.design.draws else 1
        return panel.blocks(max(1, BLOCK // paths))


def _mean(kinds: dict[str, Floats]) -> Floats:
    """Return the mean over the kinds of the mean over the scales."""
    return np.asarray(np.mean([made.mean(axis=0) for made in kinds.values()], axis=0))
