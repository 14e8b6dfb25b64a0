"""Cross-validation: when models are fitted anew, and what a forecast at an origin may know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from forecasting_cases import quick, wave

import throughtime as tt
from throughtime.training import Observer

H, N = 3, 48


class Names(Observer):
    """Keeps the names of the runs it saw start."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, name: str, total: int) -> None:
        self.names.append(name)


def rolled(refit: bool | int) -> tuple[list[int], np.ndarray]:
    """The origins at which a model was fitted, and the forecasts at all of them."""
    names, forecaster = Names(), quick(H)
    forecaster.cross_validation(wave(60), n_windows=5, refit=refit, observers=[names])
    fitted = [int(name.split()[1].split("/")[0]) for name in names.names if "back" in name]
    return fitted, forecaster.backtest.forecasts["LSTM"]


def test_a_model_serves_until_the_next_is_fitted() -> None:
    made = {refit: rolled(refit) for refit in (True, False, 1, 2, 9)}
    assert {refit: fitted for refit, (fitted, _) in made.items()} == {
        True: [1, 2, 3, 4, 5],
        2: [1, 3, 5],
        9: [1],
        False: [1],
    }
    always, never, second = (made[refit][1] for refit in (True, False, 2))
    np.testing.assert_array_equal(made[9][1], never)
    np.testing.assert_array_equal(second[[0, 2, 4]], always[[0, 2, 4]])
    np.testing.assert_array_equal(second[1], never[1])  # the model of the first origin
    assert (second[3] != always[3]).any()
    assert (second[3] != never[3]).any()  # that of the third


@pytest.mark.parametrize("refit", [0, -1, 1.5, "yes", None])
def test_no_number_of_origins_is_refused(refit: Any) -> None:
    with pytest.raises(tt.SettingError, match="refit to be a whole number"):
        quick(H).cross_validation(wave(60), refit=refit)


SETTINGS: dict[str, Any] = {"hist": "price", "futr": "ad", "members": 2}


def table(**changes: np.ndarray) -> pa.Table:
    """One series with covariates, to which `changes` are added."""
    columns = {"y": 9 + wave(N), "price": wave(N, 1), "ad": wave(N, 2)}
    for name, change in changes.items():
        columns[name] = columns[name] + change
    return pa.table({"unique_id": ["a"] * N, "ds": np.arange(N), **columns})


def forecasts(data: pa.Table, **settings: Any) -> np.ndarray:
    forecaster = quick(H, **SETTINGS, **settings)
    forecaster.cross_validation(data, n_windows=3)
    return forecaster.backtest.forecasts["LSTM"][:, 0]


@pytest.mark.parametrize(("architecture", "origin"), [("direct", 0), ("seq2seq", 1), ("direct", 2)])
def test_a_forecast_knows_the_past_and_what_is_known_ahead_alone(
    architecture: str, origin: int
) -> None:
    plain, step = forecasts(table(), architecture=architecture), np.arange(N)
    cutoff = N - H * (3 - origin)
    later = 2.0 * (step >= cutoff)
    for name in ("y", "price"):
        made = forecasts(table(**{name: later}), architecture=architecture)
        np.testing.assert_array_equal(made[: origin + 1], plain[: origin + 1])
        assert origin == 2 or (made[origin + 1] != plain[origin + 1]).any()
    made = forecasts(table(ad=later), architecture=architecture)
    np.testing.assert_array_equal(made[:origin], plain[:origin])
    assert (made[origin] != plain[origin]).any()
    beyond = forecasts(table(ad=2.0 * (step >= cutoff + H)), architecture=architecture)
    np.testing.assert_array_equal(beyond[: origin + 1], plain[: origin + 1])


def test_what_is_static_is_read_as_in_a_fit() -> None:
    both = pa.concat_tables([table(), table().set_column(0, "unique_id", pa.array(["b"] * N))])
    static = pa.table({"unique_id": ["a", "b"], "area": [1.0, 5.0]})
    one, other, without = (quick(H, **SETTINGS, n_windows=2) for _ in range(3))
    made = one.cross_validation(both, n_windows=2, static_df=static, refit=False)
    other.fit(both, static_df=static)
    without.cross_validation(both, n_windows=2, refit=False)
    np.testing.assert_array_equal(one.backtest.forecasts["LSTM"], other.backtest.forecasts["LSTM"])
    assert (one.backtest.forecasts["LSTM"] != without.backtest.forecasts["LSTM"]).any()
    series = one.backtest.forecasts["LSTM"]
    assert (series[:, 0] != series[:, 1]).all()  # alike but for what is static
    baselines = one.backtest.models[1:]
    assert made.column_names[:5] == ["unique_id", "ds", "cutoff", "y", "LSTM"]
    assert set(baselines) <= set(made.column_names)
    assert (made["ds"].to_numpy() > made["cutoff"].to_numpy()).all()
