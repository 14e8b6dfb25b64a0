"""Floor 4. From a table of series to forecasts with honest intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:  # the same names once more, for type checkers and editors
    from throughtime.forecasting.calibration.intervals import Calibration as Calibration
    from throughtime.forecasting.evaluation import metrics as metrics
    from throughtime.forecasting.evaluation.baselines import (
        LinearAutoregression as LinearAutoregression,
    )
    from throughtime.forecasting.evaluation.baselines import Naive as Naive
    from throughtime.forecasting.evaluation.baselines import SeasonalNaive as SeasonalNaive
    from throughtime.forecasting.series.frame import read_frame as read_frame
    from throughtime.forecasting.series.frequency import Frequency as Frequency
    from throughtime.forecasting.series.panel import Panel as Panel
    from throughtime.forecasting.series.parquet import read_parquet as read_parquet
    from throughtime.forecasting.series.seasons import panel_season_length as panel_season_length
    from throughtime.forecasting.series.seasons import season_length as season_length
    from throughtime.forecasting.series.windows import Windows as Windows

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Calibration": "throughtime.forecasting.calibration.intervals",
        "Frequency": "throughtime.forecasting.series.frequency",
        "LinearAutoregression": "throughtime.forecasting.evaluation.baselines",
        "Naive": "throughtime.forecasting.evaluation.baselines",
        "Panel": "throughtime.forecasting.series.panel",
        "SeasonalNaive": "throughtime.forecasting.evaluation.baselines",
        "Windows": "throughtime.forecasting.series.windows",
        "metrics": "throughtime.forecasting.evaluation.metrics",
        "panel_season_length": "throughtime.forecasting.series.seasons",
        "read_frame": "throughtime.forecasting.series.frame",
        "read_parquet": "throughtime.forecasting.series.parquet",
        "season_length": "throughtime.forecasting.series.seasons",
    },
)
