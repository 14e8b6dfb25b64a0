"""Archives: tensors by name and plain facts in one file, whole or not at all.

A file in the safetensors format; the facts are JSON in its metadata, beside the format's name and
version and a checksum of everything. Reading it runs no code.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from throughtime._errors import ModelFileError, ThroughtimeError
from throughtime._files import write_atomically


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


@dataclass(frozen=True)
class Format:
    """What a file holds: `name` and `version` stand in it, `content` and `remedy` in the errors."""

    name: str
    version: int
    content: str
    remedy: str

    def unreadable(self, path: str | os.PathLike[str], found: str) -> ModelFileError:
        """Return the error that says what is wrong with the file at `path`."""
        return ModelFileError(f"{os.fspath(path)} to be {self.content}", found, self.remedy)

    def check(self, path: str | os.PathLike[str], stamp: str | None) -> None:
        """Refuse the stamp of another format, and that of a version to come."""
        name, _, version = (stamp or "").rpartition(" ")
        if name != self.name or not version.isdecimal():
            raise self.unreadable(path, f"the format {stamp!r}")
        if int(version) > self.version:
            raise ModelFileError(
                f"{os.fspath(path)} to be of version {self.version} or older of its format",
                f"version {version}",
                "upgrade throughtime, which wrote it in a later release",
            )

    @contextmanager
    def unpacking(self, path: str | os.PathLike[str]) -> Iterator[None]:
        """Say of whatever goes wrong within that the contents of the file at `path` do not fit."""
        try:
            yield
        except _MISFITS as error:
            found = f"contents that do not fit ({_words(error)})"
            raise self.unreadable(path, found) from error


# What values raise that code which trusts them cannot work with; the package's errors are among them.
_MISFITS = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _words(error: Exception) -> str:
    if isinstance(error, ThroughtimeError):
        return f"expected {error.expected}, found {error.found}"
    said = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(said.split()).rstrip(".")


def write(path: str | os.PathLike[str], format: Format, snapshot: Snapshot) -> None:
    """Write `snapshot` to `path`, all of it or nothing; `SettingError` where that cannot be."""
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in snapshot.tensors.items()}
    # numpy's numbers as Python's
    facts = json.dumps(snapshot.facts, default=methodcaller("item"))
    stamp = f"{format.name} {format.version}"
    metadata = {"format": stamp, "facts": facts, "checksum": str(_checksum(tensors, stamp, facts))}
    write_atomically(path, save(tensors, metadata))


def read(path: str | os.PathLike[str], format: Format) -> Snapshot:
    """Read what `write` wrote.

    Raises `ModelFileError` for a file that is missing, damaged, foreign or of a version to come.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            format.check(path, metadata.get("format"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if int(metadata["checksum"]) != _checksum(tensors, metadata["format"], metadata["facts"]):
            raise format.unreadable(path, "contents that do not match their checksum")
        facts = json.loads(metadata["facts"])
    except ModelFileError:
        raise
    except FileNotFoundError as error:
        raise format.unreadable(path, "no such file") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise format.unreadable(path, _unread(path, error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise format.unreadable(path, "damaged metadata") from error
    if not isinstance(facts, dict):
        raise format.unreadable(path, "damaged metadata")
    return Snapshot(tensors, facts)


def _unread(path: str | os.PathLike[str], error: Exception) -> str:
    """Say why a file could not be opened: the reader's own words are about its bytes."""
    if os.path.isdir(path):
        return "a folder"
    if isinstance(error, OSError):
        return error.strerror or "one that cannot be read"
    cut_off = any(words in str(error) for words in ("too small", "header length", "not fully"))
    return "one that is cut off" if cut_off else "another kind of file"


def _checksum(tensors: dict[str, Tensor], *texts: str) -> int:
    total = zlib.crc32("\n".join(texts).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        if tensor.numel():  # torch will not look at the bytes of nothing
            total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return total
