"""The nets that `memory_tasks.py` compares: one layer each, read at the steps that have a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from memory_tasks_problems import Problem
from torch import Tensor, nn

from throughtime.nn import GRU, LSTM, RNN, chrono_, identity_, keep_orthogonal, orthogonal_

HIDDEN = 128


class Net(nn.Module):
    """y_t = head(h_t) for the last `answered` steps, h_t of one recurrent layer."""

    def __init__(self, layer: nn.Module, head: nn.Module, answered: int) -> None:
        super().__init__()
        self.layer, self.head, self.answered = layer, head, answered

    def forward(self, x: Tensor) -> Tensor:
        """Map x [T', B, I] to parameters [answered, B, 1, parameters]."""
        output, _ = self.layer(x)
        answers: Tensor = self.head(output[-self.answered :])
        return answers


@dataclass(frozen=True)
class Kind:
    """A net by name: its layer for a problem, and whether its gradient is clipped to a norm of 1."""

    name: str
    layer: Callable[[Problem], nn.Module]
    clipped: bool
    gated: bool
    learning_rate: float

    @property
    def title(self) -> str:
        return self.name + (", clipped" if self.clipped and not self.gated else "")

    def build(self, problem: Problem, seed: int) -> Net:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Net(self.layer(problem), problem.head(HIDDEN), problem.answered)


def tanh(problem: Problem) -> nn.Module:
    return RNN(problem.input_size, HIDDEN)


def orthogonal(problem: Problem) -> nn.Module:
    return orthogonal_(tanh(problem))


def kept_orthogonal(problem: Problem) -> nn.Module:
    return keep_orthogonal(orthogonal(problem))


def relu(problem: Problem) -> nn.Module:
    return identity_(RNN(problem.input_size, HIDDEN, nonlinearity="relu"))


def gru(problem: Problem) -> nn.Module:
    return GRU(problem.input_size, HIDDEN)


def lstm(problem: Problem) -> nn.Module:
    return LSTM(problem.input_size, HIDDEN)


def chrono(problem: Problem) -> nn.Module:
    return chrono_(lstm(problem), problem.need.farthest + 1)


# layer and learning rate: 1e-2 where gates bound the step of a state, 2e-3 where tanh bounds the
# state, 1e-4 where nothing does
UNGATED = {
    "tanh": (tanh, 2e-3),
    "tanh, orthogonal": (orthogonal, 2e-3),
    "tanh, kept orthogonal": (kept_orthogonal, 2e-3),
    "ReLU, identity": (relu, 1e-4),
}
GATED = {"GRU": gru, "LSTM": lstm, "LSTM, chrono": chrono}
KINDS = [
    *(
        Kind(name, layer, clipped, gated=False, learning_rate=rate)
        for name, (layer, rate) in UNGATED.items()
        for clipped in (False, True)
    ),
    *(
        Kind(name, layer, clipped=True, gated=True, learning_rate=1e-2)
        for name, layer in GATED.items()
    ),
]
