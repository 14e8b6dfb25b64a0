"""Our layers and cells are copied, stored, moved and cast like PyTorch's, before and after a run."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import throughtime.nn as tt_nn

INPUT, HIDDEN = 3, 4
OURS = {"recurrent_dropout", "zoneout", "state_grad_clip"}
SHAPES: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5},
]
MODULES: list[tuple[str, dict[str, Any]]] = [
    *((name, options) for name in ("RNN", "LSTM", "GRU") for options in SHAPES),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {"proj_size": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False}),
    ("GRU", {"reset": "before", "num_layers": 2, "bidirectional": True}),
    *((f"{name}Cell", options) for name in ("RNN", "LSTM", "GRU") for options in SHAPES[:2]),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("GRUCell", {"reset": "before"}),
]


def build(name: str, options: dict[str, Any], dtype: torch.dtype = torch.float64) -> nn.Module:
    return getattr(tt_nn, name)(INPUT, HIDDEN, dtype=dtype, **options).eval()


def draw_x(module: nn.Module) -> Tensor:
    shape = (2, INPUT) if isinstance(module, nn.RNNCellBase) else (5, 2, INPUT)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def flat(answer: Any) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else [t for part in answer for t in flat(part)]


def run(module: nn.Module, x: Tensor | None = None) -> list[Tensor]:
    """Outputs, after a backward pass that leaves gradients with the parameters."""
    outputs = flat(module(draw_x(module) if x is None else x))
    torch.stack([output.square().sum() for output in outputs]).sum().backward()
    return [output.detach() for output in outputs]


def pickled(module: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(module))


def saved(module: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def loaded(module: nn.Module, **how: bool) -> nn.Module:
    """A module of other weights that was run, and then given these."""
    other = copy.deepcopy(module)
    other.reset_parameters()
    run(other)
    other.load_state_dict(copy.deepcopy(module.state_dict()), **how)
    return other


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": pickled,
    "torch.save": saved,
    "state_dict": loaded,
    "state_dict, assigned": lambda module: loaded(module, assign=True),
}


def assert_equal(a: list[Tensor], b: list[Tensor]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("name", "options"), MODULES, ids=str)
@pytest.mark.parametrize("ran", [False, True], ids=["fresh", "ran"])
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_computes_the_same_and_shares_nothing(
    name: str, options: dict[str, Any], ran: bool, how: str
) -> None:
    module = build(name, options)
    if ran:
        run(module)
    twin = COPIES[how](module)
    assert (type(twin), repr(twin), twin.training) == (type(module), repr(module), False)
    before = run(module)
    assert_equal(run(twin), before)
    for p in twin.parameters():
        p.data.zero_()
    assert_equal(run(module), before)


@pytest.mark.parametrize(("name", "options"), MODULES, ids=str)
def test_state_dicts_and_attributes_are_torchs(name: str, options: dict[str, Any]) -> None:
    ours = build(name, options)
    run(ours)
    plain = {key: value for key, value in options.items() if key != "reset"}
    theirs = getattr(nn, name)(INPUT, HIDDEN, dtype=torch.float64, **plain)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    added = {"reset"} if name.startswith("GRU") else set()
    added |= set() if name.endswith("Cell") else OURS
    assert set(ours.__getstate__()) == set(theirs.__getstate__()) | added
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("name", "options"), MODULES, ids=str)
def test_casting_there_and_back(name: str, options: dict[str, Any]) -> None:
    module = build(name, options)
    x, expected = draw_x(module), run(module)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        module.to(dtype)
        outputs = run(module, x.to(dtype))
        assert {output.dtype for output in outputs} == {dtype}
        assert {p.grad.dtype for p in module.parameters()} == {dtype}
        for output, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(output.double(), wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize(("name", "options"), MODULES, ids=str)
def test_weights_in_shared_memory_and_made_late(name: str, options: dict[str, Any]) -> None:
    module = build(name, options)
    expected = run(module)
    late = build(name, {**options, "device": "meta"}).to_empty(device="cpu")
    late.load_state_dict(module.state_dict())
    assert_equal(run(late), expected)
    assert module.share_memory() is module
    assert all(p.is_shared() for p in module.parameters())
    assert_equal(run(module), expected)
    next(module.parameters()).data.zero_()
    assert not torch.equal(run(module)[0], expected[0])


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "GRUCell"])
def test_parametrized_ones_are_copied_and_refuse_to_be_pickled_as_torchs_do(name: str) -> None:
    module = build(name, {})
    weight = "weight_hh" if name.endswith("Cell") else "weight_hh_l0"
    parametrizations.weight_norm(module, weight)
    expected = run(module)
    assert_equal(run(copy.deepcopy(module)), expected)
    assert_equal(run(loaded(module)), expected)
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(module)
