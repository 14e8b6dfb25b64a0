"""Teacher forcing with a schedule: how often a decoder is fed the target instead of its own output.

A decoder that feeds on itself learns fast when it is fed the targets (Williams and Zipser 1989), and
then meets its own errors for the first time when it forecasts. Scheduled sampling feeds the target with
probability p_k at update k, and lowers p_k as training goes on (Bengio, Vinyals, Jaitly and Shazeer
2015, "Scheduled sampling for sequence prediction with recurrent neural networks", section 2.4), with
K updates in all and ε the least p:

    all              p_k = 1
    none             p_k = 0
    linear           p_k = max(ε, 1 - k/K)
    exponential      p_k = max(ε, κ^k)                      κ < 1
    inverse-sigmoid  p_k = max(ε, κ/(κ + exp(k/κ)))         κ >= 1; p = 1/2 where k = κ ln κ

Where κ is not given it is that with which κ^K = 1/100, or with which p = 1/2 half-way, so that a
schedule means the same in short and in long training.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from throughtime._checks import one_of, real
from throughtime._errors import SettingError
from throughtime.nn.ensemble import Ensemble

Decay = Literal["all", "none", "linear", "exponential", "inverse-sigmoid"]

LAST = 0.01  # the exponential's end, where its base is not given


@dataclass(frozen=True)
class Forcing:
    """The probability with which a decoder is fed its targets; see the module.

    `decay` is one of the five names, `least` is ε, `constant` is κ (None chooses one). Called with
    the index k of an update out of `total` it returns p_k, for any loop: `model(x, targets=y,
    forcing=forcing(k, total))`. Raises SettingError for a value out of its range, and a κ for a
    decay that has none.

    >>> forcing = Forcing("linear", least=0.25)
    >>> [forcing(k, 4) for k in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.25]
    """

    decay: Decay
    least: float = 0.0
    constant: float | None = None

    def __post_init__(self) -> None:
        one_of("decay", self.decay, get_args(Decay))
        real("least", self.least, at_least=0, at_most=1)
        if self.constant is None:
            return
        if self.decay == "exponential":
            real("constant", self.constant, above=0, below=1)
        elif self.decay == "inverse-sigmoid":
            real("constant", self.constant, at_least=1, below=math.inf)
        else:
            raise SettingError(
                f"no constant for decay={self.decay!r}", repr(self.constant), "leave it out"
            )

    def __call__(self, index: int, total: int) -> float:
        """Return p_k for update k = `index` out of `total`, k = 0 .. total - 1."""
        if self.decay == "all":
            return 1.0
        if self.decay == "none":
            return 0.0
        return max(self.least, self._decayed(index, max(total, 1)))

    def _decayed(self, k: int, K: int) -> float:
        if self.decay == "linear":
            return 1 - k / K
        if self.decay == "exponential":
            return float((self.constant or LAST ** (1 / K)) ** k)
        κ = self.constant or _half_at(K / 2)
        return κ / (κ + math.exp(min(k / κ, 700.0)))


def takes_forcing(model: nn.Module) -> bool:
    """Say whether `model(inputs, targets=..., forcing=...)` can be called.

    >>> takes_forcing(nn.Linear(1, 1))
    False
    """
    template = model.template if isinstance(model, Ensemble) else model
    names = inspect.signature(template.forward).parameters
    return "targets" in names and "forcing" in names


def _half_at(middle: float) -> float:
    """Return the κ >= 1 with κ ln κ = `middle`, by Newton's steps."""
    κ = 1 + middle
    for _ in range(50):
        κ = (middle + κ) / (1 + math.log(κ))
    return κ
