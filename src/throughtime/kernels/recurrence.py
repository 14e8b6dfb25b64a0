"""Kernels under autograd: one function runs any of them, and can be differentiated any times.

`Recurrence` hands a kernel's `forward` and `adjoint` to autograd. Its backward is itself a function,
`Adjoint`, so that differentiating a gradient never meets the in-place loops: there, and in forward
mode, `replay` is differentiated instead. `torch.func.vmap` over a recurrence moves its axis to the
members' axis and makes one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.kernels.kernel import Kernel, Optionals, Tensors, flip, turned
from throughtime.kernels.packing import pack, pad
from throughtime.kernels.tap import AdjointTap
from throughtime.kernels.transforms import (
    adjoin_mapped,
    at_once,
    in_one_vmap,
    pull_back,
    push_forward,
    recur_mapped,
)


def run(
    kernel: Kernel,
    tap: AdjointTap | None,
    mask: Tensor | None,
    backwards: bool,
    x: Tensor,
    *rest: Tensor | None,
) -> Tensors:
    """Return the outputs of a recurrence, differentiable; see `Kernel` for the arguments.

    Instead of a mask there may be the batch sizes [T] of a packed x [N, I]; h_TBH is then [N, H].
    """
    sizes = mask if mask is not None and mask.dtype == torch.int64 else None
    if sizes is not None and (not kernel.packs or tap is not None or _is_more_than_eager(x)):
        padded, real = pad(x, sizes)
        h_TBH, *ends = run(kernel, tap, real, backwards, padded, *rest)
        return pack(h_TBH, real), *ends
    if x.shape[0] == 0:
        raise SettingError("at least one time step", f"x of shape {tuple(x.shape)}", "pass T >= 1")
    if autocasts(x):
        return _without_autocast(kernel, tap, mask, backwards, x, *rest)
    if mask is not None and sizes is None:
        mask = mask.unsqueeze(1).expand(x.shape[:-1]) if mask.dim() < x.dim() - 1 else mask
        if not kernel.packs or _is_more_than_eager(x):
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # padding may be NaN; 0 * NaN is not 0
    if is_traced(x):
        return _run_traced(kernel, tap, mask, backwards, x, *rest)
    kernel = kernel.reverse if backwards else kernel
    if tap is None and in_forward_mode():
        return kernel.replay(mask, (x, *rest))
    if in_one_vmap():
        eager = partial(run_eagerly, kernel, tap)
        return at_once(eager, kernel.states, (mask, x, *rest))
    if _is_transformed():
        return _recur(kernel, tap, mask, x, *rest)[: 1 + kernel.states]
    return run_eagerly(kernel, tap, mask, x, *rest)


def run_eagerly(
    kernel: Kernel, tap: AdjointTap | None, mask: Tensor | None, x: Tensor, *rest: Tensor | None
) -> Tensors:
    """Return the outputs where no transform is at work; without a gradient to come, nothing is kept."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *rest)):
        return recur_eagerly(kernel, tap, mask, x, *rest)
    return kernel.forward(mask, (x, *rest), keep=False)[: 1 + kernel.states]


def _run_traced(
    kernel: Kernel, tap: AdjointTap | None, mask: Tensor | None, backwards: bool, *inputs: Any
) -> Tensors:
    if tap is not None or kernel.clip:
        raise SettingError(
            "no tap and no clipping of state gradients in a graph",
            "a graph that is being traced",
            "use them in eager mode",
        )
    operator = getattr(torch.ops.throughtime, kernel.operator)
    ends = 1 + kernel.states
    if not backwards:
        results: Tensors = operator(mask, *inputs)
        return results[:ends]
    h_TBH, *others = operator(flip(mask), *turned(inputs, kernel.states))
    return h_TBH.flip(0), *others[: ends - 1]


def _is_more_than_eager(x: Tensor) -> bool:
    return autocasts(x) or is_traced(x) or _is_transformed()


def _is_transformed() -> bool:
    """Say whether torch.func or forward mode is at work."""
    return (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


def in_forward_mode() -> bool:
    """Say whether somebody pushes tangents forward.

    Of two nested levels (jacfwd of jacfwd) PyTorch loses one at every Function, and says nothing.
    """
    return torch.autograd.forward_ad._current_level >= 0


def is_traced(x: Tensor) -> bool:
    """Say whether x stands for the tensors of a graph that somebody records, or is recorded."""
    return (
        torch.compiler.is_compiling()
        or type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__
        or (
            torch._C._len_torch_dispatch_stack() > 0
            and any(torch._C._get_dispatch_mode(mode) is not None for mode in _RECORDING_MODES)
        )
    )


_RECORDING_MODES = (
    torch._C._TorchDispatchModeKey.FAKE,
    torch._C._TorchDispatchModeKey.PROXY,
    torch._C._TorchDispatchModeKey.FUNCTIONAL,
)


def autocasts(x: Tensor) -> bool:
    """Say whether autocast is on for the device of x."""
    device = x.device.type
    return (
        torch._C._is_any_autocast_enabled()
        and torch.amp.is_autocast_available(device)
        and torch.is_autocast_enabled(device)
    )


def _without_autocast(
    kernel: Kernel,
    tap: AdjointTap | None,
    mask: Tensor | None,
    backwards: bool,
    x: Tensor,
    *rest: Any,
) -> Tensors:
    """Run in the weights' precision: rounding would add up over time, and little would be won."""
    W: Tensor = rest[kernel.states]
    rest = tuple(tensor if tensor is None else tensor.to(W.dtype) for tensor in rest)
    with torch.autocast(x.device.type, enabled=False):
        return run(kernel, tap, mask, backwards, x.to(W.dtype), *rest)


def _in_full_precision(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Turn autocast off where somebody calls backward within it."""

    def wrapped(ctx: Any, *d_results: Tensor | None) -> Any:
        if not torch._C._is_any_autocast_enabled():
            return backward(ctx, *d_results)
        given = [d for d in d_results if d is not None]
        if not (given and autocasts(given[0])):
            return backward(ctx, *d_results)
        with torch.autocast(given[0].device.type, enabled=False):
            return backward(ctx, *d_results)

    return wrapped


class Recurrence(torch.autograd.Function):
    """y = f(x, s_0, θ), with the kernel's hand-derived adjoint."""

    @staticmethod
    def forward(
        kernel: Kernel, tap: AdjointTap | None, mask: Tensor | None, *inputs: Tensor | None
    ) -> Tensors:
        """Run the fast forward loop."""
        return kernel.forward(mask, inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the adjoint reads."""
        ctx.kernel, ctx.tap, mask, *tensors = inputs
        residuals = output[1 + ctx.kernel.states :]
        ctx.inputs, ctx.residuals = len(tensors), len(residuals)
        ctx.mark_non_differentiable(*residuals)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mask, *tensors, *residuals)
        ctx.save_for_forward(mask, *tensors)

    @staticmethod
    @_in_full_precision
    def backward(ctx: Any, *d_results: Tensor | None) -> Any:
        """Hand over to `Adjoint`, which can itself be differentiated."""
        needed = ctx.needs_input_grad[3:]
        mask, *tensors = ctx.saved_tensors
        kernel: Kernel = ctx.kernel
        d_outputs = d_results[: 1 + kernel.states]
        if not torch.is_grad_enabled() and not _is_transformed():
            inputs, residuals = tensors[: ctx.inputs], tuple(tensors[ctx.inputs :])
            found = kernel.adjoint(needed, ctx.tap, mask, d_outputs, inputs, residuals)
            return None, None, None, *found
        if mask is not None and mask.dtype == torch.int64:
            return None, None, None, *_adjoin_packed(ctx, mask, d_outputs, tensors[: ctx.inputs])
        if kernel.clip:
            raise SettingError(
                "a gradient that is not differentiated again",
                "clipping of state gradients, after which it is the gradient of no loss",
                "leave out create_graph=True, or the clipping",
            )
        grads = iter(_adjoin(kernel, ctx.tap, needed, ctx.inputs, mask, *d_outputs, *tensors))
        return None, None, None, *(next(grads) if need else None for need in needed)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        """Push tangents forward through `replay`."""
        mask, *inputs = ctx.saved_tensors
        kernel: Kernel = ctx.kernel
        d_outputs = push_forward(lambda *given: kernel.replay(mask, given), inputs, tangents[3:])
        return *d_outputs, *(None for _ in range(ctx.residuals))

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        """Move the mapped axis to the members' axis and make one call."""
        kernel, tap, *tensors = arguments
        recur = partial(_recur, kernel, tap)
        return recur_mapped(recur, kernel.states, info.batch_size, in_dims[2:], tensors)


class EagerRecurrence(torch.autograd.Function):
    """`Recurrence` where no transform of torch.func is at work: as much as is needed, no more."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, tap: AdjointTap | None, mask: Tensor | None, *inputs: Any
    ) -> Tensors:
        """Run the fast forward loop, and keep what the adjoint reads."""
        results = kernel.forward(mask, inputs)
        ends = 1 + kernel.states
        ctx.kernel, ctx.tap, ctx.inputs = kernel, tap, len(inputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mask, *inputs, *results[ends:])
        return results[:ends]

    backward = Recurrence.backward


class Adjoint(torch.autograd.Function):
    """(ȳ, x, s_0, θ) to the needed ones of (x̄, s̄_0, θ̄)."""

    @staticmethod
    def forward(
        kernel: Kernel,
        tap: AdjointTap | None,
        needed: Sequence[bool],
        count: int,
        mask: Tensor | None,
        *tensors: Tensor | None,
    ) -> Tensors:
        """Run the fast adjoint loop."""
        d_outputs, inputs, residuals = split(tensors, 1 + kernel.states, count)
        grads = kernel.adjoint(needed, tap, mask, d_outputs, inputs, residuals)
        return tuple(grad for grad in grads if grad is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what a second differentiation reads."""
        ctx.kernel, _, ctx.needed, ctx.count, mask, *tensors = inputs
        ctx.kept = 1 + ctx.kernel.states + ctx.count
        ctx.residuals = len(tensors) - ctx.kept
        ctx.save_for_backward(mask, *tensors[: ctx.kept])
        ctx.save_for_forward(mask, *tensors[: ctx.kept])

    @staticmethod
    @_in_full_precision
    def backward(ctx: Any, *dd: Tensor) -> Any:
        """Differentiate the gradient of `replay`."""
        mask, *tensors = ctx.saved_tensors
        grads = pull_back(_gradient_of_replay(ctx, mask), tensors, dd)
        return None, None, None, None, None, *grads, *(None for _ in range(ctx.residuals))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        """Push tangents forward through the gradient of `replay`."""
        mask, *tensors = ctx.saved_tensors
        return push_forward(_gradient_of_replay(ctx, mask), tensors, tangents[5 : 5 + ctx.kept])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        """Move the mapped axis to the members' axis and make one call."""
        kernel, tap, needed, count, *tensors = arguments
        adjoin = partial(_adjoin, kernel, tap, needed, count)
        return adjoin_mapped(adjoin, kernel.states, needed, info.batch_size, in_dims[4:], tensors)


_recur: Callable[..., Tensors] = Recurrence.apply
recur_eagerly: Callable[..., Tensors] = EagerRecurrence.apply
_adjoin: Callable[..., Tensors] = Adjoint.apply


def _adjoin_packed(ctx: Any, sizes: Tensor, d_outputs: Optionals, inputs: Any) -> Optionals:
    """Return the needed gradients for a packed x by plain operations, to be differentiated again."""
    d_h, *d_ends = d_outputs
    _, real = pad(inputs[0].detach(), sizes)

    def replay(x: Tensor, *rest: Tensor | None) -> Tensors:
        h_TBH, *ends = ctx.kernel.replay(real, (pad(x, sizes)[0], *rest))
        return pack(h_TBH, real), *ends

    grads = pull_back(replay, inputs, (d_h, *d_ends))
    needed = ctx.needs_input_grad[3:]
    return tuple(g if need else None for g, need in zip(grads, needed, strict=True))


def split(
    tensors: Sequence[Any], outputs: int, inputs: int
) -> tuple[Optionals, Optionals, Tensors]:
    """Return as many outputs' gradients, then as many inputs, then what remains."""
    cut = outputs + inputs
    return tuple(tensors[:outputs]), tuple(tensors[outputs:cut]), tuple(tensors[cut:])


def _gradient_of_replay(ctx: Any, mask: Tensor | None) -> Callable[..., Tensors]:
    """Return ȳ, x, s_0, θ -> the needed gradients, by autograd over `replay`."""

    def gradient(*tensors: Tensor | None) -> Tensors:
        d_outputs, inputs, _ = split(tensors, 1 + ctx.kernel.states, ctx.count)
        grads = pull_back(lambda *given: ctx.kernel.replay(mask, given), inputs, d_outputs)
        return tuple(g for g, need in zip(grads, ctx.needed, strict=True) if g is not None and need)

    return gradient
