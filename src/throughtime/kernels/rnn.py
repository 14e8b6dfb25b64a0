"""The vanilla recurrence, φ = tanh or ReLU.

Forward      a_t = W x_t + U h_{t-1} + b        h_t = φ(a_t)                 b = b_ih + b_hh

Adjoint      da_t = φ'(a_t) * dh_t              φ' = 1 - h_t²  or  [h_t > 0]
             dh_{t-1} = e_{t-1} + U' da_t       e_t: what the loss sends to h_t directly
             dW = Σ da_t x_t'     dU = Σ da_t h_{t-1}'     db = Σ da_t     dx_t = W' da_t

Elman, J. L. (1990), Finding structure in time; the adjoint is Werbos, P. J. (1990),
Backpropagation through time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar, Literal

import torch
from torch import Tensor

from throughtime._checks import one_of
from throughtime.kernels.buffers import (
    add_product_for,
    affine,
    arriving,
    chunks_back,
    limiter,
    outer,
    project,
    rows,
    scratch,
    started,
    timeline,
    together,
    unproject,
)
from throughtime.kernels.compiled import fastest
from throughtime.kernels.kernel import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.recurrence import run
from throughtime.kernels.regularised import (
    Zoneout,
    back_through,
    dropped,
    given,
    keep,
    keeping,
    passing,
    scan_mixed,
)
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
    dropout: Tensor | None = None,
    zoneout: Zoneout | None = None,
    state_grad_clip: float = 0.0,
    tap: AdjointTap | None = None,
) -> tuple[Tensor, Tensor]:
    """Run h_t = φ(W x_t + U h_{t-1} + b_ih + b_hh) over time.

    `x` [T, B, I], `h_0` [B, H], `W` [H, I], `U` [H, H], biases [H] or None; with members `x`
    [T, E, B, I] and a leading axis E on all others. `mask` [T, B] (members: [T, E, B]) is False
    where the state is to be carried unchanged. Returns h_t for all t, [T, B, H], and the last.
    `dropout` [B, H] multiplies h_{t-1} on its way to U; of `zoneout` [T, B, H], or one number, is
    how much of h_{t-1} stays in h_t (see `regularised`). `state_grad_clip` limits the norm of every
    row of dL/dh_t on its way back; 0 does not. `tap` is filled with dL/dh_t in backward.
    Raises SettingError for an unknown `phi` or T = 0.

    >>> one = torch.ones(1, 1)
    >>> h_TBH, h_n = rnn(torch.ones(3, 1, 1), torch.zeros(1, 1), one, one, None, None, phi="relu")
    >>> h_TBH.flatten()
    tensor([1., 2., 3.])
    """
    one_of("phi", phi, ["tanh", "relu"])
    kernel = rnn_kernel(W, phi, state_grad_clip)
    extra = given(x, mask, (h_0,), W, dropout, (zoneout,))
    h_TBH, h_n = run(kernel, tap, mask, reverse, x, h_0, W, U, b_ih, b_hh, *extra)
    return h_TBH, h_n


def rnn_kernel(W: Tensor, phi: Phi, clip: float = 0.0) -> Kernel:
    """Return the fastest kernel there is for weights like W."""
    return fastest(RNN(phi, clip), W)


def step(h: Tensor, a_t: Tensor, U: Tensor, phi: Phi = "tanh", d: Tensor | None = None) -> Tensor:
    """Return h_t from h_{t-1} and a_t = W x_t + b; out of place."""
    a = a_t + dropped(h, d) @ U.mT
    return a.tanh() if phi == "tanh" else a.relu()


def forward(
    h: Tensor,
    U: Tensor,
    phi: Phi,
    d: Tensor | None,
    kept: Iterable[Tensor | None],
    proposed: Tensor | None,
) -> None:
    """Run the loop in place: `h` [T+1, B, H] holds h_0 and a_1..a_T, and then h_0..h_T.

    `kept` says what stays of h_{t-1} (see `keeping`); `proposed` [T, B, H], if given, is filled with
    φ(a_t).
    """
    add_product, U_t, a = add_product_for(U), U.mT.contiguous(), scratch(h[0], h.shape[-1])
    before, *after = h.unbind(0)
    proposed_t = repeat(None) if proposed is None else proposed.unbind(0)
    for h_t, kept_t, φ_t in zip(after, kept, proposed_t, strict=False):
        add_product(h_t, dropped(before, d), U_t, out=a)
        if phi == "tanh":
            torch.tanh(a, out=h_t)
        else:
            torch.clamp_min(a, 0.0, out=h_t)
        if φ_t is not None:
            φ_t.copy_(h_t)
        keep(kept_t, h_t, before)
        before = h_t


def adjoint(
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    h: Tensor,
    proposed: Tensor,
    U: Tensor,
    phi: Phi,
    d: Tensor | None,
    passed: Tensor | None,
    limit: Callable[..., None],
    totals: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the loop back; return da [T, B, H] and dh_0 [B, H].

    `h` [T+1, B, H] are the states from h_0, `proposed` [T, B, H] the φ(a_t), `passed` how much of
    dh_t passes a step by; `totals` [T, B, H], if given, is filled with dh_1..dh_T.
    """
    back = back_through(add_product_for(U), U, d)
    dh, e = arriving(h, d_h, d_h_n)
    dh_before = torch.empty_like(dh)
    da = timeline(h[0], len(h) - 1, h.shape[-1])
    da_t = da.unbind(0)
    for start, stop in chunks_back(da):
        φ, slope = proposed[start:stop], da[start:stop]
        if phi == "tanh":
            torch.mul(φ, φ, out=slope).neg_().add_(1.0)
        else:
            torch.gt(φ, 0.0, out=slope)
        if passed is not None:
            slope.mul_(1.0 - passed[start:stop])
        for t in reversed(range(start, stop)):
            limit(t, dh)
            if totals is not None:
                totals[t] = dh
            back(e[t], da_t[t].mul_(dh), dh_before)
            if passed is not None:
                dh_before.addcmul_(dh, passed[t])
            dh, dh_before = dh_before, dh
    return da, dh


@dataclass(frozen=True)
class RNN(Kernel):
    """The vanilla recurrence as a `Kernel`: inputs x, h_0, W, U, b_ih, b_hh, d, ζ; residuals h_0..h_T.

    With ζ the φ(a_t) follow, for which otherwise h_1..h_T serve.
    """

    phi: Phi
    clip: float = 0.0
    states: ClassVar[int] = 1

    @property
    def operator(self) -> str:
        """Return "rnn_tanh" or "rnn_relu"."""
        return f"rnn_{self.phi}"

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, run the loop."""
        x, h_0, W, U, b_ih, b_hh, d, zone = inputs
        h = started(h_0, x.shape[0])
        project(x, W, together(b_ih, b_hh), out=h[1:])
        proposed = None if zone is None else timeline(h_0, x.shape[0], h_0.shape[-1])
        forward(h, U, self.phi, d, keeping(mask, zone), proposed)
        return h[1:].clone(), h[-1].clone(), h, *(() if proposed is None else (proposed,))

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n and the residuals."""
        x, h_0, *_, zone = inputs
        T, H = x.shape[0], h_0.shape[-1]
        h = timeline(h_0, T + 1, H)
        proposed = () if zone is None else (timeline(h_0, T, H),)
        return h[1:].clone(), h[-1].clone(), h, *proposed

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
        x, _, W, U, _, _, d, zone = inputs
        h, proposed = residuals[0], residuals[1] if zone is not None else residuals[0][1:]
        d_h, d_h_n = d_outputs
        totals = None if tap is None else torch.empty_like(h[1:])
        passed, limit = passing(mask, zone, h.dtype), limiter(self.clip, mask)
        da, dh_0 = adjoint(d_h, d_h_n, h, proposed, U, self.phi, d, passed, limit, totals)
        if tap is not None and totals is not None:
            tap.fill(totals, dh_0)
        x_needed, h_0_needed, W_needed, U_needed, *b_needed, _, _ = needed
        return (
            unproject(da, W) if x_needed else None,
            dh_0 if h_0_needed else None,
            outer(da, x) if W_needed else None,
            outer(da, dropped(h[:-1], d)) if U_needed else None,
            *(rows(da).sum(-2) if need else None for need in b_needed),
            None,
            None,
        )

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan `step`."""
        x, h_0, W, U, b_ih, b_hh, d, zone = inputs
        a = affine(x, W, together(b_ih, b_hh))
        return scan_mixed(lambda h, a_t: (step(h, a_t, U, self.phi, d),), (h_0,), a, [zone], mask)
