"""Quantiles that never cross, built outwards from the middle one, and what lies between them.

    v_m = r_m                 at the level q_m nearest to 0.5
    v_j = v_{j-1} + s(r_j)    above it,      s(r) = log(1 + e^r)
    v_j = v_{j+1} - s(r_j)    below it

Between the levels, the quantile function is linear in the normal score z = Phi^-1(q),

    F^-1(q) = v_j + (v_{j+1} - v_j) (z - z_j) / (z_{j+1} - z_j),      z_j <= z <= z_{j+1}

and the outermost pieces go on beyond their levels: the tails are those of the normal distribution
through the two outermost quantiles. Where the v_j are the quantiles of a normal distribution, F is
that distribution. u = F(y) is the same line, read the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import softplus

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.nn.heads.base import ValueHead


class QuantileHead(ValueHead):
    """Quantiles that never cross, built outwards from the middle one.

    v_m = r_m at the level nearest to 0.5; every level above adds softplus(r_j), every level below
    takes it off. The biases start such that the gaps are those of a standard normal distribution.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        levels: the quantiles' levels, rising, each above 0 and below 1.

    Raises:
        SettingError: a size is below 1, or the levels are not rising inside (0, 1).

    >>> head = QuantileHead(8, levels=(0.1, 0.5, 0.9))
    >>> low, middle, high = head(torch.randn(8))[0]
    >>> bool(low < middle < high)
    True
    >>> head.quantile(torch.tensor([[1.0, 2.0, 4.0]]), 0.9)
    tensor([4.])
    """

    def __init__(
        self, hidden_size: int, outputs: int = 1, levels: Sequence[float] = (0.1, 0.5, 0.9)
    ) -> None:
        checked = checked_levels(levels)
        ones = [1.0] * len(checked)
        super().__init__(hidden_size, outputs, powers=ones, shifts=ones)
        self.levels = checked
        self.middle = min(range(len(self.levels)), key=lambda j: abs(self.levels[j] - 0.5))
        with torch.no_grad():
            z = self._scores()
            gaps = z.diff()
            inverse = torch.log(torch.expm1(gaps))  # softplus(inverse) = gaps
            start = torch.cat(
                [inverse[: self.middle], z[self.middle, None], inverse[self.middle :]]
            )
            self.linear.bias.copy_(start.repeat(outputs))

    def _constrain(self, raw: Tensor) -> Tensor:
        m = self.middle
        below, middle, above = raw[..., :m], raw[..., m : m + 1], raw[..., m + 1 :]
        falling = middle - softplus(below).flip(-1).cumsum(-1).flip(-1)
        rising = middle + softplus(above).cumsum(-1)
        return torch.cat([falling, middle, rising], -1)

    def point(self, params: Tensor) -> Tensor:
        """The quantile whose level is nearest to 0.5: [..., outputs]."""
        return params[..., self.middle]

    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        u: Tensor = torch.special.ndtr(
            _interpolate(y, params, self._two_scores().to(params.device))
        )
        return u

    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        return _interpolate(torch.special.ndtri(u), self._two_scores().to(params.device), params)

    def _scores(self) -> Tensor:
        z: Tensor = torch.special.ndtri(torch.tensor(self.levels, dtype=torch.float64))
        return z

    def _two_scores(self) -> Tensor:
        if len(self.levels) == 1:
            raise SettingError(
                "two levels or more, to tell the others from",
                repr(self.levels),
                "pass such as levels=(0.1, 0.5, 0.9)",
            )
        return self._scores()


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The polygon through (knots, values) [..., Q] at x, whose first and last piece go on for ever.

    A sum of one ramp for each piece, so that it rises where rounding is felt, too.
    """
    y = values[..., 0]
    last = knots.shape[-1] - 2
    for j in range(last + 1):
        width = (knots[..., j + 1] - knots[..., j]).clamp(min=torch.finfo(knots.dtype).tiny)
        share = (x - knots[..., j]) / width
        share = share.clamp(None if j == 0 else 0, None if j == last else 1) if last else share
        y = y + share * (values[..., j + 1] - values[..., j])
    return y


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return the levels of quantiles, or refuse them unless they rise inside (0, 1).

    >>> checked_levels([0.9, 0.1])
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected levels to rise, found (0.9, 0.1): sort them and drop repeats.
    """
    checked = tuple(real("every level", level, above=0, below=1) for level in levels)
    if not checked:
        raise SettingError("at least one level", "none", "pass such as levels=(0.1, 0.5, 0.9)")
    if any(low >= high for low, high in pairwise(checked)):
        raise SettingError("levels to rise", repr(checked), "sort them and drop repeats")
    return checked
