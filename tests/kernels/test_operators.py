"""The registered operators are what PyTorch asks of operators, and give the eager calls' answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from cases import (
    ALL,
    FORWARD_MODE_COMPILES,
    KINDS,
    LSTM,
    RNN,
    Case,
    any_case,
    layouts,
    weighted,
    worst,
)
from hypothesis import given, settings
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from throughtime import SettingError
from throughtime.kernels import AdjointTap, recurrence
from throughtime.kernels.kernel import Kernel

QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")
EVERY = (*QUICK, "test_aot_dispatch_dynamic")


@pytest.fixture
def as_operators(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let recurrences run as operators, as if somebody recorded them."""
    return lambda: monkeypatch.setattr(recurrence, "is_traced", lambda x: True)


def captured(case: Case, tensors: dict[str, Tensor]) -> tuple[Kernel, Any, list[Any]]:
    """The kernel, mask and inputs that an eager call comes down to."""
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:

        def spy(kernel: Kernel, tap: Any, mask: Any, *inputs: Any) -> Any:
            seen.append((kernel, mask, [None if t is None else t.detach() for t in inputs]))
            with torch.no_grad():
                return kernel.forward(mask, inputs)[: 1 + kernel.states]

        patch.setattr(recurrence, "recur_eagerly", spy)
        case.run({name: tensor.detach().requires_grad_() for name, tensor in tensors.items()})
    return seen[0]


def calls(case: Case, dtype: torch.dtype, gradient: bool) -> list[tuple[Any, tuple[Any, ...]]]:
    """The operator and its adjoint, each with arguments; the adjoint also without one d_output."""
    tensors = {n: t.detach().to(dtype) for n, t in case.draw().items()}
    kernel, mask, inputs = captured(case, tensors)
    operator = getattr(torch.ops.throughtime, kernel.operator).default
    adjoint = getattr(torch.ops.throughtime, f"{kernel.operator}_adjoint").default
    *outputs, residuals = operator(mask, *inputs)
    inputs = [None if t is None else t.clone().requires_grad_(gradient) for t in inputs]
    d_outputs = [torch.randn_like(o).requires_grad_(gradient) for o in outputs]
    given_ = [t is not None for t in inputs]
    some = [bool(i % 2) and g for i, g in enumerate(given_)]
    return [
        (operator, (mask, *inputs)),
        (adjoint, (given_, mask, *d_outputs, *inputs, residuals)),
        (adjoint, (some, mask, None, *d_outputs[1:], *inputs, residuals)),
    ]


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_pytorchs_own_check(case: Case, gradient: bool) -> None:
    for operator, arguments in calls(case, torch.float64, gradient):
        torch.library.opcheck(operator, arguments, test_utils=QUICK)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_pytorchs_own_check_with_symbolic_sizes(case: Case) -> None:
    for operator, arguments in calls(case, torch.float32, gradient=False):
        torch.library.opcheck(operator, arguments, test_utils=EVERY)
    operator, arguments = calls(case, torch.float32, gradient=True)[0]
    torch.library.opcheck(operator, arguments, test_utils=EVERY)


def test_pytorchs_own_check_of_a_gradients_gradient() -> None:
    operator, arguments = calls(replace(RNN, T=2), torch.float32, gradient=True)[1]
    torch.library.opcheck(operator, arguments, test_utils=EVERY)


@settings(max_examples=25, deadline=None)
@given(any_case())
def test_what_has_no_values_has_the_right_layout(case: Case) -> None:
    check_layout(case)


@settings(max_examples=25, deadline=None)
@given(any_case(members=True))
def test_what_has_no_values_and_members_has_the_right_layout(case: Case) -> None:
    check_layout(case)


def check_layout(case: Case) -> None:
    for operator, arguments in calls(case, torch.float32, gradient=False):
        real, fake = layouts(operator, arguments)
        assert real == fake


def gradients(case: Case, tensors: dict[str, Tensor]) -> list[Tensor]:
    loss = weighted(case.run(tensors))
    return list(torch.autograd.grad(loss, [tensors[n] for n in case.names], create_graph=True))


@pytest.mark.parametrize("case", ALL, ids=str)
def test_outputs_and_gradients_are_the_eager_ones(case: Case, as_operators: Any) -> None:
    tensors = case.draw()
    expected, expected_gradients = case.run(tensors), gradients(case, tensors)
    as_operators()
    assert worst(case.run(tensors), expected) == 0.0
    assert worst(gradients(case, tensors), expected_gradients) == 0.0


@pytest.mark.parametrize("case", ALL, ids=str)
def test_gradients_of_gradients_are_the_eager_ones(case: Case, as_operators: Any) -> None:
    def twice() -> list[Tensor]:
        tensors = case.draw()
        loss = torch.stack([g.square().sum() for g in gradients(case, tensors)]).sum()
        return list(torch.autograd.grad(loss, [tensors[n] for n in case.names]))

    expected = twice()
    as_operators()
    assert worst(twice(), expected) < 1e-10


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize(
    "transform",
    [
        grad,
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacfwd(jacfwd(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: lambda U: jvp(f, (U,), (torch.ones_like(U),))[1],
        lambda f: lambda U: vmap(grad(f))(torch.stack([U, 2 * U])),
        lambda f: lambda U: vmap(vmap(f))(torch.stack([U, 2 * U])[None]),
    ],
    ids=["grad", "hessian", "rev-rev", "fwd-fwd", "rev-fwd", "jvp", "vmap-grad", "vmap-vmap"],
)
def test_function_transforms_are_the_eager_ones(
    case: Case, transform: Any, as_operators: Any
) -> None:
    small = replace(case, T=3, B=2, H=2, P=1 if case.P else 0)
    values = {n: v.detach() for n, v in small.draw().items()}

    def loss(U: Tensor) -> Tensor:
        return torch.stack([o.square().sum() for o in small.run({**values, "U": U})]).sum()

    expected = transform(loss)(values["U"])
    as_operators()
    assert worst([transform(loss)(values["U"])], [expected]) < 1e-10


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
def test_plain_forward_mode_is_the_eager_one(as_operators: Any) -> None:
    tensors = {n: t.detach() for n, t in LSTM.draw().items()}

    def pushed() -> Tensor:
        with torch.autograd.forward_ad.dual_level():
            x = torch.autograd.forward_ad.make_dual(tensors["x"], torch.ones_like(tensors["x"]))
            h, *_ = LSTM.run({**tensors, "x": x})
            return torch.autograd.forward_ad.unpack_dual(h).tangent

    expected = pushed()
    as_operators()
    assert worst([pushed()], [expected]) < 1e-12


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_a_recorded_gradient_holds_one_node_each_way(case: Case) -> None:
    values = {n: v.detach() for n, v in case.draw().items()}

    def gradient(x: Tensor) -> Tensor:
        return grad(lambda x: case.run({**values, "x": x})[0].square().sum())(x)

    graph = make_fx(gradient)(values["x"])
    nodes = [str(node.target) for node in graph.graph.nodes if "throughtime" in str(node.target)]
    name = captured(case, values)[0].operator
    assert nodes == [f"throughtime.{name}.default", f"throughtime.{name}_adjoint.default"]
    x = 2 * values["x"]
    assert worst([graph(x)], [gradient(x)]) == 0.0
    both = torch.stack([x, values["x"]])
    assert worst([vmap(graph)(both)], [vmap(gradient)(both)]) < 1e-12
    _, pull_back = vjp(graph, x)
    _, expected = vjp(gradient, x)
    assert worst(pull_back(x), expected(x)) < 1e-10
    with pytest.raises(SettingError, match="forward mode"):
        jvp(graph, (x,), (x,))


def test_a_recording_is_not_for_graphs() -> None:
    values = {n: v.detach() for n, v in LSTM.draw().items()}
    with pytest.raises(SettingError, match="graph that is being traced"):
        make_fx(lambda x: LSTM.run({**values, "x": x}, tap=AdjointTap())[0])(values["x"])


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_autocast_stays_out(case: Case) -> None:
    (operator, arguments), (adjoint, back), _ = calls(case, torch.float32, gradient=False)
    expected = operator(*arguments), adjoint(*back)
    with torch.autocast("cpu", torch.bfloat16):
        found = operator(*arguments), adjoint(*back)
        mask, x, *rest = arguments
        from_half = operator(mask, x.bfloat16(), *rest)
    leaves = torch.utils._pytree.tree_leaves
    assert worst(leaves(found), leaves(expected)) == 0.0
    assert from_half[0].dtype == torch.float32


@pytest.mark.parametrize("case", [*KINDS, *(replace(kind, E=2) for kind in KINDS)], ids=str)
def test_autocast_stays_out_of_eager_calls(case: Case) -> None:
    tensors = {n: t.detach().float().requires_grad_() for n, t in case.draw().items()}
    outputs = case.run(tensors)
    expected = [*outputs, *gradients(case, tensors)]
    with torch.autocast("cpu", torch.bfloat16):  # backward, too
        assert worst([*case.run(tensors), *gradients(case, tensors)], expected) == 0.0
        halved = {**tensors, "x": tensors["x"].detach().bfloat16()}
        assert all(o.dtype == torch.float32 for o in case.run(halved))
