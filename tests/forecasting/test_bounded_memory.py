"""Large panels: pieces that make up the whole, and memory that stays near that of the values."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forecasting_cases import TRAINING, design, panel, quick, wave
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from throughtime.forecasting import Frequency
from throughtime.forecasting.evaluation import backtest as backtest_module
from throughtime.forecasting.evaluation import baselines, metrics
from throughtime.forecasting.evaluation.baselines import SeasonalNaive
from throughtime.forecasting.fitting import fitting as fitting_module
from throughtime.forecasting.fitting.fitting import fit
from throughtime.forecasting.models import linear
from throughtime.forecasting.models import model as model_module
from throughtime.forecasting.models.companions import Maps
from throughtime.forecasting.models.linear import fit_linear_map
from throughtime.forecasting.preprocessing.transforms import Identity
from throughtime.forecasting.series import panel as panel_module
from throughtime.forecasting.series.panel import Panel


def many(lengths: list[int], hole: int = 0, M: int = 1, seed: int = 0) -> Panel:
    n = np.array(lengths)
    ends = np.cumsum(n + hole)
    values = np.random.default_rng(seed).normal(5, 1, size=(M, ends[-1])).astype(np.float32)
    return Panel(
        tuple(f"s{i}" for i in range(len(n))),
        values,
        ends - n - hole,
        n,
        np.zeros(len(n), dtype=np.int64),
        Frequency("1"),
        targets=tuple("yz"[:M]),
    )


@hypothesis_settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    hole=st.integers(0, 2),
    M=st.integers(1, 2),
    piece=st.integers(1, 30),
)
def test_pieces_make_up_every_row(lengths: list[int], hole: int, M: int, piece: int) -> None:
    known = many(lengths, hole, M)
    found: dict[int, list[Any]] = {r: [] for r in range(len(known))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel_module, "PIECE", piece)
        for rows, y, offsets in known.pieces():
            assert offsets[0] == 0
            assert offsets[-1] == len(y) <= piece
            assert (np.diff(offsets) > 0).all()
            for j, r in enumerate(rows.tolist()):
                found[r].append(y[offsets[j] : offsets[j + 1]])
    for r, parts in found.items():
        np.testing.assert_array_equal(np.concatenate(parts), known.row(r))


def test_neighbours_in_the_buffer_are_a_view_of_it() -> None:
    known = many([5] * 100)
    assert all(
        y.base is not None and np.shares_memory(y, known.values) for _, y, _ in known.pieces()
    )


def test_a_compact_panel_holds_its_own_series_and_nothing_else() -> None:
    known = many([6, 4, 9], hole=1).take(np.array([2, 0])).cut(1)
    made = known.compact()
    assert made.values.shape == (1, 9 + 6)  # what was cut off is room
    for r in range(2):
        np.testing.assert_array_equal(made.row(r), known.row(r))


@pytest.mark.parametrize("settings", [
    {}, {"transforms": ("identity", "sqrt", "log1p"), "members": 4}, {"residual": "last"},
])  # fmt: skip
def test_blocks_forecast_what_the_whole_does(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = many([20 + i % 7 for i in range(30)])
    known.values[0, 3::11] = np.nan
    known = panel(*(known.row(r) for r in range(len(known))))
    model = fit(known, design(**settings), 3, (), "test")[0]
    whole = model.forecast(known)
    monkeypatch.setattr(model_module, "BLOCK", 7)
    np.testing.assert_array_equal(model.forecast(known), whole)


def test_one_value_below_0_lets_all_forecasts_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of the blocks in which there is none."""
    falling = 10.0 - 0.45 * np.arange(20)
    known = panel(falling, *[wave(20) + 5] * 6, wave(20) - 9)
    model = fit(known, design(residual="last"), 3, (), "test")[0]
    model = replace(model, linear=Maps(model.linear.shared + 5))  # runs off, to the lower limit
    assert model.kinds(known)["linear"][:, 0].min() < 0
    whole = model.forecast(known)
    monkeypatch.setattr(model_module, "BLOCK", 2)
    np.testing.assert_array_equal(model.forecast(known), whole)


def test_rows_turned_into_fewer_have_the_same_least_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = many([50] * 40)
    how = (known, Identity(), 12, 3, "last", 4)
    plain = fit_linear_map(*how)
    monkeypatch.setattr(linear, "_MOST_NUMBERS", 300)
    monkeypatch.setattr(linear, "_BLOCK", 64)
    np.testing.assert_allclose(fit_linear_map(*how), plain, atol=1e-10)


def test_a_scale_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    y = wave(100)
    y[[3, 50, 51]] = np.nan
    whole = np.nanmean(np.abs(y[7:] - y[:-7]))
    monkeypatch.setattr(metrics, "_PIECE", 9)
    assert metrics.naive_scale(y, 7) == pytest.approx(whole)


@given(
    y=st.lists(st.sampled_from([1.0, 2.0, 3.0, float("nan")]), min_size=1, max_size=40),
    season=st.integers(1, 12),
    h=st.integers(1, 15),
)
def test_the_newest_of_each_phase_is_found_however_far_back(
    y: list[float], season: int, h: int
) -> None:
    values = np.array([*y, 7.0] if np.isnan(y).all() else y)
    observed = np.flatnonzero(~np.isnan(values))
    expected = []
    for k in range(h):
        same = [t for t in observed if (t - len(values) - k) % season == 0]
        expected.append(values[max(same) if same else observed[-1]])
    np.testing.assert_array_equal(SeasonalNaive(season).forecast(values, h), expected)


def test_of_many_series_some_judge_and_all_are_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtest_module, "MOST_JUDGED", 5)
    seen = []
    fitting = fitting_module.fit
    monkeypatch.setattr(
        "throughtime.forecasting.fitting.fitting.fit",
        lambda known, *rest, **named: seen.append(len(known.ids)) or fitting(known, *rest, **named),
    )
    known = many([40] * 20 + [12])
    forecaster = quick(3, n_windows=2).fit(known)
    assert seen == [21, 21]  # for both origins, and in the end
    assert forecaster.backtest.y.shape == (2, 5, 3)
    assert forecaster.backtest.panel.ids == ("s0", "s5", "s10", "s15", "s20")
    assert (
        forecaster.backtest.panel.notes[-1] == "5 of 21 series, spread evenly, judge the forecasts"
    )
    assert len(forecaster.predict()) == 21 * 3
    np.testing.assert_array_equal(
        forecaster.backtest.y[1], [forecaster.backtest.panel.row(r)[-3:] for r in range(5)]
    )


def peak_of(task: Any) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        task()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("lengths", [[1_000_000], [50] * 20_000], ids=["one long", "many short"])
def test_a_fit_takes_little_more_than_the_values(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what numpy and Python hold; the values themselves, in a panel, are there before."""
    monkeypatch.setattr(baselines, "LONGEST", 1000)
    monkeypatch.setattr(backtest_module, "MOST_JUDGED", 100)
    known = many(lengths)
    forecaster = quick(3, n_windows=2, training=TRAINING, season_length=12)
    quick(3, n_windows=2).fit(wave(60))  # what is made once
    peak = peak_of(lambda: forecaster.fit(known))
    assert peak < 2 * known.values.nbytes + 8 * 2**20
    assert peak_of(lambda: forecaster.backtest.scores) < known.values.nbytes + 8 * 2**20


def test_long_series_are_looked_at_from_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "LONGEST", 50)
    y = wave(200)
    other = np.concatenate([np.full(150, 1e6), y[-50:]])
    AR = baselines.LinearAutoregression()
    np.testing.assert_array_equal(AR.forecast(y, 3), AR.forecast(other, 3))
    gone = np.concatenate([y, np.full(60, np.nan)])
    np.testing.assert_array_equal(AR.forecast(gone, 2), [y[-1]] * 2)
