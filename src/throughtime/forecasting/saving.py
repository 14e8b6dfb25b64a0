"""Forecasters to files: what `predict` needs, and what tells how the forecast came about.

    given             the arguments of the constructor, for the next `fit`
    design            what was decided before the last one
    panel             the series, as numbers, and how their table came in
    model             the maps A_k, and the weights of the nets by their names in PyTorch
    backtest          values and forecasts at the rolling origins; its panel where that is another
    state             what `update` has carried on, if it has, with the coverage of intervals
    learner           the optimiser of an `update` that learns
    spread            how far series lie from their forecasts, if it was measured
    history, pilot    updates and evaluations; of further groups of members history-1, pilot-1 ...
    choice            the architectures that were tried, where one was chosen

Scores, intervals, tables and reach follow from these, and are computed again by `loading.py`.
"""

from __future__ import annotations

import os

from throughtime import _archive
from throughtime._archive import Format, Snapshot
from throughtime._files import check_writable
from throughtime.forecasting.evaluation.backtest import Backtest
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.planning.choosing import Choice
from throughtime.forecasting.settings.given import Given
from throughtime.forecasting.storage.backtest import pack_backtest
from throughtime.forecasting.storage.given import pack_given
from throughtime.forecasting.storage.model import pack_model
from throughtime.forecasting.storage.panel import pack_panel
from throughtime.forecasting.storage.spread import pack_spread
from throughtime.forecasting.storage.state import pack_state
from throughtime.forecasting.streaming.stream import Stream
from throughtime.training.checkpoint import pack_history

HISTORIES = "history", "pilot"

FORMAT = Format(
    "throughtime forecaster",
    1,
    "a forecaster that was saved",
    "pass a file that Forecaster.save wrote, or fit anew",
)


def save(
    path: str | os.PathLike[str],
    given: Given,
    fitted: Fitted,
    backtest: Backtest | None,
    stream: Stream,
    choice: Choice | None,
) -> None:
    """Write all that makes a fitted forecaster to one file, whole or not at all.

    Raises `SettingError` where `path` cannot be written.
    """
    path = os.path.expanduser(path)
    check_writable(path)
    whole = Snapshot(facts={"given": pack_given(given)})
    if choice is not None:
        whole.facts["choice"] = choice.to_dict()
    whole.include("panel", pack_panel(fitted.panel))
    whole.include("model", pack_model(fitted.model))
    if stream.state is not None:
        whole.include("state", pack_state(stream.state))
    if stream.coverage.theta:
        whole.include("coverage", stream.coverage.pack())
    if stream.learner is not None:
        whole.include("learner", stream.learner.snapshot())
    if stream.spread is not None:
        whole.include("spread", pack_spread(stream.spread))
    if backtest is not None:
        whole.include("backtest", pack_backtest(backtest, fitted.panel))
    for g, each in enumerate(fitted.each):
        for name, history in zip(HISTORIES, (each.history, each.pilot), strict=True):
            part = pack_history(history)
            part.facts["reason"] = history.reason
            whole.include(of_group(name, g), part)
    _archive.write(path, FORMAT, whole)


def of_group(name: str, g: int) -> str:
    """Return the name of a part; that of the first group is as it is without any."""
    return f"{name}-{g}" if g else name
