"""The length of the season: by the calendar, or read off the autocorrelation."""

from __future__ import annotations

from collections import Counter
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from throughtime._correlation import Floats, autocorrelation, bartlett
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.series.panel import Panel

LONGEST = 2**16  # steps of a series that are looked at, its newest: memory is bounded, seasons last
_FALSE_ALARMS = 0.1  # the chance to find a season in white noise, over all lags together


def season_length(y: npt.ArrayLike, frequency: Frequency | None = None) -> int:
    """Return the season of a series in steps, 1 for none.

    That of the calendar where `frequency` has one; else the lag, of at most a third of the series,
    of the highest peak in the autocorrelation of the series (at most its newest 65,536 steps)
    without its linear trend, if that is significant.

    >>> season_length(np.tile([0.0, 1.0, 5.0, 2.0], 8))
    4
    >>> season_length(np.zeros(100), Frequency("MS"))
    12
    """
    if frequency is not None and frequency.season_length > 1:
        return frequency.season_length
    return _cycle(y, sure=True)


def _cycle(y: npt.ArrayLike, sure: bool) -> int:
    """Return the lag of the highest peak in the autocorrelation, 1 for none.

    A `sure` one would hardly be found in noise.
    """
    x = _without_gaps(np.asarray(np.asarray(y)[-LONGEST:], dtype=np.float64))
    longest = len(x) // 3
    if longest < 3 or np.ptp(x) <= 1e-12 * np.abs(x).max():
        return 1
    t = np.arange(len(x))
    detrended = x - np.polyval(np.polyfit(t, x, 1), t)
    r = autocorrelation(detrended, longest + 1)
    z = r / bartlett(r, len(x))
    lags = np.arange(2, longest + 1)
    peak = (r[lags] > r[lags - 1]) & (r[lags] >= r[lags + 1])
    threshold = NormalDist().inv_cdf(1 - _FALSE_ALARMS / len(lags))
    found = lags[peak & (z[lags] > threshold)] if sure else lags[peak]
    return _sharpened(r, int(found[np.argmax(r[found])])) if len(found) else 1


def _sharpened(r: Floats, peak: int) -> int:
    """Return the lag near a peak that is highest on average over its multiples.

    A cycle that varies from turn to turn has a flat first peak, and the later ones tell: that of
    the yearly sunspots is as high at 10 as at 11, their third at 33 and not at 30.
    """
    reach = max(1, peak // 10)
    near = np.arange(max(2, peak - reach), min(peak + reach, len(r) - 1) + 1)
    multiples = np.arange(1, max(1, (len(r) - 1) // near[-1]) + 1)
    return int(near[np.argmax(r[np.outer(near, multiples)].mean(axis=1))])


def panel_season_length(panel: Panel, h: int | None = None, at_most: int = 100) -> int:
    """Return the season that most series of a panel share, 1 where fewer than half share one.

    Without a season in the calendar, `at_most` series spread evenly over the panel are looked at.
    With a horizon `h` they are looked at in any case, and the cycle that most share takes the place
    of the calendar's season where repeating it errs less, by a tenth, `h` steps ahead: monthly
    sunspots know no year, but a cycle of eleven.

    >>> from throughtime.forecasting import read_frame
    >>> panel_season_length(read_frame([0.0, 1.0, 5.0, 2.0] * 8))
    4
    """
    calendar = panel.frequency.season_length
    if calendar > 1 and h is None:
        return calendar
    looked_at = np.unique(np.linspace(0, len(panel) - 1, at_most).astype(np.int64)).tolist()
    seasons = Counter(_cycle(panel.row(i), sure=calendar == 1) for i in looked_at)
    season, count = seasons.most_common(1)[0]
    found = season if 2 * count >= len(looked_at) else 1
    if calendar == 1 or h is None or found == 1:
        return max(found, calendar)
    errors = [[_error(panel.row(i)[-LONGEST:], m, h) for i in looked_at] for m in (calendar, found)]
    if np.isnan(errors[0]).all():  # no series is longer than the calendar's season
        return found
    if np.isnan(errors[1]).all():
        return calendar
    of_calendar, of_found = np.nanmean(errors, axis=1)
    return found if of_found < 0.9 * of_calendar else calendar


def _error(y: Floats, m: int, h: int) -> float:
    """Return the mean error of repeating the last m steps for h steps, in units of the series.

    Over every step of the horizon from every origin: the value k ahead is compared with that of as
    many whole seasons before as k takes.
    """
    errors = []
    for turns in range(1, -(-h // m) + 1):
        if len(y) > (lag := turns * m):
            steps = np.abs(y[lag:] - y[:-lag])
            errors.append(np.nan if np.isnan(steps).all() else float(np.nanmean(steps)))
    size = np.nanstd(y)
    known = [error for error in errors if not np.isnan(error)]
    return float(np.mean(known) / size) if known and size > 0 else float("nan")


def _without_gaps(y: Floats) -> Floats:
    observed = np.flatnonzero(~np.isnan(y))
    if len(observed) == 0:
        return y[:0]
    y = y[observed[0] : observed[-1] + 1]
    t = np.arange(len(y))
    return np.asarray(np.interp(t, observed - observed[0], y[observed - observed[0]]))
