"""What it costs to go on: new rows through `Forecaster.update`, as a table.

Batches: a table of one new row for each of many series, by the kind of table; observations a second.
Single: one value of one series, as a number and as a dict, in microseconds. Every call is timed;
the median and the least of them are told, and the median of an empty operation of torch beside them.

    python benchmarks/streaming.py [--series 1000] [--repeats 30]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch

import throughtime as tt
from throughtime.training import TrainingSettings

SOON = TrainingSettings(max_updates=2, batch_size=32, learning_rate=1e-2)
STEPS = 60
TABLES: dict[str, Callable[[Any], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "dict": dict,
}
NETS: dict[str, dict[str, Any]] = {
    "direct, window": {},
    "synced, carried": {"architecture": "synced", "scaling": "running"},
    "synced, carried, 1 member": {"architecture": "synced", "scaling": "running", "members": 1},
}


def forecaster(series: int, settings: dict[str, Any]) -> tt.Forecaster:
    rng = np.random.default_rng(0)
    ids = np.repeat([f"s{i}" for i in range(series)], STEPS)
    ds = np.tile(np.datetime64("2024-01-01") + np.arange(STEPS), series)
    table = pa.table({"unique_id": ids, "ds": ds, "y": 50 + rng.normal(0, 5, series * STEPS)})
    made = tt.Forecaster(h=7, n_windows=0, training=SOON, **settings).fit(table)
    made.update(rows(series, 0, pa.table))  # the state is read once
    return made


def rows(series: int, k: int, make: Callable[[Any], Any]) -> Any:
    rng = np.random.default_rng(k)
    ds = np.datetime64("2024-01-01") + STEPS + k
    columns = {"unique_id": [f"s{i}" for i in range(series)], "ds": np.full(series, ds)}
    return make(columns | {"y": 50 + rng.normal(0, 5, series)})


def seconds(call: Callable[[Any], Any], arguments: Iterable[Any]) -> list[float]:
    spent = []
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        spent.append(time.perf_counter() - start)
    return spent


def batches(series: int, repeats: int) -> None:
    print(f"| net | table of {series} rows | observations/s, median | best |")
    print("|---|---|---|---|")
    for name, settings in NETS.items():
        made, k = forecaster(series, settings), 1
        for kind, make in TABLES.items():
            tables = [rows(series, k + i, make) for i in range(repeats)]
            k += repeats
            spent = seconds(made.update, tables)
            median, best = series / statistics.median(spent), series / min(spent)
            print(f"| {name} | {kind} | {median:,.0f} | {best:,.0f} |")


def single(repeats: int) -> None:
    empty = seconds(lambda _: torch.empty(0), range(1000))
    print(f"\n| net | one value as | µs, median | least | empty operations ({_us(empty)} µs) |")
    print("|---|---|---|---|---|")
    for name, settings in NETS.items():
        made = forecaster(1, settings)
        values = np.random.default_rng(0).normal(50, 5, repeats).tolist()
        stamps = (np.datetime64("2024-01-01") + STEPS + 1 + repeats + np.arange(repeats)).tolist()
        dicts = [{"unique_id": "s0", "ds": d, "y": v} for d, v in zip(stamps, values, strict=True)]
        for kind, arguments in (("number", values), ("dict with date", dicts)):
            spent = seconds(made.update, arguments)
            ratio = statistics.median(spent) / statistics.median(empty)
            print(f"| {name} | {kind} | {_us(spent)} | {min(spent) * 1e6:.0f} | {ratio:.0f} |")


def _us(spent: list[float]) -> str:
    return f"{statistics.median(spent) * 1e6:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batches(arguments.series, arguments.repeats)
    single(100 * arguments.repeats)


if __name__ == "__main__":
    main()
