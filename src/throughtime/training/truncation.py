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

Every truncation is biased: what an update cannot see, it never learns. Cutting at random, and making up
for the cuts, is not (Tallec and Ollivier 2017, "Unbiasing truncated backpropagation through time"): at
every boundary, k1 steps apart, with probability c

    the graph is cut, there is an update, and the next reach begins            X = 1
    else the gradient that passes the boundary is multiplied by 1/(1-c)        X = 0

    E[(1 - X)/(1 - c)] = 1,   so at fixed weights   E[Σ_j ∂L_j/∂θ] = ∂L/∂θ,   L = Σ_t of all losses

because a path from step t back to step s counts Π (1 - X)/(1 - c) over the boundaries on its way,
which are independent. It is paid for in variance, which grows with 1/(1-c) at every boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Union

import torch
from torch import Tensor

from throughtime._checks import positive_int, real
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
class RandomTruncation:
    """Cut with probability `cut` at every boundary, `k1` time steps apart; unbiased, see the module.

    A reach is k1/cut steps long in the mean, and so is the memory that it takes; it is longer than
    n k1 steps with probability (1 - cut)^n, and never longer than the sequence. Losses must be sums
    over steps for the theorem to hold; `Trainer` gives every reach's mean its length as a weight, which
    is the same where no target is missing, and draws from its seed. An optimiser that is not linear in
    the gradient (clipping, Adam) has a bias of its own.

    Raises SettingError for a k1 below 1 or a `cut` outside (0, 1).

    >>> RandomTruncation(k1=10, cut=0.2).mean_reach
    50.0
    """

    k1: int
    cut: float

    def __post_init__(self) -> None:
        positive_int("k1", self.k1)
        real("cut", self.cut, above=0, below=1)

    @property
    def mean_reach(self) -> float:
        """How far an update reaches back in the mean, in time steps, in a long sequence."""
        return self.k1 / self.cut

    def cuts(self, generator: torch.Generator | None) -> bool:
        """Toss the coin for one boundary."""
        return bool(torch.rand((), generator=generator) < self.cut)


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
    truncation: Truncation | RandomTruncation | None = None,
    position: Position = Position(),
    *,
    time: int = 1,
    generator: torch.Generator | None = None,
) -> Iterator[Reach]:
    """Walk along `inputs` [B, T, I] and `targets` [B, T, ...], one reach an update.

    `truncation` None is full BPTT: one reach over everything. Take the loss of a reach, go backward
    and update before you ask for the next: it is computed with the weights it then finds.
    `position` resumes a walk; `time` is the axis of time (2 behind the members of an ensemble). A
    `RandomTruncation` draws from `generator`, the global one by default, when a reach is asked for.
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
    if isinstance(truncation, RandomTruncation):
        yield from _random_reaches(model, inputs, targets, truncation, position, time, generator)
        return
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


def _random_reaches(
    model: StatefulModel,
    inputs: Tensor,
    targets: Tensor,
    truncation: RandomTruncation,
    position: Position,
    time: int,
    generator: torch.Generator | None,
) -> Iterator[Reach]:
    length, k1 = inputs.shape[time], truncation.k1
    while position.stop < length:
        start = at = position.stop
        state, learned = position.state, []
        while at < length:
            if at > start:
                if truncation.cuts(generator):
                    break
                state = _scaled_back(state, 1 / (1 - truncation.cut))
            steps = min(k1, length - at)
            outputs, state = model(inputs.narrow(time, at, steps), state)
            learned.append(outputs)
            at += steps
        position = Position(at, at, detached(state))
        answers = targets.narrow(time, start, at - start)
        yield Reach(torch.cat(learned, time), answers, start, start, at, position)


def _scaled_back(state: State, factor: float) -> State:
    """Return the same state, to which `factor` times the gradient comes back."""
    if isinstance(state, Tensor):
        constant = state.detach()
        return constant + factor * (state - constant)
    return None if state is None else tuple(_scaled_back(part, factor) for part in state)


def detached(state: State) -> State:
    """Cut a state off from the graph that made it."""
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else tuple(map(detached, state))
