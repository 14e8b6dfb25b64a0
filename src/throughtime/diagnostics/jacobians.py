"""What one step, and many steps, do to a small change of the state.

    J_t = ds_t / ds_{t-1}                       one step: [n, n], n = H, or 2 H for the LSTM's (h, c)
    P_l = J_T J_{T-1} ... J_{T-l+1}             l steps: ds_T / ds_{T-l}, the long-term Jacobian
    σ_1 >= ... >= σ_n                           singular values: how much a change grows or shrinks
    cond = σ_1 / σ_n                            how unequally
    ρ = max |eigenvalue|                        spectral radius

A gradient is multiplied by P_l' on its way back, so that it vanishes over l steps when σ_1(P_l) does,
and can explode only when σ_1(P_l) does. ρ(J_t) < 1 does not keep σ_1(P_l) below one: radii of
different matrices do not multiply.

Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks",
section 2.1; Bengio, Simard, Frasconi 1994.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime.diagnostics.replaying import (
    log_spaced,
    plain,
    replaying,
    sampled,
    spans,
    split,
)
from throughtime.diagnostics.trajectory import Trajectory

MOST_ROWS = 8
LEAST_MATRICES = 16
SINGULAR = 1e12  # a product of many matrices in double precision knows no condition above this
PRODUCT_COST, SPECTRUM_COST = 5e10, 2e8  # operations, and n^3: about a second each


def jacobians(
    trajectory: Trajectory, start: int = 0, stop: int | None = None, rows: int | None = None
) -> Tensor:
    """Return J_{start+1} ... J_{stop} of at most `rows` examples, spread evenly.

    Shape [stop - start, rows, n, n], J[..., i, j] = ds_t[i] / ds_{t-1}[j], in double precision. The
    steps that a shorter row does not have hold the identity. n backward passes through all steps at
    once, of about 2 n^3 operations a matrix in a recurrence of n states: the memory is that of the
    result times the gates.

    >>> from throughtime.diagnostics import trajectories
    >>> rnn = torch.nn.RNN(1, 1, nonlinearity="relu").double()
    >>> for weight in rnn.parameters(): _ = torch.nn.init.constant_(weight, 0.5)
    >>> [trajectory] = trajectories(rnn, torch.ones(2, 1, 1).double())
    >>> jacobians(trajectory).flatten()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    trajectory = sampled(trajectory, rows)
    stop = trajectory.length if stop is None else stop
    t, B = stop - start, trajectory.x.shape[1]
    with replaying(trajectory):
        before = torch.cat([s[start:stop].flatten(0, 1) for s in trajectory.states], -1)
        before.requires_grad_()
        extras = [None if e is None else e[start:stop].flatten(0, 1) for e in trajectory.extras]
        x = trajectory.x[start:stop].flatten(0, 1)
        after = torch.cat(trajectory.step(x, split(before, trajectory.states), None, extras), -1)
        n = before.shape[-1]
        basis = torch.eye(n).to(after).unsqueeze(1).expand(n, t * B, n)
        [columns] = torch.autograd.grad(after, before, basis, is_grads_batched=True)
    J = columns.detach().movedim(0, 1).reshape(t, B, n, n).to("cpu", torch.float64)
    real = (trajectory.real[start:stop] & trajectory.real[start + 1 : stop + 1]).cpu()
    return torch.where(real[..., None, None], J, torch.eye(n, dtype=J.dtype))


@dataclass(frozen=True, eq=False)
class Jacobians:
    """One-step and long-term Jacobians of one layer and direction, as singular values.

    layer      its name
    steps      [S] the time steps t that the next three belong to, counted from 1; with dilation d
               J_t leads from s_{t-d} to s_t
    largest    [S] σ_1(J_t), mean over the examples
    smallest   [S] σ_n(J_t), mean over the examples
    radius     [S] ρ(J_t), mean over the examples
    lags       [L] the lags l that the last two belong to, on a logarithmic scale up to T
    log10_long_largest    [L] log10 of the mean over the examples of σ_1(P_l); -inf where it is zero
    log10_long_condition  [L] log10 of the median over the examples of σ_1 / σ_n of P_l; inf above
                          1e12, where double precision cannot tell it from a singular matrix
    """

    layer: str
    steps: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray
    radius: np.ndarray
    lags: np.ndarray
    log10_long_largest: np.ndarray
    log10_long_condition: np.ndarray

    @classmethod
    def of(
        cls, trajectory: Trajectory, rows: int | None = None, steps: int | None = None
    ) -> Jacobians:
        """Measure at most `rows` examples, and the one-step values at `steps` times, both spread evenly.

        None: up to eight examples, and up to all steps, as take a second or two. Costs about 4 n^3
        operations for every step and example, and 30 n^3 for every one-step matrix and every lag;
        the matrices of few steps at a time are held. A thousand steps of an LSTM of 256 units take
        some fifteen seconds of one core.
        """
        T, n, B = trajectory.length, trajectory.joint.shape[-1], trajectory.x.shape[1]
        if rows is None:
            rows = min(MOST_ROWS, max(1, int(PRODUCT_COST / (4 * T * n**3))))
        rows = min(B, positive_int("rows", rows))
        if steps is None:
            steps = max(LEAST_MATRICES, int(SPECTRUM_COST / n**3)) // rows
            steps = max(2, steps)
        steps = min(T, positive_int("steps", steps))
        trajectory = sampled(trajectory, rows)
        times = np.unique(np.linspace(T, 1, steps).astype(int))
        lags = log_spaced(T)
        one = _Means(times, trajectory.real[:-1].cpu().numpy())
        log10_largest, log10_condition = _long(trajectory, lags, one)
        largest, smallest, radius = one.values()
        return cls(
            trajectory.layer,
            times * trajectory.dilation,
            largest,
            smallest,
            radius,
            lags * trajectory.dilation,
            log10_largest,
            log10_condition,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, None for what is not finite."""
        return {name: plain(value) for name, value in vars(self).items()}


class _Means:
    """The one-step values, as the Jacobians come by."""

    def __init__(self, times: np.ndarray, real: np.ndarray) -> None:
        self.times, self.real = set(times.tolist()), real
        self.found: dict[int, tuple[float, ...]] = {}

    def see(self, t: int, J: Tensor) -> None:
        """Take J_t of every example that has it."""
        if t in self.times:
            J = J[torch.from_numpy(self.real[t - 1])]
            if not bool(J.isfinite().all()):
                self.found[t] = (math.nan,) * 3
                return
            singular = torch.linalg.svdvals(J)
            radius = torch.linalg.eigvals(J).abs().amax(-1)
            values = singular[..., 0], singular[..., -1], radius
            self.found[t] = tuple(float(value.mean()) for value in values)

    def values(self) -> np.ndarray:
        """Return σ_1, σ_n and ρ, [3, S], in the order of time."""
        return np.array([self.found[t] for t in sorted(self.found)]).T


def _long(trajectory: Trajectory, lags: np.ndarray, one: _Means) -> tuple[np.ndarray, np.ndarray]:
    """Multiply from the newest step back; the size of the product is kept apart, as a logarithm."""
    T, R, n = trajectory.length, trajectory.x.shape[1], trajectory.joint.shape[-1]
    product = torch.eye(n, dtype=torch.float64).expand(R, n, n)
    log_size = torch.zeros(R, dtype=torch.float64)
    wanted, largest, condition = set(lags.tolist()), [], []
    for start, stop in reversed(spans(T, R * n * n)):
        J = jacobians(trajectory, start, stop)
        for t in range(stop, start, -1):
            one.see(t, J[t - 1 - start])
            product = product @ J[t - 1 - start]
            size = product.abs().amax((-2, -1))
            log_size = log_size + size.log()
            product = product / size.where(size > 0, torch.ones(())).unsqueeze(-1).unsqueeze(-1)
            if T - t + 1 in wanted:
                there = trajectory.real[t - 1].cpu()
                a, b = _log10(product[there], log_size[there])
                largest.append(a)
                condition.append(b)
    return np.array(largest), np.array(condition)


def _log10(product: Tensor, log_size: Tensor) -> tuple[float, float]:
    """Return log10 of the mean σ_1 and of the median condition."""
    if not bool(product.isfinite().all()):
        return math.nan, math.nan
    singular = torch.linalg.svdvals(product)
    first, last = singular[:, 0], singular[:, -1]
    largest = torch.logsumexp(first.log() + log_size, 0) - math.log(len(first))
    condition = torch.where(last * SINGULAR > first, first / last, math.inf)
    return float(largest) / math.log(10), float(condition.median().log10())
