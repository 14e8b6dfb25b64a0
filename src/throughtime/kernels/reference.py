"""The oracle: every recurrence in NumPy float64, forward and backward, one sample and step at a time.

Slow and obvious, written from the equations alone; it shares no code with the fast kernels, so that
anyone can check them, or their own. Arguments and shapes are those of `throughtime.kernels.rnn`,
`lstm`, `layer_norm_lstm`, `gru`, `min_gru` and `min_lstm`, as arrays, without members. Each `*_gradients` takes what the
loss sends to the outputs and returns dL/d(argument) by the argument's name, and the gradient of every
state under the name "h_t", [T, B, H]. For the LSTMs that is dL/d(h_t, c_t), under "h_t" and "c_t": each half is the
gradient with the other held, so the path c_t -> h_t counts in "h_t" alone.

`dropout` d has the shape of h_0: d * h_{t-1} stands for h_{t-1} beside U. `zoneout` ζ_t, [T, B, H] or
one number (LSTM: a pair, for h and c), is how much of s_{t-1} stays: s_t = ζ_t * s_{t-1} + (1 - ζ_t) * s̃_t.
`state_grad_clip` scales the gradient of every state (h_t, c_t) of a sample to at most that norm; a step
that the mask skips makes no state.

Notation: σ'(a) = s(1 - s) for s = σ(a), tanh'(a) = 1 - n² for n = tanh(a). Where the mask is False
the state is carried unchanged, and so is its gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Gates = dict[tuple[int, int], tuple[Array, ...]]  # by time and sample
Gradients = dict[str, Array]
Zoneout = Array | float


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)).

    >>> float(sigmoid(np.zeros(1))[0])
    0.5
    """
    result: Array = 1.0 / (1.0 + np.exp(-a))
    return result


def rnn(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    phi: str = "tanh",
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: Zoneout = 0.0,
) -> tuple[Array, Array]:
    """Return h_t for all t [T, B, H], and the last: h_t = φ(W x_t + U h_{t-1} + b_ih + b_hh).

    >>> one = np.ones((1, 1))
    >>> h, _ = rnn(np.ones((3, 1, 1)), np.zeros((1, 1)), one, one, phi="relu")
    >>> h.ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    T, B, _ = x.shape
    b_ih, b_hh = _zeros_for_none(U.shape[0], b_ih, b_hh)
    h_all = np.zeros((T, B, U.shape[1]))
    d, zone = _one_for_none(h_0, dropout), _at_every_step(zoneout, h_all)
    for b in range(B):
        h = h_0[b]
        for t in range(T):
            if mask is None or mask[t, b]:
                a = W @ x[t, b] + b_ih + U @ (d[b] * h) + b_hh
                proposed = np.tanh(a) if phi == "tanh" else np.maximum(a, 0.0)
                h = zone[t, b] * h + (1.0 - zone[t, b]) * proposed
            h_all[t, b] = h
    return h_all, h_all[-1]


def rnn_gradients(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    d_h: Array,
    d_h_n: Array,
    *,
    phi: str = "tanh",
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: Zoneout = 0.0,
    state_grad_clip: float = 0.0,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n).

    >>> one = np.ones((1, 1))
    >>> args = np.ones((3, 1, 1)), np.zeros((1, 1)), one, one, None, None
    >>> grads = rnn_gradients(*args, np.zeros((3, 1, 1)), one, phi="relu")
    >>> grads["h_t"].ravel().tolist(), grads["W"].tolist(), grads["U"].tolist()
    ([1.0, 1.0, 1.0], [[3.0]], [[3.0]])
    """
    T, B, _ = x.shape
    how: dict[str, Any] = {"mask": mask, "dropout": dropout, "zoneout": zoneout}
    h_all, _ = rnn(x, h_0, W, U, b_ih, b_hh, phi=phi, **how)
    b_ih, b_hh = _zeros_for_none(U.shape[0], b_ih, b_hh)
    d, zone = _one_for_none(h_0, dropout), _at_every_step(zoneout, h_all)
    g = _zero_gradients(x=x, h_0=h_0, W=W, U=U, b_ih=U[:, 0], b_hh=U[:, 0], h_t=h_all)
    for b in range(B):
        dh = d_h_n[b]
        for t in reversed(range(T)):
            dh = dh + d_h[t, b]
            if mask is not None and not mask[t, b]:
                g["h_t"][t, b] = dh
                continue
            (dh,) = _clipped(state_grad_clip, dh)
            g["h_t"][t, b] = dh
            h_before = h_all[t - 1, b] if t > 0 else h_0[b]
            a = W @ x[t, b] + b_ih + U @ (d[b] * h_before) + b_hh
            slope = 1.0 - np.tanh(a) ** 2 if phi == "tanh" else (a > 0).astype(float)
            da = slope * (1.0 - zone[t, b]) * dh
            g["W"] += np.outer(da, x[t, b])
            g["U"] += np.outer(da, d[b] * h_before)
            g["b_ih"] += da
            g["b_hh"] += da
            g["x"][t, b] = W.T @ da
            dh = zone[t, b] * dh + d[b] * (U.T @ da)
        g["h_0"][b] = dh
    return g


def lstm(
    x: Array,
    h_0: Array,
    c_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    P: Array | None = None,
    *,
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: tuple[Zoneout, Zoneout] | float = 0.0,
) -> tuple[Array, Array, Array]:
    """Return h_t for all t, the last h and the last c; gates i f g o, h_t = P (o * tanh c_t).

    >>> x, h_0, c_0 = np.zeros((2, 1, 1)), np.zeros((1, 1)), np.ones((1, 1))
    >>> _, _, c_n = lstm(x, h_0, c_0, np.zeros((4, 1)), np.zeros((4, 1)))
    >>> c_n.tolist()
    [[0.25]]
    """
    h_all, c_all, _ = _lstm_trace(x, h_0, c_0, W, U, b_ih, b_hh, P, mask, dropout, zoneout)
    return h_all, h_all[-1], c_all[-1]


def _lstm_trace(
    x: Array,
    h_0: Array,
    c_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    P: Array | None,
    mask: Mask | None,
    dropout: Array | None,
    zoneout: tuple[Zoneout, Zoneout] | float,
) -> tuple[Array, Array, Gates]:
    T, B, _ = x.shape
    b_ih, b_hh = _zeros_for_none(U.shape[0], b_ih, b_hh)
    h_all, c_all = np.zeros((T, B, U.shape[1])), np.zeros((T, B, c_0.shape[1]))
    d, (zone_h, zone_c) = _one_for_none(h_0, dropout), _zones(zoneout, h_all, c_all)
    gates: Gates = {}
    for b in range(B):
        h, c = h_0[b], c_0[b]
        for t in range(T):
            if mask is None or mask[t, b]:
                a_i, a_f, a_g, a_o = np.split(W @ x[t, b] + b_ih + U @ (d[b] * h) + b_hh, 4)
                i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
                c_proposed = f * c + i * g
                gates[t, b] = (i, f, g, o, c_proposed)
                m = o * np.tanh(c_proposed)
                h_proposed = m if P is None else P @ m
                h = zone_h[t, b] * h + (1.0 - zone_h[t, b]) * h_proposed
                c = zone_c[t, b] * c + (1.0 - zone_c[t, b]) * c_proposed
            h_all[t, b], c_all[t, b] = h, c
    return h_all, c_all, gates


def lstm_gradients(
    x: Array,
    h_0: Array,
    c_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    P: Array | None,
    d_h: Array,
    d_h_n: Array,
    d_c_n: Array,
    *,
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: tuple[Zoneout, Zoneout] | float = 0.0,
    state_grad_clip: float = 0.0,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n) + sum(d_c_n * c_n).

    >>> one, zero = np.ones((1, 1)), np.zeros((1, 1))
    >>> args = np.zeros((2, 1, 1)), zero, one, np.zeros((4, 1)), np.zeros((4, 1)), None, None, None
    >>> grads = lstm_gradients(*args, np.zeros((2, 1, 1)), zero, one)
    >>> grads["c_t"].ravel().tolist(), grads["c_0"].tolist()
    ([0.5, 1.0], [[0.25]])
    """
    T, B, _ = x.shape
    trace = _lstm_trace(x, h_0, c_0, W, U, b_ih, b_hh, P, mask, dropout, zoneout)
    h_all, c_all, gates = trace
    d, (zone_h, zone_c) = _one_for_none(h_0, dropout), _zones(zoneout, h_all, c_all)
    bias = U[:, 0]
    grads = _zero_gradients(
        x=x, h_0=h_0, c_0=c_0, W=W, U=U, b_ih=bias, b_hh=bias, h_t=h_all, c_t=c_all
    )
    grads["P"] = np.zeros((0, 0)) if P is None else np.zeros_like(P)
    for b in range(B):
        dh, dc = d_h_n[b], d_c_n[b]
        for t in reversed(range(T)):
            dh = dh + d_h[t, b]
            if mask is not None and not mask[t, b]:
                grads["h_t"][t, b], grads["c_t"][t, b] = dh, dc
                continue
            dh, dc = _clipped(state_grad_clip, dh, dc)
            grads["h_t"][t, b], grads["c_t"][t, b] = dh, dc
            h_before, c_before = (h_all[t - 1, b], c_all[t - 1, b]) if t > 0 else (h_0[b], c_0[b])
            i, f, g, o, c_proposed = gates[t, b]
            tanh_c = np.tanh(c_proposed)
            dh_proposed = (1.0 - zone_h[t, b]) * dh
            dm = dh_proposed if P is None else P.T @ dh_proposed
            dc_proposed = (1.0 - zone_c[t, b]) * dc + dm * o * (1.0 - tanh_c**2)
            da_i = dc_proposed * g * i * (1.0 - i)
            da_f = dc_proposed * c_before * f * (1.0 - f)
            da_g = dc_proposed * i * (1.0 - g**2)
            da_o = dm * tanh_c * o * (1.0 - o)
            da = np.concatenate([da_i, da_f, da_g, da_o])
            if P is not None:
                grads["P"] += np.outer(dh_proposed, o * tanh_c)
            grads["W"] += np.outer(da, x[t, b])
            grads["U"] += np.outer(da, d[b] * h_before)
            grads["b_ih"] += da
            grads["b_hh"] += da
            grads["x"][t, b] = W.T @ da
            dh = zone_h[t, b] * dh + d[b] * (U.T @ da)
            dc = zone_c[t, b] * dc + f * dc_proposed
        grads["h_0"][b], grads["c_0"][b] = dh, dc
    return grads


def layer_norm_lstm(
    x: Array,
    h_0: Array,
    c_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    gamma_x: Array,
    gamma_h: Array,
    gamma_c: Array,
    beta_c: Array | None,
    *,
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: tuple[Zoneout, Zoneout] | float = 0.0,
) -> tuple[Array, Array, Array]:
    """Return h_t for all t, the last h and the last c; a = gamma_x * LN(W x) + gamma_h * LN(U h) + b.

    c_t = f * c_{t-1} + i * g as in the LSTM, and h_t = o * tanh(gamma_c * LN(c_t) + beta_c).

    >>> x, h_0, c_0, ones = np.zeros((2, 1, 1)), np.zeros((1, 1)), np.ones((1, 1)), np.ones(4)
    >>> W = np.zeros((4, 1))
    >>> given = x, h_0, c_0, W, W, None, None, ones, ones, ones[:1], None
    >>> layer_norm_lstm(*given)[2].tolist()
    [[0.25]]
    """
    weights = W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c
    h_all, c_all = _layer_norm_trace(x, h_0, c_0, weights, mask, dropout, zoneout)
    return h_all, h_all[-1], c_all[-1]


def _layer_norm_trace(
    x: Array,
    h_0: Array,
    c_0: Array,
    weights: tuple[Any, ...],
    mask: Mask | None,
    dropout: Array | None,
    zoneout: tuple[Zoneout, Zoneout] | float,
) -> tuple[Array, Array]:
    W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c = weights
    (T, B, _), H = x.shape, U.shape[1]
    b_ih, b_hh = _zeros_for_none(4 * H, b_ih, b_hh)
    beta = np.zeros(H) if beta_c is None else beta_c
    h_all, c_all = np.zeros((T, B, H)), np.zeros((T, B, H))
    d, (zone_h, zone_c) = _one_for_none(h_0, dropout), _zones(zoneout, h_all, c_all)
    for b in range(B):
        h, c = h_0[b], c_0[b]
        for t in range(T):
            if mask is None or mask[t, b]:
                a = gamma_x * _normal(W @ x[t, b]) + gamma_h * _normal(U @ (d[b] * h)) + b_ih + b_hh
                a_i, a_f, a_g, a_o = np.split(a, 4)
                proposed = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
                m = sigmoid(a_o) * np.tanh(gamma_c * _normal(proposed) + beta)
                h = zone_h[t, b] * h + (1.0 - zone_h[t, b]) * m
                c = zone_c[t, b] * c + (1.0 - zone_c[t, b]) * proposed
            h_all[t, b], c_all[t, b] = h, c
    return h_all, c_all


def layer_norm_lstm_gradients(
    x: Array,
    h_0: Array,
    c_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    gamma_x: Array,
    gamma_h: Array,
    gamma_c: Array,
    beta_c: Array | None,
    d_h: Array,
    d_h_n: Array,
    d_c_n: Array,
    *,
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: tuple[Zoneout, Zoneout] | float = 0.0,
    state_grad_clip: float = 0.0,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n) + sum(d_c_n * c_n).

    >>> zero, one, ones = np.zeros((1, 1)), np.ones((1, 1)), np.ones(4)
    >>> W = np.zeros((4, 1))
    >>> given = np.zeros((2, 1, 1)), zero, one, W, W, None, None, ones, ones, ones[:1], None
    >>> layer_norm_lstm_gradients(*given, np.zeros((2, 1, 1)), zero, one)["c_0"].tolist()
    [[0.25]]
    """
    (T, B, _), H = x.shape, U.shape[1]
    weights = W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c
    h_all, c_all = _layer_norm_trace(x, h_0, c_0, weights, mask, dropout, zoneout)
    zone_h, zone_c = _zones(zoneout, h_all, c_all)
    b_ih, b_hh = _zeros_for_none(4 * H, b_ih, b_hh)
    beta, d = np.zeros(H) if beta_c is None else beta_c, _one_for_none(h_0, dropout)
    grads = _zero_gradients(x=x, h_0=h_0, c_0=c_0, W=W, U=U, h_t=h_all, c_t=c_all)
    for name, value in zip(
        _OF_LAYER_NORM, (b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta), strict=True
    ):
        grads[name] = np.zeros_like(value)
    for b in range(B):
        dh, dc = d_h_n[b], d_c_n[b]
        for t in reversed(range(T)):
            dh = dh + d_h[t, b]
            if mask is not None and not mask[t, b]:
                grads["h_t"][t, b], grads["c_t"][t, b] = dh, dc
                continue
            dh, dc = _clipped(state_grad_clip, dh, dc)
            grads["h_t"][t, b], grads["c_t"][t, b] = dh, dc
            h_before, c_before = (h_all[t - 1, b], c_all[t - 1, b]) if t > 0 else (h_0[b], c_0[b])
            w, u = W @ x[t, b], U @ (d[b] * h_before)
            a_i, a_f, a_g, a_o = np.split(
                gamma_x * _normal(w) + gamma_h * _normal(u) + b_ih + b_hh, 4
            )
            i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
            c = f * c_before + i * g
            tanh_k = np.tanh(gamma_c * _normal(c) + beta)
            dm = (1.0 - zone_h[t, b]) * dh
            dk = dm * o * (1.0 - tanh_k**2)
            dc_proposed = (1.0 - zone_c[t, b]) * dc + _normal_jacobian(c).T @ (gamma_c * dk)
            da_i = dc_proposed * g * i * (1.0 - i)
            da_f = dc_proposed * c_before * f * (1.0 - f)
            da_g = dc_proposed * i * (1.0 - g**2)
            da = np.concatenate([da_i, da_f, da_g, dm * tanh_k * o * (1.0 - o)])
            dw, du = _normal_jacobian(w).T @ (gamma_x * da), _normal_jacobian(u).T @ (gamma_h * da)
            grads["W"] += np.outer(dw, x[t, b])
            grads["U"] += np.outer(du, d[b] * h_before)
            grads["b_ih"] += da
            grads["b_hh"] += da
            grads["gamma_x"] += da * _normal(w)
            grads["gamma_h"] += da * _normal(u)
            grads["gamma_c"] += dk * _normal(c)
            grads["beta_c"] += dk
            grads["x"][t, b] = W.T @ dw
            dh = zone_h[t, b] * dh + d[b] * (U.T @ du)
            dc = zone_c[t, b] * dc + f * dc_proposed
        grads["h_0"][b], grads["c_0"][b] = dh, dc
    return grads


_OF_LAYER_NORM = "b_ih", "b_hh", "gamma_x", "gamma_h", "gamma_c", "beta_c"


def _normal(z: Array) -> Array:
    normed: Array = (z - z.mean()) / np.sqrt(z.var() + 1e-5)
    return normed


def _normal_jacobian(z: Array) -> Array:
    """Return dLN(z)/dz, from z̃_i = (z_i - mean z) / s by the quotient rule, s = √(var z + ε)."""
    N, s = len(z), np.sqrt(z.var() + 1e-5)
    centred = z - z.mean()
    ds = centred / (N * s)
    jacobian: Array = (np.eye(N) - 1.0 / N) / s - np.outer(centred, ds) / s**2
    return jacobian


def gru(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reset: str = "after",
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: Zoneout = 0.0,
) -> tuple[Array, Array]:
    """Return h_t for all t, and the last; gates r z n, h_t = (1 - z) * n + z * h_{t-1}.

    Reset after: n = tanh(W_n x + b_in + r * (U_n h + b_hn)). Reset before:
    n = tanh(W_n x + b_in + U_n (r * h) + b_hn).

    >>> x, h_0 = np.zeros((3, 1, 1)), np.ones((1, 1))
    >>> h, _ = gru(x, h_0, np.zeros((3, 1)), np.zeros((3, 1)))
    >>> h.ravel().tolist()
    [0.5, 0.25, 0.125]
    """
    h_all, _ = _gru_trace(x, h_0, W, U, b_ih, b_hh, reset, mask, dropout, zoneout)
    return h_all, h_all[-1]


def _gru_trace(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    reset: str,
    mask: Mask | None,
    dropout: Array | None,
    zoneout: Zoneout,
) -> tuple[Array, Gates]:
    T, B, _ = x.shape
    b_ih, b_hh = _zeros_for_none(U.shape[0], b_ih, b_hh)
    W_r, W_z, W_n = np.split(W, 3)
    U_r, U_z, U_n = np.split(U, 3)
    b_ir, b_iz, b_in = np.split(b_ih, 3)
    b_hr, b_hz, b_hn = np.split(b_hh, 3)
    h_all = np.zeros((T, B, U.shape[1]))
    d, zone = _one_for_none(h_0, dropout), _at_every_step(zoneout, h_all)
    gates: Gates = {}
    for b in range(B):
        h = h_0[b]
        for t in range(T):
            if mask is None or mask[t, b]:
                kept = d[b] * h
                r = sigmoid(W_r @ x[t, b] + b_ir + U_r @ kept + b_hr)
                z = sigmoid(W_z @ x[t, b] + b_iz + U_z @ kept + b_hz)
                if reset == "after":
                    n = np.tanh(W_n @ x[t, b] + b_in + r * (U_n @ kept + b_hn))
                else:
                    n = np.tanh(W_n @ x[t, b] + b_in + U_n @ (r * kept) + b_hn)
                gates[t, b] = (r, z, n)
                proposed = (1.0 - z) * n + z * h
                h = zone[t, b] * h + (1.0 - zone[t, b]) * proposed
            h_all[t, b] = h
    return h_all, gates


def gru_gradients(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    d_h: Array,
    d_h_n: Array,
    *,
    reset: str = "after",
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: Zoneout = 0.0,
    state_grad_clip: float = 0.0,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n).

    >>> args = np.zeros((3, 1, 1)), np.ones((1, 1)), np.zeros((3, 1)), np.zeros((3, 1)), None, None
    >>> grads = gru_gradients(*args, np.zeros((3, 1, 1)), np.ones((1, 1)))
    >>> grads["h_t"].ravel().tolist()
    [0.25, 0.5, 1.0]
    """
    T, B, _ = x.shape
    H = U.shape[1]
    h_all, gates = _gru_trace(x, h_0, W, U, b_ih, b_hh, reset, mask, dropout, zoneout)
    d, zone = _one_for_none(h_0, dropout), _at_every_step(zoneout, h_all)
    _, b_hh = _zeros_for_none(U.shape[0], b_ih, b_hh)
    b_hn, U_n = b_hh[2 * H :], U[2 * H :]
    g = _zero_gradients(x=x, h_0=h_0, W=W, U=U, b_ih=U[:, 0], b_hh=U[:, 0], h_t=h_all)
    for b in range(B):
        dh = d_h_n[b]
        for t in reversed(range(T)):
            dh = dh + d_h[t, b]
            if mask is not None and not mask[t, b]:
                g["h_t"][t, b] = dh
                continue
            (dh,) = _clipped(state_grad_clip, dh)
            g["h_t"][t, b] = dh
            h = h_all[t - 1, b] if t > 0 else h_0[b]
            r, z, n = gates[t, b]
            kept, d_proposed = d[b] * h, (1.0 - zone[t, b]) * dh
            da_z = d_proposed * (h - n) * z * (1.0 - z)
            da_n = d_proposed * (1.0 - z) * (1.0 - n**2)
            if reset == "after":
                into_n, from_n = kept, da_n * r  # U_n multiplies h, and gets da_n through r
                da_r = da_n * (U_n @ kept + b_hn) * r * (1.0 - r)
                d_through_n = U_n.T @ from_n
            else:
                into_n, from_n = r * kept, da_n
                ds = U_n.T @ da_n
                da_r = ds * kept * r * (1.0 - r)
                d_through_n = ds * r
            da_x = np.concatenate([da_r, da_z, da_n])
            g["W"] += np.outer(da_x, x[t, b])
            g["b_ih"] += da_x
            g["b_hh"] += np.concatenate([da_r, da_z, from_n])
            g["U"][: 2 * H] += np.outer(np.concatenate([da_r, da_z]), kept)
            g["U"][2 * H :] += np.outer(from_n, into_n)
            g["x"][t, b] = W.T @ da_x
            d_kept = U[:H].T @ da_r + U[H : 2 * H].T @ da_z + d_through_n
            dh = zone[t, b] * dh + z * d_proposed + d[b] * d_kept
        g["h_0"][b] = dh
    return g


def min_gru(
    x: Array,
    h_0: Array,
    W: Array,
    b: Array | None = None,
    *,
    candidate: str = "linear",
    mask: Mask | None = None,
    zoneout: Zoneout = 0.0,
) -> tuple[Array, Array]:
    """Return h_t for all t [T, B, H], and the last: h_t = (1 - z) * h_{t-1} + z * n.

    >>> x, W = np.ones((3, 1, 1)), np.array([[0.0], [8.0]])
    >>> min_gru(x, np.zeros((1, 1)), W)[0].ravel().tolist()
    [4.0, 6.0, 7.0]
    """
    return _minimal(_min_gru_cell, x, h_0, W, b, candidate, mask, zoneout)


def min_gru_gradients(*arguments: Any, **how: Any) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n); arguments x, h_0, W, b, d_h, d_h_n.

    >>> args = np.zeros((3, 1, 1)), np.ones((1, 1)), np.zeros((2, 1)), None
    >>> grads = min_gru_gradients(*args, np.zeros((3, 1, 1)), np.ones((1, 1)))
    >>> grads["h_t"].ravel().tolist(), grads["b"].tolist()
    ([0.25, 0.5, 1.0], [-0.1875, 0.875])
    """
    return _minimal_gradients(_min_gru_cell, *arguments, **how)


def min_lstm(
    x: Array,
    h_0: Array,
    W: Array,
    b: Array | None = None,
    *,
    candidate: str = "linear",
    mask: Mask | None = None,
    zoneout: Zoneout = 0.0,
) -> tuple[Array, Array]:
    """Return h_t for all t [T, B, H], and the last: h_t = (f * h_{t-1} + i * g) / (f + i).

    >>> x, W = np.ones((3, 1, 1)), np.array([[0.0], [0.0], [8.0]])
    >>> min_lstm(x, np.zeros((1, 1)), W)[0].ravel().tolist()
    [4.0, 6.0, 7.0]
    """
    return _minimal(_min_lstm_cell, x, h_0, W, b, candidate, mask, zoneout)


def min_lstm_gradients(*arguments: Any, **how: Any) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n); arguments x, h_0, W, b, d_h, d_h_n.

    >>> args = np.zeros((3, 1, 1)), np.ones((1, 1)), np.zeros((3, 1)), None
    >>> grads = min_lstm_gradients(*args, np.zeros((3, 1, 1)), np.ones((1, 1)))
    >>> grads["h_t"].ravel().tolist()
    [0.25, 0.5, 1.0]
    """
    return _minimal_gradients(_min_lstm_cell, *arguments, **how)


def _min_gru_cell(p: Array, h: Array, candidate: str) -> tuple[Array, Array, list[Array]]:
    """Return h_t, dh_t/dh_{t-1}, and dh_t by each block of p."""
    p_z, p_n = np.split(p, 2)
    z, (n, slope) = sigmoid(p_z), _candidate(p_n, candidate)
    return (1.0 - z) * h + z * n, 1.0 - z, [(n - h) * z * (1.0 - z), z * slope]


def _min_lstm_cell(p: Array, h: Array, candidate: str) -> tuple[Array, Array, list[Array]]:
    p_i, p_f, p_g = np.split(p, 3)
    i, f, (g, slope) = sigmoid(p_i), sigmoid(p_f), _candidate(p_g, candidate)
    sum_ = f + i
    by_i = f * (g - h) / sum_**2 * i * (1.0 - i)
    by_f = i * (h - g) / sum_**2 * f * (1.0 - f)
    return (f * h + i * g) / sum_, f / sum_, [by_i, by_f, i / sum_ * slope]


def _candidate(p: Array, candidate: str) -> tuple[Array, Array]:
    """Return g(p) and g'(p)."""
    if candidate == "linear":
        return p, np.ones_like(p)
    s = sigmoid(p)
    return np.where(p >= 0, p + 0.5, s), np.where(p >= 0, 1.0, s * (1.0 - s))


def _minimal(
    cell: Any,
    x: Array,
    h_0: Array,
    W: Array,
    b: Array | None,
    candidate: str,
    mask: Mask | None,
    zoneout: Zoneout,
) -> tuple[Array, Array]:
    T, B, _ = x.shape
    h_all = np.zeros((T, B, h_0.shape[1]))
    bias, zone = np.zeros(len(W)) if b is None else b, _at_every_step(zoneout, h_all)
    for row in range(B):
        h = h_0[row]
        for t in range(T):
            if mask is None or mask[t, row]:
                proposed, _, _ = cell(W @ x[t, row] + bias, h, candidate)
                h = zone[t, row] * h + (1.0 - zone[t, row]) * proposed
            h_all[t, row] = h
    return h_all, h_all[-1]


def _minimal_gradients(
    cell: Any,
    x: Array,
    h_0: Array,
    W: Array,
    b: Array | None,
    d_h: Array,
    d_h_n: Array,
    *,
    candidate: str = "linear",
    mask: Mask | None = None,
    zoneout: Zoneout = 0.0,
    state_grad_clip: float = 0.0,
) -> Gradients:
    T, B, _ = x.shape
    h_all, _ = _minimal(cell, x, h_0, W, b, candidate, mask, zoneout)
    bias, zone = np.zeros(len(W)) if b is None else b, _at_every_step(zoneout, h_all)
    g = _zero_gradients(x=x, h_0=h_0, W=W, b=bias, h_t=h_all)
    for row in range(B):
        dh = d_h_n[row]
        for t in reversed(range(T)):
            dh = dh + d_h[t, row]
            if mask is not None and not mask[t, row]:
                g["h_t"][t, row] = dh
                continue
            (dh,) = _clipped(state_grad_clip, dh)
            g["h_t"][t, row] = dh
            h = h_all[t - 1, row] if t > 0 else h_0[row]
            _, by_h, by_p = cell(W @ x[t, row] + bias, h, candidate)
            d_proposed = (1.0 - zone[t, row]) * dh
            dp = np.concatenate([by * d_proposed for by in by_p])
            g["W"] += np.outer(dp, x[t, row])
            g["b"] += dp
            g["x"][t, row] = W.T @ dp
            dh = zone[t, row] * dh + by_h * d_proposed
        g["h_0"][row] = dh
    return g


def _zeros_for_none(size: int, *biases: Array | None) -> tuple[Array, Array]:
    b_ih, b_hh = (np.zeros(size) if bias is None else bias for bias in biases)
    return b_ih, b_hh


def _one_for_none(h_0: Array, dropout: Array | None) -> Array:
    return np.ones_like(h_0) if dropout is None else dropout


def _at_every_step(zoneout: Zoneout, states: Array) -> Array:
    return np.broadcast_to(np.asarray(zoneout, float), states.shape)


def _zones(
    zoneout: tuple[Zoneout, Zoneout] | float, h_all: Array, c_all: Array
) -> tuple[Array, Array]:
    zone_h, zone_c = zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)
    return _at_every_step(zone_h, h_all), _at_every_step(zone_c, c_all)


def _clipped(most: float, *gradient: Array) -> tuple[Array, ...]:
    norm = np.sqrt(sum(float(part @ part) for part in gradient))
    factor = most / norm if 0.0 < most < norm else 1.0
    return tuple(factor * part for part in gradient)


def _zero_gradients(**arguments: Any) -> Gradients:
    return {name: np.zeros(value.shape) for name, value in arguments.items()}
