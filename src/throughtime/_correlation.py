"""How a series agrees with its own past: autocorrelation and partial autocorrelation.

    r_k = c_k / c_0,  c_k = sum_t x_t x_{t+k}          x the series less its mean, 0 in gaps
    var r_k = (1 + 2 (r_1^2 + ... + r_{k-1}^2)) / n     if the true r is 0 from lag k on

With a share of the values missing at random, r_k is smaller by that share; it stays the autocorrelation
of something, which estimates from the observed pairs alone are not, so that what follows is defined.

The partial autocorrelation a_k is what lag k adds to the lags before it: the last coefficient of the
best linear prediction of x_t from x_{t-1} ... x_{t-k}, with variance 1/n if the true one is 0,

    a_k   = (r_k - sum_{j<k} phi_{k-1,j} r_{k-j}) / v_{k-1},     v_k = v_{k-1} (1 - a_k^2),  v_0 = 1
    phi_k = (phi_{k-1} - a_k reversed phi_{k-1},  a_k)

Sources: Bartlett 1946, "On the theoretical specification and sampling properties of autocorrelated
time-series"; Durbin 1960, "The fitting of time-series models"; Quenouille 1949 for the variance of
a_k. In numpy alone: finding a season does not wait for torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NOTHING_LEFT = 1e-10  # share of the variance that rounding leaves of a series that is all cycle


def autocorrelation(x: Floats, longest: int) -> Floats:
    """Return r_k for k = 0 ... longest.

    Args:
        x: a series [T], or several [S, T] whose c_k are summed; NaN where nothing was observed.
        longest: the longest lag.

    Costs O(S T log T). A constant series has r = 0.

    >>> autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 2).round(12).tolist()
    [1.0, -0.75, 0.5]
    """
    gaps, T = np.isnan(x), x.shape[-1]
    if gaps.any():
        filled = np.where(gaps, 0, x)
        mean = filled.sum(-1, keepdims=True) / np.maximum((~gaps).sum(-1, keepdims=True), 1)
        x = np.where(gaps, 0, filled - mean)
    else:
        x = x - x.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(x, 2 * T)) ** 2
    c = np.fft.irfft(power.reshape(-1, T + 1).sum(0))[: longest + 1]
    c = np.concatenate([c[:T], np.zeros(longest + 1 - len(c[:T]))])
    return c / c[0] if c[0] > 0 else np.zeros_like(c)


def bartlett(r: Floats, n: float) -> Floats:
    """Return the standard error of r_k, from n observations, if the true r is 0 from lag k on.

    >>> bartlett(np.array([1.0, 0.5, 0.0]), 100).round(4).tolist()
    [0.1, 0.1, 0.1225]
    """
    earlier = np.concatenate([[0, 0], np.cumsum(r[1:-1] ** 2)])
    return np.asarray(np.sqrt((1 + 2 * earlier) / n))


def partial_autocorrelation(r: Floats) -> Floats:
    """Return a_k for k = 0 ... from r_k, with a_0 = 1; 0 once nothing is left to explain.

    Costs O(k^2) for k lags.

    >>> partial_autocorrelation(0.5 ** np.arange(4)).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    a, phi, v = np.zeros(len(r)), np.zeros(0), 1.0
    a[:1] = 1
    for k in range(1, len(r)):
        a_k = (r[k] - phi @ r[k - 1 : 0 : -1]) / v
        a[k] = a_k
        v *= 1 - a_k**2
        if v < _NOTHING_LEFT:
            break
        phi = np.append(phi - a_k * phi[::-1], a_k)
    return a
