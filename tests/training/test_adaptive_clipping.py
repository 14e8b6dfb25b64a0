"""Every adaptive clip does what its paper's loop over single norms does."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.training import AGC, AutoClip, Clip, ZClip
from throughtime.training.parameters import ParameterMatrix

# zeros and repetitions are where order statistics and spreads go wrong
lengths = st.floats(1e-3, 1e3) | st.sampled_from([0.0, 1.0, math.inf, math.nan])
runs = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=30)
HOWS = [Clip(1.0, 0.5), AutoClip(30, window=4), ZClip(1.0, 0.6, 3), AGC(0.1)]


class Pair(torch.nn.Module):
    """Two members of a net with a matrix, a vector, a number and a larger parameter."""

    members = 2

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in {"W": (3, 2), "b": (3,), "s": (), "K": (2, 3, 2)}.items():
            values = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
            self.register_parameter(name, torch.nn.Parameter(values))


def gradients_of(run):
    """For each pair of lengths, a gradient [2, N] whose rows are so long."""
    columns = ParameterMatrix(Pair()).weights().shape[1]
    direction = torch.randn(2, columns, generator=torch.Generator().manual_seed(1)).double()
    direction /= direction.norm(dim=1, keepdim=True)
    return [direction * torch.tensor(pair, dtype=torch.float64).unsqueeze(1) for pair in run]


def clipped_by(how, run):
    matrix = ParameterMatrix(Pair())
    clipper, weights = how.start(matrix), matrix.weights()
    return [clipper(gradient, weights) for gradient in gradients_of(run)]


@given(run=runs, percentile=st.floats(0, 100), window=st.none() | st.integers(1, 6))
def test_autoclip_takes_the_percentile_of_the_norms_so_far(run, percentile, window):
    results = clipped_by(AutoClip(percentile, window), run)
    expected, thresholds = [[], []], [[], []]
    for e in range(2):
        history = []
        for gradient in gradients_of(run):
            norm = float(gradient[e].norm())
            if math.isfinite(norm):
                history.append(norm)
            kept = history if window is None else history[-window:]
            c = float(np.percentile(kept, percentile)) if kept else math.inf
            thresholds[e].append(c)
            expected[e].append(min(norm, c))
    # the comparison with the threshold is exact, interpolation is so to the last bits alone
    for t, got in enumerate(results):
        mean = (thresholds[0][t] + thresholds[1][t]) / 2
        told = math.inf if got.threshold is None else got.threshold
        assert told == pytest.approx(mean, rel=1e-9, abs=1e-15)
        for e, gradient in enumerate(gradients_of(run)[t]):
            if math.isfinite(gradient.norm()):
                length = float(got.gradient[e].norm())
                assert length == pytest.approx(expected[e][t], rel=1e-9, abs=1e-15)
            else:
                assert not torch.isfinite(got.gradient[e]).all()


def zclip_by_hand(norms, z, alpha, warm_up):
    """The paper's statements, one after the other, with the z-score itself."""
    mu = sigma = None
    first, lengths, thresholds = [], [], []
    for norm in norms:
        thresholds.append(math.inf if mu is None else mu + z * sigma)
        if not math.isfinite(norm):
            lengths.append(norm)
        elif mu is None:
            first.append(norm)
            lengths.append(norm)
            if len(first) == warm_up:
                mu, sigma = float(np.mean(first)), float(np.std(first))
        else:
            above = norm - mu > z * sigma
            z_t = (norm - mu) / sigma if sigma > 0 else math.inf
            n = mu + z * z / z_t * sigma if above else norm
            mu_before, mu = mu, alpha * mu + (1 - alpha) * n
            assert mu_before >= 0
            sigma = math.sqrt(alpha * sigma**2 + (1 - alpha) * (n - mu) ** 2)
            lengths.append(n)
    return lengths, thresholds


# lengths that are far apart, so that no comparison hangs on the last bit
spread = st.integers(-8, 8).map(lambda power: 2.0**power) | st.sampled_from([math.inf, math.nan])


@given(
    run=st.lists(st.tuples(spread, spread), min_size=1, max_size=40),
    z=st.floats(0.51, 3.01),
    alpha=st.floats(0, 0.99),
    warm_up=st.integers(2, 6),
)
def test_zclip_follows_the_paper_member_by_member(run, z, alpha, warm_up):
    results = clipped_by(ZClip(z, alpha, warm_up), run)
    expected = [
        zclip_by_hand([float(g[e].norm()) for g in gradients_of(run)], z, alpha, warm_up)
        for e in range(2)
    ]
    for t, got in enumerate(results):
        mean = (expected[0][1][t] + expected[1][1][t]) / 2
        told = math.inf if got.threshold is None else got.threshold
        assert told == pytest.approx(mean, rel=1e-6, abs=1e-12)
        for e, gradient in enumerate(gradients_of(run)[t]):
            if math.isfinite(gradient.norm()):
                length = float(got.gradient[e].norm())
                assert length == pytest.approx(expected[e][0][t], rel=1e-6, abs=1e-12)


def test_zclip_brings_the_farther_out_closer_in():
    lengths = [zclip_by_hand([1, 3, g], 2.0, 0.9, 2)[0][-1] for g in (3.9, 4.5, 10, 1e6)]
    results = [clipped_by(ZClip(2.0, 0.9, 2), [(1, 1), (3, 3), (g, g)]) for g in (4.5, 10, 1e6)]
    after = [float(result[-1].gradient[0].norm()) for result in results]
    assert after == pytest.approx(lengths[1:])
    assert 4 > after[0] > after[1] > after[2] > 2


@given(
    run=st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)), min_size=1, max_size=3),
    clipping=st.floats(1e-3, 1.0),
    eps=st.floats(1e-3, 10.0),
)
def test_agc_bounds_every_unit_by_its_own_weights(run, clipping, eps):
    results = clipped_by(AGC(clipping, eps), run)
    matrix = ParameterMatrix(Pair())
    W = matrix.pieces(matrix.weights())
    for gradient, got in zip(gradients_of(run), results, strict=True):
        before, after = matrix.pieces(gradient), matrix.pieces(got.gradient)
        allowed = torch.zeros(2).double()
        for name, axes in {"W": (3,), "b": (), "s": (), "K": (2,)}.items():
            for e in range(2):
                for i in np.ndindex(axes):
                    unit = (e, *i)
                    longest = clipping * max(float(W[name][unit].norm()), eps)
                    norm = float(before[name][unit].norm())
                    factor = min(1.0, longest / norm) if norm else 1.0
                    torch.testing.assert_close(after[name][unit], before[name][unit] * factor)
                    allowed[e] += longest**2
        torch.testing.assert_close(got.norm, gradient.norm(dim=1))
        changed = (got.gradient - gradient).abs().max(1).values > 1e-9 * got.norm
        assert (got.fired | ~changed).all()
        assert got.threshold == pytest.approx(float(allowed.sqrt().mean()))


@pytest.mark.parametrize("how", HOWS, ids=lambda how: type(how).__name__)
def test_on_ones_own_loop_is_the_clipper_of_training(how):
    model, twin = Pair(), Pair()
    clip, matrix = how.on(model), ParameterMatrix(twin)
    clipper = how.start(matrix)
    for gradient in gradients_of([(0.3, 3), (1, 2), (2, 0.1), (30, 40), (0.1, 20), (5, 6)]):
        pieces = matrix.pieces(gradient)
        for name, parameter in model.named_parameters():
            parameter.grad = pieces[name].clone().reshape(parameter.shape)
        told = clip()
        expected = clipper(gradient, matrix.weights())
        assert torch.equal(ParameterMatrix(model).gradient(), expected.gradient)
        assert told.threshold == expected.threshold
        assert torch.equal(told.fired, expected.fired)
        assert torch.equal(told.norm, gradient.norm(dim=1))


@pytest.mark.parametrize("how", HOWS, ids=lambda how: type(how).__name__)
@given(run=runs, cut=st.integers(0, 30))
def test_a_state_dict_holds_all_that_the_rest_depends_on(how, run, cut):
    whole = clipped_by(how, run)
    matrix = ParameterMatrix(Pair())
    first, second = how.start(matrix), how.start(matrix)
    for gradient in gradients_of(run[:cut]):
        first(gradient, matrix.weights())
    second(torch.full_like(matrix.weights(), 7.0), matrix.weights())  # what it saw is forgotten
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for gradient, expected in zip(gradients_of(run)[cut:], whole[cut:], strict=True):
        got = second(gradient, matrix.weights())
        assert torch.equal(got.gradient.nan_to_num(9.0), expected.gradient.nan_to_num(9.0))
        assert got.threshold == expected.threshold


def test_parameters_without_a_gradient_stay_without():
    model = torch.nn.Linear(2, 2)
    model.weight.grad = torch.full((2, 2), 3.0)
    clipped = Clip(norm=1.0).on(model.parameters())()
    assert model.bias.grad is None
    assert float(clipped.norm) == 6.0
    torch.testing.assert_close(model.weight.grad, torch.full((2, 2), 0.5))


def test_a_quiet_gradient_is_not_even_rewritten():
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([0.3, 0.4])
    version = weight.grad._version
    assert not Clip(norm=1.0).on([weight])().fired
    assert weight.grad._version == version


def test_what_is_no_parameter_is_refused():
    with pytest.raises(SettingError, match="Tensor"):
        Clip(norm=1.0).on([torch.zeros(2, requires_grad=True)])
    with pytest.raises(DataError, match="trainable"):
        AutoClip().on([])


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda v: AutoClip(v), [-1, 101, math.nan, "10"]),
        (lambda v: AutoClip(window=v), [0, 1.5]),
        (lambda v: ZClip(z=v), [0, -1, math.nan]),
        (lambda v: ZClip(alpha=v), [-0.1, 1.0]),
        (lambda v: ZClip(warm_up=v), [0, 2.5]),
        (lambda v: AGC(clipping=v), [0, -1]),
        (lambda v: AGC(eps=v), [0, math.nan]),
    ],
)
def test_bad_settings_are_refused(make, values):
    for value in values:
        with pytest.raises(SettingError):
            make(value)
