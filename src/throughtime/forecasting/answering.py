"""What a fitted forecaster is asked: from which panel it forecasts, and how paths become a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._errors import SettingError
from throughtime.forecasting.evaluation.forecast_columns import prefixes
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.reading import read_like
from throughtime.forecasting.series.covariates import need_future, with_future
from throughtime.forecasting.series.demands import checked_counts
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.statics import known_static, read_static
from throughtime.forecasting.streaming.stream import Stream


def panel_to_forecast(
    fitted: Fitted, stream: Stream, h: int, data: Any, futr_df: Any, static_df: Any
) -> Panel:
    """Return `data`, or what was fitted with the rows since, and what is known of its h steps ahead.

    Raises `SettingError` where the model cannot go so far, `DataError` for what does not fit.
    """
    before, design = fitted.panel, fitted.model.design
    if h > design.h and not design.any_horizon:
        raise SettingError(
            f"h of at most {design.h}, for which this forecaster was fitted",
            str(h),
            f"fit with h={h}, or with architecture='recursive' without companions",
        )
    if data is None:
        panel = stream.newest(fitted)
    else:
        panel = read_like(data, before)
        if design.counts:
            checked_counts(panel)
    if static_df is not None:
        panel = replace(panel, static=read_static(static_df, panel.ids, before.static))
    elif data is not None and before.static.names:
        panel = replace(panel, static=known_static(before.static, before.ids, panel.ids))
    if futr_df is None and data is None and stream.state is not None:
        futr_df = stream.ahead
    if futr_df is not None:
        panel = with_future(panel, futr_df, h)
    need_future(panel, h)
    return panel


def path_columns(panel: Panel, name: str, drawn: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return paths [n, rows, h] as the columns of a table, a series and its paths after each other."""
    n, _, h = drawn.shape
    ids, ds = (each.reshape(-1, h) for each in panel.future(h))
    columns: dict[str, Any] = {
        "unique_id": np.repeat(ids, n, axis=0).reshape(-1),
        "ds": np.repeat(ds, n, axis=0).reshape(-1),
        "sample": np.tile(np.repeat(np.arange(n), h), len(ids)),
    }
    before = prefixes(panel)
    for m, prefix in enumerate(before):
        columns[prefix + name] = drawn[:, m :: len(before)].swapaxes(0, 1).reshape(-1)
    return columns
