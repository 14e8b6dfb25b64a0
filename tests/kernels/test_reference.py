"""The oracle equals torch.nn, which shares no line with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from throughtime.kernels import reference

T, B, INPUT, H = 4, 3, 2, 3


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_oracle_equals_torch(name: str, bias: bool, proj_size: int) -> None:
    if proj_size and name != "LSTM":
        pytest.skip("torch projects the LSTM alone")
    torch.manual_seed(0)
    options = {"proj_size": proj_size} if name == "LSTM" else {}
    layer = getattr(torch.nn, name)(INPUT, H, bias=bias, dtype=torch.float64, **options)
    x = torch.randn(T, B, INPUT, dtype=torch.float64, requires_grad=True)
    h_0 = torch.randn(1, B, proj_size or H, dtype=torch.float64, requires_grad=True)
    c_0 = torch.randn(1, B, H, dtype=torch.float64, requires_grad=True)
    states = [h_0, c_0] if name == "LSTM" else [h_0]
    h, last = layer(x, tuple(states) if name == "LSTM" else h_0)
    outputs = [h, *(s[0] for s in (last if name == "LSTM" else [last]))]
    d_outputs = [torch.randn_like(o) for o in outputs]
    torch.stack([(o * d).sum() for o, d in zip(outputs, d_outputs, strict=True)]).sum().backward()

    weights = [w.detach().numpy() for w in layer.parameters()]
    P = [weights.pop() if proj_size else None] if name == "LSTM" else []
    W, U, b_ih, b_hh = [*weights, None, None][:4]
    given = [x.detach().numpy(), *(s.detach()[0].numpy() for s in states), W, U, b_ih, b_hh, *P]
    found = getattr(reference, name.lower())(*given)
    for ours, theirs in zip(found, outputs, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-12)

    grads = getattr(reference, f"{name.lower()}_gradients")(*given, *(d.numpy() for d in d_outputs))
    assert x.grad is not None
    np.testing.assert_allclose(grads["x"], x.grad.numpy(), atol=1e-12)
    for state, key in zip(states, ["h_0", "c_0"], strict=False):
        assert state.grad is not None
        np.testing.assert_allclose(grads[key], state.grad[0].numpy(), atol=1e-12)
    names = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    for parameter, value in layer.named_parameters():
        key = {**names, "weight_hr": "P"}[parameter.removesuffix("_l0")]
        np.testing.assert_allclose(grads[key], value.grad.numpy(), atol=1e-12)
