"""The tasks of `real_tables.py`: series, origins, what is known ahead, and how forecasts are scored.

Origin r = 1..R lies (R - r) * step + h steps before the end of every series. A model learns once, from
what comes before the first origin, and then forecasts h steps from each, with its weights as they are.

MAE is over all values. MASE divides each series' by mean |y_t - y_{t-m}| before the first origin, m the
first season. M4 has one origin, the official test part, and OWA: the mean of sMAPE and of MASE, each over
that of Naive2, averaged over the series first (Makridakis, Spiliotis, Assimakopoulos 2020).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from throughtime.forecasting.evaluation import metrics

Floats = npt.NDArray[np.float64]
Stamps = npt.NDArray[Any]  # int64 or datetime64[s]

LEVELS = (80, 95)


@dataclass(frozen=True)
class History:
    """What may be known at an origin: `y` [T] at `ds` [T], the next `ahead` [h], covariates [T + h]."""

    unique_id: str
    ds: Stamps
    y: Floats
    ahead: Stamps
    covariates: Mapping[str, Floats]


@dataclass(frozen=True)
class Series:
    """One whole series."""

    unique_id: str
    ds: Stamps
    y: Floats
    covariates: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Series of frequency `freq` (pandas' word, or 1 for integers), cut at rolling origins."""

    name: str
    title: str
    h: int
    origins: int
    seasons: tuple[int, ...]
    freq: str | int
    series: tuple[Series, ...]
    naive2: Floats | None = None  # [S, h], of M4

    @property
    def covariates(self) -> list[str]:
        """The names of what is known ahead."""
        return list(self.series[0].covariates)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Origins, series, steps ahead: R, S, h."""
        return self.origins, len(self.series), self.h

    def train(self) -> list[History]:
        """What all models learn from: each series up to the first origin."""
        return [self._cut(s, 0) for s in range(len(self.series))]

    def histories(self) -> list[History]:
        """What is forecast from: each series up to each origin, by origin, then by series."""
        return [self._cut(s, r) for r in range(self.origins) for s in range(len(self.series))]

    def actual(self) -> Floats:
        """The values [R, S, h] that judge."""
        rows = [
            s.y[self._known(s, r) :][: self.h] for r in range(self.origins) for s in self.series
        ]
        return np.stack(rows).reshape(self.shape)

    def _known(self, series: Series, r: int) -> int:
        return len(series.y) - (self.origins - r) * self.h

    def _cut(self, s: int, r: int) -> History:
        series = self.series[s]
        T = self._known(series, r)
        return History(
            f"{r:03}-{s:04}",  # some libraries sort by it
            series.ds[:T],
            series.y[:T],
            series.ds[T : T + self.h],
            {name: x[: T + self.h] for name, x in series.covariates.items()},
        )


@dataclass(frozen=True)
class Limit:
    """How long a peer may train, by which clock."""

    clock: Callable[[], float]
    seconds: float


@dataclass(frozen=True)
class Answer:
    """Point forecasts [R * S, h] and, by level, lower and upper ends."""

    point: Floats
    ends: Mapping[int, tuple[Floats, Floats]] = field(default_factory=dict)


def of_samples(paths: Floats) -> Answer:
    """Return the median and the central intervals of sample paths [R * S, h, N]."""

    def quantile(q: float) -> Floats:
        return np.asarray(np.quantile(paths, q, axis=-1))

    tails = {level: (1 - level / 100) / 2 for level in LEVELS}
    return Answer(
        quantile(0.5), {k: (quantile(tail), quantile(1 - tail)) for k, tail in tails.items()}
    )


def scores(task: Task, answer: Answer) -> dict[str, Any]:
    """Return what the forecasts of a task earn; `ValueError` for one that is no number."""
    y, f = task.actual(), np.reshape(answer.point, task.shape)
    if not np.isfinite(f).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(f))} forecasts are no finite numbers")
    ends = {
        str(level): metrics.coverage(y, lower.reshape(y.shape), upper.reshape(y.shape))
        for level, (lower, upper) in answer.ends.items()
    }
    earned = {"mae": metrics.mae(y, f), "mase": mase(task, f), "smape": metrics.smape(y, f)}
    if task.naive2 is not None:
        naive2 = task.naive2[None]
        ratios = earned["smape"] / metrics.smape(y, naive2), earned["mase"] / mase(task, naive2)
        earned["owa"] = sum(ratios) / 2
    return {**earned, "coverage": ends}


def mase(task: Task, f: Floats) -> float:
    """Return the mean over the series of MAE over the seasonal naive error before the first origin."""
    errors = np.abs(task.actual() - f).mean(axis=(0, 2))
    scales = [metrics.naive_scale(each.y, task.seasons[0]) for each in task.train()]
    return float(np.mean(errors / np.array(scales)))


def yearly(folder: Path) -> Task:
    rows = read(folder / "sunspots/yearly.csv")
    ds = np.array([int(float(row["YEAR"])) for row in rows])
    y = np.array([float(row["SUNACTIVITY"]) for row in rows])
    return Task("yearly", "Sunspots, yearly", 11, 8, (11,), 1, (Series("sunspots", ds, y),))


def monthly(folder: Path) -> Task:
    rows = read(folder / "sunspots/monthly.csv")
    series = Series("sunspots", days(row["ds"] for row in rows), column(rows, "y"))
    return Task("monthly", "Sunspots, monthly", 132, 10, (132,), "MS", (series,))


def electricity(folder: Path) -> Task:
    rows = read(folder / "classics/vic_electricity.csv.gz")
    ds = np.array([row["Time"].rstrip("Z") for row in rows], dtype="datetime64[s]")
    ahead = {
        "temperature": column(rows, "Temperature"),
        "holiday": np.array([float(row["Holiday"] == "TRUE") for row in rows]),
    }
    series = Series("victoria", ds, column(rows, "Demand"), ahead)
    title = "Victorian electricity, half-hourly, temperature and holiday known"
    return Task("electricity", title, 48, 28, (48, 336), "30min", (series,))


def passengers(folder: Path) -> Task:
    rows = read(folder / "classics/AirPassengers.csv")
    series = Series("air", days(row["Month"] + "-01" for row in rows), column(rows, "#Passengers"))
    return Task("passengers", "AirPassengers", 12, 4, (12,), "MS", (series,))


def m4_hourly(folder: Path) -> Task:
    train, test = (
        pq.read_table(folder / f"m4/hourly_{each}.parquet") for each in ("train", "test")
    )
    known, judge = by_series(train, "y"), by_series(test, "y")
    series = [
        Series(name, np.arange(1, len(y) + len(judge[name]) + 1), np.append(y, judge[name]))
        for name, y in known.items()
    ]
    naive2 = by_series(test, "naive2")
    return Task(
        "m4-hourly",
        "M4 hourly, 414 series",
        48,
        1,
        (24,),
        1,
        tuple(series),
        np.stack([naive2[each.unique_id] for each in series]),
    )


TASKS: dict[str, Callable[[Path], Task]] = {
    "yearly": yearly,
    "monthly": monthly,
    "electricity": electricity,
    "passengers": passengers,
    "m4-hourly": m4_hourly,
}


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, packed with gzip or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> Floats:
    return np.array([float(row[name]) for row in rows])


def days(words: Iterator[str]) -> Stamps:
    return np.array(list(words), dtype="datetime64[s]")


def by_series(table: Any, name: str) -> dict[str, Floats]:
    """Return each series' column of a long table, by its name, in order of `ds`."""
    table = table.sort_by([("unique_id", "ascending"), ("ds", "ascending")])
    ids = table["unique_id"].to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    values = np.split(table[name].to_numpy().astype(np.float64), starts[1:])
    return dict(zip(ids[starts].tolist(), values, strict=True))
