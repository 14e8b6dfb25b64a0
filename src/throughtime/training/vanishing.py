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

import torch
from torch import Tensor

from throughtime._checks import real
from throughtime._errors import DataError
from throughtime.nn.following import Followed, follow
from throughtime.nn.records import Recorded


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
    run = follow(record)
    leaves = [s[:-1].flatten(0, 1).requires_grad_() for s in run.states]
    d, *zones = (None if e is None else e.flatten(0, 1) for e in run.extras)
    each = [None if zone is None else zone.unsqueeze(0) for zone in zones]
    with torch.enable_grad():
        inputs = run.x.flatten(0, 1).unsqueeze(0), *leaves, *run.weights, d, *each
        _, *after = record.kernel.replay(None, inputs)
        v, counts = _directions(record, run)
        passed = torch.autograd.grad(after, leaves, v, create_graph=True)
        ratio = torch.linalg.vector_norm(torch.cat(passed, -1), dim=-1)
        return torch.where(counts, (ratio - 1.0) ** 2, 0.0).sum() / run.x.shape[1]


def _directions(record: Recorded, run: Followed) -> tuple[list[Tensor], Tensor]:
    """Return v = λ/‖λ‖ for each state, [T·B, H], and which steps count, [T·B]."""
    totals = [t for t in (record.tap.dh_TBH, record.tap.dc_TBH) if t is not None]
    turned = [total.flip(0) if record.direction else total for total in totals]
    λ = torch.cat(turned, -1).flatten(0, 1)
    largest = λ.abs().amax(-1, keepdim=True)  # first, so that squares of tiny numbers stay
    counts = (largest > 0).squeeze(-1) & run.mask.flatten()
    v = torch.nn.functional.normalize(λ / torch.where(largest > 0, largest, 1.0), dim=-1)
    return list(torch.split(v, [total.shape[-1] for total in totals], dim=-1)), counts
