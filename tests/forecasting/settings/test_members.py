"""One argument says which nets there are; what makes no sense is refused in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forecasting_cases import quick, wave

import throughtime as tt
from throughtime.forecasting.calibration.conformity import GRID
from throughtime.forecasting.models.companions import Maps
from throughtime.forecasting.models.model import Model

Y = 5 + wave(60)

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no seed": ({"seeds": 0}, "members to be a whole number of at least 1"),
    "a text": ({"architectures": "direct"}, r"pass architectures=\('direct',\)"),
    "twice": ({"contexts": (8, 8)}, "contexts to name each once"),
    "a context of 0": ({"contexts": (8, 0)}, "a context to be a whole number"),
    "another architecture": (
        {"architectures": ("drect",)},
        "an architecture to be one of ",
    ),
    "another cell": ({"cells": ["lstn"]}, "a cell to be one of 'rnn'"),
    "another way": ({"combine": "mode"}, "combine to be one of 'mean', 'median', 'weighted'"),
    "weights of one": ({"seeds": 3, "combine": "weighted"}, "differ by their seeds err alike"),
    "paths or none": ({"architectures": ("ar", "direct")}, "all draw paths"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    settings, said = WRONG[name]
    with pytest.raises(tt.SettingError, match=said):
        tt.Members(**settings)


TWO = tt.Members(contexts=(8, 16))
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a number below 1": ({"members": 0}, "members to be a whole number"),
    "a context as well": ({"members": TWO, "context_length": 8}, "leave context_length out"),
    "an architecture as well": (
        {"members": tt.Members(architectures=("ar",)), "architecture": "synced"},
        "architecture, or architectures of Members, not both",
    ),
    "a cell as well": ({"members": tt.Members(cells=("gru",)), "cell": "rnn"}, "leave cell out"),
    "states that are carried": (
        {"members": TWO, "architecture": "synced", "scaling": "running"},
        "found 2 groups of members",
    ),
    "weights without origins": (
        {"members": replace(TWO, combine="weighted"), "n_windows": 0},
        "rolling origins for combine='weighted'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_forecaster_refuses_what_does_not_go_together(name: str) -> None:
    settings, said = REFUSED[name]
    with pytest.raises(tt.SettingError, match=said):
        tt.Forecaster(3, **settings)


def test_a_context_that_is_too_long_is_refused_by_fit() -> None:
    with pytest.raises(tt.SettingError, match=r"context_length of at most .* found 80"):
        quick(members=tt.Members(contexts=(8, 80))).fit(Y)


def test_learning_on_and_tuning_are_for_one_group() -> None:
    forecaster = quick(members=TWO, n_windows=0).fit(Y)
    with pytest.raises(tt.SettingError, match="found 2 groups of members"):
        forecaster.update(5.0, learn=True)
    with pytest.raises(tt.SettingError, match="one context, architecture and cell at a time"):
        tt.tune(Y, 3, members=TWO, n_trials=1, n_windows=1)


def test_groups_are_every_combination_in_order() -> None:
    members = tt.Members(2, (8, 16), ("direct", "segment"), ("lstm", "gru"))
    forecaster = quick(members=members, hidden_size=2, n_windows=0).fit(Y)
    found = [
        (each.design.context_length, each.design.architecture, each.design.cell)
        for each in forecaster.model.models
    ]
    contexts, architectures, cells = (8, 16), ("direct", "segment"), ("lstm", "gru")
    assert found == [(L, a, c) for L in contexts for a in architectures for c in cells]
    assert members.n_groups == len(found) == len(forecaster.settings["groups"])
    assert {each.design.members for each in forecaster.model.models} == {2}
    assert forecaster.name == "LSTM+GRU"
    assert forecaster.predict(level=[]).column_names[-1] == "LSTM+GRU"
    forecaster.plot(level=[])


ONE: dict[str, dict[str, Any]] = {
    "a number": {"members": tt.Members(2)},
    "a context": {"members": tt.Members(2, contexts=(12,)), "context_length": None},
    "an architecture": {"members": tt.Members(2, architectures=("direct",)), "architecture": None},
    "a cell": {"members": tt.Members(2, cells=("lstm",))},
}


@pytest.mark.parametrize("name", ONE)
def test_one_group_is_the_model_that_it_was(name: str) -> None:
    usual: dict[str, Any] = {"members": 2, "context_length": 12, "architecture": "direct"}
    expected, found = quick(**usual).fit(Y), quick(**{**usual, **ONE[name]}).fit(Y)
    assert isinstance(found.model, Model)
    assert found._given == expected._given
    assert found.predict() == expected.predict()
    assert found.backtest.table == expected.backtest.table
    assert str(found.settings) == str(expected.settings)


def alone(model: Model, e: int) -> Model:
    """A model of one member, on its scale."""
    names = model.design.transforms
    k = e % len(names)
    design = replace(model.design, members=1, transforms=(names[k],), combine="mean")
    network = design.network(model.channels.sizes)
    network.load_state_dict({n: w[e : e + 1] for n, w in model.network.state_dict().items()})
    return replace(
        model, design=design, network=network.eval(), linear=Maps(model.linear.shared[k : k + 1])
    )


@pytest.mark.parametrize(("members", "output"), [(5, "quantiles"), (4, "gaussian"), (2, "point")])
def test_the_median_is_over_all_nets_of_a_group(members: int, output: str) -> None:
    forecaster = quick(members=tt.Members(members, combine="median"), output=output, n_windows=0)
    panel, model = forecaster.fit(Y).panel, forecaster.model
    assert isinstance(model, Model)
    assert len(model.design.transforms) == 3  # so that members of several scales meet
    levels = () if output == "point" else GRID
    said = [
        each.nets.distribution(each.nets.examples(panel).parts, 3, levels)
        for each in (alone(model, e) for e in range(members))
    ]
    points, quantiles = model.nets.distribution(model.nets.examples(panel).parts, 3, levels)
    assert points.shape == (1, 1, 3)
    assert quantiles.shape == (1, 3, len(levels))
    np.testing.assert_allclose(points[0], np.median([p[0] for p, _ in said], axis=0), rtol=1e-5)
    np.testing.assert_allclose(quantiles, np.median([q for _, q in said], axis=0), rtol=1e-5)
    assert (np.diff(quantiles) >= 0).all()


def test_medians_go_to_a_file_and_back(tmp_path: Any) -> None:
    saved = quick(members=tt.Members(3, combine="median")).fit(Y)
    saved.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.predict() == saved.predict()
    assert loaded._given == saved._given
    assert loaded.fit(Y).predict() == saved.predict()
    assert saved.predict() != quick(members=3).fit(Y).predict()
