"""The GRU in both forms; gates in PyTorch's order r z n.

Forward      r, z = σ(W_r x_t + U_r h_{t-1} + b_r), σ(W_z x_t + U_z h_{t-1} + b_z)
    after    n = tanh(W_n x_t + b_in + r * q)        q = U_n h_{t-1} + b_hn     (PyTorch, cuDNN)
    before   n = tanh(W_n x_t + b_in + U_n s + b_hn) s = r * h_{t-1}            (Cho et al. 2014)
             h_t = (1 - z) * n + z * h_{t-1}

Adjoint      da_z = dh_t * (h_{t-1} - n) * z(1 - z)            da_n = dh_t * (1 - z) * (1 - n²)
    after    dq = da_n * r        da_r = da_n * q * r(1 - r)
             dh_{t-1} = e_{t-1} + z * dh_t + U_r' da_r + U_z' da_z + U_n' dq
    before   ds = U_n' da_n       da_r = ds * h_{t-1} * r(1 - r)
             dh_{t-1} = e_{t-1} + z * dh_t + U_r' da_r + U_z' da_z + r * ds
             e_t: what the loss sends to h_t directly
             dW = Σ da_t x_t'     db = Σ da_t     (after: db_hn = Σ dq)
             dU = Σ (da_r, da_z, dq) h_{t-1}';  before: dU_n = Σ da_n s_t'

After: q r z n lie side by side, so that one product serves (q r z), and r z n are the input's. The
coefficients of dh_t do not depend on the loop: computed for many time steps at once.

Cho, K. et al. (2014), Learning phrase representations using RNN encoder-decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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

Reset = Literal["after", "before"]


def gru(
    x: Tensor,
    h_0: Tensor,
    W: Tensor,
    U: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    reset: Reset = "after",
    mask: Tensor | None = None,
    reverse: bool = False,
    dropout: Tensor | None = None,
    zoneout: Zoneout | None = None,
    state_grad_clip: float = 0.0,
    tap: AdjointTap | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the GRU over time; the equations are at the top of this module.

    `x` [T, B, I], `h_0` [B, H], `W` [3H, I], `U` [3H, H], biases [3H] or None; with members `x`
    [T, E, B, I] and a leading axis E on all others. `reset` says whether r acts after the
    recurrent product or before. `mask` [T, B] (members: [T, E, B]) is False where the state is to
    be carried unchanged. `dropout` [B, H] multiplies h_{t-1} on its way to U, not in z * h_{t-1}; of
    `zoneout` [T, B, H], or one number, is how much of h_{t-1} stays in h_t (see `regularised`).
    `state_grad_clip` limits the norm of every row of dL/dh_t on its way back; 0 does not. Returns
    h_t for all t, [T, B, H], and the last. `tap` is filled with dL/dh_t in backward. Raises
    SettingError for an unknown `reset` or T = 0.

    >>> x, h_0 = torch.zeros(3, 1, 1), torch.ones(1, 1)
    >>> h_TBH, h_n = gru(x, h_0, torch.zeros(3, 1), torch.zeros(3, 1), None, None)
    >>> h_TBH.flatten()  # z = σ(0) = 1/2 is kept, n = 0 is added
    tensor([0.5000, 0.2500, 0.1250])
    """
    one_of("reset", reset, ["after", "before"])
    kernel = gru_kernel(W, reset, state_grad_clip)
    extra = given(x, mask, (h_0,), W, dropout, (zoneout,))
    h_TBH, h_n = run(kernel, tap, mask, reverse, x, h_0, W, U, b_ih, b_hh, *extra)
    return h_TBH, h_n


def gru_kernel(W: Tensor, reset: Reset, clip: float = 0.0) -> Kernel:
    """Return the fastest kernel there is for weights like W."""
    return fastest(GRUAfter(clip) if reset == "after" else GRUBefore(clip), W)


def _biases(
    b_ih: Tensor | None, b_hh: Tensor | None, H: int
) -> tuple[Tensor | None, Tensor | None]:
    """Return what adds to W x, and b_hn, which r multiplies."""
    if b_hh is None:
        return b_ih, None
    beside_n = torch.nn.functional.pad(b_hh[..., : 2 * H], (0, H))
    return (beside_n if b_ih is None else b_ih + beside_n), b_hh[..., 2 * H :]


def step(
    h: Tensor,
    a_t: Tensor,
    U: Tensor,
    b_hn: Tensor | None = None,
    reset: Reset = "after",
    d: Tensor | None = None,
) -> Tensor:
    """Return h_t from h_{t-1} and a_t = W x_t + b; out of place.

    For reset "after", b leaves out b_hn, which is given apart.
    """
    H = h.shape[-1]
    a_rz, a_n = a_t[..., : 2 * H], a_t[..., 2 * H :]
    U_rz, U_n, dh = U[..., : 2 * H, :], U[..., 2 * H :, :], dropped(h, d)
    r, z = (a_rz + dh @ U_rz.mT).sigmoid().chunk(2, -1)
    if reset == "before":
        n = (a_n + (r * dh) @ U_n.mT).tanh()
    else:
        q = dh @ U_n.mT if b_hn is None else dh @ U_n.mT + b_hn.unsqueeze(-2)
        n = (a_n + r * q).tanh()
    h_t: Tensor = (1 - z) * n + z * h
    return h_t


def forward_after(
    gates: Tensor, h: Tensor, U: Tensor, d: Tensor | None, kept: Iterable[Tensor | None]
) -> None:
    """Run the loop in place.

    `gates` [T, B, 4H] holds b_hn, a_r, a_z, a_n, and then q, r, z, n; `h` [T+1, B, H] holds the
    initial state in entry 0, and then all. `kept` says what stays of h_{t-1} (see `keeping`).
    """
    H = h.shape[-1]
    add_product, U_t = add_product_for(U), U.roll(H, -2).mT.contiguous()  # rows n r z, as q r z lie
    qrz_t, n_t, h_t = gates[..., : 3 * H].unbind(0), gates[..., 3 * H :].unbind(0), h.unbind(0)
    a = scratch(h[0], 3 * H)
    (q, r, z), rz = a.chunk(3, -1), a[..., H:]
    for t, h_kept in zip(range(len(n_t)), kept, strict=False):
        add_product(qrz_t[t], dropped(h_t[t], d), U_t, out=a)
        rz.sigmoid_()
        qrz_t[t].copy_(a)
        n_t[t].addcmul_(r, q).tanh_()
        torch.lerp(n_t[t], h_t[t], z, out=h_t[t + 1])
        keep(h_kept, h_t[t + 1], h_t[t])


def forward_before(
    gates: Tensor, h: Tensor, U: Tensor, d: Tensor | None, kept: Iterable[Tensor | None]
) -> None:
    """Run the loop in place: `gates` [T, B, 3H] holds a_r, a_z, a_n, and then r, z, n; `h` as above."""
    add_product, U_t, H = add_product_for(U), U.mT.contiguous(), h.shape[-1]
    U_rz, U_n = U_t[..., : 2 * H], U_t[..., 2 * H :]
    rz_t, n_t, h_t = gates[..., : 2 * H].unbind(0), gates[..., 2 * H :].unbind(0), h.unbind(0)
    rz, a_n, s = scratch(h[0], 2 * H), scratch(h[0], H), scratch(h[0], H)
    r, z = rz.chunk(2, -1)
    for t, h_kept in zip(range(len(n_t)), kept, strict=False):
        dh = dropped(h_t[t], d)
        add_product(rz_t[t], dh, U_rz, out=rz)
        rz.sigmoid_()
        rz_t[t].copy_(rz)
        torch.mul(r, dh, out=s)
        torch.tanh(add_product(n_t[t], s, U_n, out=a_n), out=n_t[t])
        torch.lerp(n_t[t], h_t[t], z, out=h_t[t + 1])
        keep(h_kept, h_t[t + 1], h_t[t])


def adjoint_after(
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    gates: Tensor,
    h: Tensor,
    U: Tensor,
    d: Tensor | None,
    passed: Tensor | None,
    limit: Callable[..., None],
    totals: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the loop back; return dq, da_r, da_z, da_n side by side [T, B, 4H], and dh_0.

    `gates` and `h` are those of `forward_after`; `passed` says how much of dh_t passes a step by;
    `totals` [T, B, H], if given, is filled with dh_1..dh_T.
    """
    H = h.shape[-1]
    back = back_through(add_product_for(U), U.roll(H, -2), d)
    dh, e = arriving(h, d_h, d_h_n)
    dh_before = torch.empty_like(dh)
    da = timeline(h[0], len(gates), 4 * H)
    dqrz_t, da_t = da[..., : 3 * H].unbind(0), torch.unflatten(da, -1, (4, H)).unbind(0)
    for start, stop in chunks_back(gates):
        q, r, z, n = gates[start:stop].chunk(4, -1)
        d_q, d_r, d_z, d_n = da[start:stop].chunk(4, -1)
        past = None if passed is None else passed[start:stop]
        carry_t = _common_coefficients(d_z, d_n, z, n, h[start:stop], past).unbind(0)
        torch.mul(d_n, r, out=d_q)
        torch.addcmul(d_q, d_q, r, value=-1, out=d_r).mul_(q)
        for t in reversed(range(start, stop)):
            limit(t, dh)
            if totals is not None:
                totals[t] = dh
            da_t[t].mul_(dh.unsqueeze(-2))
            back(e[t], dqrz_t[t], dh_before).addcmul_(dh, carry_t[t - start])
            dh, dh_before = dh_before, dh
    return da, dh


def adjoint_before(
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    gates: Tensor,
    h: Tensor,
    U: Tensor,
    d: Tensor | None,
    passed: Tensor | None,
    limit: Callable[..., None],
    totals: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the loop back; return da_r, da_z, da_n side by side [T, B, 3H], and dh_0; as above."""
    add_product, H = add_product_for(U), h.shape[-1]
    U_rz, U_n = U[..., : 2 * H, :], U[..., 2 * H :, :]
    back = back_through(add_product, U_rz, d)
    dh, e = arriving(h, d_h, d_h_n)
    dh_before, ds = torch.empty_like(dh), torch.zeros_like(dh)
    da = timeline(h[0], len(gates), 3 * H)
    d_r_t, d_n_t = da[..., :H].unbind(0), da[..., 2 * H :].unbind(0)
    drz_t = da[..., : 2 * H].unbind(0)
    dzn_t = torch.unflatten(da[..., H:], -1, (2, H)).unbind(0)
    for start, stop in chunks_back(gates):
        r, z, n = gates[start:stop].chunk(3, -1)
        d_r, d_z, d_n = da[start:stop].chunk(3, -1)
        past = None if passed is None else passed[start:stop]
        carry_t = _common_coefficients(d_z, d_n, z, n, h[start:stop], past).unbind(0)
        torch.addcmul(r, r, r, value=-1, out=d_r).mul_(dropped(h[start:stop], d))
        dr = dropped(r, d)
        for t in reversed(range(start, stop)):
            limit(t, dh)
            if totals is not None:
                totals[t] = dh
            dzn_t[t].mul_(dh.unsqueeze(-2))
            add_product(ds, d_n_t[t], U_n, beta=0, out=ds)
            d_r_t[t].mul_(ds)
            back(e[t], drz_t[t], dh_before)
            dh_before.addcmul_(ds, dr[t - start]).addcmul_(dh, carry_t[t - start])
            dh, dh_before = dh_before, dh
    return da, dh


def _common_coefficients(
    d_z: Tensor,
    d_n: Tensor,
    z: Tensor,
    n: Tensor,
    h_before: Tensor,
    passed: Tensor | None,
) -> Tensor:
    """Write what dh_t is multiplied by to give da_z and da_n; return what carries it to t-1."""
    torch.addcmul(z, z, z, value=-1, out=d_z).mul_(h_before - n)
    torch.mul(n, n, out=d_n).neg_().add_(1.0)
    d_n.addcmul_(d_n, z, value=-1)
    if passed is None:
        return z
    d_z.mul_(1.0 - passed)
    d_n.mul_(1.0 - passed)
    return z + passed * (1.0 - z)


@dataclass(frozen=True)
class _GRU(Kernel):
    """What both forms share: inputs x, h_0, W, U, b_ih, b_hh, d, ζ; residuals h, gates."""

    clip: float = 0.0
    states: ClassVar[int] = 1
    parts: ClassVar[int]  # `gates` has so many blocks of H numbers

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n and the residuals."""
        x, h_0, *_ = inputs
        H, T = h_0.shape[-1], x.shape[0]
        h = timeline(h_0, T + 1, H)
        return h[1:].clone(), h[-1].clone(), h, timeline(h_0, T, self.parts * H)


class GRUAfter(_GRU):
    """The reset-after form; `gates` holds q, r, z, n."""

    operator = "gru_after"
    parts: ClassVar[int] = 4

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, run the loop."""
        x, h_0, W, U, b_ih, b_hh, d, zone = inputs
        H, T = h_0.shape[-1], x.shape[0]
        b, b_hn = _biases(b_ih, b_hh, H)
        h, gates = started(h_0, T), timeline(h_0, T, 4 * H)
        gates[..., :H] = 0.0 if b_hn is None else b_hn.unsqueeze(-2)
        project(x, W, b, out=gates[..., H:])
        forward_after(gates, h, U, d, keeping(mask, zone))
        return h[1:].clone(), h[-1].clone(), h, gates

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
        h, gates = residuals
        H = h.shape[-1]
        d_h, d_h_n = d_outputs
        totals = None if tap is None else torch.empty_like(h[1:])
        passed, limit = passing(mask, zone, h.dtype), limiter(self.clip, mask)
        both, dh_0 = adjoint_after(d_h, d_h_n, gates, h, U, d, passed, limit, totals)
        dqrz, da = both[..., : 3 * H], both[..., H:]
        if tap is not None and totals is not None:
            tap.fill(totals, dh_0)
        x_needed, h_0_needed, W_needed, U_needed, b_ih_needed, b_hh_needed, _, _ = needed
        return (
            unproject(da, W) if x_needed else None,
            dh_0 if h_0_needed else None,
            outer(da, x) if W_needed else None,
            outer(dqrz, dropped(h[:-1], d)).roll(-H, -2) if U_needed else None,
            rows(da).sum(-2) if b_ih_needed else None,
            rows(dqrz).sum(-2).roll(-H, -1) if b_hh_needed else None,
            None,
            None,
        )

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan `step`."""
        x, h_0, W, U, b_ih, b_hh, d, zone = inputs
        b, b_hn = _biases(b_ih, b_hh, h_0.shape[-1])
        a = affine(x, W, b)
        return scan_mixed(
            lambda h, a_t: (step(h, a_t, U, b_hn, "after", d),), (h_0,), a, [zone], mask
        )


class GRUBefore(_GRU):
    """The reset-before form; `gates` holds r, z, n."""

    operator = "gru_before"
    parts: ClassVar[int] = 3

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, run the loop."""
        x, h_0, W, U, b_ih, b_hh, d, zone = inputs
        H, T = h_0.shape[-1], x.shape[0]
        h = started(h_0, T)
        gates = project(x, W, together(b_ih, b_hh), out=timeline(h_0, T, 3 * H))
        forward_before(gates, h, U, d, keeping(mask, zone))
        return h[1:].clone(), h[-1].clone(), h, gates

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
        h, gates = residuals
        d_h, d_h_n = d_outputs
        totals = None if tap is None else torch.empty_like(h[1:])
        passed, limit = passing(mask, zone, h.dtype), limiter(self.clip, mask)
        da, dh_0 = adjoint_before(d_h, d_h_n, gates, h, U, d, passed, limit, totals)
        if tap is not None and totals is not None:
            tap.fill(totals, dh_0)
        x_needed, h_0_needed, W_needed, U_needed, *b_needed, _, _ = needed
        return (
            unproject(da, W) if x_needed else None,
            dh_0 if h_0_needed else None,
            outer(da, x) if W_needed else None,
            _d_recurrent_before(da, gates, dropped(h[:-1], d)) if U_needed else None,
            *(rows(da).sum(-2) if need else None for need in b_needed),
            None,
            None,
        )

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan `step`."""
        x, h_0, W, U, b_ih, b_hh, d, zone = inputs
        a = affine(x, W, together(b_ih, b_hh))
        return scan_mixed(
            lambda h, a_t: (step(h, a_t, U, None, "before", d),), (h_0,), a, [zone], mask
        )


def _d_recurrent_before(da: Tensor, gates: Tensor, before: Tensor) -> Tensor:
    H = before.shape[-1]
    s = torch.mul(gates[..., :H], before)
    return torch.cat([outer(da[..., : 2 * H], before), outer(da[..., 2 * H :], s)], -2)
