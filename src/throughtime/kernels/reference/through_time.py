"""What all recurrences share: a cell that is stepped along time, and back.

Forward      s̃_t = cell(x_t, s_{t-1})              s_t = ζ_t * s_{t-1} + (1 - ζ_t) * s̃_t

Adjoint      ds̃_t = (1 - ζ_t) * ds_t
             ds_{t-1} = e_{t-1} + ζ_t * ds_t + (∂s̃_t/∂s_{t-1})' ds̃_t
             dx_t = (∂s̃_t/∂x_t)' ds̃_t              dθ = Σ (∂s̃_t/∂θ)' ds̃_t

s is h, or h and c; e_t is what the loss sends to s_t directly, ζ_t the zoneout. Where the mask is False the
state is carried unchanged, and so is its gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
State = tuple[Array, ...]
Gradients = dict[str, Array]
Zoneout = Array | float


class Cell(ABC):
    """One step of a recurrence for one sample; its arrays are its weights, by their names.

    `d` is the dropout [H] of the sample: d * h_{t-1} stands for h_{t-1} beside U.
    """

    @abstractmethod
    def step(self, x: Array, d: Array, *state: Array) -> State:
        """Return s̃_t from x_t [I] and s_{t-1}, each part [H]."""

    @abstractmethod
    def adjoint(self, x: Array, d: Array, state: State, ds: State) -> tuple[State, Gradients]:
        """Return (∂s̃_t/∂s_{t-1})' ds̃_t, and the gradients of x_t and of every weight by name."""


def forward(
    cell: Cell,
    x: Array,
    first: State,
    *,
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: tuple[Zoneout, ...] | float | Array = 0.0,
) -> State:
    """Return every part of s_t for all t, [T, B, H], from x [T, B, I] and the parts of s_0 [B, H]."""
    T, B, _ = x.shape
    s_all = tuple(np.zeros((T, *part.shape)) for part in first)
    d, zones = _one_for_none(dropout, first[0]), _at_every_step(zoneout, s_all)
    for b in range(B):
        state = tuple(part[b] for part in first)
        for t in range(T):
            if mask is None or mask[t, b]:
                proposed = cell.step(x[t, b], d[b], *state)
                state = tuple(
                    zone[t, b] * before + (1.0 - zone[t, b]) * now
                    for zone, before, now in zip(zones, state, proposed, strict=True)
                )
            for part, value in zip(s_all, state, strict=True):
                part[t, b] = value
    return s_all


def backward(
    cell: Cell,
    x: Array,
    first: State,
    d_h: Array,
    d_last: State,
    *,
    mask: Mask | None = None,
    dropout: Array | None = None,
    zoneout: tuple[Zoneout, ...] | float | Array = 0.0,
    state_grad_clip: float = 0.0,
) -> Gradients:
    """Return the gradients of sum(d_h * h) + Σ sum(d_last * last), over the parts of the last state."""
    T, B, _ = x.shape
    s_all = forward(cell, x, first, mask=mask, dropout=dropout, zoneout=zoneout)
    d, zones = _one_for_none(dropout, first[0]), _at_every_step(zoneout, s_all)
    weights = {name: w for name, w in vars(cell).items() if isinstance(w, np.ndarray)}
    grads = {name: np.zeros(w.shape) for name, w in {"x": x, **weights}.items()}
    ds_all, ds_0 = ([np.zeros(part.shape) for part in parts] for parts in (s_all, first))
    for b in range(B):
        ds = tuple(part[b] for part in d_last)
        for t in reversed(range(T)):
            ds = ds[0] + d_h[t, b], *ds[1:]
            real = mask is None or mask[t, b]
            if real:
                ds = _clipped(state_grad_clip, ds)
            for total, part in zip(ds_all, ds, strict=True):
                total[t, b] = part
            if not real:
                continue
            before = tuple(part[t - 1, b] for part in s_all) if t else tuple(p[b] for p in first)
            zone = [each[t, b] for each in zones]
            d_proposed = tuple((1.0 - z) * part for z, part in zip(zone, ds, strict=True))
            d_before, found = cell.adjoint(x[t, b], d[b], before, d_proposed)
            ds = tuple(z * p + through for z, p, through in zip(zone, ds, d_before, strict=True))
            grads["x"][t, b] = found["x"]
            for name in weights:
                grads[name] += found[name]
        for total, part in zip(ds_0, ds, strict=True):
            total[b] = part
    names = "hc"[: len(first)]
    grads |= {f"{name}_t": total for name, total in zip(names, ds_all, strict=True)}
    return grads | {f"{name}_0": total for name, total in zip(names, ds_0, strict=True)}


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)).

    >>> float(sigmoid(np.zeros(1))[0])
    0.5
    """
    result: Array = 1.0 / (1.0 + np.exp(-a))
    return result


def or_zeros(bias: Array | None, beside: Array) -> Array:
    """Return a bias, or as many zeros as there are rows in the weight that it stands beside."""
    return np.zeros(len(beside)) if bias is None else bias


def _one_for_none(dropout: Array | None, h_0: Array) -> Array:
    return np.ones_like(h_0) if dropout is None else dropout


def _at_every_step(zoneout: Any, s_all: State) -> list[Array]:
    """Return the zoneout of every part of the state, [T, B, H]."""
    zones = zoneout if isinstance(zoneout, tuple) else (zoneout,) * len(s_all)
    return [
        np.broadcast_to(np.asarray(zone, float), part.shape)
        for zone, part in zip(zones, s_all, strict=True)
    ]


def _clipped(most: float, ds: State) -> State:
    """Scale the gradient of one state to at most this norm; 0 does not."""
    norm = np.sqrt(sum(float(part @ part) for part in ds))
    factor = most / norm if 0.0 < most < norm else 1.0
    return tuple(factor * part for part in ds)
