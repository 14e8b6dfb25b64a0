"""Errors of point forecasts and of intervals, over all places where value and forecast exist.

Arrays may have any shape; NaN in `y` or in a forecast leaves that place out, and nothing left
gives NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int, real

Floats = npt.NDArray[np.float64]

_PIECE = 2**16


def _mean(values: npt.ArrayLike) -> float:
    values = np.asarray(values, dtype=np.float64)
    observed = values[~np.isnan(values)]
    return float(observed.mean()) if observed.size else float("nan")


def _difference(y: npt.ArrayLike, f: npt.ArrayLike) -> Floats:
    return np.subtract(y, f, dtype=np.float64)


def mae(y: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the mean absolute error, mean |y - f|.

    >>> mae([1, 2, float("nan")], [2, 4, 9])
    1.5
    """
    return _mean(np.abs(_difference(y, forecast)))


def rmse(y: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the root mean squared error, sqrt(mean (y - f)^2).

    >>> rmse([0, 0], [1, 7])
    5.0
    """
    return float(np.sqrt(_mean(_difference(y, forecast) ** 2)))


def smape(y: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the symmetric percentage error of M4, 200 mean |y - f| / (|y| + |f|).

    Between 0 and 200; where both are 0 the error is 0.

    >>> smape([1, 0], [3, 0])
    50.0
    """
    size = np.abs(np.asarray(y, dtype=np.float64)) + np.abs(np.asarray(forecast, dtype=np.float64))
    return 200 * _mean(np.abs(_difference(y, forecast)) / np.where(size == 0, 1, size))


def naive_scale(train: npt.ArrayLike, season: int = 1) -> float:
    """Return the mean absolute error of the seasonal naive forecast in sample.

    mean |y_t - y_{t-m}| over one series, m = `season`; NaN where no pair of values exists.

    >>> naive_scale([1, 2, 4])
    1.5
    """
    train, m, total, count = np.asarray(train), positive_int("season", season), 0.0, 0
    for start in range(m, len(train), _PIECE):  # a long series is not held again
        y = train[start : start + _PIECE]
        steps = np.abs(_difference(y, train[start - m :][: len(y)]))
        observed = steps[~np.isnan(steps)]
        total, count = total + float(observed.sum()), count + len(observed)
    return total / count if count else float("nan")


def mase(y: npt.ArrayLike, forecast: npt.ArrayLike, train: npt.ArrayLike, season: int = 1) -> float:
    """Return the mean absolute scaled error of one series, mae / `naive_scale` of its past.

    NaN where the scale is 0 or unknown (a constant or very short past), so that a mean over
    series can leave it out. Hyndman and Koehler (2006).

    >>> mase([5, 6], [4, 4], train=[1, 2, 4])
    1.0
    """
    scale = naive_scale(train, season)
    return mae(y, forecast) / scale if scale > 0 else float("nan")


def coverage(y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike) -> float:
    """Return the fraction of values that lie in their interval, both ends included.

    >>> coverage([1, 2, 3, 9], [0, 2, 4, 8], [2, 3, 5, 10])
    0.75
    """
    y, lower, upper = (np.asarray(a, dtype=np.float64) for a in (y, lower, upper))
    unknown = np.isnan(y) | np.isnan(lower) | np.isnan(upper)
    return _mean(np.where(unknown, np.nan, (lower <= y) & (y <= upper)))


def pinball(y: npt.ArrayLike, forecast: npt.ArrayLike, quantile: float) -> float:
    """Return the mean quantile loss, mean max(q (y - f), (q - 1) (y - f)).

    >>> pinball([1, 1], [0, 2], quantile=0.9)
    0.5
    """
    q, error = real("quantile", quantile, above=0, below=1), _difference(y, forecast)
    return _mean(np.maximum(q * error, (q - 1) * error))


def interval_score(
    y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, level: float
) -> float:
    """Return the mean width of the intervals plus 2 / alpha times what values stick out by.

    `level` in percent, alpha = 1 - level / 100. Lower is better; Gneiting and Raftery (2007).

    >>> interval_score([1, 5], [0, 0], [4, 4], level=80)
    9.0
    """
    alpha = 1 - real("level", level, above=0, below=100) / 100
    below, above = _difference(lower, y), _difference(y, upper)
    out = np.maximum(below, 0) + np.maximum(above, 0)
    return round(_mean(_difference(upper, lower) + 2 / alpha * out), 12)
