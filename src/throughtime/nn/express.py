"""The short way for the commonest call: one layer in one direction, dense, eager, on the CPU.

A streaming step takes a microsecond of arithmetic; asking what all a call might be takes twenty. So
this asks what it is not, cheapest question first, and answers; or returns None for the long way.
Every question guards an address that the C++ will read at, or somebody who listens to PyTorch's calls.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, get_num_threads, is_grad_enabled
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.nn import Parameter

from throughtime.kernels import compiled
from throughtime.kernels.compiled import NO_ADJOINT, PRECISIONS
from throughtime.kernels.recurrence import recur_eagerly

_is_dispatched = torch._C._len_torch_dispatch_stack
_is_transformed = torch._C._are_functorch_transforms_active
_autocasts = torch._C._is_any_autocast_enabled
_has_function_mode = torch._C._is_torch_function_mode_enabled
_tracing_state = torch._C._get_tracing_state
_TYPES = Tensor, Parameter


def answer(layer: Any, input: Any, hx: Any) -> Any:
    """Return what `layer.forward` returns; or None, if this is another kind of call."""
    if (
        type(input) is not Tensor
        or _is_dispatched()
        or _is_transformed()
        or _autocasts()
        or _has_function_mode()
        or _tracing_state() is not None
        or forward_ad._current_level >= 0
        or is_compiling()
        or len(layer._all_weights) != 1
    ):
        return None
    processor, dtype, shape = compiled.processor(), input.dtype, input.shape
    precision = PRECISIONS.get(dtype)
    if processor is None or precision is None or len(shape) != 3 or 0 in shape or not input.is_cpu:
        return None
    parameters, names = layer._parameters, layer._all_weights[0]
    B, T, I = shape if layer.batch_first else (shape[1], shape[0], shape[2])  # noqa: E741
    H, G, both = layer.hidden_size, layer.GATES * layer.hidden_size, layer.STATES == 2
    if I != layer.input_size or len(names) != (4 if layer.bias else 2):
        return None
    weights = [*map(parameters.get, names), *(() if layer.bias else (None, None))]
    states = (None,) * layer.STATES if hx is None else hx if both else (hx,)
    if len(states) != layer.STATES:
        return None
    read = compiled.addresses(
        _TYPES, dtype, [*weights, *states], (G * I, G * H, G, G, B * H, B * H)[: 4 + layer.STATES]
    )
    if read is None or 0 in read[: len(names)]:
        return None
    if hx is not None and any(state.shape != (1, B, H) for state in states):
        return None
    if is_grad_enabled():
        given = [t for t in (input, *weights, *states) if t is not None]
        if any(t.requires_grad for t in given):
            return _differentiable(layer, input, states, weights)
    x = input if I == 1 or input.stride(2) == 1 else input.contiguous()
    if layer.batch_first:
        output, (x_b, x_t, _), h_t, h_b = torch.empty((B, T, H), dtype=dtype), x.stride(), H, T * H
    else:
        output, (x_t, x_b, _), h_t, h_b = torch.empty((T, B, H), dtype=dtype), x.stride(), B * H, H
    ends = [torch.empty((1, B, H), dtype=dtype) for _ in states]
    compiled.run_forward(
        *(processor.number, layer.form, precision, get_num_threads(), T, 1, B, I, H, 0),
        *(x.data_ptr(), x_t, 0, x_b, read[4], read[5] if both else 0, *read[:4]),
        *(0, 0, 0, 0, 0),  # no mask, nothing kept
        *(output.data_ptr(), h_t, 0, h_b, ends[0].data_ptr(), ends[1].data_ptr() if both else 0),
        *NO_ADJOINT,
    )
    return output, tuple(ends) if both else ends[0]


def _differentiable(layer: Any, input: Tensor, states: Any, weights: Any) -> Any:
    """Answer with a gradient to come."""
    x = input.transpose(0, 1) if layer.batch_first else input
    if states[0] is None:
        sizes = x.shape[1], layer.hidden_size
        states = [torch.zeros(sizes, dtype=x.dtype) for _ in states]
    else:
        states = [state.squeeze(0) for state in states]
    projection = (None,) * (layer.STATES == 2)
    output, *ends = recur_eagerly(layer.kernel(x), None, None, x, *states, *weights, *projection)
    last = tuple(end.unsqueeze(0) for end in ends)
    return output.transpose(0, 1) if layer.batch_first else output, (
        last if layer.STATES == 2 else last[0]
    )
