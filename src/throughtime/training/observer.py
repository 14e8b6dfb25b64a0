"""What training tells those who watch: progress bars, loggers, diagnostics.

Training calls the methods of an `Observer` and never imports one; an observer reads and does not
touch. `History` is the observer that every run carries; a `GradientObserver` sees the gradients too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Update:
    """One optimiser step.

    `index` counts updates from 0. `loss` is the loss before the step; `grad_norm` the joint
    Euclidean norm of the gradient before clipping (the mean over members for an ensemble);
    `threshold` the norm above which it is clipped, None for never; `clipped` says whether it was
    (for any member).
    """

    index: int
    total: int
    loss: float
    grad_norm: float
    threshold: float | None
    clipped: bool
    learning_rate: float


@dataclass(frozen=True)
class Evaluation:
    """The loss on the validation part after `index` updates, and whether it is the best so far."""

    index: int
    loss: float
    best: bool


class Observer(Protocol):
    """What training calls; a class that wants only some of it can inherit from this one."""

    def on_start(self, name: str, total: int) -> None:
        """Follow the start of the run called `name`, of at most `total` updates."""

    def on_update(self, update: Update) -> None:
        """Follow one optimiser step."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Follow one look at the validation part."""

    def on_end(self, reason: str) -> None:
        """Follow the end of training, with its reason in words."""


@dataclass(frozen=True)
class Gradient:
    """The gradient of one update before (`raw`) and after clipping, both [E, N].

    `update` is what `on_update` will say if the gradient is finite. `pieces` takes a matrix [E, N]
    apart: the part of each parameter by name, [E, *shape of one member]. They are training's own
    tensors, so change nothing.
    """

    update: Update
    raw: Tensor
    clipped: Tensor
    pieces: Callable[[Tensor], dict[str, Tensor]]


@runtime_checkable
class GradientObserver(Observer, Protocol):
    """An observer that also wants to see each gradient; only those who have both methods are asked."""

    def watching(self, index: int, model: torch.nn.Module) -> AbstractContextManager[object]:
        """Return what is to be entered around the forward and backward pass of update `index`."""
        ...

    def on_gradient(self, gradient: Gradient) -> None:
        """Follow one gradient, finite or not, before the step."""


@dataclass
class History(Observer):
    """All updates and evaluations of a run, and why it ended.

    >>> history = History()
    >>> history.on_evaluation(Evaluation(index=10, loss=0.5, best=True))
    >>> history.best_index
    10
    """

    updates: list[Update] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    reason: str = ""

    def on_start(self, name: str, total: int) -> None:
        """Forget the run before."""
        self.updates, self.evaluations, self.reason = [], [], ""

    def on_update(self, update: Update) -> None:
        """Keep one update."""
        self.updates.append(update)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Keep one evaluation."""
        self.evaluations.append(evaluation)

    def on_end(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason

    @property
    def best_index(self) -> int | None:
        """The number of updates after which the validation loss was lowest; None without one."""
        best = [e.index for e in self.evaluations if e.best]
        return best[-1] if best else None
