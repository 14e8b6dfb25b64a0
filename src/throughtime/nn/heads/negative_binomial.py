"""The negative binomial distribution for counts, which may vary more than their mean.

    mu = s(r_1) + floor,    alpha = s(r_2) + floor,      s(r) = log(1 + e^r)
    variance = mu + alpha mu^2                           (alpha -> 0 is the Poisson distribution)
    F(k) = I_x(1/alpha, k + 1),    x = 1/(1 + alpha mu)

with I the regularised incomplete beta function. The quantile is the least whole k with F(k) >= u, found
by bisection between the bounds of Cantelli's inequality,

    mu - sd sqrt((1 - u)/u) <= k <= mu + sd sqrt(u/(1 - u))

A sample is of the Poisson distribution whose rate is alpha mu g, g of the gamma distribution with
shape 1/alpha. Counts have no place to be shifted to; on another size they are

    mu <- size mu,    alpha <- alpha / sqrt(size)

which is how a network for series of many sizes is trained (Salinas et al. 2020, DeepAR, section 3.3).
Unlike the other heads' this is a choice, not an identity: size k is no count.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.nn.heads.base import Scale, ValueHead, gammas, poissons, uniforms
from throughtime.nn.heads.special import betainc

MOST_STEPS = 64  # of a bisection; beyond 2^53 neighbouring counts are one number


class NegativeBinomialHead(ValueHead):
    """Counts for each output: parameters (mean, dispersion), variance mean + dispersion mean^2.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        floor: the least mean, and the least dispersion, above 0.

    Raises:
        SettingError: a size is below 1, or the floor is not above 0.

    >>> head = NegativeBinomialHead(8)
    >>> head.quantile(torch.tensor([[1.0, 1.0]]), torch.tensor([0.4, 0.75, 0.9]))  # F(k) = 1 - 2^-(k+1)
    tensor([[0., 1., 3.]])
    """

    counts: ClassVar[bool] = True

    def __init__(self, hidden_size: int, outputs: int = 1, floor: float = 1e-4) -> None:
        super().__init__(hidden_size, outputs, powers=(1, -0.5), shifts=(0, 0))
        self.floor = real("floor", floor, above=0)

    def _constrain(self, raw: Tensor) -> Tensor:
        return softplus(raw) + self.floor

    def point(self, params: Tensor) -> Tensor:
        """The mean: [..., outputs]."""
        return params[..., 0]

    def rescale(self, params: Tensor, location: Scale = 0.0, size: Scale = 1.0) -> Tensor:
        """Return (size mean, dispersion / sqrt(size)); the location can only be 0.

        Raises SettingError for another location.
        """
        if torch.as_tensor(location).any():
            raise SettingError(
                "location 0 for counts, which cannot be shifted",
                "another",
                "scale the series by its size alone, or use another output than counts",
            )
        return super().rescale(params, 0.0, size)

    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        mu, alpha = params.unbind(-1)
        k = y.floor()
        spread = alpha * mu
        u, _ = betainc(1 / alpha, k.clamp(min=0) + 1, 1 / (1 + spread), spread / (1 + spread))
        return torch.where(k < 0, 0.0, u)

    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        mu, alpha = params.unbind(-1)
        sd = (mu + alpha * mu**2).sqrt()
        low = (mu - sd * ((1 - u) / u).sqrt()).floor().clamp(min=0) - 1
        high = (mu + sd * (u / (1 - u)).sqrt()).ceil()
        for _ in range(MOST_STEPS):
            if not (high - low > 1).any():
                break
            k = ((low + high) / 2).floor()
            enough = self._cdf(params, k) >= u
            low, high = torch.where(enough, low, k), torch.where(enough, k, high)
        return high

    def _sample(
        self, params: Tensor, shape: tuple[int, ...], generator: torch.Generator | None
    ) -> Tensor:
        mu, alpha = params.unbind(-1)
        return poissons(alpha * mu * gammas((1 / alpha).expand(shape), generator), generator)

    def _uniform(self, params: Tensor, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """F(y - 1) + v (F(y) - F(y - 1)): v is drawn, or without a generator 1/2, the middle."""
        below, at = self._cdf(params, y - 1), self._cdf(params, y)
        v = 0.5 if generator is None else uniforms(tuple(at.shape), at, generator)
        return below + v * (at - below)
