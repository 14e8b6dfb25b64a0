"""Checkpoints: everything a run needs to go on as if it had never stopped.

A file in the safetensors format: tensors by name, and plain facts as JSON in its metadata with a
checksum of both. Loading it runs no code. It is written beside and renamed, so that a crash
leaves the file before or the file after, never half of one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import ModelFileError
from throughtime.training.observer import Evaluation, History, Update
from throughtime.training.truncation import State

FORMAT = "throughtime checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """Write the run to `path` every so many updates, and at its end.

    Raises SettingError if `every` is no whole number above 0.
    """

    path: str | os.PathLike[str]
    every: int = 100

    def __post_init__(self) -> None:
        positive_int("every", self.every)


@dataclass
class Snapshot:
    """Tensors by name, and facts that JSON can hold."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def include(self, name: str, part: Snapshot) -> None:
        """Take up `part` under the prefix `name`."""
        self.tensors.update({f"{name}.{key}": tensor for key, tensor in part.tensors.items()})
        self.facts[name] = part.facts

    def part(self, name: str) -> Snapshot:
        """Return what `include` took up."""
        prefix = f"{name}."
        tensors = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
        return Snapshot(tensors, self.facts.get(name, {}))


def write(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write `snapshot` to `path`, all of it or nothing."""
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in snapshot.tensors.items()}
    facts = json.dumps(snapshot.facts)
    metadata = {"format": FORMAT, "facts": facts, "checksum": str(_checksum(tensors, facts))}
    beside = Path(f"{os.fspath(path)}.{os.getpid()}.part")
    try:
        save_file(tensors, beside, metadata)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> Snapshot:
    """Read what `write` wrote.

    Raises ModelFileError for a file that is missing, damaged or foreign.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise _unreadable(path, f"the format {metadata.get('format')!r}")
        if int(metadata["checksum"]) != _checksum(tensors, metadata["facts"]):
            raise _unreadable(path, "contents that do not match their checksum")
        return Snapshot(tensors, json.loads(metadata["facts"]))
    except FileNotFoundError as error:
        raise _unreadable(path, "no such file") from error
    except (safetensors.SafetensorError, OSError, KeyError, TypeError) as error:
        raise _unreadable(path, str(error).rstrip(".")) from error
    except (json.JSONDecodeError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise _unreadable(path, "damaged metadata") from error


def _unreadable(path: str | os.PathLike[str], found: str) -> ModelFileError:
    return ModelFileError(
        f"{os.fspath(path)} to be a checkpoint of a training run",
        found,
        "pass a file that training wrote, or start afresh",
    )


def _checksum(tensors: dict[str, Tensor], facts: str) -> int:
    total = zlib.crc32(facts.encode())
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total


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
