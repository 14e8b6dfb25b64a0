"""Files of every version are read, and every argument of the constructor goes to a file and back."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saved.make import forecasts, machine

import throughtime as tt
from throughtime.forecasting.loading import unpack_given
from throughtime.forecasting.saving import FORMAT
from throughtime.forecasting.settings.cures import Cures
from throughtime.forecasting.storage.given import pack_given
from throughtime.nn import chrono, orthogonal
from throughtime.training import L1, ZClip

FOLDER = Path(__file__).parent / "saved"
FILES = sorted(FOLDER.glob("*/*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_saved_file_gives_the_forecasts_it_gave(path: Path) -> None:
    told = json.loads(path.with_suffix(".json").read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(told["made_on"]["threads"])
    try:
        made, same_bits = forecasts(path, told["futr"]), machine() == told["made_on"]
    finally:
        torch.set_num_threads(threads)
    for name, table in made.items():
        assert table.keys() == told[name].keys()
        for column, values in table.items():
            before = told[name][column]
            if same_bits or not isinstance(before[0], float):
                assert str(values) == str(before)  # where NaN is NaN
            if isinstance(before[0], float):
                np.testing.assert_allclose(values, before, rtol=1e-5)


def test_every_version_has_files_small_enough_to_keep() -> None:
    versions = {int(path.parent.name) for path in FILES}
    assert versions == set(range(1, FORMAT.version + 1))
    kinds = {path.stem for path in FILES if path.parent.name == "1"}
    assert kinds >= {"plain", "covariates", "distribution", "targets", "committee"}
    assert all(path.stat().st_size < 40_000 for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_saved_file_can_be_fitted_anew_and_saved_again(path: Path, tmp_path: Path) -> None:
    forecaster = tt.load(path)
    given = pack_given(forecaster._given)
    forecaster.save(tmp_path / "again")
    again = tt.load(tmp_path / "again")
    assert pack_given(again._given) == given
    assert str(again.settings) == str(forecaster.settings)
    forecaster.fit(forecaster.panel)
    assert pack_given(forecaster._given) == given


def test_a_saved_committee_keeps_its_groups_and_their_weights() -> None:
    forecaster = tt.load(FOLDER / "1" / "committee.safetensors")
    groups = [(g["context_length"], g["architecture"]) for g in forecaster.settings["groups"]]
    assert groups == [(6, "direct"), (6, "segment"), (12, "direct"), (12, "segment")]
    weights = forecaster.settings["weights"]
    assert sum(weights) == pytest.approx(1)
    assert len(set(weights)) == 4
    points = [model.forecast(forecaster.panel) for model in forecaster.model.models]
    expected = np.tensordot(weights, points, 1)
    np.testing.assert_allclose(forecaster.model.forecast(forecaster.panel), expected)


# for every argument a value that is not its default, and what it needs beside it
OTHERS: dict[str, dict[str, Any]] = {
    "h": {"h": 5},
    "cell": {"cell": "gru"},
    "architecture": {"architecture": "seq2seq"},
    "output": {"output": "quantiles"},
    "target": {"target": ("load", "wind")},
    "hist": {"hist": "price"},
    "futr": {"futr": ["ad", "holiday"]},
    "calendar": {"calendar": ("hour", "month")},
    "context_length": {"context_length": 7},
    "season_length": {"season_length": 3},
    "freq": {"freq": "MS"},
    "hidden_size": {"hidden_size": 5},
    "num_layers": {"num_layers": 2},
    "dropout": {"dropout": 0.25, "num_layers": 2},
    "members": {"members": 2},
    "transform": {"transform": "sqrt"},
    "residual": {"residual": "last"},
    "companions": {"companions": False},
    "n_windows": {"n_windows": 3},
    "training": {"training": tt.training.TrainingSettings(max_updates=9, average=0.5)},
    "scaling": {"scaling": "standard"},
    "difference": {"difference": 1},
    "segment": {"segment": 2, "context_length": 8},
    "linear_skip": {"linear_skip": True},
    "seed": {"seed": 3},
    "cure": {"cure": "auto"},
    "init": {"init": (chrono(12), orthogonal())},
    "nonlinearity": {"nonlinearity": "relu", "cell": "rnn"},
    "recurrent_dropout": {"recurrent_dropout": 0.2},
    "zoneout": {"zoneout": (0.1, 0.2)},
    "state_grad_clip": {"state_grad_clip": 2.0},
    "layer_norm": {"layer_norm": True},
    "bidirectional": {"bidirectional": True},
    "dilations": {"dilations": ((1, 2), (4,)), "skip_connections": True},
    "skip_connections": {"skip_connections": True, "num_layers": 2},
    "clip": {"clip": ZClip(z=2.0)},
    "penalties": {"penalties": L1(1e-3, "weight_hh")},
    "preprogram": {"preprogram": "seasonal"},
    "lags": {"lags": [3, 5], "architecture": "ar"},
    "weighting": {"weighting": "owa"},
    "budget": {"budget": "1m30s"},
}


def arguments() -> list[str]:
    own = [name for name in signature(tt.Forecaster).parameters if name != "cures"]
    return [*own, *Cures.__annotations__]


def state(forecaster: tt.Forecaster) -> str:
    """All that a forecaster was given."""
    return repr({name: _listed(value) for name, value in vars(forecaster._given).items()})


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(part) for name, part in value.items()}
    return list(map(_listed, value)) if isinstance(value, (tuple, list)) else value


@pytest.mark.parametrize("name", arguments())
def test_every_argument_goes_to_a_file_and_back(name: str) -> None:
    plain, other = tt.Forecaster(2), tt.Forecaster(**{"h": 2, **OTHERS[name]})
    for forecaster in (plain, other):
        facts = json.loads(json.dumps(pack_given(forecaster._given)))
        assert state(unpack_given(facts)) == state(forecaster)
    assert state(plain) != state(other)
