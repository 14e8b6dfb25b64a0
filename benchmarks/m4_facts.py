"""Does `tt.evaluate` give the numbers that the organisers of M4 published?

For their Naive2, and for the naive and the seasonal naive forecast made here: sMAPE, MASE and OWA
(beside Naive2), and of the naive forecast's 95 % intervals

    f_k -+ 1.96 s sqrt(k),   s^2 = mean (y_t - y_{t-1})^2 of the series' past

MSIS and the absolute difference of coverage and 0.95. All figures are to agree to the last digit
that was published; the exit code is 1 where one does not.

Run with `python benchmarks/m4_facts.py [--data folder]`, the folder (default: $THROUGHTIME_DATA)
holding m4/{yearly,weekly,hourly}_{train,test}.parquet (columns unique_id, ds, y; in the test
files also naive2) and the organisers' tables m4/published_{point,intervals}.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import throughtime as tt
from throughtime.forecasting import Naive, Panel, SeasonalNaive, read_frame

FOLDER = "THROUGHTIME_DATA"
SEASONS = {"yearly": 1, "weekly": 1, "hourly": 24}  # those that M4 scales its errors by
LEVEL = 95

Published = dict[str, dict[str, str]]  # method -> column -> figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--data", type=Path, default=os.environ.get(FOLDER), help="folder with m4/")
    folder = parser.parse_args().data
    lacking = missing(folder)
    if lacking:
        print(f"skipped: {lacking} (M4 as parquet, and the organisers' tables)")
        return 0
    point = read_published(Path(folder) / "m4/published_point.csv")
    intervals = read_published(Path(folder) / "m4/published_intervals.csv")
    print(f"{'':8}{'model':16}{'metric':8}{'ours':>12}{'published':>12}")
    wrong = 0
    for name, season in SEASONS.items():
        train = read_frame(pq.read_table(Path(folder) / f"m4/{name}_train.parquet"))
        table = forecasts(pq.read_table(Path(folder) / f"m4/{name}_test.parquet"), train, season)
        start = time.perf_counter()
        scores = tt.evaluate(table, train, season_length=season, baseline="Naive2")
        seconds = time.perf_counter() - start
        for model, metric, ours, theirs in facts(scores, name.title(), point, intervals):
            digits = max(3, decimals(theirs))  # an OWA of 1 is published without
            agrees = f"{ours:.{digits}f}" == f"{float(theirs):.{digits}f}"
            wrong += not agrees
            print(f"{name:8}{model:16}{metric:8}{ours:12.4f}{theirs:>12}{'' if agrees else ' !'}")
        print(f"{name:8}{len(train):,} series scored in {seconds:.2f} s")
    print("all as published" if not wrong else f"{wrong} not as published")
    return int(wrong > 0)


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Leaves the equation of the help where it is."""


def missing(folder: Path | None) -> str:
    """Say which file is missing, nothing where all are there."""
    if folder is None:
        return f"--data and ${FOLDER} name no folder"
    parts = [f"{name}_{part}.parquet" for name in SEASONS for part in ("train", "test")]
    for name in (*parts, "published_point.csv", "published_intervals.csv"):
        if not (Path(folder) / "m4" / name).exists():
            return f"{folder} has no m4/{name}"
    return ""


def read_published(path: Path) -> Published:
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
