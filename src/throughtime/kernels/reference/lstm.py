"""The LSTM; gates in the order i f g o.

Forward      a_t = W x_t + b_ih + U (d * h_{t-1}) + b_hh          i, f, o = σ(a_i, a_f, a_o)    g = tanh(a_g)
             c_t = f * c_{t-1} + i * g        m_t = o * tanh(c_t)        h_t = P m_t, or m_t without P

Adjoint      dm_t = P' dh_t, or dh_t          dc_t += dm_t * o * (1 - tanh²(c_t))
             da_i = dc_t * g * i(1 - i)       da_f = dc_t * c_{t-1} * f(1 - f)
             da_g = dc_t * i * (1 - g²)       da_o = dm_t * tanh(c_t) * o(1 - o)
             dh_{t-1} = d * (U' da_t)         dc_{t-1} = f * dc_t         dx_t = W' da_t
             dW = Σ da_t x_t'     dU = Σ da_t (d * h_{t-1})'     db_ih = db_hh = Σ da_t     dP = Σ dh_t m_t'
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


def lstm(
    x: Array,
    h_0: Array,
    c_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    P: Array | None = None,
    **how: Any,
) -> tuple[Array, Array, Array]:
    """Return h_t for all t, the last h and the last c; gates i f g o, h_t = P (o * tanh c_t).

    >>> x, h_0, c_0 = np.zeros((2, 1, 1)), np.zeros((1, 1)), np.ones((1, 1))
    >>> _, _, c_n = lstm(x, h_0, c_0, np.zeros((4, 1)), np.zeros((4, 1)))
    >>> c_n.tolist()
    [[0.25]]
    """
    h, c = forward(_cell(W, U, b_ih, b_hh, P), x, (h_0, c_0), **how)
    return h, h[-1], c[-1]


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
    **how: Any,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n) + sum(d_c_n * c_n).

    >>> one, zero = np.ones((1, 1)), np.zeros((1, 1))
    >>> args = np.zeros((2, 1, 1)), zero, one, np.zeros((4, 1)), np.zeros((4, 1)), None, None, None
    >>> grads = lstm_gradients(*args, np.zeros((2, 1, 1)), zero, one)
    >>> grads["c_t"].ravel().tolist(), grads["c_0"].tolist()
    ([0.5, 1.0], [[0.25]])
    """
    return backward(_cell(W, U, b_ih, b_hh, P), x, (h_0, c_0), d_h, (d_h_n, d_c_n), **how)


@dataclass(frozen=True)
class LSTMCell(Cell):
    """The equations at the top of this module."""

    W: Array
    U: Array
    b_ih: Array
    b_hh: Array
    P: Array | None

    def step(self, x: Array, d: Array, *state: Array) -> State:
        """Return h_t and c_t."""
        h, c = state
        i, f, g, o = self._gates(x, d * h)
        c = f * c + i * g
        m = o * np.tanh(c)
        return m if self.P is None else self.P @ m, c

    def adjoint(self, x: Array, d: Array, state: State, ds: State) -> tuple[State, Gradients]:
        """Return dh_{t-1}, dc_{t-1} and the gradients."""
        (h, c_before), (dh, dc) = state, ds
        i, f, g, o = self._gates(x, d * h)
        tanh_c = np.tanh(f * c_before + i * g)
        dm = dh if self.P is None else self.P.T @ dh
        dc = dc + dm * o * (1.0 - tanh_c**2)
        da_i = dc * g * i * (1.0 - i)
        da_f = dc * c_before * f * (1.0 - f)
        da_g = dc * i * (1.0 - g**2)
        da_o = dm * tanh_c * o * (1.0 - o)
        da = np.concatenate([da_i, da_f, da_g, da_o])
        dW, dU, dP = np.outer(da, x), np.outer(da, d * h), np.outer(dh, o * tanh_c)
        grads = {"x": self.W.T @ da, "W": dW, "U": dU, "b_ih": da, "b_hh": da, "P": dP}
        return (d * (self.U.T @ da), f * dc), grads

    def _gates(self, x: Array, kept: Array) -> tuple[Array, ...]:
        """Return i, f, g, o; `kept` is d * h_{t-1}."""
        a_i, a_f, a_g, a_o = np.split(self.W @ x + self.b_ih + self.U @ kept + self.b_hh, 4)
        return sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)


def _cell(W: Array, U: Array, b_ih: Array | None, b_hh: Array | None, P: Array | None) -> LSTMCell:
    return LSTMCell(W, U, or_zeros(b_ih, U), or_zeros(b_hh, U), P)
