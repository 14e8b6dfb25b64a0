"""Where a page's numbers come from: the command and the commit that made them, and on what."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from kernels import commit, processor_name

FOLDERS = ("--data", "--out")


def provenance(words: list[str]) -> dict[str, str]:
    """Return what to say of a run that was started with `words`, `sys.argv` as a rule."""
    return {
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", f"benchmarks/{Path(words[0]).name}", *portable(words[1:])]),
        "processor": processor_name(),
        "torch": torch.__version__,
    }


def portable(words: list[str]) -> list[str]:
    """Return a command's options without its folders, which are other ones elsewhere.

    >>> portable(["--data", "here", "--quick", "--out=there", "--seeds", "0"])
    ['--quick', '--seeds', '0']
    """
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith(FOLDERS):
            kept.append(word)
        skip = word in FOLDERS
    return kept
