"""GluonTS in `real_tables.py`: DeepAR with its defaults, 100 epochs of 50 batches.

The look-back is its default, h, with lags by the frequency and scaling by the mean. Of 100 sample paths
the median is taken, as its measures of absolute errors do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from gluonts.dataset.common import ListDataset
from gluonts.torch import DeepAREstimator
from lightning.pytorch import Callback
from real_tables_lightning import QUIET, hush, meter
from real_tables_tasks import Answer, History, Limit, Task, of_samples

FREQ = {"yearly": "Y", "monthly": "M", "electricity": "30min", "passengers": "M", "m4-hourly": "h"}


class GluonDeepAR:
    """`DeepAREstimator(freq, h)`: Student's t."""

    def __init__(self, task: Task, seed: int, limit: Limit) -> None:
        hush()
        torch.manual_seed(seed)
        np.random.seed(seed)
        self.task, self.freq = task, FREQ[task.name]
        self.meter = meter(Callback, limit, planned=100 * 50)
        self.estimator = DeepAREstimator(
            self.freq,
            task.h,
            num_feat_dynamic_real=len(task.covariates),
            trainer_kwargs={"max_epochs": 100, **QUIET, "callbacks": [self.meter]},
        )
        self.train = ListDataset([self.entry(each, 0) for each in task.train()], self.freq)
        self.rest = ListDataset([self.entry(each, task.h) for each in task.histories()], self.freq)

    @property
    def share(self) -> float:
        return float(self.meter.share)

    def fit(self) -> None:
        self.predictor = self.estimator.train(self.train)

    def forecast(self) -> Answer:
        made = [each.samples.T for each in self.predictor.predict(self.rest)]
        return of_samples(np.stack(made).astype(np.float64))

    def entry(self, history: History, ahead: int) -> dict[str, Any]:
        """Return one series as the library wants it, with covariates `ahead` steps further."""
        first, T = history.ds[0], len(history.y) + ahead
        if self.task.freq == 1:  # years stay years; the positions of M4 become hours of some day
            first = str(first) if self.task.name == "yearly" else "2020-01-01 00:00"
        entry = {"start": pd.Period(first, self.freq), "target": history.y.astype(np.float32)}
        if self.task.covariates:
            known = np.stack([x[:T] for x in history.covariates.values()])
            entry["feat_dynamic_real"] = known.astype(np.float32)
        return entry


MODELS = {"gluonts-DeepAR": GluonDeepAR}
