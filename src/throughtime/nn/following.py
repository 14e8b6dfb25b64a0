"""A recorded call step by step: every state that it ran through, in the order in which it ran.

A recording keeps the ends of a run and the adjoint of every state; the states between are made again
from the inputs, by the kernel itself. A reverse direction is turned round, so that time always runs
from the initial state to the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.kernels.kernel import Kernel
from throughtime.nn.base import States
from throughtime.nn.records import Recorded


@dataclass(frozen=True, eq=False)
class Followed:
    """One call: s_t = f(x_t, s_{t-1}) for t = 1..T.

    x        [T, B, I]
    states   h [T+1, B, H], or (h, c); the initial ones first
    mask     [T, B], False where a row has no step
    weights  what the kernel takes, as it was recorded, None where there is none
    extras   the dropout and the zoneouts of every step [T, B, H], None where there is none; empty for
             a cell that has no place for them
    """

    x: Tensor
    states: States
    mask: Tensor
    weights: tuple[Tensor | None, ...]
    extras: tuple[Tensor | None, ...]


@torch.no_grad()
def follow(record: Recorded) -> Followed:
    """Run a recorded call again and return every state; all but the weights is cut off from graphs.

    Costs a forward pass, for recurrences of two states one call a step.

    >>> from throughtime.nn import RNN, recording
    >>> layer = RNN(1, 1, nonlinearity="relu", bias=False)
    >>> for weight in layer.parameters(): _ = torch.nn.init.constant_(weight, 0.5)
    >>> with recording(layer) as records:
    ...     output, h_n = layer(torch.ones(3, 1, 1))
    >>> follow(records[0]).states[0].flatten().tolist()
    [0.0, 0.5, 0.75, 0.875]
    """
    S, (x, *rest) = record.kernel.states, record.inputs
    start, others = tuple(s.detach() for s in rest[:S]), rest[S:]
    weights, extras = (others[: -1 - S], others[-1 - S :]) if others else ([], [])
    x = x.detach()
    mask = x.new_ones(x.shape[:2], dtype=torch.bool) if record.mask is None else record.mask
    if extras and extras[0] is not None:
        extras[0] = extras[0].expand(len(x), *extras[0].shape)
    if record.direction:
        x, mask = x.flip(0), mask.flip(0)
        extras = [e if e is None else e.flip(0) for e in extras]
    made = Followed(x, (), mask, tuple(weights), tuple(extras))
    if S == 1 and isinstance(record.kernel, Kernel):  # its states are its outputs
        d, zone = extras
        d = d if d is None else d[0]
        h_TBH, *_ = record.kernel.forward(mask, (x, *start, *weights, d, zone), keep=False)
        states: Any = [(*start, *h_TBH)]
    else:
        path = [start]
        for t in range(len(x)):
            path.append(_next(record.kernel, made, t, path[-1]))
        states = zip(*path, strict=True)
    whole = tuple(torch.stack(half) for half in states)
    return Followed(made.x, whole, made.mask, made.weights, made.extras)


def _next(kernel: Any, run: Followed, t: int, before: States) -> States:
    """Return the states after step t; where the mask is False, those before it."""
    here = slice(t, t + 1)
    d, *zones = run.extras or (None,)
    extras = (d if d is None else d[t], *(z if z is None else z[here] for z in zones))
    inputs = run.x[here], *before, *run.weights, *(extras if run.extras else ())
    _, *after = kernel.replay(None, inputs)
    real = run.mask[t].unsqueeze(-1)
    return tuple(torch.where(real, a, b) for a, b in zip(after, before, strict=False))
