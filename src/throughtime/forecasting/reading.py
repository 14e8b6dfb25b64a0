"""From what a forecaster is handed, a table or the path of a Parquet file, to a panel."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from throughtime._errors import DataError
from throughtime.forecasting.series.demands import checked_counts, checked_panel
from throughtime.forecasting.series.frame import read_frame
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.statics import read_static
from throughtime.forecasting.settings.given import Given
from throughtime.training.outputs import COUNTS

PARQUET = ".parquet", ".pq"


def read(data: Any, given: Given, static_df: Any = None, like: Panel | None = None) -> Panel:
    """Return what can be learned from: a table, one series, or a Parquet file (in pieces).

    `like` is the panel before a warm start. Raises `DataError` for what does not fit.
    """
    if like is not None:
        panel = read_like(data, like, static_df)
    else:
        panel = _read(data, given)
        if static_df is not None:
            panel = replace(panel, static=read_static(static_df, panel.ids))
    if given.design["output"] in COUNTS:
        checked_counts(panel)
    return checked_panel(panel, given.h)


def read_like(data: Any, like: Panel, static_df: Any = None) -> Panel:
    """Return a table, or a Parquet file read at once, with the columns and dates of another."""
    if _is_path(data):
        from throughtime.forecasting.series.parquet import opened

        with opened(data) as file:
            data = file.read()
    return read_frame(data, like=like, static_df=static_df)


def _read(data: Any, given: Given) -> Panel:
    columns: dict[str, Any] = {**given.columns}
    if not _is_path(data):
        return read_frame(data, given.freq, **columns)
    from throughtime.forecasting.series.parquet import read_parquet

    return read_parquet(data, given.freq, **columns)


def _is_path(data: Any) -> bool:
    """Say whether data are the path of a Parquet file; `DataError` for that of another."""
    if not isinstance(data, (str, os.PathLike)):
        return False
    path = os.fspath(data)
    if not path.lower().endswith(PARQUET):
        raise DataError(
            f"a table, or the path of a Parquet file ({' or '.join(PARQUET)})",
            repr(path),
            "read it first, with pandas.read_csv or polars.read_csv, and pass the table; "
            f"or use the command line: throughtime forecast {path} --h 12",
        )
    return True
