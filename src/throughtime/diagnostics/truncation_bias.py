"""What truncated backpropagation costs: how far off the gradient is when it goes K steps back.

    g   = Σ_{l < T} g_l         g_l = (∂s_{T-l} / ∂θ)' a_{T-l}        the gradient of the mean loss,
    g_K = Σ_{l < K} g_l                                              and cut K steps back
    bias(K) = ||g_K - g|| / ||g|| = || Σ_{l >= K} g_l || / ||g||

Here a_t = dL/ds_t, and the partial derivative is that of one step, with the state before it held. The cut
takes paths away that lead through s_{T-K}; those from s_t to the loss, for t > T - K, do not, so their
a_t are those of the full pass, and one pass tells the bias of every K. It is exact where the loss sees
the past through the states alone, as at the newest step it does.

What the lag profile alone would tell (Aicher, Foti, Fox): with ||∂s_t/∂θ|| <= M, and phi_l = E||a_{T-l}||,

    ||g_K - g|| <= M Σ_{l >= K} phi_l,        predicted(K) = Σ_{K <= l < T} phi_l / Σ_{l < T} phi_l

which takes all g_l to point one way, so that it errs where they cancel out or differ in M. Of a
geometric profile it is beta^K. Behind the T steps of the data it goes on geometrically, as the paper has
it: that share, phi_T / (1 - beta) over the sum with it, is what even the full pass leaves out of an
endless series.

Source: Aicher, Foti, Fox 2019, "Adaptively truncating backpropagation through time to control gradient
bias", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime._checks import positive_int, real
from throughtime._errors import SettingError
from throughtime.diagnostics.lag_profile import LagProfile
from throughtime.diagnostics.replaying import log_spaced, plain, replaying, sampled, spans
from throughtime.diagnostics.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class TruncationBias:
    """The relative bias of the gradient by one layer's weights over the truncation length K.

    layer      its name
    lengths    [N] K, ascending, in time steps of the series: what `Truncation` calls k2
    bias       [N] measured; NaN where the gradient is zero
    predicted  [N] from the lag profile alone
    beyond     the share of the gradient that lies before the data, were the series endless; NaN where
               the gradient does not decay

    >>> lengths, bias = np.array([1, 2, 3, 4]), np.array([0.4, 0.05, 0.2, 0.0])
    >>> TruncationBias("l0", lengths, bias, bias, beyond=0.0).smallest(0.1)
    4
    """

    layer: str
    lengths: np.ndarray
    bias: np.ndarray
    predicted: np.ndarray
    beyond: float

    @classmethod
    def of(cls, trajectory: Trajectory, lengths: Sequence[int] | None = None) -> TruncationBias:
        """Measure the bias at `lengths`, by default about forty on a logarithmic scale up to T.

        Costs one backward pass through all steps, with no recurrence in it, and memory for the steps
        of a few million numbers. With dilation `lengths` are given in steps of the layer. Raises
        SettingError for lengths that are not 1 to T.
        """
        T = trajectory.length
        lengths = log_spaced(T).tolist() if lengths is None else lengths
        chosen = sorted({positive_int("length", length) for length in lengths})
        if not chosen or chosen[-1] > T:
            raise SettingError(
                f"lengths from 1 to the {T} steps of the trajectory",
                repr(list(lengths)),
                "leave longer ones out, or pass longer series",
            )
        profile = LagProfile.of(replace(trajectory, dilation=1))
        return cls(
            trajectory.layer,
            np.array(chosen) * trajectory.dilation,
            _measured(trajectory, chosen),
            _predicted(profile, chosen),
            _beyond(profile),
        )

    def smallest(self, bias: float = 0.1) -> int | None:
        """Return the smallest K from which on the bias is at most `bias`; None if there is none."""
        bias = real("bias", bias, at_least=0)
        within = ~(self.bias > bias) & ~np.isnan(self.bias)
        settled = np.logical_and.accumulate(within[::-1])[::-1]
        return int(self.lengths[settled][0]) if settled.any() else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, None for what is not finite."""
        shown = {**vars(self), "smallest": self.smallest()}
        return {name: plain(value) for name, value in shown.items()}


def _measured(trajectory: Trajectory, lengths: Sequence[int]) -> np.ndarray:
    """Add the oldest steps first, so that a small rest is not the difference of two sums."""
    T, cuts = trajectory.length, [trajectory.length - K for K in lengths]
    trajectory, older, norms = sampled(trajectory), torch.zeros(()), {0: 0.0}
    for start, stop in pairwise(sorted({0, *cuts, T})):
        older = older + _gradient(trajectory, start, stop)
        norms[stop] = float(torch.linalg.vector_norm(older))
    if norms[T] == 0:
        return np.full(len(lengths), math.nan)
    return np.array([norms[cut] / norms[T] for cut in cuts])


def _gradient(trajectory: Trajectory, start: int, stop: int) -> Tensor:
    """Return the part of dL/dθ that steps start + 1 ... stop contribute, as one vector."""
    values = sum(state[0].numel() for state in trajectory.states)
    with replaying(trajectory) as parameters:
        own = [w if w is None else w.clone().requires_grad_() for w in trajectory.weights]
        theta = parameters or [w for w in own if w is not None]
        total = torch.zeros(sum(w.numel() for w in theta), dtype=torch.float64)
        for first, last in spans(stop - start, values) if theta else []:
            rows = trajectory.rows(start + first, start + last)
            after = trajectory.step(rows.x, rows.before, own, rows.extras)
            found = torch.autograd.grad(
                after, theta, rows.adjoints, allow_unused=True, materialize_grads=True
            )
            total += torch.cat([g.flatten() for g in found]).to(total)
    return total


def _predicted(profile: LagProfile, lengths: Sequence[int]) -> np.ndarray:
    """Return the share of phi that lies K steps back and more."""
    phi = profile.norms[:-1]
    if not phi.sum() > 0:
        return np.full(len(lengths), math.nan)
    return np.array([phi[K:].sum() / phi.sum() for K in lengths])


def _beyond(profile: LagProfile) -> float:
    """Return the share of phi that a geometric tail behind the data would have."""
    *phi, last = profile.norms
    if not profile.decay < 1 or sum(phi) == 0:
        return math.nan
    tail = float(last) / (1 - profile.decay)
    return tail / (float(sum(phi)) + tail)
