"""Explosions in a curve of gradient norms, and the highest threshold that would have stopped them.

n are the norms, L the losses, e the norms after clipping. For update k let C be the last W calm
updates before it:

    outlier:      ln n_k > m + max(z 1.4826 MAD(ln n_C), ln r)        m = median ln n_C
    loss jump:       L_k > M + max(z 1.4826 MAD(L_C), (r - 1) |M|)    M = median L_C

z is 3.5, and r says by how much they are at least above what is usual: 2 times, or 10 while C has
fewer than 10 updates, which do not yet tell what is. W is 100.

    explosion   an outlier with a loss jump within the F = 3 updates after it; three loss jumps in
                a row; or a norm or a loss that is not finite
    onset       the first outlier, or the update before the first loss jump: its step led there

An update is calm if its loss does not jump and it is no outlier, or one that did no harm: the long
gradient of one odd batch explodes nothing. While C has fewer than 10 updates, calm ones may be part
of the explosion already; the onset is then where the loss, rising up to there, began to. Explosion i
asks for a threshold no higher than

    c_i = max { e_j < e_onset : j in C before the onset }   the longest step that did no harm
    c_i = min { e_j √(L_j / L_j+1) : L_j < L_j+1 }          while C has fewer than 10, from onset on
    c_i <- min(c_i, e_onset / 2)                            if clipping was at work and too loose

(the second, because a squared error grows with the square of the step; unknown if it rose more than
10⁴ fold at once).

Clipping that works leaves no trace in the loss, or one that goes away. So an explosion counts as
stopped if clipping fired from its onset to F updates after it showed, and the run ends calm, and so
does a clipped update whose norm is more than ten times the median of the run. Those ask for no more
than that,

    c_i = 10 median n

which is where Pascanu, Mikolov and Bengio (2013, section 3.2) end the range of thresholds that they
saw converge: half to ten times the average norm.

The suggested threshold is the lowest of all c_i. Without explosions there is none. Without losses,
only what was stopped and what ends in numbers that are not finite is told to be an explosion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Z, WINDOW, FOLLOWING, FEW, IN_A_ROW = 3.5, 100, 3, 10, 3
TIMES = 10  # the median norm
STEEPEST = 1e4  # a loss that rises by more does not do so with the square of the step
NORMAL = 1.4826  # the standard deviation of a normal distribution in units of its MAD


@dataclass(frozen=True)
class Explosion:
    """One explosion: the places of its onset and of the update that showed it, the norm at the onset.

    `usual` is the median norm of calm updates (NaN without any), `threshold` the highest that would
    have stopped it (None if nothing tells), `stopped` whether clipping did.
    """

    onset: int
    shown: int
    norm: float
    usual: float
    threshold: float | None
    stopped: bool = False


def find_explosions(
    norms: Sequence[float],
    losses: Sequence[float | None],
    clipped_norms: Sequence[float] | None = None,
) -> list[Explosion]:
    """Find the explosions in the norms and losses of all updates in order; None is no known loss.

    `clipped_norms` are the norms after clipping, `norms` themselves where there was none.

    >>> norms = [1.0, 1.2, 0.9, 1.1] * 5 + [40.0, 900.0]
    >>> [found] = find_explosions(norms, [0.5, 0.4, 0.4, 0.3] * 5 + [0.3, 7.0])
    >>> found.onset, found.shown, found.threshold
    (20, 21, 1.2)
    """
    clipped = norms if clipped_norms is None else clipped_norms
    search = _Search(norms, losses, clipped)
    search.run()
    return search.all()


class _Search:
    def __init__(
        self, norms: Sequence[float], losses: Sequence[float | None], clipped: Sequence[float]
    ) -> None:
        self.n, self.L, self.e = norms, losses, clipped
        self.calm: list[int] = []
        self.pending: list[int] = []  # outliers that may still turn out to be harmless
        self.row: list[int] = []  # loss jumps, one after the other
        self.found: list[Explosion] = []

    def run(self) -> None:
        exploding = False
        for k in range(len(self.n)):
            outlier, jump = self._is_outlier(k), self._is_jump(k)
            self.row = [*self.row, k] if jump else []
            if exploding and (outlier or jump):
                continue
            exploding = self._shows(k)
            if exploding:
                self._explode(k)
            elif outlier:
                self.pending.append(k)
            elif not jump:
                self.calm.append(k)
            if self.pending and k - self.pending[-1] >= FOLLOWING:
                self.calm = sorted(self.calm + self.pending)
                self.pending = []

    def all(self) -> list[Explosion]:
        """Return all explosions in order, with those that clipping stopped."""
        went_on = {each.onset: self._went_on(each) for each in self.found}
        seen = [
            replace(each, threshold=self._highest(), stopped=True) if went_on[each.onset] else each
            for each in self.found
        ]
        return sorted(seen + self._shortened(), key=lambda each: each.onset)

    def _went_on(self, each: Explosion) -> bool:
        """Say whether clipping met the explosion, and training was calm again at its end."""
        around = range(each.onset, min(each.shown + FOLLOWING + 1, len(self.n)))
        was_clipped = any(self.e[k] < self.n[k] for k in around)
        return was_clipped and sum(k > each.shown for k in self.calm[-FEW:]) == FEW

    def _shortened(self) -> list[Explosion]:
        """Find the updates among the calm ones that would have been far too long."""
        bulk, highest = sorted(self.calm + self.pending), self._highest()
        long = [k for k in bulk if self.n[k] > highest and self.e[k] < self.n[k]]
        usual = highest / TIMES
        return [
            Explosion(k, k, self.n[k], usual, highest, stopped=True)
            for before, k in zip([-math.inf, *long], long, strict=False)
            if k - before > FOLLOWING
        ]

    def _highest(self) -> float:
        """Return ten times the median norm."""
        finite = [norm for norm in self.n if math.isfinite(norm)]
        return TIMES * float(np.median(finite)) if finite else math.inf

    def _shows(self, k: int) -> bool:
        """Say whether update k shows that there is an explosion."""
        after_an_outlier = bool(self.row and self.pending and self.pending[0] < k)
        return self._is_broken(k) or after_an_outlier or len(self.row) >= IN_A_ROW

    def _explode(self, shown: int) -> None:
        onset = min([shown, *self.pending[:1], *(max(k - 1, 0) for k in self.row[:1])])
        before = [k for k in self.calm if k < onset]
        if len(before) < FEW:
            onset = self._rise(onset)
            before = [k for k in before if k < onset]
        usual = float(np.median([self.n[k] for k in before[-WINDOW:]])) if before else math.nan
        threshold = self._threshold(onset, shown, before[-WINDOW:])
        self.found.append(Explosion(onset, shown, self.n[onset], usual, threshold))
        self.pending = []
        self.calm = before or self.calm  # something must say what is usual

    def _rise(self, k: int) -> int:
        """Return where the loss that was rising at update k began to."""
        while k > 0 and self._square_root_of_rise(k - 1) is not None:
            k -= 1
        return k

    def _threshold(self, onset: int, shown: int, before: Sequence[int]) -> float | None:
        harmless = [self.e[k] for k in before if self.e[k] < self.e[onset]]
        candidates = [max(harmless)] if harmless else []
        if len(before) < FEW:
            rises = ((k, self._square_root_of_rise(k)) for k in range(onset, shown))
            candidates = [self.e[k] / root for k, root in rises if root is not None] or candidates
        if self.e[onset] < self.n[onset]:
            candidates.append(self.e[onset] / 2)
        return min(candidates, default=None)

    def _square_root_of_rise(self, k: int) -> float | None:
        """Return √(L_{k+1} / L_k), if it is known and says something about the step."""
        low, high = self.L[k], self.L[k + 1]
        if low is None or high is None or not 0 < low < high <= STEEPEST * low:
            return None
        return math.sqrt(high / low)

    def _is_outlier(self, k: int) -> bool:
        return not (math.isfinite(self.n[k]) and self.n[k] <= self._limit(self.calm[-WINDOW:]))

    def _limit(self, reference: Sequence[int]) -> float:
        """Return the norm above which there are outliers."""
        logs = [math.log(self.n[k]) for k in reference if self.n[k] > 0]
        if not logs:
            return math.inf
        m, s = _centre_and_spread(logs)
        return float(np.exp(m + max(Z * s, math.log(_ratio(logs)))))

    def _is_jump(self, k: int) -> bool:
        loss = self.L[k]
        known = [L for j in self.calm[-WINDOW:] if (L := self.L[j]) is not None]
        if loss is None or not math.isfinite(loss):
            return loss is not None
        if not known:
            return False
        M, s = _centre_and_spread(known)
        return loss > M + max(Z * s, (_ratio(known) - 1) * abs(M))

    def _is_broken(self, k: int) -> bool:
        loss = self.L[k]
        return not math.isfinite(self.n[k]) or (loss is not None and not math.isfinite(loss))


def _ratio(reference: Sequence[float]) -> float:
    return 2 if len(reference) >= FEW else 10


def _centre_and_spread(values: Iterable[float]) -> tuple[float, float]:
    array = np.array(list(values))
    centre = float(np.median(array))
    return centre, NORMAL * float(np.median(np.abs(array - centre)))
