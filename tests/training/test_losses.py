import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import (
    Categorical,
    MixtureSameFamily,
    NegativeBinomial,
    Normal,
    StudentT,
)
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
        "negative_binomial_nll": lambda: torch.stack([positive(), positive()], -1),
        "mixture_nll": lambda: torch.cat(
            [
                torch.stack([normal(), normal()], -1).log_softmax(-1),
                torch.stack([normal(), normal(), positive(), positive()], -1),
            ],
            -1,
        ),
        "cross_entropy": lambda: torch.stack([normal() for _ in range(5)], -1),
    }.get(loss_name, lambda: normal().unsqueeze(-1))()
    if loss_name == "cross_entropy":
        return params, torch.randint(0, 5, shape, generator=g)
    if loss_name == "negative_binomial_nll":
        return params, torch.randint(0, 30, shape, generator=g).double()
    return params, normal()


def pinball(params, target):
    total = 0.0
    for i, q in enumerate(LEVELS):
        d = target - params[..., i]
        total += torch.where(d >= 0, q * d, (q - 1) * d).mean()
    return total / len(LEVELS)


def mixture(p):
    ln_w, m, s = p.tensor_split(3, -1)
    return MixtureSameFamily(Categorical(logits=ln_w), Normal(m, s))


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
    "negative_binomial_nll": (
        losses.negative_binomial_nll,
        lambda p, y: (
            -NegativeBinomial(1 / p[..., 1], logits=(p[..., 0] * p[..., 1]).log())
            .log_prob(y)
            .mean()
        ),
    ),
    "mixture_nll": (losses.mixture_nll, lambda p, y: -mixture(p).log_prob(y).mean()),
    "cross_entropy": (
        losses.cross_entropy,
        lambda p, y: F.cross_entropy(p.flatten(0, -2), y.flatten()),
    ),
}


def normalised(p):
    """Log weights that sum to one wherever the leaf is moved, as the head gives them."""
    return torch.cat([p[..., :2].log_softmax(-1), p[..., 2:]], -1)


every_loss = pytest.mark.parametrize("name", ORACLES)


@every_loss
def test_equals_its_oracle_with_its_gradient(name):
    loss, oracle = ORACLES[name]
    params, target = draw(name)
    values, gradients = [], []
    for function in (loss, oracle):
        leaf = params.clone().requires_grad_()
        value = function(normalised(leaf) if name == "mixture_nll" else leaf, target)
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


finite_losses = [name for name in ORACLES if name != "cross_entropy"]


@pytest.mark.parametrize("name", finite_losses)
def test_gradient_against_finite_differences(name):
    loss, _ = ORACLES[name]
    params, target = draw(name)
    assert torch.autograd.gradcheck(lambda p: loss(p, target), params.requires_grad_())


logs = st.floats(math.log(1e-8), math.log(1e6)).map(math.exp)


@given(mean=logs, dispersion=logs, y=st.integers(0, 10**5))
def test_negative_binomial_is_its_product_in_both_precisions(mean, dispersion, y):
    for dtype, digits in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        params = torch.tensor([[mean, dispersion]], dtype=dtype, requires_grad=True)
        value = losses.negative_binomial_nll(params, torch.tensor([y], dtype=dtype))
        value.backward()
        mu, alpha = params[0].tolist()
        ways = np.log1p(alpha * np.arange(y)).sum() + y * math.log(mu) - math.lgamma(y + 1)
        oracle = (y + 1 / alpha) * math.log1p(alpha * mu) - ways
        assert value.item() == pytest.approx(oracle, rel=digits, abs=digits * (1 + y))
        assert params.grad.isfinite().all()


@given(mean=st.floats(0.1, 100), dispersion=st.floats(0.01, 10), y=st.integers(0, 200))
def test_negative_binomial_against_scipy(mean, dispersion, y):
    params = torch.tensor([[mean, dispersion]], dtype=torch.float64)
    value = losses.negative_binomial_nll(params, torch.tensor([float(y)]).double()).item()
    oracle = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))
    assert value == pytest.approx(-oracle.logpmf(y), rel=1e-9, abs=1e-9)


@given(y=st.integers(0, 50), mean=st.floats(0.1, 50))
def test_negative_binomial_of_no_dispersion_is_poisson(y, mean):
    params = torch.tensor([[mean, 1e-9]], dtype=torch.float64)
    value = losses.negative_binomial_nll(params, torch.tensor([float(y)]).double()).item()
    assert value == pytest.approx(-stats.poisson(mean).logpmf(y), abs=1e-5)


@given(df=st.floats(math.log(2.001), math.log(1e6)).map(math.exp), y=st.floats(-50, 50))
def test_student_t_against_scipy_in_both_precisions(df, y):
    for dtype, digits in ((torch.float64, 1e-9), (torch.float32, 2e-6)):
        params = torch.tensor([[df, 0.5, 2.0]], dtype=dtype)
        value = losses.student_t_nll(params, torch.tensor([y], dtype=dtype)).item()
        oracle = -stats.t(params[0, 0].item(), 0.5, 2.0).logpdf(torch.tensor(y, dtype=dtype).item())
        assert value == pytest.approx(oracle, rel=10 * digits, abs=digits)


def test_a_mixture_of_no_three_parts_is_refused():
    with pytest.raises(DataError, match="a last axis of 3 K"):
        losses.mixture_nll(torch.zeros(2, 4), torch.zeros(2))


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
        losses.per_member(loss)(params, target, None), one_by_one, rtol=1e-12, atol=0
    )
    assert one_by_one[1] == 0


@every_loss
@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_members_at_once_are_the_mapped_ones_to_the_last_bit(name, gap, weighted):
    loss, _ = ORACLES[name]
    params, target = draw(name, shape=(3, 32, 11))
    params, target = params.float(), target.float()
    target[1, :3, 5] = torch.nan if gap else target[1, :3, 5]
    weights = torch.linspace(0, 2, target.numel()).reshape(target.shape) if weighted else None
    found = []
    for each in (loss, lambda *given: loss(*given)):  # which does not take `members`
        leaf = params.clone().requires_grad_()
        values = losses.per_member(each)(leaf, target, weights)
        values.backward(torch.tensor([1.0, 0.3, 2.0]))
        found += [values, leaf.grad]
    assert found[0].equal(found[2])
    assert found[1].equal(found[3])


def test_a_target_without_an_axis_beside_the_members_is_refused():
    with pytest.raises(DataError, match="leading axes"):
        losses.per_member(losses.mae)(torch.zeros(3, 1), torch.zeros(3), None)


@pytest.mark.parametrize(
    "name", ["mse", "mae", "huber", "quantile", "gaussian_nll", "negative_binomial_nll"]
)
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
