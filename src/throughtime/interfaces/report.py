"""What the report says, as plain data, and how it is read off a fitted forecaster.

`render` (in `page.py`) knows only `ReportData`, so a report can be made of any model's results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from throughtime.drawing.forecasts import View
from throughtime.forecasting.evaluation.views import stamps, views
from throughtime.interfaces.groups import parted
from throughtime.interfaces.words import reach, unit, verdict

MOST_SERIES = 20
MOST_POINTS = 5000


@dataclass(frozen=True)
class ScoreRow:
    """The errors of one model over all origins, and the measured coverage by level."""

    model: str
    mae: float
    mase: float
    smape: float
    coverage: Mapping[float, float]


@dataclass(frozen=True)
class Learning:
    """One training run: one value an update, and the validation losses in between, if any."""

    losses: Sequence[float]
    grad_norms: Sequence[float]
    clipped: Sequence[bool]
    threshold: float | None
    validation_at: Sequence[int] = ()
    validation: Sequence[float] = ()
    best_index: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class ReportData:
    """All that the report says, as plain data.

    `learning` is the run that made the model, `pilot` the one before it that found, on a
    validation part, how many updates are enough; `diagnosis` is what `Diagnosis.to_dict()` returns,
    `reach` a sentence on how far back the gradient reaches, `tuning` what `Tuning.to_dict()` returns
    of the search that found the settings, if there was one. `settings` are those that all groups of
    members share, `groups` what they differ in; of several, `learning`, `pilot`, `diagnosis` and
    `reach` are the first one's.
    """

    source: str
    model: str
    h: int
    level: Sequence[float]
    facts: Mapping[str, str]
    views: Sequence[View]
    n_series: int
    n_windows: int
    season_length: int
    context_length: int
    step: str
    scores: Sequence[ScoreRow]
    learning: Learning
    diagnosis: Mapping[str, Any]
    reach: str
    settings: Mapping[str, Any]
    version: str
    pilot: Learning | None = None
    tuning: Mapping[str, Any] | None = None
    groups: Sequence[Mapping[str, Any]] = ()
    command: str = ""
    notes: Sequence[str] = ()
    made: str = field(default_factory=lambda: datetime.now().strftime("%Y-%m-%d %H:%M"))

    @property
    def verdict(self) -> str:
        """How the model did against the best baseline."""
        return verdict(self.scores, self.model, self.n_windows)


def report_data(
    forecaster: Any,
    forecast: Any,
    level: Sequence[float],
    *,
    source: str = "the table",
    command: str = "",
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    diagnosis: Any = None,
    tuning: Any = None,
) -> ReportData:
    """Collect what the report says from a fitted forecaster and its forecast (any kind of table).

    `diagnosis` is what the forecaster's `diagnose` returned, where it has been asked already;
    `tuning` what `tt.tune` returned, where it found the settings.
    """
    import throughtime

    panel, backtest = forecaster.panel, forecaster.backtest
    settings, groups = parted(forecaster.settings)
    name, step = forecaster.name, unit(panel.frequency.alias, stamps(panel.ds(0)[:1])[0])
    shown = range(min(max(1, MOST_SERIES // len(panel.targets)), len(panel.ids)))
    return ReportData(
        source=source,
        model=name,
        h=forecaster.h,
        level=tuple(level),
        facts=facts or {},
        views=views(panel, forecast, name, level, shown, MOST_POINTS, backtest),
        n_series=len(panel),
        n_windows=backtest.n_windows,
        season_length=forecaster.season_length,
        context_length=forecaster.context_length,
        step=step,
        scores=[
            ScoreRow(s.model, float(s.mae), float(s.mase), float(s.smape), dict(s.coverage))
            for s in backtest.scores
        ],
        learning=_learning(forecaster.history),
        pilot=_learning(forecaster.pilot) if forecaster.pilot.updates else None,
        diagnosis=(diagnosis or forecaster.diagnose(step=step)).to_dict(),
        reach=reach(forecaster.reach, forecaster.season_length, forecaster.context_length, step),
        settings=settings,
        groups=groups,
        tuning=None if tuning is None else tuning.to_dict(),
        version=throughtime.__version__,
        command=command,
        notes=[*notes, *panel.notes],
    )


def _learning(history: Any) -> Learning:
    updates, evaluations = history.updates, history.evaluations
    return Learning(
        losses=[float(u.loss) for u in updates],
        grad_norms=[float(u.grad_norm) for u in updates],
        clipped=[bool(u.clipped) for u in updates],
        threshold=updates[-1].threshold if updates else None,
        validation_at=[e.index for e in evaluations],
        validation=[float(e.loss) for e in evaluations],
        best_index=history.best_index,
        reason=history.reason,
    )
