"""Does `tt.evaluate` give the numbers that the organisers of M4 published?

For their Naive2, and for the naive and the seasonal naive forecast made here: sMAPE, MASE and OWA
(beside Naive2), and of the naive forecast's 95 % intervals

    f_k -+ 1.96 s sqrt(k),   s^2 = mean (y_t - y_{t-1})^2 of the series' past

MSIS and the absolute difference of coverage and 0.95. All figures are to agree to the last digit
that was published; the exit code is 1 where one does not.

Run with `python benchmarks/accuracy/m4_facts.py [--data folder]`, the folder (default: $THROUGHTIME_DATA)
holding m4/{yearly,weekly,hourly}_{train,test}.parquet (columns unique_id, ds, y; in the test
files also naive2) and the organisers' tables m4/published_{point,intervals}.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import throughtime as tt
from throughtime.forecasting import Naive, Panel, SeasonalNaive, read_frame

FOLDER = "THROUGHTIME_DATA"
LEVEL = 95

Published = dict[str, dict[str, str]]  # method -> column -> figure


@dataclass(frozen=True)
class Group:
    """The series of one frequency: how many, the horizon, and the season that errors are scaled by."""

    n_series: int
    h: int
    season: int


GROUPS = {
    "yearly": Group(23_000, 6, 1),
    "weekly": Group(359, 13, 1),
    "hourly": Group(414, 48, 24),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--data", type=Path, default=os.environ.get(FOLDER), help="folder with m4/")
    folder = parser.parse_args().data
    lacking = missing(folder)
    if lacking:
        print(f"skipped: {lacking} (M4 as parquet, and the organisers' tables)")
        return 0
    print(f"{'':8}{'model':16}{'metric':8}{'ours':>12}{'published':>12}")
    wrong = 0
    for name in GROUPS:
        start = time.perf_counter()
        found = facts_of(Path(folder), name)
        seconds = time.perf_counter() - start
        for model, metric, ours, theirs in found:
            agrees = same(ours, theirs)
            wrong += not agrees
            print(f"{name:8}{model:16}{metric:8}{ours:12.4f}{theirs:>12}{'' if agrees else ' !'}")
        print(f"{name:8}{GROUPS[name].n_series:,} series read and scored in {seconds:.2f} s")
    print("all as published" if not wrong else f"{wrong} not as published")
    return int(wrong > 0)


def facts_of(folder: Path, name: str) -> list[tuple[str, str, float, str]]:
    """Return model, metric, our figure and the published one of a group, as the files have it."""
    group = GROUPS[name]
    train = read_frame(read(folder, name, "train"))
    test = read(folder, name, "test")
    shape = len(train), test.num_rows
    if shape != (group.n_series, group.n_series * group.h):
        raise SystemExit(f"m4/{name}: {shape[0]:,} series, {shape[1]:,} test values; not M4's")
    table = forecasts(test, train, group.season)
    scores = tt.evaluate(table, train, season_length=group.season, baseline="Naive2")
    return facts(scores, name.title(), published(folder, "point"), published(folder, "intervals"))


def read(folder: Path, name: str, part: str) -> pa.Table:
    return pq.read_table(folder / f"m4/{name}_{part}.parquet")


def same(ours: float, theirs: str) -> bool:
    """Say whether a figure is the published one, to the last digit of that.

    >>> same(16.3418, "16.342"), same(0.98, "1")  # an OWA of 1 is published without digits
    (True, False)
    """
    digits = max(3, decimals(theirs))
    return f"{ours:.{digits}f}" == f"{float(theirs):.{digits}f}"


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Leaves the equation of the help where it is."""


def missing(folder: Path | None) -> str:
    """Say which file is missing, nothing where all are there."""
    if folder is None:
        return f"--data and ${FOLDER} name no folder"
    parts = [f"{name}_{part}.parquet" for name in GROUPS for part in ("train", "test")]
    for name in (*parts, "published_point.csv", "published_intervals.csv"):
        if not (Path(folder) / "m4" / name).exists():
            return f"{folder} has no m4/{name}"
    return ""


def published(folder: Path, table: str) -> Published:
    """Return the organisers' table of "point" forecasts or of "intervals"."""
    path = folder / f"m4/published_{table}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def forecasts(test: pa.Table, train: Panel, season: int) -> pa.Table:
    """Put naive forecasts beside the values; the series of both tables are in the same order."""
    h = test.num_rows // len(train)
    assert test["unique_id"].to_pylist()[::h] == list(train.ids)
    past = [train.row(i) for i in range(len(train))]
    naive = np.stack([Naive().forecast(y, h) for y in past])
    s = np.sqrt([[np.mean(np.diff(y) ** 2)] for y in past])
    width = NormalDist().inv_cdf(0.5 + LEVEL / 200) * s * np.sqrt(np.arange(1, h + 1))
    made = {
        "Naive": naive,
        f"Naive-lo-{LEVEL}": naive - width,
        f"Naive-hi-{LEVEL}": naive + width,
        "SeasonalNaive": np.stack([SeasonalNaive(season).forecast(y, h) for y in past]),
    }
    table = test.rename_columns(["unique_id", "ds", "y", "Naive2"])
    for name, values in made.items():
        table = table.append_column(name, pa.array(values.ravel()))
    return table


def facts(
    scores: pa.Table, group: str, point: Published, intervals: Published
) -> list[tuple[str, str, float, str]]:
    """Return model, metric, our figure and the published one."""
    found: list[tuple[str, str, float, str]] = []
    for row in scores.to_pylist():
        model: str = row["model"]
        method = {"SeasonalNaive": "sNaive"}.get(model, model)
        ours: dict[str, Any] = {"sMAPE": row["smape"], "MASE": row["mase"], "OWA": row["owa"]}
        found += [(model, name, v, point[method][f"{name}_{group}"]) for name, v in ours.items()]
        if model in intervals:
            difference = abs(row[f"coverage-{LEVEL}"] - LEVEL / 100)
            for name, v in {"MSIS": row[f"msis-{LEVEL}"], "ACD": difference}.items():
                found.append((model, name, v, intervals[model][f"{name}_{group}"]))
    return found


def decimals(text: str) -> int:
    """Return how many digits come after the point.

    >>> decimals("16.342"), decimals("1")
    (3, 0)
    """
    return len(text.partition(".")[2])


if __name__ == "__main__":
    sys.exit(main())
