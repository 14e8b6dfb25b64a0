"""The C++ kernels (see native/) as kernels of ours: `fastest` chooses one.

They take float32 and float64 on a CPU, and hidden units in vectors of L numbers, as wide as the
processor has them. What the adjoint needs is one flat residual of E B ⌈H/L⌉ L (states (T+1) + kept T)
numbers. Results are the same for any number of threads.

`THROUGHTIME_KERNELS` names other kernels than the fastest: avx512, avx2, portable; or torch, for
loops of PyTorch's operations, which also serve where there was no compiler.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime._errors import SettingError, TensorError
from throughtime.kernels.recurrence import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.tap import AdjointTap
from throughtime.kernels.workspace import workspace

try:
    from throughtime.kernels import _native
except ImportError:  # there was no compiler when we were installed
    _native = None  # type: ignore[assignment]

PRECISIONS = {torch.float32: 0, torch.float64: 1}


class Processor(NamedTuple):
    """A kind of processor that there are kernels for, by its number and the bytes of its vectors."""

    number: int
    name: str
    vector_bytes: int


def processors() -> dict[str, Processor]:
    """Return the kinds of kernels that run on this machine, the fastest first."""
    found = [] if _native is None else [Processor(*each) for each in _native.available()]
    return {processor.name: processor for processor in found}


def _named(name: str | None) -> Processor | None:
    known = processors()
    if name is None:
        return next(iter(known.values()), None)
    if name != "torch" and name not in known:
        names = ", ".join([*known, "torch"])
        raise SettingError(f"kernels to be one of {names}", repr(name), "see THROUGHTIME_KERNELS")
    return known.get(name)


@contextmanager
def using(name: str) -> Iterator[None]:
    """Run the kernels of this name within: one of `processors()`, or "torch".

    Raises SettingError for a name that this machine does not know.

    >>> with using("torch"):
    ...     _ = torch.zeros(1)
    """
    global _processor, _missing_said
    before, said = _processor, _missing_said
    _processor, _missing_said = _named(name), True
    try:
        yield
    finally:
        _processor, _missing_said = before, said


_processor = _named(os.environ.get("THROUGHTIME_KERNELS"))
_missing_said = _native is not None or os.environ.get("THROUGHTIME_KERNELS") == "torch"


def processor() -> Processor | None:
    """Return the kind of kernels in use; None for those of PyTorch's operations."""
    return _processor


def fastest(plain: Kernel, x: Tensor) -> Kernel:
    """Return the fastest kernel for tensors like x that does what `plain` does."""
    if torch.compiler.is_dynamo_compiling():
        return plain  # its operator stands in the graph, and chooses when it runs
    if _processor is None:
        if not _missing_said:
            _say_what_is_missing()
        return plain
    if x.dtype not in PRECISIONS or x.device.type != "cpu":
        return plain
    return _compiled(plain, _processor, False)


def _say_what_is_missing() -> None:
    global _missing_said
    _missing_said = True
    warnings.warn(
        "throughtime was installed without its C++ kernels: recurrences run on PyTorch's operations, "
        "several times slower. Install a C++ compiler (Debian: apt install g++), then reinstall: "
        "pip install --force-reinstall --no-deps --no-cache-dir --no-binary throughtime throughtime",
        RuntimeWarning,
        stacklevel=4,
    )


class Form(NamedTuple):
    """What the C++ calls a recurrence: its number; its gates; numbers kept for each hidden unit."""

    number: int
    gates: int
    kept: int


FORMS = {
    "rnn_tanh": Form(0, 1, 0),
    "rnn_relu": Form(1, 1, 0),
    "lstm": Form(2, 4, 4),
    "gru_after": Form(3, 3, 4),
    "gru_before": Form(4, 3, 3),
}


@lru_cache(maxsize=64)
def _compiled(plain: Kernel, processor: Processor, backwards: bool) -> Kernel:
    return Compiled(plain, processor, FORMS[plain.operator], backwards)


run_forward: Callable[..., None] = getattr(_native, "forward", None)  # type: ignore[assignment]
addresses: Callable[..., list[int] | None] = getattr(_native, "addresses", None)  # type: ignore[assignment]


@dataclass(frozen=True)
class Compiled(Kernel):
    """A recurrence in C++; `plain` is the same one in PyTorch's operations."""

    plain: Kernel
    processor: Processor
    form: Form
    backwards: bool  # from the last time step to the first

    @property
    def states(self) -> int:
        """Return the number of states."""
        return self.plain.states

    @property
    def operator(self) -> str:
        """Return the operator's name."""
        return self.plain.operator

    @property
    def clip(self) -> float:
        """Return the limit of the gradient of a state."""
        return self.plain.clip

    @property
    def reverse(self) -> Kernel:
        """Return the kernel that runs from the last time step to the first."""
        return _compiled(self.plain, self.processor, not self.backwards)

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Run the loop; without `keep` there is no residual, and there can be no adjoint."""
        problem = _Problem(self, mask, inputs)
        problem.check(inputs)
        outputs = problem.outputs()
        residual = workspace(problem.residual_size, problem.x) if keep else None
        h_TBH, *ends = outputs
        _native.forward(
            *problem.fields(residual),
            h_TBH.data_ptr(),
            *_strides(h_TBH),
            *_pair(ends),
            *NO_ADJOINT,
        )
        return outputs if residual is None else (*outputs, residual.view(problem.residual_shape))

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, the last states, and the residual."""
        problem = _Problem(self, None, inputs)
        return *problem.outputs(), problem.x.new_empty(problem.residual_shape)

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Run the loop back: write the gradients, fill the tap."""
        problem, states = _Problem(self, mask, inputs), self.states
        d_h = d_outputs[0]
        if d_h is not None and d_h.stride(-1) != 1:
            d_h = d_h.contiguous()
        d_ends = [d if d is None else d.contiguous() for d in d_outputs[1:]]
        dx, *others = [
            torch.empty_like(problem.inputs[i], memory_format=torch.contiguous_format)
            if need
            else None
            for i, need in enumerate(needed)
        ]
        if tap is not None:
            others[:states] = [torch.empty_like(h) for h in problem.inputs[1 : 1 + states]]
        _native.adjoint(
            *problem.fields(residuals[0].contiguous()),
            *_NO_OUTPUTS,
            _address(d_h),
            *_strides(d_h),
            *_pair(d_ends),
            _address(dx),
            *_strides(dx),
            *_pair(others[:states]),
            *map(_address, others[states : states + 4]),
            *((0, 0, 0, 0) if tap is None else problem.records(tap)),
            float(self.clip),
        )
        if tap is not None:
            d_states = [d if d is None else d.clone() for d in others[:states]]
            tap.dh_0, tap.dc_0 = d_states[0], d_states[1] if states == 2 else None
        return dx, *(d if need else None for d, need in zip(others, needed[1:], strict=True))

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Ask the plain one."""
        return self._plain.replay(mask, inputs)

    @property
    def _plain(self) -> Kernel:
        return self.plain.reverse if self.backwards else self.plain


class _Problem:
    """The inputs of one call, laid out as the C++ reads them: at addresses and strides."""

    def __init__(self, kernel: Compiled, mask: Tensor | None, inputs: Inputs) -> None:
        x, U = inputs[0], inputs[2 + kernel.states]
        T, *members, B, I = x.shape  # noqa: E741
        E = members[0] if members else 1
        self.kernel, self.mask, self.members = kernel, mask, members
        self.sizes = T, E, B, I, U.shape[-1]
        self.x = x if x.stride(-1) == 1 or I == 1 else x.contiguous()
        self.inputs = self.x, *(i if i is None else i.contiguous() for i in inputs[1:7])

    def check(self, inputs: Inputs) -> None:
        """Raise TensorError unless everything has the sizes and the precision it should have."""
        kernel, dtype, members = self.kernel, self.x.dtype, self.members
        (_, _, B, I, H), gates = self.sizes, kernel.form.gates  # noqa: E741
        weights = (*members, gates * H, I), (*members, gates * H, H), *((*members, gates * H),) * 2
        shapes = *((*members, B, H),) * kernel.states, *weights
        for index, (tensor, shape) in enumerate(zip(inputs[1:7], shapes, strict=False)):
            if tensor is not None and (tensor.shape != shape or tensor.dtype is not dtype):
                raise TensorError(
                    f"{_NAMES[kernel.states][index]} of shape {list(shape)} and {dtype}",
                    f"shape {list(tensor.shape)} and {tensor.dtype}",
                    "its sizes and its precision follow those of x and U",
                )

    @property
    def residual_size(self) -> int:
        """Return how many numbers the adjoint will need."""
        (T, E, B, _, H), kernel = self.sizes, self.kernel
        L = kernel.processor.vector_bytes // self.x.element_size()
        return E * B * (-(-H // L) * L) * ((T + 1) * kernel.states + T * kernel.form.kept)

    @property
    def residual_shape(self) -> tuple[int, ...]:
        """Return the residual's shape: members second, as vmap wants them."""
        return 1, *self.members, self.residual_size // self.sizes[1]

    def outputs(self) -> Tensors:
        """Return h_TBH, members first in memory or laid out as x is, and the last states; all empty.

        None is a view of another tensor: a user may write into them.
        """
        T, _, B, _, H = self.sizes
        x, ends = self.x, (*self.members, B, H)
        if self.members:
            strides = (B * H, T * B * H, H, 1)
            h_TBH = x.new_empty_strided((T, *ends), strides)
        elif x.stride(0) < x.stride(1):
            h_TBH = x.new_empty_strided((T, B, H), (H, T * H, 1))
        else:
            h_TBH = x.new_empty((T, B, H))
        return h_TBH, *(x.new_empty(ends) for _ in range(self.kernel.states))

    def records(self, tap: AdjointTap) -> list[int]:
        """Return the addresses of the tap's records, made anew."""
        T, _, B, _, H = self.sizes
        new, each, both = self.x.new_empty, (T, *self.members, B), self.kernel.states == 2
        tap.dh_TBH = new((*each, H)) if tap.whole else None
        tap.dc_TBH = new((*each, H)) if tap.whole and both else None
        tap.dh_norm_TB = new(each)
        tap.dc_norm_TB = new(each) if both else None
        return [*map(_address, (tap.dh_TBH, tap.dc_TBH, tap.dh_norm_TB, tap.dc_norm_TB))]

    def fields(self, residual: Tensor | None) -> tuple[Any, ...]:
        """Return the first fields of the problem, up to the residual."""
        kernel, (x, *rest) = self.kernel, self.inputs
        return (
            kernel.processor.number,
            kernel.form.number,
            PRECISIONS[x.dtype],
            torch.get_num_threads(),
            *self.sizes,
            kernel.backwards,
            x.data_ptr(),
            *_strides(x),
            *_pair(rest[: kernel.states]),
            *map(_address, rest[kernel.states :]),
            _address(self.mask),
            *((0, 0, 0) if self.mask is None else _strides(self.mask, self.mask.dim())),
            _address(residual),
        )


_NAMES = {1: ("h_0", "W", "U", "b_ih", "b_hh"), 2: ("h_0", "c_0", "W", "U", "b_ih", "b_hh")}
_NO_OUTPUTS, NO_ADJOINT = (0,) * 6, (*(0,) * 20, 0.0)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _pair(states: Sequence[Tensor | None]) -> tuple[int, int]:
    """Return the addresses of h and c, if there is one."""
    return _address(states[0]), _address(states[1]) if len(states) == 2 else 0


def _strides(tensor: Tensor | None, axes: int = 0) -> tuple[int, int, int]:
    """Return the strides of time, members and batch of [T, (E,) B, features], or of the first axes."""
    if tensor is None:
        return 0, 0, 0
    strides = tensor.stride()[: axes or -1]
    return strides if len(strides) == 3 else (strides[0], 0, strides[1])
