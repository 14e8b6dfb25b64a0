"""Measure how much memory a forecaster needs on large tables, and how long an update takes.

Tables of S series of n hourly steps each, float32, are written to Parquet by one process and read,
fitted and forecast by another. There, of what Linux says of the process,

    base      resident memory after a fit and a forecast of 200 steps: Python, PyTorch, pyarrow
    peak      the most from the beginning of the reading to the end of the fit
    ratio     (peak - base) / (4 bytes S n)

The forecast of all series is measured by itself, from the end of the fit on. An update's time is the
median over those of the final fit. The nets are the forecaster's own, with as many updates as it takes.

Run with `python benchmarks/memory_of_tables.py [--quick] [--out folder]`, on Linux; `--quick` leaves
the two large tables out. A whole run writes its page and numbers into benchmarks/results, any other
only where --out says.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

H, LEVEL = 12, (80,)
NAME = "memory_of_tables"
SIZES = [(1_000, 50), (1, 100_000), (100_000, 50), (1, 10_000_000)]
SMALL = 2
ORIGINS = (0, 2)


def write(S: int, n: int, path: str) -> None:
    """Write a table of S series of n steps: a day's cycle, a level of each, and noise."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    schema = pa.schema([("unique_id", pa.string()), ("ds", pa.timestamp("s")), ("y", pa.float32())])
    with pq.ParquetWriter(path, schema) as file:
        per_piece = max(1, 2**20 // n)
        for first in range(0, S, per_piece):
            t, ids = np.arange(n), range(first, min(first + per_piece, S))
            y = 20 + rng.normal(size=(len(ids), 1)) + np.sin(t * 2 * np.pi / 24)
            y = (y + 0.3 * rng.normal(size=y.shape)).astype(np.float32)
            ds = np.datetime64("1800-01-01", "s") + t * np.timedelta64(3600, "s")
            names = pa.array([f"series {i:06}" for i in ids]).take(np.arange(len(ids)).repeat(n))
            table = pa.table([names, np.tile(ds, len(ids)), y.ravel()], schema=schema)
            file.write_table(table)


def measure(path: str, tiny: str, origins: int) -> dict[str, Any]:
    """Return what reading, fitting and forecasting one table takes in this process."""
    import pyarrow as pa
    from kernels_memory import PROC, kibibytes

    from throughtime import Forecaster
    from throughtime.forecasting import read_parquet
    from throughtime.training import Evaluation, Observer, Update

    class Clock(Observer):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_start(self, name: str, total: int) -> None:
            self.times = []

        def on_update(self, update: Update) -> None:
            self.times.append(time.perf_counter())

        def on_evaluation(self, evaluation: Evaluation) -> None:
            pass

        def on_end(self, reason: str) -> None:
            pass

    def peak_of(task: Any) -> tuple[float, Any, float]:
        start = time.perf_counter()
        (PROC / "clear_refs").write_text("5")  # the peak begins anew
        made = task()
        return kibibytes("VmHWM") * 1024, made, time.perf_counter() - start

    levels = LEVEL if origins else ()
    Forecaster(H, n_windows=origins).fit(read_parquet(tiny), level=levels).predict(level=levels)
    gc.collect()
    pa.default_memory_pool().release_unused()
    clock, base = Clock(), kibibytes("VmRSS") * 1024
    forecaster = Forecaster(H, n_windows=origins)
    read, panel, reading = peak_of(lambda: read_parquet(path))
    fit, _, fitting = peak_of(lambda: forecaster.fit(panel, level=levels, observers=[clock]))
    steps = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
    predict, table, predicting = peak_of(lambda: forecaster.predict(level=levels))
    raw = 4 * panel.n_steps
    return {
        "series": len(panel.ids), "steps": panel.n_steps // len(panel.ids), "origins": origins,
        "raw": raw, "base": base, "rows": table.num_rows, "output": table.nbytes,
        "peak": {"read": read - base, "fit": fit - base, "predict": predict - base},
        "seconds": {"read": reading, "fit": fitting, "predict": predicting},
        "update": statistics.median(steps), "updates": len(clock.times),
    }  # fmt: skip


def page(rows: list[dict[str, Any]], made: dict[str, str]) -> str:
    """Return the numbers as Markdown."""
    mib = 2**20
    lines = [
        "# Memory of large tables",
        "",
        f"`{made['command']}`, commit {made['commit']}, {made['date']}, {made['processor']}, "
        f"torch {made['torch']}, one thread.",
        "",
        "MiB above the process before, which had fitted 200 steps. Fit: from the beginning of the "
        "reading to the end of the fit; its ratio is to the values as float32.",
        "",
        "| series | steps each | origins | values, MiB | read | fit | ratio | forecast of all | rows "
        "| an update, ms | fit, s | forecast, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peak, seconds = row["peak"], row["seconds"]
        most = max(peak["read"], peak["fit"])
        lines.append(
            f"| {row['series']:,} | {row['steps']:,} | {row['origins']} | {row['raw'] / mib:.1f} "
            f"| {peak['read'] / mib:.0f} | {most / mib:.0f} | {most / row['raw']:.2f} "
            f"| {peak['predict'] / mib:.0f} | {row['rows']:,} | {1e3 * row['update']:.1f} "
            f"| {seconds['fit']:.0f} | {seconds['predict']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def run(*words: object) -> str:
    """Run this file with other words in a fresh process, and return what it prints."""
    command = [sys.executable, __file__, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    if sys.argv[1:2] == ["write"]:
        write(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        return
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
        return

    from provenance import provenance

    from kernels import RESULTS
    from throughtime._files import check_writable, write_atomically

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    out = chosen.out or (None if chosen.quick else RESULTS)
    if out is not None:
        check_writable(out / f"{NAME}.json")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tiny, path = f"{folder}/tiny.parquet", f"{folder}/table.parquet"
        run("write", 1, 200, tiny)
        for S, n in SIZES[:SMALL] if chosen.quick else SIZES:
            run("write", S, n, path)
            for origins in ORIGINS:
                rows.append(json.loads(run("measure", path, tiny, origins)))
                print(rows[-1], flush=True)
    made = provenance(sys.argv)
    print(page(rows, made))
    if out is not None:
        whole = {**made, "rows": rows}
        write_atomically(out / f"{NAME}.json", json.dumps(whole, indent=1) + "\n")
        write_atomically(out / f"{NAME}.md", page(rows, made))


if __name__ == "__main__":
    main()
