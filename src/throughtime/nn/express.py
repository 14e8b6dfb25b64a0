"""The short way for the commonest call: one layer in one direction, dense, eager, on the CPU.

A streaming step takes a microsecond of arithmetic; asking what all a call might be takes twenty. So
this asks what it is not, cheapest question first, and answers; or returns None for the long way.
Every question guards an address that the C++ will read at, or somebody who listens to PyTorch's calls.
The members of an ensemble, which one vmap maps over, are answered together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, empty, empty_like, get_num_threads, is_grad_enabled
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.nn import Parameter

from throughtime._errors import TensorError
from throughtime.kernels import compiled
from throughtime.kernels.compiled import PRECISIONS, Processor, pair
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.recurrence import run_eagerly
from throughtime.kernels.transforms import in_one_vmap, pull_back
from throughtime.kernels.workspace import workspace

_functorch: Any = torch._C._functorch
_is_dispatched = torch._C._len_torch_dispatch_stack
_is_transformed = torch._C._are_functorch_transforms_active
_autocasts = torch._C._is_any_autocast_enabled
_has_function_mode = torch._C._is_torch_function_mode_enabled
_tracing_state = torch._C._get_tracing_state


def answer(layer: Any, input: Any, hx: Any) -> Any:
    """Return what `layer.forward` returns; or None, if this is another kind of call."""
    mapped = _is_transformed()
    if (
        type(input) is not Tensor
        or _is_dispatched()
        or (mapped and not in_one_vmap())
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
    kind = Tensor if mapped else Parameter
    states: Any = (None,) * layer.STATES if hx is None else hx if both else (hx,)
    if len(states) != layer.STATES or type(W) is not kind or type(U) is not kind:
        return None
    if shape[2] != layer.input_size or input.dtype is not W.dtype or input.dtype not in PRECISIONS:
        return None
    if not (input.is_cpu and W.is_cpu):
        return None
    if layer.bias and (type(b_ih) is not kind or type(b_hh) is not kind):
        return None
    last = 1, shape[0] if layer.batch_first else shape[1], H
    if hx is not None and not all(type(s) is Tensor and s.shape == last for s in states):
        return None
    if mapped:
        return None if layer.state_grad_clip else _answer_members(layer, input, states, weights)
    moving = is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (input, *weights, *states)
    )
    if moving and layer.state_grad_clip:
        return None
    try:
        output, *ends = (_express if moving else _infer)(layer, processor, input, *states, *weights)
    except TensorError:  # not laid out as the C++ reads it, or not of the right size
        return None
    return output, tuple(ends) if both else ends[0]


def _answer_members(layer: Any, x: Tensor, states: Any, weights: Any) -> Any:
    """Return the same where a vmap maps over the members, which must be the first axis of all."""
    interpreter: Any = retrieve_current_functorch_interpreter()
    level, time = interpreter.level(), 2 if layer.batch_first else 1
    given = [x, *states, *weights]
    pairs = [(t, 0) if t is None else _functorch._unwrap_batched(t, level) for t in given]
    if any(dim != 0 for _, dim in pairs):
        return None
    x_E, *rest = [tensor for tensor, _ in pairs]
    assert x_E is not None
    starts, weights = rest[: layer.STATES], rest[layer.STATES :]
    with interpreter.lower():
        x_TEBI = x_E.movedim(time, 0)
        zero = x_E.new_zeros(*x_TEBI.shape[1:3], layer.hidden_size)
        starts = [zero if h is None else h.squeeze(1) for h in starts]
        kernel = layer.kernel(weights[0])
        inputs = x_TEBI, *starts, *weights, *_nothing_around(kernel)
        h_TEBH, *ends = run_eagerly(kernel, None, None, *inputs)
        made = h_TEBH.movedim(0, time), *(h.unsqueeze(1) for h in ends)
    output, *ends = (_functorch._add_batch_dim(each, 0, level) for each in made)
    return output, tuple(ends) if layer.STATES == 2 else ends[0]


def _nothing_around(kernel: Kernel) -> tuple[None, ...]:
    """Return None for the projection, dropout and zoneout that a kernel could take."""
    return (None,) * (2 if kernel.states == 1 else 4)


def _infer(layer: Any, processor: Processor, *inputs: Any) -> tuple[Tensor, ...]:
    """Run the loop without a gradient to come; inputs are x, h_0 [1, B, H] (or None) .., weights."""
    return _run(layer, processor, inputs, None)


class Express(torch.autograd.Function):
    """Forward and adjoint in C++, with as little around them as can be.

    What it touches between two calls is cold when the next one comes, and costs more than it counts.
    """

    @staticmethod
    def forward(ctx: Any, layer: Any, processor: Processor, *inputs: Any) -> tuple[Tensor, ...]:
        """Run the loop, and keep what the adjoint reads."""
        x, batch_first = inputs[0], layer.batch_first
        B, T = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
        form = compiled.FORMS[layer.operator]
        count = compiled.residual_size(processor, form, x, T, B, layer.hidden_size)
        residual = workspace(count, x)
        outputs = _run(layer, processor, inputs, residual)
        ctx.processor, ctx.form, ctx.batch_first = processor, form, batch_first
        ctx.replay = partial(_replay, layer.kernel(inputs[1 + form.states]), batch_first)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, residual)
        return outputs

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> Any:
        """Run the loop back; where the gradient is to be differentiated, by plain operations."""
        *inputs, residual = ctx.saved_tensors
        states, needed, turned = ctx.form.states, ctx.needs_input_grad[2:], ctx.batch_first
        if is_grad_enabled() or _is_dispatched() or _is_transformed():
            found = pull_back(ctx.replay, inputs, d_outputs)
            return None, None, *(g if need else None for g, need in zip(found, needed, strict=True))
        grads = [
            empty_like(i, memory_format=torch.contiguous_format) if need else None
            for i, need in zip(inputs, needed, strict=True)
        ]
        d_h, *d_ends = d_outputs
        if d_h is not None:
            d_h = _time_first(d_h if d_h.stride(2) == 1 else d_h.contiguous(), turned)
        dx = None if grads[0] is None else _time_first(grads[0], turned)
        compiled.run_adjoint(
            *(ctx.processor.number, ctx.form.number, get_num_threads(), False, 0.0),
            *(_time_first(inputs[0], turned), *pair(inputs[1 : 1 + states])),
            *(*inputs[1 + states :], *_ALONE, residual, d_h),
            *pair([None if d is None else d.contiguous() for d in d_ends]),
            *(dx, *pair(grads[1 : 1 + states]), *grads[1 + states :], None, None, None, None),
        )
        return None, None, *grads


_ALONE = (None,) * 4  # no mask, no dropout, no zoneout of h and c
_express: Callable[..., tuple[Tensor, ...]] = Express.apply


def _run(
    layer: Any, processor: Processor, inputs: Any, residual: Tensor | None
) -> tuple[Tensor, ...]:
    x, H, states = inputs[0], layer.hidden_size, layer.STATES
    batch_first, B = layer.batch_first, x.shape[0 if layer.batch_first else 1]
    output = empty(*x.shape[:2], H, dtype=x.dtype)
    ends = [empty(1, B, H, dtype=x.dtype) for _ in range(states)]
    compiled.run_forward(
        *(processor.number, compiled.FORMS[layer.operator].number, get_num_threads(), False, 0.0),
        *(_time_first(x, batch_first), *pair(inputs[1 : 1 + states]), *inputs[1 + states :]),
        *(*_ALONE, residual, _time_first(output, batch_first), *pair(ends)),
    )
    return output, *ends


def _time_first(values: Tensor, batch_first: bool) -> Tensor:
    return values.transpose(0, 1) if batch_first else values


def _replay(kernel: Kernel, batch_first: bool, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """Return what the layer does, by operations that can be differentiated any number of times."""
    states, weights = rest[: kernel.states], rest[kernel.states :]
    x = _time_first(x, batch_first)
    zeros = x.new_zeros(x.shape[1], weights[1].shape[-1])
    starts = [zeros if h is None else h.squeeze(0) for h in states]
    h_TBH, *ends = kernel.replay(None, (x, *starts, *weights, *_nothing_around(kernel)))
    return _time_first(h_TBH, batch_first), *(end.unsqueeze(0) for end in ends)
