"""Whatever a table holds, a forecaster forecasts it, or says in one sentence why not."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tables import DATES, DEFECTS, KINDS, NUMBER_IDS, TEXT_IDS, Draft

from throughtime._errors import ThroughtimeError
from throughtime.forecasting.architectures import ARCHITECTURES
from throughtime.forecasting.forecaster import Forecaster
from throughtime.forecasting.series.covariates import future_frame
from throughtime.training import TrainingSettings
from throughtime.training.outputs import OUTPUTS

ONE_SENTENCE = re.compile(r"Expected [^\n]+, found [^\n]+: [^\n]+\.")
COVARIATES = ("temperature", "holiday")
TINY: dict[str, Any] = {
    "cell": "rnn",
    "members": 1,
    "hidden_size": 2,
    "training": TrainingSettings(max_updates=2),
}
SIZES = (1.0, 1.0, 0.0, 1e-300, 1e-5, 1e6, 1e15)
ROLES: list[dict[str, Any]] = [
    {},
    {"futr": COVARIATES},
    {"hist": "temperature", "futr": "holiday"},
    {"target": ("y", "temperature"), "hist": "holiday"},
    {"target": "temperature", "futr": ("y",)},
]


@st.composite
def long_tables(draw: st.DrawFn) -> Draft:
    """Draw a table that is long enough to learn from, with up to two defects."""
    ids: list[Any] = draw(st.one_of(TEXT_IDS, NUMBER_IDS))[:2]
    dates, freq = draw(st.sampled_from(list(DATES)).flatmap(lambda name: DATES[name]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    names: list[Any] = []
    columns: dict[str, list[Any]] = {name: [] for name in ("unique_id", "ds", "y", *COVARIATES)}
    for name in ids:
        first, n = draw(st.integers(0, 3)), draw(st.integers(8, 24))
        names += [name] * n
        columns["ds"] += [dates(first + k) for k in range(n)]
        for column in ("y", *COVARIATES):
            size, shift = draw(st.sampled_from(SIZES)), draw(st.sampled_from([-1.0, 0.0, 1.0]))
            cells = size * (shift + rng.integers(0, 3, n) * rng.normal(size=n))
            gaps = rng.random(n) < draw(st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.9]))
            columns[column] += [
                None if gap else float(c) for c, gap in zip(cells, gaps, strict=True)
            ]
    columns["unique_id"] = names
    if len(ids) == 1 and draw(st.booleans()):
        del columns["unique_id"]
    draft = Draft(columns, freq, draw(st.sampled_from(KINDS)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        defect = draw(st.sampled_from(list(DEFECTS)))
        if len(draft):
            draft = replace(DEFECTS[defect](draft, draw), sound=False)
    return draft


def future_of(panel: Any, h: int, cells: st.DataObject) -> Any:
    """Fill in what is known of the steps ahead."""
    table = nw.from_native(future_frame(panel, h), eager_only=True)
    number = st.sampled_from([0.0, 1.0, -1e15, 1e-300])
    for name in panel.futr:
        drawn = cells.draw(st.lists(number, min_size=len(table), max_size=len(table)))
        column = nw.new_series(name, drawn, backend=table.implementation)
        table = table.with_columns(column)
    return table.to_native()


def check(made: Any, forecaster: Forecaster, level: list[int]) -> None:
    """A forecast is finite, ordered, and there for the h steps after every series."""
    panel, h = forecaster.panel, forecaster.h
    table = nw.from_native(made, eager_only=True)
    wanted = nw.from_native(future_frame(panel, h), eager_only=True)
    for name in ("unique_id", "ds"):
        assert table[name].to_list() == wanted[name].to_list()
        assert table[name].dtype == wanted[name].dtype
    for target in panel.targets:
        name = f"{target}-RNN" if len(panel.targets) > 1 else "RNN"
        assert all(math.isfinite(value) for value in table[name].to_list())
        for each in level:
            lo, hi = (table[f"{name}-{side}-{each}"].to_numpy() for side in ("lo", "hi"))
            assert np.isfinite([lo, hi]).all()
            assert (lo <= hi).all()


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    drawn=st.data(),
    draft=long_tables(),
    roles=st.sampled_from(ROLES),
    h=st.integers(1, 2),
    architecture=st.sampled_from(list(ARCHITECTURES)),
    output=st.sampled_from([None, *OUTPUTS]),
    calendar=st.booleans(),
    n_windows=st.integers(0, 1),
    context_length=st.sampled_from([None, 1, 3]),
)
def test_a_table_is_forecast_or_refused_in_one_sentence(
    drawn: st.DataObject, draft: Draft, roles: dict[str, Any], h: int, n_windows: int, **how: Any
) -> None:
    table, level = draft.table(), [80] if n_windows else []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            forecaster = Forecaster(h, n_windows=n_windows, freq=draft.freq, **TINY, **roles, **how)
            forecaster.fit(table)
            futr_df = future_of(forecaster.panel, h, drawn) if forecaster.panel.futr else None
            made = forecaster.predict(futr_df=futr_df, level=level)
        except ThroughtimeError as error:
            said = error
        else:
            event("forecast")
            assert type(made) is type(table)
            return check(made, forecaster, level)
    event(f"refused: {type(said).__name__}")
    assert ONE_SENTENCE.fullmatch(str(said)), str(said)
    return None
