"""The most memory that training a layer holds, beyond what there was before its first update.

`peak_memory` asks a fresh process each time, and is for Linux, which tells the peak in /proc:
the process runs this file with `cell library T B I H threads`, and prints MiB.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch
from kernels_pairs import Shape, pair, training

UPDATES = 4
PROC = Path("/proc/self")


def peak_memory(cell: str, library: str, shape: Shape) -> float:
    """Return MiB at the peak of a few updates; `library` is "torch" or "ours"."""
    arguments = [cell, library, *map(str, shape), str(torch.get_num_threads())]
    command = [sys.executable, __file__, *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measured(cell: str, library: str, shape: Shape) -> float:
    """Return MiB at the peak of a few updates in this process."""
    x, d_output = torch.randn(shape.T, shape.B, shape.I), torch.randn(shape.T, shape.B, shape.H)
    layer = getattr(pair(cell, shape.I, shape.H), library)
    # code that is read from the disk, and threads, are there for any size
    training(getattr(pair(cell, 1, 1), library), torch.randn(2, 1, 1), torch.randn(2, 1, 1))()
    update = training(layer, x, d_output)
    (PROC / "clear_refs").write_text("5")  # the peak begins anew
    before = kibibytes("VmRSS")
    for _ in range(UPDATES):
        update()
    return (kibibytes("VmHWM") - before) / 1024


def kibibytes(name: str) -> int:
    """Return what Linux says of this process's memory."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", (PROC / "status").read_text(), re.MULTILINE)
    assert found is not None, name
    return int(found[1])


def main() -> None:
    cell, library, *sizes, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(measured(cell, library, Shape(*map(int, sizes))))


if __name__ == "__main__":
    main()
