"""Time our kernels against those under `torch.nn`, and weigh and check both.

One process, as many threads for both; they run by turns after a warm-up, and medians count. A ratio
is torch.nn / ours: above 1 we are faster. The parts:

grid       training and inference over cells, batches, lengths, input and hidden sizes
newest     training from the newest output alone, many to one
packed     training on a PackedSequence, lengths uniform in [T/4, T]; and in both directions
streaming  one time step of one series, with the call from Python
ensembles  training E members, ours by tt.nn.Ensemble, PyTorch's one after the other
memory     the most that training holds, each in a fresh process (Linux)
accuracy   float32 and float64 against the NumPy oracle

Run with `python benchmarks/kernels.py [--quick] [--cells RNN,GRU,LSTM] [--parts grid,...]
[--threads n] [--out folder]`. It prints every row and then the page. A run over everything writes
the page and the numbers into benchmarks/results, any other run only where --out says.
`kernels_plot.py` draws the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from kernels_page import page
from kernels_pairs import CELLS
from kernels_parts import PARTS

from throughtime._files import check_writable, write_atomically
from throughtime.kernels.compiled import processor

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    kernels = processor()
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "kernels": "PyTorch's operations" if kernels is None else f"C++ for {kernels.name}",
        "peak_gflops": peak(),
    }


def processor_name() -> str:
    """Return the processor's name as Linux knows it, or its kind."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak(size: int = 2048, repeats: int = 20) -> float:
    """Return the GFLOP/s of PyTorch's product of two float32 matrices, at its best."""
    a, b = torch.randn(2, size, size)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return 2e-9 * size**3 / min(times)


def commit() -> str:
    """Return the commit that is measured, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        asked = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return asked.stdout.strip() or "unknown"


def measure(cells: list[str], parts: list[str], quick: bool) -> dict[str, Any]:
    """Run the parts, and print each row as it comes."""
    torch.manual_seed(0)
    results: dict[str, Any] = {
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    for part in parts:
        print(f"\n{part}", flush=True)
        results[part] = []
        for row in PARTS[part](cells, quick):
            print("  ".join(f"{k} {shown(v)}" for k, v in row.items()), flush=True)
            results[part].append(row)
    return results


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    options = read_options()
    cells, parts, quick = options.cells, options.parts, options.quick
    if options.threads:
        torch.set_num_threads(options.threads)
    whole = cells == list(CELLS) and parts == list(PARTS) and not quick
    folder = options.out or (RESULTS if whole else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / "kernels.json")
    results = measure(cells, parts, quick)
    print("\n" + page(results))
    if folder is not None:
        write_atomically(folder / "kernels.json", json.dumps(results, indent=1) + "\n")
        write_atomically(folder / "kernels.md", page(results))
        print(f"written to {folder}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time our kernels against those of torch.nn.")
    parser.add_argument("--quick", action="store_true", help="a few points of each part")
    parser.add_argument("--cells", type=some_of(CELLS), default=list(CELLS))
    parser.add_argument("--parts", type=some_of(PARTS), default=list(PARTS))
    parser.add_argument("--threads", type=int, help="default: as many as PyTorch takes")
    parser.add_argument("--out", type=Path, help="folder for kernels.json and kernels.md")
    return parser.parse_args()


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads names with commas between them, and refuses those it does not know."""

    def read(words: str) -> list[str]:
        names = words.split(",")
        if strange := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{strange[0]!r} is none of {', '.join(known)}")
        return names

    return read


if __name__ == "__main__":
    main()
