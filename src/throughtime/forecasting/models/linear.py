"""The linear autoregression inside the model, as one linear map.

In windows z of series less their mean and in units of their deviation, one step ahead by least
squares over all of them, and then iterated:

    x_t = phi_1 x_{t-1} + ... + phi_p x_{t-p} + e_t      x = z, for series that have a level
                                                         x_t = z_t - z_{t-1}, for those that wander
    z_t = a_1 z_{t-1} + ... + a_L z_{t-L}                the same, of the values themselves
    (z_{T+1}, ..., z_{T+h}) = A (z_{T-L+1}, ..., z_T)    by feeding the forecast back

So series of every scale share one autoregression. A is the mean over the orders p, each
by its Akaike weight exp(-AIC_p / 2), AIC_p = n log(RSS_p / n) + 2 p (Burnham and Anderson 2002,
section 2.9): a few cycles seldom tell one order from the next. There is no intercept: z of a series
with a level is 0 on average.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from throughtime.forecasting.examples.scaled import moments
from throughtime.forecasting.preprocessing.residuals import Residual
from throughtime.forecasting.preprocessing.scaling import carry_on
from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import Windows

Floats = npt.NDArray[np.float64]

LEAST_WEIGHT = 0.01  # relative to the best order; what weighs less is left out
_MOST_WINDOWS = 50_000
_BLOCK = 2**9  # windows that are cut together
_MOST_NUMBERS = 2**18  # in a design, before its rows are turned into fewer


def fit_linear_map(
    panel: Panel,
    transform: Transform,
    context_length: int,
    h: int,
    residual: Residual,
    season_length: int,
) -> Floats:
    """Return A [h, L], fitted to the panel; the naive forecast where the windows are too few.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.preprocessing.transforms import Identity
    >>> panel = read_frame(np.tile([1.0, -1.0], 20))
    >>> A = fit_linear_map(panel, Identity(), 4, 2, residual="level", season_length=1)
    >>> (A @ [1.0, -1.0, 1.0, -1.0]).round(6)
    array([ 1., -1.])
    """
    n = panel.n_observed
    highest = min(max(int(10 * np.log10(max(n, 1))), season_length + 1), context_length - 1, n // 4)
    naive = np.repeat(np.eye(context_length)[-1:], h, axis=0) * wanders(residual)
    if highest < 1:
        return naive
    x, n = _design(panel, transform, highest + 1, wanders(residual))
    lags, target = x[:, -2::-1], x[:, -1]
    if n <= highest:  # many series, each shorter than the lags
        return naive
    A = np.zeros((h, context_length))
    for p, weight in enumerate(_weights(lags[:, :highest], target, n)):
        if weight > 0:
            phi = np.asarray(np.linalg.lstsq(lags[:, :p], target, rcond=None)[0])
            A += weight * _map(phi, context_length, h, residual)
    return A


def _map(phi: Floats, L: int, h: int, residual: Residual) -> Floats:
    """Return the h-step forecast by coefficients phi as a map [h, L] of the window."""
    if wanders(residual):
        phi = -np.convolve(np.concatenate([[1.0], -phi]), [1.0, -1.0])[1:]
    return _iterated(np.concatenate([phi, np.zeros(L - len(phi))]), h)


def wanders(residual: Residual) -> bool:
    """Say whether series have no level to return to."""
    return residual != "level"


def _design(
    panel: Panel, transform: Transform, context_length: int, differences: bool
) -> tuple[Floats, int]:
    """Return windows [rows, p + 1] in units of each series' deviation, and how many there are.

    Many become fewer rows R with R'R = X'X, which have the same least squares.
    """
    windows = Windows(panel, context_length, 1)
    chosen = np.unique(np.linspace(0, len(windows) - 1, _MOST_WINDOWS).astype(np.int64))
    mean, deviation = moments(panel, transform)
    X, n = np.zeros((0, context_length + 1 - differences)), 0
    for index in torch.split(torch.from_numpy(chosen), _BLOCK):
        context, target = (transform.forward(each.double()) for each in windows[index])
        w = torch.cat([carry_on(context), target], dim=-1).numpy()
        series, m = np.nonzero(~np.isnan(w).any(axis=-1))
        row = windows.places(index)[0].numpy()[series] * len(panel.targets) + m
        size = deviation[row, None]
        z = (w[series, m] - mean[row, None]) / np.where(size > 0, size, 1.0)
        X, n = np.concatenate([X, np.diff(z, axis=1) if differences else z]), n + len(z)
        if X.size > _MOST_NUMBERS:
            X = np.asarray(np.linalg.qr(X, mode="r"))
    return X, n


def _weights(lags: Floats, target: Floats, n: int) -> Floats:
    """Return the weight of each order p from 0 up, for n rows; one QR holds all residual sums."""
    explained = np.cumsum((np.linalg.qr(lags)[0].T @ target) ** 2)
    total = target @ target
    rss = np.maximum(total - np.concatenate([[0.0], explained]), 1e-12 * total + 1e-300)
    aic = n * np.log(rss / n) + 2 * np.arange(len(rss))
    weights = np.exp(-(aic - aic.min()) / 2)
    weights[weights < LEAST_WEIGHT] = 0.0
    return np.asarray(weights / weights.sum())


def _iterated(a: Floats, h: int) -> Floats:
    """Return the h-step forecast as a map A [h, L] of the window, oldest value first."""
    L = len(a)
    path = np.concatenate([np.eye(L), np.zeros((h, L))])
    for k in range(L, L + h):
        path[k] = a[::-1] @ path[k - L : k]
    return path[L:]
