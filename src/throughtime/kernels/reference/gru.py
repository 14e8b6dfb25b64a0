"""The GRU in both forms; gates in the order r z n.

Forward      k = d * h_{t-1}
             r = σ(W_r x_t + b_ir + U_r k + b_hr)        z = σ(W_z x_t + b_iz + U_z k + b_hz)
    after    n = tanh(W_n x_t + b_in + r * (U_n k + b_hn))
    before   n = tanh(W_n x_t + b_in + U_n (r * k) + b_hn)
             h_t = (1 - z) * n + z * h_{t-1}

Adjoint      da_z = dh_t * (h_{t-1} - n) * z(1 - z)      da_n = dh_t * (1 - z) * (1 - n²)
    after    dq = da_n * r         da_r = da_n * (U_n k + b_hn) * r(1 - r)
             dk = U_r' da_r + U_z' da_z + U_n' dq        dU_n = Σ dq k'         db_hn = Σ dq
    before   ds = U_n' da_n        da_r = ds * k * r(1 - r)
             dk = U_r' da_r + U_z' da_z + r * ds         dU_n = Σ da_n (r * k)'     db_hn = Σ da_n
             dh_{t-1} = z * dh_t + d * dk                dx_t = W' da_t
             dW = Σ da_t x_t'      db_ih = Σ da_t        dU_r, dU_z = Σ da_r k', Σ da_z k'
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


def gru(
    x: Array,
    h_0: Array,
    W: Array,
    U: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reset: str = "after",
    **how: Any,
) -> tuple[Array, Array]:
    """Return h_t for all t, and the last; gates r z n, h_t = (1 - z) * n + z * h_{t-1}.

    Reset after: n = tanh(W_n x + b_in + r * (U_n h + b_hn)). Reset before:
    n = tanh(W_n x + b_in + U_n (r * h) + b_hn).

    >>> x, h_0 = np.zeros((3, 1, 1)), np.ones((1, 1))
    >>> h, _ = gru(x, h_0, np.zeros((3, 1)), np.zeros((3, 1)))
    >>> h.ravel().tolist()
    [0.5, 0.25, 0.125]
    """
    (h,) = forward(_cell(W, U, b_ih, b_hh, reset), x, (h_0,), **how)
    return h, h[-1]


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
    **how: Any,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n).

    >>> args = np.zeros((3, 1, 1)), np.ones((1, 1)), np.zeros((3, 1)), np.zeros((3, 1)), None, None
    >>> grads = gru_gradients(*args, np.zeros((3, 1, 1)), np.ones((1, 1)))
    >>> grads["h_t"].ravel().tolist()
    [0.25, 0.5, 1.0]
    """
    return backward(_cell(W, U, b_ih, b_hh, reset), x, (h_0,), d_h, (d_h_n,), **how)


@dataclass(frozen=True)
class GRUCell(Cell):
    """The equations at the top of this module."""

    W: Array
    U: Array
    b_ih: Array
    b_hh: Array
    reset: str

    def step(self, x: Array, d: Array, *state: Array) -> State:
        """Return h_t."""
        (h,) = state
        _, z, n = self._gates(x, d * h)
        return ((1.0 - z) * n + z * h,)

    def adjoint(self, x: Array, d: Array, state: State, ds: State) -> tuple[State, Gradients]:
        """Return dh_{t-1} and the gradients."""
        (h,), (dh,) = state, ds
        k = d * h
        (U_r, U_z, U_n), b_hn = np.split(self.U, 3), np.split(self.b_hh, 3)[2]
        r, z, n = self._gates(x, k)
        da_z = dh * (h - n) * z * (1.0 - z)
        da_n = dh * (1.0 - z) * (1.0 - n**2)
        if self.reset == "after":
            read, dq = k, da_n * r  # what U_n multiplies, and the gradient of that product
            da_r = da_n * (U_n @ k + b_hn) * r * (1.0 - r)
            through_n = U_n.T @ dq
        else:
            read, dq = r * k, da_n
            da_r = U_n.T @ da_n * k * r * (1.0 - r)
            through_n = r * (U_n.T @ da_n)
        dk = U_r.T @ da_r + U_z.T @ da_z + through_n
        da = np.concatenate([da_r, da_z, da_n])
        dU = np.concatenate([np.outer(da_r, k), np.outer(da_z, k), np.outer(dq, read)])
        biases = {"b_ih": da, "b_hh": np.concatenate([da_r, da_z, dq])}
        grads = {"x": self.W.T @ da, "W": np.outer(da, x), "U": dU, **biases}
        return (z * dh + d * dk,), grads

    def _gates(self, x: Array, k: Array) -> tuple[Array, Array, Array]:
        """Return r, z, n."""
        x_r, x_z, x_n = np.split(self.W @ x + self.b_ih, 3)
        (U_r, U_z, U_n), (b_hr, b_hz, b_hn) = np.split(self.U, 3), np.split(self.b_hh, 3)
        r = sigmoid(x_r + U_r @ k + b_hr)
        z = sigmoid(x_z + U_z @ k + b_hz)
        if self.reset == "after":
            return r, z, np.tanh(x_n + r * (U_n @ k + b_hn))
        return r, z, np.tanh(x_n + U_n @ (r * k) + b_hn)


def _cell(W: Array, U: Array, b_ih: Array | None, b_hh: Array | None, reset: str) -> GRUCell:
    return GRUCell(W, U, or_zeros(b_ih, U), or_zeros(b_hh, U), reset)
