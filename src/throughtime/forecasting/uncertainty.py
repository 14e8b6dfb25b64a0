"""From what a model says and what its rolling origins say of it, to intervals and to sample paths.

    around         the point, or quantiles, that a value is scored about     `calibration/conformity.py`
    calibration    how large scores were at the rolling origins, c(level)    `calibration/intervals.py`
    copula         what ties the steps' scores together                      `calibration/copula.py`

    interval       the values at scores -c_k(level) and c_k(level), times what a stream says
                   (`calibration/online.py`)
    path           the values at scores g_k stretched so that |g| = Phi^-1((1 + level)/2) goes to c_k(level)

Both have the same quantiles at every step. Quantiles without rolling origins are taken as they are.
The paths of a model that draws its own keep their order at every step (ensemble copula coupling),
so that what ties their steps together stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from throughtime._errors import NotFittedError
from throughtime.forecasting.calibration import copula
from throughtime.forecasting.calibration.conformity import (
    GRID,
    AroundPoint,
    AroundQuantiles,
    Conformity,
    mean_width,
)
from throughtime.forecasting.calibration.intervals import Calibration
from throughtime.forecasting.calibration.online import Coverage
from throughtime.forecasting.calibration.spread import Spread
from throughtime.forecasting.evaluation.backtest import Backtest
from throughtime.forecasting.evaluation.forecast_columns import prefixes
from throughtime.forecasting.models.committee import Answers, even
from throughtime.forecasting.models.nets import PATHS
from throughtime.forecasting.preprocessing.steps import series_sizes
from throughtime.forecasting.series.panel import Panel

Floats = npt.NDArray[np.float64]

LEVELS = (*range(2, 100, 2), 95, 99, 99.5)  # per cent, at which a stretch is what intervals have


@dataclass(frozen=True, eq=False)
class Forecast:
    """Points [rows, h], what values are scored about, and the calibration (None: there is none).

    `coverage` is that of a stream, whose factors the ends of intervals are multiplied by.
    """

    point: Floats
    around: Conformity
    calibration: Calibration | None
    coverage: Coverage | None = None

    @classmethod
    def of(
        cls,
        model: Answers,
        panel: Panel,
        h: int,
        backtest: Backtest | None,
        interval: bool = True,
        coverage: Coverage | None = None,
        spread: Spread | None = None,
    ) -> Forecast:
        """Ask a model for the h steps after a panel; without `interval`, for points alone.

        `spread` is that of the panel, where it is known already.
        Raises `NotFittedError` where points are all it says, and there are no rolling origins.
        """
        design = model.design
        scale = design.scale if backtest is None else backtest.transform
        says = design.output != "point" and (backtest is None or backtest.quantiles is not None)
        ask = GRID if says and interval else ()
        point, quantiles = model.distribution(panel, ask, max(h, design.h))
        point = point[:, :h]
        if says or not interval:
            unit: Floats | float = 1.0
            if interval and backtest is not None and backtest.in_errors:
                sizes = series_sizes(panel, scale)
                unit = mean_width(quantiles[:, : design.h], sizes, scale)
            around: Conformity = AroundQuantiles(quantiles[:, :h], scale, design.counts, unit)
        else:
            if backtest is None:
                raise NotFittedError(
                    "a back-test", "none", "call fit with n_windows above 0, or cross_validation"
                )
            sizes = _sizes(model, panel, backtest, spread)
            around = AroundPoint(point, sizes, scale, backtest.bent)
        calibration = None if backtest is None else backtest.calibration(backtest.models[0])
        return cls(point, around, calibration, coverage)

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Return lower and upper ends [rows, h] at `level` percent."""
        if self.calibration is None:
            half = np.asarray(NormalDist().inv_cdf((1 + level / 100) / 2))
        else:
            half = self.calibration.half(level, self.point.shape[-1])
        if self.coverage is not None:
            half = half * self.coverage.factor(level, self.point.shape[-1])
        return self.around.value(-half), self.around.value(half)

    def columns(
        self, panel: Panel, name: str, ends: Mapping[float, tuple[Floats, Floats]]
    ) -> dict[str, Any]:
        """Return the columns of a table of forecasts, by target; `ends` are intervals by level."""
        h, prefix = self.point.shape[-1], prefixes(panel)
        ids, ds = panel.future(h)
        made: dict[str, Any] = {"unique_id": ids, "ds": ds}
        for m, before in enumerate(prefix):
            rows = slice(m, None, len(prefix))
            made[f"{before}{name}"] = self.point[rows].reshape(-1)
            for level, (lo, hi) in ends.items():
                made[f"{before}{name}-lo-{level:g}"] = lo[rows].reshape(-1)
                made[f"{before}{name}-hi-{level:g}"] = hi[rows].reshape(-1)
        return made

    def at(self, g: Floats) -> Floats:
        """Return the values [n, rows, h] at standard normal variables g."""
        return self.around.value(g if self.calibration is None else stretched(self.calibration, g))


def _sizes(model: Answers, panel: Panel, backtest: Backtest, spread: Spread | None) -> Floats:
    """Return what scores [rows, h] are in units of, as they were when they were calibrated."""
    if backtest.common is None:
        return series_sizes(panel, backtest.transform)
    if spread is None:
        spread = Spread.of(even(model), panel, backtest.transform)
    return spread.sizes(backtest.common)


def stretched(calibration: Calibration, g: Floats) -> Floats:
    """Return scores [..., h] that are distributed as calibrated, from standard normal ones."""
    h = g.shape[-1]
    knots, values = _stretch(calibration)
    size = np.interp(np.abs(g), knots, values)
    beyond = np.abs(g) > knots[-1]
    size = np.where(beyond, values[-1] * np.abs(g) / knots[-1], size)
    return np.asarray(np.sign(g) * size * calibration.scales(h))


def normal_scores(calibration: Calibration, scores: Floats) -> Floats:
    """Return the standard normal variables of scores [..., h] by their order among all.

    A score that n of N were below in size is at the level (n + 1/2) / (N + 1).
    """
    scale = calibration.scales(scores.shape[-1])
    size, known = np.abs(scores) / np.where(scale > 0, scale, 1.0), calibration.scores
    below = np.searchsorted(known, size, side="left")
    middle = (below + np.searchsorted(known, size, side="right")) / 2
    level = torch.from_numpy((middle + 0.5) / (len(known) + 1))
    z = torch.special.ndtri((1 + level) / 2).numpy()
    return np.where(np.isnan(scores), np.nan, np.sign(scores) * z)


def paths(
    model: Answers,
    panel: Panel,
    h: int,
    backtest: Backtest | None,
    n: int,
    seed: int,
    spread: Spread | None = None,
) -> Floats:
    """Draw n sample paths [n, rows, h] of the h steps after every series.

    Raises `NotFittedError` where nothing is known of what ties the steps together.
    """
    forecast = Forecast.of(model, panel, h, backtest, spread=spread)
    rng = np.random.default_rng(seed)
    if model.design.draws:
        own = model.paths(panel, max(n, PATHS), h, seed)
        u = copula.ranks(own, rng)[rng.permutation(len(own))[:n]]
        return forecast.at(torch.special.ndtri(torch.from_numpy(u)).numpy())
    if backtest is None or forecast.calibration is None:
        raise NotFittedError(
            "a back-test, whose errors tie the steps together",
            "none",
            "call fit with n_windows above 0, or cross_validation",
        )
    R = tied(backtest, forecast.calibration, h)
    g = copula.draw(R, n * len(panel.ids), rng)
    return forecast.at(g.reshape(n, len(panel), h))


def tied(backtest: Backtest, calibration: Calibration, h: int) -> Floats:
    """Return the correlations [M h, M h] of the first h steps' scores at the rolling origins."""
    w = normal_scores(calibration, backtest.residuals(backtest.models[0]))[..., :h]
    w = w.reshape(-1, len(backtest.panel.targets), h)
    return copula.correlation(w[~np.isnan(w).all(axis=(1, 2))])


def _stretch(calibration: Calibration) -> tuple[Floats, Floats]:
    """Return levels as normal scores, from 0, and the calibrated size of scores at each."""
    levels = sorted(LEVELS)
    knots = [0.0, *(NormalDist().inv_cdf((1 + level / 100) / 2) for level in levels)]
    return np.array(knots), np.array([0.0, *map(calibration.quantile, levels)])
