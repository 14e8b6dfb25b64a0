"""The minGRU and the minLSTM, whose gates do not read the state.

Forward      p_t = W x_t + b
    minGRU   blocks z n        z = σ(p_z)      n = g(p_n)                       h_t = (1 - z) * h_{t-1} + z * n
    minLSTM  blocks i f g      i = σ(p_i)      f = σ(p_f)      g = g(p_g)       h_t = (f * h_{t-1} + i * g) / (f + i)

Adjoint      dp_t = ∂h_t/∂p_t * dh_t           dh_{t-1} = ∂h_t/∂h_{t-1} * dh_t          all of it elementwise
    minGRU   ∂h_t/∂p_z = (n - h_{t-1}) z(1 - z)      ∂h_t/∂p_n = z g'(p_n)              ∂h_t/∂h_{t-1} = 1 - z
    minLSTM  ∂h_t/∂p_i = f (g - h_{t-1}) / (f + i)² i(1 - i)                            ∂h_t/∂h_{t-1} = f / (f + i)
             ∂h_t/∂p_f = i (h_{t-1} - g) / (f + i)² f(1 - f)      ∂h_t/∂p_g = i / (f + i) g'(p_g)
             dx_t = W' dp_t     dW = Σ dp_t x_t'     db = Σ dp_t

g(p) = p (`candidate="linear"`), or p + 1/2 where p >= 0, else σ(p) ("positive"). No U is beside
h_{t-1}, so that dropout changes nothing.
"""

from __future__ import annotations

from abc import abstractmethod
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


def min_gru(
    x: Array, h_0: Array, W: Array, b: Array | None = None, *, candidate: str = "linear", **how: Any
) -> tuple[Array, Array]:
    """Return h_t for all t [T, B, H], and the last: h_t = (1 - z) * h_{t-1} + z * n.

    >>> x, W = np.ones((3, 1, 1)), np.array([[0.0], [8.0]])
    >>> min_gru(x, np.zeros((1, 1)), W)[0].ravel().tolist()
    [4.0, 6.0, 7.0]
    """
    (h,) = forward(MinGRUCell(W, or_zeros(b, W), candidate), x, (h_0,), **how)
    return h, h[-1]


def min_gru_gradients(
    x: Array,
    h_0: Array,
    W: Array,
    b: Array | None,
    d_h: Array,
    d_h_n: Array,
    *,
    candidate: str = "linear",
    **how: Any,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n).

    >>> args = np.zeros((3, 1, 1)), np.ones((1, 1)), np.zeros((2, 1)), None
    >>> grads = min_gru_gradients(*args, np.zeros((3, 1, 1)), np.ones((1, 1)))
    >>> grads["h_t"].ravel().tolist(), grads["b"].tolist()
    ([0.25, 0.5, 1.0], [-0.1875, 0.875])
    """
    cell = MinGRUCell(W, or_zeros(b, W), candidate)
    return backward(cell, x, (h_0,), d_h, (d_h_n,), **how)


def min_lstm(
    x: Array, h_0: Array, W: Array, b: Array | None = None, *, candidate: str = "linear", **how: Any
) -> tuple[Array, Array]:
    """Return h_t for all t [T, B, H], and the last: h_t = (f * h_{t-1} + i * g) / (f + i).

    >>> x, W = np.ones((3, 1, 1)), np.array([[0.0], [0.0], [8.0]])
    >>> min_lstm(x, np.zeros((1, 1)), W)[0].ravel().tolist()
    [4.0, 6.0, 7.0]
    """
    (h,) = forward(MinLSTMCell(W, or_zeros(b, W), candidate), x, (h_0,), **how)
    return h, h[-1]


def min_lstm_gradients(
    x: Array,
    h_0: Array,
    W: Array,
    b: Array | None,
    d_h: Array,
    d_h_n: Array,
    *,
    candidate: str = "linear",
    **how: Any,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + sum(d_h_n * h_n).

    >>> args = np.zeros((3, 1, 1)), np.ones((1, 1)), np.zeros((3, 1)), None
    >>> grads = min_lstm_gradients(*args, np.zeros((3, 1, 1)), np.ones((1, 1)))
    >>> grads["h_t"].ravel().tolist()
    [0.25, 0.5, 1.0]
    """
    cell = MinLSTMCell(W, or_zeros(b, W), candidate)
    return backward(cell, x, (h_0,), d_h, (d_h_n,), **how)


@dataclass(frozen=True)
class MinimalCell(Cell):
    """What both have in common: p_t, and that all the rest is elementwise."""

    W: Array
    b: Array
    candidate: str

    @abstractmethod
    def local(self, p: Array, h: Array) -> tuple[Array, Array, list[Array]]:
        """Return h_t, ∂h_t/∂h_{t-1}, and ∂h_t/∂p_t by blocks."""

    def step(self, x: Array, d: Array, *state: Array) -> State:
        """Return h_t."""
        h, _, _ = self.local(self.W @ x + self.b, *state)
        return (h,)

    def adjoint(self, x: Array, d: Array, state: State, ds: State) -> tuple[State, Gradients]:
        """Return dh_{t-1} and the gradients."""
        (h,), (dh,) = state, ds
        _, by_h, by_p = self.local(self.W @ x + self.b, h)
        dp = np.concatenate([by * dh for by in by_p])
        return (by_h * dh,), {"x": self.W.T @ dp, "W": np.outer(dp, x), "b": dp}

    def _shown(self, p: Array) -> tuple[Array, Array]:
        """Return g(p) and g'(p)."""
        if self.candidate == "linear":
            return p, np.ones_like(p)
        s = sigmoid(p)
        return np.where(p >= 0, p + 0.5, s), np.where(p >= 0, 1.0, s * (1.0 - s))


class MinGRUCell(MinimalCell):
    """The minGRU's equations."""

    def local(self, p: Array, h: Array) -> tuple[Array, Array, list[Array]]:
        """Return h_t, ∂h_t/∂h_{t-1}, and ∂h_t/∂p_t by blocks z n."""
        p_z, p_n = np.split(p, 2)
        z, (n, slope) = sigmoid(p_z), self._shown(p_n)
        return (1.0 - z) * h + z * n, 1.0 - z, [(n - h) * z * (1.0 - z), z * slope]


class MinLSTMCell(MinimalCell):
    """The minLSTM's equations."""

    def local(self, p: Array, h: Array) -> tuple[Array, Array, list[Array]]:
        """Return h_t, ∂h_t/∂h_{t-1}, and ∂h_t/∂p_t by blocks i f g."""
        p_i, p_f, p_g = np.split(p, 3)
        i, f, (g, slope) = sigmoid(p_i), sigmoid(p_f), self._shown(p_g)
        sum_ = f + i
        by_i = f * (g - h) / sum_**2 * i * (1.0 - i)
        by_f = i * (h - g) / sum_**2 * f * (1.0 - f)
        return (f * h + i * g) / sum_, f / sum_, [by_i, by_f, i / sum_ * slope]
