"""The pure parts of the benchmarks of accuracy: parts of the data, scores, what is kept and printed."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from throughtime._errors import SettingError
from throughtime.training import TrainingSettings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "accuracy"))
    return importlib.import_module


def entry(commit="a", **seeds):
    return {
        "commit": commit,
        "settings": {},
        "threads": 2,
        "cores": 2,
        "load": 0.5,
        "processor": "one",
        "torch": "2",
        "date": "today",
        "command": "python",
        "beside": {"naive": {"mae": 50.0}},
        "seeds": {
            name[1:]: {"mae": mae, "seconds": 3.0, "mib": 9.0} for name, mae in seeds.items()
        },
    }


@pytest.mark.parametrize(
    ("commit", "seeds"), [("a", ["0", "1", "10"]), ("b", ["1", "10"]), ("a-dirty", ["1", "10"])]
)
def test_seeds_join_those_of_the_same_code(module, commit, seeds):
    old = {"x": entry(s0=1.0) | {"commit": commit if "dirty" in commit else "a"}, "y": entry()}
    made = module("runs").merged(old, "x", entry(commit, s10=2.0, s1=3.0))
    assert sorted(made["x"]["seeds"], key=int) == seeds
    assert made["y"] == old["y"]


def test_a_baseline_that_cannot_be_made_is_kept(module):
    old = entry(s0=1.0)
    old["beside"] = {"naive": {"mae": 1.0}, "AutoARIMA": {"mae": 30.0}}
    beside = module("runs").merged({"x": old}, "x", entry("b"))["x"]["beside"]
    assert beside == {"naive": {"mae": 50.0}, "AutoARIMA": {"mae": 30.0}}


def test_settings_reach_the_forecaster_or_its_training(module):
    runs = module("runs")
    settings = runs.settings_of(["max_updates=7", "clip=0.5", "cell=gru", "hidden_size=5"])
    table = pa.table({"unique_id": ["a"] * 40, "ds": [*range(40)], "y": np.arange(40.0)})
    ours = runs.forecaster(2, 3, settings, table)
    given = ours._given.design
    assert (given["cell"], given["hidden_size"], given["training"].max_updates) == ("gru", 5, 7)
    assert (given["training"].seed, given["training"].clip.norm) == (3, 0.5)
    assert given["training"].average != TrainingSettings().average  # the effort's, not the class's
    with pytest.raises(SettingError, match="no_such_name"):
        runs.forecaster(2, 0, {"no_such_name": 1}, table)


def long_table(lengths):
    rows = [(name, t + 1, 10.0 * t) for name, n in lengths.items() for t in range(n)]
    ids, ds, y = zip(*rows, strict=True)
    return pa.table({"unique_id": ids, "ds": ds, "y": y})


def test_validation_origins_end_with_the_series_that_are_long_enough(module):
    found = list(module("m4").origins(long_table({"a": 7, "short": 6, "b": 9}), h=2, n=2))
    said = [
        [
            list(zip(*part.select(["unique_id", "ds"]).to_pydict().values(), strict=True))
            for part in pair
        ]
        for pair in found
    ]

    def steps(**ranges):
        return [(name, t) for name, (first, last) in ranges.items() for t in range(first, last + 1)]

    assert said == [
        [steps(a=(1, 3), b=(1, 5)), steps(a=(4, 5), b=(6, 7))],
        [steps(a=(1, 5), b=(1, 7)), steps(a=(6, 7), b=(8, 9))],
    ]


def test_owa_is_of_means_over_all_series(module):
    m4, train = module("m4"), long_table({"a": 4, "b": 5})
    truth = pa.table({"unique_id": ["a", "a", "b", "b"], "ds": [5, 6, 6, 7], "y": [4.0, 5, 8, 2]})
    ours, naive = np.array([5.0, 5, 7, 3]), np.array([30.0, 30, 40, 40])
    table = m4.with_columns(truth, {"ours": ours, "baseline": naive})
    assert table["cutoff"].to_pylist() == [4, 4, 5, 5]
    y = truth["y"].to_numpy()
    smape = [200 * np.mean(np.abs(y - f) / (y + f)) for f in (ours, naive)]
    mase = [np.mean(np.abs(y - f)) / 10 for f in (ours, naive)]  # steps of the past are 10
    found = m4.scores([table], train, 1, "ours")
    assert found["owa"] == pytest.approx((smape[0] / smape[1] + mase[0] / mase[1]) / 2)
    assert found["smape"] == pytest.approx(smape[0])


@pytest.mark.parametrize(
    ("ours", "theirs", "agrees"),
    [
        (16.34249, "16.342", True),
        (16.3426, "16.342", False),
        (0.9996, "1", True),
        (0.99, "1", False),
    ],
)
def test_a_published_figure_is_met_to_its_last_digit(module, ours, theirs, agrees):
    assert module("m4_facts").same(ours, theirs) is agrees


@pytest.mark.parametrize(
    ("name", "counts"),
    [("ETTh1", [2785, 2689, 2545, 2161]), ("ETTm1", [11425, 11329, 11185, 10801])],
)
def test_every_window_of_the_test_part_counts(module, name, counts):
    ett = module("ett")
    borders = [ett.TABLES[name].border(months) for months in (12, 16, 20)]
    data = ett.Data(("x",), np.array([]), np.zeros((1, 0)), *borders)
    assert [len(data.origins(h, validate=False)) for h in ett.HORIZONS] == counts
    first = data.origins(96, validate=True)
    assert (first[0], first[-1]) == (borders[0], borders[1] - 96)


def test_the_scale_is_that_of_the_train_part(module, tmp_path):
    ett, rows = module("ett"), 610
    y = np.random.default_rng(0).normal(3, 2, size=(rows, 2))
    lines = [f"{np.datetime64('2020-01-01') + t} 00:00:00,{a},{b}" for t, (a, b) in enumerate(y)]
    path = tmp_path / "small.csv"
    path.write_text("\n".join(["date,one,two", *lines]))
    table = ett.Table("small.csv", rows, 1, {}, {})
    data = ett.read(path, table)
    train = data.z[:, :360]
    np.testing.assert_allclose([train.mean(axis=1), train.std(axis=1)], [[0, 0], [1, 1]], atol=1e-9)
    np.testing.assert_allclose(np.diff(data.z[0]) / np.diff(y[:, 0]), 1 / y[:360, 0].std())
    assert data.until(3)["unique_id"].to_pylist() == ["one"] * 3 + ["two"] * 3
    z, h = data.z, 5
    errors = [z[:, p + k] - z[:, p - 1] for p in range(480, 600 - h + 1) for k in range(h)]
    found = ett.last_value(data, h, validate=False)
    assert found == pytest.approx(
        {"mse": np.mean(np.square(errors)), "mae": np.mean(np.abs(errors))}
    )
    with pytest.raises(SystemExit, match="610 rows, not 9"):
        ett.read(path, ett.Table("small.csv", 9, 1, {}, {}))


def test_what_is_known_of_the_sunspots_comes_out(module):
    sunspots = module("sunspots")
    sunspots.one_year_baselines()  # leaves where it does not
    rolling = sunspots.ROLLING["yearly"]
    table = sunspots.read("yearly", None)
    rows = sunspots.baselines(table["y"].to_numpy(), rolling, {"AutoARIMA": {"mae": 30.0}})
    for name, error in rolling.known.items():
        sunspots.check(name, rows[name]["mae"], error, 0.1)
    with pytest.raises(SystemExit, match=r"AR\(9\) is 21.0945, not 21.3"):
        sunspots.check("AR(9)", rows["AR(9)"]["mae"], 21.3, 0.1)
    assert table["ds"][len(table) - rolling.span - 1].as_py() == 1920  # where validation ends


def test_the_page_says_what_is_reached_and_what_was_not_run(module):
    runs = {"sunspots-yearly": entry(s0=20.0, s1=20.5), "sunspots-monthly": entry(s0=45.0)}
    runs["sunspots-monthly"]["beside"]["AR"] = {"mae": 40.0}
    lines = module("accuracy_page").page(runs).splitlines()
    yearly, monthly, weekly = (
        next(line for line in lines if line.startswith(f"| {start}"))
        for start in ("yearly sun", "monthly sun", "M4 weekly: OWA")
    )
    assert "| 50.00 | **20.25** | 20.00 to 20.50 | 2 | 3 |  | 9 | a |" in yearly
    assert "| 40.00 | 34.00 | the best baseline |  | 45.00 |" in monthly.replace("50.00", "")
    assert weekly.count("|") == yearly.count("|") == lines[4].count("|")
    assert sum(line.startswith("- sunspots") for line in lines) == 2
