"""The recurrences as operators of PyTorch: `torch.ops.throughtime.lstm` and its like.

What records a graph instead of running it (torch.compile, torch.export, make_fx, FakeTensor) sees one
node where an eager call would run a loop. Each recurrence is a pair of operators,

    name          (mask, x, s_0, θ)                          to y, residuals
    name_adjoint  (needed, mask, ȳ, x, s_0, θ, residuals)    to the needed ones of (x̄, s̄_0, θ̄)

y being h_TBH and the last value of each state. They run the kernel that an eager call would choose,
and choose when they run, not when they are recorded. The residuals are the kernel's own affair: how
many, and of which shapes, it says in `Kernel.blank`.

Their derivatives are those of eager calls: `Recurrence` and `Adjoint`, around a kernel that calls the
operators. `torch.library.register_autograd` would not do: it answers forward mode with zeros and
torch.func.grad with an error.

A saved graph holds the operators' names. Whoever loads it imports `throughtime.kernels` first;
otherwise PyTorch says that it does not know them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd.forward_ad import unpack_dual

from throughtime._errors import SettingError
from throughtime.kernels.buffers import timeline
from throughtime.kernels.gru import gru_kernel
from throughtime.kernels.kernel import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.layer_norm_lstm import LayerNormLSTM
from throughtime.kernels.lstm import lstm_kernel
from throughtime.kernels.min_gru import min_gru_kernel
from throughtime.kernels.min_lstm import min_lstm_kernel
from throughtime.kernels.recurrence import Adjoint, Recurrence, in_forward_mode, split
from throughtime.kernels.rnn import rnn_kernel
from throughtime.kernels.tap import AdjointTap
from throughtime.kernels.transforms import adjoin_mapped, recur_mapped


@dataclass(frozen=True)
class Operator(Kernel):
    """A recurrence as calls of its operators, which choose a kernel for x in their turn."""

    name: str
    outputs: Sequence[str]
    inputs: Sequence[str]
    choose: Callable[..., Kernel]
    clip: float = 0.0

    @property
    def operator(self) -> str:
        """Return the name."""
        return self.name

    @property
    def states(self) -> int:
        """Return the number of states; each has one output, beside h_TBH."""
        return len(self.outputs) - 1

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Call the operator."""
        *outputs, residuals = _call_below(self.name, mask, *inputs)
        return *outputs, *residuals

    def blank(self, inputs: Inputs) -> Tensors:
        """Ask the kernel."""
        return self.choose(*inputs).blank(inputs)

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Call the adjoint operator; it knows no tap."""
        given = list(needed), mask, *d_outputs, *inputs, list(residuals)
        grads = iter(_call_below(f"{self.name}_adjoint", *given))
        return tuple(next(grads) if need else None for need in needed)

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Ask the kernel."""
        return self.choose(*inputs).replay(mask, inputs)


def _operator(name: str) -> Any:
    return getattr(torch.ops.throughtime, name)


def _have_tangents(inputs: Sequence[Tensor | None]) -> bool:
    """Say whether inputs move in forward mode, where a Function would lose the second of two levels."""
    if not in_forward_mode():
        return False
    tangents = (unpack_dual(x).tangent for x in inputs if x is not None)  # type: ignore[no-untyped-call]
    return any(tangent is not None for tangent in tangents)


def _no_forward_mode(name: str) -> SettingError:
    return SettingError(
        "forward mode (jvp, jacfwd, hessian) in eager mode",
        f"torch.ops.throughtime.{name} in a graph",
        "leave it out of torch.compile and make_fx",
    )


def _call_below(name: str, *arguments: Any) -> Any:
    """Call an operator beneath the level of autograd that we are in.

    Further levels of torch.func may lie beneath, and those want to differentiate, although a
    Function's forward otherwise does not.
    """
    operator = _operator(name)
    with torch._C._AutoDispatchBelowAutograd():
        if not torch._C._are_functorch_transforms_active():
            return operator(*arguments)
        with torch.enable_grad(), torch.autograd.forward_ad._set_fwd_grad_enabled(True):
            return operator(*arguments)


def _apply(function: type[Recurrence] | type[Adjoint], *arguments: Any) -> Tensors:
    """Apply a function at this level of autograd alone, not once more at all of torch.func's."""
    wanted = torch.is_grad_enabled() and any(
        isinstance(argument, Tensor) and argument.requires_grad for argument in arguments
    )
    if not (wanted or in_forward_mode()):
        return function.forward(*arguments)  # the same, with nothing to remember
    with enable_single_level_autograd_function():
        results: Tensors = super(torch.autograd.Function, function).apply(*arguments)  # type: ignore[misc]
    return results


def _register(kernel: Operator) -> None:
    """Define and implement a recurrence's operator."""
    ends = len(kernel.outputs)

    def packed(results: Any) -> Any:
        return *results[:ends], list(results[ends:])

    def run(mask: Tensor | None, *inputs: Any) -> Any:
        return packed(kernel.choose(*inputs).forward(mask, inputs))

    def fake(mask: Tensor | None, *inputs: Any) -> Any:
        return packed(kernel.blank(inputs))

    def differentiate(mask: Tensor | None, *inputs: Any) -> Any:
        if not _have_tangents(inputs):
            return packed(_apply(Recurrence, kernel, None, mask, *inputs))
        if torch._guards.TracingContext.try_get() is not None:
            raise _no_forward_mode(kernel.name)
        residuals = kernel.forward(mask, inputs)[ends:]
        return packed((*kernel.replay(mask, inputs), *residuals))

    def vmap(info: Any, in_dims: Any, *tensors: Any) -> Any:
        def recur(*lifted: Tensor | None) -> Tensors:
            *outputs, residuals = _operator(kernel.name)(*lifted)
            return *outputs, *residuals

        mapped = recur_mapped(recur, kernel.states, info.batch_size, in_dims, tensors)
        return tuple(map(packed, mapped))

    arguments = ", ".join(["Tensor? mask", *kernel.inputs])
    results = ", ".join([*(f"Tensor {name}" for name in kernel.outputs), "Tensor[] residuals"])
    _define(kernel.name, f"({arguments}) -> ({results})", run, fake, differentiate, vmap)


def _register_adjoint(kernel: Operator) -> None:
    """Define and implement the operator of a recurrence's adjoint."""
    name, count = f"{kernel.name}_adjoint", len(kernel.inputs)

    def run(needed: Any, mask: Tensor | None, *tensors: Any) -> Any:
        *given, residuals = tensors
        d_outputs, inputs, _ = split(given, len(kernel.outputs), count)
        grads = kernel.choose(*inputs).adjoint(
            needed, None, mask, d_outputs, inputs, tuple(residuals)
        )
        return [grad for grad in grads if grad is not None]

    def fake(needed: Any, mask: Tensor | None, *tensors: Any) -> Any:
        x, h_0, *rest = tensors[-1 - count : -1]
        grads = [timeline(h_0, x.shape[0], x.shape[-1]) if needed[0] else None]
        for tensor, need in zip([h_0, *rest], needed[1:], strict=True):
            grads.append(tensor.new_empty(tensor.shape) if need else None)
        return [grad for grad in grads if grad is not None]

    def differentiate(needed: Any, mask: Tensor | None, *tensors: Any) -> Any:
        *given, residuals = tensors
        if torch._C._are_functorch_transforms_active() and _have_tangents(given):
            raise _no_forward_mode(name)
        return list(_apply(Adjoint, kernel, None, needed, count, mask, *given, *residuals))

    def vmap(info: Any, in_dims: Any, needed: Any, *tensors: Any) -> Any:
        *given, residuals = tensors
        *dims, residual_dims = in_dims[1:]

        def adjoin(*lifted: Tensor | None) -> Tensors:
            cut = len(given)
            return tuple(_operator(name)(needed, *lifted[:cut], list(lifted[cut:])))

        mapped = adjoin_mapped(
            adjoin,
            kernel.states,
            needed,
            info.batch_size,
            [*dims, *residual_dims],
            [*given, *residuals],
        )
        return tuple(map(list, mapped))

    d_outputs = (f"Tensor? d_{name}" for name in kernel.outputs)
    tensors = ["Tensor? mask", *d_outputs, *kernel.inputs, "Tensor[] residuals"]
    schema = f"(bool[] needed, {', '.join(tensors)}) -> Tensor[]"
    _define(name, schema, run, fake, differentiate, vmap)


def _define(name: str, schema: str, run: Any, fake: Any, differentiate: Any, vmap: Any) -> None:
    def in_single_precision(*arguments: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return _operator(name)(*map(_at_least_single, arguments))

    _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, run, "CompositeExplicitAutograd")
    _library.impl(name, differentiate, "Autograd")
    _library.impl(name, in_single_precision, "AutocastCPU")
    torch.library.register_fake(f"throughtime::{name}", fake, lib=_library)
    if hasattr(torch.library, "register_vmap"):  # from torch 2.5; before it, graphs are not mapped
        torch.library.register_vmap(f"throughtime::{name}", vmap, lib=_library)


def _at_least_single(argument: Any) -> Any:
    if isinstance(argument, list):
        return list(map(_at_least_single, argument))
    halved = isinstance(argument, Tensor) and argument.dtype in (torch.bfloat16, torch.float16)
    return argument.float() if halved else argument


_library: Any = torch.library.Library("throughtime", "FRAGMENT")  # type: ignore[no-untyped-call]
_H, _HC, _x = ["h_TBH", "h_n"], ["h_TBH", "h_n", "c_n"], ["Tensor x", "Tensor h_0"]
_W, _P = ["Tensor W", "Tensor U", "Tensor? b_ih", "Tensor? b_hh"], ["Tensor? P"]
_L = ["Tensor W", "Tensor? b"]
_N = ["Tensor gamma_x", "Tensor gamma_h", "Tensor gamma_c", "Tensor? beta_c"]
_R, _RR = ["Tensor? d", "Tensor? zone_h"], ["Tensor? d", "Tensor? zone_h", "Tensor? zone_c"]
for _kernel in [
    Operator("rnn_tanh", _H, [*_x, *_W, *_R], lambda *i: rnn_kernel(i[2], "tanh")),
    Operator("rnn_relu", _H, [*_x, *_W, *_R], lambda *i: rnn_kernel(i[2], "relu")),
    Operator("lstm", _HC, [*_x, "Tensor c_0", *_W, *_P, *_RR], lambda *i: lstm_kernel(i[3], i[7])),
    Operator(
        "layer_norm_lstm", _HC, [*_x, "Tensor c_0", *_W, *_N, *_RR], lambda *i: LayerNormLSTM()
    ),
    Operator("gru_after", _H, [*_x, *_W, *_R], lambda *i: gru_kernel(i[2], "after")),
    Operator("gru_before", _H, [*_x, *_W, *_R], lambda *i: gru_kernel(i[2], "before")),
    Operator("min_gru", _H, [*_x, *_L, *_R], lambda *i: min_gru_kernel(i[2])),
    Operator("min_gru_positive", _H, [*_x, *_L, *_R], lambda *i: min_gru_kernel(i[2], "positive")),
    Operator("min_lstm", _H, [*_x, *_L, *_R], lambda *i: min_lstm_kernel(i[2])),
    Operator(
        "min_lstm_positive", _H, [*_x, *_L, *_R], lambda *i: min_lstm_kernel(i[2], "positive")
    ),
]:
    _register(_kernel)
    _register_adjoint(_kernel)
