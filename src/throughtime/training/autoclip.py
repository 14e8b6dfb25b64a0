"""AutoClip: the threshold is a percentile of the gradient norms so far.

    G_t = (‖g_1‖, ..., ‖g_t‖)
    c_t = percentile_p(G_t)               with linear interpolation between neighbours
    g_t <- g_t min(1, c_t / ‖g_t‖)

G_t holds the norms before clipping, this one included, so at p = 10 nine gradients of ten are
shortened, and training takes steps of slowly changing length. `window` keeps the last so many
norms only. A norm that is not finite is left out: no history would survive it.

Source: Seetharaman, Wichern, Pardo, Le Roux 2020, "AutoClip: adaptive gradient clipping for source
separation networks", algorithm 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime._checks import positive_int, real
from throughtime.training.clipping import Clipped, Clipper, Clipping, clipped, norms
from throughtime.training.parameters import ParameterMatrix


@dataclass(frozen=True)
class AutoClip(Clipping):
    """Clip the norm to the `percentile` of all norms so far, or of the last `window`.

    Raises SettingError for a percentile outside [0, 100] or a window below 1.

    >>> w = torch.nn.Parameter(torch.zeros(1))
    >>> clip = AutoClip(percentile=50).on([w])
    >>> for slope in (1.0, 3.0, 9.0):
    ...     w.grad = torch.tensor([slope])
    ...     print(clip().threshold, w.grad.item())
    1.0 1.0
    2.0 2.0
    3.0 3.0
    """

    percentile: float = 10.0
    window: int | None = None

    def __post_init__(self) -> None:
        real("percentile", self.percentile, at_least=0, at_most=100)
        if self.window is not None:
            positive_int("window", self.window)

    def start(self, matrix: ParameterMatrix) -> Clipper:
        """Return a clipper without a history."""
        return _AutoClipper(self, matrix.rows)


class _AutoClipper(Clipper):
    def __init__(self, how: AutoClip, members: int) -> None:
        self.how = how
        self.histories = [_History(how.window) for _ in range(members)]

    def __call__(self, gradient: Tensor, weights: Tensor) -> Clipped:
        norm = norms(gradient)
        for history, value in zip(self.histories, norm.tolist(), strict=True):
            history.add(value)
        each = [history.percentile(self.how.percentile) for history in self.histories]
        return clipped(gradient, norm, norm.new_tensor(each), each)

    def state_dict(self) -> dict[str, Tensor]:
        return {
            str(e): torch.tensor(history.norms, dtype=torch.float64)
            for e, history in enumerate(self.histories)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.histories = [_History(self.how.window) for _ in self.histories]
        for e, history in enumerate(self.histories):
            for norm in state[str(e)].tolist():
                history.add(norm)


class _History:
    """Norms in the order of their arrival, and in that of their size."""

    def __init__(self, window: int | None) -> None:
        self.norms: deque[float] = deque(maxlen=window)
        self.ascending: list[float] = []

    def add(self, norm: float) -> None:
        if not math.isfinite(norm):
            return
        if len(self.norms) == self.norms.maxlen:
            del self.ascending[bisect_left(self.ascending, self.norms[0])]
        self.norms.append(norm)
        insort(self.ascending, norm)

    def percentile(self, p: float) -> float:
        if not self.ascending:
            return math.inf
        below, part = divmod(p / 100 * (len(self.ascending) - 1), 1)
        low = self.ascending[int(below)]
        high = self.ascending[min(int(below) + 1, len(self.ascending) - 1)]
        return low + part * (high - low)
