"""The linear scan, the minGRU and the minLSTM: their oracle, autograd, finite differences, one pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from cases import FORWARD_MODE_COMPILES, layouts, random_weights, weighted, worst
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from throughtime import SettingError, kernels
from throughtime.kernels import AdjointTap, compiled_scan, linear_scan, reference
from throughtime.kernels.compiled import processors, using

TOLERANCE = 1e-10


@dataclass(frozen=True)
class Minimal:
    cell: str
    T: int = 6
    B: int = 3
    I: int = 2  # noqa: E741
    H: int = 5
    E: int = 0
    bias: bool = True
    masked: bool = False
    zoned: bool = False
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join(str(v) for v in vars(self).values() if v not in (False, 0))

    @property
    def names(self) -> list[str]:
        return ["x", "h_0", "W", *["b"] * self.bias]

    def draw(self) -> dict[str, Tensor]:
        torch.manual_seed(self.seed)
        members, rows = (self.E,) * bool(self.E), self.H * {"min_gru": 2, "min_lstm": 3}[self.cell]
        shapes = {
            "x": (self.T, *members, self.B, self.I),
            "h_0": (*members, self.B, self.H),
            "W": (*members, rows, self.I),
            "b": (*members, rows),
        }
        return {n: torch.randn(shapes[n], dtype=torch.float64).requires_grad_() for n in self.names}

    def how(self) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        mask = torch.rand(self.T, self.B, generator=generator) > 0.4
        members = (self.E,) * bool(self.E)
        zone = torch.rand(self.T, *members, self.B, self.H, generator=generator).double()
        given = {"mask": mask} if self.masked else {}
        return {**given, **({"zoneout": zone} if self.zoned else {}), **self.options}

    def run(self, tensors: dict[str, Tensor], **more: Any) -> tuple[Tensor, ...]:
        names = ["x", "h_0", "W", "b"]
        function = getattr(kernels, self.cell)
        return function(*map(tensors.get, names), **{**self.how(), **more})


KINDS = [
    Minimal(cell, options=options)
    for cell in ("min_gru", "min_lstm")
    for options in ({}, {"candidate": "positive"})
]
CASES = [*KINDS]
CASES += [replace(kind, bias=False, masked=True) for kind in KINDS]
CASES += [replace(kind, zoned=True, masked=True) for kind in KINDS]
CASES += [replace(KINDS[0], T=1, B=1, H=1), replace(KINDS[2], zoned=True)]
CASES += [replace(kind, options={**kind.options, "state_grad_clip": 0.5}) for kind in KINDS]
KERNELS = [*processors(), "torch"]


@pytest.fixture(params=KERNELS)
def processor(request: pytest.FixtureRequest) -> Iterator[str]:
    with using(request.param):
        yield request.param


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_equals_oracle(case: Minimal, processor: str) -> None:
    tensors, tap = case.draw(), AdjointTap()
    outputs = case.run(tensors, tap=tap)
    arrays = [tensors[n].detach().numpy() if n in tensors else None for n in ("x", "h_0", "W", "b")]
    how = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in case.how().items()}
    forward = {k: v for k, v in how.items() if k != "state_grad_clip"}
    expected = getattr(reference, case.cell)(*arrays, **forward)
    assert worst(outputs, map(torch.tensor, expected)) < TOLERANCE
    sent = [weight.numpy() for weight in random_weights(outputs)]
    oracle = getattr(reference, f"{case.cell}_gradients")(*arrays, *sent, **how)
    found = torch.autograd.grad(weighted(outputs), [tensors[name] for name in case.names])
    assert worst(found, [torch.tensor(oracle[name]) for name in case.names]) < TOLERANCE
    recorded, wanted = [tap.dh_TBH, tap.dh_0], [torch.tensor(oracle[n]) for n in ("h_t", "h_0")]
    assert worst(recorded, wanted) < TOLERANCE


def plain_loop(case: Minimal, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The definition, one operation after the other."""
    h, mask, outputs = tensors["h_0"], case.how().get("mask"), []
    b = tensors["b"].unsqueeze(-2) if case.bias else 0.0
    for t in range(case.T):
        p = (tensors["x"][t] @ tensors["W"].mT + b).split(case.H, -1)
        keep = 1 - p[0].sigmoid()
        if case.cell == "min_lstm":
            keep = p[1].sigmoid() / (p[0].sigmoid() + p[1].sigmoid())
        n = p[-1]
        if case.options.get("candidate"):
            n = torch.where(n >= 0, n + 0.5, n.sigmoid())
        new = keep * h + (1 - keep) * n
        h = new if mask is None else torch.where(mask[t].unsqueeze(-1), new, h)
        outputs.append(h)
    return torch.stack(outputs), h


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    T=st.integers(1, 40),
    sizes=st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(1, 20), st.integers(0, 3)),
    masked=st.booleans(),
    bias=st.booleans(),
    name=st.sampled_from(KERNELS),
)
def test_any_size_equals_plain_loop(
    kind: Minimal, T: int, sizes: tuple[int, ...], masked: bool, bias: bool, name: str
) -> None:
    B, I, H, E = sizes  # noqa: E741
    case = replace(kind, T=T, B=B, I=I, H=H, E=E, masked=masked, bias=bias)
    tensors = case.draw()
    with using(name):
        ours, theirs = case.run(tensors), plain_loop(case, tensors)
        assert worst(ours, theirs) < TOLERANCE
        used = [tensors[name] for name in case.names]
        grads = [torch.autograd.grad(weighted(outputs), used) for outputs in (ours, theirs)]
        assert worst(*grads) < TOLERANCE


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
@pytest.mark.parametrize("case", [replace(kind, masked=True) for kind in KINDS], ids=str)
def test_adjoint_and_its_adjoint_equal_finite_differences(case: Minimal) -> None:
    case = replace(case, T=3, B=2, H=3)
    tensors = case.draw()

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return case.run(dict(zip(case.names, values, strict=True)))

    values = tuple(tensors[name] for name in case.names)
    assert torch.autograd.gradcheck(function, values, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", ["x", "h_0", "W", "b"])
def test_only_what_is_needed_is_computed_and_it_is_the_same(
    kind: Minimal, name: str, processor: str
) -> None:
    tensors = kind.draw()
    (among,) = torch.autograd.grad(weighted(kind.run(tensors)), [tensors[name]])
    frozen = {n: t if n == name else t.detach() for n, t in tensors.items()}
    (alone,) = torch.autograd.grad(weighted(kind.run(frozen)), [frozen[name]])
    assert worst([alone], [among]) == 0.0


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("members", [0, 2])
def test_chunks_change_nothing(
    kind: Minimal,
    reverse: bool,
    batch_first: bool,
    members: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = replace(kind, T=23, E=members, masked=True, zoned=True)
    tensors = case.draw()
    x = tensors["x"]
    if batch_first and not members:
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    used, found = [tensors[name] for name in case.names], []
    for size in (2**17, 3 * max(1, members) * case.B * len(tensors["W"].mT)):
        monkeypatch.setattr(compiled_scan, "CHUNK_ELEMENTS", size)
        tap = AdjointTap()
        outputs = case.run({**tensors, "x": x}, reverse=reverse, tap=tap)
        grads = torch.autograd.grad(weighted(outputs), used)
        found.append([*outputs, *grads, tap.dh_TBH, tap.dh_0])
    assert worst(*found) < 1e-12


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("output", [0, 1])
def test_a_loss_on_one_output_alone(kind: Minimal, output: int, processor: str) -> None:
    tensors = kind.draw()
    used = [tensors[name] for name in kind.names]
    pair = kind.run(tensors)[output], plain_loop(kind, tensors)[output]
    assert worst(*(torch.autograd.grad(each.square().sum(), used) for each in pair)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_outputs_may_be_changed_in_place(kind: Minimal, processor: str) -> None:
    tensors = kind.draw()
    used = [tensors[name] for name in kind.names]
    h, h_n = kind.run(tensors)
    in_place = torch.autograd.grad(weighted((h.mul_(2.0), h_n.mul_(3.0))), used)
    h, h_n = kind.run(tensors)
    assert worst(in_place, torch.autograd.grad(weighted((h * 2.0, h_n * 3.0)), used)) == 0.0


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("batch_first", "members"), [(False, 0), (True, 0), (False, 2)])
def test_what_has_no_values_has_the_right_layout(
    kind: Minimal, batch_first: bool, members: int, processor: str
) -> None:
    """Compiled graphs read strides as the fake tensors of the operators say them."""
    x, *rest = (tensor.detach() for tensor in replace(kind, E=members).draw().values())
    if batch_first:
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    name = kind.cell + "_positive" * bool(kind.options)
    operator, adjoint = (
        getattr(torch.ops.throughtime, each).default for each in (name, f"{name}_adjoint")
    )
    inputs = x, *rest, None, None
    *outputs, residuals = operator(None, *inputs)
    needed = [tensor is not None for tensor in inputs]
    for function, arguments in [
        (operator, (None, *inputs)),
        (adjoint, (needed, None, *map(torch.randn_like, outputs), *inputs, residuals)),
    ]:
        real, fake = layouts(function, arguments)
        assert real == fake


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_strides_change_nothing(kind: Minimal, processor: str) -> None:
    """Neither of inputs, nor of a gradient that is one number seen many times."""
    case = replace(kind, T=7)
    dense = case.draw()
    strided = {n: t.detach().mT.contiguous().mT if t.dim() > 1 else t for n, t in dense.items()}
    found = []
    for tensors in (dense, {n: t.requires_grad_() for n, t in strided.items()}):
        h, h_n = case.run(tensors)
        loss = h.sum() if tensors is dense else h.mT.contiguous().sum()
        used = [tensors[name] for name in case.names]
        found.append([h, h_n, *torch.autograd.grad(loss + h_n.sum(), used)])
    assert worst(*found) < 1e-13


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_state_that_is_carried_equals_one_pass(kind: Minimal, processor: str) -> None:
    tensors = replace(kind, T=37).draw()
    whole, last = kind.run(tensors)
    first, h = kind.run({**tensors, "x": tensors["x"][:20]})
    second, h_n = kind.run({**tensors, "x": tensors["x"][20:], "h_0": h})
    assert worst([torch.cat([first, second]), h_n], [whole, last]) < 1e-13


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_ragged_rows_equal_one_by_one(kind: Minimal, reverse: bool, processor: str) -> None:
    lengths, tensors = [9, 4, 1], replace(kind, T=9).draw()
    mask = torch.arange(9).unsqueeze(1) < torch.tensor(lengths)
    x = torch.where(mask.unsqueeze(-1), tensors["x"].detach(), torch.nan)
    h, h_n = kind.run({**tensors, "x": x}, mask=mask, reverse=reverse)
    for b, n in enumerate(lengths):
        row = {**tensors, "x": x[:n, b : b + 1], "h_0": tensors["h_0"][b : b + 1]}
        alone, last = kind.run(row, reverse=reverse)
        assert worst([h[:n, b], h_n[b]], [alone[:, 0], last[0]]) < 1e-13


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_vmap_equals_members(kind: Minimal) -> None:
    members = replace(kind, E=3)
    tensors = members.draw()

    def run(x: Tensor, h_0: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return kind.run({"x": x, "h_0": h_0, "W": W, "b": b})

    how = {"in_dims": (1, 0, 0, 0), "out_dims": (1, 0), "randomness": "same"}
    mapped = torch.func.vmap(run, **how)(*tensors.values())
    assert worst(mapped, members.run(tensors)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gates_that_underflow_give_numbers_in_single_precision(
    kind: Minimal, processor: str
) -> None:
    tensors = {n: t.detach().float() for n, t in kind.draw().items()}
    for bias in (-1e4, -200.0, 200.0, 1e4):
        tensors["b"] = torch.full_like(tensors["b"], bias).requires_grad_()
        h, _ = kind.run(tensors)
        (grad,) = torch.autograd.grad(h.sum(), tensors["b"])
        assert h.isfinite().all()
        assert grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_five_thousand_steps_stay_near_the_loop(kind: Minimal, processor: str) -> None:
    case = replace(kind, T=5000, B=1, H=2, I=1)
    tensors = {n: t.detach() for n, t in case.draw().items()}
    single = {n: t.float() for n, t in tensors.items()}
    assert worst([case.run(single)[0].double()], [plain_loop(case, tensors)[0]]) < 1e-5


def test_unknown_candidates_are_refused() -> None:
    with pytest.raises(SettingError, match="candidate to be one of 'linear', 'positive'"):
        Minimal("min_gru", options={"candidate": "log"}).run(KINDS[0].draw())


def coefficients(T: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(T)
    a, b = torch.rand(T, *shape).double(), torch.randn(T, *shape).double()
    return a.requires_grad_(), b.requires_grad_(), torch.randn(*shape).double().requires_grad_()


def scan_loop(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    outputs = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize("T", [1, 2, 3, 4, 7, 8, 9, 31, 64, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_scan_and_its_gradient_equal_the_loop(T: int, reverse: bool) -> None:
    a, b, h_0 = coefficients(T, 2, 3)
    turn = (lambda x: x.flip(0)) if reverse else (lambda x: x)
    ours = linear_scan(a, b, h_0, reverse=reverse)
    theirs = turn(scan_loop(turn(a), turn(b), h_0))
    assert worst([ours], [theirs]) < 1e-13
    grads = [torch.autograd.grad(weighted([h]), [a, b, h_0]) for h in (ours, theirs)]
    assert worst(*grads) < 1e-12


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
def test_derivatives_of_the_scan_equal_finite_differences() -> None:
    inputs = coefficients(5, 2)
    assert torch.autograd.gradcheck(linear_scan, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(linear_scan, inputs)


def test_vmap_of_the_scan_equals_calls_in_turn() -> None:
    a, b, h_0 = coefficients(7, 4, 3)
    mapped = torch.func.vmap(linear_scan, in_dims=(2, None, 1))(a, b[:, :, 0], h_0)
    alone = [linear_scan(a[:, :, k], b[:, :, 0], h_0[:, k]) for k in range(3)]
    assert worst([mapped], [torch.stack(alone)]) == 0.0


def test_coefficients_above_one_are_as_good() -> None:
    a, b, h_0 = coefficients(60, 4)
    assert torch.allclose(linear_scan(4 * a, b, h_0), scan_loop(4 * a, b, h_0), rtol=1e-12)


@pytest.mark.parametrize(
    "shapes", [((0, 2), (0, 2), (2,)), ((3, 2), (3, 1), (2,)), ((3,), (3,), (1,))]
)
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(SettingError, match=r"a and b of one shape \[T, ...\] with T >= 1"):
        linear_scan(*map(torch.zeros, shapes))
