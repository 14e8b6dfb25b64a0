"""Files written whole or not at all: first beside the target, then renamed over it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from throughtime._errors import SettingError


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Put `content` (text as UTF-8) at `path`; a reader sees the old file or the new, never a part.

    Raises SettingError where the folder does not exist or may not be written to.
    """
    target = _target(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    beside = None
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{target.name[:40]}.", dir=target.parent)
        with open(handle, "wb") as file:
            file.write(data)
        # mkstemp makes files that only their owner can read
        os.chmod(beside, _permissions(target))
        os.replace(beside, target)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None
    finally:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)  # left over only after a failure


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a `path` that `write_atomically` could not write; for use before long work."""
    target = _target(path)
    if target.is_dir():
        raise _refusal(path, "it is a folder")
    if not target.parent.is_dir():
        raise _refusal(path, f"there is no folder {str(target.parent)!r}")
    try:  # trying tells the truth where permission bits do not (root, read-only mounts)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None


def _target(path: str | os.PathLike[str]) -> Path:
    # a link is written through, not replaced
    return Path(os.path.realpath(path))


def _permissions(target: Path) -> int:
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _refusal(path: str | os.PathLike[str], found: str) -> SettingError:
    return SettingError(
        f"a place where {os.fspath(path)!r} can be written",
        f"that it cannot ({found})",
        "name a file in a folder that exists and may be written to",
    )
