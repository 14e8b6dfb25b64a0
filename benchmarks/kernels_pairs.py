"""The same layer twice, PyTorch's and ours, with equal weights; and the two timed by turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

import throughtime.nn as tt_nn

CELLS = {"RNN": 1, "GRU": 3, "LSTM": 4}  # and their gates
LEAST, MOST, ENOUGH = 5, 100, 0.3  # alternations, alternations, seconds

Row = dict[str, Any]
Run = Callable[[], object]


class Shape(NamedTuple):
    """Time steps, batch, input and hidden size."""

    T: int
    B: int
    I: int  # noqa: E741
    H: int

    def kept(self, cell: str) -> int:
        """Return about how many bytes PyTorch keeps between forward and backward."""
        return 4 * self.T * self.B * self.H * (4 if cell == "RNN" else 12)

    def operations(self, cell: str) -> int:
        """Return the additions and multiplications of the matrix products forward."""
        return 2 * CELLS[cell] * self.H * (self.H + self.I) * self.B * self.T


class Pair(NamedTuple):
    """Two layers with equal weights."""

    torch: torch.nn.RNNBase
    ours: torch.nn.RNNBase


def pair(cell: str, input_size: int, hidden_size: int, **options: Any) -> Pair:
    """Return PyTorch's layer and ours."""
    theirs = getattr(torch.nn, cell)(input_size, hidden_size, **options)
    ours = getattr(tt_nn, cell)(input_size, hidden_size, **options)
    ours.load_state_dict(theirs.state_dict())
    return Pair(theirs, ours)


def training(layer: torch.nn.Module, x: Tensor | PackedSequence, d_output: Tensor) -> Run:
    """Return what an update does with a layer: forward, and backward from dL/d(output)."""

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        output = layer(x)[0]
        if isinstance(output, PackedSequence):
            output = output.data
        torch.autograd.backward(output, d_output)

    return run


def inference(layer: torch.nn.Module, x: Tensor) -> Run:
    """Return what a forecast does with a layer: forward, without a graph."""

    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def by_turns(theirs: Run, ours: Run) -> Row:
    """Return the median times in milliseconds of two that run alternately, and their ratio."""
    theirs(), ours()
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + ENOUGH
    while len(times[0]) < LEAST or (len(times[0]) < MOST and time.perf_counter() < end):
        for run, taken in zip((theirs, ours), times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(1e3 * (time.perf_counter() - start))
    a, b = map(statistics.median, times)
    return {"torch_ms": a, "ours_ms": b, "ratio": a / b}
