"""The C++ kernels (see native/) as kernels of ours: `fastest` chooses one.

They take float32 and float64 on a CPU, and hidden units in vectors of L numbers, as wide as the
processor has them. What the adjoint needs is one flat residual of E B ⌈H/L⌉ L (states (T+1) + kept T)
numbers; with zoneout, one more is kept of each unit and step. Results are the same for any number of threads.

`THROUGHTIME_KERNELS` names other kernels than the fastest: avx512, avx2, portable; or torch, for
loops of PyTorch's operations, which also serve where there was no compiler.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from throughtime._errors import SettingError, TensorError
from throughtime.kernels.buffers import timeline
from throughtime.kernels.kernel import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.tap import AdjointTap
from throughtime.kernels.workspace import workspace


def _parallel_for() -> int:
    """Return the address of torch_parallel_for, by which we run on PyTorch's threads; 0: none."""
    name = {"darwin": "libtorch_cpu.dylib", "win32": "torch_cpu.dll"}.get(
        sys.platform, "libtorch_cpu.so"
    )
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
        return ctypes.cast(library.torch_parallel_for, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):  # before torch 2.10
        return 0


try:
    from throughtime.kernels import _native
except ImportError:  # there was no compiler when we were installed
    _native = None  # type: ignore[assignment]
else:
    _exchange = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    _native.set_up(TensorError, _exchange, _parallel_for())


PRECISIONS = torch.float32, torch.float64


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


_processor = _named(os.environ.get("THROUGHTIME_KERNELS") or None)
_missing_said = _native is not None or os.environ.get("THROUGHTIME_KERNELS") == "torch"


def processor() -> Processor | None:
    """Return the kind of kernels in use; None for those of PyTorch's operations."""
    return _processor


def fastest(plain: Kernel, W: Tensor, made: type[Compiled] | None = None) -> Kernel:
    """Return the fastest kernel for weights like W that does what `plain` does.

    In C++ that is a `Compiled`, or what is `made` in its place.
    """
    if torch.compiler.is_dynamo_compiling():
        return plain  # its operator stands in the graph, and chooses when it runs
    if _processor is None:
        if not _missing_said:
            _say_what_is_missing()
        return plain
    if W.dtype not in PRECISIONS or W.device.type != "cpu":
        return plain
    return _compiled(made or Compiled, plain, _processor, False)


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
    """What the C++ calls a recurrence: its number; its states; what it keeps of a unit and step."""

    number: int
    states: int
    kept: int


FORMS = {
    "rnn_tanh": Form(0, 1, 0),
    "rnn_relu": Form(1, 1, 0),
    "lstm": Form(2, 2, 4),
    "gru_after": Form(3, 1, 4),
    "gru_before": Form(4, 1, 3),
    "min_gru": Form(5, 1, 0),
    "min_gru_positive": Form(6, 1, 0),
    "min_lstm": Form(7, 1, 0),
    "min_lstm_positive": Form(8, 1, 0),
}


def residual_size(
    processor: Processor, form: Form, x: Tensor, T: int, B: int, H: int, zoned: bool = False
) -> int:
    """Return how many numbers the adjoint will need of one member."""
    L = processor.vector_bytes // x.element_size()
    return B * (-(-H // L) * L) * ((T + 1) * form.states + T * (form.kept + zoned))


@lru_cache(maxsize=64)
def _compiled(made: type[Compiled], plain: Kernel, processor: Processor, backwards: bool) -> Kernel:
    return made(plain, processor, FORMS[plain.operator], backwards)


run_forward: Any = getattr(_native, "forward", None)
run_adjoint: Any = getattr(_native, "adjoint", None)


@dataclass(frozen=True)
class Compiled(Kernel):
    """A recurrence in C++; `plain` is the same one in PyTorch's operations."""

    plain: Kernel
    processor: Processor
    form: Form
    backwards: bool  # from the last time step to the first
    packs: ClassVar[bool] = True

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
        return _compiled(type(self), self.plain, self.processor, not self.backwards)

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Run the loop; without `keep` there is no residual, and there can be no adjoint."""
        given = self._laid_out(inputs)
        h_TBH, *ends = outputs = self._outputs(given[0], inputs[2 + self.states], mask)
        residual = None
        if keep:
            shape = self._residual_shape(inputs, mask)
            residual = workspace(math.prod(shape), given[0]).view(shape)
        how = mask, *self._around(inputs), residual
        _native.forward(*self._numbers(), *given, *how, h_TBH, *pair(ends))
        return outputs if residual is None else (*outputs, residual)

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, the last states, and the residual."""
        x = dense(inputs[0])
        return *self._outputs(x, inputs[2 + self.states]), x.new_empty(self._residual_shape(inputs))

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
        states = self.states
        given = self._laid_out(inputs)
        wanted = needed
        if tap is not None:
            wanted = [need or 0 < i <= states for i, need in enumerate(needed)]
        laid_out = given if states == 2 else (*given[:2], *given[3:])
        grads: list[Any] = [
            torch.empty_like(i) if want else None
            for i, want in zip((*laid_out, *_NOTHING), wanted, strict=False)
        ]
        if wanted[0] and given[0].dim() > 2:
            grads[0] = timeline(given[0][0], len(given[0]), given[0].shape[-1])
        d_h, *d_ends = d_outputs
        _native.adjoint(
            *self._numbers(),
            *given,
            mask,
            *self._around(inputs),
            residuals[0].contiguous(),
            None if d_h is None else dense(d_h),
            *pair([None if d is None else d.contiguous() for d in d_ends]),
            grads[0],
            *pair(grads[1 : 1 + states]),
            *grads[1 + states : 5 + states],
            *(_NOTHING if tap is None else self._records(tap, *given[:2])),
        )
        if tap is None:
            return tuple(grads)
        d_states = pair(grads[1 : 1 + states])
        tap.dh_0, tap.dc_0 = (None if d is None else d.clone() for d in d_states)
        return tuple(g if need else None for g, need in zip(grads, needed, strict=True))

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Ask the plain one."""
        plain = self.plain.reverse if self.backwards else self.plain
        return plain.replay(mask, inputs)

    def _numbers(self) -> tuple[Any, ...]:
        threads = torch.get_num_threads()
        return self.processor.number, self.form.number, threads, self.backwards, float(self.clip)

    def _laid_out(self, inputs: Inputs) -> list[Any]:
        """Return x, h_0, c_0, W, U, b_ih, b_hh as the C++ reads them."""
        rest = [None if i is None else i.contiguous() for i in inputs[1 : 5 + self.states]]
        if self.states == 1:
            rest.insert(1, None)
        return [dense(inputs[0]), *rest]

    def _around(self, inputs: Inputs) -> Optionals:
        """Return d, ζ of h and ζ of c as the C++ reads them."""
        d, *zones = inputs[-1 - self.states :]
        seen = [None if zone is None else dense(zone.movedim(-3, 0)) for zone in zones]
        return None if d is None else d.contiguous(), *pair(seen)

    def _outputs(self, x: Tensor, U: Tensor, mask: Tensor | None = None) -> Tensors:
        """Return h_TBH, members first in memory or laid out as x is, and the last states; all empty.

        None is a view of another tensor: a user may write into them.
        """
        T, *members, B = _sizes(x, mask)
        H = U.shape[-1]
        if x.dim() == 2:
            return x.new_empty((len(x), H)), *(x.new_empty((B, H)) for _ in range(self.states))
        if members:
            strides: tuple[int, ...] = B * H, T * B * H, H, 1
        else:
            strides = (H, T * H, 1) if x.stride(0) < x.stride(1) else (B * H, H, 1)
        h_TBH = x.new_empty_strided((T, *members, B, H), strides)
        ends = *members, B, H
        h_n = x.new_empty(ends)
        return (h_TBH, h_n) if self.states == 1 else (h_TBH, h_n, x.new_empty(ends))

    def _residual_shape(self, inputs: Inputs, mask: Tensor | None = None) -> tuple[int, ...]:
        """Return how much the adjoint will need: members second, as vmap wants them."""
        T, *members, B = _sizes(inputs[0], mask)
        H = inputs[2 + self.states].shape[-1]
        zoned = any(zone is not None for zone in inputs[-self.states :])
        return 1, *members, residual_size(self.processor, self.form, inputs[0], T, B, H, zoned)

    def _records(self, tap: AdjointTap, x: Tensor, h: Tensor) -> Optionals:
        """Return the tap's records, made anew."""
        each, H = x.shape[:-1], h.shape[-1]
        pair = self.states == 2
        tap.dh_TBH = x.new_empty((*each, H)) if tap.whole else None
        tap.dc_TBH = x.new_empty((*each, H)) if tap.whole and pair else None
        tap.dh_norm_TB = x.new_empty(each)
        tap.dc_norm_TB = x.new_empty(each) if pair else None
        return tap.dh_TBH, tap.dc_TBH, tap.dh_norm_TB, tap.dc_norm_TB


_NOTHING = (None,) * 4


def _sizes(x: Tensor, mask: Tensor | None) -> Sequence[int]:
    """Return T, (E,) B of x, or of a packed x and its batch sizes."""
    if mask is None or x.dim() > 2:
        return x.shape[:-1]
    return len(mask), int(mask[0])


def dense(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy whose last axis is dense."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def pair(states: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Return what belongs to h and c; c has nothing where there is only h."""
    return states if len(states) == 2 else (states[0], None)
