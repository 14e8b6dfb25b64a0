"""Student's t for each output, for heavy tails.

    nu = 2 + s(r_1) + floor,    mu = r_2,    sigma = s(r_3) + floor,      s(r) = log(1 + e^r)

With t = (y - mu)/sigma, w = t^2/(nu + t^2) and I the regularised incomplete beta function,

    P(T > |t|)     = 1/2 I_{1-w}(nu/2, 1/2)    (the tail)
    P(0 < T < |t|) = 1/2 I_w(1/2, nu/2)        (the middle)

F^-1 has no closed form but for nu = 2, where t = (2u - 1)/sqrt(2 u (1 - u)), and nu = oo, where t is
the normal z. In between, ln t starts from the mean of both with weights 2/nu and 1 - 2/nu. Newton
steps in ln t then solve the smaller of ln tail and ln middle, both concave in ln t, so that the steps
converge from everywhere, and quadratically. A sample is mu + sigma z sqrt(nu/(2 g)), with z normal and g
of the gamma distribution with shape nu/2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import StudentT
from torch.nn.functional import softplus

from throughtime._checks import real
from throughtime.nn.heads.base import ValueHead, gammas, normals
from throughtime.nn.heads.special import betainc, log_rising

NEWTON_STEPS = 4  # 3 leave 4e-11, relative


class StudentTHead(ValueHead):
    """Student's t for each output, for heavy tails: parameters (df, loc, scale).

    df > 2, so that the variance scale^2 df / (df - 2) is finite; scale > 0.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        floor: the least scale, and the least df - 2, above 0.

    Raises:
        SettingError: a size is below 1, or the floor is not above 0.

    >>> head = StudentTHead(8)
    >>> df, loc, scale = head(torch.randn(8))[0]
    >>> bool(df > 2 and scale > 0)
    True
    >>> head.quantile(torch.tensor([[4.0, 0.0, 1.0]]), 0.975)
    tensor([2.7764])
    """

    def __init__(self, hidden_size: int, outputs: int = 1, floor: float = 1e-3) -> None:
        super().__init__(hidden_size, outputs, powers=(0, 1, 1), shifts=(0, 1, 0))
        self.floor = real("floor", floor, above=0)

    def _constrain(self, raw: Tensor) -> Tensor:
        nu, mu, sigma = raw.unbind(-1)
        return torch.stack([softplus(nu) + self.floor + 2, mu, softplus(sigma) + self.floor], -1)

    def point(self, params: Tensor) -> Tensor:
        """The location, which is mean and median: [..., outputs]."""
        return params[..., 1]

    def distribution(self, params: Tensor) -> StudentT:
        """The distributions themselves, of batch shape [..., outputs]."""
        nu, mu, sigma = params.unbind(-1)
        return StudentT(nu, mu, sigma)

    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        nu, mu, sigma = params.unbind(-1)
        t = (y - mu) / sigma
        _, tail = _middle_and_tail(t.abs(), nu)
        return torch.where(t < 0, tail, 1 - tail)

    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        nu, mu, sigma = params.unbind(-1)
        t = _upper(torch.minimum(u, 1 - u), (u - 0.5).abs(), nu)
        return mu + sigma * torch.where(u < 0.5, -t, t)

    def _sample(
        self, params: Tensor, shape: tuple[int, ...], generator: torch.Generator | None
    ) -> Tensor:
        nu, mu, sigma = params.unbind(-1)
        z, g = normals(shape, params, generator), gammas((nu / 2).expand(shape), generator)
        return mu + sigma * z * (nu / (2 * g)).sqrt()


def _middle_and_tail(t: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
    """P(0 < T < t) and P(T > t), for t >= 0."""
    w = 1 / (1 + nu / t**2)
    middle, tail = betainc(torch.full_like(nu, 0.5), nu / 2, w, 1 / (1 + t**2 / nu))
    return middle / 2, tail / 2


def _upper(tail: Tensor, middle: Tensor, nu: Tensor) -> Tensor:
    """The t >= 0 with these probabilities beyond it, and between 0 and it."""
    z, t_2 = -torch.special.ndtri(tail), 2 * middle / (2 * tail * (1 - tail)).sqrt()
    t = torch.lerp(z.log(), t_2.log(), 2 / nu).exp()
    t = torch.where(middle > 0, t, 1.0)
    ln_c = log_rising(nu / 2, torch.full_like(nu, 0.5)) - (nu * math.pi).log() / 2
    for _ in range(NEWTON_STEPS):
        m, s = _middle_and_tail(t, nu)
        slope = t * (ln_c - (nu + 1) / 2 * torch.log1p(t**2 / nu)).exp()  # of m, and of -s, in ln t
        inside = m * (middle / m).log() / slope
        outside = s * (s / tail).log() / slope
        t = t * torch.where(middle < tail, inside, outside).exp()
    return torch.where(middle > 0, t, 0.0)
