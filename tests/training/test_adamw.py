import pytest
import torch

from throughtime.training.adamw import AdamW


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_the_optimiser_of_torch(weight_decay):
    g = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 5, generator=g, dtype=torch.float64)
    parameter = torch.nn.Parameter(weights.clone())
    theirs = torch.optim.AdamW([parameter], weight_decay=weight_decay)
    ours = AdamW.like(weights, weight_decay)
    for k in range(20):
        gradient = torch.randn(2, 5, generator=g, dtype=torch.float64) * 10 ** (k % 4)
        rate = 0.1 / (k + 1)
        theirs.param_groups[0]["lr"] = rate
        parameter.grad = gradient.clone()
        theirs.step()
        weights = ours.step(weights, gradient, rate)
        torch.testing.assert_close(weights, parameter.data, rtol=1e-12, atol=1e-14)


def test_the_weights_passed_in_are_left_as_they_were():
    weights = torch.ones(1, 2)
    AdamW.like(weights).step(weights, torch.ones(1, 2), 0.1)
    assert (weights == 1).all()
