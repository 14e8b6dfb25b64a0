"""The simple recurrence.

Forward      a_t = W x_t + b_ih + U (d * h_{t-1}) + b_hh        h_t = φ(a_t)

Adjoint      da_t = φ'(a_t) * dh_t       tanh'(a) = 1 - tanh²(a)      relu'(a) = 1 where a > 0, else 0
             dh_{t-1} = d * (U' da_t)    dx_t = W' da_t
             dW = Σ da_t x_t'            dU = Σ da_t (d * h_{t-1})'      db_ih = db_hh = Σ da_t
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
)


def rnn(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    phi: str = "tanh",
    **how: Any,
) -> tuple[Array, Array]:
    """Return h_t for all t [T, B, H], and the last: h_t = φ(W x_t + U h_{t-1} + b_ih + b_hh).

    >>> one = np.ones((1, 1))
    >>> h, _ = rnn(np.ones((3, 1, 1)), np.zeros((1, 1)), one, one, phi="relu")
    >>> h.ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    (h,) = forward(_cell(W, U, b_ih, b_hh, phi), x, (h_0,), **how)
    return h, h[-1]


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
    **how: Any,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n).

    >>> one = np.ones((1, 1))
    >>> args = np.ones((3, 1, 1)), np.zeros((1, 1)), one, one, None, None
    >>> grads = rnn_gradients(*args, np.zeros((3, 1, 1)), one, phi="relu")
    >>> grads["h_t"].ravel().tolist(), grads["W"].tolist(), grads["U"].tolist()
    ([1.0, 1.0, 1.0], [[3.0]], [[3.0]])
    """
    return backward(_cell(W, U, b_ih, b_hh, phi), x, (h_0,), d_h, (d_h_n,), **how)


@dataclass(frozen=True)
class RNNCell(Cell):
    """The equations at the top of this module."""

    W: Array
    U: Array
    b_ih: Array
    b_hh: Array
    phi: str

    def step(self, x: Array, d: Array, *state: Array) -> State:
        """Return h_t."""
        a = self._argument(x, d * state[0])
        return (np.tanh(a) if self.phi == "tanh" else np.maximum(a, 0.0),)

    def adjoint(self, x: Array, d: Array, state: State, ds: State) -> tuple[State, Gradients]:
        """Return dh_{t-1} and the gradients."""
        (dh,), kept = ds, d * state[0]
        a = self._argument(x, kept)
        slope = 1.0 - np.tanh(a) ** 2 if self.phi == "tanh" else (a > 0).astype(float)
        da = slope * dh
        dW, dU = np.outer(da, x), np.outer(da, kept)
        grads = {"x": self.W.T @ da, "W": dW, "U": dU, "b_ih": da, "b_hh": da}
        return (d * (self.U.T @ da),), grads

    def _argument(self, x: Array, kept: Array) -> Array:
        """Return a_t; `kept` is d * h_{t-1}."""
        a: Array = self.W @ x + self.b_ih + self.U @ kept + self.b_hh
        return a


def _cell(W: Array, U: Array, b_ih: Array | None, b_hh: Array | None, phi: str) -> RNNCell:
    return RNNCell(W, U, or_zeros(b_ih, U), or_zeros(b_hh, U), phi)
