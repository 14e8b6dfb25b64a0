"""What the past of a series says of its errors to come: a log-linear regression of their size.

Of row i at an origin T, on the transformed scale u = f(y), beside b_i, w_i, q_i and sigma_i of `spread.py`:

    d_t       u_t - u_{t-1}
    v(m)^2    (sum (d_t - mean d)^2 + 2 b_i^2) / (max(m - 1, 0) + 2)      of the last m steps
    s(m)^2    (sum d_t^2 + 2 b_i^2) / (m + 2)                             of the last m, too
    x_i       log v(h) / b_i,  log v(4h) / b_i,  log b_i,  log n_i,
              log |y_T| / mean |y_t|,                                      n_i values, of mean |y_t|
              log s(h/4) / b_i,  w_i (q_i - q)                             h/4 rounded down, 1 at least

    r_io      mean over the steps of the |error| at origin o, in units of sigma_i; log (r_io + m_o / 20)
              with their median m_o, for a forecast may happen to be true
    a, beta = argmin  sum (log r_io - a_o - beta' z_io)^2 + lambda |beta|^2       lambda = 0.1 (N + 200)

over all N rows and origins, z being x held between its first and its last percentile, and
standardized. What intervals are in units of is then

    sigma_i exp(beta' z_i)

b_i counts a steady growth as if it were noise, which v does not, and all that was long ago as if it
were today; large steps come in clusters, so that the newest say something of their own; how errors go
with the scale b_i itself says where f has not made them even, how they go with n_i and |y_T| what young
series and those far above their past have in common. a_o takes up what an origin had of its own, such as a crisis that all series felt: widths of the rows beside each other are
learned, not that of all. As beta at an origin comes from the others alone, errors there in these units
are conformal scores like any other. Below 50 rows at two origins nothing is learned, beta = 0.

The regression is the first step of Harvey (1976), "Estimating regression models with multiplicative
heteroscedasticity", with a ridge; that large steps follow large ones, Engle (1982), "Autoregressive
conditional heteroscedasticity"; spreads over several windows beside each other are those of Corsi
(2009), "A simple approximate long-memory model of realized volatility"; conformal scores in units of a
regression of their size, Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018, section 5.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.preprocessing.steps import mean_steps
from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.series.panel import Panel

Floats = npt.NDArray[np.float64]

TRAITS = 6  # of a row, five in files of before; its own errors are the last x
LEAST = 50  # rows, at each of two origins
PENALTY, PRIOR_ROWS = 0.1, 200
PRIOR_STEPS = 2.0
LOWEST = 0.01  # |y_T| / mean |y|
FLOOR = 0.05  # of the median |r| of an origin, added to each
EDGE = 0.01  # what lies beyond this share of the rows is held there
_BLOCK = 2**10


def traits(panel: Panel, transform: Transform, h: int) -> Floats:
    """Return all x but the last, [rows, 6], of every row at the end of a panel; NaN where there is none.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.preprocessing.transforms import Identity
    >>> np.exp(traits(read_frame([1.0, 3.0, 5.0]), Identity(), h=1)).round(3)  # grows steadily
    array([[1.   , 0.816, 2.   , 3.   , 1.667, 1.   ]])
    """
    return np.concatenate([_traits(block, transform, h) for block in panel.blocks(_BLOCK)])


def _traits(panel: Panel, transform: Transform, h: int) -> Floats:
    newest = np.full((len(panel), 4 * h + 1), np.nan)
    n, mean, last = (np.zeros(len(panel)) for _ in range(3))
    for r in range(len(panel)):
        y = panel.row(r)
        newest[r, -len(y) :] = y[-newest.shape[1] :]
        seen = y[~np.isnan(y)]
        if len(seen):
            n[r], mean[r], last[r] = len(seen), np.abs(seen).mean(), np.abs(seen[-1])
    d, b = np.diff(transform.forward(newest)), mean_steps(panel, transform)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a row that never moved, or is 0
        x = (
            np.log(_spread(d[:, -h:], b) / b),
            np.log(_spread(d, b) / b),
            np.log(b),
            np.log(n),
            np.log(np.maximum(last / mean, LOWEST)),
            np.log(_size(d[:, -max(1, h // 4) :], b) / b),
        )
    made = np.stack(x, axis=-1)
    return np.where(np.isfinite(made), made, np.nan)


def _spread(d: Floats, b: Floats) -> Floats:
    """Return v [rows] of steps d [rows, m]."""
    m = (~np.isnan(d)).sum(axis=-1)
    mean = np.nansum(d, axis=-1) / np.maximum(m, 1)
    squares = np.nansum((d - mean[:, None]) ** 2, axis=-1)
    v2 = (squares + PRIOR_STEPS * b**2) / (np.maximum(m - 1, 0) + PRIOR_STEPS)
    return np.asarray(np.sqrt(v2))


def _size(d: Floats, b: Floats) -> Floats:
    """Return s [rows] of steps d [rows, m]."""
    m = (~np.isnan(d)).sum(axis=-1)
    s2 = (np.nansum(d**2, axis=-1) + PRIOR_STEPS * b**2) / (m + PRIOR_STEPS)
    return np.asarray(np.sqrt(s2))


@dataclass(frozen=True, eq=False)
class Widths:
    """What standardizes x [7], the `edges` [2, 7] it is held between, and the weights beta [7]."""

    mean: Floats
    deviation: Floats
    edges: Floats
    beta: Floats

    @classmethod
    def fit(cls, x: Floats, r: Floats) -> Widths:
        """Return what the mean errors |r| [R, rows] of rows with x [R, rows, 7] say.

        NaN and 0 say nothing; one has to.

        >>> x = np.log(np.arange(1.0, 401))[None, :, None]
        >>> factor = Widths.fit(x, 7 * np.exp(x[..., 0] / 2)).factors(x)[0]
        >>> slope = np.log(factor[299] / factor[99]) / np.log(300 / 100)
        >>> round(float(slope), 2)  # 1/2, drawn to 0
        0.41
        """
        judged = r > 0
        x = np.where(np.isnan(x[judged]).all(axis=0), 0.0, x)
        edges = np.nanquantile(x[judged], [EDGE, 1 - EDGE], axis=0)
        held = np.clip(x[judged], *edges)
        mean, deviation = np.nanmean(held, axis=0), np.nanstd(held, axis=0)
        unit = cls(mean, np.where(deviation > 0, deviation, 1.0), edges, np.zeros(x.shape[-1]))
        origins = [(unit._standard(x[o, seen]), r[o, seen]) for o, seen in enumerate(judged)]
        within = [(_centred(z), _centred(_log(e))) for z, e in origins if len(e)]
        z, t = (np.concatenate(each) for each in zip(*within, strict=True))
        ridge = PENALTY * (len(t) + PRIOR_ROWS) * np.eye(z.shape[-1])
        return replace(unit, beta=np.linalg.solve(z.T @ z + ridge, z.T @ t))

    def factors(self, x: Floats) -> Floats:
        """Return exp(beta' z) [...] of x [..., 7]; an x that is not known counts as the mean."""
        return np.asarray(np.exp(self._standard(x) @ self.beta))

    def _standard(self, x: Floats) -> Floats:
        z = (np.clip(x, *self.edges) - self.mean) / self.deviation
        return np.asarray(np.where(np.isnan(z), 0.0, z))


def _log(r: Floats) -> Floats:
    """Return the logarithms of r, held up near 0."""
    return np.asarray(np.log(r + FLOOR * np.median(r)))


def _centred(each: Floats) -> Floats:
    return np.asarray(each - each.mean(axis=0))
