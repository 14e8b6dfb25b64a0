"""How far back in time the gradient of one prediction reaches.

For a loss L_s of the single step s (a loss summed over steps would hide vanishing):

    phi_l  = E || dL_s / d(h, c)_{s-l} ||          over the examples, l = 0, 1, 2, ...
    beta   = exp(slope of log phi_l over l)        decay per step
    half-life = ln 2 / -ln beta                    steps over which the gradient halves
    memory = min { l : phi_l < 0.01 phi_0 }        first lag under one percent

Source: Aicher, Foti, Fox 2019, "Adaptively truncating backpropagation through time to control
gradient bias", section 3. The LSTM's state is the pair (h, c), not h alone, and its halves are
independent coordinates (`kernels/tap.py`). The norms are those of the adjoints that the kernels
compute anyway, read in the same backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime._errors import DataError
from throughtime.nn.layers import Recorded, recording
from throughtime.training.context import own_noise
from throughtime.training.sources import device_of

FORGOTTEN = 0.01


@dataclass(frozen=True)
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


def lag_profile(
    model: nn.Module, inputs: Any, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[LagProfile, ...]:
    """Measure phi_l of every recurrent layer and direction of `model`, in one backward pass.

    `loss(model(inputs), targets)` is a scalar or one value an example, and reads one step: the
    newest state (many-to-one). Lags are counted from the step at which a layer's run ends, the last
    one is the initial state's. Dropout, in a model that is in training mode, draws the same at
    every call. The model's weights, gradients and modes and the global random numbers stay as they
    are.

    Raises `DataError` where no layer of `throughtime.nn` runs within the model, or no gradient runs
    through one: its weights may be frozen if `inputs` is a tensor of real numbers.

    >>> _ = torch.manual_seed(0)
    >>> from throughtime.nn import RNN
    >>> rnn = RNN(1, 1, nonlinearity="relu").double()
    >>> for weight in rnn.parameters(): _ = nn.init.constant_(weight, 0.5)
    >>> read_newest = lambda output, target: (output[0][-1] - target).sum()
    >>> [profile] = lag_profile(rnn, torch.ones(4, 3, 1).double(), torch.zeros(3, 1), read_newest)
    >>> profile.norms
    array([1.    , 0.5   , 0.25  , 0.125 , 0.0625])
    """
    leaves = [weight for weight in model.parameters() if weight.requires_grad]
    if isinstance(inputs, Tensor) and inputs.is_floating_point():  # reaches through frozen layers
        inputs = inputs.detach().requires_grad_()
        leaves.append(inputs)
    noise = own_noise(0, device_of(model))
    with noise, torch.enable_grad(), recording(model) as records:
        value = loss(model(inputs), targets).sum()
        if not records:
            raise DataError(
                "a model that runs at least one layer of throughtime.nn",
                f"none in {type(model).__name__}",
                "build it with throughtime.nn.RNN, LSTM or GRU",
            )
        if value.requires_grad:
            torch.autograd.grad(value, leaves, allow_unused=True)
    return tuple(_profile(record) for record in records)


def _profile(record: Recorded) -> LagProfile:
    """Read phi from the tap of one layer: mean over the examples, norm over the joint state."""
    tap = record.tap
    if tap.dh_TBH is None:
        raise DataError(
            "a loss that has a gradient through every layer of throughtime.nn",
            f"none through {record.name or 'the model'!r}",
            "pass inputs that are real numbers, or unfreeze the weights before that layer",
        )
    h_0 = [] if tap.dh_0 is None else [tap.dh_0.unsqueeze(0)]
    dh = torch.cat([*h_0, tap.dh_TBH])
    squared = dh.square().sum(-1)
    if tap.dc_TBH is not None and tap.dc_0 is not None:
        squared = squared + torch.cat([tap.dc_0.unsqueeze(0), tap.dc_TBH]).square().sum(-1)
    phi = squared.sqrt().flatten(1).mean(1).flip(0).double().cpu().numpy()
    name = ".".join(part for part in (record.name, f"l{record.layer}") if part)
    layer = f"{name} reverse" if record.direction else name
    return LagProfile(layer, phi / phi[0] if phi[0] > 0 else phi, newest=float(phi[0]))
