"""Would this net learn that, said before training, from one backward pass.

With phi_l the gradient norm at lag l over the newest (`lag_profile`) and D the directions by which k
inputs at the lags needed reach the newest state, the participation ratio

    D = (sum s^2)^2 / sum s^4      s the singular values of the k adjoints, each at length 1

(k where they are orthogonal, 1 where they are parallel), four conditions and the reason for each:

1. reaches  phi at the farthest lag needed >= 1 %: there is a gradient to learn from.
2. sorts    D >= k/2 where inputs must be told apart by when they came: what arrives by one direction
            is added up, and its order is lost. D < k/2 where they must count alike whenever they
            came: what arrives by a direction that depends on the lag cannot be read by one head.
3. has room an ungated net at the edge (phi >= 1/2 at the farthest lag) is clipped: nothing in it
            contracts, so that the error of an update grows with every step.
4. climbs   a gated net that does not reach yet learns from the nearest lag (phi >= 1 % there), opens
            its gates for that and so reaches the next; the lags needed have no gap.

    learns = reaches and sorts and has room,  or  gated and climbs

What it does not see: whether the function can be represented at all, and how long it takes.
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

    >>> copying = Need(110, 110, compared=tuple(range(110, 120)), told_apart=True)
    >>> identity = Before(1.0, 0.7, None, directions=1.4, gated=False, clipped=True)
    >>> learnable(identity, copying).reason
    'what must be told apart by when it came arrives by 1.4 directions of 10'
    """
    k, far = len(need.compared), f"the gradient at lag {need.farthest} is {before.farthest:.1g}"
    if before.farthest < REACHES:
        climbs = before.gated and before.nearest >= REACHES
        why = ", but nearer lags pay for opening the gates" if climbs else ""
        return Verdict(climbs, f"{far} of the newest{why}")
    apart = before.directions >= k / 2
    if apart != need.told_apart:
        wanted = "be told apart by when it came" if need.told_apart else "count alike at any lag"
        return Verdict(
            False, f"what must {wanted} arrives by {before.directions:.1f} directions of {k}"
        )
    if before.farthest >= EDGE and not before.gated and not before.clipped:
        return Verdict(False, f"{far} of the newest: nothing contracts, and nothing clips")
    return Verdict(True, f"{far} of the newest")


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
    """Return D, the mean over the examples, of the lags that are compared."""
    newest_first = joint(tap).flip(0)[list(need.compared)]
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
