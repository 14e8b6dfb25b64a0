"""Prediction intervals from the errors of a back-test.

r_{o,k}        residual (value minus forecast) of origin o at step k = 1 ... h
s_k            scale of step k: the mean of |r_{o,k}|, made to rise with k (isotonic regression)
               or, for residuals in units that need not rise (`conformity.py`), shrunk to their mean
z_{o,k}        score |r_{o,k}| / s_k; all n of them, over origins and steps, sorted
interval       forecast -/+ s_k z_(j),  j = ceil(n (1 + 1/m) level)

With m = n this is split conformal prediction, which covers at least `level` if scores are
exchangeable. Steps of one origin err together, so m is the number of independent scores: n times
var(z) / (var(mean of z over an origin) * scores per origin), between the number of origins and n.

Where j > n the scores cannot tell: the largest is widened by the ratio of the normal quantiles
of the level asked for and of m / (m + 1). The intervals are symmetric, for with few origins both
tails together say more than each alone; skew is left to the transform around the model, and to the
bend of scores that many rows share (`conformity.py`).

Vovk, Gammerman and Shafer (2005); Stankeviciute, Alaa and van der Schaar (2021) for many steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from numbers import Real
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from throughtime._checks import real
from throughtime._errors import DataError, SettingError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the residuals of a back-test say about the width of intervals.

    `scale` [h] is the mean absolute residual of each step, `scores` [n] the sorted absolute
    residuals in units of it, `independent` what they count for, m.

    >>> calibration = Calibration.fit([[1.0, -2.0], [-1.0, 2.0], [1.0, 2.0], [-1.0, -2.0]])
    >>> calibration.interval([10.0, 10.0], level=80)
    (array([9., 8.]), array([11., 12.]))
    """

    scale: Floats
    scores: Floats
    independent: float

    @classmethod
    def fit(cls, residuals: npt.ArrayLike, rises: bool = True) -> Calibration:
        """Return the calibration by `residuals` [..., h], NaN where there is none.

        The leading axes (origins, series) are pooled; residuals of series of unlike size are to
        be divided by each one's size first. `rises` says that they grow with the step. Raises
        `DataError` if there is no residual at all.
        """
        residuals = np.asarray(residuals, dtype=np.float64)
        sizes = np.abs(residuals.reshape(-1, residuals.shape[-1]))
        counts = (~np.isnan(sizes)).sum(axis=0)
        if not counts.any():
            raise DataError("residuals of a back-test", "none", "pass a longer series")
        means = np.nansum(sizes, axis=0) / np.maximum(counts, 1)
        weights = counts.astype(np.float64)
        scale = _isotonic(means, weights) if rises else _shrunk(means, weights, sizes)
        scores = sizes / np.where(scale == 0, 1, scale)
        return cls(scale, np.sort(scores[~np.isnan(scores)]), _independent(scores))

    def quantile(self, level: float) -> float:
        """Return the score that a new one exceeds with probability at most 1 - level / 100."""
        share = real("level", level, above=0, below=100) / 100
        n, m = len(self.scores), self.independent
        j = ceil(n * (1 + 1 / m) * share - 1e-9)
        if j <= n:
            return float(self.scores[j - 1])
        normal = NormalDist().inv_cdf
        widened = normal((1 + share) / 2) / normal((1 + m / (m + 1)) / 2)
        return float(self.scores[-1]) * max(1.0, widened)

    def half(self, level: float, h: int) -> Floats:
        """Return half the width [h] of intervals at `level` percent.

        Steps beyond those that were calibrated have the scale of the last.
        """
        return self.scales(h) * self.quantile(level)

    def scales(self, h: int) -> Floats:
        """Return the scale [h] of each step, which beyond the calibrated ones is that of the last."""
        return self.scale[np.minimum(np.arange(h), len(self.scale) - 1)]

    def interval(
        self,
        point: npt.ArrayLike,
        level: float,
        steps: npt.ArrayLike | None = None,
        factor: Floats | float = 1.0,
    ) -> tuple[Floats, Floats]:
        """Return lower and upper ends, in the shape of `point` [..., k], at `level` percent.

        The last axis of `point` runs over `steps`, counted from 1; without them 1 ... k. Half-widths
        are multiplied by `factor`, one number or one a step. Raises `SettingError` for a step that was not calibrated.
        """
        point = np.asarray(point, dtype=np.float64)
        steps = np.arange(1, point.shape[-1] + 1) if steps is None else np.asarray(steps)
        if steps.min() < 1 or steps.max() > len(self.scale):
            raise SettingError(
                f"steps from 1 to {len(self.scale)}",
                f"steps from {steps.min()} to {steps.max()}",
                "calibrate with a longer horizon",
            )
        half = self.scale[steps - 1] * self.quantile(level) * factor
        return point - half, point + half


def leave_one_out(residuals: npt.ArrayLike, rises: bool = True) -> tuple[Calibration, ...]:
    """Return a calibration for each origin, made from the residuals [R, ..., h] of the others.

    Intervals of a back-test made with these are honest: no origin has calibrated its own.
    Raises `DataError` for a single origin.
    """
    residuals = np.asarray(residuals, dtype=np.float64)
    if len(residuals) < 2:
        raise DataError("at least 2 origins", str(len(residuals)), "back-test with n_windows=2")
    others = (np.delete(residuals, o, axis=0) for o in range(len(residuals)))
    return tuple(Calibration.fit(each, rises) for each in others)


def _independent(scores: Floats) -> float:
    """Return how many independent scores [R, h] are worth, between R and their number."""
    rows = scores[~np.isnan(scores).all(axis=1)]
    n, per_row = float((~np.isnan(rows)).sum()), (~np.isnan(rows)).sum(axis=1).mean()
    spread, spread_of_means = np.nanvar(rows), np.var(np.nanmean(rows, axis=1))
    if spread_of_means * per_row <= spread:
        return n
    return max(float(len(rows)), n * float(spread / (spread_of_means * per_row)))


def _shrunk(means: Floats, counts: Floats, sizes: Floats) -> Floats:
    """Return the means of the steps, drawn to their common one by as much as is chance.

    The positive part of James and Stein (1961), with the variance of |r| within the steps. A |r|
    beyond ten medians, as a forecast gives that is sure of one value, counts for ten.
    """
    seen, median = counts > 0, float(np.nanmedian(sizes))
    if median > 0:
        sizes = np.minimum(sizes, 10 * median)
        means = np.nansum(sizes, axis=0) / np.maximum(counts, 1)
    common = float(np.average(means, weights=counts))
    within = np.nansum((sizes - means) ** 2) / max(float(counts.sum() - seen.sum()), 1.0)
    chance = within * float(np.mean(1 / counts[seen]))
    between = float(np.mean((means[seen] - common) ** 2))
    share = max(0.0, 1 - chance / between) if between > 0 else 0.0
    return np.where(seen, common + share * (means - common), common)


def _isotonic(means: Floats, weights: Floats) -> Floats:
    """Return the non-decreasing values nearest to `means` in weighted least squares.

    Pool adjacent violators; a mean of weight 0 takes the value of its neighbour.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of steps
    for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
        block = (mean, weight, 1)
        while blocks and (blocks[-1][0] >= block[0] or block[1] == 0 or blocks[-1][1] == 0):
            before = blocks.pop()
            total = before[1] + block[1]
            pooled = before[0] * before[1] + block[0] * block[1]
            block = (pooled / total if total else 0.0, total, before[2] + block[2])
        blocks.append(block)
    return np.repeat([mean for mean, _, _ in blocks], [steps for _, _, steps in blocks])


def checked_levels(level: Sequence[float]) -> tuple[float, ...]:
    """Return the levels in rising order; `SettingError` for no list, or one not between 0 and 100.

    >>> checked_levels([95, 80])
    (80.0, 95.0)
    """
    if isinstance(level, (str, Real)):
        number = str(level) if isinstance(level, Real) else "80"
        raise SettingError("level to be a list of numbers", repr(level), f"pass level=[{number}]")
    return tuple(sorted({real("level", each, above=0, below=100) for each in level}))
