"""Time our layers against torch.nn's, forward and backward, in one process and by turns.

Prints milliseconds per update (median) and the ratio torch.nn / ours: above 1 we are faster.
Run with `python benchmarks/layers.py [threads]`. The last rows are ensembles: E members under
`torch.func.vmap` against E separate torch.nn layers, one after the other.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

import throughtime.nn as tt_nn

SHAPES = [(33, 32, 1, 32), (100, 32, 8, 64), (100, 64, 32, 256), (1000, 8, 8, 32)]  # T, B, I, H
ENSEMBLES = [(5, 33, 32, 1, 32), (5, 33, 32, 1, 64), (8, 24, 32, 2, 16)]  # E, T, B, I, H
REPEATS = 15


def by_turns(functions: list[Callable[[], object]]) -> list[float]:
    """The median time of each function in milliseconds; they run alternately."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(REPEATS + 2):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if repeat >= 2:
                taken.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def update(layer: torch.nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        layer.zero_grad()
        torch.autograd.backward(layer(x)[0].square().mean())

    return run


def one_by_one(updates: list[Callable[[], None]]) -> Callable[[], None]:
    def run() -> None:
        for one in updates:
            one()

    return run


def ensemble_update(layers: list[torch.nn.Module], x: Tensor) -> Callable[[], None]:
    parameters, _ = stack_module_state(layers)

    def call(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(layers[0], parameters, (x,))[0]
        return output

    def run() -> None:
        for parameter in parameters.values():
            parameter.grad = None
        torch.autograd.backward(vmap(call)(parameters, x).square().mean())

    return run


def main() -> None:
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    print(f"{'':28}{'torch.nn ms':>12}{'ours ms':>10}{'ratio':>8}")
    for name in ("RNN", "LSTM", "GRU"):
        for T, B, I, H in SHAPES:  # noqa: E741
            x = torch.randn(T, B, I)
            theirs = update(getattr(torch.nn, name)(I, H), x)
            show(f"{name} T={T} B={B} H={H}", theirs, update(getattr(tt_nn, name)(I, H), x))
        for E, T, B, I, H in ENSEMBLES:  # noqa: E741
            x = torch.randn(E, T, B, I)
            separate = one_by_one([update(getattr(torch.nn, name)(I, H), x_e) for x_e in x])
            ours = ensemble_update([getattr(tt_nn, name)(I, H) for _ in range(E)], x)
            show(f"{name} E={E} T={T} B={B} H={H}", separate, ours)


def show(label: str, theirs: Callable[[], object], ours: Callable[[], object]) -> None:
    a, b = by_turns([theirs, ours])
    print(f"{label:28}{a:12.2f}{b:10.2f}{a / b:8.2f}")


if __name__ == "__main__":
    main()
