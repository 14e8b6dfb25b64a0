"""The LSTM, with optional projection; gates in PyTorch's order i f g o.

Forward      a_t = W x_t + U h_{t-1} + b        i, f, o = σ(a_i, a_f, a_o)    g = tanh(a_g)
             c_t = f * c_{t-1} + i * g          m_t = o * tanh(c_t)
             h_t = m_t, or with a projection h_t = P m_t

Adjoint      dm_t = dh_t, or P' dh_t
             dc_t = f_{t+1} * dc_{t+1} + o * (1 - tanh²(c_t)) * dm_t
             da_o = dm_t * tanh(c_t) * o(1 - o)      da_i = dc_t * g * i(1 - i)
             da_f = dc_t * c_{t-1} * f(1 - f)        da_g = dc_t * i * (1 - g²)
             dh_{t-1} = e_{t-1} + U' da_t            e_t: what the loss sends to h_t directly
             dW = Σ da_t x_t'     dU = Σ da_t h_{t-1}'     db = Σ da_t     dP = Σ dh_t m_t'

The state is the pair (h_t, c_t), and its gradient (dh_t, f_{t+1} * dc_{t+1}): the second is that
along c_t with h_t held, the first term of dc_t; what remains of dc_t is dh_t, seen through c_t -> h_t.

Every da is a coefficient times dm_t or dc_t. The coefficients do not depend on the loop, so they
are computed for many time steps at once; the loop multiplies.

Inside, gates are rolled to the order o i f g: the logistic ones lie together (o i f), and so do
those that dc_t reaches (i f g, followed by f once more, which carries dc_t to dc_{t-1}).

Hochreiter, S. and Schmidhuber, J. (1997), Long short-term memory; forget gate: Gers, F. A. et al.
(2000), Learning to forget; projection: Sak, H. et al. (2014).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

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
    parted,
    passing,
    scan_mixed,
)
from throughtime.kernels.tap import AdjointTap


def lstm(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    W: Tensor,
    U: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    P: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    reverse: bool = False,
    dropout: Tensor | None = None,
    zoneout: tuple[Zoneout | None, Zoneout | None] | float | None = None,
    state_grad_clip: float = 0.0,
    tap: AdjointTap | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the LSTM over time; the equations are at the top of this module.

    `x` [T, B, I], `h_0` [B, H] (with a projection [B, P]), `c_0` [B, H], `W` [4H, I], `U` [4H, H]
    (or [4H, P]), biases [4H] or None, `P` [P, H] or None; with members `x` [T, E, B, I] and a
    leading axis E on all others. `mask` [T, B] (members: [T, E, B]) is False where the states are
    to be carried unchanged. `dropout`, in the shape of h_0, multiplies h_{t-1} on its way to U; of
    `zoneout`, a pair for h and c, each like h_1..h_T or c_1..c_T or a number, or of one number for
    both, is how much of h_{t-1} and c_{t-1} stays (see `regularised`). `state_grad_clip` limits the
    norm of every row of dL/d(h_t, c_t) on its way back; 0 does not. Returns h_t for all t, and the
    last h and c. `tap` is filled with dL/d(h_t, c_t) in backward. Raises SettingError for T = 0.

    >>> x, h_0, c_0 = torch.zeros(2, 1, 1), torch.zeros(1, 1), torch.ones(1, 1)
    >>> *_, c_n = lstm(x, h_0, c_0, torch.zeros(4, 1), torch.zeros(4, 1), None, None)
    >>> c_n  # σ(0) = 1/2 is forgotten, twice
    tensor([[0.2500]])
    """
    pair = zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)
    extra = given(x, mask, (h_0, c_0), W, dropout, pair)
    kernel = lstm_kernel(W, P, state_grad_clip)
    h_TBH, h_n, c_n = run(kernel, tap, mask, reverse, x, h_0, c_0, W, U, b_ih, b_hh, P, *extra)
    return h_TBH, h_n, c_n


def lstm_kernel(W: Tensor, P: Tensor | None, clip: float = 0.0) -> Kernel:
    """Return the fastest kernel there is for weights like W; no C++ knows the projection."""
    return LSTM(clip) if P is not None else fastest(LSTM(clip), W)


def step(
    h: Tensor,
    c: Tensor,
    a_t: Tensor,
    U: Tensor,
    P: Tensor | None = None,
    d: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h_t, c_t from h_{t-1}, c_{t-1} and a_t = W x_t + b; PyTorch's order, out of place."""
    i, f, g, o = (a_t + dropped(h, d) @ U.mT).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    m = o.sigmoid() * c.tanh()
    return (m if P is None else m @ P.mT), c


def forward(
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    m: Tensor,
    U: Tensor,
    P: Tensor | None,
    d: Tensor | None,
    kept_h: Iterable[Tensor | None],
    kept_c: Iterable[Tensor | None],
) -> None:
    """Run the loop in place, gates in the order o i f g.

    `gates` [T, B, 4H] holds a_1..a_T, and then the activated gates; `h`, `c` [T+1, B, H] hold the
    initial states in entry 0, and then all; `m` [T, B, H] is written (without projection, m is
    h_1..h_T itself). `kept_h`, `kept_c` say what stays of h_{t-1}, c_{t-1} (see `keeping`).
    """
    add_product, U_t = add_product_for(U), U.mT.contiguous()
    P_t = None if P is None else P.mT.contiguous()
    H = c.shape[-1]
    a, tanh_c = scratch(c[0], 4 * H), scratch(c[0], H)
    (o, i, f, g), oif = a.chunk(4, -1), a[..., : 3 * H]
    gates_t, h_t, c_t = gates.unbind(0), h.unbind(0), c.unbind(0)
    m_t = h_t[1:] if P is None else m.unbind(0)
    for t, h_kept, c_kept in zip(range(len(gates_t)), kept_h, kept_c, strict=False):
        add_product(gates_t[t], dropped(h_t[t], d), U_t, out=a)
        oif.sigmoid_()
        g.tanh_()
        gates_t[t].copy_(a)
        torch.mul(f, c_t[t], out=c_t[t + 1]).addcmul_(i, g)
        torch.tanh(c_t[t + 1], out=tanh_c)
        torch.mul(o, tanh_c, out=m_t[t])
        if P_t is not None:
            torch.matmul(m_t[t], P_t, out=h_t[t + 1])
        keep(h_kept, h_t[t + 1], h_t[t])
        keep(c_kept, c_t[t + 1], c_t[t])


def adjoint(
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    dc: Tensor,
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    U: Tensor,
    P: Tensor | None,
    d: Tensor | None,
    passed_h: Tensor | None,
    passed_c: Tensor | None,
    limit: Callable[..., None],
    totals: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the loop back; return da [T, B, 4H] in the order o i f g, dc_0 and dh_0.

    `gates`, `h`, `c` are those of `forward`. `dc` [B, H] holds the gradient of c_T from outside, and
    then the total; `passed_h`, `passed_c` say how much of dh_t, dc_t passes a step by. `totals`
    [T, B, H], if given, is filled with dh_1..dh_T, and `held` with the gradients along c_1..c_T with
    h_1..h_T held.
    """
    back, H = back_through(add_product_for(U), U, d), c.shape[-1]
    dh, e = arriving(h, d_h, d_h_n)
    dh_before = torch.empty_like(dh)
    da = timeline(c[0], len(gates), 5 * H)  # coefficients, and then: da_o da_i da_f da_g dc_{t-1}
    do_t, da_t = da[..., :H].unbind(0), da[..., : 4 * H].unbind(0)
    difgc_t = torch.unflatten(da[..., H:], -1, (4, H)).unbind(0)
    dc_t = [*da[..., 4 * H :].unbind(0), dc]
    for start, stop in chunks_back(gates):
        to_c_t = _coefficients(da[start:stop], gates[start:stop], c[start:stop]).unbind(0)
        for t in reversed(range(start, stop)):
            limit(t, dh, dc_t[t + 1])
            if totals is not None:
                totals[t] = dh
            if held is not None:
                held[t] = dc_t[t + 1]
            dh_proposed, past_h = parted(dh, passed_h, t)
            dc_proposed, past_c = parted(dc_t[t + 1], passed_c, t)
            dm = dh_proposed if P is None else dh_proposed @ P
            dc_proposed.addcmul_(dm, to_c_t[t - start])
            do_t[t].mul_(dm)
            difgc_t[t].mul_(dc_proposed.unsqueeze(-2))
            back(e[t], da_t[t], dh_before)
            if past_h is not None:
                dh_before.add_(past_h)
            if past_c is not None:
                dc_t[t].add_(past_c)
            dh, dh_before = dh_before, dh
    return da[..., : 4 * H], dc_t[0], dh


def _coefficients(da: Tensor, gates: Tensor, c_before: Tensor) -> Tensor:
    """Write what dm_t and dc_t are multiplied by into `da`; return what leads from dm_t to dc_t."""
    H = c_before.shape[-1]
    o, i, f, g = gates.chunk(4, -1)
    d_o, d_i, d_f, d_g, d_c = da.chunk(5, -1)
    oif, i_g = gates[..., : 3 * H], torch.mul(i, g)
    tanh_c = torch.addcmul(i_g, f, c_before).tanh_()
    torch.addcmul(oif, oif, oif, value=-1, out=da[..., : 3 * H])
    d_o.mul_(tanh_c)
    d_i.mul_(g)
    d_f.mul_(c_before)
    torch.addcmul(i, i_g, g, value=-1, out=d_g)
    d_c.copy_(f)
    return tanh_c.square_().neg_().add_(1.0).mul_(o)


@dataclass(frozen=True)
class LSTM(Kernel):
    """The LSTM as a `Kernel`: inputs x, h_0, c_0, W, U, b_ih, b_hh, P, d, ζ_h, ζ_c.

    Residuals are h, c, gates (and m).
    """

    operator = "lstm"
    clip: float = 0.0
    states: ClassVar[int] = 2

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project the inputs, run the loop."""
        x, h_0, c_0, W, U, b_ih, b_hh, P, d, zone_h, zone_c = inputs
        H, T = c_0.shape[-1], x.shape[0]
        h, c = started(h_0, T), started(c_0, T)
        m = h[1:] if P is None else timeline(c_0, T, H)
        b = together(b_ih, b_hh)
        b = None if b is None else b.roll(H, -1)
        gates = project(x, W.roll(H, -2), b, out=timeline(c_0, T, 4 * H))
        kept = keeping(mask, zone_h), keeping(mask, zone_c)
        forward(gates, h, c, m, U.roll(H, -2), P, d, *kept)
        residuals = (h, c, gates) if P is None else (h, c, gates, m)
        return h[1:].clone(), h[-1].clone(), c[-1].clone(), *residuals

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n, c_n and the residuals."""
        x, h_0, c_0, _, _, _, _, P, *_ = inputs
        H, T = c_0.shape[-1], x.shape[0]
        h, c = timeline(h_0, T + 1, h_0.shape[-1]), timeline(c_0, T + 1, H)
        gates = timeline(c_0, T, 4 * H)
        residuals = (h, c, gates) if P is None else (h, c, gates, timeline(c_0, T, H))
        return h[1:].clone(), h[-1].clone(), c[-1].clone(), *residuals

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
        x, _, _, W, U, _, _, P, d, zone_h, zone_c = inputs
        h, c, gates, *_ = residuals
        d_h, d_h_n, d_c_n = d_outputs
        H = c.shape[-1]
        dc_n = scratch(c[0], H).copy_(torch.zeros_like(c[0]) if d_c_n is None else d_c_n)
        *_, P_needed, _, _, _ = needed
        totals = torch.empty_like(h[1:]) if P_needed or tap is not None else None
        U_oifg = U.roll(H, -2)
        passed_h, passed_c = (passing(mask, zone, c.dtype) for zone in (zone_h, zone_c))
        held = None if tap is None else torch.empty_like(c[1:])
        limit = limiter(self.clip, mask)
        da, dc_0, dh_0 = adjoint(
            d_h, d_h_n, dc_n, gates, h, c, U_oifg, P, d, passed_h, passed_c, limit, totals, held
        )
        if tap is not None and totals is not None:
            tap.fill(totals, dh_0, held, dc_0)
        x_needed, h_0_needed, c_0_needed, W_needed, U_needed, *b_needed, _, _, _, _ = needed
        return (
            unproject(da, W.roll(H, -2)) if x_needed else None,
            dh_0 if h_0_needed else None,
            dc_0.clone() if c_0_needed else None,
            outer(da, x).roll(-H, -2) if W_needed else None,
            outer(da, dropped(h[:-1], d)).roll(-H, -2) if U_needed else None,
            *(rows(da).sum(-2).roll(-H, -1) if need else None for need in b_needed),
            _d_projection(totals, residuals[3], passed_h)
            if totals is not None and P_needed
            else None,
            *(None, None, None),
        )

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan `step`."""
        x, h_0, c_0, W, U, b_ih, b_hh, P, d, zone_h, zone_c = inputs
        a = affine(x, W, together(b_ih, b_hh))
        return scan_mixed(
            lambda h, c, a_t: step(h, c, a_t, U, P, d), (h_0, c_0), a, [zone_h, zone_c], mask
        )


def _d_projection(dh: Tensor, m: Tensor, passed: Tensor | None) -> Tensor:
    return outer(dh if passed is None else dh * (1.0 - passed), m)
