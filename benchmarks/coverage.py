"""How often values lie inside the intervals that promise it: 80 and 95 per cent, on five data sets.

A forecaster is fitted, and its intervals calibrated on rolling origins, with what comes before the
test part alone. It then forecasts at origins in the test part, its weights and its calibration as
they are, each time from all that came before that origin. Coverage is the share of all test values
inside. Beside it stand

    early, late    coverage over the first and the last third of the horizon
    honest         what the back-test told before, each origin being left out of its calibration
    +-             two standard errors of the coverage, from the spread over origins (over series for M4)

with which a coverage agrees or disagrees. Nothing is chosen on the test part.

Run with `python benchmarks/coverage.py [--data folder] [--sets yearly,air,...] [--outputs point,...]
[--quick]`, the folder (default: $THROUGHTIME_DATA) holding sunspots/monthly.csv, classics/
AirPassengers.csv and vic_electricity.csv.gz, and m4/hourly_{train,test}.parquet. `--quick` has
fewer members and origins, and one series of M4 in eight.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from throughtime.datasets.carried import sunspots
from throughtime.forecasting.forecaster import Forecaster

Floats = npt.NDArray[np.float64]

FOLDER = "THROUGHTIME_DATA"
LEVELS = (80, 95)
OUTPUTS = "point,quantiles,gaussian,student-t,mixture"


@dataclass(frozen=True)
class Case:
    """A table, the horizon, how many steps at its end are the test part, and the test origins' step."""

    table: pa.Table
    h: int
    test: int
    step: int
    settings: dict[str, Any]


def yearly(folder: Path, quick: bool) -> Case:
    return Case(sunspots(), 11, 88, 1, {})


def monthly(folder: Path, quick: bool) -> Case:
    table = pv.read_csv(folder / "sunspots/monthly.csv")
    months = [f"{each}"[:7] for each in table["ds"].to_pylist()]
    return Case(pa.table({"ds": months, "y": table["y"]}), 24, 600, 24 if quick else 6, {})


def air(folder: Path, quick: bool) -> Case:
    table = pv.read_csv(folder / "classics/AirPassengers.csv")
    months = [f"{each}"[:7] for each in table.column(0).to_pylist()]
    return Case(pa.table({"ds": months, "y": table.column(1)}), 12, 48, 1, {})


def electricity(folder: Path, quick: bool) -> Case:
    table = pv.read_csv(folder / "classics/vic_electricity.csv.gz")
    columns = {
        "ds": pc.cast(table["Time"], pa.timestamp("s")),
        "y": table["Demand"],
        "temperature": table["Temperature"],
        "holiday": pc.cast(table["Holiday"], pa.int64()),
    }
    known = {"futr": ["temperature", "holiday"], "context_length": 96 if quick else 336}
    return Case(pa.table(columns), 48, 48 * 180, 48 * (9 if quick else 3), known)


def hourly(folder: Path, quick: bool) -> Case:
    parts = [pq.read_table(folder / f"m4/hourly_{part}.parquet") for part in ("train", "test")]
    table = pa.concat_tables(part.select(["unique_id", "ds", "y"]) for part in parts)
    table = table.set_column(1, "ds", pc.cast(table["ds"], pa.int64()))
    if quick:
        ids = table["unique_id"].unique().to_pylist()[::8]
        table = table.filter(pc.is_in(table["unique_id"], value_set=pa.array(ids)))
    # the test part follows each series' own past; its dates are positions
    return Case(table, 48, 48, 48, {"context_length": 96} if quick else {})


SETS: dict[str, Callable[[Path, bool], Case]] = {
    "yearly": yearly,
    "monthly": monthly,
    "air": air,
    "electricity": electricity,
    "hourly": hourly,
}


def measure(case: Case, output: str, settings: dict[str, Any]) -> tuple[dict[int, Floats], Any]:
    """Return for each level what lay inside (1) or not (0) [origins, series, h]; the forecaster."""
    columns = {"freq": 1} if "unique_id" in case.table.column_names else {}
    forecaster = Forecaster(case.h, output=output, **{**columns, **case.settings, **settings})
    whole, _ = split(case.table, case.test)
    forecaster.fit(whole, level=LEVELS)
    inside: dict[int, list[Floats]] = {level: [] for level in LEVELS}
    for k in range(0, case.test - case.h + 1, case.step):
        known, rest = split(case.table, case.test - k)
        ahead = {"futr_df": future_of(rest, forecaster)} if "futr" in case.settings else {}
        made = forecaster.predict(known, level=LEVELS, **ahead)
        y = values_after(case.table, case.test - k, case.h)
        for level, each in inside.items():
            lo, hi = (
                made[f"{forecaster.name}-{end}-{level}"].to_numpy().reshape(y.shape)
                for end in ("lo", "hi")
            )
            each.append(np.asarray((lo <= y) & (y <= hi), dtype=np.float64))
    return {level: np.stack(each) for level, each in inside.items()}, forecaster


def future_of(rest: pa.Table, forecaster: Forecaster) -> pa.Table:
    return rest.drop_columns(["y"]).slice(0, forecaster.h)


def series_of(table: pa.Table) -> Iterator[pa.Table]:
    """Go over the series, each in the order of its dates."""
    if "unique_id" not in table.column_names:
        yield table
        return
    for name in table["unique_id"].unique().to_pylist():
        yield table.filter(pc.equal(table["unique_id"], name)).sort_by("ds")


def split(table: pa.Table, test: int) -> tuple[pa.Table, pa.Table]:
    """Return all but the last `test` steps of every series, and these."""
    pairs = [(s.slice(0, len(s) - test), s.slice(len(s) - test)) for s in series_of(table)]
    known, rest = zip(*pairs, strict=True)
    return pa.concat_tables(known), pa.concat_tables(rest)


def values_after(table: pa.Table, test: int, h: int) -> Floats:
    """Return the first h of the last `test` values of every series [S, h]."""
    each = [s["y"].to_numpy()[len(s) - test :][:h] for s in series_of(table)]
    return np.stack(each).astype(np.float64)


def show(
    name: str, output: str, inside: dict[int, Floats], forecaster: Any, seconds: float
) -> None:
    honest = forecaster.backtest.scores[0].coverage
    cells = []
    for level, each in inside.items():
        h = each.shape[-1]
        units = each.mean(axis=(1, 2)) if len(each) > 1 else each[0].mean(axis=1)
        overlap = max(1, h * len(each) // max(1, SPAN.get(name, h * len(each))))
        error = 2 * units.std() / max(1.0, len(units) / overlap) ** 0.5
        early, late = each[..., : h // 3].mean(), each[..., -(h // 3) :].mean()
        cells.append(
            f"{100 * each.mean():6.1f} +-{100 * error:4.1f}{100 * early:6.0f}{100 * late:6.0f}"
            f"{100 * honest.get(level, float('nan')):8.1f}"
        )
    R = forecaster.backtest.n_windows
    print(
        f"{name:12}{output:12}" + "  |".join(cells) + f"{R:9}{len(each):8}{seconds:8.0f}",
        flush=True,
    )


SPAN: dict[str, int] = {}  # steps in the test part, of data sets whose origins overlap


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the coverage of intervals.")
    parser.add_argument("--data", type=Path, default=os.environ.get(FOLDER))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--outputs", default=OUTPUTS)
    parser.add_argument("--windows", type=int, default=8, help="origins that calibrate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    settings: dict[str, Any] = {"n_windows": options.windows, "seed": options.seed}
    if options.quick:
        settings |= {"members": 3, "n_windows": min(options.windows, 8)}
    head = "".join(f"{level:6} %      early  late  honest  " for level in LEVELS)
    print(f"{'':24}{head}origins  tested seconds")
    for name in options.sets.split(","):
        try:
            case = SETS[name](Path(options.data or ""), options.quick)
        except FileNotFoundError as error:
            print(f"{name:12}skipped: --data or ${FOLDER} names no folder with {error.filename}")
            continue
        SPAN[name] = case.test
        for output in options.outputs.split(","):
            start = time.perf_counter()
            inside, forecaster = measure(case, output, settings)
            show(name, output, inside, forecaster, time.perf_counter() - start)


if __name__ == "__main__":
    main()
