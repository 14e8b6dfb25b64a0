"""The linear autoregression inside the model, as one linear map.

In windows z of L steps less their mean, one step ahead and then iterated:

    z_t = phi_1 z_{t-1} + ... + phi_p z_{t-p} + e_t          least squares over all windows
    (z_{t+1}, ..., z_{t+h}) = A (z_{t-L+1}, ..., z_t)         by feeding the forecast back

Each forecast is made as it was learned, in the window of the L steps before it less the mean of
these; so a trend goes on, where the mean of the first window would hold it back.
Each window counts by the size of its values in units of its series' deviation, so that series of
every scale share one autoregression. The order p minimises Akaike's n log(RSS_p / n) + 2 p.
There is no intercept: the level is the window's own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from throughtime.forecasting.examples import carry_on, moments
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.transforms import Transform
from throughtime.forecasting.windows import Windows

Floats = npt.NDArray[np.float64]

_MOST_WINDOWS = 50_000


def fit_linear_map(
    panel: Panel, transform: Transform, context_length: int, h: int, season_length: int
) -> Floats:
    """Return A [h, L], fitted to the panel; zeros where the windows are too few.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.transforms import Identity
    >>> panel = read_frame(np.tile([1.0, -1.0], 20))
    >>> A = fit_linear_map(panel, Identity(), context_length=4, h=2, season_length=1)
    >>> (A @ [1.0, -1.0, 1.0, -1.0]).round(6)
    array([ 1., -1.])
    """
    lags, target = _design(panel, transform, context_length)
    highest = max(int(10 * np.log10(max(len(target), 1))), season_length + 1)
    # less their mean, L lags are worth L - 1
    highest = min(highest, context_length - 1, len(target) // 3)
    if highest < 1:
        return np.zeros((h, context_length))
    p = _order(lags[:, :highest], target)
    phi = np.zeros(context_length)
    if p > 0:
        phi[:p] = np.linalg.lstsq(lags[:, :p], target, rcond=None)[0]
    return _iterated(phi, h)


def _design(panel: Panel, transform: Transform, context_length: int) -> tuple[Floats, Floats]:
    """Return lags [n, L], newest first, and targets [n], in units of each series' deviation."""
    u = transform.forward(panel.y)
    windows = Windows(u, panel.offsets, context_length, 1, dtype=torch.float64)
    chosen = np.unique(np.linspace(0, len(windows) - 1, _MOST_WINDOWS).astype(np.int64))
    index = torch.from_numpy(chosen)
    context, target = (part.numpy() for part in windows[index])
    context = carry_on(torch.from_numpy(context)).numpy()
    complete = ~(np.isnan(context).any(axis=1) | np.isnan(target[:, 0]))
    context, target = context[complete], target[complete, 0]
    size = moments(u, panel.offsets)[1][windows.series[index].numpy()[complete]]
    size[size == 0] = 1.0
    mean = context.mean(axis=1)
    return ((context - mean[:, None]) / size[:, None])[:, ::-1], (target - mean) / size


def _order(lags: Floats, target: Floats) -> int:
    """Return the best p from 0 up; one QR holds the residual sums of all nested designs."""
    explained = np.cumsum((np.linalg.qr(lags)[0].T @ target) ** 2)
    total = target @ target
    rss = np.maximum(total - np.concatenate([[0.0], explained]), 1e-12 * total + 1e-300)
    return int(np.argmin(len(target) * np.log(rss / len(target)) + 2 * np.arange(len(rss))))


def _iterated(phi: Floats, h: int) -> Floats:
    """Return the h-step forecast as a map A [h, L] of the window, oldest value first."""
    L = len(phi)
    step = (phi + (1 - phi.sum()) / L)[::-1]  # m + phi (x - m), m the mean of the window x
    path = np.concatenate([np.eye(L), np.zeros((h, L))])
    for k in range(L, L + h):
        path[k] = step @ path[k - L : k]
    return path[L:]
