"""LayerNormLSTM stacks, packs, copies and trains as LSTM does, and computes what its paper says."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime.nn as tt_nn
from throughtime import SettingError
from throughtime.nn import LayerNormLSTM

INPUT, HIDDEN = 3, 4
DEEP: dict[str, Any] = {"num_layers": 2, "bidirectional": True}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(**options: Any) -> LayerNormLSTM:
    layer = LayerNormLSTM(INPUT, HIDDEN, dtype=torch.float64, **options)
    for name, parameter in layer.named_parameters():  # so that each of them counts
        if name.startswith(("gamma", "beta")):
            parameter.data += torch.randn_like(parameter) / 2
    return layer


def draw(T: int = 5, B: int = 2) -> Tensor:
    return torch.randn(T, B, INPUT, dtype=torch.float64)


def flat(answer: Any) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else [t for part in answer for t in flat(part)]


def close(a: Any, b: Any) -> bool:
    return all((x - y).abs().max() < 1e-12 for x, y in zip(flat(a), flat(b), strict=True))


def by_hand(layer: LayerNormLSTM, x: Tensor, suffix: str) -> tuple[Tensor, Tensor, Tensor]:
    """One direction of one layer, from zero states, by torch.nn.functional."""
    normal = nn.functional.layer_norm
    W, U, gamma_ih, gamma_hh, gamma_c = (
        getattr(layer, name + suffix)
        for name in ("weight_ih", "weight_hh", "gamma_ih", "gamma_hh", "gamma_c")
    )
    b = getattr(layer, "bias_ih" + suffix, 0.0) + getattr(layer, "bias_hh" + suffix, 0.0)
    beta_c = getattr(layer, "beta_c" + suffix, None)
    h = c = x.new_zeros(x.shape[1], HIDDEN)
    outputs, four, one = [], (4 * HIDDEN,), (HIDDEN,)
    for x_t in x.flip(0) if "reverse" in suffix else x:
        a = normal(x_t @ W.T, four, gamma_ih) + normal(h @ U.T, four, gamma_hh) + b
        i, f, g, o = a.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normal(c, one, gamma_c, beta_c).tanh()
        outputs.append(h)
    if "reverse" in suffix:
        outputs.reverse()
    return torch.stack(outputs), h, c


@pytest.mark.parametrize("bias", [True, False])
def test_layers_are_what_the_equations_say(bias: bool) -> None:
    layer, x = build(bias=bias, **DEEP), draw()
    output, (h_n, c_n) = layer(x)
    ends = []
    for k in range(2):
        both = [by_hand(layer, x, f"_l{k}{way}") for way in ("", "_reverse")]
        x = torch.cat([h for h, _, _ in both], -1)
        ends += both
    expected = x, torch.stack([h for _, h, _ in ends]), torch.stack([c for _, _, c in ends])
    assert close((output, h_n, c_n), expected)
    weights = list(layer.parameters())
    found, wanted = (torch.autograd.grad(o.square().sum(), weights) for o in (output, x))
    assert close(found, wanted)


def test_batch_first_and_unbatched_and_given_states() -> None:
    layer, x = build(**DEEP), draw()
    hx = tuple(torch.randn(4, 2, HIDDEN, dtype=torch.float64) for _ in range(2))
    output, ends = layer(x, hx)
    layer.batch_first = True
    swapped, others = layer(x.transpose(0, 1), hx)
    assert close((swapped.transpose(0, 1), others), (output, ends))
    layer.batch_first = False
    alone, (h_n, c_n) = layer(x[:, 0], tuple(h[:, 0] for h in hx))
    assert close((alone, h_n, c_n), (output[:, 0], ends[0][:, 0], ends[1][:, 0]))


def test_packed_series_equal_each_alone() -> None:
    layer, lengths, x = build(**DEEP), [2, 5, 4], draw(5, 3)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, (h_n, c_n) = layer(packed)
    padded, _ = pad_packed_sequence(output)
    for b, length in enumerate(lengths):
        alone, ends = layer(x[:length, b])
        assert close((padded[:length, b], h_n[:, b], c_n[:, b]), (alone, *ends))


def test_parameters_start_as_no_scale_and_no_shift() -> None:
    layer = LayerNormLSTM(INPUT, HIDDEN, **DEEP)
    plain = nn.LSTM(INPUT, HIDDEN, **DEEP)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    added = {name: shape for name, shape in shapes.items() if name[:5] in ("gamma", "beta_")}
    assert [n for n in shapes if n not in added] == [n for n, _ in plain.named_parameters()]
    assert len(added) == 4 * 4
    assert added["gamma_ih_l0"] == added["gamma_hh_l1_reverse"] == (4 * HIDDEN,)
    assert added["gamma_c_l1"] == added["beta_c_l0_reverse"] == (HIDDEN,)
    for initialise in (lambda: None, layer.reset_parameters, lambda: tt_nn.torch_default_(layer)):
        initialise()
        for name in added:
            assert (layer.get_parameter(name) == float(name.startswith("gamma"))).all()
    assert not hasattr(LayerNormLSTM(INPUT, HIDDEN, bias=False), "beta_c_l0")


def test_initialisers_know_it() -> None:
    layer = tt_nn.forget_bias_(tt_nn.orthogonal_(LayerNormLSTM(INPUT, HIDDEN)), 2.0)
    b_f = (layer.bias_ih_l0 + layer.bias_hh_l0)[HIDDEN : 2 * HIDDEN]
    assert b_f.tolist() == [2.0] * HIDDEN


def test_copies_pickles_and_state_dicts() -> None:
    layer, x = build(**DEEP), draw()
    other = build(**DEEP)
    other.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert close(twin(x), layer(x))
        assert repr(twin) == "LayerNormLSTM(3, 4, num_layers=2, bidirectional=True)"


def test_recordings_and_members() -> None:
    layer, x = build(), draw()
    with tt_nn.recording(layer) as records:
        layer(x)[0].square().sum().backward()
    assert records[0].tap.dc_TBH.shape == (5, 2, HIDDEN)
    ensemble = tt_nn.Ensemble(build, members=3)
    output, _ = ensemble(x.expand(3, *x.shape))
    expected = torch.stack([ensemble.member(e)(x)[0] for e in range(3)])
    assert close(output, expected)


def test_what_drops_and_keeps_and_clips_acts_on_it() -> None:
    x = draw()
    for option in ({"recurrent_dropout": 0.5}, {"zoneout": (0.2, 0.5)}):
        layer = build(**option, **DEEP)
        assert not close(layer(x), layer(x))
        layer.eval()
        assert close(layer(x), layer(x))
    layer = build(state_grad_clip=0.05)
    with tt_nn.recording(layer) as records:
        layer(x)[0].sum().backward()
    tap = records[0].tap
    assert (tap.dh_norm_TB.square() + tap.dc_norm_TB.square()).max().sqrt() < 0.05 + 1e-12


def test_it_never_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("handed over")

    monkeypatch.setattr(nn.LSTM, "forward", forbidden)
    layer = LayerNormLSTM(INPUT, HIDDEN)
    with torch.no_grad():
        layer.eval()(draw().float())
    assert layer.bfloat16()(draw().bfloat16())[0].dtype == torch.bfloat16


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SettingError, match="no projection"):
        LayerNormLSTM(INPUT, HIDDEN, proj_size=2)
    with pytest.raises(RuntimeError):
        build()(draw()[..., :2])


def test_accelerate_leaves_it_alone() -> None:
    layer = build()
    report = tt_nn.accelerate(layer)
    assert not report.replaced
    assert type(layer) is LayerNormLSTM
