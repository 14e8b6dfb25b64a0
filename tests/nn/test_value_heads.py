"""Heads of values as distributions, against scipy: quantiles, samples, probabilities, scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.nn.heads import (
    GaussianHead,
    MixtureHead,
    NegativeBinomialHead,
    PointHead,
    QuantileHead,
    StudentTHead,
    ValueHead,
)
from throughtime.nn.heads.special import betainc, log_rising

LEVELS = (0.05, 0.3, 0.5, 0.9)
HEADS: dict[str, ValueHead] = {
    "point": PointHead(4, 3),
    "quantiles": QuantileHead(4, 3, LEVELS),
    "gaussian": GaussianHead(4, 3),
    "student-t": StudentTHead(4, 3),
    "negative-binomial": NegativeBinomialHead(4, 3),
    "mixture": MixtureHead(4, 3, components=2),
}
every_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
spread = pytest.mark.parametrize("head", [HEADS[n] for n in HEADS if n != "point"])
continuous = pytest.mark.parametrize(
    "head", [HEADS[n] for n in ("quantiles", "gaussian", "student-t", "mixture")]
)
level = st.floats(1e-4, 1 - 1e-4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def params_of(head: ValueHead, *shape: int, seed: int = 0) -> Tensor:
    """Parameters [*shape, 3, parameters] in float64, some of them far from where training starts."""
    raw = 2 * torch.randn(*shape, 3, head.parameter_count, generator=generator(seed))
    return head._constrain(raw.double()).detach()


def row(*parameters: float) -> Tensor:
    return torch.tensor([parameters], dtype=torch.float64)


# Against scipy -------------------------------------------------------------------------------


@settings(deadline=None)
@given(q=level, mean=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3))
def test_gaussian_quantiles_and_probabilities(q, mean, scale):
    head, params, oracle = HEADS["gaussian"], row(mean, scale), stats.norm(mean, scale)
    y = head.quantile(params, q)
    assert y.item() == pytest.approx(oracle.ppf(q), rel=1e-12, abs=1e-12 * scale)
    assert head.uniform(params, y).item() == pytest.approx(q, rel=1e-9)


@settings(deadline=None)
@given(q=level, df=st.floats(2, 200, exclude_min=True))
def test_student_t_quantiles_are_exact_to_ten_digits(q, df):
    params = row(df, 0.0, 1.0)
    y = HEADS["student-t"].quantile(params, q).item()
    assert y == pytest.approx(stats.t.ppf(q, df), rel=1e-10, abs=1e-15)
    u = HEADS["student-t"].uniform(params, torch.tensor([y])).item()
    assert u == pytest.approx(stats.t.cdf(y, df), rel=1e-6)  # y is held in float32


@pytest.mark.parametrize("df", [2.001, 3.0, 200.0, 1e5])
def test_student_t_quantiles_far_out_and_in_the_middle(df):
    q = np.array([1e-12, 1e-7, 0.5 - 1e-9, 0.5, 0.5 + 1e-5, 1 - 1e-7])
    y = HEADS["student-t"].quantile(row(df, 0.0, 1.0), torch.from_numpy(q))[0]
    np.testing.assert_allclose(y, stats.t.ppf(q, df), rtol=1e-7, atol=1e-20)


@settings(deadline=None)
@given(
    q=level,
    mean=st.floats(np.log(1e-3), np.log(1e5)).map(np.exp),
    dispersion=st.floats(np.log(1e-4), np.log(20)).map(np.exp),
)
def test_negative_binomial_quantiles_are_the_least_counts_that_reach_the_level(q, mean, dispersion):
    head, params = HEADS["negative-binomial"], row(mean, dispersion)
    oracle = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))
    k = head.quantile(params, q).item()
    assert k == round(k) >= 0
    assert oracle.cdf(k) >= q * (1 - 1e-9)
    assert oracle.cdf(k - 1) < q * (1 + 1e-9)
    middle = (oracle.cdf(k) + oracle.cdf(k - 1)) / 2
    assert head.uniform(params, torch.tensor([k])).item() == pytest.approx(middle, rel=1e-8)


@settings(deadline=None)
@given(
    q=level,
    weight=st.floats(1e-6, 1 - 1e-6),
    means=st.tuples(*[st.floats(-100, 100)] * 2),
    scales=st.tuples(*[st.floats(0.01, 100)] * 2),
)
def test_mixture_quantiles_solve_the_distribution_function(q, weight, means, scales):
    weights = np.array([weight, 1 - weight])
    params = row(*np.log(weights), *means, *scales)
    y = HEADS["mixture"].quantile(params, q).item()
    assert weights @ stats.norm.cdf(y, means, scales) == pytest.approx(q, abs=1e-9)


@settings(deadline=None)
@given(q=st.floats(1e-6, 1 - 1e-6), mean=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_quantiles_of_a_normal_distribution_tell_all_its_others(q, mean, scale):
    head, oracle = HEADS["quantiles"], stats.norm(mean, scale)
    params = row(*oracle.ppf(LEVELS))
    y = head.quantile(params, q)
    assert y.item() == pytest.approx(oracle.ppf(q), abs=1e-11 * (abs(mean) + scale))
    assert head.uniform(params, y).item() == pytest.approx(q, rel=1e-6)


def test_quantiles_are_met_at_their_levels_and_linear_in_the_score_between():
    head = HEADS["quantiles"]
    params = params_of(head, 5)
    met = head.quantile(params, torch.tensor(LEVELS, dtype=torch.float64))
    torch.testing.assert_close(met, params, rtol=1e-12, atol=1e-12)
    between = stats.norm.cdf(stats.norm.ppf(LEVELS[:2]).mean())
    torch.testing.assert_close(head.quantile(params, between), params[..., :2].mean(-1))


def test_equal_quantiles_are_a_step_of_the_distribution_function():
    head, params = HEADS["quantiles"], row(1.0, 2.0, 2.0, 3.0)
    y = torch.tensor([1.999999, 2.0, 2.000001], dtype=torch.float64)
    u = head.uniform(params.expand(3, 4), y)
    torch.testing.assert_close(u, torch.tensor([0.3, 0.3, 0.5]).double(), atol=1e-5, rtol=0)
    assert head.quantile(params, 0.4) == 2


@settings(deadline=None, max_examples=200)
@given(
    a=st.floats(np.log(1e-2), np.log(1e4)).map(np.exp),
    b=st.floats(np.log(1e-2), np.log(1e4)).map(np.exp),
    p=st.floats(1e-6, 1 - 1e-6),
)
def test_incomplete_beta_function_and_what_it_leaves(a, b, p):
    x = float(np.clip(special.betaincinv(a, b, p), 1e-300, 1 - 1e-12))
    parts = betainc(*(torch.tensor(v, dtype=torch.float64) for v in (a, b, x, 1 - x)))
    oracle = special.betainc(a, b, x), special.betaincc(a, b, x)
    np.testing.assert_allclose(min(parts), min(oracle), rtol=1e-9)
    np.testing.assert_allclose(max(parts), max(oracle), rtol=1e-9)


@given(r=st.floats(np.log(1e-3), np.log(1e9)).map(np.exp), k=st.integers(0, 50))
def test_log_rising_is_the_sum_of_logs(r, k):
    value = log_rising(*torch.tensor([r, k], dtype=torch.float64)).item()
    assert value == pytest.approx(np.log(r + np.arange(k)).sum(), rel=1e-12, abs=1e-12)


# Laws of all heads -----------------------------------------------------------------------------


@every_head
@pytest.mark.parametrize("leading", [(), (2,), (2, 5)])
def test_shapes(head, leading):
    params = params_of(head, *leading).float()
    y = head.point(params)
    assert head.quantile(params, 0.3).shape == y.shape == (*leading, 3)
    assert head.quantile(params, torch.tensor([0.1, 0.6])).shape == (*leading, 3, 2)
    assert head.sample(params, n=7).shape == (7, *leading, 3)
    assert head.uniform(params, y).shape == y.shape
    assert head.icdf(params, torch.full((7, *leading, 3), 0.3)).shape == (7, *leading, 3)
    assert head.rescale(params, size=2.0).shape == params.shape
    for made in (head.quantile(params, 0.3), head.sample(params), head.uniform(params, y)):
        assert made.dtype == torch.float32


@spread
@settings(deadline=None, max_examples=30)
@given(
    millionths=st.lists(st.integers(1, 999_999), min_size=2, max_size=12), seed=st.integers(0, 99)
)
def test_quantiles_never_cross(head, millionths, seed):
    params = params_of(head, 4, seed=seed)
    made = head.quantile(params, torch.tensor(sorted(millionths), dtype=torch.float64) / 1e6)
    assert made.isfinite().all()
    assert (made.diff() >= 0).all()


@every_head
def test_one_level_is_what_many_levels_hold(head):
    params = params_of(head, 4)
    q = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    many = head.quantile(params, q)
    for j, one in enumerate(q.tolist()):
        single = head.quantile(params, one)
        torch.testing.assert_close(many[..., j], single, rtol=1e-12, atol=1e-12)


@every_head
def test_samples_repeat_with_the_state_of_their_generator_and_leave_the_global_one(head):
    params = params_of(head, 2)
    before = torch.get_rng_state()
    first, again = (head.sample(params, generator(1), n=5) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    if not isinstance(head, PointHead):
        assert not torch.equal(first, head.sample(params, generator(2), n=5))


@spread
def test_samples_have_the_quantiles_and_the_point_between_them(head):
    params = params_of(head)
    y = head.sample(params, generator(), n=20_000)
    for q in (0.05, 0.5, 0.95):
        exact = head.quantile(params, q)
        bound = 5 * (q * (1 - q) / len(y)) ** 0.5  # of a share, five standard errors
        assert ((y < exact).double().mean(0) <= q + bound).all()
        assert ((y <= exact).double().mean(0) >= q - bound).all()


@spread
def test_probabilities_of_samples_are_uniform(head):
    params = params_of(head)
    y = head.sample(params, generator(), n=5000)
    u = head.uniform(params.expand(5000, *params.shape), y, generator(1))
    for output in range(3):
        assert stats.kstest(u[:, output].numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["gaussian", "student-t", "negative-binomial", "mixture"])
def test_the_point_is_the_mean_of_the_samples(name):
    head = HEADS[name]
    params = params_of(head)
    if name == "student-t":
        params[..., 0] += 3  # a sample's mean tells little where the variance hardly exists
    y = head.sample(params, generator(), n=50_000)
    assert ((y.mean(0) - head.point(params)).abs() < 5 * y.std(0) / 50_000**0.5).all()


@continuous
def test_probabilities_undo_quantiles(head):
    params = params_of(head, 10)
    u = torch.rand(10, 3, generator=generator()).double()
    torch.testing.assert_close(head.uniform(params, head.icdf(params, u)), u, rtol=0, atol=1e-9)


def test_a_point_is_a_step():
    head, y = HEADS["point"], torch.tensor([1.0, 2.0, 3.0])
    assert head.uniform(torch.full((3, 1), 2.0), y).tolist() == [0.0, 0.5, 1.0]


@every_head
def test_what_is_not_known_has_no_probability(head):
    y = torch.tensor([1.0, torch.nan, 2.0])
    assert head.uniform(params_of(head), y).isnan().tolist() == [False, True, False]


@every_head
def test_a_generator_draws_within_the_step_of_a_count_and_nowhere_else(head):
    params, y = params_of(head, 50), torch.ones(50, 3)
    middle, drawn = head.uniform(params, y), head.uniform(params, y, generator())
    assert torch.equal(drawn, head.uniform(params, y, generator()))
    if not head.counts:
        assert torch.equal(middle, drawn)
        return
    mean, dispersion = params.unbind(-1)
    oracle = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))
    low, high = (torch.from_numpy(oracle.cdf(k)).float() for k in (0, 1))
    v = (drawn.float() - low) / (high - low)
    assert stats.kstest(v.flatten().numpy(), "uniform").pvalue > 1e-3
    torch.testing.assert_close(middle.float(), (low + high) / 2)


# Scales ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [head for head in HEADS.values() if not head.counts])
def test_rescaled_parameters_are_those_of_the_rescaled_values(head):
    params = params_of(head, 6)
    location = torch.randn(6, 1, generator=generator()).double()
    size = torch.rand(6, 1, generator=generator(1)).double() * 10 + 0.1
    rescaled = head.rescale(params, location, size)
    q = torch.tensor([0.01, 0.5, 0.8], dtype=torch.float64)
    pairs = [
        (head.point(rescaled), head.point(params), location, size),
        (
            head.sample(rescaled, generator(), 9),
            head.sample(params, generator(), 9),
            location,
            size,
        ),
        (
            head.quantile(rescaled, q),
            head.quantile(params, q),
            location[..., None],
            size[..., None],
        ),
    ]
    for after, before, m, s in pairs:
        torch.testing.assert_close(after, m + s * before, rtol=1e-9, atol=1e-9)
    u = head.uniform(rescaled, location + size)
    torch.testing.assert_close(u, head.uniform(params, torch.ones(6, 3)), rtol=1e-9, atol=1e-9)


def test_counts_of_another_size():
    head = HEADS["negative-binomial"]
    params = params_of(head, 6)
    size = torch.tensor(4.0)
    scaled = head.rescale(params, size=size)
    torch.testing.assert_close(scaled, params * torch.tensor([4.0, 0.5]).double())
    assert torch.equal(head.rescale(params, 0, size), scaled)
    with pytest.raises(SettingError, match="location 0 for counts"):
        head.rescale(params, torch.ones(6, 1), size)


@every_head
def test_rescaling_carries_gradients_and_maps_over_members(head):
    params = params_of(head, 2, 5).requires_grad_()
    size = torch.full((2, 5, 1), 2.0, dtype=torch.float64)
    mapped = torch.func.vmap(lambda p, s: head.rescale(p, 0.0, s))(params, size)
    assert torch.equal(mapped, head.rescale(params, 0.0, size))
    mapped.sum().backward()
    assert params.grad.isfinite().all()
    assert (params.grad != 0).all()


# Refusals ----------------------------------------------------------------------------------------


@every_head
@pytest.mark.parametrize("q", [0.0, 1.0, -1, float("nan"), torch.tensor([0.5, 1.0])])
def test_levels_outside_are_refused(head, q):
    with pytest.raises(SettingError, match="every level"):
        head.quantile(params_of(head), q)


def test_what_cannot_be_asked_is_refused():
    head = HEADS["gaussian"]
    with pytest.raises(SettingError, match="levels \\[Q\\]"):
        head.quantile(params_of(head), torch.full((2, 2), 0.5))
    with pytest.raises(SettingError, match="n to be a whole number of at least 1"):
        head.sample(params_of(head), n=0)
    with pytest.raises(SettingError, match="two levels or more"):
        QuantileHead(4, levels=(0.5,)).quantile(row(1.0), 0.4)


@every_head
def test_extreme_parameters_stay_finite(head):
    raw = torch.tensor([-1e4, 1e4]).repeat_interleave(3)[:, None, None]
    params = head._constrain(raw.expand(6, 3, head.parameter_count)).detach()
    for q in (0.01, 0.5, 0.99):
        assert head.quantile(params, q).isfinite().all()
    assert head.sample(params, generator(), 3).isfinite().all()
