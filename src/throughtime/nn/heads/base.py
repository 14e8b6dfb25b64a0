"""Base of all heads: from a hidden state to the parameters of what is forecast.

With V, c a linear layer on h [..., H], reshaped to r = V h + c of [..., outputs, parameters], a head
is a map of r to parameters that are in range. A loss reads the parameters; `.point` makes one number
(or class) of them; `.feedback` turns an output, or its target, into the next input of a decoder.

A head of values describes a distribution F for each output. It can be asked for

    quantile   the least y with F(y) >= q                                     -> [..., outputs]
    icdf       the same, of a u of its own for every output (of a copula, say)
    sample     icdf(u) of u uniform on (0, 1), or a draw of the same law      -> [n, ..., outputs]
    uniform    u = F(y), the probability integral transform                   -> [..., outputs]
    rescale    parameters of location + size Y, from those of Y

These are for forecasts, not for training: but for `rescale` they compute in float64, return the
precision of the parameters, and carry no gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from throughtime._checks import positive_int, real
from throughtime._errors import SettingError
from throughtime.nn.linear import Linear

Scale = Tensor | float  # of one number for each value: [...], broadcast over [..., outputs]


class Head(nn.Module, ABC):
    """Base of all heads: `head(hidden [..., H]) -> [..., outputs, parameters]`.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values (or classes) are forecast at once.
        parameter_count: how many parameters describe each of them.

    Raises:
        SettingError: a size is no whole number of at least 1.
    """

    def __init__(self, hidden_size: int, outputs: int, parameter_count: int) -> None:
        super().__init__()
        self.hidden_size = positive_int("hidden_size", hidden_size)
        self.outputs = positive_int("outputs", outputs)
        self.parameter_count = parameter_count
        self.linear = Linear(hidden_size, outputs * parameter_count)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states [..., H] to parameters [..., outputs, parameters]."""
        raw: Tensor = self.linear(hidden)
        return self._constrain(raw.reshape(*raw.shape[:-1], self.outputs, self.parameter_count))

    def _constrain(self, raw: Tensor) -> Tensor:
        return raw

    @abstractmethod
    def point(self, params: Tensor) -> Tensor:
        """Make one forecast [..., outputs] of the parameters [..., outputs, parameters]."""

    @property
    def feedback_size(self) -> int:
        """How many features `feedback` has."""
        return self.outputs

    def feedback(self, y: Tensor) -> Tensor:
        """Turn outputs or targets [..., outputs] into a decoder's input [..., feedback_size].

        A value is fed back as it is; one that is not known (NaN) as 0.
        """
        return torch.where(y.isnan(), 0.0, y)

    def extra_repr(self) -> str:
        """Say the sizes when printed."""
        return f"{self.hidden_size}, outputs={self.outputs}"


class ValueHead(Head):
    """A head whose parameters describe a distribution of numbers, one for each output.

    `counts` says that the numbers are whole and not below 0: these can be rescaled, not shifted.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        powers: a_i of the law of `rescale`, one for each parameter.
        shifts: b_i of the law of `rescale`, one for each parameter.

    Raises:
        SettingError: a size is no whole number of at least 1.
    """

    counts: ClassVar[bool] = False

    def __init__(
        self, hidden_size: int, outputs: int, powers: Sequence[float], shifts: Sequence[float]
    ) -> None:
        super().__init__(hidden_size, outputs, len(powers))
        self._powers, self._shifts = tuple(powers), tuple(shifts)

    def rescale(self, params: Tensor, location: Scale = 0.0, size: Scale = 1.0) -> Tensor:
        """Return the parameters size^a_i p_i + b_i location of location + size Y, from p_i of Y.

        `location` and `size` > 0 broadcast over the values [..., outputs]. Carries gradients.
        """
        powers, shifts = params.new_tensor(self._powers), params.new_tensor(self._shifts)
        if isinstance(size, Tensor) or size != 1.0:
            params = _per_parameter(size, params) ** powers * params
        return params + _per_parameter(location, params) * shifts

    @abstractmethod
    def _cdf(self, params: Tensor, y: Tensor) -> Tensor:
        """F(y)."""

    @abstractmethod
    def _icdf(self, params: Tensor, u: Tensor) -> Tensor:
        """The least y with F(y) >= u."""

    @torch.no_grad()
    def icdf(self, params: Tensor, u: Tensor) -> Tensor:
        """Return the least y with F(y) >= u, for u inside (0, 1) that broadcasts over [..., outputs]."""
        return self._icdf(params.double(), u.to(params.device, torch.float64)).to(params.dtype)

    def quantile(self, params: Tensor, q: float | Tensor) -> Tensor:
        """Return the quantile [..., outputs] at level q, or [..., outputs, Q] at levels q [Q].

        Raises SettingError for a level that is not inside (0, 1).
        """
        levels = torch.as_tensor(q, dtype=torch.float64)
        for level in levels.reshape(-1).tolist():
            real("every level", level, above=0, below=1)
        if levels.dim() == 0:
            return self.icdf(params, levels)
        if levels.dim() > 1:
            raise SettingError("levels [Q]", f"shape {list(levels.shape)}", "flatten them")
        return self.icdf(params.unsqueeze(-2), levels)

    @torch.no_grad()
    def sample(
        self, params: Tensor, generator: torch.Generator | None = None, n: int = 1
    ) -> Tensor:
        """Draw n values [n, ..., outputs], each for itself: what ties them is for the caller.

        All random numbers come from `generator`, on its device; None is torch's global one.

        Raises SettingError for n below 1.
        """
        shape = positive_int("n", n), *params.shape[:-1]
        return self._sample(params.double(), shape, generator).to(params.dtype)

    def _sample(
        self, params: Tensor, shape: tuple[int, ...], generator: torch.Generator | None
    ) -> Tensor:
        return self._icdf(params, uniforms(shape, params, generator))

    @torch.no_grad()
    def uniform(
        self, params: Tensor, y: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return u = F(y) [..., outputs], uniform on [0, 1] where y is drawn from F; NaN of NaN.

        `generator` is for heads of counts alone, which randomise with it.
        """
        return self._uniform(params.double(), y.double(), generator).to(params.dtype)

    def _uniform(self, params: Tensor, y: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._cdf(params, y)


def uniforms(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draw numbers uniform on (0, 1), ends left out, in float64 and on the device of `like`.

    >>> bool(((u := uniforms((100,), torch.zeros(1))) > 0).all() and (u < 1).all())
    True
    """
    device = like.device if generator is None else generator.device
    u = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    return u.clamp(min=2.0**-54).to(like.device)


def normals(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draw numbers of the standard normal distribution, as `uniforms` does."""
    device = like.device if generator is None else generator.device
    z = torch.randn(shape, generator=generator, device=device, dtype=torch.float64)
    return z.to(like.device)


def gammas(shape: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw a number of the gamma distribution with scale 1 for each shape parameter."""
    device = shape.device if generator is None else generator.device
    drawn: Tensor = torch._standard_gamma(shape.to(device), generator=generator)
    return drawn.to(shape.device)


def poissons(rate: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw a number of the Poisson distribution for each rate."""
    device = rate.device if generator is None else generator.device
    return torch.poisson(rate.to(device), generator=generator).to(rate.device)


def _per_parameter(scale: Scale, params: Tensor) -> Tensor:
    """Give a scale of the values [..., outputs] a last axis, that of the parameters."""
    return torch.as_tensor(scale, dtype=params.dtype, device=params.device).unsqueeze(-1)
