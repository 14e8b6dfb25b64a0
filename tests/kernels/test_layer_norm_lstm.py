"""The layer-normalised LSTM equals its oracle, autograd over PyTorch's normalisation, and differences.

What drops out, zones out and is clipped in it is held to the oracle in test_regularised.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import FORWARD_MODE_COMPILES, NORMED, Case, random_weights, weighted, worst
from torch import Tensor
from torch.nn.functional import layer_norm

from throughtime.kernels import AdjointTap, reference

TOLERANCE = 1e-10
CASES = [replace(NORMED, bias=b, masked=m) for b in (True, False) for m in (True, False)]
CASES += [replace(NORMED, E=3, masked=True), replace(NORMED, T=1, B=1, H=1), replace(NORMED, B=0)]


def plain_loop(case: Case, tensors: dict[str, Tensor]) -> list[Tensor]:
    x, h_0, c_0, W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c = case.arguments(tensors)
    rows = [v if v is None else v.unsqueeze(-2) for v in (gamma_x, gamma_h, gamma_c, beta_c)]
    gamma_x, gamma_h, gamma_c, beta_c = rows
    b = 0.0 if b_ih is None else (b_ih + b_hh).unsqueeze(-2)
    mask, h, c, outputs = case.mask(), h_0, c_0, []
    for t in range(case.T):
        h_before, c_before = h, c
        size = (4 * case.H,)
        a = layer_norm(x[t] @ W.mT, size) * gamma_x + layer_norm(h @ U.mT, size) * gamma_h + b
        i, f, g, o = a.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        k = layer_norm(c, (case.H,)) * gamma_c
        h = o.sigmoid() * (k if beta_c is None else k + beta_c).tanh()
        if mask is not None:
            real = mask[t].unsqueeze(-1)
            h, c = torch.where(real, h, h_before), torch.where(real, c, c_before)
        outputs.append(h)
    return [torch.stack(outputs), h, c]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_equals_plain_loop(case: Case) -> None:
    tensors = case.draw()
    ours, theirs = case.run(tensors), plain_loop(case, tensors)
    assert worst(ours, theirs) < TOLERANCE
    used = [tensors[name] for name in case.names]
    grads = [torch.autograd.grad(weighted(outputs), used) for outputs in (ours, theirs)]
    assert worst(*grads) < TOLERANCE


@pytest.mark.parametrize("case", [c for c in CASES if not c.E], ids=str)
def test_kernel_equals_oracle(case: Case) -> None:
    tensors, tap, mask = case.draw(), AdjointTap(), case.mask()
    outputs = case.run(tensors, tap=tap)
    sent = [weight.numpy() for weight in random_weights(outputs)]
    arguments = case.arguments({name: t.detach().numpy() for name, t in tensors.items()})
    skip = None if mask is None else mask.numpy()
    expected = reference.layer_norm_lstm(*arguments, mask=skip)
    assert worst(outputs, map(torch.tensor, expected)) < TOLERANCE
    oracle = reference.layer_norm_lstm_gradients(*arguments, *sent, mask=skip)
    found = torch.autograd.grad(weighted(outputs), [tensors[name] for name in case.names])
    assert worst(found, [torch.tensor(oracle[name]) for name in case.names]) < TOLERANCE
    recorded = [tap.dh_TBH, tap.dc_TBH, tap.dh_0, tap.dc_0]
    wanted = [torch.tensor(oracle[name]) for name in ("h_t", "c_t", "h_0", "c_0")]
    assert worst(recorded, wanted) < TOLERANCE


@pytest.mark.filterwarnings(FORWARD_MODE_COMPILES)
@pytest.mark.parametrize("masked", [True, False])
def test_adjoint_and_its_adjoint_equal_finite_differences(masked: bool) -> None:
    case = replace(NORMED, T=3, B=2, H=3, masked=masked)
    tensors = case.draw()

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return case.run(dict(zip(case.names, values, strict=True)))

    values = tuple(tensors[name] for name in case.names)
    assert torch.autograd.gradcheck(function, values, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


@pytest.mark.parametrize("name", NORMED.names)
def test_only_what_is_needed_is_computed_and_it_is_the_same(name: str) -> None:
    tensors = NORMED.draw()
    (among,) = torch.autograd.grad(weighted(NORMED.run(tensors)), [tensors[name]])
    frozen = {n: t if n == name else t.detach() for n, t in tensors.items()}
    (alone,) = torch.autograd.grad(weighted(NORMED.run(frozen)), [frozen[name]])
    assert worst([alone], [among]) == 0.0


def test_the_scale_of_weights_does_not_matter() -> None:
    tensors = NORMED.draw()
    larger = {**tensors, "W": 50 * tensors["W"], "U": 20 * tensors["U"]}
    smaller = {**tensors, "W": 5 * tensors["W"], "U": 2 * tensors["U"]}
    assert worst(NORMED.run(larger), NORMED.run(smaller)) < 1e-4  # but for the epsilon
