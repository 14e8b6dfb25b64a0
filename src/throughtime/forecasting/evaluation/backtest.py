"""Forecasts made at rolling origins, beside baselines, with the scores they earn.

Origin r = 1..R lies (R - r) * step_size + h steps before the end of every series. What comes
before it is all that a forecast made there may know; the h values after it judge the forecast.
Intervals at one origin are calibrated on the errors at the other origins, so that the coverage
measured here is honest (`intervals.leave_one_out`). They stand about the points of a model, or
about its quantiles where it says any (`calibration/conformity.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from throughtime.forecasting.calibration.conformity import (
    GRID,
    AroundPoint,
    AroundQuantiles,
    Conformity,
    mean_width,
)
from throughtime.forecasting.calibration.intervals import Calibration, leave_one_out
from throughtime.forecasting.evaluation import metrics
from throughtime.forecasting.evaluation.baselines import Baseline
from throughtime.forecasting.evaluation.forecast_columns import prefixes
from throughtime.forecasting.evaluation.views import backtest_figure
from throughtime.forecasting.preprocessing.steps import series_sizes
from throughtime.forecasting.preprocessing.transforms import Sqrt, Transform
from throughtime.forecasting.series.panel import Panel

if TYPE_CHECKING:
    from throughtime.forecasting.calibration.spread import Common, Spread

Floats = npt.NDArray[np.float64]
MOST_JUDGED = 1000  # series; their errors tell the width of intervals and the scores well enough
COARSE = 0.05  # a chance error of coverage beyond which it is said

Ints = npt.NDArray[np.int64]
# (what is known, number of the origin) -> points [S, h], quantiles [S, h, Q] at GRID or None
Forecast = Callable[[Panel, int], tuple[Floats, Floats | None]]


def judged(panel: Panel, ahead: int) -> Panel:
    """Return the series that judge forecasts: all, or of many (more than 1,000) some, noted.

    They are spread evenly over those with more than `ahead` steps, known at the first origin.
    """
    known = np.flatnonzero(panel.lengths > ahead)
    if len(panel.ids) <= MOST_JUDGED or len(known) == 0:
        return panel
    some = known[np.linspace(0, len(known) - 1, min(MOST_JUDGED, len(known))).astype(np.int64)]
    note = f"{len(some):,} of {len(panel.ids):,} series, spread evenly, judge the forecasts"
    return replace(panel.take(some), notes=(*panel.notes, note))


@dataclass(frozen=True)
class Score:
    """What one model earned, averaged over series and origins; coverage in fractions by level."""

    model: str
    mae: float
    mase: float
    smape: float
    coverage: Mapping[float, float]


@dataclass(frozen=True, eq=False)
class StepCoverage:
    """The share [h] of the values inside their intervals at each step, and their number n [h]."""

    level: float
    shares: Floats
    n: Ints

    @property
    def note(self) -> str:
        """How far a share may be off by chance, where that is more than 5 points; else empty.

        Two standard deviations of a share of n values that know nothing of each other.

        >>> StepCoverage(80, np.array([0.75]), np.array([8])).note
        'of 8 values a step: a share of 80 % can be off by 28 points by chance alone'
        """
        n, p = int(self.n.min()), self.level / 100
        if n == 0:
            return "of no value at some step"
        off = 2 * (p * (1 - p) / n) ** 0.5
        if off <= COARSE:
            return ""
        values = f"{n} value{'s' if n > 1 else ''} a step"
        return (
            f"of {values}: a share of {self.level:g} % can be off by {100 * off:.0f} points "
            "by chance alone"
        )


@dataclass(frozen=True, eq=False)
class Backtest:
    """Values and forecasts at R rolling origins of S series, h steps each (see `judged`).

    `y` [R, S, h] holds the values, `forecasts` the same shape for each model, NaN where there is
    none. `transform` is the scale on which errors are even, and intervals are made. `quantiles`
    [R, S, h, Q] are those of our model, the first, at the levels of `conformity.GRID`, where it
    says any; `counts` says that they are of whole numbers. `spread` [R, S] is what was known at each
    origin of how far each series lies from its forecasts, where errors are pooled by that.
    """

    panel: Panel
    h: int
    n_windows: int
    step_size: int
    season_length: int
    transform: Transform
    levels: tuple[float, ...]
    y: Floats
    forecasts: Mapping[str, Floats]
    quantiles: Floats | None = None
    counts: bool = False
    spread: Spread | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, ours first."""
        return tuple(self.forecasts)

    @cached_property
    def sizes(self) -> Floats:
        """The units in which errors are pooled: sigma [R, S] (`calibration/spread.py`) or mean steps [S]."""
        if self.spread is None:
            return series_sizes(self.panel, self.transform)
        assert self.common is not None
        return self.spread.left_out(self.common, self._errors)

    @cached_property
    def common(self) -> Common | None:
        """What the rows have in common of their `spread`, as our model's errors tell."""
        return None if self.spread is None else self.spread.common(self._errors)

    @property
    def bent(self) -> bool:
        """Say if errors about points are even on the fourth root (`calibration/conformity.py`)."""
        learned = self.common is not None and self.common.bent
        return learned and isinstance(self.transform, Sqrt)

    @property
    def _errors(self) -> Floats:
        """Return the errors [R, S, h] of our model on the transformed scale."""
        f = self.transform
        return f.forward(self.y) - f.forward(f.nearest(self.forecasts[self.models[0]]))

    def around(self, model: str) -> Conformity:
        """Return what the errors of `model` are measured by, over all origins."""
        if self.quantiles is not None and model == self.models[0]:
            return self._around(self.in_errors)
        return AroundPoint(self.forecasts[model], self.sizes, self.transform, self.bent)

    @cached_property
    def in_errors(self) -> bool:
        """Say if our model's scores are steadier in units of an error (`calibration/conformity.py`).

        They are where the 80 % intervals, each origin calibrated by the others, then cost less:
        width plus what sticks out (Gneiting and Raftery 2007), on the transformed scale.
        """
        if self.quantiles is None or self.n_windows < 3:
            return True
        f, costs = self.transform, []
        y = f.forward(self.y) / self.sizes[:, None]
        for in_errors in (True, False):
            ends = self._left_out(self._around(in_errors), 80)
            lo, hi = (f.forward(f.nearest(end)) / self.sizes[:, None] for end in ends)
            costs.append(np.nanmean(metrics.interval_loss(y, lo, hi, 80)))
        return bool(costs[0] <= costs[1])

    def _around(self, in_errors: bool) -> AroundQuantiles:
        assert self.quantiles is not None
        unit = mean_width(self.quantiles, self.sizes, self.transform) if in_errors else 1.0
        return AroundQuantiles(self.quantiles, self.transform, self.counts, unit)

    def residuals(self, model: str) -> Floats:
        """Return the scores [R, S, h] of the values about the forecasts of `model`."""
        return self.around(model).score(self.y)

    def calibration(self, model: str) -> Calibration:
        """Return what all origins together say about the width of the model's intervals."""
        return Calibration.fit(self.residuals(model), self.around(model).rises)

    @cached_property
    def intervals(self) -> dict[str, dict[float, tuple[Floats, Floats]]]:
        """Lower and upper ends [R, S, h] by model and level; empty with a single origin."""
        if self.n_windows < 2:
            return {}
        return {model: self._intervals(model) for model in self.models}

    def _intervals(self, model: str) -> dict[float, tuple[Floats, Floats]]:
        around = self.around(model)
        return {level: self._left_out(around, level) for level in self.levels}

    def _left_out(self, around: Conformity, level: float) -> tuple[Floats, Floats]:
        """Return the ends [R, S, h] at each origin by the calibration of the others."""
        calibrations = leave_one_out(around.score(self.y), around.rises)
        half = np.stack([each.half(level, self.h) for each in calibrations])[:, None]
        return around.value(-half), around.value(half)

    @cached_property
    def coverage_by_step(self) -> dict[str, dict[float, StepCoverage]]:
        """The measured coverage of every model at every level, step by step of the horizon."""
        return {
            model: {level: self._coverage(level, *ends) for level, ends in made.items()}
            for model, made in self.intervals.items()
        }

    def _coverage(self, level: float, lo: Floats, hi: Floats) -> StepCoverage:
        inside = metrics.inside(self.y, lo, hi).reshape(-1, self.h)
        n = (~np.isnan(inside)).sum(axis=0)
        shares = np.where(n > 0, np.nansum(inside, axis=0) / np.maximum(n, 1), np.nan)
        return StepCoverage(level, shares, n)

    @cached_property
    def coverage_table(self) -> pa.Table:
        """The coverage as a pyarrow table: model, level, step, coverage, n."""
        rows = [
            (model, level, k + 1, float(each.shares[k]), int(each.n[k]))
            for model, levels in self.coverage_by_step.items()
            for level, each in levels.items()
            for k in range(self.h)
        ]
        names = ("model", "level", "step", "coverage", "n")
        return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """MAE, MASE, sMAPE and measured coverage of every model.

        MASE is scaled by the seasonal naive error within the part of the series before each
        origin (season `season_length`), then averaged over origins and series.
        """
        return tuple(self._score(model) for model in self.models)

    def _score(self, model: str) -> Score:
        f = self.forecasts[model]
        scaled = np.abs(self.y - f) / self._naive_scales[..., None]
        ends = self.intervals.get(model, {})
        return Score(
            model,
            metrics.mae(self.y, f),
            float(np.nanmean(scaled)) if np.isfinite(scaled).any() else float("nan"),
            metrics.smape(self.y, f),
            {level: metrics.coverage(self.y, lo, hi) for level, (lo, hi) in ends.items()},
        )

    def plot(self, series: Any = None) -> Any:
        """Draw what was forecast at each origin, and what then came, as a plotly figure.

        `series` is a name or several, the first few where None. Origins that overlap are left out.
        Raises `MissingExtraError` where plotly is not installed.
        """
        return backtest_figure(self, series)

    @cached_property
    def _naive_scales(self) -> Floats:
        scales = np.full(self.y.shape[:2], np.nan)
        for s in range(len(self.panel)):
            series = self.panel.row(s)
            for r in range(self.n_windows):
                known = series[: max(0, len(series) - self.ahead(r))]
                scales[r, s] = metrics.naive_scale(known, self.season_length)
        return np.where(scales > 0, scales, np.nan)

    def ahead(self, r: int) -> int:
        """Return how many steps before the end of the series origin r lies."""
        return self.h + (self.n_windows - 1 - r) * self.step_size

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """`unique_id`, `ds`, `cutoff`, `y`, a column a model and two a level, row by row.

        A column of values has the target's own name; with several, those made for `load` are
        `load-LSTM`, `load-LSTM-lo-80` and so on.
        """
        R, _, h = self.y.shape
        panel = self.panel
        origin = panel.lengths[None, :] - np.array([self.ahead(r) for r in range(R)])[:, None]
        k = (origin[..., None] + np.arange(h)).reshape(-1)
        starts = np.tile(np.repeat(panel.starts, h), R)
        at = panel.frequency.at
        made = {
            "unique_id": np.tile(np.repeat(np.array(panel.ids, dtype=object), h), R),
            "ds": at(starts, k),
            "cutoff": at(starts, np.repeat(origin.reshape(-1), h) - 1),
        }
        for m, (target, prefix) in enumerate(zip(panel.targets, prefixes(panel), strict=True)):

            def put(name: str, values: Floats, m: int = m) -> None:
                made[name] = values[:, m :: len(panel.targets)].reshape(-1)

            put(target, self.y)
            for model in self.models:
                put(prefix + model, self.forecasts[model])
                for level, (lo, hi) in self.intervals.get(model, {}).items():
                    put(f"{prefix}{model}-lo-{level:g}", lo)
                    put(f"{prefix}{model}-hi-{level:g}", hi)
        judged = ~np.isnan(made[prefixes(panel)[0] + self.models[0]])
        return {name: values[judged] for name, values in made.items()}

    @cached_property
    def table(self) -> pa.Table:
        """The back-test as a pyarrow table."""
        return pa.table({name: pa.array(values) for name, values in self.columns.items()})


def roll(
    panel: Panel,
    name: str,
    forecast: Forecast,
    baselines: Sequence[Baseline],
    *,
    h: int,
    n_windows: int,
    step_size: int,
    season_length: int,
    transform: Transform,
    levels: Sequence[float],
    counts: bool = False,
) -> Backtest:
    """Make the forecasts of a model (called `name`) and of the baselines at every origin.

    `counts` says that the model's quantiles are of whole numbers. Raises `DataError` where no series is long enough for the first origin.
    """
    y = np.full((n_windows, len(panel), h), np.nan)
    forecasts = {each: y.copy() for each in (name, *(b.name for b in baselines))}
    quantiles: Floats | None = None
    for r in range(n_windows):
        ahead = h + (n_windows - 1 - r) * step_size
        known = panel.cut(ahead)
        rows = np.flatnonzero(panel.row_lengths > ahead)
        forecasts[name][r, rows], said = forecast(known, r)
        if said is not None:
            if quantiles is None:
                quantiles = np.full((*y.shape, len(GRID)), np.nan)
            quantiles[r, rows] = said
        for i, s in enumerate(rows.tolist()):
            series = panel.row(s)
            y[r, s] = series[len(series) - ahead : len(series) - ahead + h]
            for baseline in baselines:
                forecasts[baseline.name][r, s] = baseline.forecast(known.row(i), h)
    return Backtest(
        panel,
        h,
        n_windows,
        step_size,
        season_length,
        transform,
        tuple(levels),
        y,
        forecasts,
        quantiles,
        counts,
    )
