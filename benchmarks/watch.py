"""What it costs to watch the gradients: training with and without, by turns, as a table.

Each update of a net is timed twice, in two trainings of the same seed that take turns, one watched
and one not, in an order that changes; the ratio is that of the sums of both. The weights of both
must be equal in the end, bit for bit.

    python benchmarks/watch.py [--updates 400] [--every 10]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

import throughtime.nn as tt_nn
from throughtime.diagnostics import Watch
from throughtime.nn import Ensemble
from throughtime.training import Clip, TensorExamples, TrainingSettings, losses
from throughtime.training.context import mode
from throughtime.training.run import Run
from throughtime.training.sources import ExampleSource


class Size(NamedTuple):
    """Cell, hidden size, batch, time steps, members of an ensemble (0 for a single net)."""

    cell: str
    H: int
    B: int
    T: int
    members: int = 0


SIZES = [
    Size("GRU", 64, 32, 100),
    Size("LSTM", 64, 32, 100),
    Size("RNN", 64, 32, 100),
    Size("GRU", 16, 32, 24),
    Size("GRU", 128, 64, 200),
    Size("GRU", 32, 32, 48, members=5),
]


class Net(nn.Module):
    """A recurrent layer read at its newest step."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.layer = getattr(tt_nn, size.cell)(1, size.H, batch_first=True)
        self.head = nn.Linear(size.H, 1)

    def forward(self, x: Tensor) -> Tensor:
        newest: Tensor = self.layer(x)[0][:, -1]
        return self.head(newest).unsqueeze(-1)  # type: ignore[no-any-return]


def net(size: Size) -> nn.Module:
    torch.manual_seed(0)
    return Ensemble(lambda: Net(size), size.members) if size.members else Net(size)


def examples(size: Size) -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20 * size.B, size.T, 1, generator=generator)
    return TensorExamples(x, x.mean(1))


def own_loop(size: Size, every: int | None) -> Iterator[nn.Module]:
    """Make one update at each `next`, in a plain loop of torch."""
    model, data = net(size), examples(size)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    watch = None if every is None else Watch(model, optimizer, every)
    shuffled = torch.Generator().manual_seed(2)
    while True:
        index = torch.randint(len(data), (size.B,), generator=shuffled)
        x, y = data.inputs[index], data.targets[index]
        optimizer.zero_grad()
        if size.members:
            x, y = x.expand(size.members, *x.shape), y.expand(size.members, *y.shape)
        loss = (model(x)[..., 0] - y).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        if watch is not None:
            watch.note(loss)
        optimizer.step()
        yield model


def trainer(size: Size, every: int | None) -> Iterator[nn.Module]:
    """Make one update at each `next`, by the trainer's own parts."""
    model = net(size)
    settings = TrainingSettings(max_updates=10**6, batch_size=size.B, clip=Clip(0.1))
    generator = torch.Generator().manual_seed(2)
    source = ExampleSource(model, examples(size), None, settings, generator)
    observers = [] if every is None else [Watch(every=every)]
    run = Run(model, losses.mse, settings, source, generator, observers)
    with mode(model, training=True):
        while True:
            run.update()
            yield model


def ratio(
    training: Callable[[Size, int | None], Iterator[nn.Module]],
    size: Size,
    updates: int,
    every: int,
) -> tuple[float, float]:
    """Return the milliseconds of an update that is not watched, and the ratio of one that is."""
    runs = [training(size, None), training(size, every)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(2 * every):
        models = [next(run) for run in runs]
    for k in range(updates):
        for which in (0, 1) if k % 2 else (1, 0):
            start = time.perf_counter()
            models[which] = next(runs[which])
            times[which].append(time.perf_counter() - start)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b), "watching has changed the training"
    # sums over a whole period, whose median no interruption by others moves
    sums = [
        [sum(islice(each, start, start + every)) for start in range(0, updates, every)]
        for each in times
    ]
    ratios = [watched / plain for plain, watched in zip(*sums, strict=True)]
    return 1e3 * statistics.median(times[0]), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--every", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print("| net | update, ms | Trainer | own loop |\n|---|---|---|---|")
    for size in SIZES:
        plain, observed = ratio(trainer, size, chosen.updates, chosen.every)
        _, hooked = ratio(own_loop, size, chosen.updates, chosen.every)
        members = f", {size.members} members" if size.members else ""
        name = f"{size.cell} H={size.H} B={size.B} T={size.T}{members}"
        print(f"| {name} | {plain:.2f} | {observed - 1:+.1%} | {hooked - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()
