"""The linear recurrence of first order, elementwise, in parallel over time; and its adjoint.

Forward      h_t = a_t * h_{t-1} + b_t

Adjoint      dh_{t-1} = e_{t-1} + a_t * dh_t       e_t: what the loss sends to h_t directly
             da_t = dh_t * h_{t-1}                 db_t = dh_t

The adjoint is the same recurrence from the last step to the first. Two steps in a row are one of the
same form, which halves the number of steps; the others follow from them:

    h_{t+1} = (a_{t+1} a_t) * h_{t-1} + (a_{t+1} b_t + b_{t+1})

So a scan over T steps is log2 T calls of a few operations, over 2 T numbers in all. It adds and
multiplies alone: where 0 <= a_t <= 1 nothing grows, nothing is divided, and no logarithm is needed.

`LinearRecurrence` is a recurrence whose a_t and b_t come from the input alone. A step that a mask or
zoneout skips, in whole or by ζ_t, is ζ_t + (1 - ζ_t) a_t and (1 - ζ_t) b_t in the place of a_t and b_t.

Blelloch, G. E. (1990), Prefix sums and their applications; Martin, E. and Cundy, C. (2018),
Parallelizing linear recurrent neural nets over sequence length (the adjoint, equation 8).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.kernels.buffers import affine, limiter, outer, project, rows, timeline, unproject
from throughtime.kernels.kernel import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.regularised import passing, scan_mixed
from throughtime.kernels.tap import AdjointTap


def linear_scan(a: Tensor, b: Tensor, h_0: Tensor, *, reverse: bool = False) -> Tensor:
    """Return h_t = a_t * h_{t-1} + b_t for all t, [T, ...], from a, b [T, ...] and h_0 [...].

    `reverse` runs from the last step to the first. Differentiable any number of times; the gradient is
    a scan as well. Raises SettingError for T = 0 and for shapes that differ.

    >>> a, b = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.0, 0.0, 1.0])
    >>> linear_scan(a, b, torch.tensor(8.0))
    tensor([4., 2., 2.])
    """
    if len(a) == 0 or a.shape != b.shape or h_0.shape != a.shape[1:]:
        found = f"{list(a.shape)}, {list(b.shape)} and {list(h_0.shape)}"
        wanted = "a and b of one shape [T, ...] with T >= 1, and h_0 of [...]"
        raise SettingError(wanted, found, "expand what is to serve for all")
    if reverse:
        return linear_scan(a.flip(0), b.flip(0), h_0).flip(0)
    h: Tensor = _scan(a, b, h_0)
    return h


class LinearScan(torch.autograd.Function):
    """(a, b, h_0) to h_1..h_T; its gradient is made of the same function."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, h_0: Tensor) -> Tensor:
        """Scan."""
        return forward(a, b, h_0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the adjoint reads."""
        a, _, h_0 = inputs
        ctx.save_for_backward(a, h_0, output)
        ctx.save_for_forward(a, h_0, output)

    @staticmethod
    def backward(ctx: Any, d_h: Tensor) -> Any:
        """Scan back."""
        a, h_0, h = ctx.saved_tensors
        later = torch.cat([a[1:], torch.zeros_like(a[:1])])  # beyond the last step lies nothing
        dh = linear_scan(later, d_h, torch.zeros_like(h_0), reverse=True)
        return dh * torch.cat([h_0.unsqueeze(0), h[:-1]]), dh, a[0] * dh[0]

    @staticmethod
    def jvp(ctx: Any, d_a: Tensor | None, d_b: Tensor | None, d_h_0: Tensor | None) -> Tensor:
        """Push tangents forward: ḣ_t = a_t * ḣ_{t-1} + ȧ_t * h_{t-1} + ḃ_t."""
        a, h_0, h = ctx.saved_tensors
        moved = torch.zeros_like(h) if d_b is None else d_b
        if d_a is not None:
            moved = moved + d_a * torch.cat([h_0.unsqueeze(0), h[:-1]])
        return linear_scan(a, moved, torch.zeros_like(h_0) if d_h_0 is None else d_h_0)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *tensors: Tensor) -> Any:
        """Move the mapped axis behind time."""

        def lifted(tensor: Tensor, dim: int | None, axis: int) -> Tensor:
            if dim is not None:
                return tensor.movedim(dim, axis)
            sizes = [*tensor.shape[:axis], info.batch_size, *tensor.shape[axis:]]
            return tensor.unsqueeze(axis).expand(sizes)

        return _scan(*map(lifted, tensors, in_dims, (1, 1, 0))), 1


_scan: Callable[..., Any] = LinearScan.apply


def forward(a: Tensor, b: Tensor, h_0: Tensor, out: Tensor | None = None) -> Tensor:
    """Return h_1..h_T, written into `out` if there is one."""
    h = torch.empty_like(b) if out is None else out
    if len(a) == 1:
        torch.addcmul(b[0], a[0], h_0, out=h[0])
        return h
    pairs = len(a) // 2
    first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    both = torch.addcmul(b[second], a[second], b[first])
    h[second] = forward(a[second] * a[first], both, h_0)
    torch.addcmul(b[0], a[0], h_0, out=h[0])
    if len(a) > 2:
        torch.addcmul(b[2::2], a[2::2], h[1:-1:2], out=h[2::2])
    return h


def adjoint(
    a: Tensor,
    h_0: Tensor,
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    limit: Callable[..., None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return dh_1..dh_T and dh_0; `limit` bounds each in place, which only a loop can do."""
    nothing = torch.zeros_like(a) if d_h is None else d_h
    arriving = torch.zeros_like(h_0) if d_h_n is None else d_h_n
    dh = timeline(h_0, len(a), h_0.shape[-1])
    if limit is None:
        later = torch.cat([torch.ones_like(a[:1]), a[1:].flip(0)])
        forward(later, nothing.flip(0), arriving, out=dh)
        dh = dh.flip(0)
        return dh, a[0] * dh[0]
    for t in reversed(range(len(a))):
        torch.add(nothing[t], arriving, out=dh[t])
        limit(t, dh[t])
        arriving = a[t] * dh[t]
    return dh, arriving


@dataclass(frozen=True)
class LinearRecurrence(Kernel):
    """h_t = a_t * h_{t-1} + b_t with a_t, b_t from p_t = W x_t + b; a subclass says how.

    Inputs are x, h_0, W, b, d (always None: there is no U that would read d * h_{t-1}), ζ; residuals
    p_1..p_T and h_1..h_T.
    """

    clip: float = 0.0
    states: ClassVar[int] = 1
    parts: ClassVar[int]  # W has so many blocks of H rows

    @abstractmethod
    def coefficients(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b from p, differentiable."""

    @abstractmethod
    def coefficients_adjoint(self, p: Tensor, da: Tensor, db: Tensor, out: Tensor) -> None:
        """Write dp."""

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, scan."""
        x, h_0, W, b, _, zone = inputs
        T, H = x.shape[0], h_0.shape[-1]
        p = project(x, W, b, out=timeline(h_0, T, self.parts * H))
        a, v = _held(*self.coefficients(p), passing(mask, zone, p.dtype))
        h = forward(a, v, h_0, out=timeline(h_0, T, H))
        return h.clone(), h[-1].clone(), p, h

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n and the residuals."""
        x, h_0, *_ = inputs
        T, H = x.shape[0], h_0.shape[-1]
        h = timeline(h_0, T, H)
        return h.clone(), h[-1].clone(), timeline(h_0, T, self.parts * H), h

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Scan back, then one product per gradient."""
        x, h_0, W, _, _, zone = inputs
        p, h = residuals
        passed = passing(mask, zone, p.dtype)
        a, _ = _held(*self.coefficients(p), passed)
        limit = limiter(self.clip, mask) if self.clip else None
        d_h, d_h_n = d_outputs
        dh, dh_0 = adjoint(a, h_0, d_h, d_h_n, limit)
        if tap is not None:
            tap.fill(dh, dh_0)
        entering = dh if passed is None else dh * (1.0 - passed)
        da = torch.empty_like(entering)
        torch.mul(entering[0], h_0, out=da[0])
        torch.mul(entering[1:], h[:-1], out=da[1:])
        dp = timeline(h_0, len(p), p.shape[-1])
        self.coefficients_adjoint(p, da, entering, dp)
        x_needed, h_0_needed, *weights_needed, _, _ = needed
        dW, db = weight_gradients(dp, x, weights_needed)
        dx = unproject(dp, W) if x_needed else None
        return dx, dh_0 if h_0_needed else None, dW, db, None, None

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan the step."""
        x, h_0, W, b, _, zone = inputs

        def step(h: Tensor, p_t: Tensor) -> tuple[Tensor]:
            a_t, b_t = self.coefficients(p_t)
            return (a_t * h + b_t,)

        return scan_mixed(step, (h_0,), affine(x, W, b), [zone], mask)


def _held(a: Tensor, b: Tensor, passed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Let a share of the state pass each step by."""
    if passed is None:
        return a, b
    return torch.lerp(a, torch.ones_like(a), passed.expand_as(a)), (1.0 - passed) * b


def weight_gradients(dp: Tensor, x: Tensor, needed: Sequence[bool]) -> Optionals:
    """Return dW and db of p = W x + b, where they are needed."""
    W_needed, b_needed = needed
    # x' dp and not dp' x, whose few columns make PyTorch's product ten times slower
    dW = outer(x, dp).mT.contiguous() if W_needed else None
    return dW, rows(dp).sum(-2) if b_needed else None
