"""What training changes around it for a while, and puts back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 2**16  # numbers that the nets handle in one time step


@contextmanager
def mode(model: torch.nn.Module, *, training: bool) -> Iterator[None]:
    """Put the model into training or evaluation mode, and all its parts back afterwards."""
    found = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in found:
            module.training = was


@contextmanager
def own_noise(seed: int, device: torch.device) -> Iterator[None]:
    """Let dropout draw from `seed`, and leave the global generators as they were."""
    if device.type == "cuda":
        with torch.random.fork_rng(devices=[device]):
            torch.default_generator.manual_seed(seed)
            torch.cuda.manual_seed(seed)
            yield
        return
    # fork_rng and torch.manual_seed ask after every backend, which takes longer than a small update
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)


@contextmanager
def threads(numbers_a_step: int) -> Iterator[None]:
    """Keep small nets on one thread: a second costs more than it gives, on busy cores ten times."""
    before = torch.get_num_threads()
    if numbers_a_step <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
