"""Our layers give torch.nn's numbers, gradients and errors for the same state_dict."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import throughtime.nn as tt_nn
from throughtime import SettingError

TOLERANCE = 1e-12
NAMES = ["RNN", "LSTM", "GRU"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"nonlinearity": "relu"},
    {"proj_size": 2},
    {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False},
]
LAYERS = [
    (name, options)
    for name in NAMES
    for options in OPTIONS
    if not ("proj_size" in options and name != "LSTM")
    and not ("nonlinearity" in options and name != "RNN")
]
INPUT, HIDDEN = 3, 4


def pair(name: str, options: dict[str, Any]) -> tuple[torch.nn.RNNBase, torch.nn.RNNBase]:
    """Our layer and PyTorch's, with the same weights."""
    ours = getattr(tt_nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)
    theirs = getattr(torch.nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def draw_hx(layer: torch.nn.RNNBase, batch: int | None) -> Any:
    depth = layer.num_layers * (1 + layer.bidirectional)
    between = () if batch is None else (batch,)
    widths = [layer.proj_size or HIDDEN, HIDDEN] if layer.mode == "LSTM" else [HIDDEN]
    states = tuple(
        torch.randn(depth, *between, width, dtype=torch.float64, requires_grad=True)
        for width in widths
    )
    return states if layer.mode == "LSTM" else states[0]


def flat(answer: Any) -> list[Tensor]:
    """Every tensor of floats in an answer or an hx."""
    if isinstance(answer, PackedSequence):
        return [answer.data]
    if isinstance(answer, Tensor):
        return [answer]
    return [] if answer is None else [tensor for part in answer for tensor in flat(part)]


def gradients(layer: torch.nn.RNNBase, answer: Any, inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    terms = [
        (o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in flat(answer)
    ]
    return list(torch.autograd.grad(torch.stack(terms).sum(), [*inputs, *layer.parameters()]))


def assert_same(a: list[Tensor], b: list[Tensor]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=0)


def check(name: str, options: dict[str, Any], x: Any, batch: int | None, hx: bool) -> None:
    ours, theirs = pair(name, options)
    state = draw_hx(ours, batch) if hx else None
    mine, other = ours(x, state), theirs(x, state)
    assert type(mine[0]) is type(other[0])
    assert_same(flat(mine), flat(other))
    data = x.data if isinstance(x, PackedSequence) else x
    inputs = [data, *flat(state)]
    assert_same(gradients(ours, mine, inputs), gradients(theirs, other, inputs))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
@pytest.mark.parametrize("hx", [True, False], ids=["hx", "zeros"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
def test_layers_equal_torch(name: str, options: dict[str, Any], hx: bool, batched: bool) -> None:
    T, B = 5, 2
    shape = (B, T) if options.get("batch_first") else (T, B)
    x = torch.randn(*(shape if batched else (T,)), INPUT, dtype=torch.float64, requires_grad=True)
    check(name, options, x, B if batched else None, hx)


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
@pytest.mark.parametrize("lengths", [[5, 3, 1], [2, 4, 4], [3, 3]], ids=str)
def test_packed_sequences_equal_torch(
    name: str, options: dict[str, Any], lengths: list[int]
) -> None:
    x = torch.randn(len(lengths), max(lengths), INPUT, dtype=torch.float64)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    packed.data.requires_grad_()
    for hx in (True, False):
        check(name, options, packed, len(lengths), hx)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_layers_equal_torch_at_any_size(data: st.DataObject) -> None:
    name, options = data.draw(st.sampled_from(LAYERS))
    B = data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=B, max_size=B))
    x = torch.randn(B, max(lengths), INPUT, dtype=torch.float64)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    packed.data.requires_grad_()
    check(name, options, packed, B, data.draw(st.booleans()))
    padded = x if options.get("batch_first") else x.transpose(0, 1)
    check(name, options, padded.detach().requires_grad_(), B, data.draw(st.booleans()))


def test_a_sorted_packed_sequence_keeps_its_indices() -> None:
    x = torch.randn(4, 2, INPUT)
    packed, _ = tt_nn.GRU(INPUT, HIDDEN)(pack_padded_sequence(x, [4, 2]))
    assert packed.sorted_indices is None
    assert packed.unsorted_indices is None


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_between_layers_in_training_alone(name: str) -> None:
    ours, theirs = pair(name, {"num_layers": 2, "dropout": 0.5})
    x = torch.randn(5, 2, INPUT, dtype=torch.float64)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval(), theirs.eval()
    assert_same(flat(ours(x)), flat(theirs(x)))


@pytest.mark.parametrize("name", NAMES)
def test_full_dropout_leaves_the_biases(name: str) -> None:
    with_dropout, without = pair(name, {"num_layers": 2, "dropout": 1.0})
    x = torch.randn(5, 2, INPUT, dtype=torch.float64)
    assert_same(flat(with_dropout(x)), flat(without(x)))


def wrong_arguments(layer: torch.nn.RNNBase) -> list[tuple[Any, Any]]:
    def hx(*shape: int) -> Any:
        h = torch.zeros(*shape, dtype=torch.float64)
        return (h, h) if layer.mode == "LSTM" else h

    x = torch.zeros(5, 2, INPUT, dtype=torch.float64)
    return [
        (x[..., :2], None),
        (x[None], None),
        (x[0, 0], None),
        (x.float(), None),
        (x[:0], None),
        (x, hx(1, 3, HIDDEN)),
        (x, hx(2, 2, HIDDEN)),
        (x, hx(1, HIDDEN)),
        (x[:, 0], hx(1, 1, HIDDEN)),
        (x, hx(1, 2, HIDDEN + 1)),
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("i", range(10))
def test_errors_are_torchs(name: str, i: int) -> None:
    ours, theirs = pair(name, {})
    x, hx = wrong_arguments(ours)[i]
    with pytest.raises((RuntimeError, ValueError)) as expected:
        theirs(x, hx)
    with pytest.raises(expected.type) as found:
        ours(x, hx)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_is_what_torch_says(name: str) -> None:
    ours, theirs = pair(name, {})
    x = torch.zeros(5, 0, INPUT, dtype=torch.float64)
    assert [o.shape for o in flat(ours(x))] == [o.shape for o in flat(theirs(x))]


@pytest.mark.parametrize("name", NAMES)
def test_copies_pickles_and_checkpoints(name: str) -> None:
    options = {"num_layers": 2, "bidirectional": True}
    ours, theirs = pair(name, options)
    x = torch.randn(5, 2, INPUT, dtype=torch.float64)
    expected = flat(theirs(x))
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_same(flat(twin(x)), expected)
    buffer = io.BytesIO()
    torch.save(theirs.state_dict(), buffer)
    buffer.seek(0)
    fresh = getattr(tt_nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert_same(flat(fresh(x)), expected)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_what_we_do_not_run_torch_runs(name: str) -> None:
    ours, theirs = pair(name, {})
    ours, theirs = ours.bfloat16(), theirs.bfloat16()
    x = torch.randn(5, 2, INPUT, dtype=torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_autocast_leaves_the_weights_precision(name: str, precision: torch.dtype) -> None:
    layer = pair(name, {"num_layers": 2, "bidirectional": True})[0].to(precision)
    x, hx = torch.randn(5, 2, INPUT).bfloat16(), draw_hx(layer, 2)
    packed = pack_padded_sequence(x, [5, 3])
    states = [h.detach().bfloat16() for h in flat(hx)]
    half = tuple(states) if layer.mode == "LSTM" else states[0]
    full = tuple(h.to(precision) for h in states) if layer.mode == "LSTM" else half.to(precision)
    expected = [flat(layer(y.to(precision), full)) for y in (x, packed)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [flat(layer(y, half)) for y in (x, packed)]
    for ours, exact in zip(found, expected, strict=True):
        assert all(o.dtype == precision for o in ours)
        assert_same(ours, exact)


def test_reset_before_is_another_net_with_the_same_parameters() -> None:
    after, before = (
        tt_nn.GRU(INPUT, HIDDEN, dtype=torch.float64, reset=r) for r in ("after", "before")
    )
    before.load_state_dict(after.state_dict())
    x = torch.randn(5, 2, INPUT, dtype=torch.float64)
    assert not torch.allclose(after(x)[0], before(x)[0])
    U_n = torch.cat([torch.zeros(2 * HIDDEN, HIDDEN), torch.ones(HIDDEN, HIDDEN)]) > 0
    for layer in (after, before):  # without U_n the two are one
        layer.weight_hh_l0.data.masked_fill_(U_n, 0.0)
        layer.bias_hh_l0.data.zero_()
    assert_same(flat(after(x)), flat(before(x)))


def test_reset_before_never_falls_back_to_another_net() -> None:
    layer = tt_nn.GRU(INPUT, HIDDEN, reset="before")
    x = torch.randn(5, 2, INPUT)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(flat(layer(x.bfloat16())), flat(layer(x.bfloat16().float())))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        layer(x.bfloat16())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "_fits", lambda *_: False)
        with pytest.raises(SettingError, match="no such GRU"):
            layer(x[:, 0])  # without a batch: not the express way
    assert layer.bfloat16()(x.bfloat16())[0].dtype == torch.bfloat16
    with pytest.raises(SettingError, match="reset"):
        tt_nn.GRU(INPUT, HIDDEN, reset="sometimes")


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        options: Any = {"dtype": torch.float64}
        self.below = tt_nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True, **options)
        self.above = torch.nn.Sequential(tt_nn.GRU(2 * HIDDEN, HIDDEN, **options))

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.below(x)
        return self.above(output)[0]


def test_recording_names_what_ran_and_its_taps_fill_in_backward() -> None:
    model, x = Model(), torch.randn(5, 2, INPUT, dtype=torch.float64)
    with tt_nn.recording(model) as records:
        output = model(x)
    assert [(r.name, r.layer, r.direction) for r in records] == [
        *(("below", layer, direction) for layer in (0, 1) for direction in (0, 1)),
        ("above.0", 0, 0),
    ]
    assert all(r.tap.dh_TBH is None for r in records)
    output.square().sum().backward()
    assert all(r.tap.dh_TBH.shape == (5, 2, HIDDEN) for r in records)
    assert [r.tap.dc_TBH is None for r in records] == [False] * 4 + [True]
    assert_same([records[-1].tap.dh_TBH[-1]], [2 * output[-1]])


def test_recording_leaves_nothing_behind_even_after_an_error() -> None:
    model, x = Model(), torch.randn(5, 2, INPUT, dtype=torch.float64)
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(RuntimeError), tt_nn.recording(model) as records:
        model(x[..., :1])
    assert records == []
    model(x)
    assert records == []
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before


def test_recording_sees_its_own_model_alone_and_nests() -> None:
    model, other, x = Model(), Model(), torch.randn(5, 2, INPUT, dtype=torch.float64)
    with tt_nn.recording(model) as outer:
        other(x)
        assert outer == []
        with tt_nn.recording(other) as inner:
            other(x)
        model(x)
    assert (len(outer), len(inner)) == (5, 5)


def test_recording_an_ensemble_under_functional_call() -> None:
    models = [Model() for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    x = torch.randn(5, 2, INPUT, dtype=torch.float64)
    with tt_nn.recording(models[0]) as records:
        output = vmap(lambda p: functional_call(models[0], (p, buffers), (x,)))(parameters)
    output.sum().backward()
    assert [r.tap.dh_TBH.shape for r in records] == [(5, 3, 2, HIDDEN)] * 5
    for e, model in enumerate(models):
        model(x).sum().backward()
        for name, parameter in model.named_parameters():
            assert_same([parameters[name].grad[e]], [parameter.grad])


def test_recording_runs_our_kernels_where_torch_would() -> None:
    layer = tt_nn.RNN(INPUT, HIDDEN, dtype=torch.bfloat16)
    with tt_nn.recording(layer) as records:
        layer(torch.randn(5, 2, INPUT, dtype=torch.bfloat16))[0].sum().backward()
    assert records[0].tap.dh_TBH.dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("trains", [False, True])
def test_any_layout_of_any_tensor_gives_the_same(
    name: str, batch_first: bool, trains: bool
) -> None:
    ours, theirs = pair(name, {"batch_first": batch_first})
    strange = {
        "features far apart": torch.randn(INPUT, 5, 3).permute(1, 2, 0),
        "every second feature": torch.randn(5, 3, 2 * INPUT)[..., ::2],
        "all the same number": torch.randn(1, 1, 1).expand(5, 3, INPUT),
    }
    B = 5 if batch_first else 3
    state = torch.randn(HIDDEN, B, 1).permute(2, 1, 0).double()
    given = (state, state.clone()) if ours.mode == "LSTM" else state
    for x in strange.values():
        for hx in (None, given):
            with torch.set_grad_enabled(trains):
                found, expected = (flat(layer(x.double(), hx)) for layer in (ours, theirs))
            assert_same(found, expected)
            if trains:
                one, other = (
                    torch.autograd.grad(o[0].square().sum(), list(layer.parameters()))
                    for o, layer in ((found, ours), (expected, theirs))
                )
                assert_same(list(one), list(other))
    for layer in (ours, theirs):
        weight = layer.weight_hh_l0.data
        layer.weight_hh_l0.data = weight.t().contiguous().t()
    with torch.set_grad_enabled(trains):
        x = torch.randn(5, 3, INPUT, dtype=torch.float64)
        assert_same(flat(ours(x)), flat(theirs(x)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trains", [False, True])
def test_weights_on_another_device_are_refused_in_torchs_words(name: str, trains: bool) -> None:
    said = []
    for module in (tt_nn, torch.nn):
        layer = getattr(module, name)(INPUT, HIDDEN, device="meta")
        with torch.set_grad_enabled(trains), pytest.raises(RuntimeError) as caught:
            layer(torch.randn(5, 3, INPUT))
        said.append(str(caught.value))
    assert said[0] == said[1]
