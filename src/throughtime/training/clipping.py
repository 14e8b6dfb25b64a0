"""Clipping: what is done to a gradient that is too long.

By norm, which keeps the direction (Pascanu, Mikolov and Bengio 2013, algorithm 1):

    g <- g min(1, c / ‖g‖),   ‖g‖ the joint norm over all parameters

and by value, which does not: each entry is cut to [-v, v]. With both, the norm comes first.
`autoclip`, `zclip` and `agc` choose the threshold from what they see.

A gradient is a matrix [E, N] here: a row for each member of an ensemble (one row for a single
model), a column for each weight. Each row is clipped by its own norm, as if trained alone.

A setting (`Clipping`) is a value that never changes; `start` makes the `Clipper` of one run, which
holds what the run has seen, and `on` one that clips `.grad` in anybody's own loop.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.training.parameters import ParameterMatrix


@dataclass(frozen=True)
class Clipped:
    """A gradient [E, N] after clipping, its norms [E] before, and where [E] clipping changed it.

    `threshold` is the norm above which it fired (the mean over members), None for never.
    """

    gradient: Tensor
    norm: Tensor
    fired: Tensor
    threshold: float | None = None


class Clipper(ABC):
    """Clips the gradients of one run, in order."""

    @abstractmethod
    def __call__(self, gradient: Tensor, weights: Tensor) -> Clipped:
        """Clip each row of `gradient` [E, N], which is left as it was; `weights` are [E, N] too."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next call depends on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Stand where `state_dict` was called."""


class Stateless(Clipper):
    """A clipper that learns nothing from what it sees."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take nothing."""


class Clipping(ABC):
    """How gradients are clipped: a value of `TrainingSettings.clip`."""

    @abstractmethod
    def start(self, matrix: ParameterMatrix) -> Clipper:
        """Return the clipper of one run on these parameters."""

    def on(self, parameters: torch.nn.Module | Iterable[torch.nn.Parameter]) -> GradClipper:
        """Return a clipper for your own loop; call it between `backward()` and `step()`.

        Raises SettingError where one of `parameters` is no `torch.nn.Parameter`, and DataError
        where none of them is trainable.

        >>> w = torch.nn.Parameter(torch.zeros(2))
        >>> clip = Clip(norm=1.0).on([w])
        >>> (w @ torch.tensor([3.0, 4.0])).backward()
        >>> clipped = clip()
        >>> w.grad, clipped.norm, clipped.fired
        (tensor([0.6000, 0.8000]), tensor([5.]), tensor([True]))
        """
        return GradClipper(self, parameters)


class GradClipper:
    """Clips `.grad` in place; made by `Clipping.on`. Its state dict belongs in your checkpoints."""

    def __init__(
        self, how: Clipping, parameters: torch.nn.Module | Iterable[torch.nn.Parameter]
    ) -> None:
        self._matrix = ParameterMatrix(_as_module(parameters))
        self._clipper = how.start(self._matrix)

    @torch.no_grad()
    def __call__(self) -> Clipped:
        """Clip, and return what was done; a parameter without a gradient stays without."""
        clipped = self._clipper(self._matrix.gradient(), self._matrix.weights())
        if clipped.fired.any():
            pieces = self._matrix.pieces(clipped.gradient).values()
            for parameter, piece in zip(self._matrix.parameters, pieces, strict=True):
                if parameter.grad is not None:
                    parameter.grad.copy_(piece.reshape(parameter.shape))
        return clipped

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next call depends on."""
        return self._clipper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Stand where `state_dict` was called."""
        self._clipper.load_state_dict(state)


@dataclass(frozen=True)
class Clip(Clipping):
    """Clip gradients to a joint `norm`, their entries to `value`; None leaves them alone.

    Raises SettingError for a threshold that is not above 0.

    >>> clipped = Clip(norm=1.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    >>> clipped.gradient
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    >>> clipped.norm, clipped.fired
    (tensor([5.0000, 0.5000]), tensor([ True, False]))
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        for name, threshold in (("clip norm", self.norm), ("clip value", self.value)):
            if threshold is not None:
                real(name, threshold, above=0)

    def __call__(self, gradient: Tensor) -> Clipped:
        """Clip each row of `gradient` [E, N]; the tensor passed in is left as it was."""
        norm = norms(gradient)
        fired = torch.zeros_like(norm, dtype=torch.bool)
        if self.norm is not None:
            fired = norm > self.norm
            gradient = shortened(gradient, norm, self.norm)
        if self.value is not None:
            fired = fired | (gradient.abs() > self.value).any(dim=1)
            gradient = gradient.clamp(-self.value, self.value)
        return Clipped(gradient, norm, fired, self.norm)

    def start(self, matrix: ParameterMatrix) -> Clipper:
        """Return a clipper with these thresholds, which never move."""
        return _Fixed(self)


class _Fixed(Stateless):
    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def __call__(self, gradient: Tensor, weights: Tensor) -> Clipped:
        return self.clip(gradient)


def norms(gradient: Tensor) -> Tensor:
    """Return the norm of each row, [E]."""
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    return norm


def shortened(gradient: Tensor, norm: Tensor, longest: Tensor | float) -> Tensor:
    """Bring rows whose `norm` is above `longest` down to it."""
    factor: Tensor = (longest / norm).clamp(max=1).nan_to_num(nan=1.0)  # 0/0 has nothing to shorten
    return gradient * factor.unsqueeze(1)


def clipped(
    gradient: Tensor, norm: Tensor, longest: Tensor, thresholds: Sequence[float]
) -> Clipped:
    """Bring rows down to the norms of `longest`, and tell the mean of their thresholds, if finite."""
    threshold = sum(thresholds) / len(thresholds)
    return Clipped(
        shortened(gradient, norm, longest),
        norm,
        norm > longest,
        threshold if math.isfinite(threshold) else None,
    )


def _as_module(
    parameters: torch.nn.Module | Iterable[torch.nn.Parameter],
) -> torch.nn.Module:
    if isinstance(parameters, torch.nn.Module):
        return parameters
    listed = list(parameters)
    for each in listed:
        if not isinstance(each, torch.nn.Parameter):
            raise SettingError(
                "a model, or parameters of one", type(each).__name__, "pass model.parameters()"
            )
    return torch.nn.ParameterList(listed)
