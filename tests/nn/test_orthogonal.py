"""What is kept orthogonal is orthogonal after any update, and computes what its weights say."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

import throughtime.nn as ours
from throughtime import accelerate
from throughtime._errors import SettingError
from throughtime.diagnostics import lag_profile
from throughtime.nn.orthogonal import Cayley, keep_orthogonal
from throughtime.training import Trainer, TrainingSettings, losses

B, T, F, H = 4, 6, 3, 5
LAYERS = {
    "torch RNN": lambda: nn.RNN(F, H, num_layers=2, bidirectional=True),
    "torch LSTM": lambda: nn.LSTM(F, H, num_layers=2),
    "torch LSTM, projected": lambda: nn.LSTM(F, H, proj_size=2),
    "torch GRU": lambda: nn.GRU(F, H, bias=False),
    "RNN": lambda: ours.RNN(F, H),
    "LSTM": lambda: ours.LSTM(F, H),
    "LSTM, projected": lambda: ours.LSTM(F, H, proj_size=2),
    "LSTM, normalised": lambda: ours.LayerNormLSTM(F, H),
    "GRU": lambda: ours.GRU(F, H, num_layers=2, bidirectional=True),
    "GRU, before": lambda: ours.GRU(F, H, reset="before"),
}
CELLS = {
    "torch RNNCell": lambda: nn.RNNCell(F, H, nonlinearity="relu"),
    "torch LSTMCell": lambda: nn.LSTMCell(F, H),
    "GRUCell": lambda: ours.GRUCell(F, H, reset="before"),
}
ALL = {**LAYERS, **CELLS}
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
every_layer = pytest.mark.parametrize("name", LAYERS)
every_one = pytest.mark.parametrize("name", ALL)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def recurrent_weights(module: nn.Module) -> list[Tensor]:
    names = dict.fromkeys(
        [*getattr(module, "parametrizations", {}), *(n for n, _ in module.named_parameters())]
    )
    return [getattr(module, n) for n in names if n.startswith("weight_hh")]


def error(U: Tensor, H: int = H) -> float:
    """The largest entry of U_g' U_g - I over the blocks."""
    blocks = U.detach().unflatten(0, (-1, H))
    return float((blocks.mT @ blocks - torch.eye(U.shape[-1], dtype=U.dtype)).abs().max())


def said(module: nn.Module, x: Tensor) -> Tensor:
    """Outputs [T, B, ...] for inputs [T, B, F], of a layer or of a cell in a loop."""
    if not isinstance(module, nn.RNNCellBase):
        return module(x)[0]
    state, outputs = None, []
    for x_t in x:
        state = module(x_t, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs)


def trained(module: nn.Module, updates: int, rate: float) -> nn.Module:
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    x = torch.randn(T, B, F, dtype=next(module.parameters()).dtype)
    for _ in range(updates):
        optimiser.zero_grad()
        (said(module, x).sum(-1) - x[0].sum(-1)).square().mean().backward()
        optimiser.step()
    return module


@every_one
def test_recurrent_matrices_are_orthogonal_after_many_updates(name: str) -> None:
    module = keep_orthogonal(ALL[name]())
    before = [U.detach().clone() for U in recurrent_weights(module)]
    trained(module, 50, 0.05)
    after = recurrent_weights(module)
    assert len(after) == len(before) > 0
    for old, new in zip(before, after, strict=True):
        assert new.dtype == torch.float32
        assert error(old) < 1e-6
        assert error(new) < 1e-6
        assert (new - old).abs().max() > 0.1


@given(
    gates=st.integers(1, 4),
    width=st.integers(1, 5),
    size=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=50, deadline=None)
def test_every_parameter_makes_a_rotation_of_the_start(
    gates: int, width: int, size: float, seed: int
) -> None:
    torch.manual_seed(seed)
    keep = Cayley(randn(gates * H, width), gates)
    U = keep(size * randn(gates * H, H))
    assert error(U) < 1e-10
    if width == H:
        turned = torch.linalg.det(U.unflatten(0, (gates, H)))
        start = torch.linalg.det(keep.Q.unflatten(0, (gates, H)))
        torch.testing.assert_close(turned, start)


def test_it_starts_at_the_nearest_orthogonal_matrix() -> None:
    layer = nn.LSTM(F, H).double()
    blocks = layer.weight_hh_l0.detach().split(H)
    polar = [scipy.linalg.polar(block.numpy())[0] for block in blocks]
    keep_orthogonal(layer)
    np.testing.assert_allclose(layer.weight_hh_l0.detach(), np.concatenate(polar), atol=1e-12)


@pytest.mark.parametrize(("gates", "width"), [(1, H), (3, H), (4, 2)])
def test_the_gradient_is_the_derivative(gates: int, width: int) -> None:
    keep = Cayley(randn(gates * H, width), gates)
    assert torch.autograd.gradcheck(keep, randn(gates * H, H).requires_grad_())


def test_the_parameter_steers_the_gradient_to_skew_matrices_alone() -> None:
    layer = keep_orthogonal(ours.RNN(F, H).double())
    said(layer, randn(T, B, F)).square().sum().backward()
    dX = layer.parametrizations.weight_hh_l0.original.grad
    assert dX.abs().max() > 0
    torch.testing.assert_close(dX, -dX.mT)


@every_one
def test_it_computes_what_a_plain_one_with_these_weights_does(name: str) -> None:
    kept = trained(keep_orthogonal(ALL[name]().double()), 3, 0.1)
    plain = ALL[name]().double()
    with torch.no_grad():
        for each, _ in plain.named_parameters():
            getattr(plain, each).copy_(getattr(kept, each))
    x = randn(T, B, F)
    one, other = said(kept, x), said(plain, x)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
    seed, shared = torch.randn_like(one), "weight_ih_l0" if name in LAYERS else "weight_ih"
    grads = [
        torch.autograd.grad(h, getattr(m, shared), seed) for h, m in ((one, kept), (other, plain))
    ]
    torch.testing.assert_close(*grads)


@every_one
def test_the_next_call_sees_what_has_changed(name: str) -> None:
    module, x = keep_orthogonal(ALL[name]().double()), randn(T, B, F)
    before = said(module, x)
    chain = next(iter(module.parametrizations.values()))
    with torch.no_grad():
        chain.original.normal_()
        changed = said(module, x)
        assert (changed - before).abs().max() > 1e-3
        chain.original.zero_()
        torch.testing.assert_close(said(module, x), before)


@every_layer
def test_packed_series_and_the_gradient_through_their_weights(name: str) -> None:
    layer, lengths = keep_orthogonal(LAYERS[name]().double()), torch.tensor([T, 3, 2, 1])
    x = randn(T, B, F)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
    whole, _ = nn.utils.rnn.pad_packed_sequence(layer(packed)[0])
    alone = [layer(x[:n, b : b + 1])[0][0] for b, n in enumerate(lengths)]
    torch.testing.assert_close(whole[0], torch.cat(alone))
    whole.sum().backward()
    assert layer.parametrizations.weight_hh_l0.original.grad.abs().max() > 0


@every_one
def test_copies_casts_and_state_dicts(name: str) -> None:
    module = trained(keep_orthogonal(ALL[name]()), 2, 0.1)
    x = torch.randn(T, B, F)
    expected = said(module, x)
    torch.testing.assert_close(said(copy.deepcopy(module), x), expected, rtol=0, atol=0)
    other = keep_orthogonal(ALL[name]())
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(said(other, x), expected, rtol=0, atol=0)
    torch.testing.assert_close(said(module.double(), x.double()).float(), expected)


@every_one
def test_taking_it_off_leaves_the_weights(name: str) -> None:
    module = trained(keep_orthogonal(ALL[name]().double()), 2, 0.1)
    x = randn(T, B, F)
    expected = said(module, x)
    for weight in list(module.parametrizations):
        parametrize.remove_parametrizations(module, weight)
    assert type(module) is type(ALL[name]())
    torch.testing.assert_close(said(module, x), expected)
    trained(module, 1, 0.1)
    assert (said(module, x) - expected).abs().max() > 1e-3


def test_a_weight_that_is_assigned_is_taken_to_the_nearest() -> None:
    layer = keep_orthogonal(ours.RNN(F, H).double())
    W = randn(H, H)
    layer.weight_hh_l0 = W
    expected = torch.tensor(scipy.linalg.polar(W.numpy())[0])
    torch.testing.assert_close(layer.weight_hh_l0.detach(), expected)


def test_accelerate_keeps_it() -> None:
    model = keep_orthogonal(nn.Sequential(nn.GRU(F, H)).double())
    x = randn(T, B, F)
    expected = model(x)[0]
    accelerate(model)
    assert isinstance(model[0], ours.GRU)
    torch.testing.assert_close(model(x)[0], expected)
    with torch.no_grad():
        model[0].parametrizations.weight_hh_l0.original.normal_()
    assert (model(x)[0] - expected).abs().max() > 1e-3
    assert error(model[0].weight_hh_l0) < 1e-12


class Torchs(nn.Module):
    """A layer of torch's, which an ensemble runs in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keep_orthogonal(nn.LSTM(1, H, batch_first=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1:, :1]


def recurrent_net(cell: str) -> nn.Module:
    recurrence = ours.Recurrence(cell, H, init="orthogonal:kept")
    return ours.SequenceInput(1, recurrence, ours.PointHead(H))


NETS = {
    "torch's": Torchs,
    **{cell: (lambda cell=cell: recurrent_net(cell)) for cell in ("rnn", "lstm", "gru")},
}


@pytest.mark.parametrize("name", NETS)
def test_members_of_an_ensemble_are_kept_each_for_itself(name: str) -> None:
    ensemble = ours.Ensemble(NETS[name], members=3, seed=1)
    x = torch.randn(3, 32, T, 1)
    examples = Pairs(x, x.sum(2))
    settings = TrainingSettings(max_updates=30, batch_size=8, learning_rate=0.05, average=0.9)
    Trainer(ensemble, losses.mse, settings).fit(examples, examples)
    stacked = ensemble(x)
    for e in range(3):
        member = ensemble.member(e)
        torch.testing.assert_close(stacked[e], member(x[e]))
        assert error(member.layer.weight_hh_l0) < 1e-6
        moved = member.layer.parametrizations.weight_hh_l0.original
        assert moved.abs().max() > 0.05
    seed = torch.randn_like(stacked)
    chain = "layer.parametrizations.weight_hh_l0.original"
    (gradient,) = torch.autograd.grad(stacked, ensemble.stacked.get_parameter(chain), seed)
    for e in range(3):
        member = ensemble.member(e)
        own = torch.autograd.grad(member(x[e]), member.get_parameter(chain), seed[e])
        torch.testing.assert_close(gradient[e], own[0], rtol=1e-3, atol=1e-4)


class Pairs:
    """Examples with the members' axis first."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return self.x.shape[1]

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        e = torch.arange(len(self.x))[:, None]
        return self.x[e, index], self.y[e, index]


def test_a_linear_net_that_is_kept_loses_no_gradient_over_any_lag() -> None:
    """Where every ReLU is open the Jacobian is U itself, and the norm stays."""
    layer = keep_orthogonal(ours.RNN(H, H, nonlinearity="relu").double())
    trained_on = layer.parametrizations.weight_hh_l0.original
    nn.init.normal_(trained_on)
    with torch.no_grad():
        layer.bias_ih_l0.fill_(100.0)  # wide open, whatever the turn
        layer.weight_hh_l0 = torch.eye(H, dtype=torch.float64)
        trained_on.copy_(0.001 * randn(H, H))
    read_newest = lambda output, target: output[0][-1].square().sum(-1)  # noqa: E731
    [profile] = lag_profile(layer, randn(40, B, H), torch.zeros(B), read_newest)
    np.testing.assert_allclose(profile.norms, 1, rtol=1e-9)


def test_frozen_weights_stay_frozen_and_what_optimisers_hold_is_trained() -> None:
    layer = nn.RNN(F, H)
    layer.weight_hh_l0.requires_grad_(False)
    keep_orthogonal(layer)
    assert not layer.parametrizations.weight_hh_l0.original.requires_grad


def test_twice_is_once() -> None:
    layer = keep_orthogonal(nn.GRU(F, H))
    names = list(layer.state_dict())
    assert list(keep_orthogonal(layer).state_dict()) == names
    assert len(layer.parametrizations.weight_hh_l0) == 1


def spectral() -> nn.Module:
    return nn.utils.parametrizations.spectral_norm(nn.RNN(F, H), "weight_hh_l0")


REFUSED = [
    (lambda: nn.Linear(2, 2), "an RNN, an LSTM or a GRU to keep orthogonal, found Linear"),
    (spectral, "weight_hh_l0 without a parametrization.*_SpectralNorm"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_cannot_be_kept_is_refused_and_left_as_it_was(build, words) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = build()
    names = list(module.state_dict())
    with pytest.raises(SettingError, match=words):
        keep_orthogonal(module)
    assert list(module.state_dict()) == names
