"""ZClip: the threshold follows the mean and the spread of the gradient norms.

    z_t = (‖g_t‖ - μ) / σ
    n_t = μ + (z² / z_t) σ    if z_t > z, else ‖g_t‖         the further out, the shorter
    g_t <- g_t n_t / ‖g_t‖
    μ   <- α μ + (1 - α) n_t
    σ²  <- α σ² + (1 - α) (n_t - μ)²                         with the new μ

The first `warm_up` norms are not clipped; μ and σ² begin as their mean and variance. A norm that is
not finite changes neither. The threshold in force is μ + z σ.

Source: Kumar, Owen, Roy Chowdhury, Güra 2025, "ZClip: adaptive spike mitigation for LLM
pre-training", section 3 (reciprocal clipping).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from throughtime._checks import positive_int, real
from throughtime.training.clipping import Clipped, Clipper, Clipping, clipped, norms
from throughtime.training.parameters import ParameterMatrix


@dataclass(frozen=True)
class ZClip(Clipping):
    """Clip norms more than `z` standard deviations above their running mean.

    `alpha` is the decay α of the running statistics, `warm_up` the updates that begin them. Raises
    SettingError for z not above 0, alpha outside [0, 1) or warm_up below 1.

    >>> w = torch.nn.Parameter(torch.zeros(1))
    >>> clip = ZClip(z=2.0, warm_up=2).on([w])
    >>> for slope in (1.0, 3.0, 10.0):  # μ = 2, σ = 1, so 10 is 8 of them above
    ...     w.grad = torch.tensor([slope])
    ...     print(clip().threshold, w.grad.item())
    None 1.0
    None 3.0
    4.0 2.5
    """

    z: float = 2.5
    alpha: float = 0.97
    warm_up: int = 25

    def __post_init__(self) -> None:
        real("z", self.z, above=0)
        real("alpha", self.alpha, at_least=0, below=1)
        positive_int("warm_up", self.warm_up)

    def start(self, matrix: ParameterMatrix) -> Clipper:
        """Return a clipper that begins with its warm-up."""
        return _ZClipper(self, matrix.rows)


class _ZClipper(Clipper):
    def __init__(self, how: ZClip, members: int) -> None:
        self.how = how
        self.statistics = [_Statistics() for _ in range(members)]

    def __call__(self, gradient: Tensor, weights: Tensor) -> Clipped:
        norm = norms(gradient)
        thresholds = [each.threshold(self.how) for each in self.statistics]
        longest = [
            each.admit(value, self.how)
            for each, value in zip(self.statistics, norm.tolist(), strict=True)
        ]
        return clipped(gradient, norm, norm.new_tensor(longest), thresholds)

    def state_dict(self) -> dict[str, Tensor]:
        state = {}
        for e, each in enumerate(self.statistics):
            state[f"{e}.moments"] = torch.tensor([each.mean, each.variance], dtype=torch.float64)
            state[f"{e}.first"] = torch.tensor(each.first, dtype=torch.float64)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for e, each in enumerate(self.statistics):
            each.mean, each.variance = state[f"{e}.moments"].tolist()
            each.first = state[f"{e}.first"].tolist()


@dataclass
class _Statistics:
    """μ and σ² of one member; NaN during the warm-up, whose norms are in `first`."""

    mean: float = math.nan
    variance: float = math.nan
    first: list[float] = field(default_factory=list)

    def threshold(self, how: ZClip) -> float:
        if math.isnan(self.mean):
            return math.inf
        return self.mean + how.z * math.sqrt(self.variance)

    def admit(self, norm: float, how: ZClip) -> float:
        """Take up a norm, and return the longest that it may be."""
        if not math.isfinite(norm):
            return math.inf
        if math.isnan(self.mean):
            self._warm_up(norm, how.warm_up)
            return math.inf
        longest = math.inf
        if norm > self.threshold(how):
            # (z²/z_t) σ = z² σ² / (‖g_t‖ - μ), which needs no σ above 0
            longest = self.mean + how.z**2 * self.variance / (norm - self.mean)
        n = min(norm, longest)
        self.mean = how.alpha * self.mean + (1 - how.alpha) * n
        self.variance = how.alpha * self.variance + (1 - how.alpha) * (n - self.mean) ** 2
        return longest

    def _warm_up(self, norm: float, count: int) -> None:
        self.first.append(norm)
        if len(self.first) == count:
            self.mean = sum(self.first) / count
            self.variance = sum((n - self.mean) ** 2 for n in self.first) / count
            self.first = []
