"""A committee forecasts what its models do together, behind every door of a forecaster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from forecasting_cases import Kill, Killed, quick, wave

import throughtime as tt
from throughtime import _archive
from throughtime.forecasting.calibration.conformity import GRID
from throughtime.forecasting.models.committee import Committee, committee
from throughtime.forecasting.saving import FORMAT
from throughtime.training import Checkpoint

Y = 5 + wave(60)
MEMBERS = tt.Members(1, (8, 16), ("direct", "segment"))
SEVERAL = {"mean": MEMBERS, "median": replace(MEMBERS, combine="median")}
SEVERAL["weighted"] = replace(MEMBERS, combine="weighted")


@pytest.fixture(scope="module", params=SEVERAL)
def fitted(request: pytest.FixtureRequest) -> tt.Forecaster:
    members = SEVERAL[request.param]
    return quick(members=members, output="quantiles", hidden_size=2, n_windows=2).fit(Y)


def test_forecasts_and_quantiles_are_combined_level_by_level(fitted: tt.Forecaster) -> None:
    model, panel = fitted.model, fitted.panel
    assert isinstance(model, Committee)
    said = [each.distribution(panel, GRID) for each in model.models]
    points, quantiles = (np.stack(each) for each in zip(*said, strict=True))
    found = model.distribution(panel, GRID)
    w = {"weighted": model.weights, "mean": np.full(4, 0.25)}.get(model.combine)
    for values, got in zip((points, quantiles), found, strict=True):
        expected = (
            np.median(values, axis=0)
            if w is None
            else sum(share * each for share, each in zip(w, values, strict=True))
        )
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert (np.diff(found[1]) >= 0).all()
    np.testing.assert_array_equal(model.forecast(panel), found[0])
    np.testing.assert_array_equal(model.quantiles(panel, GRID), found[1])
    np.testing.assert_array_equal(np.array(fitted.predict()["LSTM"]), found[0][0])


def test_the_back_test_is_of_what_is_combined(fitted: tt.Forecaster) -> None:
    design = fitted.settings["groups"]
    assert [each["architecture"] for each in design] == ["direct", "segment"] * 2
    assert [each["context_length"] for each in design] == [8, 8, 16, 16]
    table = fitted.predict(level=[80])
    assert (np.array(table["LSTM-lo-80"]) < np.array(table["LSTM-hi-80"])).all()
    assert fitted.backtest.models[0] == "LSTM"
    assert fitted.sample(5)["sample"].to_pylist()[-1] == 4


@pytest.mark.parametrize("combine", SEVERAL)
def test_the_order_of_groups_does_not_matter(combine: str) -> None:
    members = replace(SEVERAL[combine], architectures=())
    small: dict[str, Any] = {"hidden_size": 2, "n_windows": 2}
    one = quick(members=members, **small).fit(Y)
    other = quick(members=replace(members, contexts=(16, 8)), **small).fit(Y)
    for name in one.predict().column_names[2:]:
        np.testing.assert_allclose(
            np.array(one.predict()[name]), np.array(other.predict()[name]), rtol=1e-9
        )
    np.testing.assert_allclose(one.settings["weights"], other.settings["weights"][::-1])


def test_each_group_is_the_model_that_it_would_be_alone() -> None:
    several = quick(members=tt.Members(2, (8, 16), ("direct", "segment")), n_windows=0).fit(Y)
    for model in several.model.models:
        L, architecture = model.design.context_length, model.design.architecture
        alone = quick(members=2, context_length=L, architecture=architecture, n_windows=0).fit(Y)
        assert model.design == alone.design
        for name, weight in alone.model.network.state_dict().items():
            assert torch.equal(weight, model.network.state_dict()[name])
    assert committee(several.model.models[:1], "median") is several.model.models[0]


def test_a_saved_committee_is_loaded_as_it_was(fitted: tt.Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "one")
    loaded = tt.load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    one, two = (_archive.read(tmp_path / name, FORMAT) for name in ("one", "two"))
    assert one.facts == two.facts
    assert loaded.predict() == fitted.predict()
    assert loaded.settings == fitted.settings
    assert loaded._given == fitted._given
    assert [e.history for e in loaded._fitted.each] == [e.history for e in fitted._fitted.each]
    assert [e.pilot for e in loaded._fitted.each] == [e.pilot for e in fitted._fitted.each]
    longer = np.append(Y, Y[:5])
    assert loaded.predict(longer) == fitted.predict(longer)
    assert loaded.fit(Y, warm_start=True).predict() != fitted.predict()


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights", [0.5, 0.5, 0.5, 0.5]), ("weights", [1.0]), ("combine", "mode"), ("weights", "x")],
)
def test_a_file_of_other_weights_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    quick(members=MEMBERS, n_windows=0, hidden_size=2).fit(Y).save(tmp_path / "model")
    whole = _archive.read(tmp_path / "model", FORMAT)
    whole.facts["model"][name] = value
    _archive.write(tmp_path / "model", FORMAT, whole)
    with pytest.raises(tt.ModelFileError, match="contents that do not fit"):
        tt.load(tmp_path / "model")


def test_a_killed_fit_ends_as_one_that_never_was(tmp_path: Path) -> None:
    members = tt.Members(1, (8, 16), combine="weighted")
    settings: dict[str, Any] = {"members": members, "n_windows": 2, "hidden_size": 2}
    watch = Kill(0)
    whole = quick(**settings).fit(Y, observers=[watch])
    groups = ("group 1/2", "group 2/2")
    runs = "pilot", "back-test 1/2", "final fit"
    assert watch.names == [f"{run}, {group}" for run in runs for group in groups]
    made, path = -watch.left, Checkpoint(tmp_path / "fit", every=1)
    for after in (6, made // 2, 9, made):
        try:
            done = quick(**settings).fit(Y, checkpoint=path, observers=[Kill(after)])
        except Killed:
            continue
        break
    assert done.predict() == whole.predict()
    assert done.settings == whole.settings
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_part_of_a_committee(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"members": tt.Members(1, (8, 16)), "n_windows": 0}
    watch, forecaster = Kill(0), quick(**settings)
    whole = quick(**settings).fit(Y, observers=[watch])
    for before_the_end in (1, 0):
        stop = Kill(-watch.left - before_the_end, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            forecaster.fit(Y, observers=[stop], checkpoint=tmp_path / "fit")
        assert forecaster._fitted is None
        forecaster = quick(**settings)
        (tmp_path / "fit").unlink(missing_ok=True)
    assert forecaster.fit(Y).predict(level=[]) == whole.predict(level=[])


def test_rows_move_all_groups_on() -> None:
    forecaster = quick(members=tt.Members(2, (4, 16), ("direct", "es")), hidden_size=2).fit(Y[:50])
    forecaster.update(Y[50:53]).update(Y[53:])
    expected = np.array(forecaster.predict(Y, level=[])["LSTM"])
    np.testing.assert_allclose(np.array(forecaster.predict(level=[])["LSTM"]), expected, rtol=1e-12)


def test_a_state_goes_to_a_file_and_back(tmp_path: Path) -> None:
    forecaster = quick(members=tt.Members(1, (4, 16)), hidden_size=2).fit(Y).update([5.0, 6.0])
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.predict() == forecaster.predict()
    assert loaded.update(5.5).predict() == forecaster.update(5.5).predict()


def test_a_warm_start_goes_on_from_every_group() -> None:
    forecaster = quick(members=tt.Members(2, (8, 16)), n_windows=0).fit(Y)
    before = [each.network.state_dict() for each in forecaster.model.models]
    updates = [len(each.history.updates) for each in forecaster._fitted.each]
    forecaster.fit(Y, warm_start=True)
    assert [len(each.history.updates) for each in forecaster._fitted.each] == updates
    for model, was in zip(forecaster.model.models, before, strict=True):
        alone = quick(members=2, context_length=model.design.context_length, n_windows=0)
        alone.fit(Y).fit(Y, warm_start=True)
        for name, weight in model.network.state_dict().items():
            assert torch.equal(weight, alone.model.network.state_dict()[name])
        assert any(not torch.equal(w, was[n]) for n, w in model.network.state_dict().items())


@pytest.mark.parametrize(("weights", "shares"), [(None, (50, 50)), ([0.2, 0.8], (20, 80))])
def test_groups_draw_their_shares_of_the_paths(weights: Any, shares: tuple[int, int]) -> None:
    members = tt.Members(1, architectures=("recursive", "ar"))
    forecaster = quick(members=members, n_windows=0, hidden_size=2).fit(Y)
    model = forecaster.model
    assert isinstance(model, Committee)
    model = replace(model, weights=None if weights is None else np.array(weights))
    drawn = model.paths(forecaster.panel, 100, 3, 0)
    assert drawn.shape == (100, 1, 3)
    first = model.models[0].paths(forecaster.panel, shares[0], 3, 0)
    np.testing.assert_array_equal(drawn[: shares[0]], first)
    assert forecaster.sample(7).num_rows == 21


def test_counts_stay_whole_and_several_targets_and_covariates_are_read() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(4, 60).astype(float)
    settings: dict[str, Any] = {"hidden_size": 2, "members": tt.Members(1, (8, 16))}
    forecaster = quick(output="negative-binomial", **settings).fit(counts)
    quantiles = forecaster.model.quantiles(forecaster.panel, GRID)
    np.testing.assert_array_equal(quantiles, np.round(quantiles))
    table = pa.table({"ds": np.arange(60), "a": Y, "b": 9 - Y, "x": np.arange(60) % 5 * 1.0})
    forecaster = quick(target=["a", "b"], hist="x", **settings).fit(table)
    assert "b-LSTM-hi-80" in forecaster.predict().column_names
    assert forecaster.cross_validation(table, 2).num_rows == 6


def test_the_doctor_treats_every_group_and_looks_at_the_first() -> None:
    forecaster = quick(members=tt.Members(1, (8, 16)), cure="auto", n_windows=0, hidden_size=2)
    forecaster.fit(Y)
    for model in forecaster.model.models:
        L = model.design.context_length
        alone = quick(context_length=L, cure="auto", n_windows=0, hidden_size=2).fit(Y)
        assert model.design == alone.design
    first, panel = forecaster.model.models[0], forecaster.panel
    np.testing.assert_array_equal(forecaster.reach.norms, first.reach(panel).norms)
    assert forecaster.diagnose().findings is not None
    assert forecaster.context_length == 8
