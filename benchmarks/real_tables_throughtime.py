"""Ours in `real_tables.py`: the seasonal naive forecasts, and the forecaster with its defaults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from real_tables_tasks import LEVELS, Answer, History, Limit, Task

import throughtime as tt
from throughtime.forecasting.evaluation.baselines import SeasonalNaive


class Naive:
    """The value one season before, again and again."""

    share = 1.0

    def __init__(self, task: Task, seed: int, limit: Limit) -> None:
        self.task = task

    def season(self) -> int:
        return self.task.seasons[0]

    def fit(self) -> None:
        """There is nothing to learn."""

    def forecast(self) -> Answer:
        naive = SeasonalNaive(self.season())
        return Answer(
            np.stack([naive.forecast(each.y, self.task.h) for each in self.task.histories()])
        )


class WeeklyNaive(Naive):
    """The same with the last season, where a task has two."""

    def season(self) -> int:
        return self.task.seasons[-1]


class Ours:
    """`Forecaster(h)` with intervals at 80 and 95 percent, told what is known ahead where it is."""

    share = 1.0

    def __init__(self, task: Task, seed: int, limit: Limit) -> None:
        self.task = task
        self.train, self.rest = table(task.train()), table(task.histories())
        known: dict[str, Any] = {}
        if task.covariates:
            known = {"futr": task.covariates, "calendar": True}
        self.futr_df = ahead(task.histories()) if known else None
        self.forecaster = tt.Forecaster(task.h, seed=seed, **known)

    def fit(self) -> None:
        self.forecaster.fit(self.train, level=LEVELS)

    def forecast(self) -> Answer:
        made = self.forecaster.predict(self.rest, futr_df=self.futr_df, level=LEVELS)

        def read(name: str) -> Any:
            return made[name].to_numpy().reshape(-1, self.task.h)

        name = self.forecaster.name
        ends = {level: (read(f"{name}-lo-{level}"), read(f"{name}-hi-{level}")) for level in LEVELS}
        return Answer(read(name), ends)


def table(histories: list[History]) -> pa.Table:
    """Return histories as a long table."""
    ids = np.repeat([each.unique_id for each in histories], [len(each.y) for each in histories])
    return pa.table(
        {
            "unique_id": ids,
            "ds": np.concatenate([each.ds for each in histories]),
            "y": np.concatenate([each.y for each in histories]),
        }
        | {
            name: np.concatenate([each.covariates[name][: len(each.y)] for each in histories])
            for name in histories[0].covariates
        }
    )


def ahead(histories: list[History]) -> pa.Table:
    """Return what is known of the steps after histories as a long table."""
    h = len(histories[0].ahead)
    return pa.table(
        {
            "unique_id": np.repeat([each.unique_id for each in histories], h),
            "ds": np.concatenate([each.ahead for each in histories]),
        }
        | {
            name: np.concatenate([each.covariates[name][-h:] for each in histories])
            for name in histories[0].covariates
        }
    )


MODELS = {"seasonal-naive": Naive, "seasonal-naive-longest": WeeklyNaive, "throughtime": Ours}
