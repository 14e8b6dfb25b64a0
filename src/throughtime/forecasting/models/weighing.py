"""Weights of groups, by how they erred at the rolling origins.

    e_g     = (f(y) - f(y_g)) / size        f the scale on which errors are even, size that of each series' steps
    m_g     = mean of e_g^2                 over origins, series and steps
    w_g     = m_g^-1 / sum_j m_j^-1

These are the weights of least variance of unbiased forecasts whose errors know nothing of each other
(Bates and Granger 1969, with a correlation of 0). What correlations would add has to be estimated, which
often costs more than it gains. None is negative, and forecasts that err alike have equal parts.

The forecast that is judged at an origin is combined by the errors at the *other* origins, so that the
scores and intervals stay honest; where there is one origin alone, by equal parts. What forecasts in the end is
combined by the errors at all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.calibration.conformity import AroundPoint
from throughtime.forecasting.evaluation.backtest import Backtest

Floats = npt.NDArray[np.float64]

LEAST = 1e-300  # of a mean square


def weights(squares: Floats) -> Floats:
    """Return the weights [G] of groups with these mean squared errors.

    >>> weights(np.array([1.0, 3.0]))
    array([0.75, 0.25])
    """
    m = np.maximum(squares, LEAST)
    w = m.min() / m
    return np.asarray(w / w.sum())


def weighed(backtest: Backtest, said: Sequence[tuple[Floats, Floats]]) -> tuple[Backtest, Floats]:
    """Return the back-test of the weighed forecast, and the weights [G] by all origins.

    `said` are the forecasts [G, rows, h] and quantiles [G, rows, h, Q] of the groups at each origin,
    for the rows that were known there.
    """
    name, origins = backtest.models[0], range(backtest.n_windows)
    known = [np.flatnonzero(backtest.panel.row_lengths > backtest.ahead(r)) for r in origins]
    total, count = zip(*(_squares(backtest, r, known[r], said[r][0]) for r in origins), strict=True)
    made = backtest.forecasts[name].copy()
    quantiles = None if backtest.quantiles is None else backtest.quantiles.copy()
    for r in origins:
        w = _by([q for q in origins if q != r], total, count, len(said[r][0]))
        made[r, known[r]] = np.tensordot(w, said[r][0], 1)
        if quantiles is not None:
            held = np.tensordot(w, said[r][1], 1)
            quantiles[r, known[r]] = np.round(held) if backtest.counts else held
    forecasts = {**backtest.forecasts, name: made}
    whole = replace(backtest, forecasts=forecasts, quantiles=quantiles)
    return whole, _by(origins, total, count, len(said[0][0]))


def _squares(
    backtest: Backtest, r: int, rows: npt.NDArray[np.int64], points: Floats
) -> tuple[Floats, int]:
    """Return the sum [G] of squared errors at origin r, and the number of values."""
    y = backtest.y[r, rows]
    e = AroundPoint(points, backtest.sizes[rows], backtest.transform).score(y)
    return np.nansum(e**2, axis=(1, 2)), int((~np.isnan(y)).sum())


def _by(origins: Sequence[int], total: Sequence[Floats], count: Sequence[int], G: int) -> Floats:
    """Return the weights [G] by the errors at some origins; equal parts where they have no value."""
    n = sum(count[r] for r in origins)
    if n == 0:
        return np.full(G, 1 / G)
    return weights(np.sum([total[r] for r in origins], axis=0) / n)
