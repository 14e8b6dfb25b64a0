"""How far back in time the gradient of one prediction reaches.

For a loss L_s of the single step s (a loss summed over steps would hide vanishing):

    phi_l  = E || dL_s / d(h, c)_{s-l} ||          over the examples, l = 0, 1, 2, ...
    beta   = exp(slope of log phi_l over l)        decay per step
    half-life = ln 2 / -ln beta                    steps over which the gradient halves
    memory = min { l : phi_l < 0.01 phi_0 }        first lag under one percent

Source: Aicher, Foti, Fox 2019, "Adaptively truncating backpropagation through time to control
gradient bias", section 3. The LSTM's state is the pair (h, c), not h alone, and its halves are
independent coordinates (`kernels/tap.py`). The norms are those of the adjoints that the kernels
compute anyway, read in the same backward pass (`trajectory.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from throughtime.diagnostics.one_step_loss import Loss
from throughtime.diagnostics.trajectory import Trajectory, trajectories

FORGOTTEN = 0.01


@dataclass(frozen=True, eq=False)
class LagProfile:
    """The expected gradient norm over the lag, for one layer and direction.

    `norms[l]` is phi_l / phi_0 and has no unit; `newest` is phi_0 in the loss's unit per unit of
    state.

    >>> profile = LagProfile("rnn", np.array([1.0, 0.5, 0.25, 0.125]), newest=2.0)
    >>> round(profile.decay, 6), round(profile.half_life, 6), profile.memory
    (0.5, 1.0, None)
    """

    layer: str
    norms: np.ndarray
    newest: float

    @classmethod
    def of(cls, trajectory: Trajectory) -> LagProfile:
        """Read phi off the adjoints: mean over the examples that are as long, norm over the state.

        With dilation d, lags are steps of the series, and phi stays for d of them what it is for one
        step of the layer. Costs one pass over them, T B n operations.
        """
        real, norms = trajectory.real.double(), trajectory.norms.double()
        phi = ((norms * real).sum(1) / real.sum(1).clamp(min=1)).flip(0).cpu().numpy()
        phi = np.repeat(phi, trajectory.dilation)[: trajectory.length * trajectory.dilation + 1]
        relative = phi / phi[0] if phi[0] > 0 else phi
        return cls(trajectory.layer, relative, newest=float(phi[0]))

    @property
    def lags(self) -> np.ndarray:
        """0, 1, 2, ... time steps back from the newest state."""
        return np.arange(len(self.norms))

    @cached_property
    def decay(self) -> float:
        """Factor per time step (beta): the least-squares slope of log phi over the lag.

        NaN where fewer than two lags carry any gradient.
        """
        alive = self.norms > 0
        if alive.sum() < 2:
            return math.nan
        slope = np.polyfit(self.lags[alive], np.log(self.norms[alive]), 1)[0]
        return float(np.exp(slope))

    @property
    def half_life(self) -> float:
        """Time steps over which the gradient halves; infinite where it does not decay."""
        if math.isnan(self.decay):
            return math.nan
        return math.log(2) / -math.log(self.decay) if self.decay < 1 else math.inf

    @property
    def memory(self) -> int | None:
        """The first lag at which the gradient falls under 1 % of the newest; None if none does."""
        below = np.flatnonzero(self.norms < FORGOTTEN)
        return int(below[0]) if below.size else None

    def at(self, lag: int) -> float:
        """Return phi_lag / phi_0; beyond what was measured, with the measured decay.

        >>> round(LagProfile("rnn", np.array([1.0, 0.5, 0.25]), newest=1.0).at(4), 6)
        0.0625
        """
        if lag < len(self.norms):
            return float(self.norms[lag])
        beyond = 0.0 if math.isnan(self.decay) else self.decay ** (lag - len(self.norms) + 1)
        return float(self.norms[-1] * beyond)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; None for what is not a finite number."""
        return {
            "lags": self.lags.tolist(),
            "norms": [float(v) if math.isfinite(v) else None for v in self.norms],
            "newest": self.newest,
            "decay": None if math.isnan(self.decay) else self.decay,
            "half_life": self.half_life if math.isfinite(self.half_life) else None,
            "memory": self.memory,
        }


def lag_profile(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    output: Callable[[Any], Tensor] | None = None,
    cells: Sequence[nn.Module] = (),
) -> tuple[LagProfile, ...]:
    """Measure phi_l of every recurrent layer and direction of `model`, in one backward pass.

    Takes what `trajectories` takes, works on the models that it works on, leaves them as they were,
    and raises what it raises. Lags are counted from the newest step that the loss reads; the last one
    is the initial state's.

    >>> import torch
    >>> rnn = nn.RNN(1, 1, nonlinearity="relu").double()
    >>> for weight in rnn.parameters(): _ = nn.init.constant_(weight, 0.5)
    >>> [profile] = lag_profile(rnn, torch.ones(4, 3, 1).double())
    >>> profile.norms
    array([1.    , 0.5   , 0.25  , 0.125 , 0.0625])
    """
    found = trajectories(model, inputs, targets, loss, output=output, cells=cells)
    return tuple(map(LagProfile.of, found))
