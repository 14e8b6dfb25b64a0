import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, StudentT
from torch.nn import functional as F

from throughtime import DataError, SettingError
from throughtime.training import losses

LEVELS = (0.1, 0.5, 0.9)


def draw(loss_name: str, shape=(4, 3), seed=0):
    """Parameters of the right kind and targets, float64."""
    g = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, *shape, generator=g, dtype=torch.float64)
    positive = lambda: normal().exp()  # noqa: E731
    params = {
        "quantile": lambda: torch.stack([normal(), normal(), normal()], -1),
        "gaussian_nll": lambda: torch.stack([normal(), positive()], -1),
        "student_t_nll": lambda: torch.stack([positive() + 1, normal(), positive()], -1),
        "cross_entropy": lambda: torch.stack([normal() for _ in range(5)], -1),
    }.get(loss_name, lambda: normal().unsqueeze(-1))()
    if loss_name == "cross_entropy":
        return params, torch.randint(0, 5, shape, generator=g)
    return params, normal()


def pinball(params, target):
    total = 0.0
    for i, q in enumerate(LEVELS):
        d = target - params[..., i]
        total += torch.where(d >= 0, q * d, (q - 1) * d).mean()
    return total / len(LEVELS)


ORACLES = {
    "mse": (losses.mse, lambda p, y: F.mse_loss(p[..., 0], y)),
    "mae": (losses.mae, lambda p, y: F.l1_loss(p[..., 0], y)),
    "huber": (
        partial(losses.huber, delta=0.7),
        lambda p, y: F.huber_loss(p[..., 0], y, delta=0.7),
    ),
    "quantile": (losses.Quantile(LEVELS), pinball),
    "gaussian_nll": (
        losses.gaussian_nll,
        lambda p, y: -Normal(p[..., 0], p[..., 1]).log_prob(y).mean(),
    ),
    "student_t_nll": (
        losses.student_t_nll,
        lambda p, y: -StudentT(p[..., 0], p[..., 1], p[..., 2]).log_prob(y).mean(),
    ),
    "cross_entropy": (
        losses.cross_entropy,
        lambda p, y: F.cross_entropy(p.flatten(0, -2), y.flatten()),
    ),
}
every_loss = pytest.mark.parametrize("name", ORACLES)


@every_loss
def test_equals_its_oracle_with_its_gradient(name):
    loss, oracle = ORACLES[name]
    params, target = draw(name)
    values, gradients = [], []
    for function in (loss, oracle):
        leaf = params.clone().requires_grad_()
        value = function(leaf, target)
        value.backward()
        values.append(value)
        gradients.append(leaf.grad)
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


@every_loss
@given(hidden=st.lists(st.booleans(), min_size=12, max_size=12), seed=st.integers(0, 99))
def test_mean_runs_over_what_was_observed_and_the_rest_has_no_gradient(name, hidden, seed):
    loss, _ = ORACLES[name]
    params, target = draw(name, seed=seed)
    params.requires_grad_()
    hole = torch.tensor(hidden).reshape(4, 3)
    masked = loss(params, torch.where(hole, torch.nan, target.double()))
    masked.backward()
    assert params.grad.isfinite().all()
    assert (params.grad[hole] == 0).all()
    seen = loss(params[~hole], target[~hole])
    torch.testing.assert_close(masked, seen, rtol=1e-12, atol=1e-15)
    if hole.all():
        assert masked == 0


def test_a_class_below_zero_is_not_observed():
    params, target = draw("cross_entropy")
    target[0] = -100
    torch.testing.assert_close(
        losses.cross_entropy(params, target), losses.cross_entropy(params[1:], target[1:])
    )


@every_loss
def test_weights_repeat_examples(name):
    loss, _ = ORACLES[name]
    params, target = draw(name)
    weights = torch.tensor([2.0, 0.0, 1.0, 1.0], dtype=torch.float64).unsqueeze(-1).expand(4, 3)
    pick = torch.tensor([0, 0, 2, 3])
    torch.testing.assert_close(
        loss(params, target, weights), loss(params[pick], target[pick]), rtol=1e-12, atol=0
    )


@every_loss
def test_members_of_an_ensemble_have_their_own_loss(name):
    loss, _ = ORACLES[name]
    params, target = draw(name, shape=(3, 4, 2))
    target = torch.where(torch.arange(3)[:, None, None] == 1, torch.nan, target.double())
    one_by_one = torch.stack([loss(p, y) for p, y in zip(params, target, strict=True)])
    torch.testing.assert_close(
        losses.per_member(loss, params, target), one_by_one, rtol=1e-12, atol=0
    )
    assert one_by_one[1] == 0


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "quantile", "gaussian_nll"])
def test_shapes_that_would_broadcast_in_silence_are_refused(name):
    loss, _ = ORACLES[name]
    params, target = draw(name)
    with pytest.raises(DataError, match="leading axes"):
        loss(params, target[:, :1])
    with pytest.raises(DataError, match=r"last axis|one for each"):
        loss(torch.cat([params, params], -1), target)


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.5, 0.5), (0.0,), (1.0,), (math.nan,)])
def test_bad_quantile_levels_are_refused(levels):
    with pytest.raises(SettingError, match="quantile level"):
        losses.Quantile(levels)
