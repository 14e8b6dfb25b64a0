"""The C++ kernels (see native/) as kernels of ours: `fastest` chooses one.

They take float32 and float64 on a CPU, and hidden units in vectors of L numbers, as wide as the
processor has them. What the adjoint needs is one flat residual of E B ⌈H/L⌉ L (states (T+1) + kept T)
numbers. Results are the same for any number of threads.

`THROUGHTIME_KERNELS` names other kernels than the fastest: avx512, avx2, portable; or torch, for
loops of PyTorch's operations, which also serve where there was no compiler.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime._errors import SettingError, TensorError
from throughtime.kernels.recurrence import Inputs, Kernel, Optionals, Tensors, timeline
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


def fastest(plain: Kernel, x: Tensor) -> Kernel:
    """Return the fastest kernel for tensors like x that does what `plain` does."""
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
        outputs = problem.outputs()
        if not keep:
            problem.solve(None, outputs)
            return outputs
        shape = problem.residual_shape
        residual = workspace(math.prod(shape), problem.x).view(shape)
        problem.solve(residual, outputs)
        return *outputs, residual

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
        """Run the loop back."""
        problem = _Problem(self, mask, inputs)
        states = range(1, 1 + self.states)
        gradients = [
            problem.gradient(i) if need or (tap is not None and i in states) else None
            for i, need in enumerate(needed)
        ]
        problem.solve_back(residuals[0].contiguous(), d_outputs, gradients, tap)
        return tuple(g if need else None for g, need in zip(gradients, needed, strict=True))

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Ask the plain one."""
        return self._plain.replay(mask, inputs)

    @property
    def _plain(self) -> Kernel:
        return self.plain.reverse if self.backwards else self.plain


class _Problem:
    """The inputs of one call, checked and laid out, since the C++ reads at bare addresses."""

    def __init__(self, kernel: Compiled, mask: Tensor | None, inputs: Inputs) -> None:
        x, U = inputs[0], inputs[2 + kernel.states]
        T, *E, B, I = x.shape  # noqa: E741
        H, G = U.shape[-1], kernel.form.gates * U.shape[-1]
        self.kernel, self.dtype, self.mask = kernel, x.dtype, mask
        self.members, self.sizes = tuple(E), (T, E[0] if E else 1, B, I, H)
        shapes = (
            *((*E, B, H),) * kernel.states,
            (*E, G, I),
            (*E, G, H),
            (*E, G),
            (*E, G),
        )
        self.x = x if x.stride(-1) == 1 or I == 1 else x.contiguous()
        rest = map(self._checked, _NAMES[kernel.states], inputs[1:], shapes)
        self.inputs = (self.x, *rest)

    def _checked(self, name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
        if tensor is None:
            return None
        if tensor.shape != shape or tensor.dtype != self.dtype:
            raise TensorError(
                f"{name} of shape {list(shape)} and {self.dtype}",
                f"shape {list(tensor.shape)} and {tensor.dtype}",
                "its sizes and its precision follow those of x and U",
            )
        return tensor.contiguous()

    @property
    def residual_shape(self) -> tuple[int, ...]:
        """Return how many numbers the adjoint will need of each member; the first axis is one."""
        (T, _, B, _, H), kernel = self.sizes, self.kernel
        L = kernel.processor.vector_bytes // self.x.element_size()
        padded = -(-H // L) * L
        size = B * padded * ((T + 1) * kernel.states + T * kernel.form.kept)
        return 1, *self.members, size

    def outputs(self) -> Tensors:
        """Return h_TBH, members first in memory or laid out as x is, and the last states; all empty.

        None is a view of another tensor: a user may write into them.
        """
        T, E, B, _, H = self.sizes
        if self.members:
            strides = (B * H, T * B * H, H, 1)
        else:
            batch_first = self.x.stride(0) < self.x.stride(1)
            strides = (H, T * H, 1) if batch_first else (B * H, H, 1)
        h_TBH = self.x.new_empty_strided((T, *self.members, B, H), strides)
        ends = (self.x.new_empty((*self.members, B, H)) for _ in range(self.kernel.states))
        return h_TBH, *ends

    def gradient(self, index: int) -> Tensor:
        """Return a tensor for the gradient of an input, to be written."""
        like = self.inputs[index]
        assert like is not None
        return torch.empty_like(like) if index > 0 else timeline(like[0], len(like), like.shape[-1])

    def solve(self, residual: Tensor | None, outputs: Tensors) -> None:
        """Run the forward loop."""
        h_TBH, *ends = outputs
        _native.forward(
            *self._common(residual),
            h_TBH.data_ptr(),
            *_strides(h_TBH),
            *_addresses(ends, 2),
            *(0,) * 20,  # what the adjoint reads and writes
            0.0,
        )

    def solve_back(
        self,
        residual: Tensor,
        d_outputs: Inputs,
        gradients: Sequence[Tensor | None],
        tap: AdjointTap | None,
    ) -> None:
        """Run the loop back: write the gradients, fill the tap."""
        states = self.kernel.states
        d_h = None if d_outputs[0] is None else _dense(d_outputs[0])
        d_ends = [None if d is None else d.contiguous() for d in d_outputs[1:]]
        dx, *others = gradients
        records = [None] * 4 if tap is None else self._records(tap)
        _native.adjoint(
            *self._common(residual),
            *(0,) * 6,  # the outputs
            _address(d_h),
            *_strides(d_h),
            *_addresses(d_ends, 2),
            _address(dx),
            *_strides(dx),
            *_addresses(others[:states], 2),
            *map(_address, others[states : states + 4]),
            *map(_address, records),
            self.kernel.clip,
        )
        if tap is not None:
            d_states = [None if d is None else d.clone() for d in others[:states]]
            tap.dh_0, tap.dc_0 = d_states[0], d_states[1] if states == 2 else None

    def _records(self, tap: AdjointTap) -> list[Tensor | None]:
        T, _, B, _, H = self.sizes
        each = (T, *self.members, B)
        whole, pair = tap.whole, self.kernel.states == 2
        tap.dh_TBH = self.x.new_empty((*each, H)) if whole else None
        tap.dc_TBH = self.x.new_empty((*each, H)) if whole and pair else None
        tap.dh_norm_TB = self.x.new_empty(each)
        tap.dc_norm_TB = self.x.new_empty(each) if pair else None
        return [tap.dh_TBH, tap.dc_TBH, tap.dh_norm_TB, tap.dc_norm_TB]

    def _common(self, residual: Tensor | None) -> tuple[Any, ...]:
        """Return the first fields of the problem, up to the residual."""
        kernel, (T, E, B, I, H) = self.kernel, self.sizes  # noqa: E741
        states = self.inputs[1 : 1 + kernel.states]
        return (
            kernel.processor.number,
            kernel.form.number,
            PRECISIONS[self.dtype],
            torch.get_num_threads(),
            T,
            E,
            B,
            I,
            H,
            kernel.backwards,
            self.x.data_ptr(),
            *_strides(self.x),
            *_addresses(states, 2),
            *map(_address, self.inputs[1 + kernel.states : 5 + kernel.states]),
            _address(self.mask),
            *_strides(self.mask, 0),
            _address(residual),
        )


_NAMES = {1: ("h_0", "W", "U", "b_ih", "b_hh"), 2: ("h_0", "c_0", "W", "U", "b_ih", "b_hh")}


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _addresses(tensors: Sequence[Tensor | None], count: int) -> tuple[int, ...]:
    """Return as many addresses, none for what is missing at the end."""
    return (*map(_address, tensors), *(0,) * (count - len(tensors)))


def _strides(tensor: Tensor | None, features: int = 1) -> tuple[int, int, int]:
    """Return the strides of time, members and batch; a last axis of features has none."""
    if tensor is None:
        return 0, 0, 0
    strides = tensor.stride()
    if tensor.dim() == 2 + features:
        return strides[0], 0, strides[1]
    return strides[0], strides[1], strides[2]


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()
