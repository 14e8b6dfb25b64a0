"""Who learns to remember, and whether that could be told before training.

The adding problem and the copy task (`memory_tasks_problems.py`) at T = 100, 200, 400, for tanh
nets, orthogonal, kept orthogonal and identity ones with and without clipping, GRU, LSTM and LSTM with
chrono biases (`memory_tasks_nets.py`); besides, in the part "more", copy at T = 50 and adding at 500
and 1000. One rule sets batch, rate
and updates of all (`memory_tasks_runs.py`). Before each run, a rule (`memory_tasks_verdict.py`) says
from one look at the untrained net whether it will learn.

The rule was derived from runs of seed 0; the seed here is another one by default.

Run with `python benchmarks/memory_tasks.py [--quick] [--parts adding,copy,more] [--seed 1]
[--processes 2] [--out folder]`. A whole run writes its page, numbers and picture into
benchmarks/results, any other only where --out says.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from memory_tasks_nets import KINDS
from memory_tasks_page import line, page
from memory_tasks_plot import picture
from memory_tasks_runs import Job, row
from provenance import provenance

from kernels import RESULTS, some_of
from throughtime._files import check_writable, write_atomically

LENGTHS = (100, 200, 400)
SHORT, LONG = 50, (1000, 500)
LONG_NETS = ("GRU", "LSTM, chrono")
UPDATES = 5000
PARTS = ("adding", "copy", "more")
NAME = "memory_tasks"


def jobs(parts: list[str], seed: int, quick: bool) -> Iterator[Job]:
    """Yield the rows of the table; the longest sequences first, for two processes to end together."""
    updates, lengths = (1000, (50,)) if quick else (UPDATES, LENGTHS)
    nets = [kind.title for kind in KINDS]
    if "more" in parts and not quick:
        yield from (Job("adding", T, net, seed, updates) for T in LONG for net in LONG_NETS)
    for T in reversed(lengths):
        for task in ("copy", "adding"):
            if task in parts:
                yield from (Job(task, T, net, seed, updates) for net in nets)
    if "more" in parts and not quick:
        yield from (Job("copy", SHORT, net, seed, updates) for net in nets)


def measure(todo: list[Job], processes: int) -> Iterator[dict[str, Any]]:
    """Yield the rows as they come."""
    if processes == 1:
        yield from map(row, todo)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(row, todo)


def main() -> None:
    options = read_options()
    whole = options.parts == list(PARTS) and not options.quick
    folder = options.out or (RESULTS if whole else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / f"{NAME}.json")
    start, rows = time.perf_counter(), []
    for each in measure(list(jobs(options.parts, options.seed, options.quick)), options.processes):
        print(line(each), flush=True)
        rows.append(each)
    results = {
        **provenance(sys.argv),
        "processes": options.processes,
        "seconds": time.perf_counter() - start,
        "rows": sorted(rows, key=order),
    }
    print("\n" + page(results))
    if folder is not None:
        write_atomically(folder / f"{NAME}.json", json.dumps(results, indent=1) + "\n")
        write_atomically(folder / f"{NAME}.md", page(results))
        write_atomically(folder / f"{NAME}.svg", picture(results["rows"]))
        print(f"written to {folder}")


def order(each: dict[str, Any]) -> tuple[Any, ...]:
    names = [kind.title for kind in KINDS]
    return each["task"], names.index(each["net"]), each["T"]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train recurrent nets on two tasks of memory.")
    parser.add_argument("--quick", action="store_true", help="T = 50 and 1000 updates")
    parser.add_argument("--parts", type=some_of(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, default=1, help="of weights and sequences")
    parser.add_argument("--processes", type=int, default=2, help="runs side by side")
    parser.add_argument("--out", type=Path, help=f"folder for {NAME}.md, .json and .svg")
    return parser.parse_args()


if __name__ == "__main__":
    main()
