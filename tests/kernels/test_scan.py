"""The scan equals a loop, and its adjoint equals autograd through it."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from throughtime.kernels import adjoint_scan, scan


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_adjoint_scan_equals_autograd(T: int, B: int, H: int, masked: bool, seed: int) -> None:
    torch.manual_seed(seed)
    U = torch.randn(H, H, dtype=torch.float64)
    x = torch.randn(T, B, H, dtype=torch.float64)
    s_0 = torch.randn(B, H, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(T, B) > 0.5 if masked else None

    def step(s: Tensor, x_t: Tensor) -> tuple[Tensor, ...]:
        return ((s @ U.mT + x_t).tanh(),)

    (states,), (last,) = scan(step, (s_0,), [x], mask)
    assert torch.equal(states[-1], last)
    e = torch.randn_like(states)
    (expected,) = torch.autograd.grad((e * states).sum(), [s_0])

    def step_adjoint(d: Tensor, s_t: Tensor) -> tuple[Tensor, ...]:
        return (((1 - s_t**2) * d) @ U,)

    (totals,), (initial,) = adjoint_scan(step_adjoint, (e,), [states.detach()], mask)
    torch.testing.assert_close(initial, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(totals[-1], e[-1])


def test_a_masked_step_keeps_the_state() -> None:
    mask = torch.tensor([[True], [False], [True]])
    ones = torch.ones(3, 1, 1)
    (states,), _ = scan(lambda s, x_t: (s + x_t,), (torch.zeros(1, 1),), [ones], mask)
    assert states.flatten().tolist() == [1.0, 1.0, 2.0]
