"""What is measured of the kernels: each part yields rows of numbers, as plain data.

Every part takes the cells, and whether a few points are enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch
from kernels_accuracy import accuracy
from kernels_memory import peak_memory
from kernels_pairs import Row, Run, Shape, by_turns, inference, pair, training
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime.nn as tt_nn

TOO_LARGE = 4 * 2**30  # bytes that PyTorch would keep, by Shape.kept
CALLS = 100  # of one step, timed together


def shapes(*sizes: tuple[int, ...]) -> list[Shape]:
    """Return every combination of lengths, batches, input and hidden sizes."""
    return list(itertools.starmap(Shape, itertools.product(*sizes)))


WHOLE = shapes((24, 100, 336, 1000), (1, 32, 256), (1, 8), (16, 32, 64, 128, 256))
QUICK = shapes((24, 100), (1, 32, 256), (8,), (16, 64, 128))
NEWEST = shapes((100, 400), (20,), (2,), (64, 128))
PACKED = shapes((100, 336), (32,), (8,), (64, 128))
ENSEMBLES = [
    (5, Shape(T=33, B=32, I=1, H=32)),
    (5, Shape(T=33, B=32, I=1, H=64)),
    (8, Shape(T=24, B=32, I=2, H=16)),
]
MEMORY = [
    Shape(T=24, B=1, I=1, H=16),
    Shape(T=1000, B=1, I=8, H=256),
    Shape(T=100, B=32, I=8, H=64),
    Shape(T=336, B=32, I=8, H=128),
    Shape(T=24, B=256, I=8, H=256),
    Shape(T=1000, B=256, I=1, H=16),
    Shape(T=1000, B=256, I=8, H=256),
]


def grid(cells: list[str], quick: bool) -> Iterator[Row]:
    """Time training and inference; what is too large has no times."""
    for cell, shape in itertools.product(cells, QUICK if quick else WHOLE):
        if shape.kept(cell) > TOO_LARGE:
            yield {"cell": cell, **shape._asdict(), "left_out": True}
            continue
        layers = pair(cell, shape.I, shape.H)
        x, d_output = torch.randn(shape.T, shape.B, shape.I), torch.randn(*shape[:2], shape.H)
        runs = {
            "training": (3, [training(layer, x, d_output) for layer in layers]),
            "inference": (1, [inference(layer, x) for layer in layers]),
        }
        for mode, (passes, both) in runs.items():
            times = by_turns(*both)
            speed = passes * shape.operations(cell) / (1e6 * times["ours_ms"])
            yield {"cell": cell, "mode": mode, **shape._asdict(), **times, "gflops": speed}


def newest(cells: list[str], quick: bool) -> Iterator[Row]:
    """Time training from the newest output alone: the gradient vanishes on its way back."""
    for cell, shape in itertools.product(cells, NEWEST[:1] if quick else NEWEST):
        x, d_output = torch.randn(shape.T, shape.B, shape.I), torch.zeros(*shape[:2], shape.H)
        d_output[-1] = torch.randn(shape.B, shape.H)
        layers = pair(cell, shape.I, shape.H)
        times = by_turns(*(training(layer, x, d_output) for layer in layers))
        yield {"cell": cell, **shape._asdict(), **times}


def packed(cells: list[str], quick: bool) -> Iterator[Row]:
    """Time training on series of several lengths, and in both directions, packed and not."""
    for cell, shape in itertools.product(cells, PACKED[:1] if quick else PACKED):
        yield from packed_or_not(cell, shape, is_packed=True, bidirectional=False)
    for cell, is_packed in itertools.product(cells, (True, False)):
        yield from packed_or_not(cell, PACKED[0], is_packed=is_packed, bidirectional=True)


def packed_or_not(cell: str, shape: Shape, is_packed: bool, bidirectional: bool) -> Iterator[Row]:
    x, width = torch.randn(shape.T, shape.B, shape.I), shape.H * (1 + bidirectional)
    lengths = torch.randint(shape.T // 4, shape.T + 1, (shape.B,))
    series = pack_padded_sequence(x, lengths, enforce_sorted=False)
    d_output = (
        torch.randn(len(series.data), width) if is_packed else torch.randn(*x.shape[:2], width)
    )
    layers = pair(cell, shape.I, shape.H, bidirectional=bidirectional)
    times = by_turns(*(training(layer, series if is_packed else x, d_output) for layer in layers))
    what = {"packed": is_packed, "bidirectional": bidirectional}
    yield {"cell": cell, **shape._asdict(), **what, **times}


def streaming(cells: list[str], quick: bool) -> Iterator[Row]:
    """Time one step of one series, many calls at a time, in microseconds each."""
    shape = Shape(T=1, B=1, I=8, H=64)
    for cell in cells:
        x, h = torch.randn(1, 1, shape.I), torch.randn(1, 1, shape.H)
        state = (h, h) if cell == "LSTM" else h
        times = by_turns(*(calls(layer, x, state) for layer in pair(cell, shape.I, shape.H)))
        a, b = (1e3 * times[name] / CALLS for name in ("torch_ms", "ours_ms"))
        yield {"cell": cell, **shape._asdict(), "torch_us": a, "ours_us": b, "ratio": a / b}


def calls(layer: torch.nn.Module, x: Tensor, state: Tensor | tuple[Tensor, Tensor]) -> Run:
    def run() -> None:
        with torch.no_grad():
            for _ in range(CALLS):
                layer(x, state)

    return run


def ensembles(cells: list[str], quick: bool) -> Iterator[Row]:
    """Time training of E members, ours as one net, PyTorch's in turn."""
    for cell, (E, shape) in itertools.product(cells, ENSEMBLES[:1] if quick else ENSEMBLES):
        x, d_output = torch.randn(E, *shape[:3]), torch.randn(E, *shape[:2], shape.H)
        theirs = partial(getattr(torch.nn, cell), shape.I, shape.H)
        ours = partial(getattr(tt_nn, cell), shape.I, shape.H)
        separate = [training(theirs(), *each) for each in zip(x, d_output, strict=True)]
        together = training(tt_nn.Ensemble(ours, E), x, d_output)
        times = by_turns(one_after_the_other(separate), together)
        yield {"cell": cell, "E": E, **shape._asdict(), **times}


def one_after_the_other(runs: list[Run]) -> Run:
    def run() -> None:
        for each in runs:
            each()

    return run


def memory(cells: list[str], quick: bool) -> Iterator[Row]:
    """Weigh training."""
    for cell, shape in itertools.product(cells, MEMORY[2:3] if quick else MEMORY):
        a, b = (peak_memory(cell, library, shape) for library in ("torch", "ours"))
        yield {"cell": cell, **shape._asdict(), "torch_mib": a, "ours_mib": b, "share": b / a}


def accuracies(cells: list[str], quick: bool) -> Iterator[Row]:
    """Measure errors."""
    for cell in cells:
        yield from accuracy(cell)


PARTS: dict[str, Callable[[list[str], bool], Iterator[Row]]] = {
    "grid": grid,
    "newest": newest,
    "packed": packed,
    "streaming": streaming,
    "ensembles": ensembles,
    "memory": memory,
    "accuracy": accuracies,
}
