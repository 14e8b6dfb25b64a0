"""Exponential smoothing beside the nets: a level, a damped trend and seasons of m steps.

Of the transformed values u_1 ... u_n of each series, with e_t = 0 in a gap,

    e_t     = u_t - (l_{t-1} + phi b_{t-1} + s_{t-m})
    l_t     = l_{t-1} + phi b_{t-1} + alpha e_t
    b_t     = phi b_{t-1} + alpha beta e_t
    s_t     = s_{t-m} + gamma e_t
    u_{t+k} = l_t + (phi + ... + phi^k) b_t + s_{t+k-m ceil(k/m)}            k = 1 ... h

(Gardner and McKenzie 1985; additive seasons as Winters 1960, in the errors' form of Hyndman, Koehler,
Ord and Snyder 2008, chapter 2). There is no trend (b = 0), a drift that stays as it is (beta = 0,
phi = 1) or a damped one. The forecast is the mean over a grid of settings g, each by its Akaike weight

    w_g = exp(-n log E_g - p_g),     E_g = mean |error| of all 1 ... h steps ahead from every t

as for Laplacian errors, of which each t has one: p_g counts what g adapts, n the t that are judged. So
settings are chosen by the errors that count, many steps ahead.
"""

# ruff: noqa: E741  (l is the letter of the equations)
from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from throughtime.forecasting.preprocessing.scaling import carry_on

Floats = npt.NDArray[np.float64]

ALPHA = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95, 1.0)
BETA, PHI, GAMMA = (0.05, 0.15, 0.4), (0.9, 0.98), (0.0, 0.05, 0.15, 0.35)
NO_TREND, DRIFT = (0.0, 0.0), (0.0, 1.0)  # beta and phi
LONGEST = 512  # newest steps that are read, or `SEASONS` of them
SEASONS = 4


class _Grid(NamedTuple):
    """The settings g, [G] each."""

    alpha: Floats
    beta: Floats
    phi: Floats
    gamma: Floats

    @classmethod
    def of(cls, seasonal: bool) -> _Grid:
        """Return those of every trend, with alpha + gamma at most 1."""
        trends = (NO_TREND, DRIFT, *product(BETA, PHI))
        every = product(ALPHA, trends, GAMMA if seasonal else (0.0,))
        made = [(a, *trend, g) for a, trend, g in every if a + g <= 1]
        return cls(*np.array(made).T)

    @property
    def p(self) -> Floats:
        """How many parameters each adapts."""
        return 1 + 2.0 * (self.beta > 0) + self.drifts + (self.gamma > 0)

    @property
    def drifts(self) -> Floats:
        """1 for those with a constant drift."""
        return np.where((self.beta == 0) & (self.phi == 1), 1.0, 0.0)


def memory(season_length: int) -> int:
    """Return how many of the newest steps are read at most.

    >>> memory(12), memory(365)
    (512, 1460)
    """
    return max(LONGEST, SEASONS * season_length)


def smoothed(u: Floats, h: int, season_length: int) -> Floats:
    """Return the forecast [K, h] of a series on K scales, u [K, n] with NaN for gaps.

    Without seasons where there are less than two of them and two steps; NaN where nothing is observed.

    >>> u = np.tile([[1.0, 4.0, 2.0]], 5) + np.arange(15)
    >>> smoothed(u, 4, season_length=3).round(2)
    array([[16., 20., 19., 19.]])
    """
    u = u[:, -memory(season_length) :]
    observed = ~np.isnan(u[0])
    if not observed.any():
        return np.full((len(u), h), np.nan)
    first = int(observed.argmax())
    u, observed = u[:, first:], observed[first:]
    n = u.shape[1]
    m = season_length if season_length > 1 and n >= 2 * season_length + 2 else 1
    grid = _Grid.of(seasonal=m > 1)
    l, b, s = _start(carry_on(torch.from_numpy(u)).numpy(), m, grid)
    x, k = u.T[..., None], np.arange(h)
    damped = np.cumsum(grid.phi ** (k[:, None] + 1), axis=0)[:, None]  # phi + ... + phi^k
    burn, judged = min(m if m > 1 else 3, n // 4), 0
    total = np.zeros_like(l)
    for t in range(n):
        if t >= burn and observed[t : t + h].any():
            ahead = k[: n - t]
            errors = np.abs(l + damped[: n - t] * b + s[(t + ahead) % m] - x[t : t + h])
            total += np.nansum(errors, axis=0)
            judged += int(observed[t : t + h].sum())
        e = x[t] - (l + grid.phi * b + s[t % m]) if observed[t] else 0.0
        l = l + grid.phi * b + grid.alpha * e
        b = grid.phi * b + grid.alpha * grid.beta * e
        s[t % m] += grid.gamma * e
    w = _weights(total / max(judged, 1), int(observed[burn:].sum()), grid)
    return np.asarray((w * (l + damped * b + s[(n + k) % m])).sum(axis=-1).T)


def _start(u: Floats, m: int, grid: _Grid) -> tuple[Floats, Floats, Floats]:
    """Return level and trend [K, G] before the first step, and indices [m, K, G], of u without gaps.

    Of the first four seasons (or fewer): the trend is that from the first of them to the last, indices
    are means of what is left about each season's; a drift is that over all of the series.
    """
    n, G = u.shape[1], len(grid.alpha)
    if m == 1:
        l, s = u[:, :3].mean(axis=1), np.zeros((1, len(u)))
        trend, drift = np.zeros(len(u)), (u[:, -1] - u[:, 0]) / max(n - 1, 1)
    else:
        seasons = min(SEASONS, n // m)
        each = u[:, : seasons * m].reshape(len(u), seasons, m)
        means = each.mean(axis=2)
        trend = (means[:, -1] - means[:, 0]) / ((seasons - 1) * m)
        drift = (u[:, -m:].mean(axis=1) - means[:, 0]) / (n - m)
        l = means[:, 0] - trend * (m + 1) / 2
        within = trend[:, None] * (np.arange(m) - (m - 1) / 2)
        s = ((each - means[..., None]).mean(axis=1) - within).T
    b = np.where(grid.drifts > 0, drift[:, None], np.where(grid.beta > 0, trend[:, None], 0.0))
    return np.repeat(l[:, None], G, axis=1), b, np.repeat(s[..., None], G, axis=2)


def _weights(E: Floats, n: int, grid: _Grid) -> Floats:
    """Return the weights [K, G] of settings with the mean errors E."""
    least = 1e-12 * E.max(axis=1, keepdims=True) + 1e-300
    criterion = n * np.log(np.maximum(E, least)) + grid.p
    w = np.exp(criterion.min(axis=1, keepdims=True) - criterion)
    return np.asarray(w / w.sum(axis=1, keepdims=True))
