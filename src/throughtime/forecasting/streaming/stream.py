"""What `update` moves on since a fit: states and scales, coverage, and an optimiser that learns on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._errors import SettingError
from throughtime.forecasting.calibration.online import Coverage
from throughtime.forecasting.calibration.spread import Spread
from throughtime.forecasting.evaluation.backtest import Backtest
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.models.committee import even, widest
from throughtime.forecasting.models.state import State
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.streaming import rows
from throughtime.forecasting.streaming.learning import MOST_LOSSES, Learner

Floats = npt.NDArray[np.float64]


@dataclass(eq=False)
class Stream:
    """Where a fitted forecaster stands in its stream; a new one stands where the fit ended.

    `state` is None until it is asked for; `ahead` is the table of covariates known ahead that came
    with the newest rows, `losses` those before each update of the weights. `spread` is that of what
    was fitted, measured when first asked for and before the weights change.
    """

    coverage: Coverage
    state: State | None = None
    learner: Learner | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_LOSSES))
    ahead: Any = None
    spread: Spread | None = None

    def state_after(self, fitted: Fitted) -> State:
        """Return what is carried of every series."""
        if self.state is None:
            model = widest(fitted.model)
            self.state = State.read(fitted.panel, model.design, model.channels, model.network)
        return self.state

    def newest(self, fitted: Fitted) -> Panel:
        """Return what was fitted, or the newest part of it and of the rows since."""
        panel, carries = fitted.panel, fitted.model.design.carries
        if self.state is None and not carries:
            return panel
        state = self.state_after(fitted)
        if len(state) > len(panel.ids) or (state.arrays["lengths"] > panel.lengths).any():
            return state.panel
        return replace(panel, memory=state) if carries else panel

    def spread_of(self, fitted: Fitted, panel: Panel, backtest: Backtest | None) -> Spread | None:
        """Return how far the series of what was fitted, and went on to a panel, lie from forecasts.

        None where errors were not pooled by that.
        """
        if backtest is None or backtest.spread is None:
            return None
        if self.spread is None:
            self.spread = Spread.of(even(fitted.model), fitted.panel, backtest.transform)
        return self.spread.moved_to(panel, backtest.transform)

    def issue(self, panel: Panel, ends: Mapping[float, tuple[Floats, Floats]]) -> None:
        """Remember intervals by level, to be scored by the values that `update` will bring."""
        lengths = panel.lengths if self.state is None else self.state.arrays["lengths"]
        shape = len(ends), len(lengths), len(panel.targets), -1
        low, high = (np.stack(each).reshape(shape) for each in zip(*ends.values(), strict=True))
        self.coverage.issue(tuple(ends), lengths, low, high)

    def update(self, fitted: Fitted, data: Any, ahead: Any, learn: bool) -> None:
        """Move on by new rows, learning from them or not."""
        first, *others = fitted.model.models
        if learn and others:
            raise SettingError(
                "one context, architecture and cell to learn on with",
                f"{1 + len(others)} groups of members",
                "leave learn out, or fit again with warm_start=True",
            )
        if learn and self.learner is None:
            self.learner = Learner(first, self.losses)
        learner = self.learner if learn else None
        rows.update(self.state_after(fitted), self.coverage, data, learner)
        self.ahead = ahead
