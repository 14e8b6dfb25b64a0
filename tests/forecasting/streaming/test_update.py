"""`Forecaster.update`: going on by new rows is reading everything again."""

from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime import DataError, Forecaster, SettingError
from throughtime.forecasting import read_frame
from throughtime.forecasting.models.state import State
from throughtime.training import TrainingSettings

SOON = TrainingSettings(max_updates=3, batch_size=8, learning_rate=1e-2)
FITTED: dict[tuple, Forecaster] = {}


def waves(S, n, seed=0, gaps=0.1):
    """Return series [S, n] with gaps, of which the first and the last value is none."""
    rng = np.random.default_rng(seed)
    y = 20 + 5 * np.sin(np.arange(n) / 3 + np.arange(S)[:, None]) + rng.normal(0, 1, (S, n))
    y[:, 1:-1][rng.random((S, n - 2)) < gaps] = np.nan
    return y


def rows(y, start=0, ids="abcdefghij", **columns):
    """Return a table of y [S, n] from a step on, without its gaps."""
    S, n = y.shape
    there = ~np.isnan(y)
    made = {
        "unique_id": np.repeat(np.array(list(ids[:S])), n).reshape(S, n)[there],
        "ds": np.tile(np.arange(start, start + n), (S, 1))[there],
        "y": y[there],
    }
    return pa.table(made | {name: each[there] for name, each in columns.items()})


def fitted(architecture="synced", cell="lstm", scaling="running", S=3, n=60, **given):
    """Return a forecaster fitted once, with its state as it was after the fit."""
    key = (architecture, cell, scaling, S, n, *sorted(given.items()))
    if key not in FITTED:
        output = "gaussian" if architecture == "recursive" else "point"
        FITTED[key] = Forecaster(
            h=2, architecture=architecture, output=output, cell=cell, scaling=scaling, members=3,
            hidden_size=8, context_length=12, season_length=4, n_windows=0, training=SOON, **given
        ).fit(rows(waves(S, n)))  # fmt: skip
    forecaster = FITTED[key]
    forecaster._stream.state = None
    return forecaster


def read_again(forecaster, table):
    """Return the state of one pass over a table."""
    panel = read_frame(table, like=forecaster.panel)
    model = forecaster.model
    return State.read(panel, model.design, model.channels, model.network)


def assert_forecasts_like(forecaster, table):
    """Check the forecast against that of a table read again: equal, or but for rounded moments."""
    found, again = forecaster.predict(level=[]), forecaster.predict(table, level=[])
    if forecaster.design.carries:
        assert found == again
    assert found.select(["unique_id", "ds"]) == again.select(["unique_id", "ds"])
    name = forecaster.name
    np.testing.assert_allclose(found[name], again[name], rtol=1e-5)


def assert_same(state, other):
    """Check that every array of two states is equal, bit for bit."""
    assert state.ids == other.ids
    for name, array in state.arrays.items():
        if name != "ring":
            np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)
    np.testing.assert_array_equal(state.panel.values, other.panel.values)
    for mine, theirs in zip(state.hidden, other.hidden, strict=True):
        assert torch.equal(mine, theirs)


@settings(deadline=None, max_examples=25)
@given(
    architecture=st.sampled_from(["synced", "recursive", "direct"]),
    cell=st.sampled_from(["rnn", "lstm", "gru"]),
    cuts=st.lists(st.integers(1, 39), max_size=8),
    seed=st.integers(0, 99),
)
def test_the_state_is_that_of_one_pass_however_the_rows_come(architecture, cell, cuts, seed):
    """Rows in any pieces, gaps among them, leave every bit as reading all of them does."""
    scaling = "blend" if architecture == "direct" else "running"
    forecaster, y = fitted(architecture, cell, scaling), waves(3, 100, seed)
    y[:, :60] = waves(3, 60)
    y[:, 60] = y[:, -1] = 19.0
    for start, stop in zip([0, *sorted(set(cuts))], [*sorted(set(cuts)), 40], strict=True):
        piece = rows(y[:, 60 + start : 60 + stop], 60 + start)
        if len(piece):
            forecaster.update(piece)
    assert_same(forecaster.state, read_again(forecaster, rows(y)))
    assert_forecasts_like(forecaster, rows(y))


@pytest.mark.parametrize(("scaling", "architecture"), [("running", "synced"), ("running", "recursive"),
                                              ("blend", "direct"), ("blend", "seq2seq")])  # fmt: skip
def test_one_value_of_one_series_at_a_time(scaling, architecture):
    """The short way for one value does what the long one does."""
    forecaster, y = fitted(architecture, scaling=scaling), waves(3, 75, gaps=0)
    y[:, :60] = waves(3, 60)
    for t in range(60, 75):
        for i in (2, 0, 1):
            row = {"unique_id": "abc"[i], "ds": t, "y": y[i, t]}
            forecaster.update(row if t % 2 else {"unique_id": "abc"[i], "y": float(y[i, t])})
    assert_same(forecaster.state, read_again(forecaster, rows(y)))
    assert_forecasts_like(forecaster, rows(y))


@pytest.mark.parametrize(("scaling", "architecture"), [("running", "synced"), ("blend", "direct")])
@pytest.mark.parametrize("residual", ["level", "last", "season"])
def test_companions_and_naive_bases_go_on_as_well(scaling, architecture, residual):
    """A forecast with all its parts is that of a table read again, at any number of rows."""
    forecaster = fitted(architecture, scaling=scaling, residual=residual)
    y = np.concatenate([waves(3, 60), waves(3, 90, seed=5)], axis=1)
    y[:, 60] = 18.0
    for start, stop in ((60, 61), (61, 150)):
        forecaster.update(rows(y[:, start:stop], start))
        again = forecaster.predict(rows(y[:, :stop]), level=[])
        found = forecaster.predict(level=[])
        assert found.select(["unique_id", "ds"]) == again.select(["unique_id", "ds"])
        np.testing.assert_allclose(found["LSTM"], again["LSTM"], rtol=1e-6)


@pytest.mark.parametrize(
    "cures",
    [{"num_layers": 2}, {"layer_norm": True}, {"zoneout": 0.1}, {"dilations": (1, 3)}],
    ids=str,
)
def test_other_layers_are_carried_up_to_rounding(cures):
    """What has no kernel for all members goes member by member."""
    forecaster = fitted(**cures)
    y = np.concatenate([waves(3, 60), waves(3, 20, seed=5)], axis=1)
    y[:, 60] = 18.0
    for t in range(60, 80):
        if not np.isnan(y[:, t]).all():
            forecaster.update(rows(y[:, t : t + 1], t))
    for mine, theirs in zip(
        forecaster.state.hidden, read_again(forecaster, rows(y)).hidden, strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["synced", "recursive", "direct"])
def test_calendar_and_statics_are_read_as_in_a_fit(architecture):
    """Dates go on beside the values, and what never changes stays."""
    n = 60
    static = pd.DataFrame({"unique_id": ["a", "b"], "area": [1.0, 5.0], "kind": ["x", "y"]})

    def table(start, stop):
        ds = pd.date_range("2024-01-01", periods=stop, freq="D")[start:]
        both = [pd.DataFrame({"unique_id": u, "ds": ds, "y": 3 + ds.day_of_week + i, "p": ds.day})
                for i, u in enumerate("ab")]  # fmt: skip
        return pd.concat(both)

    forecaster = Forecaster(
        h=2, architecture=architecture, scaling="blend" if architecture == "direct" else "running",
        calendar=True, hist=() if architecture == "recursive" else "p", members=2, hidden_size=8, context_length=10, n_windows=0,
        training=SOON,
    ).fit(table(0, n), static_df=static)  # fmt: skip
    for t in range(n, n + 9):
        forecaster.update(table(t, t + 1))
    pd.testing.assert_frame_equal(
        forecaster.predict(level=[]), forecaster.predict(table(0, n + 9), level=[])
    )
    with pytest.raises(DataError, match="area, kind"):
        forecaster.update({"unique_id": "new", "ds": datetime(2024, 5, 1), "y": 1.0, "p": 1.0})


def test_covariates_known_ahead_come_with_the_rows_and_for_the_next_steps():
    """`futr_df` says what `predict` needs after the new end."""
    rng = np.random.default_rng(0)
    sale = rng.integers(0, 2, 90).astype(float)
    y = 10 + 3 * sale + rng.normal(0, 0.1, 90)
    table = pa.table({"ds": np.arange(90), "y": y, "sale": sale})
    forecaster = Forecaster(
        h=2, architecture="synced", scaling="running", futr="sale", members=2, hidden_size=8,
        context_length=10, n_windows=0, training=SOON,
    ).fit(table[:60])  # fmt: skip
    ahead = table[80:82].select(["ds", "sale"])
    forecaster.update(table[60:80], futr_df=ahead)
    whole = forecaster.predict(table[:80], futr_df=ahead, level=[])
    assert forecaster.predict(level=[]) == whole
    forecaster.update(table[80:81])
    with pytest.raises(DataError, match="sale"):
        forecaster.predict(level=[])


@pytest.mark.parametrize(("scaling", "architecture"), [("running", "synced"), ("blend", "direct")])
def test_looking_at_the_state_changes_no_forecast(scaling, architecture):
    """What a fitted table knew ahead is still known after a look at the state."""
    sale = np.arange(62.0) % 5
    y = np.append(10 + sale[:60], [np.nan, np.nan])
    forecaster = Forecaster(
        h=2, architecture=architecture, scaling=scaling, futr="sale", members=2, hidden_size=8,
        context_length=10, n_windows=0, training=SOON,
    ).fit(pa.table({"ds": np.arange(62), "y": y, "sale": sale}))  # fmt: skip
    before = forecaster.predict(level=[])
    assert forecaster.state.arrays["lengths"] == 60
    assert forecaster.predict(level=[]) == before


def test_a_series_that_is_new_begins_with_its_first_value():
    """Its state is that of a pass over its own rows."""
    forecaster, y = fitted(), waves(4, 80)
    y[:3, :60] = waves(3, 60)
    y[3, :70] = np.nan
    forecaster.update(rows(y[:, 60:75], 60))
    forecaster.update(rows(y[:, 75:], 75))
    assert_same(forecaster.state, read_again(forecaster, rows(y)))
    assert_forecasts_like(forecaster, rows(y))


@pytest.mark.parametrize(
    "made",
    [pd.DataFrame, pl.DataFrame, pa.table, dict],
    ids=["pandas", "polars", "pyarrow", "dict"],
)
def test_rows_in_any_kind_of_table(made):
    """The answer is of the kind that was fitted."""
    forecaster, y = fitted(), waves(3, 64, gaps=0)
    y[:, :60] = waves(3, 60)
    forecaster.update(made(rows(y[:, 60:], 60).to_pydict()))
    assert_same(forecaster.state, read_again(forecaster, rows(y)))


@pytest.mark.parametrize("freq", ["MS", "ME", "W-SUN", "B", "30min"])
def test_dates_go_on_along_their_grid(freq):
    """A row by its date, as a Python date or none, is the next on the calendar."""
    ds = pd.date_range("2024-01-01", periods=50, freq=freq)
    table = pd.DataFrame({"ds": ds, "y": np.arange(50.0) % 7})
    forecaster = Forecaster(h=2, cell="rnn", members=1, n_windows=0, training=SOON).fit(table[:45])
    forecaster.update({"ds": ds[45], "y": 3.0}).update({"ds": ds[46].to_pydatetime(), "y": 4.0})
    forecaster.update(5.0).update(table[48:])
    pd.testing.assert_frame_equal(forecaster.predict(level=[]), forecaster.predict(table, level=[]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"unique_id": "b", "ds": 59, "y": 1.0}, "rows after 59, the last date of series 'b', found 59"),
        ({"unique_id": ["b", "b"], "ds": [61, 61], "y": [1.0, 2.0]}, "two for 61 of series 'b'"),
        ({"unique_id": "b", "ds": 10**9, "y": 1.0}, "1000000000, .* series 'b'"),
        ({"unique_id": "b", "ds": 60, "y": -1.0}, "no value below 0"),
        ({"unique_id": "b", "ds": 60, "y": float("inf")}, "finite numbers"),
        ({"unique_id": "b", "ds": 60, "y": "much"}, "'much' in row 0"),
        ({"unique_id": "b", "ds": 60}, "columns .*'y'"),
        ({"ds": 60, "y": 1.0}, "unique_id"),
        ({"unique_id": "new", "ds": 60, "y": float("nan")}, "none in 'new'"),
        ({"unique_id": "b", "ds": "2024-01-01", "y": 1.0}, "integers"),
        (5.0, "a table with columns"),
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_are_refused_leave_the_state_as_it_was(row, said):
    """Series and date are named, and nothing has moved."""
    forecaster = fitted()
    with pytest.raises(DataError, match=said):
        forecaster.update(row)
    assert_same(forecaster.state, read_again(forecaster, rows(waves(3, 60))))


def test_a_table_half_of_which_is_late_is_refused_whole():
    """No series moves on where another's row is refused."""
    forecaster = fitted()
    with pytest.raises(DataError, match="series 'c'"):
        forecaster.update({"unique_id": ["a", "c"], "ds": [60, 3], "y": [1.0, 1.0]})
    assert_same(forecaster.state, read_again(forecaster, rows(waves(3, 60))))


@pytest.mark.parametrize(("scaling", "architecture"), [("running", "synced"), ("blend", "direct")])
def test_a_loaded_forecaster_goes_on_as_the_saved_one(tmp_path, scaling, architecture):
    """The state is in the file, to the last bit."""
    forecaster, y = fitted(architecture, scaling=scaling), waves(3, 80, seed=7)
    y[:, 60] = 20.0
    forecaster.update(rows(y[:, 60:70], 60))
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    for each in (forecaster, loaded):
        each.update(rows(y[:, 70:], 70))
    assert_same(forecaster.state, loaded.state)
    assert forecaster.predict(level=[]) == loaded.predict(level=[])


def test_the_state_does_not_grow_with_the_stream():
    """Bytes that are kept are the same after 10 rows and after 1,000."""
    forecaster = Forecaster(h=2, members=2, architecture="synced", scaling="running", context_length=8,
                            hidden_size=8, n_windows=0, training=SOON).fit(waves(1, 60)[0])  # fmt: skip

    def size():
        state = forecaster.state
        return sum(a.nbytes for a in state.arrays.values()), [s.shape for s in state.hidden]

    forecaster.update(np.arange(10.0))
    before = size()
    forecaster.update(np.arange(1000.0) % 13)
    assert size() == before
    assert len(forecaster.panel.row(0)) == 60


def test_recursive_nets_need_to_know_the_next_step_to_read_this_one():
    """A column known ahead is refused, by name, where it cannot be."""
    table = pa.table({"ds": np.arange(40), "y": np.arange(40.0), "sale": np.arange(40.0) % 2})
    forecaster = Forecaster(
        h=2, architecture="recursive", scaling="running", futr="sale", n_windows=0
    )
    with pytest.raises(SettingError, match="sale"):
        forecaster.fit(table)
