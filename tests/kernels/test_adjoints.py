"""The fast kernels equal the oracle, autograd over a plain loop, and finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import (
    ALL,
    FORWARD_MODE_COMPILES,
    KINDS,
    MASKED,
    MEMBERS,
    PLAIN,
    Case,
    any_case,
    random_weights,
    weighted,
    worst,
)
from hypothesis import given, settings
from torch import Tensor

from throughtime import SettingError, kernels
from throughtime.kernels import reference
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.tap import AdjointTap

TOLERANCE = 1e-10
SMALL = {"T": 3, "B": 2, "I": 2, "H": 2}


def plain_loop(case: Case, tensors: dict[str, Tensor]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The outputs by one tensor operation after the other, and the states of every time step."""
    x, W, U = tensors["x"], tensors["W"], tensors["U"]
    b_ih, b_hh = (tensors[b].unsqueeze(-2) if case.bias else 0.0 for b in ("b_ih", "b_hh"))
    options, mask = dict(case.options), case.mask()
    h, c = tensors["h_0"], tensors.get("c_0")
    track = []
    for t in range(case.T):
        h_before, c_before = h, c
        real = 1.0 if mask is None else mask[t].unsqueeze(-1).double()
        from_x, from_h = x[t] @ W.mT + b_ih, h @ U.mT + b_hh
        if case.cell == "rnn":
            h = (from_x + from_h).relu() if options.get("phi") else (from_x + from_h).tanh()
        elif case.cell == "lstm":
            i, f, g, o = (from_x + from_h).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            c = real * c + (1 - real) * c_before
            h = o.sigmoid() * c.tanh()
            h = h @ tensors["P"].mT if case.P else h
            c = c.clone()  # a node behind c_t -> h_t, whose gradient is that with h_t held
        else:
            (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3, -1), from_h.chunk(3, -1)
            r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
            if options.get("reset"):
                b_hn = b_hh[..., 2 * case.H :] if case.bias else 0.0
                h_n = (r * h) @ U.chunk(3, -2)[2].mT + b_hn
                n = (x_n + h_n).tanh()
            else:
                n = (x_n + r * h_n).tanh()
            h = (1 - z) * n + z * h
        h = real * h + (1 - real) * h_before
        track.append([h] if c is None else [h, c])
    h_all = torch.stack([states[0] for states in track])
    return [h_all, *track[-1]], track


def gradients(case: Case, outputs: Any, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(weighted(outputs), [tensors[n] for n in case.names])


def check_against_plain_loop(case: Case) -> None:
    tensors = case.draw()
    ours, (theirs, _) = case.run(tensors), plain_loop(case, tensors)
    assert worst(ours, theirs) < TOLERANCE
    assert worst(gradients(case, ours, tensors), gradients(case, theirs, tensors)) < TOLERANCE


def oracle_gradients(case: Case, tensors: dict[str, Tensor]) -> dict[str, Any]:
    d_outputs = [weight.numpy() for weight in random_weights(case.run(tensors))]
    arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    mask = case.mask()
    return getattr(reference, f"{case.cell}_gradients")(
        *case.arguments(arrays),
        *d_outputs,
        mask=None if mask is None else mask.numpy(),
        **dict(case.options),
    )


@pytest.mark.parametrize("case", ALL, ids=str)
def test_kernel_equals_plain_loop(case: Case) -> None:
    check_against_plain_loop(case)


@settings(max_examples=60, deadline=None)
@given(any_case())
def test_kernel_equals_plain_loop_at_any_size(case: Case) -> None:
    check_against_plain_loop(case)


@settings(max_examples=40, deadline=None)
@given(any_case(members=True))
def test_members_equal_plain_loop_at_any_size(case: Case) -> None:
    check_against_plain_loop(case)


@pytest.mark.parametrize("case", [*PLAIN, *MASKED], ids=str)
def test_kernel_equals_oracle(case: Case) -> None:
    tensors = case.draw()
    arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    mask = case.mask()
    options = {"mask": None if mask is None else mask.numpy(), **dict(case.options)}
    expected = getattr(reference, case.cell)(*case.arguments(arrays), **options)
    outputs = case.run(tensors)
    assert worst(outputs, [torch.from_numpy(np.array(e)) for e in expected]) < TOLERANCE

    oracle = oracle_gradients(case, tensors)
    ours = gradients(case, outputs, tensors)
    assert worst(ours, [torch.from_numpy(oracle[name]) for name in case.names]) < TOLERANCE


@pytest.mark.parametrize("case", [*PLAIN, *MASKED], ids=str)
def test_tap_holds_the_gradient_of_every_state(case: Case) -> None:
    tensors, tap = case.draw(), AdjointTap()
    weighted(case.run(tensors, tap=tap)).backward()
    oracle = oracle_gradients(case, tensors)
    expected = [oracle["h_t"], oracle["h_0"]]
    found = [tap.dh_TBH, tap.dh_0]
    if case.cell == "lstm":
        expected, found = [*expected, oracle["c_t"], oracle["c_0"]], [*found, tap.dc_TBH, tap.dc_0]
    else:
        assert tap.dc_TBH is None
    assert worst(found, map(torch.from_numpy, expected)) < TOLERANCE


@pytest.mark.parametrize("case", MEMBERS, ids=str)
def test_tap_equals_autograd_of_the_plain_loop(case: Case) -> None:
    tensors, tap = case.draw(), AdjointTap()
    weighted(case.run(tensors, tap=tap)).backward()
    outputs, track = plain_loop(case, tensors)
    states = [state for states in track for state in states]
    totals = torch.autograd.grad(weighted(tuple(outputs)), states)
    each = len(track[0])
    assert worst(tap.dh_TBH, totals[::each]) < TOLERANCE
    if each == 2:
        assert worst(tap.dc_TBH, totals[1::each]) < TOLERANCE


# of the eighth order: d f(0) = sum_k w_k (f(k e) - f(-k e)) / e, up to e^8 and rounding / e
STENCIL = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}


@pytest.mark.parametrize("case", [*PLAIN, *MASKED], ids=str)
def test_every_gradient_equals_finite_differences_to_ten_digits(case: Case) -> None:
    """Along a random direction in each argument; a ReLU is stepped too shortly to meet a kink."""
    tensors, step = case.draw(), 1e-3 if "relu" in str(case) else 0.005

    def loss(given: dict[str, Tensor]) -> Tensor:
        return weighted(case.run(given))

    gradients = torch.autograd.grad(loss(tensors), [tensors[name] for name in case.names])
    generator = torch.Generator().manual_seed(7)
    for name, gradient in zip(case.names, gradients, strict=True):
        v = torch.randn(gradient.shape, dtype=torch.float64, generator=generator)
        v /= v.norm()

        def moved(k: int, name: str = name, v: Tensor = v) -> float:
            return loss({**tensors, name: tensors[name] + k * step * v}).item()

        difference = sum(w * (moved(k) - moved(-k)) for k, w in STENCIL.items()) / step
        assert abs((gradient * v).sum().item() - difference) < TOLERANCE, name


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
@pytest.mark.parametrize("case", [*KINDS, *MASKED], ids=str)
def test_adjoint_and_its_adjoint_equal_finite_differences(case: Case) -> None:
    small = replace(case, **SMALL, P=1 if case.P else 0)
    tensors = small.draw()

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return small.run(dict(zip(small.names, values, strict=True)))

    values = tuple(tensors[name] for name in small.names)
    assert torch.autograd.gradcheck(function, values, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("name", ["x", "W", "U"])
def test_only_what_is_needed_is_computed_and_it_is_the_same(case: Case, name: str) -> None:
    tensors = case.draw()
    (alone,) = torch.autograd.grad(weighted(case.run(tensors)), [tensors[name]])
    frozen = {n: t if n == name else t.detach() for n, t in tensors.items()}
    (among,) = torch.autograd.grad(weighted(case.run(frozen)), [frozen[name]])
    assert worst([alone], [among]) == 0.0


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("output", [0, 1])
def test_a_loss_on_one_output_alone(case: Case, output: int) -> None:
    tensors = case.draw()
    ours, theirs = case.run(tensors)[output], plain_loop(case, tensors)[0][output]
    used = [tensors[n] for n in case.names]
    assert worst(*(torch.autograd.grad(weighted((o,)), used) for o in (ours, theirs))) < TOLERANCE


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_padding_may_hold_anything(case: Case) -> None:
    tensors, mask = case.draw(), case.mask()
    assert mask is not None
    clean = gradients(case, case.run(tensors), tensors)
    x = tensors["x"].detach().masked_fill(~mask.unsqueeze(-1), float("nan"))
    tensors["x"] = x.requires_grad_()
    assert worst(gradients(case, case.run(tensors), tensors), clean) == 0.0


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_float32_is_close_and_stays_float32(case: Case) -> None:
    tensors = {n: t.detach().float().requires_grad_() for n, t in case.draw().items()}
    outputs = case.run(tensors)
    assert all(o.dtype == torch.float32 for o in outputs)
    exact = case.run(case.draw())
    assert worst([o.double() for o in outputs], exact) < 1e-5
    assert all(g.dtype == torch.float32 for g in gradients(case, outputs, tensors))


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_long_sequences_cross_the_adjoint_chunks(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels.buffers, "CHUNK_ELEMENTS", 150)
    check_against_plain_loop(replace(case, T=17, masked=True))


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_outputs_may_be_changed_in_place(case: Case) -> None:
    tensors = case.draw()
    used = [tensors[n] for n in case.names]
    h, *_ = case.run(tensors)
    in_place = torch.autograd.grad(weighted((h.mul_(2.0),)), used)
    h, *_ = case.run(tensors)
    assert worst(in_place, torch.autograd.grad(weighted((h * 2.0,)), used)) == 0.0


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_backward_may_run_twice(case: Case) -> None:
    tensors = case.draw()
    loss = weighted(case.run(tensors))
    used = [tensors[n] for n in case.names]
    first = torch.autograd.grad(loss, used, retain_graph=True)
    assert worst(first, torch.autograd.grad(loss, used)) == 0.0


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_no_time_step_is_refused(case: Case) -> None:
    with pytest.raises(SettingError, match="at least one time step"):
        case.run(replace(case, T=0).draw())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SettingError, match="phi"):
        Case("rnn", options=(("phi", "sigmoid"),)).run(Case("rnn").draw())
    with pytest.raises(SettingError, match="reset"):
        Case("gru", options=(("reset", "never"),)).run(Case("gru").draw())


def test_a_kernel_must_say_all_of_it() -> None:
    said = {"operator", "states", "clip", "forward", "blank", "adjoint", "replay"}
    assert Kernel.__abstractmethods__ == said
