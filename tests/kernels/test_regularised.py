"""Dropout, zoneout and clipping in the cell equal the oracle, autograd and finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from cases import FORWARD_MODE_COMPILES, NORMED, Case, any_case, random_weights, weighted, worst
from cases import KINDS as PLAIN_KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from throughtime._errors import SettingError, TensorError
from throughtime.kernels import AdjointTap, compiled, recurrence, reference

TOLERANCE = 1e-10
KINDS = [*PLAIN_KINDS, NORMED]
MEANS = ["dropout", "zoneout", "constant", "dropout zoneout"]
MASKED = [replace(kind, masked=masked) for kind in KINDS for masked in (False, True)]
Extras = dict[str, Any]


@pytest.fixture(params=[*compiled.processors(), "torch"])
def kind_of_kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    with compiled.using(request.param):
        yield


def draw(case: Case, means: str) -> Extras:
    """The tensors that regularise: half of the units dropped, a third of them kept."""
    generator = torch.Generator().manual_seed(case.seed + 2)
    members = (case.E,) if case.E else ()
    sizes = [case.P or case.H, case.H][: 1 + case.is_lstm]
    extras: Extras = {}
    if "dropout" in means:
        kept = torch.rand(*members, case.B, sizes[0], generator=generator) > 0.5
        extras["dropout"] = kept.double() / 0.5
    if "zoneout" in means:
        shapes = [(case.T, *members, case.B, size) for size in sizes]
        drawn = [(torch.rand(s, generator=generator) < 0.3).double() for s in shapes]
        extras["zoneout"] = tuple(drawn) if len(drawn) == 2 else drawn[0]
    if means == "constant":
        extras["zoneout"] = (0.2, 0.6) if len(sizes) == 2 else 0.3
    return extras


def each(extras: Extras, change: Any) -> Extras:
    """The same with every tensor changed."""
    return torch.utils._pytree.tree_map_only(Tensor, change, extras)


def arrays(extras: Any) -> Any:
    return each(extras, lambda tensor: tensor.detach().numpy())


def test_a_clipped_gradient_does_not_know_its_padding() -> None:
    case = Case("lstm")
    tensors = case.draw()
    h, *ends = case.run(tensors, state_grad_clip=0.7)
    expected = gradients(case, (h, *ends), tensors)
    longer = {**tensors, "x": torch.cat([tensors["x"], torch.ones(3, 3, 2, dtype=h.dtype)])}
    mask = (torch.arange(7) < 4).unsqueeze(1).expand(7, 3)
    h, *ends = case.run(longer, state_grad_clip=0.7, mask=mask)
    assert worst(gradients(case, (h[:4], *ends), tensors), expected) < TOLERANCE


def gradients(case: Case, outputs: Any, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(weighted(outputs), [tensors[n] for n in case.names])


def check_against_oracle(case: Case, extras: Extras, clip: float = 0.0) -> None:
    tensors, tap = case.draw(), AdjointTap()
    outputs = case.run(tensors, **extras, state_grad_clip=clip, tap=tap)
    mask, mean = case.mask(), arrays(extras)
    how = {"mask": None if mask is None else mask.numpy(), **dict(case.options), **mean}
    values = case.arguments(arrays(tensors))
    expected = getattr(reference, case.cell)(*values, **how)
    assert worst(outputs, map(torch.tensor, expected)) < TOLERANCE

    sent = [weight.numpy() for weight in random_weights(outputs)]
    oracle = getattr(reference, f"{case.cell}_gradients")(
        *values, *sent, **how, state_grad_clip=clip
    )
    found = gradients(case, outputs, tensors)
    assert worst(found, [torch.tensor(oracle[name]) for name in case.names]) < TOLERANCE
    recorded = {"h_t": tap.dh_TBH, "h_0": tap.dh_0, "c_t": tap.dc_TBH, "c_0": tap.dc_0}
    for name, record in recorded.items():
        if record is not None:
            assert worst([record], [torch.tensor(oracle[name])]) < TOLERANCE


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("case", MASKED, ids=str)
@pytest.mark.usefixtures("kind_of_kernel")
def test_equal_to_the_oracle(case: Case, means: str) -> None:
    check_against_oracle(case, draw(case, means))


@pytest.mark.parametrize("means", ["", *MEANS])
@pytest.mark.parametrize("case", MASKED, ids=str)
@pytest.mark.usefixtures("kind_of_kernel")
def test_clipped_gradients_equal_the_oracle(case: Case, means: str) -> None:
    check_against_oracle(case, draw(case, means), clip=0.7)


@settings(max_examples=60, deadline=None)
@given(
    any_case(),
    st.sampled_from(MEANS),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([*compiled.processors(), "torch"]),
)
def test_equal_to_the_oracle_at_any_size(case: Case, means: str, clip: float, name: str) -> None:
    with compiled.using(name):
        check_against_oracle(case, draw(case, means), clip)


@pytest.mark.parametrize("case", [replace(kind, T=60, B=40, H=17) for kind in KINDS], ids=str)
def test_kernels_agree_at_a_size_where_work_is_shared_out(case: Case) -> None:
    found, extras = [], draw(case, "dropout zoneout")
    for name in (*compiled.processors(), "torch"):
        with compiled.using(name):
            tensors = case.draw()
            tensors["U"].data.mul_(0.2)  # or rounding grows through time
            outputs = case.run(tensors, **extras)
            found.append([*outputs, *gradients(case, outputs, tensors)])
    for others in found[1:]:
        assert worst(others, found[0]) < 1e-8


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
@pytest.mark.parametrize("means", ["dropout zoneout", "constant"])
@pytest.mark.parametrize("case", MASKED, ids=str)
def test_adjoint_and_its_adjoint_equal_finite_differences(case: Case, means: str) -> None:
    small = replace(case, T=3, B=2, I=2, H=2, P=1 if case.P else 0)
    tensors, extras = small.draw(), draw(small, means)

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return small.run(dict(zip(small.names, values, strict=True)), **extras)

    values = tuple(tensors[name] for name in small.names)
    assert torch.autograd.gradcheck(function, values, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


def member(tensors: Any, e: int) -> Any:
    """One member's tensors; those along time have more than the two axes [B, H] behind E."""
    return torch.utils._pytree.tree_map_only(
        Tensor, lambda tensor: tensor[:, e] if tensor.dim() == 4 else tensor[e], tensors
    )


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("case", [replace(c, E=3) for c in MASKED], ids=str)
def test_members_equal_single_nets(case: Case, means: str) -> None:
    tensors, extras = case.draw(), draw(case, means)
    outputs = case.run(tensors, **extras)
    found = gradients(case, outputs, tensors)
    alone, sent = replace(case, E=0), random_weights(outputs)
    for e in range(case.E):
        one = {n: v.detach().requires_grad_() for n, v in member(tensors, e).items()}
        expected = alone.run(one, **member(extras, e))
        assert worst(member(list(outputs), e), expected) < TOLERANCE
        loss = torch.stack(
            [(o * member(w, e)).sum() for o, w in zip(expected, sent, strict=True)]
        ).sum()
        theirs = torch.autograd.grad(loss, [one[name] for name in case.names])
        mine = [f[:, e] if n == "x" else f[e] for n, f in zip(case.names, found, strict=True)]
        assert worst(mine, theirs) < TOLERANCE


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_mapped_masks_and_weights_equal_a_loop(case: Case, means: str) -> None:
    """The masks mapped along their first axis, and once not mapped while the weights are."""
    values = {n: v.detach() for n, v in case.draw().items()}
    drawn = [draw(replace(case, seed=s), means) for s in range(3)]
    stacked = torch.utils._pytree.tree_map(
        lambda *leaves: torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *drawn
    )
    U = torch.stack([values["U"] * (1 + s) / 3 for s in range(3)])

    def gradient(U: Tensor, extras: Extras) -> Tensor:
        return grad(lambda U: case.run({**values, "U": U}, **extras)[0].square().sum())(U)

    axes = torch.utils._pytree.tree_map(lambda x: 0 if isinstance(x, Tensor) else None, stacked)
    found = vmap(gradient, (0, axes))(U, stacked)
    assert worst(found, [gradient(u, e) for u, e in zip(U, drawn, strict=True)]) < TOLERANCE
    found = vmap(lambda u: gradient(u, drawn[0]))(U)
    assert worst(found, [gradient(u, drawn[0]) for u in U]) < TOLERANCE


@pytest.mark.parametrize("means", ["dropout zoneout", "constant"])
@pytest.mark.parametrize("case", MASKED, ids=str)
@pytest.mark.usefixtures("kind_of_kernel")
def test_reverse_runs_the_series_turned_round(case: Case, means: str) -> None:
    tensors, extras, mask = case.draw(), draw(case, means), case.mask()
    turned = each(extras, lambda t: t.flip(0) if t.dim() == 3 else t)
    h, *ends = case.run(tensors, **extras, reverse=True)
    flipped = {**tensors, "x": tensors["x"].flip(0)}
    options = {"mask": None if mask is None else mask.flip(0)}
    h_there, *ends_there = case.run(flipped, **turned, **options)
    assert worst([h, *ends], [h_there.flip(0), *ends_there]) == 0.0
    found = gradients(case, (h, *ends), tensors)
    expected = gradients(case, (h_there.flip(0), *ends_there), tensors)
    assert worst(found, expected) == 0.0


@pytest.mark.parametrize("clip", [0.0, 0.7])
@pytest.mark.parametrize("means", ["", *MEANS])
@pytest.mark.parametrize("case", [replace(kind, T=5, B=4) for kind in KINDS], ids=str)
@pytest.mark.usefixtures("kind_of_kernel")
def test_packed_series_equal_masked_ones(case: Case, means: str, clip: float) -> None:
    sizes = torch.tensor([4, 4, 2, 1, 1])
    mask = torch.arange(4) < sizes.unsqueeze(1)
    tensors, extras = case.draw(), draw(case, means)
    for backwards in (False, True):
        how = {**extras, "reverse": backwards, "state_grad_clip": clip}
        h, *ends = case.run(tensors, **how, mask=mask)
        packed = case.run({**tensors, "x": tensors["x"][mask]}, **how, mask=sizes)
        assert worst(packed, [h[mask], *ends]) < TOLERANCE
        found = gradients(case, packed, tensors)
        assert worst(found, gradients(case, (h[mask], *ends), tensors)) < TOLERANCE


@pytest.mark.parametrize("case", MASKED, ids=str)
@pytest.mark.usefixtures("kind_of_kernel")
def test_rates_of_nothing_and_of_everything(case: Case) -> None:
    tensors = case.draw()
    plain = case.run(tensors)
    assert worst(case.run(tensors, zoneout=0.0, state_grad_clip=0.0), plain) == 0.0
    whole = torch.ones_like(tensors["h_0"])
    assert worst(case.run(tensors, dropout=whole), plain) == 0.0
    h, *_ = case.run(tensors, zoneout=1.0)
    assert worst([h], [tensors["h_0"].expand_as(h)]) == 0.0


@pytest.mark.parametrize("case", MASKED, ids=str)
@pytest.mark.usefixtures("kind_of_kernel")
def test_one_number_is_a_tensor_of_it(case: Case) -> None:
    tensors = case.draw()
    h = case.run(tensors)[0]
    widths = [h.shape[-1], case.H] if case.is_lstm else [case.H]
    full = [torch.full((*h.shape[:-1], width), 0.3, dtype=h.dtype) for width in widths]
    spread = tuple(full) if len(full) == 2 else full[0]
    found, expected = (case.run(tensors, zoneout=z) for z in (0.3, spread))
    assert worst(found, expected) == 0.0
    both = [gradients(case, outputs, tensors) for outputs in (found, expected)]
    assert worst(*both) == 0.0


def test_one_state_of_the_lstm_alone() -> None:
    case = Case("lstm")
    zone_h, zone_c = draw(case, "zoneout")["zoneout"]
    for pair, full in (
        ((zone_h, None), (zone_h, torch.zeros_like(zone_c))),
        ((None, zone_c), (torch.zeros_like(zone_h), zone_c)),
    ):
        tensors = case.draw()
        found, expected = (case.run(tensors, zoneout=z) for z in (pair, full))
        assert worst(found, expected) == 0.0
        both = [gradients(case, outputs, tensors) for outputs in (found, expected)]
        assert worst(*both) == 0.0


def test_masks_may_be_of_other_precisions_and_layouts() -> None:
    case = Case("gru")
    tensors, extras = case.draw(), draw(case, "dropout zoneout")
    expected = case.run(tensors, **extras)
    d, zone = extras["dropout"], extras["zoneout"]
    strided = zone.transpose(0, 2).contiguous().transpose(0, 2)
    for others in ({"zoneout": zone.bool()}, {"zoneout": strided}, {"dropout": d.mT.clone().mT}):
        assert worst(case.run(tensors, **{**extras, **others}), expected) == 0.0
    with torch.autocast("cpu", torch.bfloat16):
        assert worst(case.run(tensors, **extras), expected) == 0.0


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("case", [*MASKED, *(replace(k, E=2) for k in KINDS)], ids=str)
def test_graphs_hold_the_operator_and_are_right(case: Case, means: str) -> None:
    values, extras = {n: v.detach() for n, v in case.draw().items()}, draw(case, means)

    def gradient(x: Tensor, extras: Extras) -> Tensor:
        return grad(lambda x: case.run({**values, "x": x}, **extras)[0].square().sum())(x)

    for backwards in (False, True):
        how = {**extras, "reverse": backwards, "mask": case.mask()}
        graph = make_fx(partial(gradient, extras=how))(values["x"])
        nodes = [n for n in graph.graph.nodes if "throughtime" in str(n.target)]
        assert len(nodes) == 2
        x = 2 * values["x"]
        assert worst([graph(x)], [gradient(x, how)]) == 0.0


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_second_derivatives_of_operators_are_the_eager_ones(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> list[Tensor]:
        tensors = case.draw()
        loss = weighted(case.run(tensors, **draw(case, "dropout zoneout")))
        used = [tensors[n] for n in case.names]
        first = torch.autograd.grad(loss, used, create_graph=True)
        return list(torch.autograd.grad(weighted(first), used))

    expected = twice()
    monkeypatch.setattr(recurrence, "is_traced", lambda x: True)
    assert worst(twice(), expected) < TOLERANCE


def test_clipping_is_not_for_graphs() -> None:
    values = {n: v.detach() for n, v in Case("gru").draw().items()}
    with pytest.raises(SettingError, match="no clipping of state gradients in a graph"):
        make_fx(lambda x: Case("gru").run({**values, "x": x}, state_grad_clip=1.0)[0])(values["x"])


def test_a_clipped_gradient_is_not_differentiated() -> None:
    case = Case("gru")
    tensors = case.draw()
    loss = weighted(case.run(tensors, state_grad_clip=1.0))
    with pytest.raises(SettingError, match="gradient of no loss"):
        torch.autograd.grad(loss, tensors["U"], create_graph=True)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_what_cannot_be_is_refused(name: str) -> None:
    case = Case(name)
    tensors, extras = case.draw(), draw(case, "dropout")
    with pytest.raises(SettingError, match="a gradient to be wanted"):
        case.run(tensors, dropout=extras["dropout"].requires_grad_())
    with pytest.raises(TensorError, match=r"dropout of shape \[3, 5\], found \[2, 5\]"):
        case.run(tensors, dropout=torch.ones(2, 5))
    zone = torch.zeros(2, 3, 5)
    with pytest.raises(TensorError, match=r"zoneout of shape \[4, 3, 5\]"):
        case.run(tensors, zoneout=(zone, zone) if name == "lstm" else zone)
    with pytest.raises(SettingError, match="zoneout to be a number at least 0 and at most 1"):
        case.run(tensors, zoneout=1.5)
