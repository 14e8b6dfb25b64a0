"""How fast small changes of the state grow or shrink for good: the Lyapunov spectrum.

    Z_t = J_t Q_{t-1}        k tangents pushed one step forward,     J_t = ds_t / ds_{t-1}
    Q_t R_t = Z_t            and made orthonormal again
    λ_i = 1/T Σ_t ln |r_ii|_t          nats per step, λ_1 >= λ_2 >= ... >= λ_k

λ_1 is the rate at which the longest-lived change grows, and so the gradient that reaches furthest back;
λ_1 + ... + λ_i that of a volume of i directions, and with all of them the mean of ln |det J_t|. The
LSTM's state is the pair (h, c). A layer of a stack is driven by the layers below it, which it does not
drive: the Jacobian of the stack is block-triangular, and its spectrum is that of all its layers together.

The verdict allows for the error of a finite time. With e the standard error of λ_1, the larger one of
that over the examples and that over blocks of time:

    contracting      λ_1 < -max(2 e, 1/T)      changes, and gradients, die out within the data
    chaotic          λ_1 > +max(2 e, 1/T)      they grow without end: shorten or force, do not just clip
    near the edge    otherwise                 in T steps they change by less than a factor of e

Sources: Benettin et al. 1980; Vogt, Puelma Touzel, Shlizerman, Lajoie 2022, "On Lyapunov exponents for
RNNs"; Engelken, Wolf, Abbott 2023, "Lyapunov spectra of chaotic recurrent neural networks". The
dimension: Kaplan and Yorke 1979.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import DataError, SettingError
from throughtime.diagnostics.replaying import plain, replaying, sampled, split
from throughtime.diagnostics.trajectory import Trajectory

Verdict = Literal["contracting", "near the edge", "chaotic"]
MOST_ROWS, MOST_EXPONENTS, FEW_EXPONENTS, BLOCKS = 8, 128, 32, 8
COST = 1e10  # operations: about a second
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The Lyapunov spectrum of one layer and direction, along the states that it ran through.

    layer      its name
    size       n, how many numbers the state has
    exponents  [k] λ in nats per step, descending, mean over the examples; -inf where a direction is
               lost altogether, as behind a dead ReLU
    error      the standard error of λ_1
    steps      T, how many time steps it was measured over, without the warm-up

    >>> Lyapunov("l0", 2, np.array([0.1, -0.3]), error=0.01, steps=100).verdict
    'chaotic'
    """

    layer: str
    size: int
    exponents: np.ndarray
    error: float
    steps: int

    @classmethod
    def of(
        cls,
        trajectory: Trajectory,
        exponents: int | None = None,
        rows: int | None = None,
        warm_up: int | None = None,
    ) -> Lyapunov:
        """Measure the first `exponents` of them, over at most `rows` examples, spread evenly.

        `warm_up` steps, a tenth of all where None, turn the tangents into their directions and are
        not counted. None for the others: all exponents of up to 128, else 32, and two to eight
        examples, as take a few seconds. Costs k (8 n^2 + 4 n k) operations a step and example, and
        memory for one step. Steps from where the states are no longer finite are left out. Raises
        SettingError where the warm-up leaves no step, DataError where that does.
        """
        T, n, B = trajectory.length, trajectory.joint.shape[-1], trajectory.x.shape[1]
        if exponents is None:
            exponents = n if n <= MOST_EXPONENTS else FEW_EXPONENTS
        k = min(n, positive_int("exponents", exponents))
        if rows is None:
            rows = min(MOST_ROWS, max(2, int(COST / (T * k * (8 * n * n + 4 * n * k)))))
        warm_up = T // 10 if warm_up is None else positive_int("warm_up", warm_up, at_least=0)
        if warm_up >= T:
            raise SettingError(
                f"warm_up below the {T} steps of the trajectory",
                str(warm_up),
                "shorten it, or pass longer series",
            )
        trajectory = sampled(trajectory, min(B, positive_int("rows", rows)))
        logs = _logs(trajectory, k)[warm_up:]
        if bool(logs.isnan().all()):
            raise DataError(
                "finite weights and states",
                f"none after {warm_up} steps of {trajectory.layer}",
                "diagnose the model as it was before it diverged",
            )
        spectrum, error = _means(logs)
        d = trajectory.dilation
        return cls(trajectory.layer, n, spectrum / d, error / d, d * (T - warm_up))

    @property
    def largest(self) -> float:
        """λ_1."""
        return float(self.exponents[0])

    @property
    def verdict(self) -> Verdict:
        """Contracting, near the edge or chaotic, by the rule at the top of this module."""
        margin = max(2 * self.error, 1 / self.steps)
        if self.largest < -margin:
            return "contracting"
        return "chaotic" if self.largest > margin else "near the edge"

    @property
    def dimension(self) -> float | None:
        """Kaplan and Yorke's dimension: how many directions keep their volume; None if more than k.

        >>> Lyapunov("l0", 2, np.array([0.1, -0.4]), error=0.01, steps=100).dimension
        1.25
        """
        sums = np.cumsum(self.exponents)
        falling = np.flatnonzero(~(sums >= -ROUNDING))
        if not falling.size:
            return float(self.size) if len(sums) == self.size else None
        j = int(falling[0])
        return j + max(0.0, float(sums[j - 1] / -self.exponents[j])) if j else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, None for what is not finite."""
        derived = {"verdict": self.verdict, "dimension": self.dimension}
        return {name: plain(value) for name, value in {**vars(self), **derived}.items()}


def _logs(trajectory: Trajectory, k: int) -> Tensor:
    """Return ln |r_ii| for every step, example and tangent, [T, R, k].

    NaN before a short row begins, while its tangents turn as they like, and where states are not finite.
    """
    T, R, n = trajectory.length, trajectory.x.shape[1], trajectory.joint.shape[-1]
    start = torch.randn(R, n, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Q = torch.linalg.qr(start).Q
    real = (trajectory.real[:-1] & trajectory.real[1:]).cpu()
    logs = torch.full((T, R, k), math.nan, dtype=torch.float64)
    for t in range(T):
        Q, r = torch.linalg.qr(_pushed(trajectory, t, Q))
        r = r.diagonal(dim1=-2, dim2=-1).abs()
        lost = r <= n * torch.finfo(r.dtype).eps * r.amax(-1, keepdim=True)
        logs[t, real[t]] = torch.where(lost, 0.0, r).log()[real[t]]
    return logs


def _pushed(trajectory: Trajectory, t: int, Q: Tensor) -> Tensor:
    """Return J_{t+1} Q, [R, n, k], as the transpose of the map u -> J' u, which any cell knows."""
    x, extras = trajectory.x[t], [None if e is None else e[t] for e in trajectory.extras]
    with replaying(trajectory):
        before = torch.cat([s[t] for s in trajectory.states], -1).requires_grad_()
        after = torch.cat(trajectory.step(x, split(before, trajectory.states), None, extras), -1)
        u = torch.zeros_like(after, requires_grad=True)
        [pulled] = torch.autograd.grad(after, before, u, create_graph=True)
        tangents = Q.movedim(-1, 0).to(after)
        [pushed] = torch.autograd.grad(pulled, u, tangents, is_grads_batched=True)
    return pushed.movedim(0, -1).to(Q)


def _means(logs: Tensor) -> tuple[np.ndarray, float]:
    """Return λ, and the standard error of λ_1 over examples and over blocks of time."""
    by_row = logs.nanmean(0)
    mean = by_row.nanmean(0)
    order = mean.argsort(descending=True, stable=True)
    first = logs[..., order[0]].nanmean(1)
    blocks = torch.stack([b.nanmean() for b in first.tensor_split(min(BLOCKS, len(first)))])
    errors = [_standard_error(by_row[:, order[0]]), _standard_error(blocks)]
    return mean[order].numpy(), max(errors)


def _standard_error(values: Tensor) -> float:
    values = values[values.isfinite()]
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0
