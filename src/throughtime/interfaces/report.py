"""What the report says, as plain data, and how it is read off a fitted forecaster.

`render` (in `page.py`) knows only `ReportData`, so a report can be made of any model's results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from throughtime.interfaces.words import reach, unit, verdict

MOST_SERIES = 20
MOST_POINTS = 5000
Band = Mapping[float, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Origin:
    """What was forecast from one cutoff, and what then came; one value a step, a list a model."""

    cutoff: Any
    ds: Sequence[Any]
    y: Sequence[float | None]
    models: Mapping[str, Sequence[float]]
    bands: Band


@dataclass(frozen=True)
class View:
    """One series, its forecast and its back-test. Dates are ISO texts or integers."""

    name: str
    ds: Sequence[Any]
    y: Sequence[float | None]
    forecast_ds: Sequence[Any]
    forecast: Sequence[float]
    bands: Band
    origins: Sequence[Origin] = ()


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
    `reach` a sentence on how far back the gradient reaches.
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
) -> ReportData:
    """Collect what the report says from a fitted forecaster and its forecast (any kind of table).

    `diagnosis` is what the forecaster's `diagnose` returned, where it has been asked already.
    """
    import narwhals as nw

    import throughtime

    panel, backtest = forecaster.panel, forecaster.backtest
    name, step = forecaster.name, unit(panel.frequency.alias, _plain(panel.ds(0)[:1])[0])
    shown = list(panel.ids)[:MOST_SERIES]
    forecasts = _by_series(nw.from_native(forecast, eager_only=True).to_arrow(), shown)
    tested = _by_series(backtest.table, shown)
    views = [
        _view(panel, i, name, level, forecasts[series], tested.get(series), backtest)
        for i, series in enumerate(shown)
    ]
    return ReportData(
        source=source,
        model=name,
        h=forecaster.h,
        level=tuple(level),
        facts=facts or {},
        views=views,
        n_series=len(panel.ids),
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
        settings=_flat(forecaster.settings),
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


def _flat(settings: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return nested settings as one list of names and values, plain ones before groups."""
    plain = {f"{within}{k}": v for k, v in settings.items() if not isinstance(v, Mapping)}
    groups = {k: v for k, v in settings.items() if isinstance(v, Mapping)}
    for name, group in groups.items():
        plain |= _flat(group, f"{within}{name} ")
    return plain


def _by_series(table: Any, shown: Sequence[Any]) -> dict[str, Any]:
    import pyarrow.compute as pc

    return {name: table.filter(pc.equal(table["unique_id"], name)) for name in shown}


def _view(
    panel: Any,
    i: int,
    model: str,
    level: Sequence[float],
    forecast: Any,
    tested: Any,
    backtest: Any,
) -> View:
    return View(
        name=str(panel.ids[i]),
        ds=_plain(panel.ds(i)[-MOST_POINTS:]),
        y=_numbers(panel.row(i)[-MOST_POINTS:]),
        forecast_ds=_plain(forecast["ds"].to_numpy()),
        forecast=_numbers(forecast[model].to_numpy()),
        bands=_bands(forecast, model, level),
        origins=_origins(tested, model, level, backtest),
    )


def _origins(table: Any, model: str, level: Sequence[float], backtest: Any) -> list[Origin]:
    """Return the origins, from the last backwards, that do not overlap."""
    import pyarrow.compute as pc

    cutoffs = sorted(table["cutoff"].unique().to_pylist())
    stride = max(1, math.ceil(backtest.h / backtest.step_size))
    origins = []
    for cutoff in cutoffs[::-1][::stride][::-1]:
        rows = table.filter(pc.equal(table["cutoff"], cutoff))
        origins.append(
            Origin(
                cutoff=_plain(rows["cutoff"].to_numpy()[:1])[0],
                ds=_plain(rows["ds"].to_numpy()),
                y=_numbers(rows["y"].to_numpy()),
                models={name: _numbers(rows[name].to_numpy()) for name in backtest.models},
                bands=_bands(rows, model, level),
            )
        )
    return origins


def _bands(table: Any, model: str, level: Sequence[float]) -> Band:
    return {
        value: (
            _numbers(table[f"{model}-lo-{value:g}"].to_numpy()),
            _numbers(table[f"{model}-hi-{value:g}"].to_numpy()),
        )
        for value in level
        if f"{model}-lo-{value:g}" in table.column_names
    }


def _plain(ds: Any) -> list[Any]:
    """Return integers as they are and dates as the shortest ISO text."""
    import numpy as np

    ds = np.asarray(ds)
    if ds.dtype.kind != "M":
        return [int(value) for value in ds]
    days = ds.astype("datetime64[D]")
    finest: Any = "D" if (days == ds).all() else "s"
    return [str(value) for value in np.datetime_as_string(ds, unit=finest)]


def _numbers(values: Any) -> list[Any]:
    return [float(v) if math.isfinite(v) else None for v in values]
