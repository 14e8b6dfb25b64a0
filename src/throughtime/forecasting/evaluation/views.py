"""What figures and reports show of a forecaster: plain values, and the figures made of them.

Reads panels, forecasts and what was forecast at earlier origins (a `Backtest`, which draws itself
with this, so that only what is read of one is named here); how they are drawn is said in
`drawing.forecasts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from throughtime._checks import positive_int
from throughtime._errors import SettingError
from throughtime.drawing import forecasts as drawing
from throughtime.drawing.forecasts import Band, Origin, View
from throughtime.drawing.panels import together
from throughtime.drawing.theme import require_plotly
from throughtime.forecasting.evaluation.forecast_columns import prefixes
from throughtime.forecasting.series.panel import Panel

MOST = 6  # series in one figure
COLUMNS = 2


class AtOrigins(Protocol):
    """What is read of a back-test."""

    @property
    def panel(self) -> Panel:
        """The series that were judged."""
        ...

    @property
    def h(self) -> int:
        """The horizon."""
        ...

    @property
    def step_size(self) -> int:
        """The steps from one origin to the next."""
        ...

    @property
    def levels(self) -> Sequence[float]:
        """The levels of the intervals."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """The names of the models, ours first."""
        ...

    @property
    def table(self) -> pa.Table:
        """The forecasts at every origin, row by row."""
        ...

    @property
    def scores(self) -> Sequence[Any]:
        """What every model earned."""
        ...


def forecast_figure(
    panel: Panel,
    name: str,
    h: int,
    season_length: int,
    predict: Callable[..., Any],
    level: Sequence[float],
    series: Any,
    last: int | None,
) -> Any:
    """Draw the newest values of one or a few series, and what `predict(level=...)` says of them."""
    require_plotly()
    if last is None:
        last = drawing.close_up(h, season_length)
    positive_int("last", last)
    shown = _chosen(panel, series)
    made = views(panel, predict(level=level), name, level, shown, last)
    return _multiples(made, lambda view: drawing.forecast(view, name, last))


def backtest_figure(backtest: AtOrigins, series: Any) -> Any:
    """Draw what was forecast at each origin for one or a few series."""
    require_plotly()
    name, panel = backtest.models[0], backtest.panel
    made = [
        (title(panel, s, m), origins(backtest, panel.ids[s], backtest.levels, target=m))
        for s in _chosen(panel, series)
        for m in range(len(panel.targets))
    ]
    made = [(series_name, found) for series_name, found in made if found]
    rival = best([score for score in backtest.scores if score.model != name], "mae")
    alone = len(made) == 1
    figures = [
        (series_name, drawing.backtest(found, name, rival, choose=alone))
        for series_name, found in made
    ]
    return _laid_out(figures)


def best(scores: Sequence[Any], measure: str) -> str | None:
    """Return the name of the model with the lowest MAE, MASE or sMAPE."""
    finite = [s for s in scores if math.isfinite(getattr(s, measure))]
    return min(finite, key=lambda score: getattr(score, measure)).model if finite else None


def views(
    panel: Panel,
    forecast: Any,
    model: str,
    level: Sequence[float],
    shown: Sequence[int],
    last: int,
    backtest: AtOrigins | None = None,
) -> list[View]:
    """Return the `last` values of the series numbered `shown`, and their forecasts; one a target.

    `forecast` is the table that `predict` returned for this panel, of any kind.
    """
    table = nw.from_native(forecast, eager_only=True).to_arrow()
    h, M = table.num_rows // len(panel.ids), len(panel.targets)
    ds = panel.future(h)[1].reshape(-1, h)
    return [
        View(
            name=title(panel, s, m),
            ds=stamps(panel.ds(s)[-last:]),
            y=_numbers(panel.row(s * M + m)[-last:]),
            forecast_ds=stamps(ds[s]),
            forecast=_numbers(rows[of + model].to_numpy()),
            bands=_bands(rows, of + model, level),
            origins=() if backtest is None else origins(backtest, panel.ids[s], level, model, m),
        )
        for s in shown
        for rows in [table.slice(s * h, h)]
        for m, of in enumerate(prefixes(panel))
    ]


def title(panel: Panel, series: int, target: int) -> str:
    """Return how a picture of one target of one series is called."""
    name = str(panel.ids[series])
    if len(panel.targets) == 1:
        return name
    own = panel.targets[target]
    return own if len(panel.ids) == 1 else f"{name}: {own}"


def origins(
    backtest: AtOrigins,
    series: Any,
    level: Sequence[float],
    model: str | None = None,
    target: int = 0,
) -> list[Origin]:
    """Return the origins of one series and target, from the last backwards, that do not overlap."""
    model = backtest.models[0] if model is None else model
    of, value = prefixes(backtest.panel)[target], backtest.panel.targets[target]
    table = backtest.table.filter(pc.equal(backtest.table["unique_id"], series))
    cutoffs = sorted(table["cutoff"].unique().to_pylist())
    stride = max(1, math.ceil(backtest.h / backtest.step_size))
    made = []
    for cutoff in cutoffs[::-1][::stride][::-1]:
        rows = table.filter(pc.equal(table["cutoff"], cutoff))
        made.append(
            Origin(
                cutoff=stamps(rows["cutoff"].to_numpy()[:1])[0],
                ds=stamps(rows["ds"].to_numpy()),
                y=_numbers(rows[value].to_numpy()),
                models={each: _numbers(rows[of + each].to_numpy()) for each in backtest.models},
                bands=_bands(rows, of + model, level),
            )
        )
    return made


def stamps(ds: Any) -> list[Any]:
    """Return integers as they are and dates as the shortest ISO text.

    >>> import numpy as np
    >>> stamps(np.array([1700, 1701])), stamps(np.array(["2024-01-31"], dtype="datetime64[us]"))
    ([1700, 1701], ['2024-01-31'])
    """
    ds = np.asarray(ds)
    if ds.dtype.kind != "M":
        return [int(value) for value in ds]
    days = ds.astype("datetime64[D]")
    finest: Any = "D" if (days == ds).all() else "s"
    return [str(value) for value in np.datetime_as_string(ds, unit=finest)]


def _bands(table: Any, model: str, level: Sequence[float]) -> Band:
    return {
        value: (
            _numbers(table[f"{model}-lo-{value:g}"].to_numpy()),
            _numbers(table[f"{model}-hi-{value:g}"].to_numpy()),
        )
        for value in level
        if f"{model}-lo-{value:g}" in table.column_names
    }


def _numbers(values: Any) -> list[Any]:
    return [float(v) if math.isfinite(v) else None for v in values]


def _chosen(panel: Panel, series: Any) -> list[int]:
    """Return the numbers of the series that were named; the first few where none were."""
    if series is None:
        return list(range(min(MOST, len(panel))))
    names = list(series) if isinstance(series, (list, tuple)) else [series]
    at = {unique_id: s for s, unique_id in enumerate(panel.ids)}
    for name in names:
        if name not in at:
            some = ", ".join(map(repr, panel.ids[:MOST]))
            more = ", ..." if len(panel) > MOST else ""
            raise SettingError(
                f"series of the table ({some}{more})", repr(name), "name one of them"
            )
    if not names:
        raise SettingError("a series to draw", "none", "leave series out for the first few")
    return [at[name] for name in names]


def _multiples(made: Sequence[View], draw: Callable[[View], Any]) -> Any:
    return _laid_out([(view.name, draw(view)) for view in made])


def _laid_out(figures: Sequence[tuple[str, Any]]) -> Any:
    """Return one figure as it is, several as small multiples."""
    if len(figures) == 1:
        return figures[0][1]
    rows = [figures[k : k + COLUMNS] for k in range(0, len(figures), COLUMNS)]
    return together(rows)
