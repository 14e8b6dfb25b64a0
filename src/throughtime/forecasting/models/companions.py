"""What goes beside the nets: forecasts in closed form, and the limits of any forecast.

    linear_k      f_k^-1( location + size A_k (w - location) / size )
    seasonal      the mean of the last two seasons                     for a cycle about a level
    smoothing_k   f_k^-1 of a level, a trend and seasons (`smoothing.py`)     for other short series
    pretrained_k  f_k^-1 of what a net says that has learned from simulated series (`pretrained/`)

w is the window of the transformed series, f_k the transforms. With scaling="blend" or "running" the
scale is that of its series and A_k an autoregression that is iterated (`linear.py`), the better of the
two for few data; with another scaling it is the nets', and A_k says all h steps at once (`ridge.py`).

Of several series that are iterated each has a map of its own, drawn to the one that all share:

    A_k,i = w_i A_k(series i) + (1 - w_i) A_k(all series),    w_i = n_i / (n_i + nu),    nu = 100

for n_i values. Series of one table are seldom alike, and a long one says more of itself than the others
do; a short one says little (Gelman and Hill 2007, chapter 12, on partial pooling).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from throughtime.forecasting.evaluation.baselines import SeasonalNaive
from throughtime.forecasting.examples.scaled import ScaledWindows, moments
from throughtime.forecasting.models.linear import fit_linear_map
from throughtime.forecasting.models.ridge import fit_ridge
from throughtime.forecasting.models.smoothing import smoothed
from throughtime.forecasting.preprocessing.scaling import carry_on
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.pretrained.net import LONGEST, PretrainedNet, forecast
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import Windows
from throughtime.forecasting.settings.design import Design

Floats = npt.NDArray[np.float64]

BY_SERIES = ("blend", "running")  # scalings beside which the maps keep to that of the series
PRIOR = 100  # nu, values
FAR = 100  # ranges of a series
TOGETHER = 2**16  # steps that the pretrained net reads at a time


@dataclass(frozen=True, eq=False)
class Maps:
    """Linear maps of K scales: the `shared` ones [K, h, L], and their `own` [K, S, M, h, L] of series.

    Those are the series `ids`; every other one, as one that came later, has what all share.
    """

    shared: Floats
    own: Floats | None = None
    ids: tuple[Any, ...] = ()

    def of(self, k: int, panel: Panel) -> Floats:
        """Return the maps of scale k [S, M, h, L] of a panel's series."""
        A_k = self.shared[k]
        made = np.broadcast_to(A_k, (len(panel.ids), len(panel.targets), *A_k.shape))
        if self.own is None:
            return made
        place = np.array([self._places.get(name, -1) for name in panel.ids])
        return np.where((place >= 0)[:, None, None, None], self.own[k, place], made)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {name: i for i, name in enumerate(self.ids)}


def fit_linear(panel: Panel, design: Design) -> Maps:
    """Return the linear maps of a panel: those that all series share, and their own."""
    if design.scaling not in BY_SERIES:
        return Maps(np.stack([fit_ridge(part) for part in design.examples(panel).parts]))
    shared = _iterated(panel, design)
    if len(panel) == 1 or not design.companions:
        return Maps(shared)
    S, M = len(panel.ids), len(panel.targets)
    own = np.empty((len(shared), S, M, *shared.shape[1:]))
    for i in range(S):
        for m in range(M):
            row = panel.take(np.array([i])).channel(m)
            w = row.n_observed / (row.n_observed + PRIOR)
            own[:, i, m] = w * _iterated(row, design) + (1 - w) * shared
    return Maps(shared, own, panel.ids)


def _iterated(panel: Panel, design: Design) -> Floats:
    """Return the iterated autoregressions A_k [K, h, L]."""
    L, h, m = design.context_length, design.h, design.season_length
    scales = [TRANSFORMS[name] for name in design.transforms]
    return np.stack([fit_linear_map(panel, f_k, L, h, design.residual, m) for f_k in scales])


@np.errstate(over="ignore")  # the limits hold what overflows, too
def linear(maps: Maps, panel: Panel, parts: Sequence[ScaledWindows]) -> Floats:
    """Return the forecasts [K, rows, h] of the maps for every series of a panel."""
    made = []
    for k, part in enumerate(parts):
        window, scale = part.newest()
        whole = part.whole if part.scaling in BY_SERIES else scale
        z = whole.apply(window.values(scale)).double().numpy()
        ahead = whole.invert(torch.from_numpy((maps.of(k, panel) @ z[..., None])[..., 0]))
        made.append(part.transform.inverse(ahead.flatten(0, 1).numpy()))
    return np.stack(made)


def last_two_seasons(panel: Panel, h: int, season_length: int) -> Floats:
    """Return the mean of the last two seasons [rows, h]; the last alone where there is no other."""
    m, again = min(season_length, int(panel.lengths.max())), SeasonalNaive(season_length)
    newest = Windows(panel, 2 * m, 1).newest().flatten(0, 1).double().numpy()
    k = np.arange(h) % m
    made: Floats = (newest[:, m + k] + newest[:, k]) / 2
    for r in np.flatnonzero(np.isnan(newest).any(axis=1)).tolist():
        y = panel.row(r)
        last, before = again.forecast(y, h), y[:-m]
        second = last if np.isnan(before).all() else again.forecast(before, h)
        made[r] = (last + second) / 2
    return made


@np.errstate(over="ignore")  # as above
def smoothing(panel: Panel, design: Design, h: int) -> Floats:
    """Return the forecasts [K, rows, h] by exponential smoothing; the mean where no value is new."""
    scales = [TRANSFORMS[name] for name in design.transforms]
    means = [moments(panel, f_k)[0] for f_k in scales]
    made = np.empty((len(scales), len(panel), h))
    for r in range(len(panel)):
        y = panel.row(r).astype(np.float64)
        u = smoothed(np.stack([f_k.forward(y) for f_k in scales]), h, design.season_length)
        for k, f_k in enumerate(scales):
            made[k, r] = f_k.inverse(np.where(np.isnan(u[k]), means[k][r], u[k]))
    return made


@np.errstate(over="ignore")  # as above
def pretrained(panel: Panel, design: Design, h: int, net: PretrainedNet) -> Floats:
    """Return the forecasts [K, rows, h] by the pretrained net; the mean where no value is new."""
    scales = [TRANSFORMS[name] for name in design.transforms]
    means = np.stack([moments(panel, f_k)[0] for f_k in scales])[..., None]
    K, of_length = len(scales), defaultdict(list)
    for r in range(len(panel)):
        y = panel.row(r)[-LONGEST:].astype(np.float64)
        of_length[len(y) - int(np.argmax(~np.isnan(y)))].append(r)
    made = np.empty((K, len(panel), h))
    for T, alike in of_length.items():
        together = max(1, TOGETHER // (K * T))
        for rows in (alike[i : i + together] for i in range(0, len(alike), together)):
            y = np.stack([panel.row(r)[-T:] for r in rows]).astype(np.float64)
            u = np.stack([f_k.forward(y) for f_k in scales])
            unseen = np.isnan(u).all(axis=-1, keepdims=True)
            whole = carry_on(torch.from_numpy(np.where(unseen, means[:, rows], u))).numpy()
            said = forecast(whole.reshape(K * len(rows), T), h, design.season_length, net)
            made[:, rows] = said.reshape(K, len(rows), h)
    for k, f_k in enumerate(scales):
        made[k] = f_k.inverse(made[k])
    return made


def limits(panel: Panel, context_length: int, negative: bool) -> tuple[Floats, Floats]:
    """Return the range [rows, 1] of each row's newest window, widened by itself on either side.

    The range of the whole series where that window has no value. An unstable autoregression, or a
    logarithm taken back, may not run off. Not below 0 unless values may be `negative`.
    """
    w = Windows(panel, context_length, 1).newest().flatten(0, 1).numpy()
    low, high = (
        np.where(np.isnan(newest), ever, newest)[:, None]
        for newest, ever in (
            (extreme.reduce(w, axis=1), panel.extreme(extreme)) for extreme in (np.fmin, np.fmax)
        )
    )
    lowest = -np.inf if negative else 0.0
    return np.maximum(2 * low - high, lowest), 2 * high - low


def far_limits(panel: Panel, negative: bool) -> tuple[Floats, Floats]:
    """Return the range [rows, 1] of each row, widened by a hundred of itself on either side.

    Of values that are all alike by a hundred of them. Not below 0 unless values may be `negative`.
    """
    low, high = (panel.extreme(extreme)[:, None] for extreme in (np.fmin, np.fmax))
    width = FAR * np.where(high > low, high - low, np.abs(high))
    return np.maximum(low - width, -np.inf if negative else 0.0), high + width
