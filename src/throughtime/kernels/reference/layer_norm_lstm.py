"""The LSTM with layer normalisation; gates in the order i f g o.

Normal       z̃ = LN(z) = (z - mean z) / s        s = √(var z + ε)        ε = 10⁻⁵
             LN' = ∂z̃/∂z = (1 - 1/N) / s - (z - mean z) (∂s/∂z)' / s²    ∂s/∂z = (z - mean z) / (N s)

Forward      w_t = W x_t       u_t = U (d * h_{t-1})       a_t = γ_x * w̃_t + γ_h * ũ_t + b_ih + b_hh
             i, f, o = σ(a_i, a_f, a_o)       g = tanh(a_g)       c_t = f * c_{t-1} + i * g
             k_t = γ_c * c̃_t + β_c            h_t = o * tanh(k_t)

Adjoint      dk_t = dh_t * o * (1 - tanh²(k_t))            dc_t += LN'(c_t)' (γ_c * dk_t)
             da_i = dc_t * g * i(1 - i)                    da_f = dc_t * c_{t-1} * f(1 - f)
             da_g = dc_t * i * (1 - g²)                    da_o = dh_t * tanh(k_t) * o(1 - o)
             dw_t = LN'(w_t)' (γ_x * da_t)                 du_t = LN'(u_t)' (γ_h * da_t)
             dh_{t-1} = d * (U' du_t)     dc_{t-1} = f * dc_t     dx_t = W' dw_t
             dW = Σ dw_t x_t'     dU = Σ du_t (d * h_{t-1})'     db_ih = db_hh = Σ da_t
             dγ_x = Σ da_t * w̃_t     dγ_h = Σ da_t * ũ_t     dγ_c = Σ dk_t * c̃_t     dβ_c = Σ dk_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from throughtime.kernels.reference.through_time import (
    Array,
    Cell,
    Gradients,
    State,
    backward,
    forward,
    or_zeros,
    sigmoid,
)


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
    **how: Any,
) -> tuple[Array, Array, Array]:
    """Return h_t for all t, the last h and the last c; a = gamma_x * LN(W x) + gamma_h * LN(U h) + b.

    c_t = f * c_{t-1} + i * g as in the LSTM, and h_t = o * tanh(gamma_c * LN(c_t) + beta_c).

    >>> x, h_0, c_0, ones = np.zeros((2, 1, 1)), np.zeros((1, 1)), np.ones((1, 1)), np.ones(4)
    >>> W = np.zeros((4, 1))
    >>> given = x, h_0, c_0, W, W, None, None, ones, ones, ones[:1], None
    >>> layer_norm_lstm(*given)[2].tolist()
    [[0.25]]
    """
    cell = _cell(W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c)
    h, c = forward(cell, x, (h_0, c_0), **how)
    return h, h[-1], c[-1]


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
    **how: Any,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n) + sum(d_c_n * c_n).

    >>> zero, one, ones = np.zeros((1, 1)), np.ones((1, 1)), np.ones(4)
    >>> W = np.zeros((4, 1))
    >>> given = np.zeros((2, 1, 1)), zero, one, W, W, None, None, ones, ones, ones[:1], None
    >>> layer_norm_lstm_gradients(*given, np.zeros((2, 1, 1)), zero, one)["c_0"].tolist()
    [[0.25]]
    """
    cell = _cell(W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c)
    return backward(cell, x, (h_0, c_0), d_h, (d_h_n, d_c_n), **how)


@dataclass(frozen=True)
class LayerNormLSTMCell(Cell):
    """The equations at the top of this module."""

    W: Array
    U: Array
    b_ih: Array
    b_hh: Array
    gamma_x: Array
    gamma_h: Array
    gamma_c: Array
    beta_c: Array

    def step(self, x: Array, d: Array, *state: Array) -> State:
        """Return h_t and c_t."""
        h, c = state
        i, f, g, o = self._gates(self.W @ x, self.U @ (d * h))
        c = f * c + i * g
        return o * np.tanh(self.gamma_c * _normal(c) + self.beta_c), c

    def adjoint(self, x: Array, d: Array, state: State, ds: State) -> tuple[State, Gradients]:
        """Return dh_{t-1}, dc_{t-1} and the gradients."""
        (h, c_before), (dh, dc) = state, ds
        w, u = self.W @ x, self.U @ (d * h)
        i, f, g, o = self._gates(w, u)
        c = f * c_before + i * g
        tanh_k = np.tanh(self.gamma_c * _normal(c) + self.beta_c)
        dk = dh * o * (1.0 - tanh_k**2)
        dc = dc + _normal_jacobian(c).T @ (self.gamma_c * dk)
        da_i = dc * g * i * (1.0 - i)
        da_f = dc * c_before * f * (1.0 - f)
        da_g = dc * i * (1.0 - g**2)
        da_o = dh * tanh_k * o * (1.0 - o)
        da = np.concatenate([da_i, da_f, da_g, da_o])
        dw = _normal_jacobian(w).T @ (self.gamma_x * da)
        du = _normal_jacobian(u).T @ (self.gamma_h * da)
        grads = {
            "x": self.W.T @ dw,
            "W": np.outer(dw, x),
            "U": np.outer(du, d * h),
            "b_ih": da,
            "b_hh": da,
            "gamma_x": da * _normal(w),
            "gamma_h": da * _normal(u),
            "gamma_c": dk * _normal(c),
            "beta_c": dk,
        }
        return (d * (self.U.T @ du), f * dc), grads

    def _gates(self, w: Array, u: Array) -> tuple[Array, ...]:
        """Return i, f, g, o."""
        a = self.gamma_x * _normal(w) + self.gamma_h * _normal(u) + self.b_ih + self.b_hh
        a_i, a_f, a_g, a_o = np.split(a, 4)
        return sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)


def _cell(
    W: Array,
    U: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    gamma_x: Array,
    gamma_h: Array,
    gamma_c: Array,
    beta_c: Array | None,
) -> LayerNormLSTMCell:
    biases, shift = (or_zeros(b_ih, U), or_zeros(b_hh, U)), or_zeros(beta_c, gamma_c)
    return LayerNormLSTMCell(W, U, *biases, gamma_x, gamma_h, gamma_c, shift)


def _normal(z: Array) -> Array:
    normed: Array = (z - z.mean()) / np.sqrt(z.var() + 1e-5)
    return normed


def _normal_jacobian(z: Array) -> Array:
    """Return LN'(z), by the quotient rule."""
    N, s = len(z), np.sqrt(z.var() + 1e-5)
    centred = z - z.mean()
    ds = centred / (N * s)
    jacobian: Array = (np.eye(N) - 1.0 / N) / s - np.outer(centred, ds) / s**2
    return jacobian
