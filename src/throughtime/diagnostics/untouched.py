"""Leave a model, and the random numbers around it, exactly as they were found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.training.context import own_noise
from throughtime.training.sources import device_of


@contextmanager
def untouched(model: nn.Module, seed: int = 0) -> Iterator[list[nn.Parameter]]:
    """Let anything be done with a model short of assigning to its weights, and undo it afterwards.

    Yields the parameters of real numbers, all of which require a gradient for a while: what is
    frozen passes gradients on. Undone are those flags, gradients, buffers, modes, hooks, and every
    other attribute of every module, also one that a forward pass keeps its state in. Random numbers
    are drawn from `seed`; the generators of PyTorch, NumPy and Python stay where they were.

    >>> model = nn.BatchNorm1d(1)
    >>> with untouched(model):
    ...     _ = model(torch.tensor([[1.0], [3.0]]))
    >>> model.running_mean, model.num_batches_tracked
    (tensor([0.]), tensor(0))
    """
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    found = [(p, p.requires_grad, p.grad) for p in parameters]
    attributes = [(module, _copied(vars(module))) for module in model.modules()]
    values = [(tensor, tensor.clone()) for tensor in _tensors(model)]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        for parameter in parameters:
            parameter.grad = None  # or it would be added to in place
            parameter.requires_grad_()
        with own_noise(seed, device_of(model)):
            yield parameters
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, entries in attributes:
            vars(module).clear()
            vars(module).update(entries)
        for tensor, value in values:
            if not torch.equal(tensor, value):
                with torch.no_grad():
                    tensor.copy_(value)
        for parameter, flag, grad in found:
            parameter.requires_grad_(flag)
            parameter.grad = grad


def _copied(entries: dict[str, object]) -> dict[str, object]:
    """Copy a module's attributes, and the tables among them: parameters, buffers, modules, hooks."""
    return {k: v.copy() if isinstance(v, dict) else v for k, v in entries.items()}


def _tensors(model: nn.Module) -> list[Tensor]:
    """Return what a forward pass may write into: buffers, and tensors kept as plain attributes."""
    kept = [v for module in model.modules() for v in vars(module).values() if isinstance(v, Tensor)]
    return [tensor.detach() for tensor in (*model.buffers(), *kept)]
