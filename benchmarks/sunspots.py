"""How well the yearly sunspot numbers are forecast, beside what is hard to beat.

(a) Eleven years ahead at eight rolling origins that end in 2008: mean absolute error, for each cell
    its mean over the seeds with the least and the most, beside Naive, SeasonalNaive, AR (order by
    Akaike's criterion) and AR(9).
(b) One year ahead, fitted once to 1700-1920: squared error over 1495.6, the variance of 1700-1979,
    on 1921-55 and on 1956-79, beside persistence and AR(9), the classical yardsticks (Weigend,
    Huberman and Rumelhart 1990).

(c) Eleven years ahead within 1700-1920, the years that settings are to be chosen by: 22 origins
    every four years, and eight of eleven years (only when asked for).

Run with `python benchmarks/sunspots.py [--cells rnn,gru,lstm] [--seeds 0,1,2] [--part a|b|c]`.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from throughtime.datasets.carried import sunspots
from throughtime.forecasting.baselines import LinearAutoregression, Naive
from throughtime.forecasting.forecaster import Forecaster

Floats = npt.NDArray[np.float64]

H, ORIGINS = 11, 8
VARIANCE = 1495.6
LAST_LEARNT, LAST = 1920, 1979
PERIODS = ((1921, 1955), (1956, 1979))


def eleven_years_ahead(cells: Iterable[str], seeds: Iterable[int]) -> None:
    """Print part (a)."""
    series = sunspots()
    print(f"(a) {H} years ahead, {ORIGINS} rolling origins to 2008: mean absolute error")
    backtest: Any = None
    for cell in cells:
        errors = []
        for seed in seeds:
            forecaster = forecaster_of(H, cell, seed)
            forecaster.cross_validation(series, n_windows=ORIGINS, step_size=H)
            backtest = forecaster.backtest
            errors.append(backtest.scores[0].mae)
        spread = f"  ({min(errors):.2f} to {max(errors):.2f}, {len(errors)} seeds)"
        print(f"{cell.upper():16}{statistics.mean(errors):8.2f}{spread}")
    for score in backtest.scores[1:]:
        print(f"{score.model:16}{score.mae:8.2f}")
    y = series["y"].to_numpy()
    cuts = [len(y) - H * k for k in range(ORIGINS, 0, -1)]
    nine = LinearAutoregression(order=9)
    errors = [np.abs(nine.forecast(y[:cut], H) - y[cut : cut + H]).mean() for cut in cuts]
    print(f"{'AR(9)':16}{np.mean(errors):8.2f}")


def within_the_years_to_choose_by(cells: Iterable[str], seeds: Iterable[int]) -> None:
    """Print part (c)."""
    series = sunspots()
    series = series.filter(pc.less_equal(series["ds"], LAST_LEARNT))
    for n, step in ((22, 4), (ORIGINS, H)):
        print(f"(c) {H} years ahead, {n} origins {step} years apart to {LAST_LEARNT}: MAE")
        for cell in cells:
            for seed in seeds:
                # the first origins know too little to tell the cycle's length
                forecaster = Forecaster(H, **options_of(cell, seed), season_length=H)
                forecaster.cross_validation(series, n_windows=n, step_size=step)
                scores = ", ".join(f"{s.model} {s.mae:.2f}" for s in forecaster.backtest.scores)
                print(f"seed {seed}: {scores}")


def one_year_ahead(cells: Iterable[str], seeds: Iterable[int]) -> None:
    """Print part (b)."""
    series = sunspots()
    series = series.filter(pc.less_equal(series["ds"], LAST))
    print(f"\n(b) one year ahead, fitted once to 1700-{LAST_LEARNT}: squared error / {VARIANCE}")
    print(" " * 16 + "".join(f"{f'{a}-{b % 100}':>10}" for a, b in PERIODS))
    years = np.arange(LAST_LEARNT + 1, LAST + 1)
    for cell in cells:
        for seed in seeds:
            show(f"{cell.upper()}, seed {seed}", years, *forecasts(cell, seed, series, len(years)))
    y = series["y"].to_numpy()
    truth = y[-len(years) :]
    known = [y[: len(y) - len(years) + k] for k in range(len(years))]
    show("persistence", years, truth, np.array([Naive().forecast(k, 1)[0] for k in known]))
    show("AR(9)", years, truth, fixed_autoregression(y, len(years), 9))


def forecasts(cell: str, seed: int, series: pa.Table, n: int) -> tuple[Floats, Floats]:
    """Return what came and what was forecast in each of the last n years."""
    forecaster = forecaster_of(1, cell, seed)
    table = forecaster.cross_validation(series, n_windows=n, step_size=1, refit=False)
    return table["y"].to_numpy(), table[forecaster.name].to_numpy()


def fixed_autoregression(y: Floats, n: int, order: int) -> Floats:
    """Return one-step forecasts of the last n values, by least squares on those before them."""
    lags = np.lib.stride_tricks.sliding_window_view(y, order + 1)
    design = np.column_stack([np.ones(len(lags)), lags[:, :-1]])
    coefficients, *_ = np.linalg.lstsq(design[:-n], lags[:-n, -1], rcond=None)
    return np.asarray(design[-n:] @ coefficients)


def show(name: str, years: npt.NDArray[np.int64], truth: Floats, made: Floats) -> None:
    parts = [(years >= first) & (years <= last) for first, last in PERIODS]
    errors = [np.square(made - truth)[part].mean() / VARIANCE for part in parts]
    print(f"{name:16}" + "".join(f"{error:10.3f}" for error in errors))


def forecaster_of(h: int, cell: str, seed: int) -> Forecaster:
    return Forecaster(h, **options_of(cell, seed))


def options_of(cell: str, seed: int) -> dict[str, Any]:
    return {"cell": cell, "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description="Forecast the yearly sunspot numbers.")
    parser.add_argument("--cells", default="rnn,gru,lstm")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--part", choices=["a", "b", "c"], help="only this part")
    options = parser.parse_args()
    cells = options.cells.split(",")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.part == "c":
        return within_the_years_to_choose_by(cells, seeds)
    if options.part != "b":
        eleven_years_ahead(cells, seeds)
    if options.part != "a":
        one_year_ahead(cells, seeds)


if __name__ == "__main__":
    main()
