"""Several models that forecast as one.

    mean, weighted    y = sum_g w_g y_g           w_g = 1/G for the mean
    median            y = med_g y_g

of the points of groups g, and of their quantiles, level by level (Vincent 1912): a mean with weights that
are not negative and a median keep rising levels in order. Quantiles of counts are rounded again.
Paths are pooled: group g draws the share w_g of them (the median as the mean, 1/G).

`settings/members.py` says what groups are; each is a `Model` of its own, with its kinds and its
nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from throughtime.diagnostics import LagProfile
from throughtime.forecasting.models.model import Model
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.nn import Ensemble

Floats = npt.NDArray[np.float64]

APART = 2**32  # between the seeds of the groups' paths


@dataclass(frozen=True, eq=False)
class Committee:
    """The models of the groups, `combine` ("mean", "median", "weighted") and the weights [G].

    `design`, `network` and `channels` are those of the first. Weights are equal where None.
    """

    models: tuple[Model, ...]
    combine: str = "mean"
    weights: Floats | None = None

    @property
    def design(self) -> Design:
        """The design of the first group; what forecasts are made of, all have in common."""
        return self.models[0].design

    @property
    def network(self) -> Ensemble:
        """The nets of the first group."""
        return self.models[0].network

    @property
    def channels(self) -> Channels:
        """What the nets of the first group read."""
        return self.models[0].channels

    @property
    def explained(self) -> float | None:
        """The share of their teacher's variance that the nets of the first group explained."""
        return self.models[0].explained

    @property
    def shares(self) -> Floats:
        """The weights [G] of the groups, which sum to 1."""
        G = len(self.models)
        return np.full(G, 1 / G) if self.weights is None else self.weights

    def forecast(self, panel: Panel, h: int | None = None) -> Floats:
        """Return the next h values [rows, h] after the end of every series."""
        return self.distribution(panel, (), h)[0]

    def quantiles(self, panel: Panel, levels: Sequence[float], h: int | None = None) -> Floats:
        """Return quantiles [rows, h, Q] at rising levels."""
        return self.distribution(panel, levels, h)[1]

    def distribution(
        self, panel: Panel, levels: Sequence[float], h: int | None = None
    ) -> tuple[Floats, Floats]:
        """Return forecast [rows, h] and quantiles [rows, h, Q] at rising levels."""
        return self.together(*self.said(panel, levels, h))

    def said(
        self, panel: Panel, levels: Sequence[float], h: int | None = None
    ) -> tuple[Floats, Floats]:
        """Return the forecasts [G, rows, h] and quantiles [G, rows, h, Q] of all groups."""
        points, quantiles = zip(
            *(m.distribution(panel, levels, h) for m in self.models), strict=True
        )
        return np.stack(points), np.stack(quantiles)

    def together(self, points: Floats, quantiles: Floats) -> tuple[Floats, Floats]:
        """Return one forecast and its quantiles, from those of all groups."""
        held = self._one(quantiles)
        return self._one(points), np.round(held) if self.design.counts else held

    def _one(self, values: Floats) -> Floats:
        """Combine values [G, ...]."""
        if self.combine == "median":
            return np.asarray(np.median(values, axis=0))
        return np.asarray(np.tensordot(self.shares, values, 1))

    def paths(self, panel: Panel, n: int, h: int, seed: int) -> Floats:
        """Draw n paths [n, rows, h] of architectures that draw them, as the nets alone see them."""
        ends = np.round(np.cumsum([0.0, *self.shares]) * n).astype(np.int64)
        drawn = [
            model.paths(panel, share, h, seed + g * APART)
            for g, (model, share) in enumerate(
                zip(self.models, np.diff(ends).tolist(), strict=True)
            )
            if share
        ]
        return np.concatenate(drawn)

    def reach(self, panel: Panel) -> LagProfile:
        """Measure how far back the gradient of one forecast of the first group reaches."""
        return self.models[0].reach(panel)


Answers = Model | Committee  # what forecasts are asked of


def committee(models: Sequence[Model], combine: str, weights: Floats | None = None) -> Answers:
    """Return what forecasts as all of them do; one model as it is."""
    if len(models) == 1:
        return models[0]
    return Committee(tuple(models), combine, weights)


def even(model: Answers) -> Answers:
    """Return a model as it was asked at the rolling origins, before these weighed its groups."""
    return replace(model, weights=None) if isinstance(model, Committee) else model


def widest(model: Answers) -> Model:
    """Return the one that reads back furthest: the state that it needs is enough for all."""
    return max(model.models, key=lambda each: each.design.reach)
