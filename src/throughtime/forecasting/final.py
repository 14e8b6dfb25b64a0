"""The fit of a forecaster as a whole: its rolling origins, and then the nets on everything."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.diagnostics import Watch
from throughtime.forecasting import fitting
from throughtime.forecasting.backtest import Backtest
from throughtime.forecasting.fitted import Fitted
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.planning import Call, Plan, plan, plan_anew
from throughtime.forecasting.rolling import origins_for, roll_origins

LOOKS = 30  # at the gradient over time in the final fit


def fit_whole(
    call: Call, panel: Panel, level: Sequence[float]
) -> tuple[Fitted, Backtest | None, Plan]:
    """Fit to a panel; also return the rolling origins, if any were asked for, and the plan.

    The origins are by what the first of them could decide, the final fit by what all of it tells.
    """
    n_windows = origins_for(call.given, panel)
    backtest = None
    if n_windows:
        backtest, planned = roll_origins(call, panel, n_windows, call.given.h, level, after=1)
        final = plan_anew(call, planned, panel)  # a longer past may tell more
    else:
        final = plan(call, panel, panel)
    return fit_everything(call, panel, final), backtest, final


def fit_everything(call: Call, panel: Panel, planned: Plan) -> Fitted:
    """Fit the nets to all of a panel, or as far as they came where Ctrl-C breaks that off."""
    start, watch = call.start, Watch(every=max(1, planned.updates // LOOKS))
    model, history = fitting.fit(
        panel,
        planned.design,
        planned.updates,
        (*call.observers, watch),
        "final fit",
        call.runs,
        partial=True,
        start=None if start is None else start.model,
    )
    if history.reason != "interrupted":
        call.runs.finish()
    log = None if call.runs.took_up else watch.log
    return Fitted(panel, model, history, planned.pilot, log)
