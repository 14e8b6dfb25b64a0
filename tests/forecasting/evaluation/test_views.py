"""A plot shows what `predict` and the back-test hold, of the series that were asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from forecasting_cases import panel, quick, wave

from throughtime._errors import MissingExtraError, NotFittedError, SettingError
from throughtime.drawing import theme
from throughtime.forecasting.evaluation.views import MOST


@pytest.fixture(scope="module")
def one():
    days = pd.date_range("2024-01-01", periods=60, freq="D").strftime("%Y-%m-%d")
    return quick(season_length=8).fit(pd.DataFrame({"ds": days, "y": wave()}))


@pytest.fixture(scope="module")
def many():
    series = [wave(60 - 2 * s, seed=s) + 10 * s for s in range(MOST + 2)]
    return quick(season_length=8, n_windows=2).fit(panel(*series))


def named(figure):
    return {trace.name: trace for trace in figure.data}


def titles(figure):
    return [note.text.split("</b>")[0].removeprefix("<b>") for note in figure.layout.annotations]


def test_a_plot_shows_the_forecast_and_its_intervals(one):
    lines = named(one.plot(level=[80]))
    table = one.predict(level=[80])
    assert set(lines) == {"80% interval", "observed", "LSTM"}
    np.testing.assert_allclose(lines["observed"].y, wave())
    np.testing.assert_allclose(lines["LSTM"].y[1:], table["LSTM"])
    assert list(lines["LSTM"].x[1:]) == list(table["ds"])
    np.testing.assert_allclose(lines["80% interval"].y[:3], table["LSTM-hi-80"])
    np.testing.assert_allclose(lines["80% interval"].y[:2:-1], table["LSTM-lo-80"])


def test_the_newest_values_alone_can_be_asked_for(one):
    lines = named(one.plot(last=7))
    np.testing.assert_allclose(lines["observed"].y, wave()[-7:])
    with pytest.raises(SettingError, match="last"):
        one.plot(last=0)


def test_a_back_test_shows_every_origin_beside_the_best_baseline(one):
    figure = one.backtest.plot()
    lines, table = named(figure), one.backtest.table
    joined = [y for y in lines["LSTM"].y if y is not None]
    np.testing.assert_allclose(joined, table["LSTM"])
    np.testing.assert_allclose([y for y in lines["observed"].y if y is not None], table["y"])
    _, *others = one.backtest.scores
    shown = {name for name in ("Naive", "SeasonalNaive", "AR") if lines[name].visible is True}
    assert shown == {min(others, key=lambda score: score.mae).model}
    assert {"80% interval", "95% interval"} < set(lines)


def test_origins_that_overlap_are_left_out():
    forecaster = quick(h=4, season_length=8)
    forecaster.cross_validation(wave(), n_windows=5, step_size=1)
    [observed] = [t for t in forecaster.backtest.plot().data if t.name == "observed"]
    assert len(observed.x) == 4 + 1 + 4


def test_of_many_series_the_first_few_are_small_multiples(many):
    first = list("abcdefgh")[:MOST]
    assert titles(many.plot(level=[])) == titles(many.backtest.plot()) == first


def test_series_are_asked_for_by_name(many):
    single = named(many.plot(level=[], series="h"))
    np.testing.assert_allclose(single["observed"].y, many.panel.row(7))
    np.testing.assert_allclose(single["LSTM"].y[1:], many.predict(level=[])["LSTM"][-3:])
    assert titles(many.plot(series=["h", "b"])) == ["h", "b"]
    tested = named(many.backtest.plot(series="b"))
    rows = many.backtest.table.to_pandas().query("unique_id == 'b'")
    np.testing.assert_allclose([y for y in tested["LSTM"].y if y is not None], rows["LSTM"])
    for wrong in ("z", ["a", "z"], []):
        with pytest.raises(SettingError, match="series"):
            many.plot(series=wrong)


def test_what_cannot_be_drawn_says_why(one, monkeypatch):
    with pytest.raises(NotFittedError, match="fit"):
        quick().plot()
    with pytest.raises(NotFittedError, match="n_windows"):
        quick(n_windows=0).fit(wave()).plot()
    monkeypatch.setattr(theme, "find_spec", lambda name: None)
    for draw in (one.plot, one.backtest.plot):
        with pytest.raises(MissingExtraError, match=r"pip install 'throughtime\[report\]'"):
            draw()
