"""From a table to forecasts: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import datetime
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from forecasting_cases import CELLS, NAN, TRAINING, quick, wave

import throughtime as tt
from throughtime.training import Observer

N, H = 40, 3
Y = 5 + wave(N)
MONTHS = pd.date_range("1990-01-01", periods=N, freq="MS")
NEXT = pd.date_range("1993-05-01", periods=H, freq="MS")

PANDAS = {
    "ns": MONTHS,
    "seconds": MONTHS.astype("datetime64[s]"),
    "zone": MONTHS.tz_localize("Europe/Zurich"),
    "text": MONTHS.strftime("%Y-%m"),
    "integers": np.arange(1960, 1960 + N),
    "small integers": np.arange(N, dtype=np.int32),
}


@pytest.mark.parametrize("kind", PANDAS)
def test_pandas_comes_back_with_its_dates(kind: str) -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": PANDAS[kind], "y": Y})
    made = quick(n_windows=2).fit(frame).predict(level=[90])
    assert isinstance(made, pd.DataFrame)
    assert made["ds"].dtype == frame["ds"].dtype
    assert made["unique_id"].dtype == frame["unique_id"].dtype
    expected = {
        "ns": NEXT,
        "seconds": NEXT,
        "zone": NEXT.tz_localize("Europe/Zurich"),
        "text": NEXT.strftime("%Y-%m"),
        "integers": np.arange(1960 + N, 1960 + N + H),
        "small integers": np.arange(N, N + H),
    }[kind]
    assert made["ds"].tolist() == list(expected)
    assert made.columns.tolist() == ["unique_id", "ds", "LSTM", "LSTM-lo-90", "LSTM-hi-90"]


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("ms"), pl.Int64, pl.Datetime("us", "UTC")])
def test_polars_comes_back_with_its_dates(dtype: Any) -> None:
    dates = [d.date() for d in MONTHS] if dtype != pl.Int64 else list(range(N))
    frame = pl.DataFrame({"ds": dates, "y": Y}).with_columns(pl.col("ds").cast(dtype))
    made = quick(n_windows=0).fit(frame).predict(level=[])
    assert isinstance(made, pl.DataFrame)
    assert made.schema["ds"] == frame.schema["ds"]
    first = made["ds"][0]
    assert first == N if dtype == pl.Int64 else (first.year, first.month, first.day) == (1993, 5, 1)


def test_arrow_comes_back_with_its_dates() -> None:
    table = pa.table({"ds": pa.array([d.date() for d in MONTHS]), "y": Y})
    made = quick(n_windows=0).fit(table).predict(level=[])
    assert made.schema.field("ds").type == pa.date32()
    assert made["ds"].to_pylist() == [d.date() for d in NEXT]
    assert made["ds"][0].as_py() == datetime.date(1993, 5, 1)


def numbers(made: Any) -> list[float]:
    return [float(value) for value in made["LSTM"].to_numpy()]


def test_all_kinds_of_tables_and_series_say_the_same() -> None:
    columns = {"ds": np.arange(N), "y": Y}
    inputs = [
        Y,
        Y.tolist(),
        pa.array(Y),
        pd.Series(Y),
        pl.Series(Y),
        pa.table(columns),
        pd.DataFrame(columns).sample(frac=1, random_state=0),
        pl.DataFrame(columns),
    ]
    kinds = [pa.Table, pa.Table, pa.Table, pd.DataFrame, pl.DataFrame] * 2
    kinds[5:] = [pa.Table, pd.DataFrame, pl.DataFrame]
    made = [quick(n_windows=0).fit(each).predict(level=[]) for each in inputs]
    assert [type(table) for table in made] == kinds
    assert all(numbers(table) == numbers(made[0]) for table in made)


@pytest.mark.parametrize("cell", CELLS)
def test_gaps_and_empty_values_are_accepted_and_noted(cell: Any) -> None:
    y = Y.copy()
    y[[5, 6, 20]] = NAN
    y[-1] = NAN
    kept = np.delete(np.arange(N), [11, 12])
    table = pa.table({"ds": kept, "y": pa.array(y[kept], from_pandas=True)})
    forecaster = quick(cell=cell).fit(table)
    made = forecaster.predict()
    assert forecaster.panel.n_gaps == 2
    assert forecaster.panel.n_missing == 4
    assert made["ds"].to_pylist() == [N, N + 1, N + 2]
    assert np.isfinite(made[cell.upper()].to_numpy()).all()
    assert all(np.isfinite(score.mae) for score in forecaster.backtest.scores)


SCRIPT = """
import sys; sys.path.insert(0, {folder!r})
import torch; torch.set_num_threads(1)
from forecasting_cases import quick, wave
made = quick(cell={cell!r}, members=2, seed={seed}).fit(5 + wave(40)).predict()
print([[v.hex() for v in column.to_pylist()] for column in made.columns[2:]])
"""


def test_the_same_seed_says_the_same_bits_in_a_fresh_process_and_another_does_not() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(1234)  # the global random numbers have no say
    made = {s: quick(cell="gru", members=2, seed=s).fit(Y).predict() for s in (3, 4)}
    torch.set_num_threads(threads)
    bits = {
        seed: str([[v.hex() for v in column.to_pylist()] for column in table.columns[2:]])
        for seed, table in made.items()
    }
    folder = __file__.rpartition("test_forecaster")[0]
    code = SCRIPT.format(folder=folder, cell="gru", seed=3)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == bits[3]
    assert bits[3] != bits[4]


def table(**columns: Any) -> pa.Table:
    return pa.table({"ds": np.arange(N), "y": Y} | columns)


REFUSED: list[tuple[str, Any, str]] = [
    ("constant", np.full(N, 7.0), r"a series that varies, found the value 7 in all 40 rows"),
    ("constant with gaps", [7.0, NAN, 7.0, 7.0] * 10, "the value 7 in all 30 rows"),
    ("five rows", Y[:5], "at least 11 rows in the longest series for a horizon of 3"),
    ("one row", Y[:1], "at least two dates in a series"),
    ("none", [], "rows"),
    ("only gaps", [NAN] * N, "a value in every series"),
    ("text", table(y=["1.5"] * 17 + ["abc"] + ["2"] * 22), "'abc' in row 17"),
    ("infinite", np.where(np.arange(N) == 9, np.inf, Y), "inf in row 9"),
    ("duplicates", table(ds=np.minimum(np.arange(N), 38)), "one row a date"),
    ("no regular step", table(ds=np.cumsum(np.arange(N) % 3 + 2)), "dates at a regular step"),
    ("one value", [NAN] * 39 + [3.0], "the value 3"),
    ("zeros", np.zeros(N), "the value 0 in all 40 rows"),
    ("huge", Y * 1e30, r"none beyond 1e\+16, found .* in row 0"),
    ("booleans", table(y=Y > 1), "numbers in column 'y', found bool"),
    ("no column y", pa.table({"ds": [1], "value": [2]}), "columns 'ds' and 'y'"),
    ("a table of two dimensions", np.zeros((3, 4)), "an array of one dimension"),
    ("no table", 5, "a pandas, polars or pyarrow table"),
]


@pytest.mark.parametrize(("name", "data", "said"), REFUSED)
@pytest.mark.parametrize("n_windows", [0, 2])
def test_data_that_do_not_fit_are_refused_in_a_sentence(
    name: str, data: Any, said: str, n_windows: int
) -> None:
    with pytest.raises(tt.DataError, match=said) as caught:
        quick(H, n_windows=n_windows).fit(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("h", "fits"), [(13, True), (14, False), (40, False)])
def test_the_horizon_leaves_twice_its_length_to_learn_from(h: int, fits: bool) -> None:
    if fits:
        assert len(quick(h, n_windows=1).fit(Y).predict(level=[])) == h
        return
    with pytest.raises(tt.DataError, match=f"rows in the longest series for a horizon of {h}"):
        quick(h, n_windows=1).fit(Y)


CHOICES = [
    ("auto", Y, ("identity", "sqrt", "log1p")),
    ("auto", wave(N), ("identity",)),
    ("sqrt", Y, ("sqrt",)),
]


@pytest.mark.parametrize(("transform", "y", "expected"), CHOICES)
def test_members_take_turns_over_the_scales_that_suit_the_data(
    transform: str, y: Any, expected: tuple[str, ...]
) -> None:
    given = None if transform == "auto" else transform
    forecaster = quick(n_windows=0, transform=given).fit(y)
    assert forecaster.design.transforms == expected
    assert forecaster.settings["transforms"] == expected


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"h": 0}, "h to be a whole number"),
    ({"cell": "lstn"}, "cell to be one of 'rnn', 'lstm', 'gru', 'mingru', 'minlstm', found 'lstn'"),
    ({"members": 0}, "members"),
    ({"hidden_size": 2.5}, "hidden_size"),
    ({"dropout": 1}, "dropout"),
    ({"freq": "fortnight"}, "freq to be one of"),
    ({"transform": "cube"}, "transform"),
    ({"residual": "none"}, "residual"),
    ({"n_windows": -1}, "n_windows"),
    ({"context_length": 0}, "context_length"),
    ({"season_length": "12"}, "season_length"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed to be a whole number below 2\\^63"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_settings_out_of_range_are_refused_when_made(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(tt.SettingError, match=said):
        quick(**{"h": H, **settings})


def test_a_season_longer_than_the_look_back_cannot_be_the_residual() -> None:
    forecaster = quick(residual="season", season_length=12, context_length=6)
    with pytest.raises(tt.SettingError, match="context_length of at least one season"):
        forecaster.fit(Y)


@pytest.mark.parametrize("name", ["predict", "panel", "model", "design", "backtest", "reach"])
def test_before_fit_there_is_nothing(name: str) -> None:
    forecaster = quick()
    with pytest.raises(tt.NotFittedError):
        forecaster.predict() if name == "predict" else getattr(forecaster, name)


def test_columns_of_other_names_are_told_in_those_that_are_wanted() -> None:
    wanted = "columns 'ds' and 'sales', found 'ds', 'y': rename its columns to 'ds' and 'sales'"
    with pytest.raises(tt.DataError, match=wanted):
        quick(n_windows=0, target="sales").fit(table())


@pytest.mark.parametrize("level", [80, "80", 80.0])
def test_one_level_is_to_be_a_list_of_one(level: Any) -> None:
    forecaster = quick(n_windows=2).fit(Y)
    for refuses in (forecaster.predict, lambda level: quick(n_windows=2).fit(Y, level=level)):
        with pytest.raises(tt.SettingError, match=r"level to be a list .* pass level=\[80(\.0)?\]"):
            refuses(level=level)


def test_the_largest_seed_and_the_smallest_numbers_will_do() -> None:
    for y in (Y, Y * 1e-300):
        made = quick(n_windows=2, seed=2**63 - 1).fit(y).predict(level=[99.9])
        assert np.isfinite([made[name].to_pylist() for name in made.column_names[2:]]).all()


@pytest.mark.parametrize("level", [0, 100, -5, "80", NAN])
def test_levels_out_of_range_are_refused(level: Any) -> None:
    forecaster = quick(n_windows=2).fit(Y)
    with pytest.raises(tt.SettingError, match="level"):
        forecaster.predict(level=[level])
    with pytest.raises(tt.SettingError, match="level"):
        quick(n_windows=2).fit(Y, level=[level])


def test_without_origins_there_are_no_intervals_but_forecasts() -> None:
    forecaster = quick(n_windows=0).fit(Y)
    assert len(forecaster.predict(level=[])) == H
    with pytest.raises(tt.NotFittedError, match="n_windows above 0"):
        forecaster.predict(level=[80])
    forecaster.cross_validation(Y, n_windows=2)
    assert "LSTM-lo-80" in forecaster.predict(level=[80]).column_names


class Fails(Observer):
    """Raises in the run of this name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_start(self, name: str, total: int) -> None:
        if name == self.name:
            raise MemoryError(name)


@pytest.mark.parametrize("run", ["pilot", "back-test 1/2", "final fit"])
def test_a_fit_that_fails_leaves_the_forecaster_as_it_was(run: str) -> None:
    forecaster = quick(n_windows=2).fit(Y)
    before = forecaster.predict()
    parts = ("panel", "model", "backtest", "history", "pilot", "reach")
    held = [getattr(forecaster, name) for name in parts]
    with pytest.raises(MemoryError, match=run):
        forecaster.fit(20 - 2 * Y, observers=[Fails(run)])
    with pytest.raises(tt.DataError):
        forecaster.fit(Y[:5])
    assert all(getattr(forecaster, name) is part for name, part in zip(parts, held, strict=True))
    assert forecaster.predict() == before


def test_other_data_go_on_from_their_own_end_with_the_weights_as_they_are() -> None:
    forecaster = quick(n_windows=2).fit(pd.DataFrame({"ds": MONTHS, "y": Y}))
    before = {name: w.clone() for name, w in forecaster.model.network.state_dict().items()}
    later = pd.DataFrame({"unique_id": "new", "ds": MONTHS + pd.DateOffset(years=10), "y": Y})
    made, own = forecaster.predict(later), forecaster.predict()
    assert made["ds"].tolist() == list(NEXT + pd.DateOffset(years=10))
    assert set(made["unique_id"]) == {"new"}
    np.testing.assert_array_equal(made["LSTM"], own["LSTM"])
    assert own["ds"].tolist() == list(NEXT)
    after = forecaster.model.network.state_dict()
    assert all(torch.equal(after[name], w) for name, w in before.items())
    # read by the frequency of the fit, though each second month alone has a step of two
    sparse = pd.DataFrame({"ds": MONTHS[:29:2], "y": Y[:29:2]})
    assert forecaster.predict(sparse, level=[])["ds"].tolist() == list(MONTHS[29:32])


def test_a_later_value_moves_the_first_step() -> None:
    forecaster, moved = quick(n_windows=0).fit(Y), Y.copy()
    moved[-1] += 1.0
    one, other = (np.array(numbers(forecaster.predict(y, level=[]))) for y in (Y, moved))
    assert (np.abs(one - other) > 1e-6).all()


SERIES = {
    "a wave": Y,
    "counts": np.random.default_rng(0).poisson(0.4, N).astype(float),
    "below 0": wave(N),
    "a fall to 0": np.maximum(0.0, 30.0 - np.arange(N)) + 0.01 * np.abs(wave(N)),
}


@pytest.mark.parametrize("name", SERIES)
def test_levels_nest_around_the_point_and_keep_to_what_is_possible(name: str) -> None:
    forecaster = quick(members=2).fit(SERIES[name])
    levels = [10, 50, 80, 95, 99.5]
    made = forecaster.predict(level=levels[::-1]).to_pydict()
    ends = [f"LSTM-lo-{level:g}" for level in levels[::-1]] + ["LSTM"]
    ends += [f"LSTM-hi-{level:g}" for level in levels]
    rising = np.array([made[name] for name in ends])
    assert (np.diff(rising, axis=0) >= -1e-9).all()
    if (SERIES[name] >= 0).all():
        assert (rising >= 0).all()
        back = forecaster.backtest.table.to_pandas()
        assert (back.filter(like="-lo-") >= 0).all().all()


def test_names_and_order_of_the_columns() -> None:
    made = quick(cell="gru", n_windows=2).fit(Y).predict(level=[95, 80, 80])
    assert made.column_names == [
        *("unique_id", "ds", "GRU"),
        *("GRU-lo-80", "GRU-hi-80", "GRU-lo-95", "GRU-hi-95"),
    ]


def test_every_series_of_a_panel_is_forecast_from_its_end() -> None:
    lengths = {"z": 40, "a": 25, "m": 9, "short": 3}
    rows = [
        (name, t, 100.0 * i + Y[t]) for i, (name, n) in enumerate(lengths.items()) for t in range(n)
    ]
    ids, ds, y = zip(*rows, strict=True)
    made = quick(members=2).fit(pa.table({"unique_id": ids, "ds": ds, "y": y})).predict()
    assert made["unique_id"].to_pylist() == [name for name in lengths for _ in range(H)]
    assert made["ds"].to_pylist() == [n + k for n in lengths.values() for k in range(H)]
    point = made["LSTM"].to_numpy().reshape(4, H)
    assert (np.abs(point - 5 - 100 * np.arange(4)[:, None]) < 30).all()


@pytest.mark.parametrize("least", [1, 3, 100])
def test_the_final_fit_makes_as_many_updates_as_the_pilot_found_best(
    least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("throughtime.forecasting.fitting.fitting.LEAST_UPDATES", least)
    forecaster = quick().fit(Y)
    best = forecaster.pilot.best_index
    assert forecaster.settings["updates"] == max(best, min(least, TRAINING.max_updates))
    assert len(forecaster.history.updates) <= TRAINING.max_updates


def test_a_forecaster_can_be_fitted_again() -> None:
    forecaster = quick(n_windows=2).fit(20 - 3 * Y)
    assert forecaster.fit(Y).predict() == quick(n_windows=2).fit(Y).predict()


def test_paths_are_not_drawn_from_covariates_that_end_with_the_present():
    table = pa.table({"ds": range(40), "y": wave(40), "warm": wave(40, seed=1)})
    with pytest.raises(tt.SettingError, match="no hist for architecture='recursive'"):
        quick(architecture="recursive", hist="warm").fit(table)


def test_every_series_has_a_value_of_every_target():
    load, price = wave(80), [*wave(40), *[NAN] * 40]
    columns = {"unique_id": ["a"] * 40 + ["b"] * 40, "ds": [*range(40)] * 2, "load": load}
    table = pa.table(columns | {"price": price})
    with pytest.raises(tt.DataError, match="a value of 'price' in every series, found none in 'b'"):
        quick(target=["load", "price"]).fit(table)
