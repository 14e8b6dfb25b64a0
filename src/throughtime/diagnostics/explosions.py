"""Explosions in a curve of gradient norms, and the highest threshold that would have stopped them.

For update k let C be the last W calm updates before it, n the norms and L the losses:

    m = median ln n_C            s = max(1.4826 MAD(ln n_C), ln 2 / z)
    outlier:      ln n_k > m + z s                   so at least twice the usual norm
    loss jump:    L_k > M + max(z 1.4826 MAD(L_C), |M|),   M = median L_C
    explosion:    an outlier with a loss jump, or with a norm or loss that is not finite, among the
                  F updates after it; its onset is the first of the outliers in a row of F

An update is calm if it is no outlier, or has been one without harm: a long gradient of one odd batch
explodes nothing. Where norm or loss stop being finite without an outlier before, the onset is the
update itself, or the one before where the loss is what broke: that step led there. Without losses,
only what ends in numbers that are not finite can be told to be an explosion.

With e the norms after clipping, explosion i asks for a threshold no higher than

    c_i = max { e_j : j in C before the onset of i }      the longest gradient that did no harm
    c_i <- min(c_i, e_onset / 2)                          if clipping was at work and too loose
    c   = min_i c_i

Between c_i and the norm at the onset nothing is known; above it, nothing is safe. With no calm
update before the onset, c_i is half the norm there. No explosion, no threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z, WINDOW, FOLLOWING = 3.5, 100, 10
NORMAL = 1.4826  # the standard deviation of a normal distribution in units of its MAD


@dataclass(frozen=True)
class Explosion:
    """One explosion: the places of its onset and of the update that showed it, the norms there.

    `usual` is the median norm before, and `threshold` the highest that would have stopped it.
    """

    onset: int
    shown: int
    norm: float
    usual: float
    threshold: float


def explosions(
    norms: Sequence[float],
    losses: Sequence[float | None],
    clipped_norms: Sequence[float] | None = None,
) -> list[Explosion]:
    """Find the explosions in the norms and losses of all updates in order; None is no known loss.

    `clipped_norms` are the norms after clipping, `norms` themselves where there was none.

    >>> norms = [1.0, 1.2, 0.9, 1.1, 40.0, 900.0]
    >>> [found] = explosions(norms, [0.5, 0.4, 0.4, 0.3, 0.3, 7.0])
    >>> found.onset, found.shown, found.threshold
    (4, 5, 1.2)
    """
    return _Search(norms, losses, norms if clipped_norms is None else clipped_norms).run()


class _Search:
    def __init__(
        self, norms: Sequence[float], losses: Sequence[float | None], clipped: Sequence[float]
    ) -> None:
        self.n, self.L, self.e = norms, losses, clipped
        self.calm: list[int] = []
        self.pending: list[int] = []  # outliers that may still turn out to be harmless
        self.found: list[Explosion] = []

    def run(self) -> list[Explosion]:
        exploding = False
        for k in range(len(self.n)):
            outlier, jump, broken = self._outlier(k), self._jump(k), self._broken(k)
            if exploding and (outlier or jump):
                continue
            exploding = broken or (jump and bool(self.pending))
            if exploding:
                self._explode(self._onset(k), k)
            elif outlier:
                self.pending.append(k)
            else:
                self.calm.append(k)
            if self.pending and k - self.pending[-1] >= FOLLOWING:
                self._acquit()
        return self.found

    def _onset(self, k: int) -> int:
        if self.pending:
            return self.pending[0]
        loss = self.L[k]
        return k - 1 if k and loss is not None and not math.isfinite(loss) else k

    def _explode(self, onset: int, shown: int) -> None:
        calm = [k for k in self.calm[-WINDOW:] if k < onset]
        norm, after = self.n[onset], self.e[onset]
        usual = float(np.median([self.n[k] for k in calm])) if calm else math.nan
        threshold = max((self.e[k] for k in calm), default=after / 2)
        if after < norm:
            threshold = min(threshold, after / 2)
        self.found.append(Explosion(onset, shown, norm, usual, threshold))
        self.pending = []

    def _acquit(self) -> None:
        self.calm = sorted(self.calm + self.pending)
        self.pending = []

    def _outlier(self, k: int) -> bool:
        if not math.isfinite(self.n[k]):
            return True
        if not self.calm or self.n[k] <= 0:
            return False
        logs = np.log([max(self.n[j], 1e-300) for j in self.calm[-WINDOW:]])
        m, s = _centre_and_spread(logs)
        return math.log(self.n[k]) > m + max(Z * s, math.log(2))

    def _jump(self, k: int) -> bool:
        loss = self.L[k]
        if self._broken(k):
            return True
        known = [L for j in self.calm[-WINDOW:] if (L := self.L[j]) is not None]
        if loss is None or not known:
            return False
        M, s = _centre_and_spread(np.array(known))
        return loss > M + max(Z * s, abs(M))

    def _broken(self, k: int) -> bool:
        loss = self.L[k]
        return not math.isfinite(self.n[k]) or (loss is not None and not math.isfinite(loss))


def _centre_and_spread(values: np.ndarray) -> tuple[float, float]:
    centre = float(np.median(values))
    return centre, NORMAL * float(np.median(np.abs(values - centre)))
