"""Scores of the forecasts in a table, by model and by series, horizon, origin or what one likes.

A row is one place: series s, origin r (its `cutoff`), step k. Its losses l_srk are those of
`metrics`, and a group g of rows is scored

    averages        mean_s mean_r mean_k l_srk        mae, smape, pinball, coverage, interval_score
    scaled          l_srk / c_sr first, then the same             mase, msis
    roots           of the average of squares, taken last         rmse, rmsse
    ratios          of averages, taken last                       owa
    ratio of sums   2 sum mean_q l_srkq / sum |y_srk|             scaled_crps

each mean over what of g exists: steps first, then origins, then series, so that every series
counts the same however many of its steps and origins are in the table. c_sr is the mean error (its
square for rmsse) of the seasonal naive forecast within what was known of series s at origin r.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError, SettingError
from throughtime.forecasting.evaluation import metrics as losses
from throughtime.forecasting.evaluation.forecast_columns import (
    ForecastColumns,
    among,
    intervals_of,
    row_name,
)
from throughtime.forecasting.evaluation.places import Places, Scales, naive_scales
from throughtime.forecasting.series.columns import labels, series
from throughtime.forecasting.series.frame import read_frame
from throughtime.forecasting.series.frequency import Frequency, show
from throughtime.forecasting.series.panel import Floats, Ints, Panel
from throughtime.forecasting.series.seasons import panel_season_length

METRICS = (
    "mae", "rmse", "smape", "mase", "rmsse", "owa",
    "pinball", "scaled_crps", "coverage", "interval_score", "msis",
)  # fmt: skip
_SCALED = ("mase", "rmsse", "owa", "msis")
_OF_QUANTILES = ("pinball", "scaled_crps", "coverage", "interval_score", "msis")
_OF_INTERVALS = ("coverage", "interval_score", "msis")


def evaluate(
    data: Any,
    train: Any = None,
    *,
    metrics: str | Sequence[str] | None = None,
    by: str | Sequence[str] = (),
    models: str | Sequence[str] | None = None,
    level: float | Sequence[float] | None = None,
    season_length: int | None = None,
    baseline: str = "SeasonalNaive",
    target: str = "y",
    freq: str | int | Frequency | None = None,
) -> Any:
    """Score the forecasts in a table; returns a row a group and model, a column a metric.

    `data` (pandas, polars or pyarrow; the same kind comes back) is long, as `cross_validation`
    returns it: `unique_id`, `ds`, `cutoff` (without it, one origin before the first date of each
    series), `y`, and the models: `LSTM` is a point forecast, `LSTM-lo-80` and `LSTM-hi-80` are its
    quantiles 0.1 and 0.9, and so are `LSTM-q-0.1` and `LSTM-q-0.9`; `LSTM-median` is the quantile
    0.5. Quantiles q and 1 - q are the ends of an interval, however they are called. Every other
    column is taken for a model, unless `models` names them or `by` takes it.

    - `by`: `"unique_id"`, `"cutoff"`, `"horizon"` (1 to h, the steps from the cutoff, missing
      dates among them), another column, or several; one group without.
    - `metrics`: names among `METRICS`; all that the table allows without.
    - `level`: judge only these intervals in per cent, and only their ends as quantiles.
    - `train`: the past (a table `unique_id, ds, y`, or a `Panel`), for mase, rmsse, msis and owa;
      rows after a cutoff do not count at it.
    - `season_length`: of the naive forecast that scales them; without, as the forecaster finds it
      (`panel_season_length`). M4 has 1 yearly and weekly, 24 hourly.
    - `baseline`: the model that owa compares with, over the places that both forecast; M4's is
      Naive2.
    - `freq`: the step between dates, found from them where None.

    Means go over steps, then origins, then series; roots and ratios come last (see the module). So
    rmse over several series is not the mean of theirs: ask `by="unique_id"` and average for that.
    scaled_crps is 2 sum mean_q pinball_q / sum |y| over the group, GluonTS's
    `mean_weighted_sum_quantile_loss`, and compares models with the same quantiles; smape is in per
    cent, 200 |y - f| / (|y| + |f|), coverage in fractions.

    NaN in `y` or a forecast leaves that place out, NaN at one quantile leaves it out of all that is
    made of quantiles, and a series whose naive error is 0 or unknown is left out of what is scaled:
    `n` counts the values that point forecasts were scored on, `n_quantiles` and `n_scaled` those
    that stayed for the others.

    Raises `DataError` for what is missing in or wrong with a table, `SettingError` for an argument.

    >>> import pyarrow as pa
    >>> past = pa.table({"ds": [1, 2, 3], "y": [1.0, 2.0, 4.0]})
    >>> made = {"y": [5.0, 6.0], "LSTM": [4.0, 4.0], "Naive": [4.0, 4.0]}
    >>> table = evaluate(pa.table({"ds": [4, 5]} | made), past, baseline="Naive", season_length=1)
    >>> table.select(["model", "mae", "mase", "owa", "n"]).to_pylist()[0]
    {'model': 'LSTM', 'mae': 1.5, 'mase': 1.0, 'owa': 1.0, 'n': 2}
    """
    table = _table(data, target)
    own = {"model", "n", "n_quantiles", "n_scaled", *METRICS}  # columns of the answer
    by = among("by", by, ["horizon", *(name for name in table.columns if name not in own)])
    columns = ForecastColumns.of(table, target, by, models, level)
    panel = None if train is None else _panel(train, target, freq)
    chosen = _chosen(metrics, columns, panel is not None, baseline)

    places = Places.of(table, panel)
    horizon = places.horizon(panel, freq) if "horizon" in by else None
    groups = _groups(table, by, places, horizon)
    scales = None
    if panel is not None and set(chosen) & set(_SCALED):
        season = panel_season_length(panel) if season_length is None else season_length
        scales = naive_scales(places, panel, positive_int("season_length", season))
    y = columns.numbers(table, target)
    if np.isnan(y).all():
        wanted = f"a value in column {target!r} to score by"
        raise DataError(wanted, "none", "fill in the values that came")
    scorer = _Scorer(table, y, groups, scales, chosen, columns)
    scored = [scorer.scores(model, baseline) for model in columns.models]
    return _like(table, by, groups, horizon, columns.models, scored)


def _chosen(
    metrics: str | Sequence[str] | None, columns: ForecastColumns, has_train: bool, baseline: str
) -> tuple[str, ...]:
    """Return the metrics to compute: those asked for, or all that the tables allow."""
    lacking = {
        "no past": () if has_train else _SCALED,
        "no quantiles": () if columns.all_quantiles else _OF_QUANTILES,
        "no intervals": () if columns.levels else _OF_INTERVALS,
        "no baseline": () if baseline in columns.points else ("owa",),
    }
    if metrics is None:
        return tuple(m for m in METRICS if not any(m in without for without in lacking.values()))
    chosen = among("metrics", metrics, METRICS)
    for metric in chosen:
        if metric in lacking["no past"]:
            raise SettingError(
                f"the past of the series, which {metric} is scaled by",
                "none",
                "pass train= with a table unique_id, ds, y",
            )
        if metric in lacking["no quantiles"] or metric in lacking["no intervals"]:
            raise DataError(
                f"columns such as MODEL-lo-80 and MODEL-hi-80 for {metric}",
                f"the models {', '.join(columns.models)} without any",
                "forecast with level=[80]",
            )
        if metric in lacking["no baseline"]:
            among("baseline", baseline, sorted(columns.points))
    return chosen


def _table(data: Any, target: str) -> nw.DataFrame[Any]:
    try:
        table: nw.DataFrame[Any] = nw.from_native(data, eager_only=True)
    except TypeError:
        raise DataError(
            "a pandas, polars or pyarrow table of forecasts",
            type(data).__name__,
            "call .collect() on it first"
            if hasattr(data, "collect")
            else "pass what cross_validation returns",
        ) from None
    missing = [name for name in ("ds", target) if name not in table.columns]
    if missing:
        raise DataError(
            f"a table with columns 'ds' and {target!r}",
            ", ".join(map(repr, table.columns)) or "no columns",
            f"add {' and '.join(map(repr, missing))}",
        )
    if len(table) == 0:
        raise DataError("a table with rows", "none", "pass forecasts and values")
    return table


def _panel(train: Any, target: str, freq: str | int | Frequency | None) -> Panel:
    if target != "y" and not isinstance(train, Panel):
        past = _table(train, target)
        kept = [name for name in ("unique_id", "ds", target) if name in past.columns]
        train = past.select(kept).rename({target: "y"}).to_native()
    return read_frame(train, freq)


@dataclass(frozen=True, eq=False)
class _Groups:
    """Which group each row belongs to, and the cells within: row -> origin -> series -> group.

    `rows` is a row of each group, in the groups' order.
    """

    rows: Ints
    owners: tuple[Ints, Ints, Ints]
    of_row: Ints

    def mean(self, values: Floats) -> Floats:
        """Return the mean of each group over steps, then origins, then series."""
        for owner in self.owners:
            there = ~np.isnan(values)
            total, count = _sums(owner, there, values), _sums(owner, there)
            values = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return values

    def sum(self, values: Floats) -> Floats:
        """Return the sum of each group over all its rows."""
        return _sums(self.of_row, ~np.isnan(values), values)

    def count(self, values: Floats) -> Ints:
        """Return how many values of each group there are."""
        return _sums(self.of_row, ~np.isnan(values)).astype(np.int64)


def _sums(owner: Ints, there: npt.NDArray[np.bool_], values: Floats | None = None) -> Floats:
    weights = None if values is None else values[there]
    return np.bincount(owner[there], weights, minlength=owner.max() + 1).astype(np.float64)


def _groups(
    table: nw.DataFrame[Any], by: Sequence[str], places: Places, horizon: Ints | None
) -> _Groups:
    codes = np.zeros(len(table), dtype=np.int64)
    whole = codes  # the groups without the horizon, in which a date may be there once
    for name in by:
        if name == "horizon" and horizon is not None:
            codes = _crossed(codes, horizon)
            continue
        own = places.series if name == "unique_id" else _codes(table, name, places)
        codes, whole = _crossed(codes, own), _crossed(whole, own)
    _one_row_a_date(_crossed(whole, places.origin), places)
    _, rows, group = np.unique(codes, return_index=True, return_inverse=True)
    _, at, in_series = np.unique(
        _crossed(group, places.series), return_index=True, return_inverse=True
    )
    _, cell_at, cell = np.unique(
        _crossed(in_series, places.origin), return_index=True, return_inverse=True
    )
    return _Groups(rows, (cell, in_series[cell_at], group[at]), group)


def _codes(table: nw.DataFrame[Any], name: str, places: Places) -> Ints:
    if name == "cutoff":
        until = np.unique(places.until, return_inverse=True)[1]
        return np.asarray(until[places.origin], dtype=np.int64)
    return labels(table[name], row_name)[0].astype(np.int64)


def _crossed(codes: Ints, others: Ints) -> Ints:
    """Return a number for each pair, in the order of the pairs."""
    pairs = codes * (others.max() + 1) + others
    return np.unique(pairs, return_inverse=True)[1]


def _one_row_a_date(origin: Ints, places: Places) -> None:
    order = np.lexsort((places.ds, origin))
    same = np.diff(origin[order]) == 0
    same &= places.ds[order][1:] == places.ds[order][:-1]
    if same.any():
        i, j = order[np.argmax(same) + np.arange(2)]
        raise DataError(
            "one row a date for each series and cutoff",
            f"{show(places.ds[i])} of series {places.ids[places.series[i]]!r} "
            f"in both {row_name(i)} and {row_name(j)}",
            "remove one, or name series and origins in columns unique_id and cutoff",
        )


@dataclass(frozen=True, eq=False)
class _Scorer:
    """The metrics of one model after the other, each an array [groups]."""

    table: nw.DataFrame[Any]
    y: Floats
    groups: _Groups
    scales: Scales | None
    chosen: tuple[str, ...]
    columns: ForecastColumns

    def scores(self, model: str, baseline: str) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the answer for one model, in their order."""
        point = self._point(model)
        found = self._of_points(point)
        if "owa" in self.chosen:
            found["owa"] = self._owa(point, self._point(baseline))
        counts = {"n": self.groups.count(self.y - point)}
        if set(self.chosen) & set(_OF_QUANTILES):
            found_too, counts["n_quantiles"] = self._of_quantiles(model)
            found |= found_too
        if self.scales is not None:
            counts["n_scaled"] = self.groups.count((self.y - point) / self.scales.absolute)
        nothing = np.full(len(self.groups.rows), np.nan)
        return {name: found.get(name, nothing) for name in self.names} | counts

    @property
    def names(self) -> list[str]:
        """The metrics with the quantile or level that they are of: `mae`, `coverage-80`."""
        names = []
        for metric in self.chosen:
            if metric == "pinball":
                names += [f"pinball-{q:g}" for q in self.columns.all_quantiles]
            elif metric in _OF_INTERVALS:
                names += [f"{metric}-{level:g}" for level in self.columns.levels]
            else:
                names.append(metric)
        return names

    def _point(self, model: str) -> Floats:
        if model not in self.columns.points:
            return np.full(len(self.y), np.nan)
        return self.columns.numbers(self.table, model)

    def _of_points(self, f: Floats) -> dict[str, Floats]:
        mean, y = self.groups.mean, self.y
        found = {
            "mae": mean(losses.absolute_error(y, f)),
            "rmse": np.sqrt(mean(losses.squared_error(y, f))),
            "smape": mean(losses.symmetric_error(y, f)),
        }
        if self.scales is not None:
            found["mase"] = mean(losses.absolute_error(y, f) / self.scales.absolute)
            found["rmsse"] = np.sqrt(mean(losses.squared_error(y, f) / self.scales.squared))
        return found

    def _owa(self, f: Floats, reference: Floats) -> Floats:
        """Return M4's overall weighted average over the places that both forecast."""
        assert self.scales is not None
        mean, scale, parts = self.groups.mean, self.scales.absolute, []
        y = np.where(np.isnan(f) | np.isnan(reference), np.nan, self.y)
        for each in (f, reference):
            parts.append(mean(losses.symmetric_error(y, each)))
            parts.append(mean(losses.absolute_error(y, each) / scale))
        return losses.owa(*parts)

    def _of_quantiles(self, model: str) -> tuple[dict[str, Floats], Ints]:
        """Return what is made of quantiles, over the places that have all of them."""
        mean, named = self.groups.mean, self.columns.quantiles[model]
        at = {q: self.columns.numbers(self.table, name) for q, name in named.items()}
        if not at:
            return {}, np.zeros(len(self.groups.rows), dtype=np.int64)
        y = np.where(np.any([np.isnan(f) for f in at.values()], axis=0), np.nan, self.y)
        found, total = {}, np.zeros(len(y))
        for q, f in at.items():
            loss = losses.quantile_loss(y, f, q)
            found[f"pinball-{q:g}"] = mean(loss)
            total += loss
        size = self.groups.sum(np.abs(y))
        found["scaled_crps"] = losses.ratio(2 * self.groups.sum(total / len(at)), size)
        for level, (lo, hi) in intervals_of(at).items():
            score = losses.interval_loss(y, at[lo], at[hi], level)
            found[f"coverage-{level:g}"] = mean(losses.inside(y, at[lo], at[hi]))
            found[f"interval_score-{level:g}"] = mean(score)
            if self.scales is not None:
                found[f"msis-{level:g}"] = mean(score / self.scales.absolute)
        return found, self.groups.count(y)


def _like(
    table: nw.DataFrame[Any],
    by: Sequence[str],
    groups: _Groups,
    horizon: Ints | None,
    models: Sequence[str],
    scored: Sequence[Mapping[str, npt.NDArray[Any]]],
) -> Any:
    """Return the scores as a table of the kind that came in, the models of a group together."""
    rows = np.repeat(groups.rows, len(models))
    backend = table.implementation
    made: dict[str, nw.Series[Any]] = {}
    for name in by:
        if name == "horizon" and horizon is not None:
            made[name] = series(horizon[rows], backend)
        else:
            column = table[name]
            made[name] = nw.maybe_reset_index(column[rows.tolist()])
    made["model"] = series(list(models) * len(groups.rows), backend)
    for name in scored[0]:
        made[name] = series(np.stack([each[name] for each in scored], axis=1).ravel(), backend)
    return nw.from_dict(
        {name: column.to_native() for name, column in made.items()}, backend=backend
    ).to_native()
