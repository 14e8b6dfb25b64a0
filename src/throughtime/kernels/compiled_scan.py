"""The scans of C++ (see native/linear_scan.h) as kernels of ours.

    p_t = W x_t + b      for all steps, as one product of PyTorch's
    h_t                  from p_t and h_{t-1}, in one pass that makes gates and states
    dp_t                 from dh_t, p_t and h_{t-1}, in one pass back
    dW, db, dx           from dp, as one product each

What lies between the products is bound by memory: p is written and read once, h written twice, for
the user may change what is returned. p lies in memory as x does, so that nothing is copied on the
way. Clipping of state gradients is left to the plain kernel. The passes give the same numbers at any
number of threads; PyTorch's products need not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from throughtime.kernels.compiled import Compiled, fastest, run_adjoint, run_forward
from throughtime.kernels.linear_scan import LinearRecurrence, weight_gradients
from throughtime.kernels.recurrence import (
    Inputs,
    Kernel,
    Optionals,
    Tensors,
    project,
    timeline,
    unproject,
)
from throughtime.kernels.tap import AdjointTap


def fastest_scan(plain: LinearRecurrence, W: Tensor) -> Kernel:
    """Return the fastest kernel for weights like W that does what `plain` does."""
    return plain if plain.clip else fastest(plain, W, CompiledScan)


class CompiledScan(Compiled):
    """A `LinearRecurrence` in C++; `plain` is the same one in PyTorch's operations."""

    packs: ClassVar[bool] = False

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, run the pass; without `keep` there can be no adjoint."""
        x, h_0, W, b, _, zone = inputs
        turned = _by_rows(x)
        p, h, kept, h_n = self._buffers(x, h_0, W, keep)
        project(_turn(x, turned), W, b, out=_turn(p, turned))
        given = p, h_0.contiguous(), *_NONE[:5], mask, None, _dense(zone), None
        run_forward(*self._numbers(), *given, kept, h, h_n, None)
        return (h, h_n) if kept is None else (h, h_n, p, kept)

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n and the residuals."""
        p, h, kept, h_n = self._buffers(*inputs[:3], True)
        return h, h_n, p, kept

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Run the pass back, then one product per gradient."""
        x, h_0, W, _, _, zone = inputs
        p, kept = residuals
        turned = _by_rows(x)
        d_h, d_h_n = d_outputs
        d_h = d_h if d_h is None or d_h.stride(-1) == 1 else d_h.contiguous()
        dp, dh_0 = _timeline(x, h_0, p.shape[-1]), h_0.new_empty(h_0.shape)
        dh = None if tap is None else h_0.new_empty((*x.shape[:-1], h_0.shape[-1]))
        given = p, h_0.contiguous(), *_NONE[:5], mask, None, _dense(zone), None, kept
        back = d_h, None if d_h_n is None else d_h_n.contiguous(), None
        run_adjoint(*self._numbers(), *given, *back, dp, dh_0, *_NONE[:5], dh, *_NONE[:3])
        if tap is not None and dh is not None:
            tap.fill(dh, dh_0)
        x_needed, h_0_needed, *weights_needed, _, _ = needed
        dW, db = weight_gradients(_turn(dp, turned), _turn(x, turned), weights_needed)
        dx = _turn(unproject(_turn(dp, turned), W), turned) if x_needed else None
        return dx, dh_0 if h_0_needed else None, dW, db, None, None

    def _buffers(self, x: Tensor, h_0: Tensor, W: Tensor, keep: bool) -> tuple[Any, ...]:
        """Return p, h, h once more if it is to be kept, and h_n; all empty."""
        H = h_0.shape[-1]
        p, h = _timeline(x, h_0, W.shape[-2]), _timeline(x, h_0, H)
        return p, h, _timeline(x, h_0, H) if keep else None, h_0.new_empty(h_0.shape)


_NONE = (None,) * 5


def _by_rows(x: Tensor) -> bool:
    """Say whether the steps of a row are neighbours in memory, rather than the rows of a step."""
    return x.dim() == 3 and x.stride(0) < x.stride(1)


def _turn(values: Tensor, turned: bool) -> Tensor:
    """See [T, B, F] as [B, T, F], or the other way round, where the products are to run so."""
    return values.transpose(0, 1) if turned else values


def _timeline(x: Tensor, like: Tensor, features: int) -> Tensor:
    """Return an empty [T, (E,) B, features] that lies in memory as x does."""
    T, B = x.shape[0], x.shape[-2]
    if _by_rows(x):
        return like.new_empty((B, T, features)).transpose(0, 1)
    return timeline(like, T, features)


def _dense(zone: Tensor | None) -> Tensor | None:
    """See the zoneout with time first, its last axis dense."""
    if zone is None:
        return None
    zone = zone.movedim(-3, 0)
    return zone if zone.stride(-1) == 1 or zone.shape[-1] == 1 else zone.contiguous()
