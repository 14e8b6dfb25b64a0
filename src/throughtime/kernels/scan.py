"""The scan: a step repeated along time; and its reverse, the adjoint.

Forward, for t = 1..T:   s_t = step(s_{t-1}, inputs_t)
Adjoint, for t = T..1:   λ_t = e_t + (ds_{t+1}/ds_t)' λ_{t+1}

s is a tuple of tensors, e_t what the loss sends to s_t directly, λ_t the total. Where a mask is
False the step is skipped: s_t = s_{t-1}, and the adjoint passes through unchanged.

Both are written in plain operations that autograd can follow. The kernels use `scan` where they
must be differentiated more than once; their fast loops write the same steps into buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

State = tuple[Tensor, ...]
Step = Callable[..., State]


def scan(
    step: Step, state: State, inputs: Sequence[Any], mask: Tensor | None = None
) -> tuple[State, State]:
    """Repeat `state = step(*state, *inputs_t)` along the first axis of the inputs.

    Returns the states at every time step, each stacked along a new first axis, and the last state.
    `mask` [T, B] (or [T, E, B]) is False where the step is to be skipped. Any sequence may be an
    input, of anything that `step` understands.

    >>> x = torch.tensor([1.0, 2.0, 3.0])
    >>> states, last = scan(lambda s, x_t: (s + x_t,), (torch.zeros(()),), [x])
    >>> states[0]
    tensor([1., 3., 6.])
    """
    states = []
    for t in range(len(inputs[0])):
        proposed = step(*state, *(input[t] for input in inputs))
        state = _choose(mask, t, proposed, state)
        states.append(state)
    return tuple(torch.stack(axis) for axis in zip(*states, strict=True)), state


def adjoint_scan(
    step_adjoint: Step, direct: State, inputs: Sequence[Tensor], mask: Tensor | None = None
) -> tuple[State, State]:
    """Carry gradients back: `λ_{t-1} = e_{t-1} + step_adjoint(*λ_t, *inputs_t)` from the last step.

    `direct` holds e_t along the first axis, with the gradient of the last state in its last entry.
    Returns λ_t for t = 1..T, stacked, and the gradient that reaches the initial state.

    >>> e, f = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, 0.5, 0.5])
    >>> totals, initial = adjoint_scan(lambda λ, f_t: (λ * f_t,), (e,), [f])
    >>> totals[0], initial[0]
    (tensor([0.2500, 0.5000, 1.0000]), tensor(0.1250))
    """
    arriving: State = tuple(torch.zeros_like(e[0]) for e in direct)
    totals = []
    for t in reversed(range(len(inputs[0]))):
        total = tuple(a + e[t] for a, e in zip(arriving, direct, strict=True))
        arriving = _choose(mask, t, step_adjoint(*total, *(input[t] for input in inputs)), total)
        totals.append(total)
    return tuple(torch.stack(axis) for axis in zip(*reversed(totals), strict=True)), arriving


def _choose(mask: Tensor | None, t: int, proposed: State, kept: State) -> State:
    if mask is None:
        return proposed
    real = mask[t].unsqueeze(-1)
    return tuple(torch.where(real, p, k) for p, k in zip(proposed, kept, strict=True))
