"""Backpropagation through time, in full and truncated (Williams and Peng 1990, BPTT(h; h')).

A sequence of T steps is learned from in updates. Update j = 1, 2, ... stands at step
t_j = min(j k1, T); its loss is that of the steps since the update before, and its gradient reaches
back k2 steps:

    L_j = sum of the losses of steps t_{j-1} < t <= t_j
    s_j = max(0, t_j - k2),   h at s_j is a constant,   k2 >= k1

so each step is learned from once, a last short chunk included, and the first of a chunk still sees
k2 - k1 steps of its past. The forward pass of reach j is split at s_{j+1}, which lies in it because
k2 >= k1; the state there is where reach j + 1 begins. k1 = k2 is the plain cutting into chunks (a
short last one still reaches back k2), k2 >= T learns from the whole past at each update, and
k1 = k2 = T is full BPTT.

Steps that two reaches share are computed again, with the weights of the later update: a graph
built before an update cannot be used after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Union

import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import DataError, SettingError

State = Union[Tensor, tuple["State", ...], None]  # noqa: UP007  (a recursive type, Python 3.10)
"""The state of a recurrent model: a tensor, a tuple of states, or None for its own beginning."""

StatefulModel = Callable[[Tensor, State], "tuple[Tensor, State]"]
"""`model(inputs [B, T, I], state) -> (outputs [B, T, ...], state)`, as `torch.nn.LSTM` is."""


@dataclass(frozen=True)
class Truncation:
    """Update every `k1` time steps, each reaching back `k2` of them (`k1` if None).

    Raises SettingError for k2 < k1: the first steps of each chunk would never be learned from.

    >>> Truncation(k1=50).reach
    50
    >>> Truncation(k1=50, k2=20)
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected k2 to be at least k1=50, found 20: pass k2=50 or more, or steps would never be learned from.
    """

    k1: int
    k2: int | None = None

    def __post_init__(self) -> None:
        positive_int("k1", self.k1)
        if self.k2 is not None and positive_int("k2", self.k2) < self.k1:
            raise SettingError(
                f"k2 to be at least k1={self.k1}",
                repr(self.k2),
                f"pass k2={self.k1} or more, or steps would never be learned from",
            )

    @property
    def reach(self) -> int:
        """How far back each update reaches, in time steps."""
        return self.k1 if self.k2 is None else self.k2


@dataclass(frozen=True)
class Position:
    """Where a walk stands: steps before `stop` are learned from, `state` is that before `start`."""

    start: int = 0
    stop: int = 0
    state: State = None


@dataclass(frozen=True)
class Reach:
    """One update's part of a sequence: `outputs` and `targets` of the steps it learns from.

    The graph of `outputs` begins at step `start`; the loss is that of steps `learn_from` to `stop`;
    `position` is where to go on from, its state cut off from the graph.
    """

    outputs: Tensor
    targets: Tensor
    start: int
    learn_from: int
    stop: int
    position: Position


def reaches(
    model: StatefulModel,
    inputs: Tensor,
    targets: Tensor,
    truncation: Truncation | None = None,
    position: Position = Position(),
    *,
    time: int = 1,
) -> Iterator[Reach]:
    """Walk along `inputs` [B, T, I] and `targets` [B, T, ...], one reach an update.

    `truncation` None is full BPTT: one reach over everything. Take the loss of a reach, go backward
    and update before you ask for the next: it is computed with the weights it then finds.
    `position` resumes a walk; `time` is the axis of time (2 behind the members of an ensemble).
    Raises DataError where the axes up to that differ.

    >>> model = torch.nn.GRU(1, 2, batch_first=True)
    >>> x = torch.zeros(1, 7, 1)
    >>> [(r.start, r.learn_from, r.stop) for r in reaches(model, x, x, Truncation(k1=3, k2=5))]
    [(0, 0, 3), (1, 3, 6), (2, 6, 7)]
    """
    length = inputs.shape[time]
    if length < 1 or targets.shape[: time + 1] != inputs.shape[: time + 1]:
        raise DataError(
            "inputs [B, T, I] and targets [B, T, ...] of at least one step",
            f"shapes {tuple(inputs.shape)} and {tuple(targets.shape)}",
            "align both in batch and time",
        )
    k1, k2 = (length, length) if truncation is None else (truncation.k1, truncation.reach)
    while position.stop < length:
        start, learn_from = position.start, position.stop
        stop = min(learn_from + k1, length)
        next_start = max(0, min(stop + k1, length) - k2) if stop < length else stop
        states, learned, at = {start: position.state}, [], start
        for mark in sorted({next_start, learn_from, stop} - {start}):
            piece = inputs.narrow(time, at, mark - at)
            outputs, states[mark] = model(piece, states[at])
            if at >= learn_from:
                learned.append(outputs)
            at = mark
        position = Position(next_start, stop, detached(states[next_start]))
        answers = targets.narrow(time, learn_from, stop - learn_from)
        yield Reach(torch.cat(learned, time), answers, start, learn_from, stop, position)


def detached(state: State) -> State:
    """Cut a state off from the graph that made it."""
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else tuple(map(detached, state))
