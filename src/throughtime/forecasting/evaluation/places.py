"""Where the rows of a table of forecasts lie, and how large errors are by nature there.

Row i belongs to a series and to an origin, the pair of series and cutoff; its horizon is the number
of steps from the cutoff to its date. The naive forecast of season m errs within what was known of
series s at origin r by

    c_sr = mean |y_t - y_{t-m}|,   t <= cutoff

on the grid of dates, where a missing one is a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from throughtime._errors import DataError
from throughtime.forecasting.evaluation import metrics as losses
from throughtime.forecasting.evaluation.forecast_columns import row_name
from throughtime.forecasting.series.columns import arrow, dates, labels
from throughtime.forecasting.series.frequency import Frequency, Stamps, show
from throughtime.forecasting.series.panel import Floats, Ints, Panel


@dataclass(frozen=True, eq=False)
class Places:
    """Where each row lies: its series, its origin among all (series, cutoff), its date.

    `first` is a row of each origin; `until` its cutoff, or the first date where there is none.
    """

    ids: tuple[Any, ...]
    series: Ints
    ds: Stamps
    origin: Ints
    first: Ints
    until: Stamps
    has_cutoff: bool

    @classmethod
    def of(cls, table: nw.DataFrame[Any], panel: Panel | None) -> Places:
        """Read ids, dates and cutoffs of a table; `DataError` where they do not fit together."""
        has_cutoff = "cutoff" in table.columns
        codes: Ints = np.zeros(len(table), dtype=np.int64)
        ids: tuple[Any, ...] = ("series",)
        if "unique_id" in table.columns:
            short, ids = labels(table["unique_id"], row_name)
            codes = short.astype(np.int64)
        ds, *cutoffs = _stamps(table, ["ds", "cutoff"] if has_cutoff else ["ds"], panel)
        if not has_cutoff:
            order = np.lexsort((ds, codes))
            _, at = np.unique(codes[order], return_index=True)
            return cls(ids, codes, ds, codes, order[at], ds[order[at]], False)
        [cutoff] = cutoffs
        early = np.flatnonzero(ds <= cutoff)
        if len(early):
            raise DataError(
                "dates after the cutoff of their row",
                f"{show(ds[early[0]])} with cutoff {show(cutoff[early[0]])} in {row_name(early[0])}",
                "make cutoff the last date that the forecast knew",
            )
        origins, number = np.unique(cutoff, return_inverse=True)
        _, first, origin = np.unique(
            codes * len(origins) + number, return_index=True, return_inverse=True
        )
        return cls(ids, codes, ds, origin, first, cutoff[first], True)

    def horizon(self, panel: Panel | None, freq: str | int | Frequency | None) -> Ints:
        """Return how many steps after its cutoff each row lies, 1 for the next."""
        until = self.until[self.origin]
        if not self.has_cutoff and (self.ds == until).all():
            return np.ones(len(self.ds), dtype=np.int64)
        if freq is not None:
            step = Frequency.parse(freq)
        else:
            step = self._frequency() if panel is None else panel.frequency
        k, on_grid = step.locate(until, self.ds)
        if not on_grid.all():
            i = int(np.argmin(on_grid))
            raise step.off_grid(until[i], self.ds[i], f" in {row_name(i)}")
        return k + (not self.has_cutoff)

    def _frequency(self) -> Frequency:
        """Return the step between the dates of the origins, their cutoffs among them."""
        origin, ds = self.origin, self.ds
        if self.has_cutoff:
            origin = np.concatenate([origin, np.arange(len(self.first))])
            ds = np.concatenate([ds, self.until])
        order = np.lexsort((ds, origin))
        return Frequency.infer(ds[order], np.concatenate([[0], np.cumsum(np.bincount(origin))]))

    def known(self, panel: Panel) -> tuple[Ints, Ints]:
        """Return each origin's series in `panel` (-1 for none) and how many steps it knew."""
        at = {unique_id: i for i, unique_id in enumerate(panel.ids)}
        s = np.array([at.get(unique_id, -1) for unique_id in self.ids])[self.series[self.first]]
        starts, until = panel.starts[s], self.until
        k = panel.frequency.locate(starts, until)[0]
        reached = panel.frequency.at(starts, k)
        past = reached <= until if self.has_cutoff else reached < until
        return s, np.clip(k + past, 0, panel.lengths[s])


def _stamps(table: nw.DataFrame[Any], names: Sequence[str], panel: Panel | None) -> list[Stamps]:
    """Return columns of dates as stamps, all of them and those of `panel` by the same clock."""
    read = [dates(table[name], row_name) for name in names]
    found = [ds for ds, _ in read]
    clocks = {kind.clock for _, kind in read} | ({panel.dates.clock} if panel else set())
    if len(clocks) > 1 and all(kind.zone for _, kind in read):
        found = [_in_utc(table[name]) for name in names]  # only some share their time of day
    kinds = {ds.dtype.kind for ds in (*found, *([panel.starts] if panel else []))}
    if len(kinds) > 1:
        raise DataError(
            f"dates of one kind in {', '.join(names)} and train",
            "both dates and integers",
            "give them all one type",
        )
    return found


def _in_utc(zoned: nw.Series[Any]) -> Stamps:
    instants = arrow(zoned, row_name).cast(pa.timestamp("us"), safe=False)
    return np.asarray(instants.to_numpy(zero_copy_only=False), dtype="datetime64[us]")


@dataclass(frozen=True, eq=False)
class Scales:
    """Errors of the seasonal naive forecast in the past of each row; NaN where 0 or unknown."""

    absolute: Floats
    squared: Floats


def naive_scales(places: Places, panel: Panel, season: int) -> Scales:
    """Return mean |y_t - y_{t-m}| and mean (y_t - y_{t-m})^2 over what each row's origin knew."""
    s, known = places.known(panel)
    if not ((s >= 0) & (known > 0)).any():
        lacking = "rows before the cutoffs" if (s >= 0).any() else "the series of the table"
        raise DataError(
            f"{lacking} in train",
            f"series such as {panel.ids[0]!r} from {show(panel.starts[0])}",
            "pass the values that the forecasts were made from, dates and names as in the table",
        )
    start, n = panel.begins[s], np.where(s >= 0, known - season, 0)
    y = panel.values[0].astype(np.float64, copy=False)
    ahead, behind = y[season:], y[:-season]

    def mean_past(loss: Floats) -> Floats:
        means = np.full(len(s), np.nan)
        if (some := n > 0).any():
            there = np.append(~np.isnan(loss), False)
            edges = np.stack([start[some], (start + n)[some]], axis=1).ravel()
            total = np.add.reduceat(np.where(there, np.append(loss, 0.0), 0.0), edges)[::2]
            count = np.add.reduceat(there.astype(np.int64), edges)[::2]
            means[some] = losses.ratio(total, count)
        return np.where(means > 0, means, np.nan)[places.origin]

    return Scales(
        mean_past(losses.absolute_error(ahead, behind)),
        mean_past(losses.squared_error(ahead, behind)),
    )
