"""Figures of forecasts, back-tests and searches hold the numbers that they were given."""

from __future__ import annotations

import pytest

from throughtime import drawing
from throughtime._errors import MissingExtraError
from throughtime.drawing import theme
from throughtime.drawing.forecasts import Origin, View, backtest, close_up, forecast


def named(figure):
    return {trace.name: trace for trace in figure.data}


def view(n=10):
    bands = {80: ([1.0, 2.0], [3.0, 4.0]), 95: ([0.0, 1.0], [4.0, 5.0])}
    return View("a", list(range(n)), [float(k) for k in range(n)], [n, n + 1], [2.0, 3.0], bands)


def origin(cutoff):
    ds, models = (
        [cutoff + 1, cutoff + 2],
        {"GRU": [1.0, 2.0], "Naive": [3.0, 3.0], "AR": [4.0, 4.0]},
    )
    return Origin(cutoff, ds, [1.5, None], models, {80: ([0.0, 1.0], [2.0, 3.0])})


def test_a_forecast_begins_at_the_last_value_and_its_intervals_do_not():
    figure = forecast(view(), "GRU", 4)
    lines = named(figure)
    assert lines["GRU"].x == (9, 10, 11)
    assert lines["GRU"].y == (9.0, 2.0, 3.0)
    assert lines["95% interval"].x == (10, 11, 11, 10)
    assert lines["95% interval"].y == (4.0, 5.0, 1.0, 0.0)
    assert [trace.name for trace in figure.data][:2] == ["95% interval", "80% interval"]
    assert figure.layout.xaxis.range == (6, 11)
    assert forecast(view(), "GRU", 10).layout.xaxis.range is None


def test_a_back_test_parts_its_origins_and_shows_one_rival():
    figure = backtest([origin(4), origin(8)], "GRU", "AR")
    lines = named(figure)
    assert lines["GRU"].x == (5, 6, None, 9, 10)
    assert lines["GRU"].y == (1.0, 2.0, None, 1.0, 2.0)
    assert lines["observed"].y == (1.5, None, None, 1.5, None)
    assert (lines["AR"].visible, lines["Naive"].visible) == (True, "legendonly")
    assert [shape.x0 for shape in figure.layout.shapes] == [4, 8]
    assert "Naive" not in named(backtest([origin(4)], "GRU", "AR", choose=False))


def test_a_close_up_holds_a_few_seasons_and_horizons():
    assert (close_up(1, 1), close_up(24, 12), close_up(12, 100)) == (120, 192, 400)


def search():
    def trial(number, cell, score, state="complete", **settings):
        given = {"cell": cell.lower(), **settings}
        return {"trial": number, "cell": cell, "score": score, "state": state, "settings": given}

    return {
        "winner": 4,
        "trials": [
            trial(1, "LSTM", 1.0),
            trial(2, "GRU", 0.9, hidden_size=8),
            trial(3, "LSTM", 0.5, "pruned"),
            trial(4, "GRU", 0.8),
            trial(5, "LSTM", None, "diverged"),
            trial(6, "LSTM", 2.0, "diverged"),
        ],
    }


def test_trials_are_points_of_their_cell_and_the_best_so_far_is_a_line():
    figure = drawing.trials(search())
    lines = named(figure)
    assert (lines["GRU"].x, lines["GRU"].y) == ((2, 4), (0.9, 0.8))
    assert lines["LSTM"].x == (1, 3, 6)
    assert lines["LSTM"].marker.symbol == ("circle", "x-thin", "triangle-up-open")
    assert set(lines["GRU"].marker.symbol) == {"square"}
    assert lines["GRU"].marker.color != lines["LSTM"].marker.color
    assert "hidden_size=8" in lines["GRU"].text[0]
    best = lines["best so far"]
    assert (best.x, best.y) == ((1, 2, 4, 6), (1.0, 0.9, 0.8, 0.8))  # none that was stopped
    [note] = figure.layout.annotations
    assert (note.x, note.y) == (4, 0.8)


def test_settings_of_a_user_are_no_markup():
    tuning = search()
    tuning["trials"][0]["settings"]["init"] = "<b>x"
    assert "<b>" not in named(drawing.trials(tuning))["LSTM"].text[0]


@pytest.mark.parametrize(
    "draw", [lambda: drawing.trials(search()), lambda: forecast(view(), "GRU", 4)]
)
def test_without_plotly_the_line_that_installs_it_is_said(draw, monkeypatch):
    monkeypatch.setattr(theme, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        draw()
