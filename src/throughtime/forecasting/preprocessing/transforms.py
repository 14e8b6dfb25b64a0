"""What is done to each value before a network sees it, and undone after.

    identity   z = y
    sqrt       z = sqrt(y)         y >= 0
    log1p      z = log(1 + y)      y >= 0
    log        z = log(y)          y > 0
    asinh      z = log(y + sqrt(y^2 + 1))      like log far from 0, on both sides of it

A transform f is strictly increasing, so that P(f(Y) <= z) = P(Y <= f^-1(z)): quantiles, medians and
ends of intervals pass back exactly, and an interval covers y just when its image covers f(y). A
mean does not: E[Y] >= f^-1(E[f(Y)]) for the convex inverses of sqrt and log (Jensen). So under a
transform a point forecast is a *median*: exactly under output "point", whose loss is the absolute
error; under "gaussian" and "student-t", whose centre is the median of f(Y), too. No correction is added
to make it a mean.

"log1p" is "log" for values far above 1, and nearly the identity far below: of values about 1e-3
choose "log". Left to the data, identity, sqrt and log1p are taken by turns (`choose_transforms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._errors import DataError
from throughtime.forecasting.series.panel import Panel

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

    def slope(self, y: Array) -> Array:
        """Return dy/dz at `y`."""


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

    def slope(self, y: Array) -> Array:
        """Return 1."""
        return y**0


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

    def slope(self, y: Array) -> Array:
        """Return 2 sqrt(y)."""
        return 2 * y.clip(min=0) ** 0.5


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
        with np.errstate(over="ignore"):  # a value that runs off ends at infinity
            return np.expm1(z) if isinstance(z, np.ndarray) else torch.expm1(z)

    def nearest(self, y: Array) -> Array:
        """Return max(y, 0)."""
        return y.clip(min=0)

    def slope(self, y: Array) -> Array:
        """Return 1 + y."""
        return 1 + y


@dataclass(frozen=True)
class Log:
    """z = log(y), for y > 0: growth by factors becomes growth by steps, whatever the unit.

    >>> Log().inverse(Log().forward(np.array([1e-3, 5.0])) + np.log(2))
    array([2.e-03, 1.e+01])
    """

    name: str = "log"

    def forward(self, y: Array) -> Array:
        """Return log(y); `DataError` at 0 and below."""
        if (y <= 0).any():
            raise DataError(
                "values above 0 alone for transform='log'",
                "one that is not",
                "pass transform='log1p', or 'asinh' where values lie below 0",
            )
        return np.log(y) if isinstance(y, np.ndarray) else torch.log(y)

    def inverse(self, z: Array) -> Array:
        """Return exp(z)."""
        with np.errstate(over="ignore"):
            return np.exp(z) if isinstance(z, np.ndarray) else torch.exp(z)

    def nearest(self, y: Array) -> Array:
        """Return y, at least the smallest normal number."""
        return y.clip(min=float(np.finfo(np.float64).tiny))

    def slope(self, y: Array) -> Array:
        """Return y."""
        return y**1


@dataclass(frozen=True)
class Asinh:
    """z = asinh(y), for values on both sides of 0, of which the large grow by factors.

    >>> Asinh().inverse(Asinh().forward(np.array([-5.0, 0.0]))).round(9)
    array([-5.,  0.])
    """

    name: str = "asinh"

    def forward(self, y: Array) -> Array:
        """Return asinh(y)."""
        return np.arcsinh(y) if isinstance(y, np.ndarray) else torch.asinh(y)

    def inverse(self, z: Array) -> Array:
        """Return sinh(z)."""
        with np.errstate(over="ignore"):
            return np.sinh(z) if isinstance(z, np.ndarray) else torch.sinh(z)

    def nearest(self, y: Array) -> Array:
        """Return y."""
        return y

    def slope(self, y: Array) -> Array:
        """Return sqrt(1 + y^2)."""
        return (1 + y**2) ** 0.5


TRANSFORMS: dict[str, Transform] = {
    t.name: t for t in (Identity(), Sqrt(), Log1p(), Log(), Asinh())
}
BY_TURNS = ("identity", "sqrt", "log1p")


def in_single(f: Transform, y: Tensor) -> Tensor:
    """Return f(y) in single precision, computed in double where that makes a difference.

    >>> in_single(Sqrt(), torch.tensor([4.0], dtype=torch.float64))
    tensor([2.])
    """
    return y.float() if f.name == "identity" else f.forward(y.double()).float()


def _at_least_0(y: npt.NDArray[np.float64] | Tensor) -> None:
    if (y < 0).any():
        raise DataError(
            "no value below 0 for this transform",
            "one",
            "fit without a transform, or shift the data",
        )


def choose_transforms(panel: Panel) -> tuple[str, ...]:
    """Return what members take by turns: `BY_TURNS`, or with a value below 0 the identity alone.

    >>> from throughtime.forecasting import read_frame
    >>> choose_transforms(read_frame([0.0, 3.0, np.nan]))
    ('identity', 'sqrt', 'log1p')
    """
    return ("identity",) if panel.is_negative else BY_TURNS
