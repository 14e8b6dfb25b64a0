"""Forecasts that a model has to beat.

Naive:           f_k = y_T
Seasonal naive:  f_k = y_{T + k - m ceil(k / m)}                     (season m)
Autoregression:  y_t = c + phi_1 y_{t-1} + ... + phi_p y_{t-p} + e_t, iterated with e = 0

Each has a `name` and `forecast(y, h)`, which maps a series (NaN where nothing was observed) to its
next `h` values. A series that is too short or constant falls back to the simpler method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError

Floats = npt.NDArray[np.float64]

LONGEST = 2**14  # steps that an autoregression is fitted to, the newest: memory is bounded
_MOST_LAGS = 200  # a season longer than this is left to the seasonal naive forecast


class Baseline(Protocol):
    """A forecast that needs no training."""

    @property
    def name(self) -> str:
        """The name of its column in a table of forecasts."""

    def forecast(self, y: Floats, h: int) -> Floats:
        """Return the next `h` values of the series `y`."""


@dataclass(frozen=True)
class Naive:
    """The last observed value, repeated.

    >>> Naive().forecast([1.0, 2.0, float("nan")], h=3)
    array([2., 2., 2.])
    """

    name: str = "Naive"

    def forecast(self, y: npt.ArrayLike, h: int) -> Floats:
        """Return the next `h` values of the series `y`; `DataError` if none was observed."""
        return SeasonalNaive(1).forecast(y, h)


@dataclass(frozen=True)
class SeasonalNaive:
    """The last observed value at the same place of the season; one never observed takes the last.

    >>> SeasonalNaive(season=3).forecast([1.0, 2.0, 3.0, 4.0], h=4)
    array([2., 3., 4., 2.])
    """

    season: int
    name: str = "SeasonalNaive"

    def __post_init__(self) -> None:
        positive_int("season", self.season)

    def forecast(self, y: npt.ArrayLike, h: int) -> Floats:
        """Return the next `h` values of the series `y`; `DataError` if none was observed."""
        y = np.asarray(y)
        m, n = min(self.season, len(y) + h), len(y)  # nothing to repeat of a longer one
        latest = np.full(m, -1)
        looked_at = 0
        while (latest < 0).any() and looked_at < n:  # from the end, ever further
            stop, looked_at = n - looked_at, min(n, 4 * looked_at + 2 * m)
            observed = n - looked_at + np.flatnonzero(~np.isnan(y[n - looked_at : stop]))
            np.maximum.at(latest, (observed - n) % m, observed)  # the first forecast has phase 0
        if (latest < 0).all():
            raise DataError("a value in the series", "none", "leave this series out")
        latest = np.where(latest < 0, latest.max(), latest)
        return np.asarray(y[latest[np.arange(h) % m]], dtype=np.float64)


@dataclass(frozen=True)
class LinearAutoregression:
    """Autoregression with intercept by least squares, its order by Akaike's criterion.

    With `order` None, p minimises n log(RSS_p / n) + 2 p over 0 <= p <= P, on the n rows that have
    all P lags, P = max(10 log10 T, season + 1), T being at most the newest 16,384 steps. Rows with a gap are left out of the fit, and either
    order is lowered until there are 3 rows a coefficient. Gaps are then filled by the model from
    the left. Forecasts stay within the observed range widened by its own width on either side.

    >>> y = 0.5 ** np.arange(12)
    >>> LinearAutoregression(order=1).forecast(y, h=2) / y[-1]
    array([0.5 , 0.25])
    """

    order: int | None = None
    season: int = 1
    name: str = "AR"

    def __post_init__(self) -> None:
        positive_int("season", self.season)
        if self.order is not None:
            positive_int("order", self.order)

    def forecast(self, y: npt.ArrayLike, h: int) -> Floats:
        """Return the next `h` values of the series `y`; `DataError` if none was observed."""
        fallback = SeasonalNaive(self.season).forecast(y, h)
        y = np.asarray(np.asarray(y)[-LONGEST:], dtype=np.float64)
        if np.isnan(y).all():
            return fallback
        mean, spread = float(np.nanmean(y)), float(np.nanstd(y))
        if spread <= 1e-12 * abs(mean):
            return fallback
        z = (y - mean) / spread  # keeps the least squares well conditioned
        coefficients = self._fit(z)
        if coefficients is None:
            return fallback
        low, high = np.nanmin(z), np.nanmax(z)
        ahead = _iterate(z, coefficients, h)
        return np.asarray(mean + spread * np.clip(ahead, 2 * low - high, 2 * high - low))

    def _fit(self, z: Floats) -> Floats | None:
        """Return (c, phi_1 ... phi_p), or None where the rows are too few."""
        longest = self.season + 1 if self.season < _MOST_LAGS else 1
        p = self.order or max(int(10 * np.log10(len(z))), longest)
        p = min(p, len(z) // 4)
        while len((rows := _complete_rows(z, p))[1]) < 3 * (p + 1):
            p -= 1
            if p <= 0:
                return None
        if self.order is None:
            rows = _complete_rows(z, _order_by_aic(*rows))
        return np.asarray(np.linalg.lstsq(*rows, rcond=None)[0])


def _complete_rows(z: Floats, p: int) -> tuple[Floats, Floats]:
    """Return the design (1, z_{t-1}, ..., z_{t-p}) and target z_t of the rows without a gap."""
    if len(z) <= p:
        return np.empty((0, p + 1)), np.empty(0)
    rows = np.lib.stride_tricks.sliding_window_view(z, p + 1)
    rows = rows[~np.isnan(rows).any(axis=1)][:, ::-1]
    return np.column_stack([np.ones(len(rows)), rows[:, 1:]]), rows[:, 0]


def _order_by_aic(X: Floats, target: Floats) -> int:
    """Return the best order; one QR holds the residual sums of all nested designs."""
    explained = np.cumsum((np.linalg.qr(X)[0].T @ target) ** 2)
    total = target @ target
    rss = np.maximum(total - explained, 1e-12 * total + 1e-300)
    n = len(target)
    return int(np.argmin(n * np.log(rss / n) + 2 * np.arange(len(rss))))


def _iterate(z: Floats, coefficients: Floats, h: int) -> Floats:
    """Return h forecasts, each fed back as the next one's lag; gaps are filled on the way."""
    c, phi = coefficients[0], coefficients[:0:-1]
    p, n = len(phi), len(z)
    path = np.concatenate([z, np.full(h, np.nan)])
    for t in np.flatnonzero(np.isnan(path)):
        before = path[t - p : t] if t >= p else np.zeros(p)  # z has mean 0
        path[t] = c + phi @ np.nan_to_num(before)
        path[t] = np.clip(path[t], -1e6, 1e6)  # an unstable fit may not overflow
    return path[n:]
