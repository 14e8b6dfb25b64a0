"""Each initialiser sets what its paper says, everywhere, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import throughtime.nn as ours
from throughtime._errors import SettingError
from throughtime.nn.initialisers import (
    chrono_,
    forget_bias_,
    identity_,
    orthogonal_,
    torch_default_,
)

H = 5
LSTMS = [
    lambda: nn.LSTM(3, H, num_layers=2, bidirectional=True),
    lambda: nn.LSTM(3, H, proj_size=2),
    lambda: nn.LSTMCell(3, H),
    lambda: ours.LSTM(3, H, num_layers=2, bidirectional=True, proj_size=2),
    lambda: ours.LSTMCell(3, H),
]
GRUS = [
    lambda: nn.GRU(3, H, num_layers=2, bidirectional=True),
    lambda: nn.GRUCell(3, H),
    lambda: ours.GRU(3, H, num_layers=2, reset="before"),
    lambda: ours.GRUCell(3, H),
]
RNNS = [
    lambda: nn.RNN(3, H, num_layers=2, bidirectional=True, nonlinearity="relu"),
    lambda: nn.RNNCell(3, H, nonlinearity="relu"),
    lambda: ours.RNN(3, H, nonlinearity="relu"),
    lambda: ours.RNNCell(3, H, nonlinearity="relu"),
]
WITHOUT_BIAS = [lambda: nn.LSTM(3, H, bias=False), lambda: nn.GRUCell(3, H, bias=False)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def named(module: nn.Module, prefix: str) -> list[Tensor]:
    return [p.detach() for name, p in module.named_parameters() if name.startswith(prefix)]


def gate_biases(module: nn.Module, index: int) -> list[tuple[Tensor, Tensor]]:
    rows = slice(index * H, (index + 1) * H)
    return [
        (b_ih[rows], b_hh[rows])
        for b_ih, b_hh in zip(named(module, "bias_ih"), named(module, "bias_hh"), strict=True)
    ]


@pytest.mark.parametrize("build", LSTMS + GRUS + RNNS + WITHOUT_BIAS)
@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_every_recurrent_block_is_orthogonal_and_nothing_else_changes(build, gain):
    module = build().double()
    before = [*named(module, "weight_ih"), *named(module, "bias"), *named(module, "weight_hr")]
    before = [p.clone() for p in before]
    assert orthogonal_(module, gain, seeded()) is module
    for U in named(module, "weight_hh"):
        for U_g in U.split(H):
            identity = torch.eye(U.shape[1], dtype=U.dtype)
            torch.testing.assert_close(U_g.T @ U_g, gain**2 * identity)
    after = [*named(module, "weight_ih"), *named(module, "bias"), *named(module, "weight_hr")]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_orthogonal_blocks_differ_from_each_other_and_follow_the_generator():
    blocks = orthogonal_(nn.LSTM(1, H), generator=seeded(1)).weight_hh_l0.detach().split(H)
    assert not torch.allclose(blocks[0], blocks[1])
    again = orthogonal_(nn.LSTM(1, H), generator=seeded(1)).weight_hh_l0.detach()
    assert torch.equal(again, torch.cat(blocks))


@pytest.mark.parametrize("build", RNNS)
def test_identity_makes_an_accumulator_of_what_it_reads(build):
    module = identity_(build().double(), scale=0.5)
    assert all(torch.equal(U, 0.5 * torch.eye(H).double()) for U in named(module, "weight_hh"))
    assert all((b == 0).all() for b in named(module, "bias"))


def test_an_identity_rnn_sums_its_positive_inputs():
    layer = identity_(nn.RNN(H, H, nonlinearity="relu", batch_first=True).double())
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.eye(H))
    x = torch.rand(2, 7, H, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(layer(x)[0], x.cumsum(1))


@pytest.mark.parametrize("build", LSTMS)
def test_the_forget_bias_counts_once(build):
    module = build()
    others = [(b_ih.clone(), b_hh.clone()) for b_ih, b_hh in gate_biases(module, 0)]
    forget_bias_(module, 1.5)
    for b_ih, b_hh in gate_biases(module, 1):
        assert (b_ih == 1.5).all()
        assert (b_hh == 0).all()
    for old, new in zip(others, gate_biases(module, 0), strict=True):
        assert torch.equal(old[0], new[0])
        assert torch.equal(old[1], new[1])


@pytest.mark.parametrize("build", LSTMS)
def test_chrono_opens_forget_gates_and_closes_input_gates_alike(build):
    module = chrono_(build(), t_max=50, generator=seeded())
    inputs, forgets = gate_biases(module, 0), gate_biases(module, 1)
    for (b_i, c_i), (b_f, c_f) in zip(inputs, forgets, strict=True):
        assert torch.equal(b_i, -b_f)
        assert ((b_f >= 0) & (b_f <= math.log(49))).all()
        assert (c_i == 0).all()
        assert (c_f == 0).all()
    assert len({tuple(b_f.tolist()) for b_f, _ in forgets}) == len(forgets)


@pytest.mark.parametrize("build", GRUS)
def test_chrono_on_torchs_gru_raises_the_gate_that_keeps(build):
    module = build()
    resets = [b_ih.clone() for b_ih, _ in gate_biases(module, 0)]
    chrono_(module, t_max=50, generator=seeded())
    for b_z, c_z in gate_biases(module, 1):
        assert ((b_z >= 0) & (b_z <= math.log(49))).all()
        assert b_z.max() > 0
        assert (c_z == 0).all()
    assert all(
        torch.equal(old, new) for old, (new, _) in zip(resets, gate_biases(module, 0), strict=True)
    )


def test_chrono_time_scales_are_uniform():
    cell, generator = nn.LSTMCell(1, 100), seeded()
    draws = [chrono_(cell, 101, generator).bias_ih.detach().chunk(4)[1].exp() for _ in range(200)]
    scales = torch.cat(draws)
    assert scales.min() >= 1
    assert scales.max() <= 100.001
    assert scales.mean() == pytest.approx(50.5, rel=0.02)
    assert scales.std() == pytest.approx(99 / math.sqrt(12), rel=0.02)


@pytest.mark.parametrize("build", LSTMS + GRUS + RNNS + WITHOUT_BIAS)
def test_the_default_is_torchs_own(build):
    torch.manual_seed(3)
    theirs = build()
    ours = torch_default_(build(), seeded(3))
    assert all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )


REFUSALS = [
    (lambda: identity_(nn.LSTM(1, 2)), "a ReLU RNN for identity_, found LSTM"),
    (lambda: identity_(nn.RNN(1, 2)), "a ReLU RNN for identity_, found RNN with nonlin.*'tanh'"),
    (
        lambda: chrono_(nn.RNN(1, 2), 10),
        "an LSTM, a GRU, a MinLSTM or a MinGRU for chrono_, found RNN.* or use orthogonal_",
    ),
    (lambda: chrono_(nn.GRU(1, 2), 1), "t_max to be a number at least 2"),
    (lambda: chrono_(nn.GRU(1, 2, bias=False), 10), "biases for chrono_, found bias=False"),
    (
        lambda: forget_bias_(nn.GRUCell(1, 2)),
        "an LSTM or a MinLSTM for forget_bias_, found GRUCell: pass one, or use orth",
    ),
    (lambda: forget_bias_(nn.LSTM(1, 2, bias=False)), "biases for forget_bias_"),
    (lambda: forget_bias_(ours.MinGRU(1, 2)), "a MinLSTM for .*, found MinGRU: .* or use chrono_"),
    (lambda: forget_bias_(ours.MinLSTM(1, 2, bias=False)), "biases for forget_bias_"),
    (lambda: identity_(ours.MinLSTM(1, 2)), "a ReLU RNN for .*, found MinLSTM: .* or use chrono_"),
    (lambda: orthogonal_(ours.MinGRU(1, 2)), "an LSTM or a GRU for .*, found MinGRU: .* chrono_"),
    (lambda: chrono_(nn.Linear(1, 2), 10), "a MinGRU for chrono_, found Linear: pass one.$"),
    (
        lambda: orthogonal_(nn.Linear(1, 2)),
        "an RNN, an LSTM or a GRU for orthogonal_, found Linear",
    ),
    (lambda: orthogonal_(nn.GRU(1, 2), gain=0), "gain to be a number above 0"),
    (lambda: torch_default_(nn.Linear(1, 2)), "a MinLSTM for torch_default_, found Linear"),
]


@pytest.mark.parametrize(("act", "message"), REFUSALS)
def test_what_makes_no_sense_is_refused_with_its_reason(act, message):
    with pytest.raises(SettingError, match=message):
        act()
