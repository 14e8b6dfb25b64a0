"""What the pretrained net reads of a window, and the unit that it answers in.

Of the values u_1 ... u_T, with seasons of m steps (m = 1: none) and s the deviation of the window,

    z_t = (u_t - u_T) / s          D = mean |z_t - z_{t-m}| + eps         d = mean |z_t - z_{t-1}| + eps
    l_t = the mean of the w = max(m, 4) newest z up to t
    v_j, a_j, j = n ... 1          the mean of each of the n whole seasons up to T, and the deviations
                                   of its values from it, by phase
    forecast_k = u_T + s (a_n + v_n + D o_k)_k                   k = 1 ... h, the phase of k understood

so that o = 0 repeats the last season (the last value for m = 1), and o = 1 is off by as much as one
season is from the next. At each t the encoder reads z, its changes over a step and a season, and l; at
each k the decoder reads how the last season differs from those before it, in shape and in level.
Everything is blind to the units: windows of a + b u, b > 0, read alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 0.02  # eps, deviations of the window
SEASONS = 4  # newest ones whose mean shape is read
READ, ASKED = 12, 20  # numbers at every step of the encoder and of the decoder


@dataclass(frozen=True, eq=False)
class Reading:
    """What a net reads of windows: `past` [B, T, READ] and `ahead` [B, h, ASKED], single precision.

    `base` [B, h] and `unit` [B, 1] are those of the answer, in the units of the windows.
    """

    past: Tensor
    ahead: Tensor
    base: Tensor
    unit: Tensor


def read(u: Tensor, h: int, season_length: int) -> Reading:
    """Read windows u [B, T], T > 1, without gaps, for h steps ahead.

    A season that is not shorter than the windows is none.

    >>> made = read(torch.tensor([[1.0, 5.0, 2.0, 6.0, 3.0, 7.0]]), 3, season_length=2)
    >>> made.base, made.past.shape, made.ahead.shape
    (tensor([[3., 7., 3.]]), torch.Size([1, 6, 12]), torch.Size([1, 3, 20]))
    """
    T = u.shape[1]
    m = season_length if season_length < T else 1
    newest = u[:, -1:]
    s = u.std(dim=1, keepdim=True, correction=0) + 1e-9 * (1 + u.abs().mean(dim=1, keepdim=True))
    z = (u - newest) / s
    D, d = ((z[:, k:] - z[:, :-k]).abs().mean(dim=1, keepdim=True) + EPSILON for k in (m, 1))
    ahead, base = _ahead(z, D, d, h, m)
    return Reading(_past(z, D, d, m).float(), ahead.float(), newest + s * base, s * D)


def _past(z: Tensor, D: Tensor, d: Tensor, m: int) -> Tensor:
    """Return what the encoder reads [B, T, READ]."""
    t = torch.arange(z.shape[1])
    after = torch.where(t >= m, 1.0, 0.0).to(z.dtype)  # the first season
    level = _trailing_mean(z, max(m, 4))
    change = (z - _back(z, m)) * after / D
    columns = [
        z,
        torch.asinh(z / D),
        (z - _back(z, 1)) * (t > 0) / d,
        change,
        change - _back(change, 1),
        (level - _back(level, m)) * after / D,
        (z - level) / D,
        _back(z, m) * after,
        after,
        torch.tensor(float(m > 1)),
        torch.tensor(math.log(m) / 4),
        (t - len(t)) / 100,
    ]
    return torch.stack([column.expand(z.shape) for column in columns], dim=-1)


def _ahead(z: Tensor, D: Tensor, d: Tensor, h: int, m: int) -> tuple[Tensor, Tensor]:
    """Return what the decoder reads [B, h, ASKED], and the last season repeated [B, h]."""
    B, T = z.shape
    n, k = T // m, torch.arange(h)
    seasons = z[:, T - n * m :].reshape(B, n, m)
    v = seasons.mean(dim=2)
    a = (seasons - v[..., None])[..., k % m]
    base, few = seasons[:, -1, k % m], min(n, SEASONS)
    drift = v[:, -1:] - v[:, -min(n, 2)][:, None]
    drifts = (v[:, -1:] - v[:, -few][:, None]) / max(few - 1, 1)
    columns = [
        torch.asinh(base / D),
        *((a[:, -j:].mean(dim=1) - a[:, -1]) / D for j in (2, few, n)),
        a[:, -1] / D,
        *(torch.asinh(level / D) for level in (drift, drifts, v[:, -1:])),
        base,
        z.amax(dim=1, keepdim=True),
        z.amin(dim=1, keepdim=True),
        z.mean(dim=1, keepdim=True),
        (k + 1) / h,
        (k + 1) / 20,
        k // m / 2,
        torch.tensor(float(m > 1)),
        torch.tensor(math.log(m) / 4),
        torch.tensor(math.log(T) / 4),
        D.log() / 2,
        d.log() / 2,
    ]
    return torch.stack([column.expand(B, h) for column in columns], dim=-1), base


def _back(x: Tensor, k: int) -> Tensor:
    """Return x [B, T] of k steps before, 0 where there was none."""
    return torch.nn.functional.pad(x, (k, 0))[:, : x.shape[1]]


def _trailing_mean(x: Tensor, w: int) -> Tensor:
    """Return the mean of the w newest values up to each step, of all where there are fewer."""
    sums = torch.nn.functional.pad(x.cumsum(dim=1), (1, 0))
    t = torch.arange(x.shape[1])
    first = (t - w + 1).clamp(min=0)
    return (sums[:, t + 1] - sums[:, first]) / (t + 1 - first)
