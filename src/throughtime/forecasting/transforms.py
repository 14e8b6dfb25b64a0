"""What is done to each value before a network sees it, and undone after."""

from __future__ import annotations

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
