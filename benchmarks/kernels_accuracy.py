"""How far outputs and gradients are from the NumPy oracle's, over a thousand time steps.

An error is the largest difference from the oracle, relative to its largest magnitude; that of the
gradients is the worst one's, of the weights, the biases and the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from kernels_pairs import Row, Shape, pair
from torch import Tensor

from throughtime.kernels import reference
from throughtime.kernels.reference import Array

SHAPE = Shape(T=1000, B=4, I=8, H=64)
PARAMETERS = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}


def accuracy(cell: str) -> list[Row]:
    """Return the errors in float32 and in float64, PyTorch's and ours."""
    T, B, I, H = SHAPE  # noqa: E741
    layers = pair(cell, I, H)
    x, d_output = torch.randn(T, B, I), torch.randn(T, B, H)
    output, gradients = oracle(cell, layers.torch, x, d_output)
    rows = []
    for dtype in (torch.float32, torch.float64):
        row: Row = {"cell": cell, "dtype": str(dtype).removeprefix("torch."), **SHAPE._asdict()}
        for library, layer in layers._asdict().items():
            layer.to(dtype)
            mine, grads = outcome(layer, x.to(dtype, copy=True), d_output.to(dtype))
            row[f"{library}_output"] = error(mine, output)
            row[f"{library}_gradients"] = max(error(grads[k], gradients[k]) for k in grads)
        rows.append(row)
    return rows


def oracle(
    cell: str, layer: torch.nn.Module, x: Tensor, d_output: Tensor
) -> tuple[Array, dict[str, Array]]:
    """Return the oracle's output and gradients for the weights of a layer."""
    recurrence: Any = getattr(reference, cell.lower())
    recurrence_gradients: Any = getattr(reference, f"{cell.lower()}_gradients")
    zeros = np.zeros((SHAPE.B, SHAPE.H))
    weights = [double(getattr(layer, name)) for name in PARAMETERS.values()]
    if cell == "LSTM":
        states, d_ends, projection = [zeros, zeros], [zeros, zeros], [None]
    else:
        states, d_ends, projection = [zeros], [zeros], []
    arguments = [double(x), *states, *weights, *projection]
    output = recurrence(*arguments)[0]
    return output, recurrence_gradients(*arguments, double(d_output), *d_ends)


def outcome(layer: torch.nn.Module, x: Tensor, d_output: Tensor) -> tuple[Array, dict[str, Array]]:
    """Return a layer's output, and its gradients by the oracle's names."""
    x.requires_grad_()
    output = layer(x)[0]
    layer.zero_grad()
    torch.autograd.backward(output, d_output)
    leaves = {"x": x} | {name: getattr(layer, parameter) for name, parameter in PARAMETERS.items()}
    return double(output), {name: double(leaf.grad) for name, leaf in leaves.items()}


def double(tensor: Tensor) -> Array:
    array: Array = tensor.detach().double().numpy()
    return array


def error(found: Array, true: Array) -> float:
    return float(np.abs(found - true).max() / np.abs(true).max())
