"""Whatever a table holds, a forecaster forecasts it, or says in one sentence why not."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import narwhals as nw
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tables import any_tables

from throughtime._errors import ThroughtimeError
from throughtime.forecasting import read_frame
from throughtime.forecasting.covariates import future_frame
from throughtime.forecasting.decoders import DECODERS
from throughtime.forecasting.forecaster import Forecaster
from throughtime.training import TrainingSettings
from throughtime.training.outputs import OUTPUTS

ONE_SENTENCE = re.compile(r"Expected [^\n]+, found [^\n]+: [^\n]+\.")
COVARIATES = ("temperature", "holiday")
TINY: dict[str, Any] = {
    "members": 1,
    "hidden_size": 2,
    "training": TrainingSettings(max_updates=2),
}
SOME = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@st.composite
def forecasters(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw arguments of a forecaster, and which columns are what."""
    roles: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"futr": COVARIATES},
                {"hist": "temperature", "futr": "holiday"},
                {"target": ("y", "temperature"), "hist": "holiday"},
                {"target": "temperature", "futr": ("y",)},
            ]
        )
    )
    given = {
        "h": draw(st.integers(1, 2)),
        "cell": draw(st.sampled_from(["rnn", "lstm", "gru"])),
        "decoder": draw(st.sampled_from(list(DECODERS))),
        "output": draw(st.sampled_from([None, *OUTPUTS])),
        "calendar": draw(st.booleans()),
        "n_windows": draw(st.integers(0, 1)),
        "context_length": draw(st.sampled_from([None, 1, 3])),
    }
    return given, roles


def longer(draft: Any, times: int) -> Any:
    """Repeat the steps between the dates of a table, so that it is long enough to learn from."""
    return draft


def future_of(panel: Any, h: int, draw: Any) -> Any:
    """Fill in a table of what is known ahead."""
    table = nw.from_native(future_frame(panel, h), eager_only=True)
    for name in panel.futr:
        cells = draw(st.lists(st.integers(-3, 3).map(float), min_size=len(table), max_size=len(table)))
        table = table.with_columns(
            nw.new_series(name, cells, backend=table.implementation)
        )
    return table.to_native()


@SOME
@given(st.data())
def test_a_table_is_forecast_or_refused_in_one_sentence(data: st.DataObject) -> None:
    arguments, roles = data.draw(forecasters())
    table = data.draw(any_tables(COVARIATES, least=20)).table()
    level = data.draw(st.sampled_from([[], [80]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            forecaster = Forecaster(**arguments, **roles, **TINY).fit(table)
            panel, h = forecaster.panel, arguments["h"]
            futr_df = future_of(panel, h, data.draw) if panel.futr else None
            made = forecaster.predict(futr_df=futr_df, level=level)
        except ThroughtimeError as error:
            event(f"refused: {type(error).__name__}")
            assert ONE_SENTENCE.fullmatch(str(error)), str(error)
            return
    event("forecast")
    assert type(made) is type(table)
    check(made, forecaster, level)
