"""One linear map from a window to all h steps, learned from many windows on their scale.

    z_{T+k} = base_k(z) + (R z)_k               z the window [L], R [h, L]
    R = argmin  sum_i w_i |r_i - R z_i|^2 + lambda |R|^2         lambda = 0.01 mean(diag(Z' W Z))
    w_i = 1 / (1 + mean_k |r_ik|)

Ridge regression (Hoerl and Kennard 1970) of what the nets are to say, r (`examples/scaled.py`),
with weights that let a window far off count by its error and not by its square (Huber 1981, section
7.8). There is no intercept: z lies about 0. The forecast stays within the range of z, widened by
itself on either side. It takes a tenth of a second. Where nets read differences d in place of z
(`preprocessing/differences.py`), R d stands for R z.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.examples.scaled import ScaledWindows
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.series.windows import spread

Floats = npt.NDArray[np.float64]

PENALTY = 0.01
MOST = 8_000  # windows that are learned from, spread evenly
_BLOCK = 2**10  # windows that are cut together


def fit_ridge(examples: ScaledWindows) -> Floats:
    """Return the map A [h, L] of z with the naive base in it, A z = base(z) + R z.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.preprocessing.transforms import Identity
    >>> panel = read_frame(np.tile([1.0, -1.0], 20))
    >>> A = fit_ridge(ScaledWindows.of(panel, Identity(), 4, 2, Base("season", 2)))
    >>> (A @ [1.0, -1.0, 1.0, -1.0]).round(6)
    array([ 1., -1.])
    """
    L, h = examples.windows.context_length, examples.windows.h
    naive = examples.base.ahead(torch.eye(L, dtype=torch.float64), h).T
    return np.asarray(naive.numpy() + coefficients(replace(examples, lags=())))


def coefficients(examples: ScaledWindows) -> Floats:
    """Return R [h, L], of the differences where these are read."""
    L, h = examples.windows.context_length, examples.windows.h
    d, z, truth, _ = scaled(examples, spread(len(examples), MOST))
    r = truth - examples.base.ahead(z, h)
    whole = ~r.isnan().any(dim=-1)
    d, r = d[whole], r[whole]
    w = 1 / (1 + r.abs().mean(dim=-1, keepdim=True))
    gram = (w * d).T @ d
    size = (PENALTY * gram.trace() / L).clamp(min=1e-12)  # of no windows: R = 0
    eye = torch.eye(L, dtype=torch.float64)
    return np.asarray(torch.linalg.solve(gram + size * eye, (w * d).T @ r).T.numpy())


def say(R: Floats, base: Base, d: Tensor, z: Tensor) -> Tensor:
    """Return the forecast base(z) + R d [..., h] of windows z [..., L], held within the widened range.

    >>> w = torch.tensor([1.0, 2.0])
    >>> say(np.array([[9.0, 0.0]]), Base(), w, w)
    tensor([3.], dtype=torch.float64)
    """
    z, d = z.double(), d.double()
    low, high = z.amin(dim=-1, keepdim=True), z.amax(dim=-1, keepdim=True)
    forecast = base.ahead(z, len(R)) + d @ torch.from_numpy(R).T
    return forecast.clamp(2 * low - high, 2 * high - low)


def scaled(examples: ScaledWindows, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what is read [n, L], z [n, L], truth [n, h] and size [n, 1] of the windows `index`.

    Each target of a window is a row; z is read, or differences of it.
    """
    L, h = examples.windows.context_length, examples.windows.h
    made = []
    for some in torch.split(index, _BLOCK):
        window, scale = examples.window(*examples.windows.places(some), h)
        read = window.z if window.differences is None else window.differences
        parts = (read[..., :L], window.z[..., :L], window.truth[..., L:], scale.size)
        made.append([part.flatten(0, 1).double() for part in parts])
    d, z, truth, size = (torch.cat(each) for each in zip(*made, strict=True))
    return d, z, truth, size
