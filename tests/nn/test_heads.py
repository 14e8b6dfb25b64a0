"""Heads: shapes, what their parameters promise, and their way back into a decoder."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.nn.heads import (
    ClassHead,
    GaussianHead,
    Head,
    MixtureHead,
    NegativeBinomialHead,
    PointHead,
    QuantileHead,
    StudentTHead,
)

H = 4
HEADS = [  # head, parameters, feedback features
    (lambda outputs: PointHead(H, outputs), 1, 1),
    (lambda outputs: QuantileHead(H, outputs, levels=(0.05, 0.4, 0.7, 0.9)), 4, 1),
    (lambda outputs: GaussianHead(H, outputs), 2, 1),
    (lambda outputs: StudentTHead(H, outputs), 3, 1),
    (lambda outputs: NegativeBinomialHead(H, outputs), 2, 1),
    (lambda outputs: MixtureHead(H, outputs, components=4), 12, 1),
    (lambda outputs: ClassHead(H, 5, outputs), 5, 5),
]


def hidden(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, H, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("build", "parameters", "features"), HEADS)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("leading", [(), (2,), (2, 6)])
def test_shapes(build, parameters, features, outputs, leading):
    head: Head = build(outputs)
    params = head(hidden(*leading))
    y = head.point(params)
    assert params.shape == (*leading, outputs, parameters)
    assert y.shape == (*leading, outputs)
    assert head.feedback(y).shape == (*leading, outputs * features)
    assert head.feedback_size == outputs * features
    assert head.parameter_count == parameters


@pytest.mark.parametrize("build", [build for build, _, _ in HEADS])
def test_each_output_has_its_own_rows_of_the_linear_layer(build):
    head = build(3).double()
    rows = head.linear.weight.detach().clone().requires_grad_()
    h = hidden().double()
    params = torch.func.functional_call(head, {"linear.weight": rows}, (h,))
    (grad,) = torch.autograd.grad(params[1].sum(), rows)
    touched = (grad.view(3, -1) != 0).any(1)
    assert touched.tolist() == [False, True, False]


levels = st.lists(st.sampled_from([i / 100 for i in range(1, 100)]), min_size=1, unique=True)


@settings(deadline=None)  # the first example pays for the warm-up
@given(levels=levels.map(sorted), scale=st.floats(0, 30))
def test_quantiles_rise_with_their_level_and_the_point_is_the_middle_one(levels, scale):
    head = QuantileHead(H, levels=levels).double()
    with torch.no_grad():
        params = head(hidden(20, scale=scale).double())
    assert (params.diff() >= 0).all()
    assert torch.equal(head.point(params), params[..., head.middle])
    assert abs(levels[head.middle] - 0.5) == min(abs(level - 0.5) for level in levels)


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), (0.2,), (0.05, 0.35, 0.45, 0.8), (0.7, 0.9)])
def test_quantiles_start_as_those_of_a_standard_normal(levels):
    params = QuantileHead(H, 2, levels)(torch.zeros(H))
    normal = torch.distributions.Normal(0, 1).icdf(torch.tensor(levels))
    torch.testing.assert_close(params, normal.expand(2, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_and_degrees_of_freedom_stay_in_range_far_out(dtype):
    h = hidden(50, scale=1e4).to(dtype)
    assert (GaussianHead(H, floor=1e-3).to(dtype)(h)[..., 1] >= 1e-3).all()
    df, loc, scale = StudentTHead(H, floor=1e-3).to(dtype)(h).unbind(-1)
    assert (df > 2).all()
    assert (scale >= 1e-3).all()
    assert loc.min() < 0 < loc.max()
    assert (NegativeBinomialHead(H, floor=1e-4).to(dtype)(h) >= 0.999e-4).all()
    mixture = MixtureHead(H, components=2, floor=1e-3).to(dtype)(h)
    assert mixture.isfinite().all()
    assert (mixture[..., 4:] >= 0.999e-3).all()
    torch.testing.assert_close(mixture[..., :2].exp().sum(-1), torch.ones(50, 1, dtype=dtype))


@pytest.mark.parametrize("build", [GaussianHead, StudentTHead])
def test_the_point_is_the_mean_of_the_distribution(build):
    head = build(H, 2)
    params = head(hidden(3))
    torch.testing.assert_close(head.point(params), head.distribution(params).mean)
    assert head.distribution(params).sample((7,)).shape == (7, 3, 2)


def test_a_class_distribution_is_the_softmax_of_the_logits():
    head = ClassHead(H, 3)
    params = head(hidden(6))
    assert torch.equal(head.point(params), head.distribution(params).probs.argmax(-1))
    torch.testing.assert_close(head.distribution(params).probs, params.softmax(-1))


def test_classes_are_fed_back_one_hot_and_no_class_as_zeros():
    fed = ClassHead(H, classes=3, outputs=2).double().feedback(torch.tensor([[0, 2], [1, -100]]))
    assert fed.tolist() == [[1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]
    assert fed.dtype == torch.float64


def test_values_are_fed_back_as_they_are_and_unknown_ones_as_zero():
    y = torch.tensor([[1.5, float("nan")]])
    assert PointHead(H, 2).feedback(y).tolist() == [[1.5, 0.0]]


REFUSALS = [
    (lambda: PointHead(0), "hidden_size to be a whole number of at least 1"),
    (lambda: PointHead(H, 0), "outputs to be a whole number of at least 1"),
    (lambda: QuantileHead(H, levels=()), "at least one level"),
    (lambda: QuantileHead(H, levels=(0.5, 0.5)), "levels to rise"),
    (lambda: QuantileHead(H, levels=(0.5, 1)), "every level to be a number above 0 and below 1"),
    (lambda: GaussianHead(H, floor=0), "floor to be a number above 0"),
    (lambda: StudentTHead(H, floor=-1), "floor to be a number above 0"),
    (lambda: NegativeBinomialHead(H, floor=0), "floor to be a number above 0"),
    (lambda: MixtureHead(H, components=0), "components to be a whole number of at least 1"),
    (lambda: MixtureHead(H, floor=0), "floor to be a number above 0"),
    (lambda: ClassHead(H, 1), "classes to be a whole number of at least 2"),
]


@pytest.mark.parametrize(("act", "message"), REFUSALS)
def test_what_makes_no_sense_is_refused_with_its_reason(act, message):
    with pytest.raises(SettingError, match=message):
        act()
