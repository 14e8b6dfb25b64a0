"""Which lags the data depends on: what a net's memory is needed for.

Three measures of a series, and one of examples, each with a band that chance leaves anywhere with
probability `false_alarms`, over all lags (or frequencies) together:

    autocorrelation           r_k                  looks alike k steps apart     Bartlett's band
    partial autocorrelation   a_k                  what lag k adds to 1 ... k-1  Quenouille's band
    spectrum over red noise   S(f) / B(f)          the cycles                    chi^2 (`spectrum.py`)
    cross-correlation         corr(y, x_{T-l})     over the examples             Fisher's band

A series needs the lags that add something to those before (partial autocorrelation) and its cycles.
What autocorrelation alone shows may come by way of lag 1, as in an AR(1).

All of this is linear. A dependence that leaves no correlation stays unseen: in the adding problem the
target follows two marked inputs exactly, and the correlation with any one lag is about 1.4 / T. Where
you know the lag, say so: what the data shows is a lower bound.

Sources: Box and Jenkins 1970, chapter 2, for the correlations; Fisher 1921 for atanh(rho), of variance
1 / (n - 3); the rest stands in `_correlation.py` and `spectrum.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int, real
from throughtime._correlation import (
    Floats,
    autocorrelation,
    bartlett,
    partial_autocorrelation,
)
from throughtime._errors import DataError
from throughtime.diagnostics.spectrum import Spectrum, spectrum

CORRELATED, ADDS, CYCLE, CROSS = (
    "autocorrelation",
    "partial autocorrelation",
    "cycle",
    "cross-correlation",
)
_MOST_LAGS = 10_000  # partial autocorrelations cost the square of it
_MOST_SERIES = 200  # whose likeness to each other is looked at
_MOST_CLIPS = 30
_FEWEST = 8  # values that say anything
_CONFIRMS = 2.33  # standard errors: 1 % by chance, at the one lag that the spectrum names
_BIAS = 4.0  # times 1 / T: what taking off a line does to correlations; many short series add it up
_FARTHEST = 4.0  # deviations; a few values far out would be all that a correlation sees


@dataclass(frozen=True)
class Dependence:
    """One lag [steps], how strong [-1 ... 1, the correlation], and by which evidence.

    `evidence` is "autocorrelation", "partial autocorrelation", "cycle" or "cross-correlation";
    `feature` is the input feature that is meant, in windows.
    """

    lag: int
    strength: float
    evidence: str
    feature: int | None = None


@dataclass(frozen=True)
class Need:
    """The lags that data depends on, nearest first, and its main period (`cycle`, None for none).

    >>> need = Need((Dependence(1, 0.9, "partial autocorrelation"), Dependence(12, 0.7, "cycle")), 12)
    >>> need.longest, need.cycle
    (12, 12)
    >>> Need((), None).longest
    0
    """

    lags: tuple[Dependence, ...]
    cycle: int | None = None

    @property
    def longest(self) -> int:
        """The longest lag the data plausibly depends on; 0 where none is seen.

        Plain autocorrelation does not count: it may come by way of nearer lags.
        """
        return max((found.lag for found in self.lags if found.evidence != CORRELATED), default=0)

    def by(self, evidence: str) -> dict[int, float]:
        """Return the strength by lag, of one kind of evidence; the strongest feature's.

        >>> Need((Dependence(3, 0.2, "cross-correlation", 0),)).by("cross-correlation")
        {3: 0.2}
        """
        chosen = [found for found in self.lags if found.evidence == evidence]
        return {f.lag: f.strength for f in sorted(chosen, key=lambda f: (f.lag, abs(f.strength)))}

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        lags = [asdict(found) for found in self.lags]
        return {"longest": self.longest, "cycle": self.cycle, "lags": lags}


def data_need(y: npt.ArrayLike, longest: int | None = None, *, false_alarms: float = 0.05) -> Need:
    """Say which lags a series depends on, or several that share them.

    Each series loses its linear trend, is divided by its deviation and clipped at four of them (or a few
    values far out would be all that counts); correlations and spectra are then pooled. Series that move
    together count as fewer. A lag k is a distance in time between values: a net that forecasts one step
    ahead has read y_{t-k} k - 1 steps before its newest state.

    A cycle is a peak of the spectrum above red noise that the autocorrelation confirms, and that the
    series go through three times at least; of several, the one after which the series are most alike
    is the main one. In a short series, an alternation of two values passes for noise (of rho < 0).

    Args:
        y: one series [T], or several [S, T] on one time axis; NaN where nothing was observed.
        longest: the longest lag looked at; by default a third of the series, at most 10,000.
        false_alarms: the chance of each measure to find anything in noise.

    Returns:
        The need; no lags where a series is constant, or shorter than eight values.

    Raises:
        DataError: y has other than one or two axes, or infinite values.
        SettingError: `longest` is no whole number above 0, or `false_alarms` not within (0, 1).

    Costs O(S T log T + longest^2).

    >>> rng = np.random.default_rng(0)
    >>> data_need(rng.normal(size=500)).lags
    ()
    >>> season = np.sin(np.arange(500) * np.pi / 6)
    >>> data_need(season + rng.normal(scale=0.5, size=500)).cycle
    12
    """
    false_alarms = real("false_alarms", false_alarms, above=0, below=1)
    series = _standardised(y)
    third = _third(series)
    K = min(third, _MOST_LAGS) if longest is None else positive_int("longest", longest)
    K = min(K, series.shape[1] - 2)
    if len(series) == 0 or K < 1:
        return Need(())
    share = _independent(series) / len(series)
    observed = float((~np.isnan(series)).sum())
    r, n, bias = autocorrelation(series, K + 1), share * observed, _BIAS * len(series) / observed
    z = NormalDist().inv_cdf(1 - false_alarms / (2 * K))
    error = bartlett(r, n)
    band = z * error + bias
    a = partial_autocorrelation(r[: K + 1])
    S = spectrum(series, share)
    cycles = _cycles(S, r[: third + 2], error[: third + 2], false_alarms)
    found = [
        *(Dependence(k, float(r[k]), CORRELATED) for k in _outside(r[: K + 1], band[: K + 1])),
        *(Dependence(k, float(a[k]), ADDS) for k in _outside(a, np.full(K + 1, z / n**0.5 + bias))),
        *(Dependence(k, float(r[k]), CYCLE) for k in cycles),
    ]
    return Need(_in_order(found), max(cycles, key=lambda k: r[k], default=None))


def need_of_windows(
    inputs: npt.ArrayLike, targets: npt.ArrayLike, *, false_alarms: float = 0.05
) -> Need:
    """Say which lags of their inputs the targets of examples depend on.

    Lag l is the input l steps before the newest: lag 0 is the last of a window. Each target is
    correlated with each feature at each lag, over the examples; the strongest target counts.

    The examples count as independent. Windows that were cut from one series are not: then `data_need`
    of the series says more.

    Args:
        inputs: [B, T, I], or [B, T] for one feature; NaN where nothing was observed.
        targets: [B, O] or [B].
        false_alarms: the chance to find anything in inputs that have nothing to do with the targets.

    Returns:
        The need, with `feature` set and without a cycle.

    Raises:
        DataError: the shapes do not go together, or a value is infinite.
        SettingError: `false_alarms` is not within (0, 1).

    Costs O(B T I O).

    >>> x = np.random.default_rng(0).normal(size=(200, 20, 2))
    >>> need = need_of_windows(x, x[:, -8, 1])
    >>> need.longest, need.lags[0].feature
    (7, 1)
    """
    false_alarms = real("false_alarms", false_alarms, above=0, below=1)
    x, y = _windows(inputs, targets)
    B, T, features = x.shape
    rho, n = _cross_correlation(x.reshape(B, T * features), y)
    chance = false_alarms / max(1, rho.size)
    band = np.tanh(NormalDist().inv_cdf(1 - chance / 2) / np.sqrt(np.maximum(n - 3, 1e-9)))
    found = []
    for place in np.flatnonzero((np.abs(rho) > band).any(1)):
        t, feature = divmod(int(place), features)
        strength = rho[place, np.abs(rho[place]).argmax()]
        found.append(Dependence(T - 1 - t, float(strength), CROSS, feature))
    return Need(_in_order(found))


def _in_order(found: list[Dependence]) -> tuple[Dependence, ...]:
    return tuple(sorted(found, key=lambda f: (f.lag, f.evidence, f.feature or 0)))


def _outside(values: Floats, band: Floats) -> list[int]:
    """Return the lags from 1 on at which values lie outside of their band."""
    return (np.flatnonzero(np.abs(values[1:]) > band[1:]) + 1).tolist()


def _standardised(y: npt.ArrayLike) -> Floats:
    """Return the series [S, T] without linear trend, in units of their deviation; none constant."""
    values = np.asarray(y, dtype=np.float64)
    if values.ndim not in (1, 2) or np.isinf(values).any():
        raise DataError(
            "a series [T] or several [S, T] of finite values or NaN",
            "infinite values" if values.ndim in (1, 2) else f"shape {list(values.shape)}",
            "leave gaps as NaN and stack series of one time axis",
        )
    rows = [x for row in np.atleast_2d(values) if (x := _without_trend(row)) is not None]
    return np.stack(rows) if rows else np.zeros((0, values.shape[-1]))


def _without_trend(x: Floats) -> Floats | None:
    """Return what a line leaves of a series; None where that is nothing, or nearly no values.

    Values far out are clipped, and line and deviation taken anew, until they no longer govern them.
    """
    observed = np.flatnonzero(~np.isnan(x))
    if len(observed) < _FEWEST:
        return None
    t, left = observed - observed.mean(), x[observed] / (np.abs(x[observed]).max() or 1.0)
    rounding = 1e-10
    for _ in range(_MOST_CLIPS):
        left = left - left.mean()
        left = left - t * (t @ left) / (t @ t)
        deviation = left.std()
        if deviation <= rounding:
            return None
        left, rounding = left / deviation, 0.0
        if np.abs(left).max() <= _FARTHEST:
            break
        left = np.clip(left, -_FARTHEST, _FARTHEST)
    z = np.full(len(x), np.nan)
    z[observed] = left
    return z


def _third(series: Floats) -> int:
    """Return a third of the longest series."""
    spans = [int(np.ptp(np.flatnonzero(~np.isnan(row)))) + 1 for row in series]
    return max(spans, default=0) // 3


def _independent(series: Floats) -> float:
    """Return how many independent series would tell as much: (tr C)^2 / |C|^2, C their correlations."""
    chosen = series[np.unique(np.linspace(0, len(series) - 1, _MOST_SERIES).astype(np.int64))]
    there = (~np.isnan(chosen)).astype(np.float64)
    z = np.where(there > 0, chosen, 0)
    C = z @ z.T / np.maximum(there @ there.T, 1)
    return float(len(series) * np.trace(C) ** 2 / (C**2).sum() / len(chosen))


def _cycles(S: Spectrum, r: Floats, error: Floats, false_alarms: float) -> list[int]:
    """Return the periods of the spectrum's significant peaks at which the autocorrelation peaks."""
    beside = np.concatenate([[np.inf], S.ratio, [0.0]])
    peak = (S.ratio > beside[:-2]) & (S.ratio >= beside[2:])
    lines = S.frequencies[peak & (S.ratio > S.threshold(false_alarms))]
    lags = np.arange(1, len(r) - 1)
    summit = (
        (r[lags] > r[lags - 1]) & (r[lags] >= r[lags + 1]) & (r[lags] > _CONFIRMS * error[lags])
    )
    summits = lags[summit & (lags > 1)]
    blur = np.maximum(0.1 * lines, 1.5 * S.frequencies[0])  # a taper's, and a cycle's own
    near = (np.abs(1 / summits[:, None] - lines) <= blur).any(1)
    cycles = sorted({_sharpened(r, int(k)) for k in summits[near]})
    return [k for k in cycles if not any(_repeats(r, k, shorter) for shorter in cycles)]


def _sharpened(r: Floats, summit: int) -> int:
    """Return the lag near a summit whose multiples stand out most from what lies half-way between.

    A cycle that varies from turn to turn has a flat first summit, and the later ones tell; the
    difference from half-way leaves out a slow decay, which would favour the shortest lag.
    """
    reach, longest = max(1, summit // 10), len(r) - 1
    near = np.arange(max(2, summit - reach), min(summit + reach, longest) + 1)
    near = near[r[near] >= 0.9 * r[summit]]
    turns = np.arange(1.0, max(1, int(longest / near[-1] - 0.5)) + 1)

    def at(turns: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(np.interp(np.outer(near, turns), np.arange(len(r)), r))

    standing_out = at(turns) - (at(turns - 0.5) + at(turns + 0.5)) / 2
    return int(near[standing_out.mean(1).argmax()])


def _repeats(r: Floats, cycle: int, shorter: int) -> bool:
    """Say whether a cycle is but a multiple of a shorter one, after which the series are more alike."""
    turns = round(cycle / shorter)
    return turns > 1 and abs(cycle - turns * shorter) <= turns and bool(r[cycle] <= r[shorter])


def _windows(inputs: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the inputs [B, T, I] and the targets [B, O], checked."""
    x, y = np.asarray(inputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    x = x[..., None] if x.ndim == 2 else x
    y = y[:, None] if y.ndim == 1 else y
    if x.ndim != 3 or y.ndim != 2 or len(x) != len(y):
        raise DataError(
            "inputs [B, T, I] and targets [B, O] of as many examples",
            f"shapes {list(x.shape)} and {list(y.shape)}",
            "pass one target, or several, an example",
        )
    if np.isinf(x).any() or np.isinf(y).any():
        raise DataError("finite values or NaN", "infinite values", "leave gaps as NaN")
    return x, y


def _cross_correlation(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return corr(x, y) [P, O] of x [B, P] and y [B, O], 0 for constants, and the pairs it rests on."""
    (x, there_x), (y, there_y) = _centred(x), _centred(y)
    n = np.maximum(there_x.T @ there_y, 1)
    mean_x, mean_y = x.T @ there_y / n, there_x.T @ y / n  # over the pairs
    covariance = x.T @ y / n - mean_x * mean_y
    variance = (x.T**2 @ there_y / n - mean_x**2) * (there_x.T @ y**2 / n - mean_y**2)
    deviations = np.sqrt(np.maximum(variance, 0))
    rho = np.divide(covariance, deviations, out=np.zeros_like(n), where=deviations > 0)
    return np.clip(rho, -1, 1), n


def _centred(x: Floats) -> tuple[Floats, Floats]:
    """Return the columns of x less their means, 0 in gaps, and what is there."""
    there = ~np.isnan(x)
    filled = np.where(there, x, 0)
    mean = filled.sum(0) / np.maximum(there.sum(0), 1)
    return np.where(there, filled - mean, 0), there.astype(np.float64)
