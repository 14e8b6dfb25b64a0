"""What goes beside the nets: forecasts in closed form, and the limits of any forecast.

    linear_k      f_k^-1( location + size A_k (w - location) / size )
    seasonal      the mean of the last two seasons                     for a cycle about a level

w is the window of the transformed series, f_k the transforms. With scaling="blend" or "running" the
scale is that of its series and A_k an autoregression that is iterated (`linear.py`), the better of the
two for few data; with another scaling it is the nets', and A_k says all h steps at once (`ridge.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from throughtime.forecasting.evaluation.baselines import SeasonalNaive
from throughtime.forecasting.examples.scaled import ScaledWindows
from throughtime.forecasting.models.linear import fit_linear_map
from throughtime.forecasting.models.ridge import fit_ridge
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import Windows
from throughtime.forecasting.settings.design import Design

Floats = npt.NDArray[np.float64]

BY_SERIES = ("blend", "running")  # scalings beside which the maps keep to that of the series


def fit_linear(panel: Panel, design: Design) -> Floats:
    """Return the linear maps A_k [K, h, L]."""
    L, h, m = design.context_length, design.h, design.season_length
    if design.scaling not in BY_SERIES:
        return np.stack([fit_ridge(part) for part in design.examples(panel).parts])
    scales = [TRANSFORMS[name] for name in design.transforms]
    return np.stack([fit_linear_map(panel, f_k, L, h, design.residual, m) for f_k in scales])


@np.errstate(over="ignore")  # the limits hold what overflows, too
def linear(maps: Floats, parts: Sequence[ScaledWindows]) -> Floats:
    """Return the forecasts [K, rows, h] of the maps A_k [K, h, L] for every series."""
    made = []
    for A_k, part in zip(maps, parts, strict=True):
        window, scale = part.newest()
        whole = part.whole if part.scaling in BY_SERIES else scale
        z = whole.apply(window.values(scale)).double()
        ahead = whole.invert(z @ torch.from_numpy(A_k.T))
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


def limits(
    panel: Panel, context_length: int, negative: bool, whole: bool = False
) -> tuple[Floats, Floats]:
    """Return the range [rows, 1] of each row's newest window, widened by itself on either side.

    The range of the `whole` series if asked for, or where that window has no value. An unstable autoregression, or
    a logarithm taken back, may not run off. Not below 0 unless values may be `negative`.
    """
    w = Windows(panel, context_length, 1).newest().flatten(0, 1).numpy()
    low, high = (
        np.where(np.isnan(newest) | whole, ever, newest)[:, None]
        for newest, ever in (
            (extreme.reduce(w, axis=1), panel.extreme(extreme)) for extreme in (np.fmin, np.fmax)
        )
    )
    lowest = -np.inf if negative else 0.0
    return np.maximum(2 * low - high, lowest), 2 * high - low
