"""Two special functions that torch lacks, elementwise in float64.

The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8),

    I_x(a, b) = x^a (1-x)^b / (a B(a, b))  1/(1 + d_1/(1 + d_2/(1 + ...)))
    d_2m   =  m (b - m) x / ((a + 2m - 1) (a + 2m))
    d_2m+1 = -(a + m) (a + b + m) x / ((a + 2m) (a + 2m + 1))

evaluated forwards (Lentz 1976), which converges fast for x < (a + 1)/(a + b + 2); for other x by
I_x(a, b) = 1 - I_{1-x}(b, a). And the rise of the log of the gamma function,

    ln Gamma(r + k) - ln Gamma(r)
        = (r + k - 1/2) ln(1 + k/r) + k (ln r - 1) + c(r + k) - c(r)
    c(r) = 1/(12 r) - 1/(360 r^3) + 1/(1260 r^5) - 1/(1680 r^7) + ...

where r is so large that the difference itself would leave nothing but rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

STIRLING_FROM = 16.0  # from here on four terms of c(r) are exact to 1e-14
MOST_TERMS = 20_000  # of the continued fraction; it takes about the square root of a or b


def betainc(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return I_x(a, b) and 1 - I_x(a, b), for y = 1 - x: both are given, as either may be tiny.

    The smaller of the two has the full relative precision. Source: Abramowitz and Stegun 26.5.8.

    >>> one, two = torch.tensor([1.0, 2.0], dtype=torch.float64)
    >>> betainc(two, one, one / 4, 3 * one / 4)  # I_x(2, 1) = x^2
    (tensor(0.0625, dtype=torch.float64), tensor(0.9375, dtype=torch.float64))
    """
    swap = x > (a + 1) / (a + b + 2)
    a, b = torch.where(swap, b, a), torch.where(swap, a, b)
    x, y = torch.where(swap, y, x), torch.where(swap, x, y)
    ln_x = torch.where(x < 0.5, x.log(), torch.log1p(-y))
    ln_y = torch.where(y < 0.5, y.log(), torch.log1p(-x))
    large, small = torch.maximum(a, b), torch.minimum(a, b)
    ln_beta = torch.lgamma(small) - log_rising(large, small)
    ln_front = a * ln_x + b * ln_y - ln_beta - a.log()
    part = ln_front.exp() * _fraction(a, b, x)
    return torch.where(swap, 1 - part, part), torch.where(swap, part, 1 - part)


def log_rising(r: Tensor, k: Tensor) -> Tensor:
    """Return ln Gamma(r + k) - ln Gamma(r), for r > 0 and k >= 0: ln r (r+1) ... (r+k-1).

    >>> log_rising(torch.tensor(3.0), torch.tensor(2.0)).exp()  # 3 * 4
    tensor(12.)
    """
    large = r > STIRLING_FROM
    s = torch.where(large, r, STIRLING_FROM)
    stirling = (s + k - 0.5) * torch.log1p(k / s) + k * (s.log() - 1)
    stirling = stirling + _correction(s + k) - _correction(s)
    t = torch.where(large, STIRLING_FROM, r)
    return torch.where(large, stirling, torch.lgamma(t + k) - torch.lgamma(t))


def _correction(r: Tensor) -> Tensor:
    v = 1 / r**2
    return (1 / 12 - v * (1 / 360 - v * (1 / 1260 - v / 1680))) / r


def _fraction(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """The continued fraction of I_x(a, b), until no element changes any more."""
    tiny = 1e-300
    c = torch.ones_like(x)
    d = 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    f = d
    for m in range(1, MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _away(1 + even * d, tiny)
        c = _away(1 + even / c, tiny)
        f = f * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away(1 + odd * d, tiny)
        c = _away(1 + odd / c, tiny)
        change = d * c
        f = f * change
        if not ((change - 1).abs() > 1e-13).any():  # NaN neither goes on nor changes
            break
    return f


def _away(x: Tensor, tiny: float) -> Tensor:
    """Keep x from 0, by which it would be divided."""
    return torch.where(x.abs() < tiny, tiny, x)
