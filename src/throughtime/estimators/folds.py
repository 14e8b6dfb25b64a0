"""Every member of an ensemble leaves another part of the sequences out, and is validated on it.

With K = max(5, E) folds (fewer where there are fewer sequences), member e learns from all but fold
e mod K. The mean of the members' validation losses is then one over up to all sequences, which a
single part held out from a few dozen is too small for. Folds are stratified: the sequences of each
class are dealt out in turn, so that every fold has its share of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime.estimators.sequences import Padded

LEAST_FOLDS = 5


@dataclass(frozen=True, eq=False)
class MemberExamples:
    """Examples for an ensemble of which member e sees the sequences `rows[e]`, [E, n] numbers.

    `examples[index [E, B]] -> (x [E, B, T, C], or (x, lengths [E, B]), targets [E, B, ...])`.

    >>> padded, targets = Padded(torch.zeros(3, 2, 1), None), torch.tensor([5, 6, 7])
    >>> MemberExamples(padded, targets, torch.tensor([[0, 1], [1, 2]]))[torch.tensor([[1], [0]])][1]
    tensor([[6],
            [6]])
    """

    padded: Padded
    targets: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return self.rows.shape[1]

    def __getitem__(self, index: Tensor) -> tuple[Tensor | tuple[Tensor, Tensor], Tensor]:
        rows = self.rows.gather(1, index)
        x, lengths = self.padded.x[rows], self.padded.lengths
        return x if lengths is None else (x, lengths[rows]), self.targets[rows]


def everything(n: int, members: int) -> Tensor:
    """Return rows [E, n] of members that all see all sequences."""
    return torch.arange(n).expand(members, n)


def leave_one_fold_out(
    strata: Sequence[int], members: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return what each member learns from, [E, n - m], and what it is validated on, [E, m].

    `strata` [n] are the classes. Of a class with one sequence alone none is left out.

    >>> learn, held = leave_one_fold_out([0] * 5 + [1] * 5, 5, torch.Generator().manual_seed(0))
    >>> learn.shape, sorted(held.flatten().tolist()), ((held < 5).sum(1) == 1).all().item()
    (torch.Size([5, 8]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], True)
    """
    n, of_class = len(strata), torch.tensor(strata)
    dealt = []
    for k in sorted(set(strata)):
        members_of_class = (of_class == k).nonzero().squeeze(1)
        if len(members_of_class) > 1:
            order = torch.randperm(len(members_of_class), generator=generator)
            dealt.append(members_of_class[order])
    order = torch.cat(dealt) if dealt else torch.empty(0, dtype=torch.long)
    K = min(max(LEAST_FOLDS, members), len(order))
    m = len(order) // K if K > 1 else 0
    held = [order[e % K :: K][:m] if m else order[:0] for e in range(members)]
    learn = [torch.arange(n)[~torch.isin(torch.arange(n), each)] for each in held]
    return torch.stack(learn), torch.stack(held)
