"""Recurrent networks for time series, trained through time.

`import throughtime as tt`, then one of three doors: `tt.nn` (drop-in layers; `tt.accelerate(model)`
puts them into any model), `tt.diagnose` (how gradients travel through time in any model) and `tt.Forecaster`
(from a table to forecasts). `tt.SequenceClassifier` and `tt.SequenceLabeler` tell classes instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy
from throughtime._version import __version__ as __version__

if TYPE_CHECKING:  # the same names once more, for type checkers and editors
    from throughtime import datasets as datasets
    from throughtime import diagnostics as diagnostics
    from throughtime import estimators as estimators
    from throughtime import forecasting as forecasting
    from throughtime import kernels as kernels
    from throughtime import nn as nn
    from throughtime import training as training
    from throughtime._errors import DataError as DataError
    from throughtime._errors import DivergedError as DivergedError
    from throughtime._errors import MissingExtraError as MissingExtraError
    from throughtime._errors import ModelFileError as ModelFileError
    from throughtime._errors import NotFittedError as NotFittedError
    from throughtime._errors import SettingError as SettingError
    from throughtime._errors import ThroughtimeError as ThroughtimeError
    from throughtime.diagnostics.diagnosis import Diagnosis as Diagnosis
    from throughtime.diagnostics.diagnosis import diagnose as diagnose
    from throughtime.estimators.classifier import SequenceClassifier as SequenceClassifier
    from throughtime.estimators.labeler import SequenceLabeler as SequenceLabeler
    from throughtime.forecasting.evaluation.backtest import Backtest as Backtest
    from throughtime.forecasting.evaluation.scores import evaluate as evaluate
    from throughtime.forecasting.forecaster import Forecaster as Forecaster
    from throughtime.forecasting.loading import load as load
    from throughtime.forecasting.settings.members import Members as Members
    from throughtime.forecasting.tuning.trials import Tuning as Tuning
    from throughtime.forecasting.tuning.tune import tune as tune
    from throughtime.nn.acceleration import accelerate as accelerate

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Backtest": "throughtime.forecasting.evaluation.backtest",
        "Diagnosis": "throughtime.diagnostics.diagnosis",
        "diagnose": "throughtime.diagnostics.diagnosis",
        "evaluate": "throughtime.forecasting.evaluation.scores",
        "Forecaster": "throughtime.forecasting.forecaster",
        "Members": "throughtime.forecasting.settings.members",
        "SequenceClassifier": "throughtime.estimators.classifier",
        "SequenceLabeler": "throughtime.estimators.labeler",
        "Tuning": "throughtime.forecasting.tuning.trials",
        "accelerate": "throughtime.nn.acceleration",
        "load": "throughtime.forecasting.loading",
        "tune": "throughtime.forecasting.tuning.tune",
        "datasets": "throughtime.datasets",
        "diagnostics": "throughtime.diagnostics",
        "estimators": "throughtime.estimators",
        "forecasting": "throughtime.forecasting",
        "kernels": "throughtime.kernels",
        "nn": "throughtime.nn",
        "training": "throughtime.training",
        "DataError": "throughtime._errors",
        "DivergedError": "throughtime._errors",
        "MissingExtraError": "throughtime._errors",
        "ModelFileError": "throughtime._errors",
        "NotFittedError": "throughtime._errors",
        "SettingError": "throughtime._errors",
        "ThroughtimeError": "throughtime._errors",
    },
)
