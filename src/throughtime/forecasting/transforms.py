"""What is done to values before a network sees them, and undone after.

A transform acts on each value alone and is monotone, so that quantiles and ends of intervals pass
back through `inverse`. A scale is taken from each context window and undone on its forecast:
z = (x - location) / size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._errors import DataError
from throughtime.forecasting.panel import Panel

Array = TypeVar("Array", npt.NDArray[np.float64], Tensor)


class Transform(Protocol):
    """A monotone function of each value, and the way back."""

    @property
    def name(self) -> str:
        """The name it is saved by."""

    def forward(self, y: Array) -> Array:
        """Return the transformed values; NaN stays NaN."""

    def inverse(self, z: Array) -> Array:
        """Return the values that `forward` would map to `z`."""

    def nearest(self, y: Array) -> Array:
        """Return the nearest values that `forward` takes."""


@dataclass(frozen=True)
class Identity:
    """z = y."""

    name: str = "identity"

    def forward(self, y: Array) -> Array:
        """Return y."""
        return y

    def inverse(self, z: Array) -> Array:
        """Return z."""
        return z

    def nearest(self, y: Array) -> Array:
        """Return y."""
        return y


@dataclass(frozen=True)
class Sqrt:
    """z = sqrt(y), for y >= 0: steadies counts, whose variance grows with their mean.

    Below 0 the inverse stays 0.

    >>> Sqrt().inverse(Sqrt().forward(np.array([0.0, 9.0])) - 1)
    array([0., 4.])
    """

    name: str = "sqrt"

    def forward(self, y: Array) -> Array:
        """Return sqrt(y); `DataError` below 0."""
        _at_least_0(y)
        return y**0.5

    def inverse(self, z: Array) -> Array:
        """Return max(z, 0)^2."""
        return z.clip(min=0) ** 2

    def nearest(self, y: Array) -> Array:
        """Return max(y, 0)."""
        return y.clip(min=0)


@dataclass(frozen=True)
class Log1p:
    """z = log(1 + y), for y >= 0: turns growth by factors into growth by steps.

    Below 0 the inverse stays 0.

    >>> Log1p().inverse(Log1p().forward(torch.tensor([0.0, 99.0]))).round()
    tensor([ 0., 99.])
    """

    name: str = "log1p"

    def forward(self, y: Array) -> Array:
        """Return log(1 + y); `DataError` below 0."""
        _at_least_0(y)
        return np.log1p(y) if isinstance(y, np.ndarray) else torch.log1p(y)

    def inverse(self, z: Array) -> Array:
        """Return exp(max(z, 0)) - 1."""
        z = z.clip(min=0)
        return np.expm1(z) if isinstance(z, np.ndarray) else torch.expm1(z)

    def nearest(self, y: Array) -> Array:
        """Return max(y, 0)."""
        return y.clip(min=0)


TRANSFORMS: dict[str, Transform] = {t.name: t for t in (Identity(), Sqrt(), Log1p())}


def _at_least_0(y: npt.NDArray[np.float64] | Tensor) -> None:
    if (y < 0).any():
        raise DataError(
            "no value below 0 for this transform",
            "one",
            "fit without a transform, or shift the data",
        )


def choose_transforms(panel: Panel) -> tuple[str, ...]:
    """Return the scales that suit values: all of them, or with a value below 0 the identity alone.

    >>> from throughtime.forecasting import read_frame
    >>> choose_transforms(read_frame([0.0, 3.0, np.nan]))
    ('identity', 'sqrt', 'log1p')
    """
    return ("identity",) if panel.is_negative else tuple(TRANSFORMS)


@dataclass(frozen=True, eq=False)
class Scale:
    """Location and size of windows, [..., 1] each: z = (x - location) / size."""

    location: Tensor
    size: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Return windows [..., any length] on the common scale."""
        return (x - self.location) / self.size

    def invert(self, z: Tensor) -> Tensor:
        """Return what `apply` would map to `z`."""
        return z * self.size + self.location


Scaling = Callable[[Tensor], Scale]


def mean_and_deviation(context: Tensor) -> Scale:
    """Return mean and standard deviation of the observed values of each context [..., L].

    As in the scales below, a size of 0 becomes 1, and a context without a value has location 0.

    >>> mean_and_deviation(torch.tensor([1.0, 3.0, float("nan")])).apply(torch.tensor([5.0]))
    tensor([3.])
    """
    location = context.nanmean(dim=-1, keepdim=True)
    return _safe(location, _deviation(context, location))


def median_and_quartiles(context: Tensor) -> Scale:
    """Return median and (q75 - q25) / 1.349 of each context [..., L]: deaf to outliers.

    1.349 is that difference for a normal variable of variance 1. Where the quartiles coincide, the
    size is the standard deviation about the median.
    """
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=context.dtype, device=context.device)
    low, middle, high = context.nanquantile(levels, dim=-1, keepdim=True)
    size = (high - low) / 1.349
    return _safe(middle, torch.where(size > 0, size, _deviation(context, middle)))


def last_and_mean_step(context: Tensor) -> Scale:
    """Return last value and mean |x_t - x_{t-1}| of each context [..., L].

    The forecast 0 is then the naive one, and an error of 1 its usual error one step ahead. Where
    no two neighbours are observed, the size is the standard deviation about the last value.
    """
    position = torch.arange(context.shape[-1], device=context.device)
    newest = torch.where(context.isnan(), -1, position).amax(dim=-1, keepdim=True)
    location = context.gather(-1, newest.clamp(min=0))
    step = context.diff(dim=-1).abs().nanmean(dim=-1, keepdim=True)
    return _safe(location, torch.where(step.isnan(), _deviation(context, location), step))


SCALINGS: dict[str, Scaling] = {
    "mean": mean_and_deviation,
    "median": median_and_quartiles,
    "last": last_and_mean_step,
}


def _deviation(context: Tensor, location: Tensor) -> Tensor:
    return (context - location).square().nanmean(dim=-1, keepdim=True).sqrt()


def _safe(location: Tensor, size: Tensor) -> Scale:
    location = location.nan_to_num(0.0)
    rounding = 8 * torch.finfo(size.dtype).eps * location.abs()
    return Scale(location, torch.where(size > rounding, size, torch.ones_like(size)))
