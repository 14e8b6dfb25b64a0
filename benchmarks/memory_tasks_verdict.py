"""Would this net learn that, said before training, from one backward pass.

Four conditions, each with its physical reason. With phi_l the gradient norm at lag l over the newest
(`lag_profile`), D the directions among the gradients at the lags needed, and the need of the task:

1. reaches     phi at the farthest needed lag >= 1 %: the gradient is there to learn from.
2. tells apart D >= k / 2, for k inputs that must be told apart: what arrives by one and the same
               direction is only ever added up, and order is lost.
3. has room    a net without gates at the edge of explosion (phi >= 1/2 at the farthest lag) has its
               gradient clipped: with nothing that contracts, an update's error grows with each step.
4. or climbs   a gated net that does not reach yet learns at the nearest lag (phi >= 1 % there), opens
               its gates for that, and so reaches the next: needed are lags without a gap.

    learns = reaches and tells apart and has room, or climbs and tells apart (k = 1)

D is the participation ratio (sum s^2)^2 / sum s^4 of the singular values s of the k newest-to-oldest
adjoints, each brought to length 1: k where they are orthogonal, 1 where they are parallel.

Necessary, not sufficient: the rule does not see whether the function itself can be represented.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from memory_tasks_nets import Net
from memory_tasks_problems import Need, Problem
from torch import Tensor

from throughtime.diagnostics import lag_profile
from throughtime.kernels.tap import AdjointTap
from throughtime.nn import recording

REACHES = 0.01
EDGE = 0.5
EXAMPLES = 64


@dataclass(frozen=True)
class Before:
    """What was measured before training, at the lags needed."""

    nearest: float
    farthest: float
    memory: int | None
    directions: float
    gated: bool
    clipped: bool


@dataclass(frozen=True)
class Verdict:
    """Whether the net would learn it, and the reason with its number."""

    learns: bool
    reason: str


def learnable(before: Before, need: Need) -> Verdict:
    """Say whether a net would learn what needs `need`, by the four conditions above.

    >>> identity = Before(0.7, 0.7, None, directions=1.4, gated=False, clipped=True)
    >>> learnable(identity, Need(0, 99))
    Verdict(learns=True, reason='the gradient at lag 99 is 0.7 of the newest')
    >>> learnable(identity, Need(110, 110, told_apart=10)).reason
    'the 10 inputs at lag 110 come by 1.4 directions: told apart they cannot be'
    """
    if before.farthest < REACHES:
        return _climbs(before, need)
    if before.directions < need.told_apart / 2:
        return Verdict(
            False,
            f"the {need.told_apart} inputs at lag {need.farthest} come by "
            f"{before.directions:.1f} directions: told apart they cannot be",
        )
    if before.farthest >= EDGE and not before.gated and not before.clipped:
        return Verdict(
            False,
            f"the gradient at lag {need.farthest} is {before.farthest:.2g} of the newest, nothing "
            "contracts and nothing clips: the first updates make it explode",
        )
    return Verdict(
        True, f"the gradient at lag {need.farthest} is {before.farthest:.2g} of the newest"
    )


def _climbs(before: Before, need: Need) -> Verdict:
    far = f"the gradient at lag {need.farthest} is {before.farthest:.1g} of the newest"
    if not before.gated:
        return Verdict(False, far)
    if before.nearest >= REACHES and need.told_apart == 1:
        return Verdict(True, f"{far}, but lags from {need.nearest} on pay, and gates can open")
    return Verdict(False, f"{far}, and nothing nearer pays for opening the gates")


def look(net: Net, problem: Problem, *, gated: bool, clipped: bool, seed: int = 0) -> Before:
    """Measure a net before training, on 64 sequences.

    In float64, where 1e-60 of the newest gradient can still be told from nothing.
    """
    net, need = copy.deepcopy(net).double(), problem.need
    x, y = problem.draw(EXAMPLES, torch.Generator().manual_seed(seed))
    x = x.double()

    def newest(answers: Tensor, targets: Tensor) -> Tensor:
        return problem.loss(answers[-1:], targets[-1:])

    [profile] = lag_profile(net, x, y, newest)
    with recording(net) as records:
        newest(net(x), y).backward()  # type: ignore[no-untyped-call]
    return Before(
        nearest=float(profile.norms[need.nearest]),
        farthest=float(profile.norms[need.farthest]),
        memory=profile.memory,
        directions=directions(records[0].tap, need),
        gated=gated,
        clipped=clipped,
    )


def directions(tap: AdjointTap, need: Need) -> float:
    """Return D, the mean over the examples, of the inputs from the farthest lag backwards.

    Those at lags farthest, farthest + 1, ..., as many as must be told apart.
    """
    newest_first = joint(tap).flip(0)[need.farthest : need.farthest + need.told_apart]
    return participation(newest_first.transpose(0, 1))


def joint(tap: AdjointTap) -> Tensor:
    """Return dL/d(h, c) of every step, [T, B, H] or [T, B, 2 H]."""
    assert tap.dh_TBH is not None
    return tap.dh_TBH if tap.dc_TBH is None else torch.cat([tap.dh_TBH, tap.dc_TBH], -1)


def participation(vectors: Tensor) -> float:
    """Return (sum s^2)^2 / sum s^4 of vectors [B, k, N] at length 1, the mean over B.

    >>> round(participation(torch.eye(3)[None]), 6), round(participation(torch.ones(1, 3, 2)), 6)
    (3.0, 1.0)
    """
    unit = torch.nn.functional.normalize(vectors.double(), dim=-1, eps=1e-300)
    energy = torch.linalg.svdvals(unit).square()
    return float((energy.sum(-1).square() / energy.square().sum(-1).clamp(min=1e-300)).mean())
