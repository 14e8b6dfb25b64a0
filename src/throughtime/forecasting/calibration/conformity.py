"""How far a value lies from its forecast, in a unit that is the same at every step and series.

    around a point y'         s(y) = (f(y) - f(y')) / size              f the scale on which errors are even
    around quantiles F^-1     s(y) = Phi^-1(F(y))                       the normal score of y

Both rise with y, so that an interval of values is one of scores: what the scores at rolling origins
say (`intervals.py`) holds for a point as for any distribution. Ends at -c and c nest as c grows:
intervals never cross.

Values that cannot fall below 0 have errors that are even on the root of them where they are small
beside the value, and stretch upward where they are not. Errors about points that many series share on
the scale f(y) = sqrt(y) are therefore taken on its root, in units that are those of f at the point:

    s(y) = 2 a (sqrt(1 + e/a) - 1),    e = (f(y) - f(y')) / size,    a = max(f(y') / size, 1)
    e    = s + s^2 / 4a,               s >= -2a

so that the interval of -c to c is as wide on the scale f as it was, and c^2 / 4a units of size higher.

For a normal distribution the second is (y - mu) / sigma, the scaled form of
conformalized quantile regression (Romano, Patterson and Candes 2019); for any other it is
distributional conformal prediction (Chernozhukov, Wuthrich and Zhu 2021) on normal scores, which go
on beyond the outermost quantile where probabilities end.

A net that was fitted to few data is too sure of itself, and its scores are larger than those of the
same net later. What it says of one place beside another holds better than what it says of all of
them. So the scores may be taken in units of an error, too:

    s(y) = w Phi^-1(F(y)),    w = mean of (f(F^-1(.9)) - f(F^-1(.1))) / (2 Phi^-1(.9) size)

over all series and steps at the origin. Which of the two is steadier, a back-test tells
(`evaluation/backtest.py`).

Between the quantiles f(F^-1) is linear in the normal score, and its outer pieces go on. Where it is
flat, y has the score nearest to 0. A count y stands for all between y - 1/2 and y + 1/2, and ends
are rounded, so that a count is inside its interval where its score is.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.preprocessing.transforms import Transform

Floats = npt.NDArray[np.float64]

GRID = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
MOST = 100.0  # a normal score beyond which distributions say nothing

_Z = np.array([NormalDist().inv_cdf(level) for level in GRID])


class Conformity(Protocol):
    """Scores of values about forecasts, and the way back."""

    @property
    def rises(self) -> bool:
        """Say whether scores grow with the step, as errors do and normal scores need not."""

    def score(self, y: Floats) -> Floats:
        """Return the scores of values [..., rows, h]; NaN of NaN."""

    def value(self, score: Floats) -> Floats:
        """Return the values that have these scores, which broadcast over [..., rows, h]."""


@dataclass(frozen=True, eq=False)
class AroundPoint:
    """Errors about points [..., rows, h] on a transformed scale, in units of `sizes` [..., rows].

    Those that are `bent` are even on the root of the scale, which does not fall below 0.

    >>> from throughtime.forecasting.preprocessing.transforms import Identity, Sqrt
    >>> around = AroundPoint(np.array([[10.0]]), np.array([2.0]), Identity())
    >>> around.score(np.array([[13.0]])), around.value(np.array([1.5]))
    (array([[1.5]]), array([[13.]]))
    >>> AroundPoint(np.array([[16.0]]), np.array([2.0]), Sqrt(), bent=True).value(np.array([-1.0, 1.0]))
    array([[ 5.0625, 39.0625]])
    """

    point: Floats
    sizes: Floats
    transform: Transform
    bent: bool = False

    rises: ClassVar[bool] = True

    def score(self, y: Floats) -> Floats:
        """Return e of values, or s where errors are bent."""
        e = (self.transform.forward(y) - self._middle) / self.sizes[..., None]
        return np.asarray(2 * e / (1 + np.sqrt(1 + e / self._reach)) if self.bent else e)

    def value(self, score: Floats) -> Floats:
        """Return f^-1(f(point) + size e) of scores."""
        size = self.sizes[..., None]
        if self.bent:
            a = self._reach
            score = np.maximum(score, -2 * a)
            score = score + score**2 / (4 * a)
        return self.transform.inverse((self._middle / size + score) * size)

    @property
    def _reach(self) -> Floats:
        """Return a [..., rows, h], how far points lie above 0 in units of size."""
        return np.maximum(self._middle / self.sizes[..., None], 1.0)

    @property
    def _middle(self) -> Floats:
        return self.transform.forward(self.transform.nearest(self.point))


@dataclass(frozen=True, eq=False)
class AroundQuantiles:
    """Normal scores by quantiles [..., rows, h, Q] at the levels of GRID, times a unit w.

    >>> from throughtime.forecasting.preprocessing.transforms import Identity
    >>> normal = AroundQuantiles(10 + 2 * _Z[None, None], Identity())
    >>> normal.score(np.array([[13.0]])), normal.value(np.array([-4.0]))
    (array([[1.5]]), array([[2.]]))
    """

    quantiles: Floats
    transform: Transform
    counts: bool = False
    unit: Floats | float = 1.0

    rises: ClassVar[bool] = False

    def score(self, y: Floats) -> Floats:
        """Return the score nearest to 0 among those whose value is y."""
        u, q = self.transform.forward(y), self._rising
        half = 0.5 if self.counts else 0.0
        least, most = _crossing(q, u - half, "left"), _crossing(q, u + half, "right")
        return np.where(np.isnan(u), np.nan, self.unit * np.clip(0.0, least, most))

    def value(self, score: Floats) -> Floats:
        """Return the values at these normal scores."""
        q = self._rising
        z = np.asarray(score / self.unit)
        z = np.broadcast_to(z, np.broadcast_shapes(z.shape, q.shape[:-1]))
        j = np.clip(np.searchsorted(_Z, z) - 1, 0, len(_Z) - 2)
        low, high = _pieces(q, j)
        u = low + (high - low) * (z - _Z[j]) / (_Z[j + 1] - _Z[j])
        y: Floats = self.transform.inverse(u)
        return np.maximum(np.round(y), 0.0) if self.counts else y

    @property
    def _rising(self) -> Floats:
        u = self.transform.forward(self.transform.nearest(self.quantiles))
        return np.maximum.accumulate(u, axis=-1)


def mean_width(quantiles: Floats, sizes: Floats, transform: Transform) -> Floats:
    """Return w [..., 1, 1] of quantiles [..., rows, h, Q] of rows of these sizes [rows]."""
    low, high = (
        transform.forward(transform.nearest(quantiles[..., GRID.index(q)])) for q in (0.1, 0.9)
    )
    widths = (high - low) / (2 * NormalDist().inv_cdf(0.9) * sizes[:, None])
    seen = ~np.isnan(widths)
    n = np.maximum(seen.sum(axis=(-2, -1), keepdims=True), 1)
    w = np.where(seen, widths, 0.0).sum(axis=(-2, -1), keepdims=True) / n
    return np.where(w > 0, w, 1.0)


def _crossing(q: Floats, u: Floats, side: Literal["left", "right"]) -> Floats:
    """Return the least ("left") or greatest score at which the polygon through q [..., Q] is u."""
    passed = (q < u[..., None]) if side == "left" else (q <= u[..., None])
    n = passed.sum(axis=-1)
    j = np.clip(n - 1, 0, q.shape[-1] - 2)
    low, high = _pieces(q, j)
    width = high - low
    with np.errstate(over="ignore"):  # held below
        z = _Z[j] + (u - low) / np.where(width > 0, width, 1.0) * (_Z[j + 1] - _Z[j])
    z = np.where(width > 0, z, np.where(n == 0, -MOST, MOST))
    return np.clip(z, -MOST, MOST)


def _pieces(q: Floats, j: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return q [..., Q] at the beginning and the end of piece j [...]."""
    q = np.broadcast_to(q, (*j.shape, q.shape[-1]))
    low, high = (np.take_along_axis(q, each[..., None], axis=-1)[..., 0] for each in (j, j + 1))
    return low, high
