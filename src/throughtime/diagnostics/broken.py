"""Which tensor was the first that is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.nn.ensemble import Ensemble
from throughtime.training.context import own_noise
from throughtime.training.sources import device_of


def is_finite(value: Any) -> bool:
    """Say whether all numbers in a tensor, or in a collection of such, are finite."""
    if isinstance(value, Tensor):
        value = (value.coalesce().values() if value.is_sparse else value).detach()
        # a sum that is finite says all, in a third of the time; one that is not may have overflowed
        return math.isfinite(value.sum()) or bool(value.isfinite().all())
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return True
    return all(map(is_finite, value))


def first_broken_output(model: nn.Module, inputs: Any, named: Any) -> str | None:
    """Run the model once more, and name the part whose output is the first that is not finite."""
    if not (is_finite(inputs) and is_finite(named)):
        return "inputs of the model"
    outputs: list[tuple[str, Any]] = []

    def collect(name: str, part: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append((f"output of {name}", output))

    # The parts of an ensemble, or of a compiled model, are no places for hooks.
    whole = isinstance(model, Ensemble) or hasattr(model, "_orig_mod")
    parts = [] if whole else [(n, m) for n, m in model.named_modules() if m is not model]
    handles = [part.register_forward_hook(partial(collect, name)) for name, part in parts]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.no_grad(), own_noise(0, device_of(model)):
            model.forward(*inputs, **named)
    finally:
        for handle in handles:
            handle.remove()
        for buffer, before in buffers:
            buffer.data.copy_(before)
    return first_broken(outputs)


def first_broken(named: Iterable[tuple[str, Any]]) -> str | None:
    """Return the first name whose value is not finite.

    >>> first_broken([("a", torch.ones(2)), ("b", (torch.tensor(float("nan")),))])
    'b'
    """
    return next((name for name, value in named if not is_finite(value)), None)
