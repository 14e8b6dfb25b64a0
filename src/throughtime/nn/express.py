"""The short way for the commonest call: one layer in one direction, dense, eager, on the CPU.

A streaming step takes a microsecond of arithmetic; asking what all a call might be takes twenty. So
this asks what it is not, cheapest question first, and answers; or returns None for the long way.
Every question guards an address that the C++ will read at, or somebody who listens to PyTorch's calls.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, empty, empty_like, get_num_threads, is_grad_enabled
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.nn import Parameter

from throughtime._errors import TensorError
from throughtime.kernels import compiled
from throughtime.kernels.compiled import PRECISIONS
from throughtime.kernels.recurrence import recur_eagerly

_is_dispatched = torch._C._len_torch_dispatch_stack
_is_transformed = torch._C._are_functorch_transforms_active
_autocasts = torch._C._is_any_autocast_enabled
_has_function_mode = torch._C._is_torch_function_mode_enabled
_tracing_state = torch._C._get_tracing_state


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
        or layer.zoneout
        or (layer.training and layer.recurrent_dropout)
    ):
        return None
    processor, parameters, names = compiled.processor(), layer._parameters, layer._all_weights[0]
    shape, H, both = input.shape, layer.hidden_size, layer.STATES == 2
    if processor is None or len(shape) != 3 or 0 in shape or len(names) != 2 + 2 * layer.bias:
        return None
    W, U, b_ih, b_hh = weights = [
        *map(parameters.get, names),
        *(() if layer.bias else (None, None)),
    ]
    states = (None,) * layer.STATES if hx is None else hx if both else (hx,)
    if len(states) != layer.STATES or type(W) is not Parameter or type(U) is not Parameter:
        return None
    if shape[2] != layer.input_size or input.dtype is not W.dtype or not input.is_cpu:
        return None
    if input.dtype not in PRECISIONS:
        return None
    if layer.bias and (type(b_ih) is not Parameter or type(b_hh) is not Parameter):
        return None
    last = 1, shape[0] if layer.batch_first else shape[1], H
    if hx is not None and not all(type(s) is Tensor and s.shape == last for s in states):
        return None
    if is_grad_enabled():
        given = [t for t in (input, *weights, *states) if t is not None]
        if any(t.requires_grad for t in given):
            return _differentiable(layer, input, states, weights)
    output = empty(*shape[:2], H, dtype=input.dtype)
    ends = [empty(last, dtype=input.dtype) if s is None else empty_like(s) for s in states]
    x, h_TBH = (
        (input.transpose(0, 1), output.transpose(0, 1)) if layer.batch_first else (input, output)
    )
    try:
        compiled.run_forward(
            *(processor.number, layer.form, get_num_threads(), False, 0.0),
            *(x, states[0], states[1] if both else None, W, U, b_ih, b_hh),
            *(None, None, None, None, None),  # mask, dropout, zoneout of h and c, residual
            *(h_TBH, ends[0], ends[1] if both else None),
        )
    except TensorError:
        return None  # PyTorch finds the words
    return output, tuple(ends) if both else ends[0]


def _differentiable(layer: Any, input: Tensor, states: Any, weights: Any) -> Any:
    """Answer with a gradient to come."""
    x = input.transpose(0, 1) if layer.batch_first else input
    if states[0] is None:
        sizes = x.shape[1], layer.hidden_size
        states = [torch.zeros(sizes, dtype=x.dtype) for _ in states]
    else:
        states = [state.squeeze(0) for state in states]
    without = (None,) * (2 if layer.STATES == 1 else 4)  # projection, dropout, zoneout
    output, *ends = recur_eagerly(
        layer.kernel(weights[0]), None, None, x, *states, *weights, *without
    )
    last = tuple(end.unsqueeze(0) for end in ends)
    return output.transpose(0, 1) if layer.batch_first else output, (
        last if layer.STATES == 2 else last[0]
    )
