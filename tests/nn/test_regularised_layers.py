"""Layers draw the masks they should, at the rates they should, and never hand over what is theirs."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime.nn as tt_nn
from throughtime import SettingError
from throughtime.kernels import compiled
from throughtime.nn import layers

NAMES = ["RNN", "LSTM", "GRU"]
ALL: dict[str, Any] = {"recurrent_dropout": 0.5, "zoneout": 0.3, "state_grad_clip": 0.1}
SHAPE: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
INPUT, HIDDEN = 3, 4

of_every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(name: str, hidden: int = HIDDEN, **options: Any) -> Any:
    return getattr(tt_nn, name)(INPUT, hidden, dtype=torch.float64, **options)


def draw(T: int = 5, B: int = 2) -> Tensor:
    return torch.randn(T, B, INPUT, dtype=torch.float64)


def flat(answer: Any) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else [t for part in answer for t in flat(part)]


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the layers pass to the kernels, call by call."""
    calls: list[dict[str, Any]] = []
    for name in ("rnn", "lstm", "gru"):
        kernel = getattr(layers, name)

        def spy(*arguments: Any, kernel: Any = kernel, **how: Any) -> Any:
            calls.append(how)
            return kernel(*arguments, **how)

        monkeypatch.setattr(layers, name, spy)
    return calls


def is_about(share: float, rate: float, count: int) -> bool:
    """Within five standard deviations of the mean of so many draws."""
    return bool(abs(share - rate) < 5 * (rate * (1 - rate) / count) ** 0.5)


@of_every_name
def test_one_dropout_mask_for_all_steps_of_each_direction(name: str, given: Any) -> None:
    layer, x = build(name, 50, recurrent_dropout=0.2, **SHAPE), draw(3, 40)
    layer(x), layer(x)
    masks = [how["dropout"] for how in given]
    assert len(masks) == 8
    for mask in masks:
        assert mask.shape == (40, 50)  # none of them along time
        assert set(mask.unique().tolist()) == {0.0, 1 / 0.8}
        assert is_about((mask == 0).double().mean().item(), 0.2, mask.numel())
    assert all(not torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


@of_every_name
def test_zoneout_is_drawn_for_every_step_and_unit(name: str, given: Any) -> None:
    layer, x = build(name, 20, zoneout=0.3, **SHAPE), draw(10, 40)
    layer(x)
    masks = flat([how["zoneout"] for how in given])
    assert len(masks) == (8 if name == "LSTM" else 4)
    for mask in masks:
        assert mask.shape == (10, 40, 20)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert is_about(mask.mean().item(), 0.3, mask.numel())
        shares = torch.stack([mask.mean((0, 1)).std(), mask.mean((0, 2)).std()])
        assert (shares < 0.06).all()  # no unit and no series is kept more than others
        assert (mask.diff(dim=0) != 0).any()
    assert all(not torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


def test_the_lstm_has_a_rate_for_each_state(given: Any) -> None:
    build("LSTM", 20, zoneout=(0.05, 0.5), proj_size=7)(draw(10, 40))
    zone_h, zone_c = given[0]["zoneout"]
    assert zone_h.shape == (10, 40, 7)
    assert is_about(zone_h.mean().item(), 0.05, zone_h.numel())
    assert is_about(zone_c.mean().item(), 0.5, zone_c.numel())
    build("LSTM", zoneout=(0.0, 0.5))(draw())
    assert given[1]["zoneout"][0] == 0.0


@of_every_name
def test_a_seed_repeats_what_is_drawn(name: str) -> None:
    layer, x = build(name, **ALL, **SHAPE), draw()
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(layer(x))
    assert same(outputs[0], outputs[1])
    assert not same(outputs[0], outputs[2])


@of_every_name
def test_evaluation_drops_nothing_and_keeps_the_expected_share(name: str, given: Any) -> None:
    plain, x = build(name, **SHAPE).eval(), draw()
    dropping = build(name, recurrent_dropout=0.5, **SHAPE).eval()
    keeping = build(name, zoneout=0.3, **SHAPE).eval()
    for layer in (dropping, keeping):
        layer.load_state_dict(plain.state_dict())
    state = torch.get_rng_state()
    assert same(dropping(x), plain(x))
    del given[:]
    assert same(keeping(x), keeping(x))
    assert all(set(flat_numbers(how["zoneout"])) == {0.3} for how in given)
    assert torch.equal(torch.get_rng_state(), state)


def flat_numbers(rate: Any) -> tuple[float, ...]:
    return rate if isinstance(rate, tuple) else (rate,)


@of_every_name
def test_evaluation_is_the_mean_of_training(name: str) -> None:
    """Of one step of zoneout, whose output is linear in what is drawn."""
    layer, rows = build(name, zoneout=0.3), 20_000
    x = torch.randn(1, 1, INPUT, dtype=torch.float64).expand(1, rows, INPUT)
    h = torch.randn(1, 1, HIDDEN, dtype=torch.float64).expand(1, rows, HIDDEN).contiguous()
    hx = (h, h) if name == "LSTM" else h
    trained = [states.mean(-2) for states in flat(layer(x, hx))]
    expected = [states[..., 0, :] for states in flat(layer.eval()(x, hx))]
    for mean, wanted in zip(trained, expected, strict=True):
        assert (mean - wanted).abs().max() < 5 * 0.5 * 3 / rows**0.5


@of_every_name
def test_a_rate_of_zero_is_no_rate(name: str) -> None:
    plain, x = build(name, **SHAPE), draw()
    pair = {"zoneout": (0.0, 0.0)} if name == "LSTM" else {"zoneout": 0.0}
    zero = build(name, recurrent_dropout=0.0, state_grad_clip=0.0, **pair, **SHAPE)
    zero.load_state_dict(plain.state_dict())
    state = torch.get_rng_state()
    outputs = [layer(x) for layer in (plain, zero)]
    assert same(*outputs)
    gradients = [
        torch.autograd.grad(o[0].square().sum(), list(m.parameters()))
        for o, m in zip(outputs, (plain, zero), strict=True)
    ]
    assert same(*gradients)
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(zero) == repr(plain)


@of_every_name
@pytest.mark.parametrize("options", [{}, SHAPE, {"batch_first": True}], ids=str)
def test_clipping_acts_on_every_way_through_a_layer(name: str, options: dict[str, Any]) -> None:
    """The short way, the long one, that of recordings, that of PyTorch's operations."""
    layer, x = build(name, state_grad_clip=0.05, **options), draw()
    weights = list(layer.parameters())

    def gradient() -> Any:
        return torch.autograd.grad(layer(x)[0].square().sum(), weights)

    found = gradient()
    with tt_nn.recording(layer) as records:
        recorded = gradient()
    with compiled.using("torch"):
        slow = gradient()
    for ours in (recorded, slow):
        for a, b in zip(found, ours, strict=True):
            assert (a - b).abs().max() < 1e-12
    for record in records:
        square = record.tap.dh_norm_TB.square()
        if name == "LSTM":
            square = square + record.tap.dc_norm_TB.square()
        assert square.max().sqrt() < 0.05 + 1e-12
    assert max(r.tap.dh_norm_TB.max() for r in records) > 0.04
    layer.state_grad_clip = 0.0
    assert not same(gradient(), found)


@of_every_name
def test_packed_and_stacked_layers_equal_each_series_alone(name: str) -> None:
    """In evaluation, where nothing is drawn; with the clipping in its gradients."""
    layer, lengths = build(name, **ALL, **SHAPE).eval(), [5, 3, 1]
    x, weights = torch.randn(3, 5, INPUT, dtype=torch.float64), list(layer.parameters())
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    output, _ = layer(packed)
    found = torch.autograd.grad(output.data.square().sum(), weights)
    alone = [layer(x[b, :length])[0] for b, length in enumerate(lengths)]
    rejoined = pack_padded_sequence(
        nn.utils.rnn.pad_sequence(alone, batch_first=True), lengths, batch_first=True
    )
    assert (rejoined.data - output.data).abs().max() < 1e-12
    expected = torch.autograd.grad(torch.stack([a.square().sum() for a in alone]).sum(), weights)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-12


@of_every_name
def test_packed_series_train(name: str) -> None:
    layer = build(name, **ALL, **SHAPE)
    packed = pack_padded_sequence(draw(5, 3), [5, 3, 1])
    output, _ = layer(packed)
    output.data.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@of_every_name
def test_settings_out_of_range_are_refused(name: str) -> None:
    for wrong in ({"recurrent_dropout": 1.0}, {"zoneout": -0.1}, {"state_grad_clip": -1.0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            build(name, **wrong)
    with pytest.raises(SettingError, match="zoneout"):
        build(name, zoneout=(0.1, 0.2, 0.3))


@of_every_name
def test_settings_are_shown_and_copied(name: str) -> None:
    layer, x = build(name, **ALL), draw()
    end = "recurrent_dropout=0.5, zoneout=0.3, state_grad_clip=0.1)"
    assert repr(layer) == f"{name}({INPUT}, {HIDDEN}, {end}"
    torch.manual_seed(1)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.manual_seed(1)
        assert same(twin(x), expected)
        assert repr(twin) == repr(layer)


@of_every_name
def test_layers_whose_class_was_changed_have_none_and_may_be_given_some(name: str) -> None:
    theirs, x = getattr(nn, name)(INPUT, HIDDEN, dtype=torch.float64), draw()
    expected = theirs(x)
    tt_nn.accelerate(theirs)
    for a, b in zip(flat(theirs(x)), flat(expected), strict=True):
        assert (a - b).abs().max() < 1e-12
    assert (theirs.recurrent_dropout, theirs.zoneout, theirs.state_grad_clip) == (0.0, 0.0, 0.0)
    theirs.recurrent_dropout = 0.5
    assert not same(theirs(x), theirs(x))


@of_every_name
def test_what_is_our_own_never_goes_to_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("handed over")

    monkeypatch.setattr(getattr(nn, name), "forward", forbidden)
    x = draw().bfloat16()
    for option, value in ALL.items():
        layer = build(name, **{option: value}).bfloat16()  # on no ground of our C++
        assert layer(x)[0].dtype == torch.bfloat16
    dropping = build(name, recurrent_dropout=0.5).bfloat16().eval()
    with pytest.raises(AssertionError, match="handed over"):
        dropping(x)  # which is PyTorch's layer, then


@of_every_name
def test_what_does_not_fit_is_refused_and_not_handed_over(name: str) -> None:
    layer = build(name, zoneout=0.3)
    with pytest.raises((ValueError, RuntimeError)):
        layer(draw().float())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "_fits", lambda *_: False)
        with pytest.raises(SettingError, match=f"no such {name}"):
            layer(draw())


@of_every_name
def test_members_of_an_ensemble_draw_their_own(name: str) -> None:
    ensemble = tt_nn.Ensemble(lambda: build(name, recurrent_dropout=0.5, zoneout=0.3), members=3)
    for parameter in ensemble.parameters():
        parameter.data.copy_(parameter.data[:1].expand_as(parameter))
    x = draw().expand(3, 5, 2, INPUT)
    output = ensemble(x)[0]
    assert not any(torch.equal(output[i], output[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    output.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in ensemble.parameters())
    ensemble.eval()
    output = ensemble(x)[0]
    assert same(output[0], output[1])


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.(trace|trace_method). is deprecated:DeprecationWarning"
)
@of_every_name
def test_torch_jit_has_no_such_layer(name: str) -> None:
    with pytest.raises(SettingError, match=r"torch\.export"):
        torch.jit.trace(build(name, zoneout=0.3).eval(), (draw(),), check_trace=False)
