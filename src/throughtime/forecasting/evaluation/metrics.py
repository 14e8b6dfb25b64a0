"""Errors of point forecasts, of quantiles and of intervals, over all places that can be scored.

First what one place costs, in arrays of the shape that came in:

    absolute    |y - f|                          squared  (y - f)^2
    symmetric   200 |y - f| / (|y| + |f|), 0 where both are 0
    quantile    max(q (y - f), (q - 1) (y - f))
    interval    (u - l) + 2 / alpha (max(l - y, 0) + max(y - u, 0)),  alpha = 1 - level / 100

then the metrics, which are means of these. NaN in `y` or in a forecast leaves that place out, and
nothing left gives NaN. Tables are scored, by the same losses, in `scores.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int, real
from throughtime._errors import SettingError

Floats = npt.NDArray[np.float64]

_PIECE = 2**16


def absolute_error(y: npt.ArrayLike, forecast: npt.ArrayLike) -> Floats:
    """Return |y - f| of every place."""
    return np.abs(np.subtract(y, forecast, dtype=np.float64))


def squared_error(y: npt.ArrayLike, forecast: npt.ArrayLike) -> Floats:
    """Return (y - f)^2 of every place."""
    return np.asarray(np.subtract(y, forecast, dtype=np.float64) ** 2)


def symmetric_error(y: npt.ArrayLike, forecast: npt.ArrayLike) -> Floats:
    """Return 200 |y - f| / (|y| + |f|) of every place, in per cent; 0 where both are 0."""
    size = np.abs(np.asarray(y, dtype=np.float64)) + np.abs(np.asarray(forecast, dtype=np.float64))
    return np.asarray(200 * absolute_error(y, forecast) / np.where(size == 0, 1, size))


def quantile_loss(y: npt.ArrayLike, forecast: npt.ArrayLike, quantile: float) -> Floats:
    """Return max(q (y - f), (q - 1) (y - f)) of every place."""
    q = real("quantile", quantile, above=0, below=1)
    error = np.subtract(y, forecast, dtype=np.float64)
    return np.maximum(q * error, (q - 1) * error)


def inside(y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike) -> Floats:
    """Return 1 where a value lies in its interval, both ends included, 0 where not."""
    y, lower, upper = (np.asarray(a, dtype=np.float64) for a in (y, lower, upper))
    unknown = np.isnan(y) | np.isnan(lower) | np.isnan(upper)
    return np.where(unknown, np.nan, (lower <= y) & (y <= upper))


def interval_loss(
    y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, level: float
) -> Floats:
    """Return width plus 2 / alpha times what sticks out, of every place; `level` in per cent."""
    alpha = (100 - real("level", level, above=0, below=100)) / 100
    below = np.maximum(np.subtract(lower, y, dtype=np.float64), 0)
    above = np.maximum(np.subtract(y, upper, dtype=np.float64), 0)
    return np.asarray(np.subtract(upper, lower, dtype=np.float64) + 2 / alpha * (below + above))


def _mean(values: npt.ArrayLike) -> float:
    values = np.asarray(values, dtype=np.float64)
    observed = values[~np.isnan(values)]
    return float(observed.mean()) if observed.size else float("nan")


def mae(y: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the mean absolute error, mean |y - f|.

    >>> mae([1, 2, float("nan")], [2, 4, 9])
    1.5
    """
    return _mean(absolute_error(y, forecast))


def rmse(y: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the root mean squared error, sqrt(mean (y - f)^2).

    >>> rmse([0, 0], [1, 7])
    5.0
    """
    return float(np.sqrt(_mean(squared_error(y, forecast))))


def smape(y: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the symmetric percentage error of M4, 200 mean |y - f| / (|y| + |f|).

    Between 0 and 200; where both are 0 the error is 0.

    >>> smape([1, 0], [3, 0])
    50.0
    """
    return _mean(symmetric_error(y, forecast))


def naive_scale(train: npt.ArrayLike, season: int = 1) -> float:
    """Return the mean absolute error of the seasonal naive forecast in sample.

    mean |y_t - y_{t-m}| over one series, m = `season`; NaN where no pair of values exists.

    >>> naive_scale([1, 2, 4])
    1.5
    """
    train, m, total, count = np.asarray(train), positive_int("season", season), 0.0, 0
    for start in range(m, len(train), _PIECE):  # a long series is not held again
        y = train[start : start + _PIECE]
        steps = absolute_error(y, train[start - m :][: len(y)])
        observed = steps[~np.isnan(steps)]
        total, count = total + float(observed.sum()), count + len(observed)
    return total / count if count else float("nan")


def _lagged(train: npt.ArrayLike, season: int) -> tuple[Floats, Floats]:
    train = np.asarray(train, dtype=np.float64)
    return train[positive_int("season", season) :], train[: -season or None]


def mase(y: npt.ArrayLike, forecast: npt.ArrayLike, train: npt.ArrayLike, season: int = 1) -> float:
    """Return the mean absolute scaled error of one series, mae / `naive_scale` of its past.

    NaN where the scale is 0 or unknown (a constant or very short past), so that a mean over
    series can leave it out. Hyndman and Koehler (2006).

    >>> mase([5, 6], [4, 4], train=[1, 2, 4])
    1.0
    """
    return float(ratio(mae(y, forecast), naive_scale(train, season)))


def rmsse(
    y: npt.ArrayLike, forecast: npt.ArrayLike, train: npt.ArrayLike, season: int = 1
) -> float:
    """Return the root mean squared scaled error of one series, as M5 has it with `season` 1.

    sqrt(mean (y - f)^2 / mean (y_t - y_{t-m})^2), the latter over its past; NaN as `mase`.

    >>> rmsse([0, 0], [1, 7], train=[1, 6, 1])
    1.0
    """
    return float(ratio(rmse(y, forecast), rmse(*_lagged(train, season))))


def ratio(error: npt.ArrayLike, scale: npt.ArrayLike) -> Floats:
    """Return error / scale, NaN where the scale is 0 or unknown."""
    scale = np.asarray(scale, dtype=np.float64)
    return np.asarray(error, dtype=np.float64) / np.where(scale > 0, scale, np.nan)


def owa(
    smape: npt.ArrayLike,
    mase: npt.ArrayLike,
    reference_smape: npt.ArrayLike,
    reference_mase: npt.ArrayLike,
) -> Floats:
    """Return the overall weighted average of M4, (sMAPE / sMAPE_ref + MASE / MASE_ref) / 2.

    All four are averages over all series (numbers, or arrays for several groups of series); M4's
    reference is its Naive2. NaN where one of the reference is 0. Makridakis, Spiliotis and
    Assimakopoulos (2020).

    >>> float(owa(smape=12, mase=3, reference_smape=16, reference_mase=4))
    0.75
    """
    return (ratio(smape, reference_smape) + ratio(mase, reference_mase)) / 2


def coverage(y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike) -> float:
    """Return the fraction of values that lie in their interval, both ends included.

    >>> coverage([1, 2, 3, 9], [0, 2, 4, 8], [2, 3, 5, 10])
    0.75
    """
    return _mean(inside(y, lower, upper))


def pinball(y: npt.ArrayLike, forecast: npt.ArrayLike, quantile: float) -> float:
    """Return the mean quantile loss, mean max(q (y - f), (q - 1) (y - f)).

    >>> pinball([1, 1], [0, 2], quantile=0.9)
    0.5
    """
    return _mean(quantile_loss(y, forecast, quantile))


def scaled_crps(y: npt.ArrayLike, quantiles: Mapping[float, npt.ArrayLike]) -> float:
    """Return 2 sum_t mean_q pinball_q(y_t, f_tq) / sum_t |y_t|, for forecasts f by quantile q.

    The factor 2 makes one quantile, 0.5, cost sum |y - f| / sum |y|; many evenly spaced ones come
    near the continuous ranked probability score in units of the mean |y|. A place without one of
    the quantiles is left out; NaN where all values are 0. This is GluonTS's
    `mean_weighted_sum_quantile_loss`, and utilsforecast's `scaled_crps` of one series;
    Rangapuram et al. (2021).

    >>> scaled_crps([4, 6], {0.5: [3, 8]})
    0.3
    """
    if not quantiles:
        raise SettingError("at least one quantile", "none", "pass forecasts such as {0.5: [...]}")
    y = np.asarray(y, dtype=np.float64)
    loss = np.mean([quantile_loss(y, f, q) for q, f in quantiles.items()], axis=0)
    return float(ratio(2 * _mean(loss), _mean(np.where(np.isnan(loss), np.nan, np.abs(y)))))


def interval_score(
    y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, level: float
) -> float:
    """Return the mean width of the intervals plus 2 / alpha times what values stick out by.

    `level` in percent, alpha = 1 - level / 100. Lower is better; Gneiting and Raftery (2007).

    >>> interval_score([1, 5], [0, 0], [4, 4], level=80)
    9.0
    """
    return _mean(interval_loss(y, lower, upper, level))


def msis(
    y: npt.ArrayLike,
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    level: float,
    train: npt.ArrayLike,
    season: int = 1,
) -> float:
    """Return the mean scaled interval score of M4, `interval_score` / `naive_scale` of the past.

    NaN as `mase`. Makridakis, Spiliotis and Assimakopoulos (2020).

    >>> msis([1, 5], [0, 0], [4, 4], level=80, train=[1, 2, 4])
    6.0
    """
    return float(ratio(interval_score(y, lower, upper, level), naive_scale(train, season)))
