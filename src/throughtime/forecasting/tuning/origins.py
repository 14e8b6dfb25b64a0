"""How well settings forecast: the rolling origins at the end of a table, each with what came next.

Origin r = 1..R lies (R - r) h + h steps before the end of every series, as in a back-test. At each a
`Forecaster` is fitted anew to what came before, and its next h values are judged by

    e_r = mean over series, targets and steps of |y - f| / scale

scale being the error of the seasonal naive forecast within the row before that origin, so that
e_r is a mean absolute scaled error (Hyndman and Koehler 2006), in the same unit for all trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import narwhals as nw
import numpy as np
import numpy.typing as npt

from throughtime._errors import DataError
from throughtime.forecasting.evaluation.baselines import LinearAutoregression, Naive, SeasonalNaive
from throughtime.forecasting.evaluation.forecast_columns import prefixes
from throughtime.forecasting.evaluation.metrics import naive_scale
from throughtime.forecasting.forecaster import Forecaster
from throughtime.forecasting.series.demands import windows_that_fit
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.seasons import panel_season_length
from throughtime.training import Observer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Origin:
    """What is known at one origin, the next values [rows, h], and the unit [rows, 1] of errors."""

    known: Panel
    y: Floats
    scale: Floats
    season: int

    def error(self, forecaster: Forecaster, observers: Sequence[Observer]) -> float:
        """Fit to what is known, forecast, and return the mean scaled error."""
        table = forecaster.fit(self.known, observers=observers).predict(level=[])
        made = nw.from_native(table, eager_only=True)
        columns = [made[before + forecaster.name].to_numpy() for before in prefixes(self.known)]
        S, M, h = len(self.known.ids), len(columns), self.y.shape[1]
        forecast = np.stack([column.reshape(S, h) for column in columns], axis=1)
        return self.judge(forecast.reshape(S * M, h))

    def judge(self, forecast: Floats) -> float:
        """Return the mean scaled error of forecasts [rows, h]."""
        return float(np.nanmean(np.abs(self.y - forecast) / self.scale))


def rolling_origins(panel: Panel, h: int, wanted: int, season: int | None) -> tuple[Origin, ...]:
    """Return the origins, the oldest first, as many of them as leave enough to fit to."""
    R = windows_that_fit(panel.cut(h), h, wanted, h)
    if season is None:
        season = panel_season_length(panel.cut(R * h), h)
    made = tuple(_origin(panel, h, ahead, season) for ahead in range(R * h, 0, -h))
    if not all(np.isfinite(origin.y / origin.scale).any() for origin in made):
        raise DataError(
            f"values to judge by in each of the last {R} times {h} steps, of series that varied "
            "before",
            "none in one of them",
            "pass fewer n_windows, or leave out what was not observed",
        )
    return made


def _origin(panel: Panel, h: int, ahead: int, season: int) -> Origin:
    known = panel.cut(ahead)
    M, at = len(panel.targets), {unique_id: i for i, unique_id in enumerate(panel.ids)}
    y = np.full((len(known), h), np.nan)
    for r, unique_id in enumerate(known.row_ids):
        row = panel.row(at[unique_id] * M + r % M)
        y[r] = row[len(row) - ahead :][:h]
    scale = np.array([_scale(known.row(i), season) for i in range(len(known))])
    return Origin(known, y, scale[:, None], season)


def baseline_scores(origins: Sequence[Origin]) -> dict[str, float]:
    """Return what simple forecasts score at the same origins."""
    made = {}
    season = origins[0].season
    for each in (Naive(), SeasonalNaive(season), LinearAutoregression(season=season)):
        errors = [
            origin.judge(np.stack([each.forecast(y, origin.y.shape[1]) for y in known]))
            for origin in origins
            for known in [[origin.known.row(s) for s in range(len(origin.known))]]
        ]
        made[each.name] = fmean(errors)
    return made


def _scale(y: Floats, season: int) -> float:
    """Return the naive error in sample; from step to step where seasons are all alike."""
    made = (naive_scale(y, m) for m in (season, 1))
    return next((scale for scale in made if scale > 0), float("nan"))
