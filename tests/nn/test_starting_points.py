"""A starting point is a value: it prints as it is passed, goes to text and back, and sets a whole model."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import throughtime.nn as ours
from throughtime._errors import SettingError
from throughtime.nn import Recurrence, chrono, forget_bias, identity, orthogonal, read_inits
from throughtime.nn import initialisers as in_place

H = 6
positive = st.floats(1e-6, 1e6)
VALUES = st.one_of(
    st.builds(orthogonal, positive),
    st.just(orthogonal(kept=True)),
    st.builds(identity, positive),
    st.builds(forget_bias, st.floats(-1e6, 1e6)),
    st.builds(chrono, st.floats(2, 1e9) | st.integers(2, 10**9)),
)


@given(st.lists(VALUES, max_size=3))
def test_a_value_is_what_it_prints_and_what_its_text_says(inits):
    assert eval(repr(inits), vars(ours)) == inits
    assert read_inits([init.text for init in inits]) == tuple(inits)
    if inits:
        assert read_inits(", ".join(init.text for init in inits)) == tuple(inits)
    assert pickle.loads(pickle.dumps(inits)) == inits


PRINTED = {
    "chrono(132)": chrono(132),
    "chrono(2.5)": chrono(2.5),
    "orthogonal()": orthogonal(),
    "orthogonal(0.9)": orthogonal(0.9),
    "orthogonal(kept=True)": orthogonal(kept=True),
    "identity()": identity(),
    "forget_bias(1)": forget_bias(1.0),
}


@pytest.mark.parametrize("text", PRINTED)
def test_the_printed_form(text):
    assert repr(PRINTED[text]) == text


TEXTS = {
    "orthogonal": orthogonal(),
    "identity": identity(),
    "identity:0.01": identity(0.01),
    "forget_bias": forget_bias(1),
    "forget_bias:-2": forget_bias(-2),
    "chrono:132": chrono(132),
    "orthogonal:kept": orthogonal(kept=True),
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text):
    assert read_inits(text) == (TEXTS[text],)


def torchs_and_ours() -> nn.Module:
    """A model of layers and cells of all kinds, two levels deep."""
    inner = nn.ModuleList([nn.LSTMCell(2, H), ours.LSTM(2, H, num_layers=2), nn.Linear(2, 3)])
    return nn.ModuleDict(
        {
            "inner": inner,
            "gru": nn.GRU(2, H, bidirectional=True),
            "rnn": ours.RNN(2, H),
            "relu": nn.RNN(2, H, nonlinearity="relu"),
            "bare": nn.LSTM(2, H, bias=False),
        }
    )


# each beside the function that sets one module, and the modules it is made for
SETS = [
    (orthogonal(0.8), lambda m, g: in_place.orthogonal_(m, 0.8, g), "inner gru rnn relu bare"),
    (identity(0.5), lambda m, g: in_place.identity_(m, 0.5), "relu"),
    (forget_bias(2), lambda m, g: in_place.forget_bias_(m, 2), "inner"),
    (chrono(50), lambda m, g: in_place.chrono_(m, 50, g), "inner gru"),
]


@pytest.mark.parametrize(("init", "one", "where"), SETS)
def test_a_whole_model_is_set_wherever_it_fits_and_nowhere_else(init, one, where):
    torch.manual_seed(0)
    found, expected = torchs_and_ours(), torchs_and_ours()
    expected.load_state_dict(found.state_dict())
    before = {name: p.clone() for name, p in found.state_dict().items()}
    assert init(found, torch.Generator().manual_seed(1)) is found
    generator = torch.Generator().manual_seed(1)
    for name in where.split():
        parts = expected["inner"][:2] if name == "inner" else [expected[name]]
        for part in parts:
            one(part, generator)
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, expected.state_dict()[name]), name
        if name.partition(".")[0] not in where.split():
            assert torch.equal(weight, before[name]), name
    assert any(not torch.equal(w, before[name]) for name, w in found.state_dict().items())


def test_kept_orthogonal_matrices_start_at_random_ones():
    one, other = (orthogonal(kept=True)(nn.GRU(2, H)) for _ in range(2))
    U = one.weight_hh_l0.detach()
    assert not torch.allclose(U, other.weight_hh_l0)
    for U_g in U.split(H):
        torch.testing.assert_close(U_g.T @ U_g, torch.eye(H))
    orthogonal()(plain := nn.GRU(2, H), torch.Generator().manual_seed(1))
    orthogonal(kept=True)(kept := nn.GRU(2, H), torch.Generator().manual_seed(1))
    torch.testing.assert_close(kept.weight_hh_l0, plain.weight_hh_l0)


RANGES = [
    (lambda: chrono(1.5), "t_max to be a number at least 2"),
    (lambda: chrono(math.inf), "t_max"),
    (lambda: chrono("132"), "t_max"),
    (lambda: orthogonal(0), "gain to be a number above 0"),
    (lambda: orthogonal(0.5, kept=True), "gain=1 for what is kept orthogonal, found gain=0.5"),
    (lambda: orthogonal(kept="yes"), "kept to be True or False"),
    (lambda: identity(-1), "scale"),
    (lambda: forget_bias(math.nan), "value"),
    (lambda: read_inits("chrone:3"), "init to be orthogonal, .* found 'chrone:3'"),
    (lambda: read_inits("chrono"), "longest dependence .* pass for example init='chrono:132'"),
    (lambda: read_inits("chrono:x"), "found 'chrono:x'"),
    (lambda: read_inits("chrono:1"), "t_max"),
    (lambda: read_inits("orthogonal,"), "found ''"),
    (lambda: read_inits(5), "found 5"),
    (
        lambda: chrono(9)(ours.RNN(1, 2)),
        r"MinGRU with biases for chrono\(9\), found RNN.*, or init=orthogonal\(\)",
    ),
    (lambda: chrono(9)(nn.GRU(1, 2, bias=False)), "found GRU with bias=False"),
    (
        lambda: forget_bias()(nn.GRU(1, 2)),
        r"an LSTM or a MinLSTM with biases for forget_bias\(1\), found GRU",
    ),
    (lambda: identity()(nn.RNN(1, 2)), "nonlinearity='relu' for .* nonlinearity='tanh'"),
    (lambda: orthogonal()(nn.Linear(1, 2)), "found Linear without a recurrent layer"),
    (
        lambda: orthogonal()(orthogonal(kept=True)(nn.GRU(1, 2))),
        "weight_hh_l0 under a parametrization: initialise before it is registered",
    ),
]


@pytest.mark.parametrize(("act", "said"), RANGES)
def test_what_makes_no_sense_is_refused_in_a_sentence(act, said):
    with pytest.raises(SettingError, match=said) as caught:
        act()
    assert "\n" not in str(caught.value)


def gate(layer: nn.Module, index: int) -> torch.Tensor:
    return (layer.bias_ih_l0 + layer.bias_hh_l0).detach()[index * H : (index + 1) * H]


def test_a_recurrence_starts_where_it_is_told_several_in_order():
    torch.manual_seed(0)
    layer = Recurrence("lstm", H, init=(orthogonal(), "chrono:50", forget_bias(3))).build(2)
    for U_g in layer.weight_hh_l0.detach().split(H):
        torch.testing.assert_close(U_g.T @ U_g, torch.eye(H))
    assert (gate(layer, 1) == 3).all()  # the last word is the forget bias's
    assert ((gate(layer, 0) <= 0) & (gate(layer, 0) >= -math.log(49))).all()  # chrono's


@pytest.mark.parametrize("name", ["identity", identity(), [identity()]])
def test_an_identity_chooses_relu_and_sums_its_positive_inputs(name):
    layer = Recurrence("rnn", 1, init=name).build(1)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1)
    x = torch.rand(2, 7, 1)
    torch.testing.assert_close(layer(x)[0], x.cumsum(1))
    assert Recurrence("rnn", 1).build(1).nonlinearity == "tanh"


def test_members_of_an_ensemble_start_apart_and_repeatably():
    def build() -> nn.Module:
        return Recurrence("gru", H, init=chrono(99)).build(1)

    one, other = (ours.Ensemble(build, members=2, seed=3).stacked.bias_ih_l0 for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one[0], one[1])


OPTIONS = {
    "recurrent_dropout": 0.2,
    "zoneout": 0.1,
    "state_grad_clip": 0.5,
}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("name", OPTIONS)
def test_what_regularises_within_the_cell_reaches_the_layer(cell, name):
    layer = Recurrence(cell, H, **{name: OPTIONS[name]}).build(2)
    plain = Recurrence(cell, H).build(2)
    assert getattr(layer, name) == OPTIONS[name]
    assert all(not getattr(plain, other) for other in OPTIONS)
    assert all(not getattr(layer, other) for other in OPTIONS if other != name)


def test_a_recurrence_is_checked_without_making_or_drawing_anything():
    state = torch.random.get_rng_state()
    Recurrence("lstm", 10**9, num_layers=10**9, init=("orthogonal:kept", "chrono:3"))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_forms_of_the_layers():
    assert isinstance(Recurrence("lstm", H, layer_norm=True).build(1), ours.LayerNormLSTM)
    assert Recurrence("rnn", H, nonlinearity="relu").build(1).nonlinearity == "relu"
    assert Recurrence("lstm", H, zoneout=(0.1, 0.5)).build(1).zoneout == (0.1, 0.5)


WRONG = [
    ({"cell": "gru", "nonlinearity": "relu"}, "nonlinearity for cell='rnn' alone"),
    ({"cell": "rnn", "nonlinearity": "sine"}, "nonlinearity to be one of None, 'tanh', 'relu'"),
    ({"cell": "gru", "layer_norm": True}, "layer_norm for cell='lstm' alone"),
    ({"layer_norm": 3}, "layer_norm to be one of"),
    ({"zoneout": 1}, "zoneout"),
    ({"cell": "gru", "zoneout": (0.1, 0.1)}, "zoneout"),
    ({"recurrent_dropout": -0.1}, "recurrent_dropout"),
    ({"state_grad_clip": -1}, "state_grad_clip"),
    ({"cell": "rnn", "init": "chrono:10"}, r"for chrono\(10\), found RNN"),
    ({"cell": "lstm", "init": "identity"}, r"for identity\(\), found LSTM"),
    ({"cell": "rnn", "nonlinearity": "tanh", "init": "identity"}, "found RNN with .*'tanh'"),
    ({"init": "chronos"}, "init to be"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_a_recurrence_that_cannot_be_is_refused_when_made(options, said):
    with pytest.raises(SettingError, match=said):
        Recurrence(**options)
