"""Tables of scores against utilsforecast, GluonTS's numbers, and loops over rows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import utilsforecast.losses as oracle
from forecasting_cases import NAN, panel, wave
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime import DataError, SettingError
from throughtime.forecasting import Naive, SeasonalNaive, metrics, panel_season_length
from throughtime.forecasting.evaluation.backtest import roll
from throughtime.forecasting.evaluation.scores import METRICS
from throughtime.forecasting.preprocessing.transforms import Identity

LEVELS = (50, 80)
ENDS = {"lo-80": 0.1, "lo-50": 0.25, "hi-50": 0.75, "hi-80": 0.9}


def tables(
    seed: int, n_series: int = 3, origins: int = 2, h: int = 3, gaps: float = 0.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The past, and forecasts of two models, the second with fewer places where there are gaps."""
    rng = np.random.default_rng(seed)
    past, made = [], []
    for s in range(n_series):
        T = int(rng.integers(8, 20)) + h * origins
        y = rng.normal(size=T).cumsum().round(2) + 10 * s
        past.append(pd.DataFrame({"unique_id": f"s{s}", "ds": np.arange(T), "y": y}))
        for r in range(origins):
            cutoff = T - h * (origins - r) - 1
            ds = np.arange(cutoff + 1, cutoff + 1 + h)
            rows = pd.DataFrame({"unique_id": f"s{s}", "ds": ds, "cutoff": cutoff, "y": y[ds]})
            for model in ("A", "B"):
                f = rows["y"] + rng.normal(size=h).round(2)
                rows[model] = f
                for level in LEVELS:
                    width = level / 80 * rng.uniform(0.2, 2, size=h).round(2)
                    rows[f"{model}-lo-{level}"] = f - width
                    rows[f"{model}-hi-{level}"] = f + width
            made.append(rows)
    table = pd.concat(made, ignore_index=True)
    for name in ("y", "A", "B", "B-lo-80"):
        table.loc[rng.random(len(table)) < gaps, name] = np.nan
    table = table[rng.random(len(table)) >= gaps].sample(frac=1, random_state=seed)
    return pd.concat(past, ignore_index=True), table.reset_index(drop=True)


def by_cell(table: pd.DataFrame, past: pd.DataFrame, model: str, m: int) -> pd.DataFrame:
    """What utilsforecast says of each series at each cutoff, NaN where it has nothing to say."""
    point = table.dropna(subset=["y", model])
    whole = table.dropna(subset=["y", *(f"{model}-{end}" for end in ENDS)])
    ends = {model: [f"{model}-{end}" for end in ENDS]}
    quantiles = np.array(list(ENDS.values()))
    found = {
        "mae": oracle.mae(point, [model]),
        "mse": oracle.mse(point, [model]),
        "smape": oracle.smape(point, [model]),
        "mase": oracle.mase(point, [model], m, past),
        "msse": oracle.msse(point, [model], m, past),
        "mqloss": oracle.mqloss(whole, ends, quantiles),
        "scaled_crps": oracle.scaled_crps(whole, ends, quantiles),
        "sum": whole.assign(**{model: whole["y"].abs()}).groupby(["cutoff", "unique_id"])[[model]].sum().reset_index(),
    }  # fmt: skip
    for end, q in ENDS.items():
        found[f"pinball-{q}"] = oracle.quantile_loss(whole, {model: f"{model}-{end}"}, q)
    for level in LEVELS:
        found[f"coverage-{level}"] = oracle.coverage(whole, [model], level)
        found[f"interval_score-{level}"] = oracle.winkler_score(whole, [model], level)
    cells = [
        each.set_index(["unique_id", "cutoff"])[model].astype(float).rename(name)
        for name, each in found.items()
    ]
    made = pd.concat(cells, axis=1)
    made["smape"] *= 200  # theirs has neither the 2 nor the per cent
    return made


def scores(table: Any, train: Any = None, **arguments: Any) -> pd.DataFrame:
    """The scores, with the groups and the model as index."""
    made = tt.evaluate(table, train, **arguments)
    made = made if isinstance(made, pd.DataFrame) else made.to_pandas()
    by = arguments.get("by", ())
    return made.set_index([*((by,) if isinstance(by, str) else by), "model"]).sort_index()


panels = st.tuples(
    st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4),
    st.sampled_from([0.0, 0.25]),
)  # fmt: skip
MEANS = [
    "mae", "smape", "mase", *(f"pinball-{q}" for q in ENDS.values()),
    *(f"{name}-{level}" for name in ("coverage", "interval_score") for level in LEVELS),
]  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(panels, st.integers(1, 3), st.sampled_from(["A", "B"]))
def test_scores_equal_utilsforecast(shape: tuple[Any, ...], m: int, model: str) -> None:
    past, table = tables(*shape)
    if table[["y", "A", "B"]].dropna().empty or table.dropna().empty:
        return
    cells = by_cell(table, past, model, m)
    ours = scores(table, past, by=("unique_id", "cutoff"), season_length=m).xs(model, level="model")
    np.testing.assert_allclose(ours.loc[cells.index, MEANS], cells[MEANS], rtol=1e-9, atol=1e-12)
    for root, square in (("rmse", "mse"), ("rmsse", "msse")):
        np.testing.assert_allclose(ours.loc[cells.index, root], np.sqrt(cells[square]), rtol=1e-9)
    some = cells["sum"] > 0
    np.testing.assert_allclose(
        ours.loc[cells.index, "scaled_crps"][some], cells["scaled_crps"][some], rtol=1e-9
    )

    series = cells.groupby("unique_id").mean()  # over origins, then over series
    ours = scores(table, past, by="unique_id", season_length=m).xs(model, level="model")
    np.testing.assert_allclose(ours.loc[series.index, MEANS], series[MEANS], rtol=1e-9, atol=1e-12)
    ours = scores(table, past, season_length=m).loc[model]
    np.testing.assert_allclose(ours[MEANS], series.mean()[MEANS], rtol=1e-9, atol=1e-12)
    assert ours["rmse"] == pytest.approx(np.sqrt(series["mse"].mean()))
    assert ours["rmsse"] == pytest.approx(np.sqrt(series["msse"].mean()))
    assert ours["n"] == table[["y", model]].notna().all(axis=1).sum()
    ends = [f"{model}-{end}" for end in ENDS]
    assert ours["n_quantiles"] == table[["y", *ends]].notna().all(axis=1).sum()


@settings(max_examples=10, deadline=None)
@given(panels)
def test_a_loop_over_rows_says_the_same_by_horizon(shape: tuple[Any, ...]) -> None:
    """Of one origin: mean over series of what each row costs; the interval score scaled as M4's."""
    past, table = tables(shape[0], shape[1], 1, *shape[3:])
    if table["y"].isna().all():
        with pytest.raises(DataError, match=r"a value in column 'y'|a table with rows"):
            scores(table, past, by="horizon", season_length=2)
        return
    found: dict[tuple[int, str], list[float]] = {}
    for row in table.itertuples(index=False):
        y, f, lo, hi = row[3], row[4], row[table.columns.get_loc("A-lo-80")], row[table.columns.get_loc("A-hi-80")]  # fmt: skip
        known = past[(past["unique_id"] == row.unique_id) & (past["ds"] <= row.cutoff)]["y"]
        scale = np.mean([abs(a - b) for a, b in zip(known[2:], known[:-2], strict=True)])
        width = hi - lo + 10 * max(lo - y, 0) + 10 * max(y - hi, 0)
        for name, value in (
            ("mase", abs(y - f) / scale),
            ("msis-80", width / scale),
            ("squares", (y - f) ** 2),
        ):
            if not np.isnan(value):
                found.setdefault((row.ds - row.cutoff, name), []).append(value)
    ours = scores(table, past, by="horizon", season_length=2).xs("A", level="model")
    for (k, name), values in found.items():
        expected = np.sqrt(np.mean(values)) if name == "squares" else np.mean(values)
        assert ours.loc[k, "rmse" if name == "squares" else name] == pytest.approx(expected)


def test_gluonts_says_the_same() -> None:
    """Numbers of gluonts 0.17.0 (`gluonts.ev.metrics`): all together, by series and by step."""
    past = {"a": [3, 5, 4, 8, 6, 9], "b": [10, 10, 12, 9, 11, 30], "c": [100, 80, 120, 90, 110, 70]}
    y = np.array([[7, 9, 8, 12], [20, 25, 15, 0], [90, -40, 130, 60.0]])
    f = np.array([[8, 8, 8, 8], [22, 20, 18, 16], [80, 85, 95, 100.0]])
    w = np.array([1, 2, 2.5, 3]) * np.array([[1], [2], [20]])
    columns = {
        "unique_id": np.repeat(list(past), 4), "ds": np.tile(np.arange(6, 10), 3), "y": y,
        "M": f, "M-lo-95": f - 2 * w, "M-hi-95": f + 2 * w, "M-q-0.1": f - w, "M-q-0.9": f + 1.5 * w,
    }  # fmt: skip
    table = pa.table({name: np.ravel(column) for name, column in columns.items()})
    train = panel(*past.values())
    names = ["scaled_crps", "msis-95", "mase", "rmse", "smape"]

    whole = scores(table, train, season_length=2).loc["M", names]
    expected = [0.2553185096153846, 18.436825396825398, 1.799047619047619, 39.64635334218436, 50.65847551141668]  # fmt: skip
    assert whole.tolist() == pytest.approx(expected)
    by_series = scores(table, train, season_length=1, by="unique_id")[names].to_numpy().T
    np.testing.assert_allclose(by_series, [
        [0.04131944444444445, 0.16625, 0.29609375], [3.541666666666667, 10.961538461538462, 20.666666666666668],
        [0.625, 1.25, 1.75], [2.1213203435596424, 8.573214099741124, 68.09919235938118],
        [16.27450980392157, 62.48196248196248, 73.21895424836602],
    ])  # fmt: skip
    by_step = scores(table, train, season_length=1, by="horizon")[names].to_numpy().T
    np.testing.assert_allclose(by_step, [
        [0.034401709401709404, 0.9871621621621622, 0.06576797385620914, 0.26493055555555556],
        [1.9572649572649574, 23.91452991452991, 4.893162393162393, 16.128205128205128],
        [0.3782051282051282, 1.8482905982905986, 0.5811965811965812, 2.0256410256410255],
        [5.916079783099616, 72.22880311897741, 20.281354326901674, 24.979991993593593],
        [11.540616246498599, 77.99564270152506, 16.430976430976432, 96.66666666666667],
    ])  # fmt: skip


def test_every_series_counts_the_same_however_much_there_is_of_it() -> None:
    """Errors 0 0 0 of one series and 6 of the other: the mean over series is 3, over rows 1.5."""
    table = pd.DataFrame({"unique_id": list("aaab"), "ds": [1, 2, 3, 1], "y": 0.0, "M": 0.0})
    table.loc[3, "M"] = 6.0
    found = scores(table).loc["M"]
    assert (found["mae"], found["n"]) == (3, 4)
    assert found["rmse"] == pytest.approx(np.sqrt(18))  # mean of the series' would be 3
    assert scores(table, by="unique_id")["rmse"].tolist() == [0, 6]
    assert scores(table, by="horizon")["mae"].tolist() == [3, 0, 0]


def test_every_origin_of_a_series_counts_the_same() -> None:
    table = pd.DataFrame({"ds": [2, 3, 4, 5], "cutoff": [1, 1, 1, 4], "y": 0.0})
    table["M"] = [0.0, 0.0, 0.0, 6.0]
    assert scores(table).loc["M", "mae"] == 3
    assert scores(table, by="cutoff")["mae"].tolist() == [0, 6]


def test_owa_is_the_mean_ratio_of_averages_over_series() -> None:
    """Not the average of each series' ratios; only places that both forecast count."""
    past = panel([0, 1, 2], [0, 10, 20])
    table = pd.DataFrame({
        "unique_id": ["a", "a", "b", "b"], "ds": [3, 4, 3, 4], "y": [10.0, NAN, 100.0, 100.0],
        "M": [12.0, 1.0, 300.0, 1e6], "Naive2": [14.0, 1.0, 120.0, NAN],
    })  # fmt: skip
    found = scores(table, past, baseline="Naive2", season_length=1)
    smape = [200 * 2 / 22 + 200 * 200 / 400, 200 * 4 / 24 + 200 * 20 / 220]
    mase = [2 + 20, 4 + 2]
    assert found.loc["M", "owa"] == pytest.approx((smape[0] / smape[1] + mase[0] / mase[1]) / 2)
    assert found.loc["Naive2", "owa"] == 1
    assert "owa" not in scores(table, past)  # there is no SeasonalNaive


def test_a_series_without_a_scale_is_left_out_and_counted() -> None:
    past = panel([5, 5, 5], [1, 2, 4])
    table = pa.table({"unique_id": ["a", "b", "z"], "ds": [3, 3, 3], "y": [6.0, 5.0, 1.0], "M": [5.0, 2.0, 1.0]})  # fmt: skip
    found = scores(table, past, season_length=1)
    assert found.loc["M", ["mase", "n", "n_scaled"]].tolist() == [2, 3, 1]
    assert scores(table, past, season_length=1, by="unique_id")["mase"].isna().tolist() == [True, False, True]  # fmt: skip


def test_only_what_was_known_at_the_cutoff_counts() -> None:
    past, table = tables(3)
    before = scores(table, past, by=("unique_id", "cutoff"), season_length=1)
    first = table["cutoff"] == table.groupby("unique_id")["cutoff"].transform("min")
    later = past.merge(table[first].groupby("unique_id")["cutoff"].first(), on="unique_id")
    past.loc[(later["ds"] > later["cutoff"]).to_numpy(), "y"] *= 100
    after = scores(table, past, by=("unique_id", "cutoff"), season_length=1)
    same = np.isclose(before["mase"], after["mase"])
    assert same.reshape(-1, 4).tolist() == [[True, True, False, False]] * 3


def test_without_a_cutoff_the_past_ends_before_the_first_date() -> None:
    past = pa.table({"ds": [1, 2, 3, 4], "y": [1.0, 2.0, 4.0, 1000.0]})
    table = pa.table({"ds": [5, 4], "y": [5.0, 5.0], "M": [4.0, 3.0]})
    assert scores(table, past, season_length=1).loc["M", "mase"] == 1
    assert scores(table, by="horizon")["mae"].to_dict() == {(1, "M"): 2, (2, "M"): 1}


@pytest.mark.parametrize(
    ("cutoff", "ds", "steps"),
    [
        ("2024-01-31", ["2024-03-31", "2024-02-29", "2024-05-31"], [2, 1, 4]),
        ("2024-03-01", ["2024-03-04", "2024-03-05", "2024-03-08"], [1, 2, 5]),
        ("2024-01-01 23:00", ["2024-01-02 00:00", "2024-01-02 01:00", "2024-01-02 03:00"], [1, 2, 4]),
    ],
)  # fmt: skip
def test_the_horizon_is_counted_on_the_grid_of_dates(
    cutoff: str, ds: list[str], steps: list[int]
) -> None:
    table = pl.DataFrame({"ds": ds, "cutoff": cutoff, "y": 0.0, "M": [1.0, 2.0, 3.0]})
    stamps = [pl.col(name).str.to_datetime() for name in ("ds", "cutoff")]
    for each in (table, table.with_columns(stamps)):
        found = tt.evaluate(each, by="horizon")
        assert isinstance(found, pl.DataFrame)
        assert dict(found.select("horizon", "mae").iter_rows()) == dict(zip(steps, [1, 2, 3], strict=True))  # fmt: skip


def test_the_step_comes_from_the_past_or_from_freq() -> None:
    table = pa.table({"ds": [4, 6], "cutoff": [2, 2], "y": [0.0, 0.0], "M": [1.0, 2.0]})
    past = pa.table({"ds": [0, 1, 2], "y": [1.0, 2.0, 1.0]})
    assert scores(table, by="horizon").index.tolist() == [(1, "M"), (2, "M")]
    for known in ({"train": past}, {"freq": 1}):
        assert scores(table, by="horizon", **known).index.tolist() == [(2, "M"), (4, "M")]
    with pytest.raises(DataError, match=r"dates every 3 from 2, found 4 in row 0"):
        tt.evaluate(table, by="horizon", freq=3)


def test_one_date_without_a_cutoff_is_the_first_step() -> None:
    table = pa.table({"unique_id": ["a", "b"], "ds": [4, 9], "y": [0.0, 0.0], "M": [1.0, 2.0]})
    assert scores(table, by="horizon")["mae"].to_dict() == {(1, "M"): 1.5}


def test_one_date_an_origin_is_counted_from_its_cutoff() -> None:
    table = pa.table({"ds": [4, 10], "cutoff": [2, 6], "y": [0.0, 0.0], "M": [1.0, 2.0]})
    assert scores(table, by="horizon")["mae"].to_dict() == {(1, "M"): 1, (2, "M"): 2}


def test_zoned_dates_are_compared_by_one_clock() -> None:
    """One date at noon in New York is kept by the wall clock, the hours before it in UTC."""
    hours = pd.date_range("2024-01-01 08:00", periods=4, freq="h", tz="America/New_York")
    past = pd.DataFrame({"ds": hours, "y": [1.0, 2.0, 4.0, 1000.0]})
    table = pd.DataFrame({"ds": hours[3:], "cutoff": hours[2:3], "y": 5.0, "M": 2.0})
    assert scores(table, past, season_length=1).loc["M", "mase"] == 2


@pytest.mark.parametrize("by", ["unique_id", "cutoff", "horizon", ("cutoff", "kind")])
def test_the_kind_of_table_that_came_in_comes_back(by: Any) -> None:
    _, table = tables(5)
    table["cutoff"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table["cutoff"], "D")
    table["ds"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table["ds"], "D")
    table["kind"] = table["unique_id"].map({"s0": "even", "s1": "odd", "s2": "even"})
    table.index += 7
    models = ["A", "B"]
    first = tt.evaluate(table, by=by, models=models)
    assert isinstance(first, pd.DataFrame)
    assert list(first.index) == list(range(len(first)))
    polars, arrow = pl.from_pandas(table), pa.Table.from_pandas(table, preserve_index=False)
    second = tt.evaluate(polars, by=by, models=models)
    third = tt.evaluate(arrow, by=by, models=models)
    assert isinstance(second, pl.DataFrame)
    assert isinstance(third, pa.Table)
    for name in (by,) if isinstance(by, str) else by:
        if name != "horizon":
            assert first[name].dtype == table[name].dtype
            assert second.schema[name] == polars.schema[name]
            assert third.schema.field(name).type == arrow.schema.field(name).type
    assert second.rows() == pl.from_arrow(third).rows() == pl.from_pandas(first).rows()


def test_quantiles_may_be_called_by_level_or_by_themselves() -> None:
    _, table = tables(1)
    table = table[["unique_id", "ds", "cutoff", "y", "A-lo-80", "A-hi-80"]]
    names = {"A-lo-80": "A-q-0.1", "A-hi-80": "A-q-.9"}
    by_level, by_quantile = scores(table), scores(table.rename(columns=names))
    pd.testing.assert_frame_equal(by_level, by_quantile)
    assert by_level.loc["A", "n"] == 0
    assert by_level.loc["A", "n_quantiles"] == len(table)
    pd.testing.assert_frame_equal(by_level, scores(table.rename(columns={"A-lo-80": "A-lo-80.0"})))
    median = scores(table.rename(columns={"A-lo-80": "A-median"})).loc["A"]
    assert median["pinball-0.5"] == pytest.approx((table["y"] - table["A-lo-80"]).abs().mean() / 2)


def test_a_place_without_one_quantile_is_left_out_of_all() -> None:
    table = pd.DataFrame({"ds": [1, 2], "y": 1.0, "M-lo-80": [0.0, NAN], "M-hi-80": [2.0, 100.0]})
    found = scores(table).loc["M"]
    assert found["n_quantiles"] == found["coverage-80"] == 1
    assert found["pinball-0.9"] == pytest.approx(0.1)
    assert found["scaled_crps"] == pytest.approx(0.2)


def test_level_chooses_the_intervals_and_their_ends() -> None:
    _, table = tables(1)
    only = table.drop(columns=[name for name in table if "-50" in name])
    pd.testing.assert_frame_equal(scores(table, level=80), scores(only))
    assert scores(table, level=[80, 50]).columns.tolist() == scores(table).columns.tolist()


def test_metrics_and_models_are_chosen() -> None:
    past, table = tables(1)
    table["temperature"] = "warm"
    found = scores(table, past, metrics=["rmse", "mae"], models="B", season_length=1)
    assert found.columns.tolist() == ["rmse", "mae", "n"]
    assert found.index.tolist() == ["B"]
    everything = scores(table, past, metrics=METRICS, baseline="A", models=["A", "B"])
    assert everything.notna().all(axis=None)


def test_scores_of_a_back_test_are_those_of_its_table() -> None:
    past = panel(wave(40), wave(40, seed=1) + 3)
    made = roll(
        past, "Mean", lambda known, r: (np.full((len(known), 4), known.row(0).mean()), None),
        [Naive(), SeasonalNaive(8)], h=4, n_windows=3, step_size=4, season_length=8,
        transform=Identity(), levels=(80,),
    )  # fmt: skip
    found = scores(made.table, past, season_length=8)
    for score in made.scores:
        ours = found.loc[score.model]
        assert ours["mae"] == pytest.approx(score.mae)
        assert ours["mase"] == pytest.approx(score.mase)
        assert ours["smape"] == pytest.approx(score.smape)
        assert ours["coverage-80"] == pytest.approx(score.coverage[80])
    season = panel_season_length(past)
    assert season != 8
    pd.testing.assert_frame_equal(
        scores(made.table, past), scores(made.table, past, season_length=season)
    )


def test_the_target_may_have_another_name() -> None:
    past, table = tables(4)
    renamed = [each.rename(columns={"y": "value"}) for each in (table, past)]
    found = scores(*renamed, target="value", season_length=1)
    pd.testing.assert_frame_equal(found, scores(table, past, season_length=1))


def test_series_of_very_different_size_do_not_disturb_each_other() -> None:
    """A running sum over all series would lose the small one behind the large one."""
    past = panel(1e14 * wave(30), 1e-3 * np.arange(5.0), np.full(5, 0.1))
    table = pa.table({"unique_id": ["a", "b", "c"], "ds": [30, 5, 5], "y": [0.0, 0.0, 0.0], "M": [1e14, 2e-3, 1.0]})  # fmt: skip
    found = scores(table, past, by="unique_id", season_length=1)
    assert found.loc[("b", "M"), "mase"] == pytest.approx(2)
    assert np.isnan(found.loc[("c", "M"), "mase"])


def test_the_plain_functions_say_the_same_of_one_series() -> None:
    past, table = tables(2, n_series=1, origins=1)
    table = table.sort_values("ds")
    y, f, lo, hi = (table[name].to_numpy() for name in ("y", "A", "A-lo-80", "A-hi-80"))
    known = past["y"].to_numpy()[: len(past) - 3]
    found = scores(table, past, season_length=2, level=80).loc["A"]
    assert found["rmsse"] == pytest.approx(metrics.rmsse(y, f, known, 2))
    assert found["msis-80"] == pytest.approx(metrics.msis(y, lo, hi, 80, known, 2))
    assert found["scaled_crps"] == pytest.approx(metrics.scaled_crps(y, {0.1: lo, 0.9: hi}))


GOOD = pd.DataFrame({"ds": [1, 2], "cutoff": 0, "y": 1.0, "M": 2.0, "M-lo-80": 1.0, "M-hi-80": 3.0})
PAST = pd.DataFrame({"ds": [-1, 0], "y": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": "MAEE"}, r"metrics among mae, .*'MAEE': did you mean 'mae'"),
        ({"metrics": "mase"}, r"the past .* mase is scaled by, found none: pass train="),
        ({"metrics": "owa", "train": PAST}, r"baseline among M, found 'SeasonalNaive'"),
        ({"models": "N"}, r"models among M, found 'N'"),
        ({"models": []}, r"models to score, found none: choose among M"),
        ({"by": "unique_ids"}, r"by among horizon, ds"),
        ({"by": "unique_id"}, r"by among horizon, ds"),
        ({"by": "model", "data": GOOD.assign(model=1)}, r"by among horizon, .*, found 'model'"),
        ({"level": 95}, r"a level that the table has \(80\), found 95"),
        ({"level": 800}, r"level to be a number above 0 and below 100"),
        ({"season_length": 0, "train": PAST}, r"season_length to be a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        tt.evaluate(**{"data": GOOD} | arguments)


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ([1, 2], {}, r"a pandas, polars or pyarrow table of forecasts, found list"),
        (pl.LazyFrame({"ds": [1]}), {}, r"call .collect\(\)"),
        (GOOD.drop(columns="y"), {}, r"columns 'ds' and 'y', found .*: add 'y'"),
        (GOOD[:0], {}, r"a table with rows, found none"),
        (GOOD.assign(y=NAN), {}, r"a value in column 'y' to score by, found none: fill in"),
        (GOOD[["ds", "cutoff", "y"]], {}, r"a column of forecasts, such as 'LSTM'"),
        (GOOD.assign(place="x"), {}, r"numbers in column 'place', found 'x' in row 0: .*models="),
        (GOOD.assign(ds=1), {}, r"one row a date .*found 1 of series 'series' in both row 0 and row 1"),
        (GOOD.assign(cutoff=1), {}, r"dates after the cutoff of their row, found 1 with cutoff 1 in row 0"),
        (GOOD.assign(cutoff="2024-01-01"), {}, r"dates of one kind"),
        (GOOD.assign(**{"M-q-0.1": 1.0}), {}, r"one column for the quantile 0.1 of 'M', found 'M-lo-80' and 'M-q-0.1'"),
        (GOOD.assign(**{"M-lo-800": 1.0}), {}, r"a level between 0 and 100, found a column 'M-lo-800'"),
        (GOOD.assign(**{"M-q-10": 1.0}), {}, r"a quantile between 0 and 1, found a column 'M-q-10'"),
        (GOOD[["ds", "y", "M"]], {"metrics": "coverage"}, r"columns such as MODEL-lo-80 and MODEL-hi-80 for coverage"),
        (GOOD[["ds", "y", "M", "M-lo-80"]], {"metrics": "msis", "train": PAST}, r"for msis"),
        (GOOD, {"train": PAST.assign(ds=[5, 6])}, r"rows before the cutoffs in train, found .*'series' from 5"),
        (GOOD, {"train": PAST.assign(unique_id="b")}, r"the series of the table in train, found .*'b'"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_one_sentence(data: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tt.evaluate(data, **arguments)


def test_what_cannot_be_scored_is_nan_and_counted_as_nothing() -> None:
    found = scores(GOOD.assign(M=NAN), PAST, season_length=1)
    assert found.loc["M", ["n", "n_scaled", "n_quantiles"]].tolist() == [0, 0, 2]
    assert np.isnan(found.loc["M", "mae"])
    assert np.isnan(scores(GOOD.assign(y=0.0)).loc["M", "scaled_crps"])


def test_a_panel_does_as_the_past() -> None:
    past = panel([1, 2, 4])
    table = pa.table({"unique_id": ["a"], "ds": [3], "y": [5.0], "M": [2.0]})
    assert scores(table, past, season_length=1).loc["M", "mase"] == 2
    assert (
        scores(table, replace(past, values=past.values * 2), season_length=1).loc["M", "mase"] == 1
    )


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, pyarrow as pa, throughtime as tt; "
        "tt.evaluate(pa.table({'ds': [2], 'y': [1.0], 'M': [2.0]}), pa.table({'ds': [0, 1], 'y': [1.0, 2.0]})); "
        "print([name for name in ('torch', 'polars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
