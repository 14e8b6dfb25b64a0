"""How well are the sunspots forecast, beside what is hard to beat?

    yearly     11 years ahead at eight rolling origins that end in 2008: mean absolute error
    monthly    132 months ahead at ten rolling origins that end in April 2025: mean absolute error
    one-year   one year ahead, fitted once to 1700-1920: squared error over 1495.6, the variance of
               1700-1979, on 1921-55 and on 1956-79 (Weigend, Huberman and Rumelhart 1990)

Everything is fitted anew at each origin (except for one-year). First the baselines are made; where
figures of theirs are known, they have to come out. AutoARIMA, without seasons, needs statsforecast
(`pip install -e '.[peers]'`), and is taken from the results that are kept where it is not installed.

`--validate n` looks at nothing but the years before the first origin of the test part: n origins end
there (as many as above without n), `--step` apart (the horizon without it). The first of these know too
little to tell the cycle's length: pass --set season_length=11, or 132.

Run with `python benchmarks/accuracy/sunspots.py yearly|monthly|one-year [--data folder] [--seeds 0,1,2]
[--validate [n]] [--step n] [--set name=value ...] [--threads 1] [--out folder]`. The yearly numbers come
with the package, the monthly ones are WDC-SILSO's (sunspots/monthly.csv, columns ds, y).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from runs import RESULTS, Case, Clock, Row, forecaster, kept_rows, parser, run, settings_of

from throughtime.datasets.carried import sunspots
from throughtime.forecasting.evaluation.baselines import LinearAutoregression, Naive, SeasonalNaive

Floats = npt.NDArray[np.float64]
Baseline = Callable[[Floats, int], Floats]

VARIANCE = 1495.6
LAST_LEARNT, LAST = 1920, 1979
PERIODS = {"1921-55": (1921, 1955), "1956-79": (1956, 1979)}


@dataclass(frozen=True)
class Rolling:
    """Origins `step` apart, h before the end of the last one; errors that are known of baselines."""

    h: int
    n: int
    step: int
    known: dict[str, float]

    @property
    def span(self) -> int:
        """Steps from the first origin to the end."""
        return self.h + (self.n - 1) * self.step


ROLLING = {
    "yearly": Rolling(11, 8, 11, {"Naive": 50.9, "seasonal naive": 25.2, "AR(9)": 21.1}),
    "monthly": Rolling(132, 10, 132, {}),
}
ONE_YEAR = {  # of baselines, known: each on the two periods
    "persistence": {"1921-55": 0.427, "1956-79": 0.965},
    "AR(9)": {"1921-55": 0.127, "1956-79": 0.351},
}


def main() -> None:
    made = parser(__doc__, threads=1)
    made.add_argument("series", choices=[*ROLLING, "one-year"])
    made.add_argument("--validate", type=int, nargs="?", const=0, metavar="N")
    made.add_argument("--step", type=int, help="between the origins of --validate")
    options = made.parse_args()
    settings, validate = settings_of(options.changes), options.validate is not None
    if options.series == "one-year":
        if validate:
            made.error("one-year has no validation part: choose by yearly --validate")
        beside = one_year_baselines()
        case = Case("sunspots-one-year", "One year ahead, 1700-1920 known", _same(PERIODS), beside)
        return run(case, partial(one_year, settings), options, kept=True)
    name = options.series
    try:
        table, rolling = read(name, options.data), ROLLING[name]
    except FileNotFoundError:
        print("skipped: --data (or $THROUGHTIME_DATA) names no folder with sunspots/monthly.csv")
        return None
    if validate:
        table = table.slice(0, len(table) - rolling.span)
        n, step = options.validate or rolling.n, options.step or rolling.h
        rolling = replace(rolling, n=n, step=step, known={})
    key = f"sunspots-{name}"
    kept = kept_rows(options.out or RESULTS).get(key, {}).get("beside", {})
    beside = baselines(table["y"].to_numpy(), rolling, {} if validate else kept)
    for model, error in rolling.known.items():
        check(f"MAE of {model}", beside[model]["mae"], error, 0.1)
    title = f"{name} sunspots: h = {rolling.h}, {rolling.n} origins {rolling.step} apart"
    title += f" to {table['ds'][-1].as_py()}"
    case = Case(key, title, {"mae": "MAE"}, beside, decimals=2)
    run(case, partial(scored, table, rolling, settings), options, kept=not validate)
    return None


def check(what: str, found: float, known: float, digit: float) -> None:
    """Leave with a line where a figure is not the known one to within one in its last digit.

    Not nearer: seasonal naive is known as 25.2 and AR(9) as .127, and they are 25.148 and .12650.
    """
    if not abs(found - known) < digit:
        sys.exit(f"{what} is {found:.4f}, not {known}")


def _same(names: Any) -> dict[str, str]:
    return {name: name for name in names}


def read(name: str, folder: Path | None) -> pa.Table:
    """Return the yearly numbers or the monthly ones."""
    if name == "yearly":
        return sunspots()
    table = pv.read_csv(Path(folder or "") / "sunspots/monthly.csv")
    highest = pc.max(table["y"]).as_py()
    if (len(table), highest) != (3316, 398.2):
        raise SystemExit(f"{len(table):,} months, at most {highest}: not 3,316 and 398.2")
    return table.append_column("unique_id", pa.array(["sunspots"] * len(table)))


def baselines(y: Floats, rolling: Rolling, kept: dict[str, Row]) -> dict[str, Row]:
    """Return the errors of the baselines; AutoARIMA's as it is `kept`, else where it can be made."""
    season = rolling.h  # a cycle
    made: dict[str, Baseline] = {
        "Naive": Naive().forecast,
        "seasonal naive": SeasonalNaive(season).forecast,
        "AR": LinearAutoregression(season=season).forecast,
        "AR(9)": LinearAutoregression(order=9).forecast,
    }
    rows = {name: {"mae": rolling_error(y, rolling, each)} for name, each in made.items()}
    if "AutoARIMA" in kept:
        return rows | {"AutoARIMA": kept["AutoARIMA"]}
    if importlib.util.find_spec("statsforecast") is None:
        print("without AutoARIMA: statsforecast is not installed (pip install -e '.[peers]')")
        return rows
    return rows | {"AutoARIMA": {"mae": rolling_error(y, rolling, auto_arima)}}


def auto_arima(y: Floats, h: int) -> Floats:
    from statsforecast.models import AutoARIMA

    return np.asarray(AutoARIMA().forecast(y.astype(np.float64), h)["mean"])


def rolling_error(y: Floats, rolling: Rolling, forecast: Baseline) -> float:
    """Return the mean absolute error over the origins.

    >>> rolling_error(np.arange(6.0), Rolling(2, 2, 1, {}), lambda y, h: np.full(h, y[-1]))
    1.5
    """
    h = rolling.h
    cuts = [len(y) - h - r * rolling.step for r in range(rolling.n)]
    return float(np.mean([np.abs(forecast(y[:p], h) - y[p : p + h]) for p in cuts]))


def scored(table: pa.Table, rolling: Rolling, settings: Row, seed: int) -> Row:
    """Return the error of one seed, fitted at every origin, and what it cost."""
    ours = forecaster(rolling.h, seed, settings, table)
    clock = Clock()
    ours.cross_validation(table, n_windows=rolling.n, step_size=rolling.step)
    return {"mae": ours.backtest.scores[0].mae} | clock.costs()


def one_year_baselines() -> dict[str, Row]:
    """Return persistence and AR(9), fitted to 1700-1920; they have to be as they are known."""
    y, n = up_to(LAST)["y"].to_numpy(), LAST - LAST_LEARNT
    lags = np.lib.stride_tricks.sliding_window_view(y, 10)
    design = np.column_stack([np.ones(len(lags)), lags[:, :-1]])
    coefficients, *_ = np.linalg.lstsq(design[:-n], lags[:-n, -1], rcond=None)
    made = {"persistence": y[-n - 1 : -1], "AR(9)": design[-n:] @ coefficients}
    rows = {name: over_periods(each - y[-n:]) for name, each in made.items()}
    for name, known in ONE_YEAR.items():
        for period, error in known.items():
            check(f"{name} in {period}", rows[name][period], error, 0.001)
    return rows


def one_year(settings: Row, seed: int) -> Row:
    """Return what one seed earns one year ahead, fitted once."""
    table, n = up_to(LAST), LAST - LAST_LEARNT
    ours = forecaster(1, seed, settings, up_to(LAST_LEARNT))
    clock = Clock()
    made = ours.cross_validation(table, n_windows=n, step_size=1, refit=False)
    errors = made[ours.name].to_numpy() - made["y"].to_numpy()
    return over_periods(errors) | clock.costs()


def up_to(year: int) -> pa.Table:
    table = sunspots()
    return table.filter(pc.less_equal(table["ds"], year))


def over_periods(errors: Floats) -> Row:
    """Return the relative squared error in each period, of those of all years from 1921."""
    years = np.arange(LAST_LEARNT + 1, LAST + 1)
    return {
        name: float(np.square(errors[(first <= years) & (years <= last)]).mean() / VARIANCE)
        for name, (first, last) in PERIODS.items()
    }


if __name__ == "__main__":
    main()
