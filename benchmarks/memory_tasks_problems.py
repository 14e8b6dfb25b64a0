"""The two tasks that ask for a memory of known length, as fresh random sequences.

Adding (Hochreiter and Schmidhuber 1997, in the form of Le, Jaitly and Hinton 2015): T steps of two
rows, values u_t ~ U(0, 1) and marks that are 1 at one step of each half, else 0. Wanted after the
last step: the sum of the two marked values. Their mean for an answer scores Var = 2/12 = 1/6.

Copy (Arjovsky, Shah and Bengio 2016): ten symbols out of eight, T - 1 blanks, a sign to begin, ten
blanks; T + 20 steps in all. Wanted: blanks, and in the last ten steps the symbols, each T + 10 steps
after it was seen. Blanks and then guesses score 10 ln 8 / (T + 20).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.diagnostics import Asked
from throughtime.nn import ClassHead, Head, PointHead
from throughtime.training import Loss, losses

SYMBOLS, COPIED = 8, 10
BLANK, BEGIN = SYMBOLS, SYMBOLS + 1
COMPARED = 10  # lags of the adding problem, from the nearest to the farthest


@dataclass(frozen=True)
class Problem(ABC):
    """Sequences that ask for a memory; `T` is the length that papers quote."""

    T: int

    name: ClassVar[str]
    input_size: ClassVar[int]
    loss: ClassVar[Loss]
    solved_below: ClassVar[float]  # as a share of the baseline

    @abstractmethod
    def head(self, hidden_size: int) -> Head:
        """Return what answers from a hidden state."""

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return inputs [T', B, I] and targets [answered steps, B, 1]."""

    @property
    @abstractmethod
    def answered(self) -> int:
        """How many steps, the last ones, have a target."""

    @property
    @abstractmethod
    def need(self) -> Asked:
        """What has to be known where the last answer is asked for."""

    @property
    @abstractmethod
    def baseline(self) -> float:
        """The loss of the best answer without memory."""

    @property
    def goal(self) -> float:
        """The loss on new sequences under which the task is solved."""
        return self.solved_below * self.baseline


@dataclass(frozen=True)
class Adding(Problem):
    """Sum of the two marked values.

    >>> x, y = Adding(10).draw(3, torch.Generator().manual_seed(0))
    >>> x.shape, y.shape, bool(((x[..., 0] * x[..., 1]).sum(0) == y[0, :, 0]).all())
    (torch.Size([10, 3, 2]), torch.Size([1, 3, 1]), True)
    """

    name = "adding"
    input_size = 2
    loss = staticmethod(losses.mse)
    solved_below = 0.06  # a mean squared error of 0.01

    def head(self, hidden_size: int) -> Head:
        return PointHead(hidden_size)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        values = torch.rand(self.T, count, generator=generator)
        half, columns = self.T // 2, torch.arange(count)
        first = torch.randint(0, half, (count,), generator=generator)
        second = torch.randint(half, self.T, (count,), generator=generator)
        marks = torch.zeros(self.T, count)
        marks[first, columns] = marks[second, columns] = 1.0
        answer = values[first, columns] + values[second, columns]
        return torch.stack([values, marks], -1), answer[None, :, None]

    @property
    def answered(self) -> int:
        return 1

    @property
    def need(self) -> Asked:
        last = self.T - 1
        compared = tuple(round(last * k / (COMPARED - 1)) for k in range(COMPARED))
        return Asked(0, last, compared, told_apart=False)

    @property
    def baseline(self) -> float:
        return 1 / 6


@dataclass(frozen=True)
class Copy(Problem):
    """Ten symbols, to be said again after T + 10 steps.

    >>> x, y = Copy(5).draw(1, torch.Generator().manual_seed(0))
    >>> x.shape, bool((x[:10, 0].argmax(-1) == y[-10:, 0, 0]).all()), y[:15].unique().tolist()
    (torch.Size([25, 1, 10]), True, [8])
    """

    name = "copy"
    input_size = SYMBOLS + 2
    loss = staticmethod(losses.cross_entropy)
    solved_below = 0.1

    def head(self, hidden_size: int) -> Head:
        return ClassHead(hidden_size, SYMBOLS + 1)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        symbols = torch.randint(0, SYMBOLS, (COPIED, count), generator=generator)
        read = torch.full((self.T + 2 * COPIED, count), BLANK)
        read[:COPIED], read[self.T + COPIED - 1] = symbols, BEGIN
        wanted = torch.full_like(read, BLANK)
        wanted[-COPIED:] = symbols
        return torch.nn.functional.one_hot(read, self.input_size).float(), wanted[..., None]

    @property
    def answered(self) -> int:
        return self.T + 2 * COPIED

    @property
    def need(self) -> Asked:
        lag = self.T + COPIED
        return Asked(lag, lag, tuple(range(lag, lag + COPIED)), told_apart=True)

    @property
    def baseline(self) -> float:
        return COPIED * math.log(SYMBOLS) / (self.T + 2 * COPIED)


PROBLEMS: dict[str, type[Problem]] = {"adding": Adding, "copy": Copy}
