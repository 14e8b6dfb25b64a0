"""Each cure is one argument: it does what it says, goes to a file and back, and leaves the rest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forecasting_cases import design, panel, quick, wave

import throughtime as tt
from throughtime import _archive
from throughtime.forecasting import Panel
from throughtime.forecasting.fitting import fitting as fitting_module
from throughtime.forecasting.fitting.fitting import count_updates, fit
from throughtime.forecasting.fitting.preprogramming import _teacher
from throughtime.forecasting.saving import FORMAT
from throughtime.forecasting.series.channels import Sizes
from throughtime.forecasting.settings.cures import OF_THE_NET, Cures
from throughtime.forecasting.settings.design import Design
from throughtime.nn import chrono, forget_bias, identity, orthogonal
from throughtime.training import (
    AGC,
    L1,
    L2,
    AutoClip,
    Clip,
    Observer,
    TrainingSettings,
    Vanishing,
    ZClip,
)

Y = 5 + wave(40)
CURES: dict[str, tuple[str, dict[str, Any]]] = {
    "chrono": ("lstm", {"init": chrono(132)}),
    "chrono, as a text": ("gru", {"init": "chrono:12"}),
    "orthogonal": ("rnn", {"init": orthogonal()}),
    "orthogonal, kept": ("gru", {"init": orthogonal(kept=True)}),
    "orthogonal, kept by an LSTM": ("lstm", {"init": orthogonal(kept=True)}),
    "identity": ("rnn", {"init": "identity"}),
    "several": ("lstm", {"init": (orthogonal(), forget_bias(2.5))}),
    "relu": ("rnn", {"nonlinearity": "relu"}),
    "recurrent dropout": ("gru", {"recurrent_dropout": np.float32(0.25)}),
    "zoneout": ("rnn", {"zoneout": 0.1}),
    "zoneout, of h and c": ("lstm", {"zoneout": [0.05, 0.5]}),
    "layer norm": ("lstm", {"layer_norm": True}),
    "clipped states": ("lstm", {"state_grad_clip": 0.01}),
    "a norm": ("lstm", {"clip": 0.05}),
    "values": ("rnn", {"clip": Clip(value=0.01)}),
    "percentile": ("gru", {"clip": AutoClip(1.0)}),
    "z-score": ("gru", {"clip": ZClip(0.1, warm_up=1)}),
    "units": ("lstm", {"clip": AGC(0.001)}),
    "no clipping": ("gru", {"clip": None, "training": TrainingSettings(4, clip=Clip(0.01))}),
    "a penalty": ("lstm", {"penalties": L2(0.1, "weight_hh")}),
    "penalties": ("rnn", {"penalties": [L1(1e-3), Vanishing(0.1)]}),
    "linear": ("lstm", {"preprogram": "linear"}),
    "seasonal": ("gru", {"preprogram": "seasonal", "season_length": 8}),
    "all": (
        "lstm",
        {
            "init": (orthogonal(kept=True), chrono(20)),
            "recurrent_dropout": 0.1,
            "zoneout": 0.1,
            "state_grad_clip": 1.0,
            "clip": 0.5,
            "penalties": (L2(1e-3),),
            "preprogram": "linear",
        },
    ),
}


def cured(name: str, **more: Any) -> tt.Forecaster:
    cell, cure = CURES[name]
    return quick(**{"cell": cell, "members": 2, "n_windows": 0, **cure, **more})


def numbers(forecaster: tt.Forecaster, data: Any = None) -> list[float]:
    return [float(value) for value in forecaster.predict(data, level=[])[forecaster.name]]


@pytest.mark.parametrize("name", CURES)
def test_a_saved_forecaster_with_a_cure_is_loaded_to_the_last_bit(
    name: str, tmp_path: Path
) -> None:
    saved = cured(name).fit(Y)
    saved.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert numbers(loaded) == numbers(saved)
    assert loaded.design == saved.design
    assert loaded.settings == saved.settings
    assert str(loaded._given) == str(saved._given)
    np.testing.assert_array_equal(loaded.reach.norms, saved.reach.norms)
    more = np.append(Y, Y[:5])
    assert numbers(loaded, more) == numbers(saved, more)
    assert numbers(loaded.fit(more)) == numbers(saved.fit(more))


@pytest.mark.parametrize("name", CURES)
def test_a_cure_changes_what_is_forecast(name: str) -> None:
    cell, cure = CURES[name]
    shared = {key: value for key, value in cure.items() if key not in Cures.__annotations__}
    without = quick(cell=cell, members=2, n_windows=0, **shared)
    assert numbers(cured(name).fit(Y)) != numbers(without.fit(Y))


def test_the_arguments_say_the_same_as_the_settings_they_go_to() -> None:
    one = quick(n_windows=0, clip=0.05, penalties=L1(0.1)).fit(Y)
    training = TrainingSettings(
        max_updates=4,
        batch_size=16,
        learning_rate=0.02,
        clip=Clip(norm=0.05),
        evaluate_every=2,
        penalties=(L1(0.1),),
    )
    other = quick(n_windows=0, training=training).fit(Y)
    assert one.design == other.design
    assert numbers(one) == numbers(other)


def test_the_settings_print_what_to_pass() -> None:
    made = cured("all").fit(Y).settings
    assert str(made["init"]) == "(orthogonal(kept=True), chrono(20))"
    assert made["training"]["penalties"] == (L2(1e-3),)
    assert made["training"]["clip"]["norm"] == 0.5
    assert made["preprogram"] == "linear"
    assert made["preprogram_explained"] <= 1
    assert {*OF_THE_NET} <= {*made}


def test_matrices_are_orthogonal_after_the_fit() -> None:
    network = cured("orthogonal, kept").fit(Y).model.network
    for e in range(2):
        for U_g in network.member(e).layer.weight_hh_l0.detach().split(4):
            torch.testing.assert_close(U_g.T @ U_g, torch.eye(4), rtol=0, atol=1e-6)


def test_every_layer_of_every_member_starts_at_its_chrono_biases() -> None:
    network = design(init=(chrono(50),), num_layers=2, members=3, hidden_size=5).network(Sizes())
    biases = [
        network.member(e).layer.get_parameter(f"bias_ih_l{layer}").detach().split(5)[:2]
        for e in range(3)
        for layer in range(2)
    ]
    for b_i, b_f in biases:
        assert torch.equal(b_i, -b_f)
        assert ((b_f >= 0) & (b_f <= np.log(49))).all()
    assert len({tuple(b_f.tolist()) for _, b_f in biases}) == 6


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"zonout": 0.1}, r"Forecaster \(h, cell, .*zoneout.*\), found 'zonout': pass zoneout\."),
    ({"hiden_size": 3}, "found 'hiden_size': pass hidden_size"),
    ({"xyz": 3}, "found 'xyz': pass one of these"),
    ({"init": "chronos:3"}, "init to be orthogonal"),
    ({"init": chrono(9), "cell": "rnn"}, r"for chrono\(9\), found RNN"),
    ({"clip": 0}, "clip to be a number above 0"),
    ({"clip": "0.5"}, "clip to be a number above 0"),
    ({"clip": True}, "clip"),
    ({"penalties": 0.1}, "penalties"),
    ({"preprogram": "arima"}, "preprogram to be one of None, 'linear', 'seasonal'"),
    ({"layer_norm": True, "cell": "gru"}, "layer_norm for cell='lstm' alone"),
    ({"zoneout": 2}, "zoneout"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_there_is_not_is_refused_when_made(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(tt.SettingError, match=said) as caught:
        quick(**arguments)
    assert "\n" not in str(caught.value)


def test_a_season_longer_than_the_look_back_cannot_be_imitated() -> None:
    with pytest.raises(tt.SettingError, match="at least one season, 12, for preprogram='seasonal'"):
        quick(preprogram="seasonal", season_length=12, context_length=6).fit(Y)


LONG = TrainingSettings(max_updates=300, batch_size=32, learning_rate=0.02, warm_up=30)
TAUGHT = [
    *((kind, residual) for kind in ("linear", "seasonal") for residual in ("level", "last")),
    ("linear", "season"),
]


@pytest.mark.parametrize(("kind", "residual"), TAUGHT)
def test_a_preprogrammed_net_forecasts_as_its_teacher(kind: Any, residual: Any) -> None:
    """After imitation and next to no training, the nets say what the known forecast says."""
    settings = {
        "cell": "gru",
        "hidden_size": 24,
        "residual": residual,
        "season_length": 8,
        "context_length": 16,
        "transforms": ("identity", "sqrt"),
        "training": LONG,
    }
    series = panel(5 + wave(60))
    model, _ = fit(series, design(**settings, preprogram=kind), 1, (), "test")
    plain, _ = fit(series, design(**settings), 1, (), "test")
    assert model.explained is not None
    assert model.explained > 0.9
    assert plain.explained is None
    examples = model.design.examples(series)
    z_E, _ = examples[torch.arange(len(examples)).expand(2, -1)]
    taught = _teacher(kind, model.linear.shared, examples)(z_E)
    with torch.no_grad():
        near, far = (each.network(z_E).squeeze(-1) - taught for each in (model, plain))
    assert near.square().mean() < 0.1 * taught.square().mean()
    assert far.square().mean() > 0.3 * taught.square().mean()


def test_a_teacher_that_always_says_the_same_has_no_variance_to_explain() -> None:
    """The last season less the base that is the last season."""
    drawn = design(residual="season", preprogram="seasonal")
    assert fit(panel(5 + wave(40)), drawn, 1, (), "test")[0].explained is None


def test_a_teacher_is_its_members_own_map_less_the_base() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(2, 3, 8))
    drawn = design(residual="season", season_length=4, transforms=("identity", "sqrt"), members=3)
    examples = drawn.examples(panel(5 + wave(40)))
    z_E = torch.randn(3, 5, 8, 1)
    said = _teacher("linear", A, examples)(z_E).numpy()
    again = _teacher("seasonal", None, examples)(z_E)
    for e in range(3):
        z = z_E[e].squeeze(-1).numpy()
        base = z[:, [4, 5, 6]]
        np.testing.assert_allclose(said[e], z @ A[e % 2].T - base, rtol=1e-4, atol=1e-5)
    assert (again == 0).all()  # the last season less the last season


class Names(Observer):
    """Notes the runs."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, name: str, total: int) -> None:
        self.names.append(name)


def test_the_pilot_is_preprogrammed_with_what_it_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear map is that of the rows before the validation part, and of all of these."""
    seen, watch, linear = [], Names(), fitting_module.fit_linear

    def noted(known: Panel, of: Design) -> Any:
        seen.append(known)
        return linear(known, of)

    monkeypatch.setattr(fitting_module, "fit_linear", noted)
    drawn, whole = design(preprogram="linear"), panel(wave(60), wave(30))
    count_updates(whole, drawn, (watch,), "pilot")
    assert watch.names == ["imitation", "pilot"]
    train, _ = drawn.examples(whole).split(12)
    windows = train.parts[0].windows
    series, origin = windows.places(torch.arange(len(windows)))
    [known] = seen
    for i in (0, 1):
        assert len(known.row(i)) == int(origin[series == i].max()) + drawn.h
        np.testing.assert_array_equal(known.row(i), whole.row(i)[: len(known.row(i))])


OLD = ("init", "nonlinearity", "recurrent_dropout", "zoneout", "state_grad_clip", "layer_norm")


def test_a_file_from_before_there_were_cures_is_read(tmp_path: Path) -> None:
    saved = quick(n_windows=2).fit(Y)
    saved.save(tmp_path / "model")
    snapshot = _archive.read(tmp_path / "model", FORMAT)
    for place in (snapshot.facts["given"], snapshot.facts["model"]["design"]):
        for name in (*OLD, "preprogram"):
            del place[name]
        del place["training"]["penalties"]
    del snapshot.facts["model"]["explained"]
    _archive.write(tmp_path / "old", FORMAT, snapshot)
    assert tt.load(tmp_path / "old").predict() == saved.predict()
    assert tt.load(tmp_path / "old").design == saved.design


def test_an_identity_in_a_forecaster_is_a_relu_net() -> None:
    forecaster = cured("identity").fit(Y)
    assert forecaster.design.recurrence.build(1).nonlinearity == "relu"
    assert forecaster.design.init == (identity(),)
