"""The LSTM with layer normalisation; gates in PyTorch's order i f g o.

Normal       z̃ = LN(z) = (z - mean z) r    r = 1 / √(var z + ε)     over the units of one row
             dz = LN'(z̃, r) dz̃ = r (dz̃ - mean dz̃ - z̃ mean(dz̃ * z̃))

Forward      w_t = W x_t          u_t = U h_{t-1}            each normalised over all four gates at once
             a_t = γ_x * w̃_t + γ_h * ũ_t + b                i, f, o = σ(a_i, a_f, a_o)    g = tanh(a_g)
             c_t = f * c_{t-1} + i * g                       k_t = γ_c * c̃_t + β_c
             h_t = o * tanh(k_t)

Adjoint      dk_t = dh_t * o * (1 - tanh²(k_t))              da_o = dh_t * tanh(k_t) * o(1 - o)
             dc_t = f_{t+1} * dc_{t+1} + LN'(γ_c * dk_t)
             da_i = dc_t * g * i(1 - i)    da_f = dc_t * c_{t-1} * f(1 - f)    da_g = dc_t * i * (1 - g²)
             du_t = LN'(γ_h * da_t)        dh_{t-1} = e_{t-1} + U' du_t
             dw_t = LN'(γ_x * da_t)        dx_t = W' dw_t
             dU = Σ du_t h_{t-1}'    dW = Σ dw_t x_t'    db = Σ da_t    dγ_x = Σ da_t * w̃_t
             dγ_h = Σ da_t * ũ_t     dγ_c = Σ dk_t * c̃_t    dβ_c = Σ dk_t

b stands for the paper's b and the two shifts of its normalisations of w and u, which add up to one.
Nothing of this is in C++: the loops are PyTorch's operations on every device.

Ba, J. L., Kiros, J. R. and Hinton, G. E. (2016), Layer normalization, equations 20-22.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.kernels.buffers import (
    arriving,
    limiter,
    outer,
    project,
    rows,
    started,
    timeline,
    together,
    unproject,
)
from throughtime.kernels.kernel import Inputs, Kernel, Optionals, Tensors
from throughtime.kernels.recurrence import run
from throughtime.kernels.regularised import (
    Zoneout,
    dropped,
    given,
    keep,
    keeping,
    parted,
    passing,
    scan_mixed,
)
from throughtime.kernels.tap import AdjointTap

EPSILON = 1e-5


def layer_norm_lstm(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    W: Tensor,
    U: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    gamma_x: Tensor,
    gamma_h: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None,
    *,
    mask: Tensor | None = None,
    reverse: bool = False,
    dropout: Tensor | None = None,
    zoneout: tuple[Zoneout | None, Zoneout | None] | float | None = None,
    state_grad_clip: float = 0.0,
    tap: AdjointTap | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the layer-normalised LSTM over time; the equations are at the top of this module.

    `gamma_x`, `gamma_h` [4H], `gamma_c` [H], `beta_c` [H] or None; everything else is as in `lstm`.
    Returns h_t for all t, and the last h and c. Raises SettingError for T = 0.

    >>> x, h_0, c_0 = torch.zeros(2, 1, 1), torch.zeros(1, 1), torch.ones(1, 1)
    >>> one, four = torch.ones(1), torch.ones(4)
    >>> W = U = torch.zeros(4, 1)
    >>> h, _, c_n = layer_norm_lstm(x, h_0, c_0, W, U, None, None, four, four, one, one)
    >>> h.flatten(), c_n  # one unit alone is normalised to 0, so that h = σ(0) tanh(β_c)
    (tensor([0.3808, 0.3808]), tensor([[0.2500]]))
    """
    pair = zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)
    extra = given(x, mask, (h_0, c_0), W, dropout, pair)
    weights = W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c
    kernel = LayerNormLSTM(state_grad_clip)
    h_TBH, h_n, c_n = run(kernel, tap, mask, reverse, x, h_0, c_0, *weights, *extra)
    return h_TBH, h_n, c_n


def normal(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return z̃ and r."""
    centred = z - z.mean(-1, keepdim=True)
    r = (centred.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
    return centred * r, r


def normal_adjoint(d: Tensor, normed: Tensor, r: Tensor) -> Tensor:
    """Return LN'(z̃, r) d."""
    along = (d * normed).mean(-1, keepdim=True)
    return (d - d.mean(-1, keepdim=True) - normed * along) * r


def activated(a: Tensor) -> Tensor:
    """Return i f g o from a, side by side."""
    i, f, g, o = a.chunk(4, -1)
    return torch.cat([i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()], -1)


def _row(vector: Tensor | None) -> Tensor | None:
    """See a vector of each member as a row that is added to all of a batch."""
    return None if vector is None else vector.unsqueeze(-2)


def _scaled(values: Tensor, gamma: Tensor, shift: Tensor | None = None) -> Tensor:
    scaled = values * gamma.unsqueeze(-2)
    return scaled if shift is None else scaled + shift


def step(
    h: Tensor,
    c: Tensor,
    a_x: Tensor,
    U: Tensor,
    gamma_h: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None,
    d: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return h_t, c_t from h_{t-1}, c_{t-1} and a_x = γ_x * w̃_t + b; out of place."""
    a = _scaled(normal(dropped(h, d) @ U.mT)[0], gamma_h, a_x)
    i, f, g, o = activated(a).chunk(4, -1)
    c = f * c + i * g
    return o * _scaled(normal(c)[0], gamma_c, _row(beta_c)).tanh(), c


def forward(
    a_x: Tensor,
    h: Tensor,
    c: Tensor,
    U: Tensor,
    gamma_h: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None,
    d: Tensor | None,
    kept_h: Iterable[Tensor | None],
    kept_c: Iterable[Tensor | None],
) -> Tensors:
    """Run the loop; return the gates, then z̃ and r of u and of c.

    `a_x` [T, B, 4H] holds γ_x * w̃ + b; `h`, `c` [T+1, B, H] hold the initial states in entry 0, and
    then all; `kept_h`, `kept_c` say what stays of h_{t-1}, c_{t-1} (see `keeping`).
    """
    T, H, U_t = len(a_x), c.shape[-1], U.mT.contiguous()
    gates, normed_u, r_u = (timeline(c[0], T, width) for width in (4 * H, 4 * H, 1))
    normed_c, r_c = timeline(c[0], T, H), timeline(c[0], T, 1)
    for t, h_kept, c_kept in zip(range(T), kept_h, kept_c, strict=False):
        normed_u[t], r_u[t] = normal(dropped(h[t], d) @ U_t)
        gates[t] = activated(_scaled(normed_u[t], gamma_h, a_x[t]))
        i, f, g, o = gates[t].chunk(4, -1)
        torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, g)
        normed_c[t], r_c[t] = normal(c[t + 1])
        torch.mul(o, _scaled(normed_c[t], gamma_c, _row(beta_c)).tanh_(), out=h[t + 1])
        keep(h_kept, h[t + 1], h[t])
        keep(c_kept, c[t + 1], c[t])
    return gates, normed_u, r_u, normed_c, r_c


def adjoint(
    d_h: Tensor | None,
    d_h_n: Tensor | None,
    dc: Tensor,
    trace: Tensors,
    U: Tensor,
    gamma_h: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None,
    d: Tensor | None,
    passed_h: Tensor | None,
    passed_c: Tensor | None,
    limit: Callable[..., None],
    tap: AdjointTap | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the loop back; return da, du [T, B, 4H], dk [T, B, H], dh_0 and dc_0; fill the tap.

    `dc` [B, H] is the gradient of c_T from outside; `trace` holds h, c and what `forward` returned;
    `passed_h`, `passed_c` say how much of dh_t, dc_t passes a step by.
    """
    h, c, gates, normed_u, r_u, normed_c, r_c = trace
    dh, e = arriving(h, d_h, d_h_n)
    da, du, dk = torch.empty_like(gates), torch.empty_like(gates), torch.empty_like(normed_c)
    totals = None if tap is None else (torch.empty_like(dk), torch.empty_like(dk))
    for t in reversed(range(len(gates))):
        limit(t, dh, dc)
        if totals is not None:
            totals[0][t], totals[1][t] = dh, dc
        dh, past_h = parted(dh, passed_h, t)
        dc, past_c = parted(dc, passed_c, t)
        i, f, g, o = gates[t].chunk(4, -1)
        tanh_k = _scaled(normed_c[t], gamma_c, _row(beta_c)).tanh_()
        dk[t] = dh * o * (1 - tanh_k * tanh_k)
        dc = dc + normal_adjoint(dk[t] * gamma_c.unsqueeze(-2), normed_c[t], r_c[t])
        da_i, da_f = dc * g * i * (1 - i), dc * c[t] * f * (1 - f)
        da_g, da_o = dc * i * (1 - g * g), dh * tanh_k * o * (1 - o)
        da[t] = torch.cat([da_i, da_f, da_g, da_o], -1)
        du[t] = normal_adjoint(da[t] * gamma_h.unsqueeze(-2), normed_u[t], r_u[t])
        dh, dc = e[t] + dropped(du[t] @ U, d), f * dc
        dh, dc = (a if b is None else a + b for a, b in ((dh, past_h), (dc, past_c)))
    if tap is not None and totals is not None:
        tap.fill(totals[0], dh, totals[1], dc)
    return da, du, dk, dh, dc


@dataclass(frozen=True)
class LayerNormLSTM(Kernel):
    """The recurrence as a `Kernel`: inputs x, h_0, c_0, W, U, b_ih, b_hh, γ_x, γ_h, γ_c, β_c, d, ζ_h, ζ_c.

    Residuals are z̃ and r of w, then h, c, the gates, and z̃ and r of u and of c.
    """

    operator = "layer_norm_lstm"
    clip: float = 0.0
    states: ClassVar[int] = 2

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Project and normalise the inputs, run the loop."""
        x, h_0, c_0, W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c, d, zone_h, zone_c = inputs
        H, T = c_0.shape[-1], x.shape[0]
        h, c = started(h_0, T), started(c_0, T)
        normed_w, r_w = normal(project(x, W, None, out=timeline(c_0, T, 4 * H)))
        a_x = _scaled(normed_w, gamma_x, _row(together(b_ih, b_hh)))
        kept = keeping(mask, zone_h), keeping(mask, zone_c)
        trace = forward(a_x, h, c, U, gamma_h, gamma_c, beta_c, d, *kept)
        return h[1:].clone(), h[-1].clone(), c[-1].clone(), normed_w, r_w, h, c, *trace

    def blank(self, inputs: Inputs) -> Tensors:
        """Return h_TBH, h_n, c_n and the residuals."""
        x, h_0, c_0, *_ = inputs
        H, T = c_0.shape[-1], x.shape[0]
        h, c = timeline(h_0, T + 1, H), timeline(c_0, T + 1, H)
        widths = 4 * H, 4 * H, 1, H, 1
        trace = tuple(timeline(c_0, T, width) for width in widths)
        ends = h[1:].clone(), h[-1].clone(), c[-1].clone()
        return *ends, timeline(c_0, T, 4 * H), timeline(c_0, T, 1), h, c, *trace

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
        x, _, _, W, U, _, _, gamma_x, gamma_h, gamma_c, beta_c, d, zone_h, zone_c = inputs
        normed_w, r_w, *trace = residuals
        h, _, _, normed_u, _, normed_c, _ = trace
        d_h, d_h_n, d_c_n = d_outputs
        dc_n = torch.zeros_like(h[0]) if d_c_n is None else d_c_n.clone()
        passed_h, passed_c = (passing(mask, zone, h.dtype) for zone in (zone_h, zone_c))
        weights, limit = (U, gamma_h, gamma_c, beta_c), limiter(self.clip, mask)
        da, du, dk, dh_0, dc_0 = adjoint(
            d_h, d_h_n, dc_n, tuple(trace), *weights, d, passed_h, passed_c, limit, tap
        )
        dw = normal_adjoint(da * gamma_x.unsqueeze(-2), normed_w, r_w)
        gradients: list[Callable[[], Tensor]] = [
            lambda: unproject(dw, W),
            lambda: dh_0,
            lambda: dc_0,
            lambda: outer(dw, x),
            lambda: outer(du, dropped(h[:-1], d)),
            lambda: rows(da).sum(-2),
            lambda: rows(da).sum(-2),
            lambda: rows(da * normed_w).sum(-2),
            lambda: rows(da * normed_u).sum(-2),
            lambda: rows(dk * normed_c).sum(-2),
            lambda: rows(dk).sum(-2),
        ]
        found = (make() if need else None for make, need in zip(gradients, needed, strict=False))
        return *found, None, None, None

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Scan `step`."""
        x, h_0, c_0, W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c, d, zone_h, zone_c = inputs
        a_x = _scaled(normal(x @ W.mT)[0], gamma_x, _row(together(b_ih, b_hh)))
        return scan_mixed(
            lambda h, c, a_t: step(h, c, a_t, U, gamma_h, gamma_c, beta_c, d),
            (h_0, c_0),
            a_x,
            [zone_h, zone_c],
            mask,
        )
