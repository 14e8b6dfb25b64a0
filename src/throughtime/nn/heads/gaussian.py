"""A normal distribution for each output.

mu = r_1,    sigma = s(r_2) + floor,      s(r) = log(1 + e^r)
F(y) = Phi((y - mu) / sigma),             F^-1(u) = mu + sigma Phi^-1(u)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import softplus

from throughtime._checks import real
from throughtime.nn.heads.base import ValueHead


class GaussianHead(ValueHead):
    """A normal distribution for each output: parameters (mean, scale), scale > 0.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        floor: the least standard deviation, above 0; it keeps the likelihood bounded.

    Raises:
        SettingError: a size is below 1, or the floor is not above 0.

    >>> head = GaussianHead(8)
    >>> head.quantile(torch.tensor([[1.0, 2.0]]), torch.tensor([0.5, 0.975]))
    tensor([[1.0000, 4.9199]])
    """

    def __init__(self, hidden_size: int, outputs: int = 1, floor: float = 1e-3) -> None:
        super().__init__(hidden_size, outputs, powers=(1, 1), shifts=(1, 0))
        self.floor = real("floor", floor, above=0)

    def _constrain(self, raw: Tensor) -> Tensor:
        mu, sigma = raw.unbind(-1)
        return torch.stack([mu, softplus(sigma) + self.floor], -1)

    def point(self, params: Tensor) -> Tensor:
        """The mean: [..., outputs]."""
        return params[..., 0]

    def distribution(self, params: Tensor) -> Normal:
        """The distributions themselves, of batch shape [..., outputs]."""
        mu, sigma = params.unbind(-1)
        return Normal(mu, sigma)

    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        mu, sigma = params.unbind(-1)
        u: Tensor = torch.special.ndtr((y - mu) / sigma)
        return u

    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        mu, sigma = params.unbind(-1)
        y: Tensor = mu + sigma * torch.special.ndtri(u)
        return y
