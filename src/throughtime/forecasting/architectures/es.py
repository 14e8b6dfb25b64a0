"""Exponential smoothing of every series beside a net that all series share.

Level l and seasonal indices s (m in a season) of each series and target, through its window u:

    l_t     = α_t (u_t - s_t) + (1 - α_t) l_{t-1}        α_t = α, 0 in a gap
    s_{t+m} = γ_t (u_t - l_t) + (1 - γ_t) s_t            γ_t = γ, 0 in a gap
    l_0     = u_f - s_f                                  f the first step observed

What is left is said by a net as in `direct.py`, which reads x_t and begins where the smoothing stands:

    x_t      = u_t - s_t - l_L        (l_t - l_L in a gap)            t = 1 ... L
    u_{L+k}  = l_L + s_{L+k} + net(x_1 ... x_L)_k                     s_{L+k} = s_{L+k-m}, and so on

α, γ and the indices with which windows begin are learned with the net, by series i:

    α_i = σ(a + a_i)     γ_i = σ(c + c_i)     s_{i,p} = (e_p + e_{i,p}) size_i

p is the phase of a step, its number since 1970 modulo m, and size_i the deviation of the series. What
all share (a, c, e) is learned from every window, and weight decay draws series towards it. A series
that was not in the fit has the means of a_i, c_i and e_i.

Smyl's smoothing is multiplicative and his net reads logarithms: this is the same of u = log y
(transform="log"), and an additive smoothing of values as they are. Within a season the s_t are known,
so l is a linear recurrence in the u_t - s_t: a window takes a scan (`kernels.linear_scan`) a season
and not a step after the other.

Smyl (2020), "A hybrid method of exponential smoothing and recurrent neural networks for time series
forecasting", equations 1, 2 and 7; all series in one batch as Redd, Khin and Marini (2019), "Fast
ES-RNN: a GPU implementation of the ES-RNN algorithm".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from throughtime.forecasting.architectures.architecture import HeadOf, Inputs, Window
from throughtime.forecasting.architectures.at_once import Skips
from throughtime.forecasting.architectures.direct import Direct
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.series.channels import Sizes
from throughtime.kernels.linear_scan import linear_scan
from throughtime.nn import Recurrence

START = -1.0  # of c: γ = 0.27, slower than α = 0.5


class Placed(NamedTuple):
    """What the net is called with after x [B, L, I], in this order.

    The first three as in `Beside`; `observed` [B, M, L] is 1 or 0, `series` [B], the `phase` [B] of
    the first step and the `unit` [B, M, 1] of the indices are of the `Place` of a window.
    """

    ahead: Tensor
    numbers: Tensor
    codes: Tensor
    observed: Tensor
    series: Tensor
    phase: Tensor
    unit: Tensor


class ES(Direct):
    """From x [B, L, I] and where it lies to parameters [B, M h, P]; see the module."""

    def __init__(
        self,
        sizes: Sizes,
        recurrence: Recurrence,
        head: HeadOf,
        h: int,
        segment: int = 1,
        skips: Skips = (0, 0),
        season_length: int = 1,
    ) -> None:
        super().__init__(sizes, recurrence, head, h, segment, skips)
        self.m = season_length
        parameters = 1 if season_length == 1 else 2 + season_length  # a, c and e_0 ... e_{m-1}
        self.shared = nn.Parameter(torch.zeros(sizes.targets, parameters))
        self.own = nn.Parameter(torch.zeros(sizes.series, sizes.targets * parameters))
        with torch.no_grad():
            self.shared[:, 1:2] = START

    @classmethod
    def tells_apart(cls, n_series: int) -> bool:
        """Say that every series has parameters of its own."""
        return True

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read the context and where it lies, say the target."""
        L, place = window.L, window.place
        assert place is not None  # there is one where channels have `ids`
        placed = Placed(
            window.futr[..., L:].transpose(-1, -2),
            window.numbers,
            window.codes,
            (~window.truth[..., :L].isnan()).float(),
            place.series,
            place.first % base.season_length,
            place.unit,
        )
        return (window.steps(sizes, 0, L), *placed), window.truth[..., L:].flatten(-2)

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map x [B, L, I] and what is beside it, see `Placed`, to parameters."""
        placed = Placed(*beside)
        M = self.sizes.targets
        u, observed = x[..., :M].movedim(1, 0), placed.observed.movedim(-1, 0)  # [L, B, M]
        α, γ, s_1 = self.smoothing(placed.series, placed.phase, placed.unit)
        s_1 = s_1 if self.m > 1 else torch.zeros_like(u)
        l_t, s_t, s_ahead = smooth(u, observed, α, γ, s_1)
        left = torch.where(observed > 0, u - s_t, l_t) - l_t[-1]
        x = torch.cat([left.movedim(0, 1), x[..., M:]], dim=-1)
        params = super().forward(x, placed.ahead, placed.numbers, placed.codes)
        k = torch.arange(self.h, device=x.device) % len(s_ahead)
        base = l_t[-1] + s_ahead[k]  # [h, B, M]
        return self.head.rescale(params, base.movedim(0, -1).flatten(1))

    def smoothing(
        self, series: Tensor, phase: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return α and γ [B, M], and the indices [m, B, M] from the first step on, of windows.

        Without seasons γ is 0, and there are no indices.
        """
        known = embedding((series - 1).clamp(min=0), self.own)
        own = torch.where(series[:, None] > 0, known, self.own.detach().mean(dim=0))
        θ = self.shared + own.reshape(len(own), *self.shared.shape)  # [B, M, parameters]
        α = θ[..., 0].sigmoid()
        if self.m == 1:
            return α, torch.zeros_like(α), θ[..., 1:].movedim(-1, 0)
        p = (phase[:, None] + torch.arange(self.m, device=phase.device)) % self.m
        s = θ[..., 2:].gather(-1, p[:, None].expand(-1, θ.shape[1], -1))
        return α, θ[..., 1].sigmoid(), (s * unit).movedim(-1, 0)


def smooth(
    u: Tensor, observed: Tensor, α: Tensor, γ: Tensor, s: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return l_t and s_t of all T steps [T, B, M], and the indices [m, B, M] of those after them.

    Of values u and `observed` (1 or 0) [T, B, M], α and γ [B, M] and the first indices s [m, B, M].
    What lies before the first observation repeats it.

    >>> u, half = torch.tensor([4.0, 2.0, 8.0]).view(3, 1, 1), torch.full((1, 1), 0.5)
    >>> l, s, ahead = smooth(u, torch.ones_like(u), half, half, torch.tensor([2.0, 0.0]).view(2, 1, 1))
    >>> l.flatten().tolist(), s.flatten().tolist(), ahead.flatten().tolist()
    ([2.0, 2.0, 4.0], [2.0, 0.0, 2.0], [0.0, 3.0])
    """
    m = len(s)
    first = observed.argmax(dim=0, keepdim=True) % m
    l_0, made = u[0] - s.gather(0, first)[0], []
    seasons = (torch.split(each, m) for each in (u, α * observed, γ * observed))
    for u_t, α_t, γ_t in zip(*seasons, strict=True):
        s_t, rest = s[: len(u_t)], s[len(u_t) :]
        l_t = linear_scan(1 - α_t, α_t * (u_t - s_t), l_0)
        made.append((l_t, s_t))
        s, l_0 = torch.cat([rest, s_t + γ_t * (u_t - l_t - s_t)]), l_t[-1]
    levels, indices = (torch.cat(each) for each in zip(*made, strict=True))
    return levels, indices, s
