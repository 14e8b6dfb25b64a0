"""The scans of C++ (see native/linear_scan.h) as kernels of ours.

    p_t = W x_t + b      one product of PyTorch's for many steps
    h_t                  from p_t and h_{t-1}, in one pass that makes gates and states
    dp_t                 from dh_t, p_t and h_{t-1}, in one pass back, p made again
    dW, db, dx           from dp, one product each for many steps

All of it is bound by memory, so it goes along time in chunks whose p and dp stay in the cache; a
product that is done twice costs less than numbers that are written, and read again much later. The
only residual is h, once more, for the user may change what is returned. Clipping of state gradients
is left to the plain kernel. The passes give the same numbers at any number of threads; PyTorch's
products need not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.kernels.buffers import outer, project, rows, timeline, unproject
from throughtime.kernels.compiled import Compiled, dense, fastest, run_adjoint, run_forward
from throughtime.kernels.kernel import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.linear_scan import LinearRecurrence
from throughtime.kernels.tap import AdjointTap
from throughtime.kernels.workspace import workspace

CHUNK_ELEMENTS = 2**17  # of p: half a megabyte, or one
_NONE = (None,) * 5


def fastest_scan(plain: LinearRecurrence, W: Tensor) -> Kernel:
    """Return the fastest kernel for weights like W that does what `plain` does."""
    return plain if plain.clip else fastest(plain, W, CompiledScan)


class CompiledScan(Compiled):
    """A `LinearRecurrence` in C++; `plain` is the same one in PyTorch's operations."""

    packs: ClassVar[bool] = False

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs and run the pass, chunk by chunk; without `keep`, no adjoint."""
        x, h_0, W, b, _, _ = inputs
        h, h_n = self._outputs(x, h_0)
        kept = _timeline(x, h_0, h_0.shape[-1]) if keep else None
        before, (_, zone, _) = h_0.contiguous(), self._around(inputs)
        for steps in self._chunks(x, W):
            p = _projected(x[steps], h_0, W, b)
            given = p, before, *_NONE, _part(mask, steps), None, _part(zone, steps), None
            run_forward(*self._numbers(), *given, _part(kept, steps), h[steps], h_n, None)
            before = h_n
        return (h, h_n) if kept is None else (h, h_n, kept)

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n and the residual."""
        x, h_0, *_ = inputs
        h, h_n = self._outputs(x, h_0)
        return h, h_n, torch.empty_like(h)

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Run the pass back and add up one product per gradient, chunk by chunk."""
        x, h_0, W, b, _, _ = inputs
        [kept], d_h, (_, zone, _) = residuals, d_outputs[0], self._around(inputs)
        d_h, turned = None if d_h is None else dense(d_h), _is_turned(x)
        later = None if d_outputs[1] is None else d_outputs[1].contiguous()
        dh_0, first = h_0.new_empty(h_0.shape), h_0.contiguous()
        dh = None if tap is None else h_0.new_empty((*x.shape[:-1], h_0.shape[-1]))
        x_needed, h_0_needed, W_needed, b_needed, _, _ = needed
        dx = timeline(x[0], x.shape[0], x.shape[-1]) if x_needed else None
        dW, db = _sum_of(W.mT if W_needed else None), _sum_of(b if b_needed else None)
        for steps in reversed(list(self._chunks(x, W))):
            x_c, before = x[steps], self._before(steps, kept)
            p = _projected(x_c, h_0, W, b)
            dp = _timeline(x_c, h_0, p.shape[-1])
            given = p, first if before is None else before, *_NONE, _part(mask, steps)
            around = None, _part(zone, steps), None, kept[steps], _part(d_h, steps), later, None
            records = *_NONE, _part(dh, steps), *_NONE[:3]
            run_adjoint(*self._numbers(), *given, *around, dp, dh_0, *records)
            later, dp_rows, x_rows = dh_0, _by_rows(dp, turned), _by_rows(x_c, turned)
            if dW is not None:  # x' dp is ten times as fast as dp' x, of few columns
                dW += outer(x_rows, dp_rows)
            if db is not None:
                db += rows(dp_rows).sum(-2)
            if dx is not None:
                _by_rows(dx[steps], turned).copy_(unproject(dp_rows, W))
        if tap is not None and dh is not None:
            tap.fill(dh, dh_0)
        dW = None if dW is None else dW.mT.contiguous()
        return dx, dh_0 if h_0_needed else None, dW, db, None, None

    def _chunks(self, x: Tensor, W: Tensor) -> Iterator[slice]:
        """Yield stretches of time in the order in which the recurrence runs."""
        T, each = x.shape[0], math.prod(x.shape[1:-1]) * W.shape[-2]
        length = max(1, CHUNK_ELEMENTS // max(1, each))
        starts = range(0, T, length)
        for start in reversed(starts) if self.backwards else starts:
            yield slice(start, min(T, start + length))

    def _before(self, steps: slice, kept: Tensor) -> Tensor | None:
        """Return the state before a stretch; None where it is the initial one."""
        t = steps.stop if self.backwards else steps.start - 1
        return kept[t].contiguous() if 0 <= t < len(kept) else None


def _projected(x: Tensor, like: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """Return p [T, (E,) B, GH], which lies in memory as x does."""
    p = _timeline(x, like, W.shape[-2])
    turned = _is_turned(x)
    project(_by_rows(x, turned), W, b, out=_by_rows(p, turned))
    return p


def _is_turned(x: Tensor) -> bool:
    """Say whether the steps of a row of [T, B, F] are neighbours in memory, as with batch_first."""
    return x.dim() == 3 and x.stride(0) < x.stride(1)


def _by_rows(values: Tensor, turned: bool) -> Tensor:
    """See [T, B, F] as [B, T, F] where it is turned, so that its rows are one matrix."""
    return values.transpose(0, 1) if turned else values


def _timeline(x: Tensor, like: Tensor, features: int) -> Tensor:
    """Return an empty [T, (E,) B, features] that lies in memory as x does, or members first."""
    T, *members, B = x.shape[:-1]
    numbers = workspace(math.prod(x.shape[:-1]) * features, like)
    if _is_turned(x):
        return numbers.view(B, T, features).transpose(0, 1)
    return numbers.view(*members, T, B, features).movedim(-3, 0)


def _part(values: Tensor | None, steps: slice) -> Tensor | None:
    return None if values is None else values[steps]


def _sum_of(like: Tensor | None) -> Tensor | None:
    return None if like is None else like.new_zeros(like.shape)
