"""Darts in `real_tables.py`: `RNNModel`, plain and with a likelihood, which is its DeepAR.

Its defaults (25 units, 100 epochs, Adam) but for what has none or what its guides tell: the look-back
is a season, trained on sequences half as long again as the look-back (its own example has 14 and 20;
24, the default, at least), series scaled to [0, 1] with `Scaler`, 32-bit floats. Of 100 sample paths,
the library's measures take the median.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from darts import TimeSeries
from darts.dataprocessing.transformers import Scaler
from darts.models import RNNModel
from darts.utils.likelihood_models import GaussianLikelihood
from pytorch_lightning import Callback
from real_tables_lightning import QUIET, hush, meter
from real_tables_tasks import Answer, Floats, History, Limit, Stamps, Task, of_samples


class DartsLSTM:
    """`RNNModel(model="LSTM")`: squared error of the next value, forecasts fed back."""

    samples = 1
    likelihood: Any = None

    def __init__(self, task: Task, seed: int, limit: Limit) -> None:
        hush()
        self.task = task
        self.meter = meter(Callback, limit)
        context = task.seasons[0]
        self.model = RNNModel(
            context,
            model="LSTM",
            training_length=max(24, context * 3 // 2),
            random_state=seed,
            pl_trainer_kwargs={**QUIET, "callbacks": [self.meter]},
            likelihood=self.likelihood,
        )
        self.train, self.rest = (
            [target(task, h) for h in hs] for hs in (task.train(), task.histories())
        )
        self.known = [covariates(task, h) for h in task.train()] if task.covariates else None
        self.ahead = [covariates(task, h) for h in task.histories()] if task.covariates else None

    @property
    def share(self) -> float:
        return float(self.meter.share)

    def fit(self) -> None:
        self.scaler, self.covariate_scaler = Scaler(), Scaler()
        known = self.known and self.covariate_scaler.fit_transform(self.known)
        self.model.fit(self.scaler.fit_transform(self.train), future_covariates=known)

    def forecast(self) -> Answer:
        R, S, h = self.task.shape
        owners = list(range(S)) * R
        made = self.model.predict(
            h,
            series=self.scaler.transform(self.rest, series_idx=owners),
            future_covariates=self.ahead
            and self.covariate_scaler.transform(self.ahead, series_idx=owners),
            num_samples=self.samples,
        )
        back = self.scaler.inverse_transform(made, series_idx=owners)
        return self.answer(np.stack([each.all_values()[:, 0] for each in back]).astype(np.float64))

    def answer(self, paths: Floats) -> Answer:
        return Answer(paths[..., 0])


class DartsDeepAR(DartsLSTM):
    """The same with a normal likelihood."""

    samples = 100
    likelihood = GaussianLikelihood()

    def answer(self, paths: Floats) -> Answer:
        return of_samples(paths)


def target(task: Task, history: History) -> TimeSeries:
    return series_of(history.ds, history.y, task.freq)


def covariates(task: Task, history: History) -> TimeSeries:
    """Return what is known up to the end of the horizon; the train part needs no more, and has it."""
    stamps = np.concatenate([history.ds, history.ahead])
    return series_of(stamps, np.column_stack(list(history.covariates.values())), task.freq)


def series_of(ds: Stamps, values: Floats, freq: str | int) -> TimeSeries:
    times = pd.RangeIndex(ds[0], ds[-1] + 1) if freq == 1 else pd.DatetimeIndex(ds, freq=freq)
    return TimeSeries.from_times_and_values(times, values.astype(np.float32))


MODELS = {"darts-LSTM": DartsLSTM, "darts-DeepAR": DartsDeepAR}
