"""What ties the steps of a horizon, and several targets, together: a Gaussian copula of their errors.

    w_n [M, h]    normal scores of the errors at origin and series n, of M targets and h steps
    C             their correlations about 0, sum_n w_na w_nb / (|w_a| |w_b|), places a = (m, k)
    T             S_mm' rho_kk',   rho_kk' = phi^{k'-k} sqrt(v_k / v_k'),   v_k = sum_{i<k} phi^{2 i}
    R             lambda T + (1 - lambda) C
    g             L z, L L^T = R, z standard normal; u = Phi(g) is uniform at every place

rho are the correlations of the errors that an autoregression of order 1 makes k steps ahead: those
of a random walk for phi = 1, none for phi = 0. phi is the least-squares fit to the mean of the targets' own parts of C,
S the mean over steps of what ties targets at one step. Correlations are taken about 0, for what an origin
errs by as a whole is part of what is uncertain.

Drawing whole vectors w_n instead (the Schaake shuffle, Clark et al. 2004) would know no more orders
than there are origins, eight for a single series. A shrunk correlation makes use of few and believes many:
lambda = sum (1 - T^2)^2 / n / sum (C - T)^2, at most 1, is the weight that costs the least squared
error (Ledoit and Wolf 2003; Schafer and Strimmer 2005), with the variances that C would have about T.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PHIS = np.linspace(-0.95, 1.0, 40)


def correlation(w: Floats) -> Floats:
    """Return R [M h, M h] of normal scores w [n, M, h], NaN where there is none.

    >>> same = np.repeat([[[-1.0]], [[1.0]]] * 99, 2, axis=2)  # two steps that err alike
    >>> bool(correlation(same)[0, 1] > 0.95)
    True
    """
    n, M, h = w.shape
    flat = np.nan_to_num(w.reshape(n, M * h))
    seen = (~np.isnan(w.reshape(n, M * h))).astype(np.float64)
    C = _ratio(flat.T @ flat, np.sqrt((flat**2).T @ seen * (seen.T @ flat**2)))
    np.fill_diagonal(C, 1.0)
    parts = C.reshape(M, h, M, h)
    own = np.mean([parts[m, :, m] for m in range(M)], axis=0)
    between = np.einsum("aibi->ab", parts) / h
    T = np.kron(between, _of_steps(own))
    chance = float(((1 - T**2) ** 2 / np.maximum(seen.T @ seen, 1)).sum())
    error = float(((C - T) ** 2).sum())
    share = min(1.0, chance / error) if error > 0 else 1.0
    return share * T + (1 - share) * C


def draw(R: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Draw n vectors [n, D] of standard normal variables with correlations R [D, D]."""
    values, vectors = np.linalg.eigh(R)  # pairs with gaps may leave it a little below 0
    L = vectors * np.sqrt(np.maximum(values, 0.0))
    L /= np.linalg.norm(L, axis=1, keepdims=True)
    return np.asarray(rng.standard_normal((n, len(R))) @ L.T)


def ranks(paths: Floats, rng: np.random.Generator) -> Floats:
    """Return uniform numbers [n, ...] in the order of n paths: what ties them, without their values.

    Ensemble copula coupling (Schefzik, Thorarinsdottir and Gneiting 2013). Equal values, as counts
    have, are ordered by chance.

    >>> ranks(np.array([[3.0], [1.0], [2.0]]), np.random.default_rng(0)).argsort(axis=0).T
    array([[1, 2, 0]])
    """
    chance = rng.random(paths.shape)
    order = np.lexsort((chance, paths), axis=0).argsort(axis=0)
    return np.asarray((order + rng.random(paths.shape)) / len(paths))


def _of_steps(own: Floats) -> Floats:
    """Return rho [h, h] with the phi that fits best."""
    errors = [float(((own - _autoregressive(phi, len(own))) ** 2).sum()) for phi in PHIS]
    return _autoregressive(float(PHIS[int(np.argmin(errors))]), len(own))


def _autoregressive(phi: float, h: int) -> Floats:
    k = np.arange(h)
    v = np.cumsum(phi ** (2 * k))
    early, late = np.minimum.outer(k, k), np.maximum.outer(k, k)
    return np.asarray(phi ** (late - early) * np.sqrt(v[early] / v[late]))


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)
