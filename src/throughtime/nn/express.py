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
from torch import Tensor, empty, empty_like, empty_strided, get_num_threads, is_grad_enabled
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.nn import Parameter

from throughtime._errors import TensorError
from throughtime.kernels import compiled
from throughtime.kernels.compiled import PRECISIONS, Processor, pair
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.transforms import beneath, in_one_vmap, pull_back
from throughtime.kernels.workspace import workspace

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
    inputs = input, *states, *weights
    if mapped:
        return None if layer.state_grad_clip else _answer_members(layer, processor, inputs)
    if layer.state_grad_clip and _moves(inputs):
        return None
    try:
        output, *ends = _call(layer, processor, int(layer.batch_first), *inputs)
    except TensorError:  # not laid out as the C++ reads it, or not of the right size
        return None
    return output, tuple(ends) if both else ends[0]


def _answer_members(layer: Any, processor: Processor, inputs: Any) -> Any:
    """Return the same where a vmap maps over the members, which must be the first axis of all."""
    try:
        made = beneath(partial(_call, layer, processor, 1 + layer.batch_first), inputs)
    except TensorError:
        return None
    if made is None:
        return None
    output, *ends = made
    return output, tuple(ends) if layer.STATES == 2 else ends[0]


def _nothing_around(kernel: Kernel) -> tuple[None, ...]:
    """Return None for the projection, dropout and zoneout that a kernel could take."""
    return (None,) * (2 if kernel.states == 1 else 4)


def _moves(inputs: Any) -> bool:
    return is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)


def _call(layer: Any, processor: Processor, time: int, *inputs: Any) -> tuple[Tensor, ...]:
    """Run the loop; inputs are x with its axis of time, h_0 [(E,) 1, B, H] (or None) .., weights."""
    if _moves(inputs):
        return _express(layer, processor, time, *inputs)
    return _run(layer, processor, time, inputs, None)


class Express(torch.autograd.Function):
    """Forward and adjoint in C++, with as little around them as can be.

    What it touches between two calls is cold when the next one comes, and costs more than it counts.
    """

    @staticmethod
    def forward(
        ctx: Any, layer: Any, processor: Processor, time: int, *inputs: Any
    ) -> tuple[Tensor, ...]:
        """Run the loop, and keep what the adjoint reads."""
        x = _time_first(inputs[0], time)
        T, *E, B, _ = x.shape
        form = compiled.FORMS[layer.operator]
        count = compiled.residual_size(processor, form, x, T, B, layer.hidden_size)
        residual = workspace(E[0] * count, x).view(E[0], count) if E else workspace(count, x)
        outputs = _run(layer, processor, time, inputs, residual)
        ctx.processor, ctx.form, ctx.time = processor, form, time
        ctx.replay = partial(_replay, layer, time)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, residual)
        return outputs

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> Any:
        """Run the loop back; where the gradient is to be differentiated, by plain operations."""
        *inputs, residual = ctx.saved_tensors
        states, needed, time = ctx.form.states, ctx.needs_input_grad[3:], ctx.time
        if is_grad_enabled() or _is_dispatched() or _is_transformed():
            found = pull_back(ctx.replay, inputs, d_outputs)
            grads = [g if need else None for g, need in zip(found, needed, strict=True)]
            return None, None, None, *grads
        grads = [
            empty_like(i, memory_format=torch.contiguous_format) if need else None
            for i, need in zip(inputs, needed, strict=True)
        ]
        d_h, *d_ends = d_outputs
        if d_h is not None:
            d_h = _time_first(d_h if d_h.stride(-1) == 1 else d_h.contiguous(), time)
        dx = None if grads[0] is None else _time_first(grads[0], time)
        x = _time_first(inputs[0], time)
        compiled.run_adjoint(
            *(ctx.processor.number, ctx.form.number, get_num_threads(), False, 0.0),
            *(x, *_states(x, inputs[1 : 1 + states])),
            *(*inputs[1 + states :], *_ALONE, residual, d_h),
            *_states(x, [None if d is None else d.contiguous() for d in d_ends]),
            *(dx, *_states(x, grads[1 : 1 + states]), *grads[1 + states :]),
            *(None, None, None, None),
        )
        return None, None, None, *grads


_ALONE = (None,) * 4  # no mask, no dropout, no zoneout of h and c
_express: Callable[..., tuple[Tensor, ...]] = Express.apply


def _run(
    layer: Any, processor: Processor, time: int, inputs: Any, residual: Tensor | None
) -> tuple[Tensor, ...]:
    given, H, states = inputs[0], layer.hidden_size, layer.STATES
    x = _time_first(given, time)
    T, *E, B, _ = x.shape
    if E and time == 2:  # each member's steps lie together in memory, wherever their axis is
        output = empty_strided((*E, B, T, H), (T * B * H, H, B * H, 1), dtype=x.dtype)
    else:
        output = empty(*given.shape[:-1], H, dtype=x.dtype)
    ends = [empty(*E, 1, B, H, dtype=x.dtype) for _ in range(states)]
    compiled.run_forward(
        *(processor.number, compiled.FORMS[layer.operator].number, get_num_threads(), False, 0.0),
        *(x, *_states(x, inputs[1 : 1 + states]), *inputs[1 + states :]),
        *(*_ALONE, residual, _time_first(output, time), *_states(x, ends)),
    )
    return output, *ends


def _time_first(values: Tensor, time: int) -> Tensor:
    if time == 0:
        return values
    return values.transpose(0, 1) if time == 1 else values.movedim(time, 0)


def _states(x: Tensor, states: Any) -> Any:
    """Return the states [1, B, H] or [E, 1, B, H] of h and c as the C++ reads them."""
    if x.dim() == 4:
        states = [None if s is None else s.squeeze(1) for s in states]
    return pair(states)


def _replay(layer: Any, time: int, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """Return what the layer does, by operations that can be differentiated any number of times."""
    states, weights = rest[: layer.STATES], rest[layer.STATES :]
    kernel: Kernel = layer.kernel(weights[0])
    x = _time_first(x, time)
    zeros = x.new_zeros(*x.shape[1:-1], weights[1].shape[-1])
    starts = [zeros if h is None else h.squeeze(-3) for h in states]
    h_TBH, *ends = kernel.replay(None, (x, *starts, *weights, *_nothing_around(kernel)))
    return h_TBH.movedim(0, time), *(end.unsqueeze(-3) for end in ends)
