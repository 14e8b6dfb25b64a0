"""What all recurrences share: one autograd function around a kernel's forward and adjoint.

A recurrence maps y = f(x, s_0, θ): an input x, initial states s_0 and weights θ to outputs y (all
h_t and the last states). A `Kernel` says how, three times over:

    forward   y and residuals                      fast, in place, one large product for the inputs
    adjoint   x̄, s̄_0, θ̄ from ȳ and residuals         fast, in place, one large product per weight
    replay    y alone                              slow, plain operations, differentiable any times

`Recurrence` hands the first two to autograd. Its backward is itself a function, `Adjoint`, so that
differentiating a gradient never meets the in-place loops: there, and in forward mode, `replay` is
differentiated instead.

Members: all tensors may carry one more axis E (after time, else in front) for nets that run side by
side. `torch.func.vmap` over a recurrence moves its axis there and makes one call.

Buffers along time are stored members first, [E, T, B, H], and seen as [T, E, B, H], so that the T*B
rows of every member form one matrix without a copy (`rows`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.kernels.packing import pack, pad
from throughtime.kernels.tap import AdjointTap

Tensors = tuple[Tensor, ...]
Optionals = tuple[Tensor | None, ...]
Inputs = tuple[Any, ...]  # tensors; a weight that the recurrence does without is None

CHUNK_ELEMENTS = 2**16  # coefficients of the adjoint computed at once: fewer calls, still in cache


class Kernel(ABC):
    """How one recurrence is computed.

    Inputs are always x, the states, the weights; then the dropout d and for each state the zoneout ζ
    of `regularised`, where None is without.
    Outputs are h_TBH and the last value of each state. `clip` limits the norm of the gradient of
    every state, row by row, on its way back through time; 0 is no limit. A step that the mask skips
    makes no state.
    """

    clip: float
    packs: ClassVar[bool] = False  # takes packed sequences, and padding that is not a number

    @property
    @abstractmethod
    def states(self) -> int:
        """Return the number of states."""

    @property
    @abstractmethod
    def operator(self) -> str:
        """Return the name of the registered operator that stands for the recurrence in a graph."""

    @property
    def reverse(self) -> Kernel:
        """Return the kernel that runs from the last time step to the first."""
        return Reverse(self)

    @abstractmethod
    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Return the outputs, then the residuals that the adjoint needs (time first).

        Without `keep` the residuals are not asked for, and may be missing.
        """

    @abstractmethod
    def blank(self, inputs: Inputs) -> Tensors:
        """Return tensors of the shapes and strides that `forward` returns, values aside.

        It is asked with tensors that have no values and sizes that are symbols.
        """

    @abstractmethod
    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Return the gradient of every input that is needed, and fill the tap.

        Gradients share no memory. They are contiguous, but for x̄, which is laid out as by `timeline`.
        """

    @abstractmethod
    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Return the outputs by operations that can be differentiated any number of times."""


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
    is_packed = mask is not None and mask.dtype == torch.int64
    if is_packed and (not kernel.packs or tap is not None or _is_more_than_eager(x)):
        padded, real = pad(x, mask)  # type: ignore[arg-type]
        h_TBH, *ends = run(kernel, tap, real, backwards, padded, *rest)
        return pack(h_TBH, real), *ends
    if x.shape[0] == 0:
        raise SettingError("at least one time step", f"x of shape {tuple(x.shape)}", "pass T >= 1")
    if autocasts(x):
        return _without_autocast(kernel, tap, mask, backwards, x, *rest)
    if mask is not None and not is_packed:
        mask = mask.unsqueeze(1).expand(x.shape[:-1]) if mask.dim() < x.dim() - 1 else mask
        if not kernel.packs or _is_more_than_eager(x):
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # padding may be NaN; 0 * NaN is not 0
    if is_traced(x):
        return _run_traced(kernel, tap, mask, backwards, x, *rest)
    kernel = kernel.reverse if backwards else kernel
    if tap is None and in_forward_mode():
        return kernel.replay(mask, (x, *rest))
    if _is_transformed():
        return _recur(kernel, tap, mask, x, *rest)[: 1 + kernel.states]
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
    h_TBH, *others = operator(_flip(mask), *_turned(inputs, kernel.states))
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
        d_outputs = _push_forward(lambda *given: kernel.replay(mask, given), inputs, tangents[3:])
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
        grads = kernel.adjoint(needed, tap, mask, d_outputs, inputs, residuals)  # type: ignore[arg-type]
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
        return _push_forward(_gradient_of_replay(ctx, mask), tensors, tangents[5 : 5 + ctx.kept])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        """Move the mapped axis to the members' axis and make one call."""
        kernel, tap, needed, count, *tensors = arguments
        adjoin = partial(_adjoin, kernel, tap, needed, count)
        return adjoin_mapped(adjoin, kernel.states, needed, info.batch_size, in_dims[4:], tensors)


def recur_mapped(
    recur: Callable[..., Tensors], states: int, size: int, dims: Any, tensors: Sequence[Any]
) -> tuple[Tensors, Any]:
    """Call `recur` once with a mapped axis of mask, x, s_0, θ among the members."""
    axes = [1, 1, *[0] * (len(tensors) - 2)]
    lifted = _Lifted(size, tensors[1], dims[1], tensors, dims, axes)
    results = recur(*lifted.tensors)
    residuals = len(results) - 1 - states
    return lifted.lower(results, [1, *[0] * states, *[1] * residuals])


def adjoin_mapped(
    adjoin: Callable[..., Tensors],
    states: int,
    needed: Sequence[bool],
    size: int,
    dims: Any,
    tensors: Sequence[Any],
) -> tuple[Tensors, Any]:
    """Call `adjoin` once with a mapped axis of mask, ȳ, x, s_0, θ, residuals among the members."""
    x, count = 1 + 1 + states, len(needed)
    residuals = len(tensors) - x - count
    axes = [1, 1, *[0] * states, 1, *[0] * (count - 1), *[1] * residuals]
    lifted = _Lifted(size, tensors[x], dims[x], tensors, dims, axes)
    grads = adjoin(*lifted.tensors)
    axes = [1, *[0] * (count - 1)]
    return lifted.lower(grads, [axis for axis, need in zip(axes, needed, strict=True) if need])


_recur: Callable[..., Tensors] = Recurrence.apply
recur_eagerly: Callable[..., Tensors] = EagerRecurrence.apply
_adjoin: Callable[..., Tensors] = Adjoint.apply
_vjp: Callable[..., Any] = torch.func.vjp


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
    tensors: Sequence[Tensor | None], outputs: int, inputs: int
) -> tuple[Optionals, Optionals, Optionals]:
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


def pull_back(
    function: Callable[..., Tensors],
    arguments: Sequence[Tensor | None],
    d_results: Sequence[Tensor | None],
) -> Optionals:
    """Return d_results' J, with None for arguments that are None; differentiable."""
    given = [i for i, argument in enumerate(arguments) if argument is not None]
    restricted, primals = _restricted(function, arguments, given)
    results, pull_back = _vjp(restricted, *primals)
    filled = (
        torch.zeros_like(r) if d is None else d for r, d in zip(results, d_results, strict=True)
    )
    grads = dict(zip(given, pull_back(tuple(filled)), strict=True))
    return tuple(grads.get(i) for i in range(len(arguments)))


def _push_forward(
    function: Callable[..., Tensors],
    arguments: Sequence[Tensor | None],
    tangents: Sequence[Tensor | None],
) -> Tensors:
    """Return J tangents, as the transpose of u -> u'J; differentiable."""
    moving = [i for i, tangent in enumerate(tangents) if tangent is not None]
    restricted, primals = _restricted(function, arguments, moving)
    results, pull_back = _vjp(restricted, *primals)
    _, push_forward = _vjp(pull_back, tuple(map(torch.zeros_like, results)))
    d_results: Tensors = push_forward(tuple(tangents[i] for i in moving))[0]
    return d_results


def _restricted(
    function: Callable[..., Tensors], arguments: Sequence[Tensor | None], moving: Sequence[int]
) -> tuple[Callable[..., Tensors], list[Any]]:
    """Return the function of the moving arguments alone, and those."""

    def restricted(*moved: Tensor) -> Tensors:
        filled = list(arguments)
        for i, argument in zip(moving, moved, strict=True):
            filled[i] = argument
        return function(*filled)

    return restricted, [arguments[i] for i in moving]


@dataclass(frozen=True)
class Reverse(Kernel):
    """A kernel that runs another one from the last time step to the first."""

    kernel: Kernel

    @property
    def states(self) -> int:
        """Return the number of states."""
        return self.kernel.states

    @property
    def operator(self) -> str:
        """Return the operator of the one that it runs."""
        return self.kernel.operator

    @property
    def clip(self) -> float:  # type: ignore[override]
        """Return the limit of the gradient of a state."""
        return self.kernel.clip

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Turn x round, and then h_TBH."""
        h_TBH, *others = self.kernel.forward(_flip(mask), _turned(inputs, self.states), keep)
        return h_TBH.flip(0), *others

    def blank(self, inputs: Inputs) -> Tensors:
        """Ask the other one."""
        return self.kernel.blank(inputs)

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Turn round x and what the loss sends to h_TBH, and then x's gradient and the tap."""
        d_outputs = _flip(d_outputs[0]), *d_outputs[1:]
        inputs = _turned(inputs, self.states)
        grads = self.kernel.adjoint(needed, tap, _flip(mask), d_outputs, inputs, residuals)
        if tap is not None:
            tap.flip()
        return _flip(grads[0]), *grads[1:]

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Turn x round, and then h_TBH."""
        h_TBH, *ends = self.kernel.replay(_flip(mask), _turned(inputs, self.states))
        return h_TBH.flip(0), *ends


def _flip(tensor: Tensor | None, axis: int = 0) -> Tensor | None:
    return None if tensor is None else tensor.flip(axis)


def _turned(inputs: Inputs, states: int) -> Inputs:
    """Turn round what runs along time: x, and the zoneout of every state."""
    x, *fixed = inputs[:-states]
    return x.flip(0), *fixed, *(_flip(zone, -3) for zone in inputs[-states:])


class _Lifted:
    """Tensors with a mapped axis moved to the members' axis; merged with one that is there."""

    def __init__(
        self,
        size: int,
        x: Tensor,
        x_dim: int | None,
        tensors: Sequence[Tensor | None],
        dims: Sequence[int | None],
        axes: Sequence[int],
    ) -> None:
        self.size, self.nested = size, x.dim() - (x_dim is not None) == 4
        self.tensors = list(map(self._lift, tensors, dims, axes))

    def _lift(self, tensor: Tensor | None, dim: int | None, axis: int) -> Tensor | None:
        if tensor is None:
            return None
        if dim is None:
            tensor = tensor.unsqueeze(axis)
            tensor = tensor.expand(*tensor.shape[:axis], self.size, *tensor.shape[axis + 1 :])
        else:
            tensor = tensor.movedim(dim, axis)
        return tensor.flatten(axis, axis + 1) if self.nested else tensor

    def lower(self, results: Sequence[Tensor], axes: Sequence[int]) -> tuple[Tensors, Any]:
        """Return results with their mapped axis, and where it is."""
        if self.nested:
            results = [
                torch.unflatten(r, a, (self.size, -1)) for r, a in zip(results, axes, strict=True)
            ]
        return tuple(results), tuple(axes)


def timeline(like: Tensor, steps: int, features: int) -> Tensor:
    """Return an empty buffer [steps, (E,) B, features] for states shaped [(E,) B, H] as `like`."""
    return like.new_empty((*like.shape[:-2], steps, like.shape[-2], features)).movedim(-3, 0)


def started(first: Tensor, steps: int) -> Tensor:
    """Return a buffer [steps + 1, (E,) B, H] whose entry 0 is the initial state."""
    states = timeline(first, steps + 1, first.shape[-1])
    states[0] = first
    return states


def arriving(h: Tensor, d_h: Tensor | None, d_h_n: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Return dL/dh_T, and what the loss sends directly to h_0, h_1 .. h_{T-1}."""
    nothing = h.new_zeros(()).expand_as(h[0])
    later = [nothing] * (len(h) - 1) if d_h is None else d_h.unbind(0)
    total = torch.empty_like(h[0], memory_format=torch.contiguous_format).copy_(later[-1])
    if d_h_n is not None:
        total += d_h_n
    return total, [nothing, *later[:-1]]


def rows(values: Tensor) -> Tensor:
    """See values [T, (E,) B, F] as matrices of T*B rows, [(E,) T*B, F]."""
    return values.movedim(0, -3).flatten(-3, -2)


def limiter(clip: float, mask: Tensor | None) -> Callable[..., None]:
    """Return the function of (t, *parts) that limits the gradient of a state, given in its parts.

    It works in place and row by row; where the mask is False there is no new state to limit.
    """

    def limit(t: int, *state: Tensor) -> None:
        norm = torch.stack([part.square().sum(-1, keepdim=True) for part in state]).sum(0).sqrt()
        factor = (clip / norm).clamp(max=1.0).nan_to_num(nan=1.0)
        if mask is not None:
            factor = factor.masked_fill(~mask[t].unsqueeze(-1), 1.0)
        for part in state:
            part.mul_(factor)

    return limit if clip else lambda t, *state: None


def together(b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor | None:
    """Return the sum of the two biases, of which either may be missing."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """Return x W' + b, differentiable."""
    return x @ W.mT if b is None else x @ W.mT + b.unsqueeze(-2)


def project(x: Tensor, W: Tensor, b: Tensor | None, out: Tensor) -> Tensor:
    """Write x W' + b for all time steps into `out`, as one product."""
    target = rows(out)
    if b is None:
        torch.matmul(rows(x), W.mT, out=target)
    elif W.dim() == 3:
        torch.baddbmm(b.unsqueeze(-2), rows(x), W.mT, out=target)
    else:
        torch.addmm(b, rows(x), W.mT, out=target)
    return out


def unproject(da: Tensor, W: Tensor) -> Tensor:
    """Return da W for all time steps, as one product."""
    dx = torch.matmul(rows(da), W)
    return torch.unflatten(dx, -2, (da.shape[0], da.shape[-2])).movedim(-3, 0)


def outer(da: Tensor, values: Tensor) -> Tensor:
    """Return the sum over time and batch of da_t' values_t, as one product."""
    return torch.matmul(rows(da).mT, rows(values))


def add_product_for(weight: Tensor) -> Callable[..., Tensor]:
    """Return the function of (addend, left, right, out) that adds a product; members in batches.

    A batched product is fast where its result is contiguous, so loops let it write into a scratch
    tensor and spread the result over time by the operation that follows anyway.
    """
    return torch.baddbmm if weight.dim() == 3 else torch.addmm


def scratch(like: Tensor, features: int) -> Tensor:
    """Return a contiguous [(E,) B, features] to compute in."""
    return like.new_empty((*like.shape[:-1], features))


def chunks_back(gates: Tensor) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of stretches of time from the last to the first."""
    length = max(1, CHUNK_ELEMENTS // max(1, gates[0].numel()))
    for stop in range(gates.shape[0], 0, -length):
        yield max(0, stop - length), stop
