"""vmap is one call; every composition of torch.func's transforms gives the right answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import FORWARD_MODE_COMPILES, KINDS, Case, weighted, worst
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap

from throughtime.kernels import AdjointTap, gru
from throughtime.kernels.recurrence import Adjoint, EagerRecurrence, Recurrence

E = 3


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of x in every call of a forward loop."""
    seen: list[tuple[int, ...]] = []
    forward = Recurrence.forward

    def counted(kernel: Any, tap: Any, mask: Any, *inputs: Any) -> Any:
        seen.append(tuple(inputs[0].shape))
        return forward(kernel, tap, mask, *inputs)

    monkeypatch.setattr(Recurrence, "forward", staticmethod(counted))
    eager = EagerRecurrence.forward

    def counted_eagerly(ctx: Any, kernel: Any, tap: Any, mask: Any, *inputs: Any) -> Any:
        seen.append(tuple(inputs[0].shape))
        return eager(ctx, kernel, tap, mask, *inputs)

    monkeypatch.setattr(EagerRecurrence, "forward", staticmethod(counted_eagerly))
    return seen


def stacked(case: Case) -> dict[str, Tensor]:
    """Tensors of E nets along the first axis."""
    nets = [Case(**{**vars(case), "seed": e}).draw() for e in range(E)]
    return {n: torch.stack([net[n] for net in nets]).detach() for n in case.names}


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("mapped", ["all", "x", "weights", "h_0"])
def test_vmap_over_any_inputs_is_one_call(
    case: Case, mapped: str, calls: list[tuple[int, ...]]
) -> None:
    values = stacked(case)
    weights = {"W", "U", "b_ih", "b_hh", "P"}
    chosen = {"all": set(case.names), "weights": weights & set(case.names)}.get(mapped, {mapped})
    values = {n: v if n in chosen else v[0] for n, v in values.items()}
    leaves = {n: v.clone().requires_grad_() for n, v in values.items()}

    dims = ({n: 0 if n in chosen else None for n in values},)
    outputs = vmap(case.run, in_dims=dims)(leaves)
    assert calls == [(case.T, E, case.B, case.I)]
    ours = torch.autograd.grad(weighted(outputs), list(leaves.values()))

    members = [{n: v[e] if n in chosen else v for n, v in leaves.items()} for e in range(E)]
    alone = tuple(map(torch.stack, zip(*map(case.run, members), strict=True)))
    assert worst(outputs, alone) < 1e-12
    assert worst(ours, torch.autograd.grad(weighted(alone), list(leaves.values()))) < 1e-12


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(2, 4, dtype=torch.float64), nn.Linear(4, 1).double()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_TBI: Tensor) -> Tensor:
        h_0 = x_TBI.new_zeros(x_TBI.shape[1], 4)
        h_TBH, h_n = gru(x_TBI, h_0, *self.cell.parameters())
        return self.head(self.dropout(h_TBH)).sum(0) + self.head(h_n)


def test_an_ensemble_of_modules_equals_its_members(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    nets = [Net(dropout=0.0) for _ in range(E)]
    parameters, buffers = stack_module_state(nets)
    x = torch.randn(E, 5, 3, 2, dtype=torch.float64)

    def call(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(nets[0], (parameters, buffers), (x,))

    outputs = vmap(call)(parameters, x)
    assert len(calls) == 1
    weighted((outputs,)).backward()
    weighted((torch.stack([net(x[e]) for e, net in enumerate(nets)]),)).backward()
    for name, stacked_parameter in parameters.items():
        alone = torch.stack([net.get_parameter(name).grad for net in nets])
        torch.testing.assert_close(stacked_parameter.grad, alone, atol=1e-12, rtol=0)


def test_members_draw_their_own_dropout() -> None:
    torch.manual_seed(0)
    net = Net(dropout=0.5)
    parameters = {n: p.detach().expand(E, *p.shape) for n, p in net.named_parameters()}
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    outputs = vmap(lambda p: functional_call(net, p, (x,)), randomness="different")(parameters)
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_vmap_of_grad_is_one_call_each_way(
    case: Case, calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = stacked(case)
    back: list[int] = []
    forward = Adjoint.forward

    def counted(*arguments: Any) -> Any:
        back.append(1)
        return forward(*arguments)

    monkeypatch.setattr(Adjoint, "forward", staticmethod(counted))
    ours = vmap(grad(lambda v: sum(o.square().sum() for o in case.run(v))))(values)
    assert (len(calls), len(back)) == (1, 1)
    for e in range(E):
        leaves = {n: v[e].clone().requires_grad_() for n, v in values.items()}
        torch.stack([o.square().sum() for o in case.run(leaves)]).sum().backward()
        for name, leaf in leaves.items():
            torch.testing.assert_close(ours[name][e], leaf.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_nested_vmap_merges_the_axes(case: Case, calls: list[tuple[int, ...]]) -> None:
    values = stacked(case)
    twice = {n: torch.stack([v, v * 0.5]) for n, v in values.items()}
    outputs = vmap(vmap(case.run))(twice)
    assert calls == [(case.T, 2 * E, case.B, case.I)]
    for j in range(2):
        for e in range(E):
            alone = case.run({n: v[j, e] for n, v in twice.items()})
            assert worst([o[j, e] for o in outputs], alone) < 1e-12


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_forward_and_reverse_mode_agree(case: Case) -> None:
    values = {n: v.detach() for n, v in case.draw().items()}

    def function(U: Tensor) -> Tensor:
        return torch.cat([o.flatten() for o in case.run({**values, "U": U})])

    U = values["U"]
    by_columns, by_rows = jacfwd(function)(U), jacrev(function)(U)
    torch.testing.assert_close(by_columns, by_rows, atol=1e-12, rtol=0)
    direction = torch.randn_like(U)
    _, pushed = jvp(function, (U,), (direction,))
    torch.testing.assert_close(pushed, (by_rows * direction).sum((-1, -2)), atol=1e-12, rtol=0)

    def loss(U: Tensor) -> Tensor:
        return function(U).square().sum()

    by_autograd = torch.autograd.functional.hessian(loss, U)
    for second in (hessian(loss), jacfwd(jacfwd(loss)), jacrev(jacfwd(loss)), jacrev(jacrev(loss))):
        # beyond 10,000, which ReLU reaches, 1e-11 is a few units of the last place: no bound at all
        torch.testing.assert_close(second(U), by_autograd, atol=1e-11, rtol=2e-15)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_tap_of_an_ensemble_has_the_members_axis(case: Case) -> None:
    values, tap = stacked(case), AdjointTap()
    values["x"].requires_grad_()
    weighted(vmap(lambda v: case.run(v, tap=tap))(values)).backward()
    assert tap.dh_TBH is not None
    assert tap.dh_TBH.shape == (case.T, E, case.B, case.P or case.H)
