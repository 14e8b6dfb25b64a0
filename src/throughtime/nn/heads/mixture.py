"""A mixture of K normal distributions for each output, for what is skew or has several modes.

    ln w = log softmax(r_1..K),    m = r_K+1..2K,    s = log(1 + e^(r_2K+1..3K)) + floor
    F(y) = sum_k w_k Phi((y - m_k)/s_k)

The quantile lies between the least and the greatest of the parts' own, m_k + s_k Phi^-1(u), and is
found between them by bisection. A sample draws the part, then its value. Source: Bishop 1994, mixture
density networks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from throughtime._checks import positive_int, real
from throughtime.nn.heads.base import ValueHead, normals, uniforms

STEPS = 60  # of the bisection: each halves the bracket


class MixtureHead(ValueHead):
    """A mixture of normal distributions: parameters (K log weights, K means, K scales).

    The means' biases start at the normal quantiles of (k - 1/2)/K, so that the parts differ.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        components: K, how many distributions are mixed.
        floor: the least standard deviation of each, above 0; it keeps the likelihood bounded.

    Raises:
        SettingError: a size is below 1, or the floor is not above 0.

    >>> head = MixtureHead(8, components=2)
    >>> params = torch.tensor([[0.5, 0.5, -3.0, 3.0, 1.0, 1.0]])
    >>> params[..., :2] = params[..., :2].log()
    >>> head.quantile(params, 0.5).abs() < 1e-6, head.point(params)
    (tensor([True]), tensor([0.]))
    """

    def __init__(
        self, hidden_size: int, outputs: int = 1, components: int = 3, floor: float = 1e-3
    ) -> None:
        K = positive_int("components", components)
        law = {"powers": [0.0] * K + [1.0] * 2 * K, "shifts": [0.0] * K + [1.0] * K + [0.0] * K}
        super().__init__(hidden_size, outputs, **law)
        self.components = K
        self.floor = real("floor", floor, above=0)
        with torch.no_grad():
            means = torch.special.ndtri((torch.arange(K) + 0.5) / K)
            self.linear.bias.view(outputs, 3, K)[:, 1] = means

    def _constrain(self, raw: Tensor) -> Tensor:
        w, m, s = raw.tensor_split(3, -1)
        return torch.cat([w.log_softmax(-1), m, softplus(s) + self.floor], -1)

    def point(self, params: Tensor) -> Tensor:
        """The mean, sum_k w_k m_k: [..., outputs]."""
        w, m, _ = params.tensor_split(3, -1)
        mean: Tensor = (w.exp() * m).sum(-1)
        return mean

    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        w, m, s = params.tensor_split(3, -1)
        u: Tensor = (w.exp() * torch.special.ndtr((y.unsqueeze(-1) - m) / s)).sum(-1)
        return u

    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        _, m, s = params.tensor_split(3, -1)
        z: Tensor = torch.special.ndtri(u)
        low, high = (m + s * z.unsqueeze(-1)).aminmax(dim=-1)
        for _ in range(STEPS):
            y = (low + high) / 2
            enough = self._cdf(params, y) >= u
            low, high = torch.where(enough, low, y), torch.where(enough, y, high)
        return high

    def _sample(
        self, params: Tensor, shape: tuple[int, ...], generator: torch.Generator | None
    ) -> Tensor:
        w, m, s = (part.expand(*shape, -1) for part in params.tensor_split(3, -1))
        u, z = uniforms(shape, params, generator), normals(shape, params, generator)
        part = (u.unsqueeze(-1) > w.exp().cumsum(-1)[..., :-1]).sum(-1, keepdim=True)
        y: Tensor = (m.gather(-1, part) + s.gather(-1, part) * z.unsqueeze(-1)).squeeze(-1)
        return y
