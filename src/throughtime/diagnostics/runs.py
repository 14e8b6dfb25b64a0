"""Runs: calls of one recurrence that go on from each other, with the states and adjoints of all.

A decoder that feeds on itself and a cell in a loop are called once a step; a layer may be called on
pieces of a series. Where a call begins with the state that the one before ended with, or at least not
with the state that the run began with, it goes on; otherwise it is another run. The calls of a dilated
layer for single steps take turns: each goes on from the one that ended with its state, d calls before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime.nn import Recorded
from throughtime.nn.following import follow

States = tuple[Tensor, ...]


@dataclass(eq=False)
class Run:
    """Calls of one layer and direction, or of one cell, each of which goes on from the one before.

    All in the order of the run: x [T, B, I], states [T+1, B, H], mask [T, B], and dropout and
    zoneouts [T, B, H] or None.
    """

    layer: str
    records: list[Recorded]
    x: Tensor
    states: States
    mask: Tensor
    extras: tuple[Tensor | None, ...]

    @property
    def reverse(self) -> bool:
        """Say whether it runs against the time of the series."""
        return self.records[0].direction == 1

    @property
    def dilation(self) -> int:
        """How many steps of the series a step of the run is."""
        return self.records[0].dilation

    @property
    def series(self) -> tuple[int, int]:
        """T and B of the series that was read; the phases of a dilated layer are rows of a run."""
        T, rows = self.x.shape[:2]
        if self.dilation == 1 or rows % self.dilation:
            return T, rows
        B = rows // self.dilation
        return int(self.mask.sum()) // B, B

    def goes_on_in(self, other: Run) -> bool:
        """Say whether another begins where this one ends, or at least not where this one began."""
        if self.reverse or self.x.shape[1:] != other.x.shape[1:]:
            return False
        halves = list(zip(self.states, other.states, strict=True))
        at_end = all(torch.equal(a[-1], b[0]) for a, b in halves)
        if at_end or self.dilation > 1:
            return at_end
        return not all(torch.equal(a[0], b[0]) for a, b in halves)

    def joined(self, other: Run) -> Run:
        """Return both, one after the other in time."""
        states = zip(self.states, other.states, strict=True)
        extras = zip(self.extras, other.extras, strict=True)
        return Run(
            self.layer,
            [*self.records, *other.records],
            torch.cat([self.x, other.x]),
            tuple(torch.cat([a, b[1:]]) for a, b in states),
            torch.cat([self.mask, other.mask]),
            tuple(a if a is None or b is None else torch.cat([a, b]) for a, b in extras),
        )

    def adjoints(self) -> States:
        """Return dL/ds in the shapes of the states; zero where the loss does not reach."""
        names = ("dh_0", "dh_TBH"), ("dc_0", "dc_TBH")
        found = []
        for (first, rest), states in zip(names, self.states, strict=False):
            pieces, start = [_or_zeros(getattr(self.records[0].tap, first), states[:1])], 1
            for record in self.records:
                like = states[start : start + record.inputs[0].shape[0]]
                piece = _or_zeros(getattr(record.tap, rest), like)
                pieces.append(piece.flip(0) if record.direction else piece)
                start += len(like)
            found.append(torch.cat(pieces))
        return tuple(found)

    def reads_newest(self) -> bool:
        """Say whether the gradient that was taken last reaches the newest state."""
        return any(bool(a[-1].any()) for a in self.adjoints())

    def forget(self) -> None:
        """Empty the taps."""
        for record in self.records:
            vars(record.tap).update(vars(type(record.tap)(record.tap.whole)))


def _or_zeros(found: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if found is None else found.reshape(like.shape)


def runs_of(records: Sequence[Recorded]) -> list[Run]:
    """Join the calls that go on from each other."""
    runs: list[Run] = []
    for record in records:
        run = _followed(record)
        earlier = [each for each in reversed(runs) if each.layer == run.layer]
        candidates = earlier if run.dilation > 1 else earlier[:1]
        last = next((each for each in candidates if each.goes_on_in(run)), None)
        if last is not None:
            runs[runs.index(last)] = last.joined(run)
        else:
            runs.append(run)
    return runs


def _followed(record: Recorded) -> Run:
    call = follow(record)
    return Run(record.label, [record], call.x, call.states, call.mask, call.extras)
