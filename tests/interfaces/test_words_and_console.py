import io
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from stand_in import Score, StandIn, sunspots

from throughtime._words import aligned, number
from throughtime.interfaces import console, words
from throughtime.interfaces.progress import Bars, Tally


def scores(ours, **others):
    named = {"LSTM": ours, **others}
    return [Score(name, value, value, value, {}) for name, value in named.items()]


def drawn(*things, width=100, terminal=False):
    stream = io.StringIO()
    out = Console(
        file=stream,
        width=width,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
    )
    out.print(*things)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (scores(10.0, Naive=20.0, LinearAR=12.5), "beats linear autoregression"),
        (scores(10.0, Naive=20.0, LinearAR=12.5), "20% lower"),
        (scores(30.0, Naive=20.0), "loses to the naive forecast"),
        (scores(30.0, Naive=20.0), "50% higher; prefer the baseline"),
        (scores(10.0, Naive=10.01), "does as well as"),
        (scores(1.0, Naive=0.0), "loses to"),
        (scores(0.0, Naive=0.0), "does as well as"),
        (scores(10.0), "too short to compare"),
        (scores(math.nan, Naive=1.0), "too short to compare"),
        (scores(10.0, Naive=math.nan), "too short to compare"),
    ],
)
def test_the_verdict_is_honest_either_way(found, said):
    assert said in words.verdict(found, "LSTM", 8)


@pytest.mark.parametrize(
    ("memory", "season", "said"),
    [
        (23, 11, "spans the season of 11 years"),
        (5, 11, "less than the season of 11 years"),
        (5, 1, "looks back 33 years"),
        (None, 11, "stays above 1% over all 40 years measured"),
        (1, 1, "after 1 year"),
    ],
)
def test_the_reading_of_the_reach(memory, season, said):
    profile = SimpleNamespace(memory=memory, half_life=math.inf, lags=range(41))
    assert said in words.reach(profile, season, 33, "year")


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf]))
def test_any_number_can_be_written_shortly(value):
    assert 0 < len(number(value)) <= 14
    [text] = aligned([value])
    assert text == "n/a" or float(text.replace(",", "")) == pytest.approx(value, rel=0.006, abs=0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_aligned_numbers_share_their_decimals(values):
    texts = aligned(values)
    if not any("e" in text for text in texts) and "0" not in texts:
        assert len({len(text.partition(".")[2]) for text in texts}) == 1


def test_the_best_of_each_measure_is_bold():
    backtest = StandIn(11).fit(sunspots()).backtest
    text = drawn(console.score_table(backtest, "LSTM", "year"), terminal=True)
    best = next(line for line in text.splitlines() if "LinearAR" in line)
    assert "\x1b[1m" in best
    naive = next(line for line in text.splitlines() if "Naive" in line)
    assert "\x1b[1m" not in naive


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_a_terminal_without_cutting_a_number(width):
    forecaster = StandIn(11).fit(sunspots())
    table = forecaster.predict([80, 95])
    text = drawn(console.forecast_table(table, "LSTM", [80, 95]), width=width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count(" to ") == 22


def test_names_in_brackets_are_not_markup():
    text = drawn(console.facts_block({"read": "[bold]a[/bold].csv"}, ["[red]x"]))
    assert "[bold]a[/bold].csv" in text
    assert "[red]x" in text


def test_long_forecasts_are_cut_and_say_so():
    table = StandIn(60, n_windows=1).fit(sunspots()).predict([80])
    text = drawn(console.forecast_table(table, "LSTM", [80]))
    assert "48 of 60 rows shown" in text


def test_bars_follow_the_training():
    stream = io.StringIO()
    with Bars(Console(file=stream, force_terminal=True, width=100), most=3) as bars:
        StandIn(3, n_windows=6).fit(sunspots(), observers=[bars])
    last = stream.getvalue().split("\n")[-5:]
    assert any("final fit" in line and "300/300" in line for line in last)
    assert "loss" in stream.getvalue()
    assert not any("back-test 1/6" in line for line in last)


def test_the_tally_counts():
    tally = Tally()
    StandIn(3, n_windows=2).fit(sunspots(), observers=[tally])
    assert tally.line.startswith("trained 4 fits, 680 updates in ")
