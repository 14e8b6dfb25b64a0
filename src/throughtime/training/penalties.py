"""Penalties on weights: what is added to a loss so that weights stay small.

    L1    λ Σ |w|     pulls every weight to zero by the same λ; many end near it
    L2    λ Σ w²      pulls by 2 λ w, in proportion (no factor of 1/2)

over all weights w of chosen groups. The sum is over weights, not a mean, so λ means the same in nets
of every size. Unlike `weight_decay`, which AdamW applies beside its step, the gradient of a penalty
is clipped and scaled as the loss's own is.

A group is part of a parameter's name or a pattern for the whole of it: "weight_hh" are the recurrent
weights U of every layer, "weight_ih" the input weights W, "bias" all biases, "head" the layer on
top, "layer.weight_*_l0" those of one layer. In an ensemble each member has a penalty of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Union

import torch
from torch import Tensor, nn

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.nn.ensemble import Ensemble
from throughtime.nn.records import Recorded, recording
from throughtime.training.parameters import members_of
from throughtime.training.vanishing import Vanishing


@dataclass(frozen=True)
class WeightPenalty:
    """λ times the sum of a function of every weight in `groups`: a name's part, or a tuple of them.

    Called with a model it returns a scalar, or for an ensemble one number for each member [E], to be
    added to the loss. Frozen weights are left out; a weight that is made by a parametrisation counts
    by the parameter it is made from. Raises SettingError for λ below 0 and, when called, for a group
    that no trainable parameter belongs to.
    """

    strength: float
    groups: str | tuple[str, ...] = "*"

    def __post_init__(self) -> None:
        real("strength", self.strength, at_least=0, below=float("inf"))
        groups = (self.groups,) if isinstance(self.groups, str) else tuple(self.groups)
        if not groups or not all(isinstance(group, str) and group for group in groups):
            raise SettingError(
                "names of weight groups", repr(self.groups), "pass such as 'weight_hh', or 'bias'"
            )
        object.__setattr__(self, "groups", groups)

    def __call__(self, model: nn.Module) -> Tensor:
        """Return λ Σ f(w) over the chosen weights of `model`."""
        chosen = weights_in(model, self.groups)
        if members_of(model) is None:
            return self.strength * torch.stack([self._each(w).sum() for w in chosen]).sum()
        sums = [self._each(w).flatten(1).sum(1) for w in chosen]
        return self.strength * torch.stack(sums).sum(0)

    def _each(self, w: Tensor) -> Tensor:
        raise TypeError("a penalty says what it takes of a weight")


@dataclass(frozen=True)
class L1(WeightPenalty):
    """λ Σ |w| over the weights in `groups` (Tibshirani 1996, the lasso).

    See `WeightPenalty` for groups, ensembles and errors.

    >>> layer = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
    >>> L1(0.1, "weight")(layer).item()
    0.6...
    """

    def _each(self, w: Tensor) -> Tensor:
        return w.abs()


@dataclass(frozen=True)
class L2(WeightPenalty):
    """λ Σ w² over the weights in `groups` (Hoerl and Kennard 1970, ridge regression).

    See `WeightPenalty` for groups, ensembles and errors.

    >>> layer = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
    >>> L2(0.1, ("weight",))(layer).item()
    1.8...
    >>> L2(0.1, "wieght")(layer)
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected weights in the group 'wieght', found only weight, bias: choose among those names, parts of them, or patterns.
    """

    def _each(self, w: Tensor) -> Tensor:
        return w.square()


def weights_in(model: nn.Module, groups: str | Iterable[str]) -> list[Tensor]:
    """Return the trainable parameters of `model` that belong to any of `groups`, each once.

    Raises SettingError for a group that none belongs to.

    >>> [w.shape for w in weights_in(torch.nn.GRU(3, 2), "weight_hh")]
    [torch.Size([6, 2])]
    """
    groups = (groups,) if isinstance(groups, str) else groups
    prefix = "stacked." if isinstance(model, Ensemble) else ""  # a member's names are enough
    named = {n.removeprefix(prefix): p for n, p in model.named_parameters() if p.requires_grad}
    chosen: dict[str, Tensor] = {}
    for group in groups:
        found = {name: p for name, p in named.items() if group in name or fnmatchcase(name, group)}
        if not found:
            raise SettingError(
                f"weights in the group {group!r}",
                f"only {', '.join(named) or 'frozen ones'}",
                "choose among those names, parts of them, or patterns",
            )
        chosen |= found
    return list(chosen.values())


Penalty = Union[L1, L2, Vanishing]  # noqa: UP007  (evaluated, Python 3.10)


@contextmanager
def watching(model: nn.Module, penalties: Sequence[Penalty]) -> Iterator[list[Recorded]]:
    """Record what runs within, if a penalty on vanishing will want it."""
    if not any(isinstance(penalty, Vanishing) for penalty in penalties):
        yield []
        return
    # the members of an ensemble run in turn here, and each leaves records of its own
    with recording(model.template if isinstance(model, Ensemble) else model) as records:
        yield records


def penalise(model: nn.Module, penalties: Sequence[Penalty], records: Sequence[Recorded]) -> None:
    """Add the gradients of all penalties to those of the loss, after its backward pass."""
    for penalty in penalties:
        value = penalty(records) if isinstance(penalty, Vanishing) else penalty(model)
        if value.requires_grad:
            torch.autograd.backward(value.sum())
