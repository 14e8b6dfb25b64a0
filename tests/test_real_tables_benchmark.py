"""The pure parts of the benchmark of real tables: where series are cut, scores, what is printed."""

from __future__ import annotations

import gzip
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def tasks(benchmark_module):
    return benchmark_module("real_tables_tasks")


def small_task(tasks):
    """Two series of 10 and 12 steps, two origins of 2 steps, with what is known ahead."""
    series = tuple(
        tasks.Series(name, np.arange(T), np.arange(T) * size, {"x": -np.arange(float(T))})
        for name, T, size in (("a", 10, 1.0), ("b", 12, 2.0))
    )
    return tasks.Task("small", "Small", 2, 2, (1,), 1, series)


def test_what_is_forecast_follows_what_is_known(tasks):
    task = small_task(tasks)
    y = task.actual().reshape(-1, task.h)
    for history, truth in zip(task.histories(), y, strict=True):
        step = history.y[1]
        assert np.array_equal(truth, history.y[-1] + step * np.array([1, 2]))
        assert np.array_equal(history.ahead, history.ds[-1] + np.array([1, 2]))
        assert len(history.covariates["x"]) == len(history.y) + task.h
    assert y[-1, -1] == 22  # the last origin judges to the end


def test_the_train_part_ends_at_the_first_origin(tasks):
    task = small_task(tasks)
    assert [len(each.y) for each in task.train()] == [6, 8]
    assert [each.unique_id for each in task.histories()] == sorted(
        each.unique_id for each in task.histories()
    )


def test_repeating_the_last_value_of_a_line_scores_what_it_must(tasks):
    task = small_task(tasks)
    point = np.stack([np.repeat(each.y[-1], task.h) for each in task.histories()])
    wide = {80: (point, point + 2.0), 95: (point, point + 4.0)}
    earned = tasks.scores(task, tasks.Answer(point, wide))
    assert earned["mae"] == pytest.approx((1.5 + 3) / 2)
    assert earned["mase"] == pytest.approx(1.5)
    assert earned["coverage"] == {"80": 0.75, "95": 1.0}


def test_naive2_has_an_owa_of_one(tasks):
    task = small_task(tasks)
    one_origin = replace(task, origins=1)
    naive2 = one_origin.actual()[0] + 0.5
    judged = replace(one_origin, naive2=naive2)
    assert tasks.scores(judged, tasks.Answer(naive2))["owa"] == pytest.approx(1)
    half = tasks.scores(judged, tasks.Answer(judged.actual()[0] + 0.25))
    assert half["owa"] == pytest.approx(0.5, rel=0.05)


def test_a_forecast_that_is_no_number_is_refused(tasks):
    task = small_task(tasks)
    point = np.full((4, 2), np.nan)
    with pytest.raises(ValueError, match="8 forecasts"):
        tasks.scores(task, tasks.Answer(point))


def test_sample_paths_become_median_and_central_intervals(tasks):
    paths = np.random.default_rng(0).permutation(np.linspace(0, 1, 201)).reshape(1, 1, -1)
    answer = tasks.of_samples(paths)
    assert answer.point.item() == pytest.approx(0.5)
    assert [end.item() for end in answer.ends[80]] == pytest.approx([0.1, 0.9])
    assert [end.item() for end in answer.ends[95]] == pytest.approx([0.025, 0.975])


def test_the_electricity_is_read_with_its_covariates(tasks, tmp_path):
    (tmp_path / "classics").mkdir()
    lines = ["Time,Demand,Temperature,Date,Holiday"] + [
        f"2014-12-31T{i // 2:02}:{i % 2 * 30:02}:00Z,{i}.5,20.25,2014-12-31,{'TRUE' if i else 'FALSE'}"
        for i in range(3)
    ]
    with gzip.open(tmp_path / "classics/vic_electricity.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    [series] = tasks.electricity(tmp_path).series
    assert series.y.tolist() == [0.5, 1.5, 2.5]
    assert series.covariates["holiday"].tolist() == [0, 1, 1]
    assert str(series.ds[-1]) == "2014-12-31T01:00:00"


def test_m4_joins_its_parts_series_by_series(tasks, tmp_path):
    (tmp_path / "m4").mkdir()
    parts = {
        "train": {"unique_id": ["H2", "H1", "H1"], "ds": [1, 2, 1], "y": [7.0, 2.0, 1.0]},
        "test": {
            "unique_id": ["H1", "H2"],
            "ds": [1, 1],
            "y": [3.0, 8.0],
            "naive2": [2.0, 7.0],
        },
    }
    for name, columns in parts.items():
        pq.write_table(pa.table(columns), tmp_path / f"m4/hourly_{name}.parquet")
    task = tasks.m4_hourly(tmp_path)
    assert [each.y.tolist() for each in task.series] == [[1, 2, 3], [7, 8]]
    assert task.naive2.tolist() == [[2], [7]]


def row(mae, seconds, share=1.0, **more):
    return {
        **{"mae": mae, "mase": mae, "smape": mae, "coverage": {}, "share": share, "busy": False},
        **{"fit_seconds": seconds * share, "forecast_seconds": 0.0, "import_seconds": 1.0},
        **{"peak_mib": 100.0, "commit": "abc", "date": "today", "processor": "one", "threads": 2},
        **{"python": "3", "torch": "2", "version": "1", **more},
    }


def test_the_page_says_who_is_ahead_and_how_long_a_whole_training_takes(benchmark_module):
    page = benchmark_module("real_tables_page").page
    text = page(
        {
            "yearly/throughtime/0": row(20.0, 2.0, coverage={"80": 0.81, "95": 0.94}),
            "yearly/darts-LSTM/0": row(30.0, 50.0, share=0.1),
            "yearly/gluonts-DeepAR/0": row(10.0, 40.0),
            "yearly/neuralforecast-LSTM/0": {"error": "exit 1: out of memory"},
        }
    )
    assert "| yearly | 1 of 2 | GluonTS DeepAR (2.00) | 20.0 to 25 | 1 of 2 | 81.0 | 94.0 |" in text
    assert "~50" in text
    lines = text.splitlines()
    heads = next(i for i, line in enumerate(lines) if line.startswith("| task |"))
    assert lines[heads].count("|") == lines[heads + 2].count("|")
    assert "out of memory" in text


def test_every_model_and_task_has_its_place_on_the_page(benchmark_module):
    command, tasks = benchmark_module("real_tables"), benchmark_module("real_tables_tasks")
    page = benchmark_module("real_tables_page")
    assert set(command.LIBRARY) == set(page.NAMES)
    assert set(command.FILES) == set(tasks.TASKS) == set(page.TITLES)


@pytest.mark.parametrize(
    ("row", "most", "kept"),
    [
        ({"share": 1.0, "most_seconds": 10.0}, None, True),
        ({"share": 0.5, "most_seconds": 10.0}, 10.0, True),
        ({"share": 0.5, "most_seconds": 10.0}, 20.0, False),
        ({"share": 0.5, "most_seconds": 10.0}, None, False),
        ({"error": "exit 1"}, 1.0, False),
    ],
)
def test_a_run_is_made_again_only_if_it_may_last_longer(benchmark_module, row, most, kept):
    assert benchmark_module("real_tables").finished(row, most) is kept
