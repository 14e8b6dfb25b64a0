"""neuralforecast in `real_tables.py`: LSTM and DeepAR with the library's defaults.

`input_size=-1` is the library's 3 h, 1,000 updates; the LSTM scales each window, DeepAR nothing, so that
it is also run on standardised series (`local_scaler_type="standard"`). DeepAR's likelihood is the default
one, asked for our levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import DistributionLoss
from neuralforecast.models import LSTM, DeepAR
from pytorch_lightning import Callback
from real_tables_lightning import QUIET, hush, meter
from real_tables_tasks import LEVELS, Answer, History, Limit, Task


class NeuralLSTM:
    """`LSTM(h)`: an encoder and a direct decoder, mean absolute error."""

    scaler: str | None = None

    def __init__(self, task: Task, seed: int, limit: Limit) -> None:
        hush()
        self.task = task
        self.train, self.rest = table(task.train()), table(task.histories())
        self.future = future(task.histories()) if task.covariates else None
        self.meter = meter(Callback, limit)
        usual: dict[str, Any] = {
            "h": task.h,
            "random_seed": 1 + seed,  # the library's default is 1
            "futr_exog_list": task.covariates or None,
            "callbacks": [self.meter],
            **QUIET,
        }
        self.forecaster = NeuralForecast([self.model(usual)], task.freq, self.scaler)

    def model(self, usual: dict[str, Any]) -> Any:
        return LSTM(**usual)

    @property
    def share(self) -> float:
        return float(self.meter.share)

    def fit(self) -> None:
        self.forecaster.fit(self.train)

    def forecast(self) -> Answer:
        made = self.forecaster.predict(self.rest, futr_df=self.future)
        return self.answer(made.sort_values(["unique_id", "ds"]))

    def answer(self, made: Any) -> Answer:
        return Answer(self.read(made, "LSTM"))

    def read(self, made: Any, name: str) -> Any:
        return made[name].to_numpy(np.float64).reshape(-1, self.task.h)


class NeuralDeepAR(NeuralLSTM):
    """`DeepAR(h)`: Student's t, 100 sample paths; the point forecast is their mean."""

    def model(self, usual: dict[str, Any]) -> Any:
        loss = DistributionLoss(distribution="StudentT", level=list(LEVELS), return_params=False)
        return DeepAR(loss=loss, **usual)

    def answer(self, made: Any) -> Answer:
        ends = {
            level: (self.read(made, f"DeepAR-lo-{level}"), self.read(made, f"DeepAR-hi-{level}"))
            for level in LEVELS
        }
        return Answer(self.read(made, "DeepAR"), ends)


class ScaledDeepAR(NeuralDeepAR):
    """The same on standardised series."""

    scaler = "standard"


def table(histories: list[History]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "unique_id": each.unique_id,
                "ds": each.ds,
                "y": each.y,
                **{name: x[: len(each.y)] for name, x in each.covariates.items()},
            }
        )
        for each in histories
    ]
    return pd.concat(parts, ignore_index=True)


def future(histories: list[History]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "unique_id": each.unique_id,
                "ds": each.ahead,
                **{name: x[len(each.y) :] for name, x in each.covariates.items()},
            }
        )
        for each in histories
    ]
    return pd.concat(parts, ignore_index=True)


MODELS = {
    "neuralforecast-LSTM": NeuralLSTM,
    "neuralforecast-DeepAR": NeuralDeepAR,
    "neuralforecast-DeepAR-scaled": ScaledDeepAR,
}
