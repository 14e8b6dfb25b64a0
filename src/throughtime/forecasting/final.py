"""The fit of a forecaster as a whole: its rolling origins, and then the nets on everything."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.diagnostics import Watch
from throughtime.forecasting.evaluation.backtest import Backtest
from throughtime.forecasting.fitting import fitting
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.planning.plan import Call, Plan
from throughtime.forecasting.planning.plans import Plans, plan_all, plan_all_anew
from throughtime.forecasting.rolling import origins_for, roll_origins
from throughtime.forecasting.series.panel import Panel

LOOKS = 30  # at the gradient over time in the final fit


def fit_whole(
    call: Call, panel: Panel, level: Sequence[float]
) -> tuple[Fitted, Backtest | None, Plans]:
    """Fit to a panel; also return the rolling origins, if any were asked for, and the plans.

    The origins are by what the first of them could decide, the final fit by what all of it tells.
    """
    n_windows = origins_for(call.given, panel)
    backtest = None
    if n_windows:
        backtest, planned = roll_origins(call, panel, n_windows, call.given.h, level, after=1)
        final = plan_all_anew(call, planned, panel)  # a longer past may tell more
    else:
        final = plan_all(call, panel, panel).tried(stays=False)
    alone = not call.given.groups  # a part of several groups is no forecaster
    parts = [fit_everything(each, panel, planned, alone) for each, planned in final.of(call)]
    if parts[-1].history.reason != "interrupted":
        call.runs.finish()
    return Fitted.together(parts, call.given.members.between, final.weights), backtest, final


def fit_everything(call: Call, panel: Panel, planned: Plan, partial: bool) -> Fitted:
    """Fit the nets to all of a panel; a `partial` fit goes as far as Ctrl-C let them come."""
    start, watch = call.start, Watch(every=max(1, planned.updates // LOOKS))
    model, history = fitting.fit(
        panel,
        planned.design,
        planned.updates,
        (*call.observers, watch),
        f"final fit{call.of}",
        call.runs,
        partial=partial,
        start=None if start is None else start.model.models[0],
    )
    log = None if call.runs.took_up else watch.log
    return Fitted(panel, model, history, planned.pilot, log)
