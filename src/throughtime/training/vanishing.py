"""A penalty on gradients that vanish or grow between one time step and the one before.

With x_t the state (h, or the pair (h, c) of an LSTM) and E the loss,

    λ_t = ∂E/∂x_t                                    all of it: directly and through later steps
    Ω   = Σ_t ( ‖λ_{t+1} ∂x_{t+1}/∂x_t‖ / ‖λ_{t+1}‖  -  1 )²

asks every step to hand on the gradient at the length it came with, in the direction that matters:
that of the error, not any other. λ, the inputs and the states are constants here, so only the
immediate Jacobian ∂x_{t+1}/∂x_t is differentiated by the weights: for the vanilla net through
diag(φ'(a_{t+1})) U, for the others through the gates, too. Ω is a sum over the steps of the run, over
layers and directions, and a mean over the series of a batch. Steps that padding skips and those that
no gradient reaches have no part in it.

One backward pass of the loss leaves λ in the taps of `nn.recording`. With the states known, all
steps of all series are then one batch of single steps: one product v J with v = λ/‖λ‖, differentiable,
whatever the length. They are PyTorch's operations, differentiated twice, beside kernels that are not: an
update takes four to seven times as long as without (B = H = 32, T = 100, one thread), and of an ensemble,
whose members then run in turn, about ten times.

Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks",
equations 9 and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime._checks import real
from throughtime._errors import DataError
from throughtime.nn.layers import Recorded


@dataclass(frozen=True)
class Vanishing:
    """`strength` times Ω of what ran; see the module. For `TrainingSettings(penalties=...)`.

    Raises SettingError for a strength below 0.
    """

    strength: float

    def __post_init__(self) -> None:
        real("strength", self.strength, at_least=0, below=float("inf"))

    def __call__(self, records: Sequence[Recorded]) -> Tensor:
        """Return strength · Ω, as `vanishing_penalty` does."""
        return self.strength * vanishing_penalty(records)


def vanishing_penalty(records: Sequence[Recorded]) -> Tensor:
    """Return Ω, a scalar, of all layers and directions in `records`, differentiable by their weights.

    `records` come from `nn.recording` around the forward pass; `loss.backward()` must have run.
    What is returned depends on the weights alone: call backward on it before the optimiser steps,
    and its gradient is added to the loss's. Where a weight is computed from others (by a
    parametrisation), call `loss.backward(retain_graph=True)`. For an `Ensemble`, record its
    `template`. Raises DataError where nothing was recorded or no gradient came back.

    >>> from throughtime.nn import RNN, recording
    >>> rnn = RNN(1, 1, nonlinearity="relu", bias=False)
    >>> for weight in rnn.parameters(): _ = torch.nn.init.constant_(weight, 0.5)
    >>> with recording(rnn) as records:
    ...     output, _ = rnn(torch.ones(4, 3, 1))
    >>> output[-1].sum().backward()
    >>> omega = vanishing_penalty(records)
    >>> omega.item()  # four steps, each of which halves the gradient
    1.0
    >>> rnn.weight_hh_l0.grad = None
    >>> omega.backward()
    >>> round(rnn.weight_hh_l0.grad.item(), 4)  # 4 * 2 (0.5 - 1)
    -4.0
    """
    if not records:
        raise DataError(
            "a model that runs at least one layer of throughtime.nn",
            "none",
            "build it with throughtime.nn.RNN, LSTM or GRU, or call throughtime.accelerate",
        )
    reached = [record for record in records if record.tap.dh_TBH is not None]
    if not reached:
        raise DataError(
            "a backward pass through what was recorded", "none", "call loss.backward() first"
        )
    return torch.stack([_omega(record) for record in reached]).sum()


def _omega(record: Recorded) -> Tensor:
    """Return Ω of one layer and direction."""
    x, states, weights, d, zones = _in_order_of_the_run(record)
    T, B = x.shape[:2]
    before = _states_before(record, x, states, weights, d, zones)
    leaves = [s.flatten(0, 1).requires_grad_() for s in before]
    spread = None if d is None else d.expand(T, *d.shape).flatten(0, 1)
    zones_of_all = [None if z is None else z.flatten(0, 1).unsqueeze(0) for z in zones]
    with torch.enable_grad():
        inputs = x.reshape(1, T * B, -1), *leaves, *weights, spread, *zones_of_all
        _, *after = record.kernel.replay(None, inputs)
        v, counts = _directions(record)
        passed = torch.autograd.grad(after, leaves, v, create_graph=True)
        ratio = torch.linalg.vector_norm(torch.cat(passed, -1), dim=-1)
        return torch.where(counts, (ratio - 1.0) ** 2, 0.0).sum() / B


def _in_order_of_the_run(
    record: Recorded,
) -> tuple[Tensor, list[Tensor], list[Any], Any, list[Any]]:
    """Return x, the initial states, the weights, dropout, zoneouts; the constants cut off."""
    S = record.kernel.states
    x, *rest = record.inputs
    states, weights, (d, *zones) = rest[:S], rest[S : -1 - S], rest[-1 - S :]
    if record.direction:
        x, zones = x.flip(0), [None if z is None else z.flip(0) for z in zones]
    return x.detach(), [s.detach() for s in states], weights, d, zones


def _along(record: Recorded, series: Tensor) -> Tensor:
    """See [T, B, ...] in the order in which the steps ran."""
    return series.flip(0) if record.direction else series


def _directions(record: Recorded) -> tuple[list[Tensor], Tensor]:
    """Return v = λ/‖λ‖ for each state, [T·B, H], and which steps count, [T·B]."""
    totals = [t for t in (record.tap.dh_TBH, record.tap.dc_TBH) if t is not None]
    λ = torch.cat([_along(record, total) for total in totals], -1).flatten(0, 1)
    largest = λ.abs().amax(-1, keepdim=True)  # first, so that squares of tiny numbers stay
    counts = (largest > 0).squeeze(-1)
    if record.mask is not None:
        counts = counts & _along(record, record.mask).flatten()
    v = torch.nn.functional.normalize(λ / torch.where(largest > 0, largest, 1.0), dim=-1)
    return list(torch.split(v, [total.shape[-1] for total in totals], dim=-1)), counts


@torch.no_grad()
def _states_before(
    record: Recorded, x: Tensor, state: Sequence[Tensor], weights: Any, d: Any, zones: Any
) -> list[Tensor]:
    """Return the states that every step began with, each [T, B, H], by running along again."""
    mask = None if record.mask is None else _along(record, record.mask)
    run = record.kernel.forward
    if record.kernel.states == 1:  # its states are its outputs
        h_TBH, *_ = run(mask, (x, *state, *weights, d, *zones), keep=False)
        return [torch.cat([state[0].unsqueeze(0), h_TBH[:-1]])]
    before = []
    for t in range(len(x)):
        before.append(state)
        here = slice(t, t + 1)
        now = [None if z is None else z[here] for z in zones]
        inputs = (x[here], *state, *weights, d, *now)
        _, *state = run(None if mask is None else mask[here], inputs, keep=False)
        state = state[: record.kernel.states]
    return [torch.stack(axis) for axis in zip(*before, strict=True)]
