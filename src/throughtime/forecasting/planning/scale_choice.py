"""Which scaling, naive base and look-back suit a panel: those with which a linear map errs least.

The last windows of every series are held out (200 or more in all). For each candidate the map of
`models/ridge.py` is learned from the windows before them, and judged by

    mean over windows of  mean_k |y_{T+k} - forecast| / (mean |y_t - y_{t-1}| of its series)

which is free of units: MASE with season 1 (Hyndman and Koehler 2006). Scalings and bases are
tried together at the shortest look-back, where that is cheap, and those within 5 % of the best again
at the longest. Of those within 5 % of the best there the first is taken, in the order of `CANDIDATES`
(`OF_LONG` for a few long series, whose deviation is well known) and of the bases: that of how well they
go with series unlike those judged. No net is trained.

Of many series the map may read differences of a season from the last season on,

    z_{T+k} - z_{T+k-m}   from   z_t - z_{t-m}

by the deviation of the series ("shift"), at that look-back. They are taken where they err at most
2 % more: what repeats closely is lost among values, and nets gain more than the map says
(`docs/decisions/0025-differences-and-several-maps.md`).

With fewer than 20 series their ends tell too little, unless they are long: these keep "blend" and the
base that errs least (`choose_residual` in `examples/scaled.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from throughtime.forecasting.examples.scaled import ScaledWindows
from throughtime.forecasting.models.ridge import coefficients, say, scaled
from throughtime.forecasting.preprocessing.differences import Difference, lags_of
from throughtime.forecasting.preprocessing.residuals import Base, Residual
from throughtime.forecasting.preprocessing.steps import series_sizes
from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import spread

CANDIDATES = ("last", "shift", "standard", "robust", "mean-absolute", "series", "blend")
OF_LONG = ("shift", *(name for name in CANDIDATES if name != "shift"))  # whose deviation is known
ALIKE = (("last", "level"), ("shift", "level"))  # whose location is the last value
LEAST_SERIES = 20
WORTH = 0.95  # of the error: what is less than 5 % better for a linear map is not for a net
ALMOST = 1.02  # of the error: with differences, which are worth more to a net
NEAR = 1.05  # of the least error: what goes on to be tried at a longer look-back
MUCH = 0.5  # of the error of the naive base
_SHARE = 10  # of the windows, the last tenth of every series at least is judged
_JUDGED = 200  # windows at least, where the panel has them
_MOST_JUDGED = 4_000


@dataclass(frozen=True)
class Choice:
    """A scaling, a naive base, a look-back and a difference, with the errors of map and base there."""

    scaling: str
    residual: Residual
    context_length: int
    difference: Difference | None
    error: float
    naive: float

    @property
    def says_much(self) -> bool:
        """Whether the linear map leaves less than half of what the naive base errs."""
        return self.error < MUCH * self.naive

    @property
    def settings(self) -> dict[str, Any]:
        """The chosen settings by name."""
        names = ("scaling", "residual", "context_length", "difference")
        return {name: getattr(self, name) for name in names}


def choose(
    panel: Panel,
    transform: Transform,
    h: int,
    season_length: int,
    contexts: Sequence[int],
    scalings: Sequence[str] = CANDIDATES,
    residuals: Sequence[Residual] = ("level", "last", "season"),
    differences: bool = False,
) -> Choice | None:
    """Return the choice for a panel; None where no window is left to judge by.

    `contexts` rise. A season that is longer than the look-back is no candidate. With `differences`
    those at a season may be read in place of values.
    """
    tried_with = partial(_tried, panel, transform, h, season_length)
    tried = [
        choice
        for scaling in scalings
        for residual in residuals
        if residual != "season" or 1 < season_length <= contexts[0]
        if (scaling, residual) not in ALIKE
        if (choice := tried_with(contexts[0], scaling, residual))
    ]
    if not tried:
        return None
    for L in contexts[1:]:
        least = min(choice.error for choice in tried)
        each = [
            tried_with(L, choice.scaling, choice.residual)
            for choice in tried
            if choice.error <= NEAR * least
        ]
        tried = [choice for choice in each if choice] or tried
    least = min(choice.error for choice in tried)
    found = next(choice for choice in tried if WORTH * choice.error <= least)
    if not differences or not 1 < season_length <= found.context_length:
        return found
    scaling = "shift" if "shift" in scalings else found.scaling
    other = tried_with(found.context_length, scaling, "season", "season")
    return other if other and other.error <= ALMOST * found.error else found


def _tried(
    panel: Panel,
    transform: Transform,
    h: int,
    m: int,
    L: int,
    scaling: str,
    residual: Residual,
    difference: Difference | None = None,
) -> Choice | None:
    base, lags = Base(residual, m), lags_of(difference, m)
    examples = ScaledWindows.of(panel, transform, L, h, base, scaling=scaling, lags=lags)
    last_tenth = len(examples) // (_SHARE * len(panel.ids))
    train, judged = examples.split(max(-(-_JUDGED // len(panel.ids)), last_tenth))
    if len(judged) == 0:
        return None
    R, index = coefficients(train), spread(len(judged), _MOST_JUDGED)
    d, z, truth, size = scaled(judged, index)
    series, M = judged.windows.places(index)[0], len(panel.targets)
    rows = (series[:, None] * M + torch.arange(M)).flatten()
    unit = torch.from_numpy(series_sizes(panel, transform))[rows, None]
    error, naive = (
        ((said - truth).abs() * size / unit).nanmean().item() for said in (say(R, base, d, z), 0.0)
    )
    return Choice(scaling, residual, L, difference, error, naive)
