"""Heads: from a hidden state to the parameters of what is forecast.

With V, c a linear layer on h [..., H], reshaped to r = V h + c of [..., outputs, parameters]:

    PointHead      y = r
    QuantileHead   q_m = r_m for the middle level, q_j = q_{j-1} + s(r_j) above it,
                   q_j = q_{j+1} - s(r_j) below it, so that quantiles never cross
    GaussianHead   mean = r_1,         scale = s(r_2) + floor
    StudentTHead   df = 2 + s(r_1) + floor,  loc = r_2,  scale = s(r_3) + floor
    ClassHead      logits = r, probabilities softmax(r)

where s(r) = log(1 + e^r) is the softplus. A loss reads the parameters; `.point` makes one number
(or class) of them; `.feedback` turns an output, or its target, into the next input of a decoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal, StudentT
from torch.nn.functional import softplus

from throughtime._checks import positive_int, real
from throughtime._errors import SettingError


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
        self.linear = nn.Linear(hidden_size, outputs * parameter_count)

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


class PointHead(Head):
    """One number for each output: y = V h + c.

    >>> PointHead(8, outputs=2)(torch.zeros(5, 8)).shape
    torch.Size([5, 2, 1])
    """

    def __init__(self, hidden_size: int, outputs: int = 1) -> None:
        super().__init__(hidden_size, outputs, 1)

    def point(self, params: Tensor) -> Tensor:
        """The number itself: [..., outputs]."""
        return params[..., 0]


class QuantileHead(Head):
    """Quantiles that never cross, built outwards from the middle one.

    q_m = r_m at the level nearest to 0.5; every level above adds softplus(r_j), every level below
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
    """

    def __init__(
        self, hidden_size: int, outputs: int = 1, levels: Sequence[float] = (0.1, 0.5, 0.9)
    ) -> None:
        checked = checked_levels(levels)
        super().__init__(hidden_size, outputs, len(checked))
        self.levels = checked
        self.middle = min(range(len(self.levels)), key=lambda j: abs(self.levels[j] - 0.5))
        with torch.no_grad():
            z = torch.special.ndtri(torch.tensor(self.levels, dtype=torch.float64))
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


class GaussianHead(Head):
    """A normal distribution for each output: parameters (mean, scale), scale > 0.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        floor: the least standard deviation, above 0; it keeps the likelihood bounded.

    Raises:
        SettingError: a size is below 1, or the floor is not above 0.

    >>> head = GaussianHead(8)
    >>> head.distribution(torch.tensor([[1.0, 2.0]])).icdf(torch.tensor(0.5))
    tensor([1.])
    """

    def __init__(self, hidden_size: int, outputs: int = 1, floor: float = 1e-3) -> None:
        super().__init__(hidden_size, outputs, 2)
        self.floor = real("floor", floor, above=0)

    def _constrain(self, raw: Tensor) -> Tensor:
        mean, scale = raw.unbind(-1)
        return torch.stack([mean, softplus(scale) + self.floor], -1)

    def point(self, params: Tensor) -> Tensor:
        """The mean: [..., outputs]."""
        return params[..., 0]

    def distribution(self, params: Tensor) -> Normal:
        """The distributions themselves, of batch shape [..., outputs], to sample or invert."""
        mean, scale = params.unbind(-1)
        return Normal(mean, scale)


class StudentTHead(Head):
    """Student's t for each output, for heavy tails: parameters (df, loc, scale).

    df > 2, so that the variance scale^2 df / (df - 2) is finite; scale > 0.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        outputs: how many values are forecast at once.
        floor: the least scale, and the least df - 2, above 0.

    Raises:
        SettingError: a size is below 1, or the floor is not above 0.

    >>> df, loc, scale = StudentTHead(8)(torch.randn(8))[0]
    >>> bool(df > 2 and scale > 0)
    True
    """

    def __init__(self, hidden_size: int, outputs: int = 1, floor: float = 1e-3) -> None:
        super().__init__(hidden_size, outputs, 3)
        self.floor = real("floor", floor, above=0)

    def _constrain(self, raw: Tensor) -> Tensor:
        df, loc, scale = raw.unbind(-1)
        return torch.stack([softplus(df) + self.floor + 2, loc, softplus(scale) + self.floor], -1)

    def point(self, params: Tensor) -> Tensor:
        """The location, which is mean and median: [..., outputs]."""
        return params[..., 1]

    def distribution(self, params: Tensor) -> StudentT:
        """The distributions themselves, of batch shape [..., outputs], to sample."""
        df, loc, scale = params.unbind(-1)
        return StudentT(df, loc, scale)


class ClassHead(Head):
    """One of several classes for each output: the parameters are logits over the classes.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        classes: how many classes there are, at least 2.
        outputs: how many class variables are forecast at once.

    Raises:
        SettingError: a size is below 1, or there are fewer than 2 classes.

    >>> head = ClassHead(8, classes=3)
    >>> head.point(torch.tensor([[0.1, 2.0, 0.3]]))
    tensor([1])
    >>> head.feedback(torch.tensor([1]))
    tensor([0., 1., 0.])
    """

    def __init__(self, hidden_size: int, classes: int, outputs: int = 1) -> None:
        super().__init__(hidden_size, outputs, positive_int("classes", classes, at_least=2))
        self.classes = classes

    def point(self, params: Tensor) -> Tensor:
        """The likeliest class, counted from 0: [..., outputs]."""
        return params.argmax(-1)

    @property
    def feedback_size(self) -> int:
        """One feature for each class of each output."""
        return self.outputs * self.classes

    def feedback(self, y: Tensor) -> Tensor:
        """One-hot codes of the classes, side by side; all zeros for no class (such as -100)."""
        codes = y[..., None] == torch.arange(self.classes, device=y.device)
        return codes.flatten(-2).to(self.linear.weight.dtype)

    def distribution(self, params: Tensor) -> Categorical:
        """The distributions themselves, of batch shape [..., outputs], to sample."""
        return Categorical(logits=params)


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
