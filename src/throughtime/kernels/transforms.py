"""What the autograd functions need of torch.func: products with Jacobians, and a mapped axis.

pull_back       ȳ' J       by reverse mode over a function
push_forward    J ẋ        the transpose of ȳ -> ȳ' J, by reverse mode twice
*_mapped        the axis of a vmap becomes the members' axis E of the kernels, for one call
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from throughtime.kernels.functorch import INSIDE as _functorch
from throughtime.kernels.kernel import Optionals, Tensors

_vjp: Callable[..., Any] = torch.func.vjp


def pull_back(
    function: Callable[..., Tensors],
    arguments: Sequence[Tensor | None],
    d_results: Sequence[Tensor | None],
) -> Optionals:
    """Return d_results' J, with None for arguments that are None; differentiable."""
    given = [i for i, argument in enumerate(arguments) if argument is not None]
    restricted, primals = _restricted(function, arguments, given)
    results, back = _vjp(restricted, *primals)
    filled = (
        torch.zeros_like(r) if d is None else d for r, d in zip(results, d_results, strict=True)
    )
    grads = dict(zip(given, back(tuple(filled)), strict=True))
    return tuple(grads.get(i) for i in range(len(arguments)))


def push_forward(
    function: Callable[..., Tensors],
    arguments: Sequence[Tensor | None],
    tangents: Sequence[Tensor | None],
) -> Tensors:
    """Return J tangents, as the transpose of u -> u'J; differentiable."""
    moving = [i for i, tangent in enumerate(tangents) if tangent is not None]
    restricted, primals = _restricted(function, arguments, moving)
    results, back = _vjp(restricted, *primals)
    _, forward = _vjp(back, tuple(map(torch.zeros_like, results)))
    d_results: Tensors = forward(tuple(tangents[i] for i in moving))[0]
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


def in_one_vmap() -> bool:
    """Say whether one vmap is at work, and no other transform of torch.func."""
    if _functorch is None:
        return False
    stack = _functorch.get_interpreter_stack()
    return bool(stack and len(stack) == 1 and stack[0].key() == _functorch.TransformType.Vmap)


class lowered:
    """Runs what is within beneath the transform at work, as its interpreter's `lower` would."""

    def __enter__(self) -> None:
        self.layer = _functorch.pop_dynamic_layer_stack()

    def __exit__(self, *_: object) -> None:
        _functorch.push_dynamic_layer_stack(self.layer)


def beneath(function: Callable[..., Any], tensors: Sequence[Tensor | None]) -> Any:
    """Return what `function` makes of tensors [E, ...] beneath the one vmap that is at work.

    Its results, a tensor or a tuple of them, are [E, ...] too. None where a tensor is not mapped, or over
    another axis than the first: that is for others.
    """
    level = _functorch.maybe_current_level()
    pairs = [(t, 0) if t is None else _functorch._unwrap_batched(t, level) for t in tensors]
    if any(dim != 0 for _, dim in pairs):
        return None
    with lowered():
        made = function(*[tensor for tensor, _ in pairs])
    if isinstance(made, Tensor):
        return _functorch._add_batch_dim(made, 0, level)
    return tuple(_functorch._add_batch_dim(each, 0, level) for each in made)


def at_once(
    recur: Callable[..., Tensors], states: int, tensors: Sequence[Tensor | None]
) -> Tensors:
    """Call `recur` beneath the one vmap that is at work, with its axis among the members.

    As `Recurrence.vmap` would, without what torch.func does around it: an ensemble of small nets
    spends more time there than in the kernel.
    """
    level = _functorch.maybe_current_level()
    pairs = [(t, None) if t is None else _functorch._unwrap_batched(t, level) for t in tensors]
    plain, dims = zip(*pairs, strict=True)
    with lowered():
        sizes = [t.shape[dim] for t, dim in pairs if t is not None and dim is not None]
        if not sizes:
            return recur(*plain)
        results, axes = recur_mapped(recur, states, sizes[0], dims, plain)
    return tuple(
        _functorch._add_batch_dim(result, axis, level)
        for result, axis in zip(results, axes, strict=True)
    )


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
        elif dim != axis:
            tensor = tensor.movedim(dim, axis)
        return tensor.flatten(axis, axis + 1) if self.nested else tensor

    def lower(self, results: Sequence[Tensor], axes: Sequence[int]) -> tuple[Tensors, Any]:
        """Return results with their mapped axis, and where it is."""
        if self.nested:
            results = [
                torch.unflatten(r, a, (self.size, -1)) for r, a in zip(results, axes, strict=True)
            ]
        return tuple(results), tuple(axes)
