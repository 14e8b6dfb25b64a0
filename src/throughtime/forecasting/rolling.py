"""Rolling origins: the nets are fitted to what was known at each, and judged by what came.

Origin r = 1 ... R lies (R - r) s + h steps before the end of every series, s being the step size. What
is decided from the data is decided by what was known at the first.

Errors of several rows are pooled by how far each usually lies from its forecasts
(`calibration/spread.py`). With one row alone that is left out, as a unit common to all cancels, and
where states are carried: these would be read anew from the beginning, at every origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.calibration.conformity import GRID
from throughtime.forecasting.calibration.intervals import checked_levels
from throughtime.forecasting.calibration.spread import Spread
from throughtime.forecasting.evaluation.backtest import Backtest, judged, roll
from throughtime.forecasting.evaluation.baselines import LinearAutoregression, Naive, SeasonalNaive
from throughtime.forecasting.models.committee import Answers, Committee
from throughtime.forecasting.models.weighing import weighed
from throughtime.forecasting.planning.plan import Call
from throughtime.forecasting.planning.plans import Plans, plan_all
from throughtime.forecasting.planning.trial import tried
from throughtime.forecasting.series.demands import windows_that_fit
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.given import Given

Floats = npt.NDArray[np.float64]

MOST_ORIGINS = 8  # where their number is not given
ENOUGH_ERRORS = 64  # of series times origins
SPAN = 5  # times what the origins span


def origins_for(given: Given, panel: Panel) -> int:
    """Return how many origins are asked for.

    Where the user did not say: of many series fewer, whose errors tell enough, and no more than
    leave half of the longest series before the first, where it is decided how all is forecast.
    """
    if given.n_windows is not None:
        return given.n_windows
    enough = max(2, -(-ENOUGH_ERRORS // len(panel)))
    return max(1, min(MOST_ORIGINS, enough, int(panel.lengths.max()) // 2 // given.h))


def roll_origins(
    call: Call,
    panel: Panel,
    n_windows: int,
    step_size: int,
    level: Sequence[float],
    refit: bool | int | None = None,
    after: int = 0,
) -> tuple[Backtest, Plans]:
    """Make as many rolling origins as fit; also return what was planned at the first.

    With `refit` None one model serves them all where they span little of the history. `after` counts
    the fits that come after them, for which a budget is to last, too.
    """
    h, levels = call.given.h, checked_levels(level)
    R = windows_that_fit(panel, h, n_windows, step_size)
    span = h + (R - 1) * step_size
    if refit is None:
        refit = SPAN * span > int(panel.lengths.max())
    fits = -(-R // int(refit)) if refit else 1
    planned = plan_all(call, panel.cut(span), panel, fits + after)
    design, season = planned.design, planned.design.season_length
    judging, asked = judged(panel, span), () if design.output == "point" else GRID
    own_errors = not asked and not design.carries and len(judging) > 1
    models: list[Answers] = []
    said: list[tuple[Floats, Floats]] = []  # by each of several groups
    spreads: list[Spread] = []

    def forecast(known: Panel, r: int) -> tuple[Floats, Floats | None]:
        """Forecast what is `known` of the judged series; all of them are learned from."""
        nonlocal planned
        if not models or (refit and r % refit == 0):
            every = panel.cut(h + (R - 1 - r) * step_size)
            planned, model = tried(call, planned, every, known, f"back-test {r + 1}/{R}")
            models[:] = [model]
        if own_errors:  # of groups by equal parts (or medians): weights are not known yet
            spreads.append(Spread.of(models[0], known, design.scale))
        if isinstance(models[0], Committee):
            said.append(models[0].said(known, asked))
            point, quantiles = models[0].together(*said[-1])
        else:
            point, quantiles = models[0].distribution(known, asked)
        return point, quantiles if asked else None

    backtest = roll(
        judging,
        call.given.name,
        forecast,
        (Naive(), SeasonalNaive(season), LinearAutoregression(season=season)),
        h=h,
        n_windows=R,
        step_size=step_size,
        season_length=season,
        transform=design.scale,
        levels=levels,
        counts=design.counts,
    )
    if call.given.members.combine == "weighted":
        backtest, weights = weighed(backtest, said)
        planned = replace(planned, weights=weights)
    if own_errors:
        ahead = h + step_size * np.arange(R - 1, -1, -1)
        backtest = replace(
            backtest, spread=Spread.at_origins(spreads, judging.row_lengths > ahead[:, None])
        )
    return backtest, planned
