"""The vanilla recurrence, φ = tanh or ReLU.

Forward      a_t = W x_t + U h_{t-1} + b        h_t = φ(a_t)                 b = b_ih + b_hh

Adjoint      da_t = φ'(a_t) * dh_t              φ' = 1 - h_t²  or  [h_t > 0]
             dh_{t-1} = e_{t-1} + U' da_t       e_t: what the loss sends to h_t directly
             dW = Σ da_t x_t'     dU = Σ da_t h_{t-1}'     db = Σ da_t     dx_t = W' da_t

Elman, J. L. (1990), Finding structure in time; the adjoint is Werbos, P. J. (1990),
Backpropagation through time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar, Literal

import torch
from torch import Tensor

from throughtime._checks import one_of
from throughtime.kernels.compiled import fastest
from throughtime.kernels.recurrence import (
    Inputs,
    Kernel,
    Optionals,
    Tensors,
    add_product_for,
    affine,
    arriving,
    chunks_back,
    limit,
    outer,
    project,
    rows,
    run,
    scratch,
    started,
    timeline,
    together,
    unproject,
)
from throughtime.kernels.scan import scan
from throughtime.kernels.tap import AdjointTap

Phi = Literal["tanh", "relu"]


def rnn(
    x: Tensor,
    h_0: Tensor,
    W: Tensor,
    U: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    phi: Phi = "tanh",
    mask: Tensor | None = None,
    reverse: bool = False,
    state_grad_clip: float = 0.0,
    tap: AdjointTap | None = None,
) -> tuple[Tensor, Tensor]:
    """Run h_t = φ(W x_t + U h_{t-1} + b_ih + b_hh) over time.

    `x` [T, B, I], `h_0` [B, H], `W` [H, I], `U` [H, H], biases [H] or None; with members `x`
    [T, E, B, I] and a leading axis E on all others. `mask` [T, B] (members: [T, E, B]) is False
    where the state is to be carried unchanged. Returns h_t for all t, [T, B, H], and the last.
    `tap` is filled with dL/dh_t in backward. Raises SettingError for an unknown `phi` or T = 0.

    >>> one = torch.ones(1, 1)
    >>> h_TBH, h_n = rnn(torch.ones(3, 1, 1), torch.zeros(1, 1), one, one, None, None, phi="relu")
    >>> h_TBH.flatten()
    tensor([1., 2., 3.])
    """
    one_of("phi", phi, ["tanh", "relu"])
    kernel = rnn_kernel(W, phi, state_grad_clip)
    h_TBH, h_n = run(kernel, tap, mask, reverse, x, h_0, W, U, b_ih, b_hh)
    return h_TBH, h_n


def rnn_kernel(W: Tensor, phi: Phi, clip: float = 0.0) -> Kernel:
    """Return the fastest kernel there is for weights like W."""
    return fastest(RNN(phi, clip), W)


def step(h: Tensor, a_t: Tensor, U: Tensor, phi: Phi = "tanh") -> Tensor:
    """Return h_t from h_{t-1} and a_t = W x_t + b; out of place."""
    a = a_t + h @ U.mT
    return a.tanh() if phi == "tanh" else a.relu()


def forward(h: Tensor, U: Tensor, phi: Phi, mask: Tensor | None) -> None:
    """Run the loop in place: `h` [T+1, B, H] holds h_0 and a_1..a_T, and then h_0..h_T."""
    add_product, U_t, a = add_product_for(U), U.mT.contiguous(), scratch(h[0], h.shape[-1])
    keep = repeat(None) if mask is None else mask.unsqueeze(-1).unbind(0)
    before, *after = h.unbind(0)
    for h_t, real in zip(after, keep, strict=False):
        add_product(h_t, before, U_t, out=a)
        if phi == "tanh":
            torch.tanh(a, out=h_t)
        else:
            torch.clamp_min(a, 0.0, out=h_t)
        if real is not None:
            torch.where(real, h_t, before, out=h_t)
        before = h_t


def adjoint(
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    h: Tensor,
    U: Tensor,
    phi: Phi,
    mask: Tensor | None,
    clip: float,
    totals: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the loop back; return da [T, B, H] and dh_0 [B, H].

    `h` [T+1, B, H] are the states from h_0; `totals` [T, B, H], if given, is filled with dh_1..dh_T.
    """
    add_product = add_product_for(U)
    dh, e = arriving(h, d_h, d_h_n)
    dh_before = torch.empty_like(dh)
    da = timeline(h[0], len(h) - 1, h.shape[-1])
    da_t = da.unbind(0)
    for start, stop in chunks_back(da):
        h_now, slope = h[start + 1 : stop + 1], da[start:stop]
        if phi == "tanh":
            torch.mul(h_now, h_now, out=slope).neg_().add_(1.0)
        else:
            torch.gt(h_now, 0.0, out=slope)
        passed = None
        if mask is not None:
            skipped = ~mask[start:stop].unsqueeze(-1)
            slope.masked_fill_(skipped, 0.0)
            passed = skipped.to(h.dtype)
        for t in reversed(range(start, stop)):
            limit(clip, dh)
            if totals is not None:
                totals[t] = dh
            add_product(e[t], da_t[t].mul_(dh), U, out=dh_before)
            if passed is not None:
                dh_before.addcmul_(dh, passed[t - start])
            dh, dh_before = dh_before, dh
    return da, dh


@dataclass(frozen=True)
class RNN(Kernel):
    """The vanilla recurrence as a `Kernel`: inputs x, h_0, W, U, b_ih, b_hh; residual h_0..h_T."""

    phi: Phi
    clip: float = 0.0
    states: ClassVar[int] = 1

    @property
    def operator(self) -> str:
        """Return "rnn_tanh" or "rnn_relu"."""
        return f"rnn_{self.phi}"

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, run the loop."""
        x, h_0, W, U, b_ih, b_hh = inputs
        h = started(h_0, x.shape[0])
        project(x, W, together(b_ih, b_hh), out=h[1:])
        forward(h, U, self.phi, mask)
        return h[1:].clone(), h[-1].clone(), h

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n and h_0..h_T."""
        x, h_0, *_ = inputs
        h = timeline(h_0, x.shape[0] + 1, h_0.shape[-1])
        return h[1:].clone(), h[-1].clone(), h

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Run the loop back, then one product per gradient."""
        x, _, W, U, _, _ = inputs
        (h,) = residuals
        d_h, d_h_n = d_outputs
        totals = None if tap is None else torch.empty_like(h[1:])
        da, dh_0 = adjoint(d_h, d_h_n, h, U, self.phi, mask, self.clip, totals)
        if tap is not None and totals is not None:
            tap.fill(totals, dh_0)
        x_needed, h_0_needed, W_needed, U_needed, *b_needed = needed
        return (
            unproject(da, W) if x_needed else None,
            dh_0 if h_0_needed else None,
            outer(da, x) if W_needed else None,
            outer(da, h[:-1]) if U_needed else None,
            *(rows(da).sum(-2) if need else None for need in b_needed),
        )

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan `step`."""
        x, h_0, W, U, b_ih, b_hh = inputs
        a = affine(x, W, together(b_ih, b_hh))
        (h_TBH,), (h_n,) = scan(lambda h, a_t: (step(h, a_t, U, self.phi),), (h_0,), [a], mask)
        return h_TBH, h_n
