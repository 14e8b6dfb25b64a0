"""Would this net learn that: said before training, from one backward pass.

With phi_l the gradient norm at lag l over the newest (`lag_profile.py`) and D the number of directions
in which the adjoints of k states at the lags needed point, their participation ratio

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

What it does not see: whether the function can be represented at all, and how long it takes. The
conditions were found on runs of one seed and held to those of another: `benchmarks/memory_tasks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import SettingError
from throughtime.diagnostics.gates import KEEPING
from throughtime.diagnostics.lag_profile import LagProfile
from throughtime.diagnostics.trajectory import Trajectory

REACHES = 0.01
EDGE = 0.5
GATED = tuple(KEEPING)


@dataclass(frozen=True)
class Asked:
    """What a task asks of a memory: lags [steps] from `nearest` to `farthest`, without a gap.

    What lies at the lags `compared` is either to be told apart by when it came, or to count alike
    whenever it came (`told_apart` False). Where nothing is compared, order does not matter. Raises
    SettingError for lags that are not in order.
    """

    nearest: int
    farthest: int
    compared: tuple[int, ...] = ()
    told_apart: bool = False

    def __post_init__(self) -> None:
        positive_int("nearest", self.nearest, at_least=0)
        positive_int("farthest", self.farthest, at_least=0)
        if self.farthest < self.nearest:
            raise SettingError(
                f"farthest to be at least nearest={self.nearest}", repr(self.farthest), "swap them"
            )


@dataclass(frozen=True)
class Verdict:
    """Whether the net would learn it, and the reason with its number."""

    learns: bool
    reason: str


@dataclass(frozen=True)
class Before:
    """What is measured before training: phi at the nearest and the farthest lag, and D."""

    nearest: float
    farthest: float
    directions: float
    gated: bool

    @classmethod
    def of(cls, trajectory: Trajectory, asked: Asked) -> Before:
        """Read the adjoints of one layer, in double precision if 1e-60 is to be told from nothing.

        Costs one pass over them. Lags beyond what ran are carried on with the measured decay.
        """
        profile, compared = LagProfile.of(trajectory), list(asked.compared)
        newest_first = torch.cat(trajectory.adjoints, -1).flip(0)
        seen = newest_first[compared].transpose(0, 1) if compared else newest_first[:0]
        return cls(
            profile.at(asked.nearest),
            profile.at(asked.farthest),
            participation(seen) if compared else 0.0,
            trajectory.operator in GATED,
        )


def learnable(before: Before, asked: Asked, *, clipped: bool = True) -> Verdict:
    """Say whether a net would learn what is asked, by the four conditions above.

    `clipped` says whether gradients will be clipped by norm in training.

    >>> copying = Asked(110, 110, compared=tuple(range(110, 120)), told_apart=True)
    >>> learnable(Before(1.0, 0.7, directions=1.4, gated=False), copying).reason
    'what must be told apart by when it came arrives by 1.4 directions of 10'
    >>> learnable(Before(0.3, 1e-20, directions=1.2, gated=True), Asked(1, 100)).learns
    True
    """
    k, far = len(asked.compared), f"the gradient at lag {asked.farthest} is {before.farthest:.1g}"
    if not before.farthest >= REACHES:
        climbs = before.gated and before.nearest >= REACHES
        why = ", but nearer lags pay for opening the gates" if climbs else ""
        return Verdict(climbs, f"{far} of the newest{why}")
    if k and (before.directions >= k / 2) != asked.told_apart:
        wanted = "be told apart by when it came" if asked.told_apart else "count alike at any lag"
        return Verdict(
            False, f"what must {wanted} arrives by {before.directions:.1f} directions of {k}"
        )
    if before.farthest >= EDGE and not before.gated and not clipped:
        return Verdict(False, f"{far} of the newest: nothing contracts, and nothing clips")
    return Verdict(True, f"{far} of the newest")


def participation(vectors: Tensor) -> float:
    """Return (sum s^2)^2 / sum s^4 of vectors [B, k, N] at length 1, the mean over B.

    >>> round(participation(torch.eye(3)[None]), 6), round(participation(torch.ones(1, 3, 2)), 6)
    (3.0, 1.0)
    """
    unit = torch.nn.functional.normalize(vectors.double(), dim=-1, eps=1e-300)
    energy = torch.linalg.svdvals(unit).square()
    return float((energy.sum(-1).square() / energy.square().sum(-1).clamp(min=1e-300)).mean())
