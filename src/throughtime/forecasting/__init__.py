"""Floor 4. From a table of series to forecasts with honest intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:  # the same names once more, for type checkers and editors
    from throughtime.forecasting import metrics as metrics
    from throughtime.forecasting.baselines import LinearAutoregression as LinearAutoregression
    from throughtime.forecasting.baselines import Naive as Naive
    from throughtime.forecasting.baselines import SeasonalNaive as SeasonalNaive
    from throughtime.forecasting.frame import read_frame as read_frame
    from throughtime.forecasting.frequency import Frequency as Frequency
    from throughtime.forecasting.intervals import Calibration as Calibration
    from throughtime.forecasting.panel import Panel as Panel
    from throughtime.forecasting.parquet import read_parquet as read_parquet
    from throughtime.forecasting.seasons import panel_season_length as panel_season_length
    from throughtime.forecasting.seasons import season_length as season_length
    from throughtime.forecasting.windows import Windows as Windows

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Calibration": "throughtime.forecasting.intervals",
        "Frequency": "throughtime.forecasting.frequency",
        "LinearAutoregression": "throughtime.forecasting.baselines",
        "Naive": "throughtime.forecasting.baselines",
        "Panel": "throughtime.forecasting.panel",
        "SeasonalNaive": "throughtime.forecasting.baselines",
        "Windows": "throughtime.forecasting.windows",
        "metrics": "throughtime.forecasting.metrics",
        "panel_season_length": "throughtime.forecasting.seasons",
        "read_frame": "throughtime.forecasting.frame",
        "read_parquet": "throughtime.forecasting.parquet",
        "season_length": "throughtime.forecasting.seasons",
    },
)
