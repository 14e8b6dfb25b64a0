"""Checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from throughtime import _archive
from throughtime._archive import Format, Snapshot
from throughtime._checks import positive_int
from throughtime.training.observer import Evaluation, History, Update
from throughtime.training.truncation import State

FORMAT = Format(
    "throughtime checkpoint",
    1,
    "a checkpoint of a training run",
    "pass a file that training wrote, or start afresh",
)


class Keeper(Protocol):
    """What keeps checkpoints: every so many updates, and at the end of a run."""

    @property
    def every(self) -> int:
        """The updates between two checkpoints."""
        ...

    def write(self, snapshot: Snapshot) -> None:
        """Keep a checkpoint in place of the one before."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """Write the run to `path` every so many updates, and at its end.

    Raises SettingError if `every` is no whole number above 0.
    """

    path: str | os.PathLike[str]
    every: int = 100

    def __post_init__(self) -> None:
        positive_int("every", self.every)

    def write(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, all of it or nothing."""
        write(self.path, snapshot)


def write(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write `snapshot` to `path`, all of it or nothing."""
    _archive.write(path, FORMAT, snapshot)


def read(path: str | os.PathLike[str]) -> Snapshot:
    """Read what `write` wrote; `ModelFileError` for a file that is missing, damaged or foreign."""
    return _archive.read(path, FORMAT)


def pack_state(state: State) -> tuple[dict[str, Tensor], Any]:
    """Take a recurrent state apart: its tensors by number, and its shape as nested lists.

    >>> pack_state((torch.zeros(1), (torch.ones(1),)))
    ({'0': tensor([0.]), '1': tensor([1.])}, [0, [1]])
    """
    tensors: dict[str, Tensor] = {}

    def shape(part: State) -> Any:
        if isinstance(part, Tensor):
            tensors[str(len(tensors))] = part
            return len(tensors) - 1
        return None if part is None else [shape(inner) for inner in part]

    whole = shape(state)
    return tensors, whole


def unpack_state(tensors: dict[str, Tensor], shape: Any) -> State:
    """Put together what `pack_state` took apart."""
    if isinstance(shape, list):
        return tuple(unpack_state(tensors, inner) for inner in shape)
    return None if shape is None else tensors[str(shape)]


def pack_history(history: History) -> Snapshot:
    """Write a history as two tables, float64, so that long ones stay small."""
    updates = [
        (u.index, u.total, u.loss, u.grad_norm, u.threshold, u.clipped, u.learning_rate)
        for u in history.updates
    ]
    evaluations = [(e.index, e.loss, e.best) for e in history.evaluations]
    return Snapshot({"updates": _table(updates, 7), "evaluations": _table(evaluations, 3)})


def unpack_history(snapshot: Snapshot, history: History) -> None:
    """Fill `history` with what `pack_history` wrote."""
    for index, total, loss, norm, threshold, clipped, rate in snapshot.tensors["updates"].tolist():
        limit = None if threshold != threshold else threshold
        history.updates.append(
            Update(int(index), int(total), loss, norm, limit, bool(clipped), rate)
        )
    for index, loss, best in snapshot.tensors["evaluations"].tolist():
        history.evaluations.append(Evaluation(int(index), loss, bool(best)))


def _table(rows: Iterable[Iterable[float | None]], columns: int) -> Tensor:
    values = [[float("nan") if value is None else float(value) for value in row] for row in rows]
    return torch.tensor(values, dtype=torch.float64).reshape(-1, columns)
