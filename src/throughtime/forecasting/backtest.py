"""Forecasts made at rolling origins, beside baselines, with the scores they earn.

Origin r = 1..R lies (R - r) * step_size + h steps before the end of every series. What comes
before it is all that a forecast made there may know; the h values after it judge the forecast.
Intervals at one origin are calibrated on the errors at the other origins, so that the coverage
measured here is honest (`intervals.leave_one_out`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from throughtime.forecasting import metrics
from throughtime.forecasting.baselines import Baseline
from throughtime.forecasting.frame import Panel
from throughtime.forecasting.intervals import Calibration, leave_one_out
from throughtime.forecasting.transforms import Transform

Floats = npt.NDArray[np.float64]
Forecast = Callable[[Panel, int], Floats]  # (what is known, number of the origin) -> [S, h]


@dataclass(frozen=True)
class Score:
    """What one model earned, averaged over series and origins; coverage in fractions by level."""

    model: str
    mae: float
    mase: float
    smape: float
    coverage: Mapping[float, float]


@dataclass(frozen=True, eq=False)
class Backtest:
    """Values and forecasts at R rolling origins of S series, h steps each.

    `y` [R, S, h] holds the values, `forecasts` the same shape for each model, NaN where there is
    none. `transform` is the scale on which errors are even, and intervals are made.
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

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, ours first."""
        return tuple(self.forecasts)

    @cached_property
    def sizes(self) -> Floats:
        """The size [S] of each series' steps on the transformed scale, to pool errors by."""
        return series_sizes(self.panel, self.transform)

    def residuals(self, model: str) -> Floats:
        """Return the errors [R, S, h] of `model` on the transformed scale, in units of `sizes`."""
        made = self.transform.nearest(self.forecasts[model])
        errors = self.transform.forward(self.y) - self.transform.forward(made)
        return np.asarray(errors / self.sizes[:, None])

    def calibration(self, model: str) -> Calibration:
        """Return what all origins together say about the width of the model's intervals."""
        return Calibration.fit(self.residuals(model))

    @cached_property
    def intervals(self) -> dict[str, dict[float, tuple[Floats, Floats]]]:
        """Lower and upper ends [R, S, h] by model and level; empty with a single origin."""
        if self.n_windows < 2:
            return {}
        return {model: self._intervals(model) for model in self.models}

    def _intervals(self, model: str) -> dict[float, tuple[Floats, Floats]]:
        calibrations = leave_one_out(self.residuals(model))
        ends = {}
        for level in self.levels:
            made = [
                interval(calibration, self.transform, forecast, self.sizes, level)
                for calibration, forecast in zip(calibrations, self.forecasts[model], strict=True)
            ]
            ends[level] = (np.stack([lo for lo, _ in made]), np.stack([hi for _, hi in made]))
        return ends

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

    @cached_property
    def _naive_scales(self) -> Floats:
        scales = np.full(self.y.shape[:2], np.nan)
        for s in range(len(self.panel)):
            series = self.panel.row(s)
            for r in range(self.n_windows):
                known = series[: max(0, len(series) - self._ahead(r))]
                scales[r, s] = metrics.naive_scale(known, self.season_length)
        return np.where(scales > 0, scales, np.nan)

    def _ahead(self, r: int) -> int:
        """How many steps before the end of the series origin r lies."""
        return self.h + (self.n_windows - 1 - r) * self.step_size

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """`unique_id`, `ds`, `cutoff`, `y`, a column a model and two a level, row by row."""
        R, _, h = self.y.shape
        M = len(self.panel.targets)
        lengths, starts = self.panel.row_lengths, np.repeat(self.panel.starts, M)
        origin = lengths[None, :] - np.array([self._ahead(r) for r in range(R)])[:, None]
        k = (origin[..., None] + np.arange(h)).reshape(-1)
        starts = np.tile(np.repeat(starts, h), R)
        at = self.panel.frequency.at
        made = {
            "unique_id": np.tile(np.repeat(np.array(self.panel.row_ids, dtype=object), h), R),
            "ds": at(starts, k),
            "cutoff": at(starts, np.repeat(origin.reshape(-1), h) - 1),
            "y": self.y.reshape(-1),
        }
        for model in self.models:
            made[model] = self.forecasts[model].reshape(-1)
            for level, (lo, hi) in self.intervals.get(model, {}).items():
                made[f"{model}-lo-{level:g}"] = lo.reshape(-1)
                made[f"{model}-hi-{level:g}"] = hi.reshape(-1)
        judged = ~np.isnan(made[self.models[0]])
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
) -> Backtest:
    """Make the forecasts of a model (called `name`) and of the baselines at every origin.

    Raises `DataError` where no series is long enough for the first origin.
    """
    y = np.full((n_windows, len(panel), h), np.nan)
    forecasts = {each: y.copy() for each in (name, *(b.name for b in baselines))}
    for r in range(n_windows):
        ahead = h + (n_windows - 1 - r) * step_size
        known = panel.cut(ahead)
        rows = np.flatnonzero(panel.row_lengths > ahead)
        forecasts[name][r, rows] = forecast(known, r)
        for i, s in enumerate(rows):
            series = panel.row(s)
            y[r, s] = series[len(series) - ahead : len(series) - ahead + h]
            for baseline in baselines:
                forecasts[baseline.name][r, s] = baseline.forecast(known.row(i), h)
    return Backtest(
        panel, h, n_windows, step_size, season_length, transform, tuple(levels), y, forecasts
    )


def interval(
    calibration: Calibration,
    transform: Transform,
    point: Floats,
    sizes: Floats,
    level: float,
    factor: Floats | float = 1.0,
) -> tuple[Floats, Floats]:
    """Return lower and upper ends around `point` [S, h], made on the transformed scale.

    `factor` [h] is what half-widths are multiplied by (`online.py`).
    """
    size = sizes[:, None]
    middle = transform.forward(transform.nearest(point))
    lower, upper = calibration.interval(middle / size, level, factor=factor)
    return transform.inverse(lower * size), transform.inverse(upper * size)


def series_sizes(panel: Panel, transform: Transform) -> Floats:
    """Return the mean absolute step [rows] of each row on the transformed scale; 1 where it is 0."""
    if panel.memory is not None and panel.memory.knows(transform.name):
        sizes = panel.memory.sizes(transform.name)
        return np.where(sizes > 0, sizes, 1.0)
    total, count = np.zeros(len(panel)), np.zeros(len(panel))
    for rows, y, offsets in panel.pieces():
        steps = np.abs(np.diff(transform.forward(y.astype(np.float64, copy=False)), append=np.nan))
        steps[offsets[1:] - 1] = np.nan  # from one row into the next is no step
        observed = ~np.isnan(steps)
        total[rows] += np.add.reduceat(np.where(observed, steps, 0.0), offsets[:-1])
        count[rows] += np.add.reduceat(observed, offsets[:-1], dtype=np.int64)
    sizes = total / np.maximum(count, 1)
    return np.where(sizes > 0, sizes, 1.0)
