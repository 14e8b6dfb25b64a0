"""The cells give torch.nn's numbers, gradients and errors for the same state_dict."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import throughtime.nn as tt_nn
from throughtime import SettingError
from throughtime.kernels import reference

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTMCell", {}),
    ("GRUCell", {}),
    *((name, {"bias": False}) for name in ("RNNCell", "LSTMCell", "GRUCell")),
]
INPUT, HIDDEN = 3, 4


def pair(name: str, options: dict[str, Any]) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    ours = getattr(tt_nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)
    theirs = getattr(torch.nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def states_for(name: str, *batch: int) -> Any:
    h, c = torch.randn(2, *batch, HIDDEN, dtype=torch.float64).requires_grad_()
    return (h, c) if name == "LSTMCell" else h


def flat(answer: Any) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else list(answer)


@pytest.mark.parametrize(("name", "options"), CELLS, ids=str)
@pytest.mark.parametrize("batch", [(), (1,), (3,)], ids=str)
@pytest.mark.parametrize("given", [True, False], ids=["hx", "zeros"])
def test_cells_equal_torch(
    name: str, options: dict[str, Any], batch: tuple[int, ...], given: bool
) -> None:
    ours, theirs = pair(name, options)
    x = torch.randn(*batch, INPUT, dtype=torch.float64, requires_grad=True)
    hx = states_for(name, *batch) if given else None
    found = []
    for cell in (ours, theirs):
        outputs = flat(cell(x, hx))
        loss = torch.stack([(k + 2) * o.square().sum() for k, o in enumerate(outputs)]).sum()
        wanted = [x, *(flat(hx) if given else []), *cell.parameters()]
        found.append([*outputs, *torch.autograd.grad(loss, wanted)])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_errors_are_torchs(name: str) -> None:
    ours, theirs = pair(name, {})
    x = torch.zeros(2, INPUT, dtype=torch.float64)
    wrong = [
        (x[None], None),
        (x[..., :2], None),
        (x, states_for(name, 3)),
        (x, states_for(name, 1, 1)),
        (x.float(), None),
    ]
    for arguments in wrong:
        with pytest.raises((RuntimeError, ValueError)) as expected:
            theirs(*arguments)
        with pytest.raises(expected.type) as found:
            ours(*arguments)
        assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(("name", "options"), CELLS, ids=str)
def test_copies_pickles_and_looks(name: str, options: dict[str, Any]) -> None:
    ours, theirs = pair(name, options)
    x = torch.randn(2, INPUT, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert all(torch.equal(a, b) for a, b in zip(flat(twin(x)), flat(ours(x)), strict=True))


def test_a_loop_of_cells_is_a_layer_in_both_reset_forms() -> None:
    for reset in ("after", "before"):
        layer = tt_nn.GRU(INPUT, HIDDEN, dtype=torch.float64, reset=reset)
        cell = tt_nn.GRUCell(INPUT, HIDDEN, dtype=torch.float64, reset=reset)
        cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
        x, h = torch.randn(5, 2, INPUT, dtype=torch.float64), None
        for x_t in x:
            h = cell(x_t, h)
        torch.testing.assert_close(h, layer(x)[1][0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_the_reset_before_form_equals_the_oracle(bias: bool, batch: tuple[int, ...]) -> None:
    cell = tt_nn.GRUCell(INPUT, HIDDEN, bias, dtype=torch.float64, reset="before")
    x, h = (torch.randn(*batch, n, dtype=torch.float64) for n in (INPUT, HIDDEN))
    weights = [p.detach().numpy() for p in cell.parameters()]
    _, expected = reference.gru(
        x.reshape(1, -1, INPUT).numpy(), h.reshape(-1, HIDDEN).numpy(), *weights, reset="before"
    )
    found = cell(x, h).detach().reshape(-1, HIDDEN)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-12, rtol=0)


def test_reset_before_never_falls_back_to_another_net() -> None:
    cell = tt_nn.GRUCell(INPUT, HIDDEN, reset="before")
    assert repr(cell) == "GRUCell(3, 4, reset=before)"
    x, h = torch.randn(2, INPUT), torch.randn(2, HIDDEN)
    with torch.autocast("cpu", torch.bfloat16):
        roughly = cell(x.bfloat16(), h)
    torch.testing.assert_close(roughly.float(), cell(x, h), atol=0.03, rtol=0)
    for wrong in [
        (x[None], h),
        (x[..., :2], h),
        (x, h[:1]),
        (x, h[None]),
        (x[0], h),
        (x, h[..., :2]),
    ]:
        with pytest.raises((RuntimeError, ValueError)):
            cell(*wrong)
    with pytest.raises(SettingError, match="reset"):
        tt_nn.GRUCell(INPUT, HIDDEN, reset="sometimes")
