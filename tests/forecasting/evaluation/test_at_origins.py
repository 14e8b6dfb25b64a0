"""Forecasts made at many origins at once, beside those made at each of them alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from forecasting_cases import NAN, panel, quick, wave
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime._errors import SettingError
from throughtime.forecasting.evaluation.at_origins import at_origins
from throughtime.forecasting.examples.scaled import moments
from throughtime.forecasting.preprocessing.steps import series_sizes
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.series.frame import read_frame

values = st.lists(st.one_of(st.floats(0, 1e3), st.just(NAN)), min_size=6, max_size=6)


@settings(deadline=None, max_examples=50)
@given(values, values, st.sampled_from(["identity", "sqrt", "asinh"]))
def test_what_is_known_of_the_past_ends_at_each_origin(a, b, name):
    whole = panel([1.0, *a], [2.0, *b])
    origins = [1, 2, 4, 7]
    known = at_origins(whole, origins)
    f = TRANSFORMS[name]
    for i, p in enumerate(origins):
        alone, rows = whole.cut(7 - p), slice(2 * i, 2 * i + 2)
        for ours, theirs in zip(moments(known, f), moments(alone, f), strict=True):
            np.testing.assert_allclose(ours[rows], theirs, rtol=1e-9, atol=1e-5)
        np.testing.assert_allclose(series_sizes(known, f)[rows], series_sizes(alone, f), rtol=1e-9)
        for extreme in (np.fmin, np.fmax):
            np.testing.assert_array_equal(known.extreme(extreme)[rows], alone.extreme(extreme))


@pytest.mark.parametrize("scaling", ["blend", "standard", "series"])
def test_forecasts_are_those_of_each_origin_alone(scaling):
    y = np.concatenate([wave() - 3, np.exp(wave(seed=1))])
    table = pa.table({"unique_id": ["a"] * 60 + ["b"] * 60, "ds": [*range(60)] * 2, "y": y})
    forecaster = quick(n_windows=0, scaling=scaling, context_length=8, season_length=8)
    forecaster.fit(table)
    origins = [20, 41, 60]
    made = forecaster.model.forecast(at_origins(forecaster.panel, origins)).reshape(3, 2, 3)
    for p, ours in zip(origins, made, strict=True):
        known = table.filter(pc.less(table["ds"], p))
        alone = forecaster.predict(known, level=[])["LSTM"].to_numpy().reshape(2, 3)
        np.testing.assert_allclose(ours, alone, rtol=1e-5, atol=1e-6)


def test_several_targets_are_rows_of_their_series():
    steps = np.arange(5.0)
    table = pa.table({"ds": [*range(5)], "up": steps, "down": -steps})
    known = at_origins(read_frame(table, target=["up", "down"]), [2, 5])
    assert [known.row(r)[-1] for r in range(4)] == [1, -1, 4, -4]
    np.testing.assert_allclose(moments(known, TRANSFORMS["identity"])[0], [0.5, -0.5, 2, -2])


@pytest.mark.parametrize("origins", [[], [0], [7]])
def test_an_origin_outside_a_series_is_refused(origins):
    with pytest.raises(SettingError, match="origins from 1 to 6"):
        at_origins(panel([1.0] * 6, [1.0] * 8), origins)


def test_a_carried_state_is_refused():
    known = at_origins(panel(wave()), [30])
    with pytest.raises(SettingError, match="running"):
        known.memory.sums("identity")
