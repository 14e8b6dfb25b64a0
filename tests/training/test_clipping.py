import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import SettingError
from throughtime.training import Clip

gradients = st.lists(st.floats(-1e3, 1e3, width=32), min_size=6, max_size=6).map(
    lambda entries: torch.tensor(entries, dtype=torch.float64).reshape(2, 3)
)


@given(gradient=gradients, norm=st.floats(1e-3, 1e3))
def test_norm_clipping_equals_torch_on_each_member(gradient, norm):
    clipped = Clip(norm=norm)(gradient)
    for row, got, before in zip(gradient, clipped.gradient, clipped.norm, strict=True):
        parameters = [torch.nn.Parameter(torch.zeros(n).double()) for n in (1, 2)]
        for parameter, piece in zip(parameters, row.split([1, 2]), strict=True):
            parameter.grad = piece.clone()
        joint = torch.nn.utils.clip_grad_norm_(parameters, norm)
        torch.testing.assert_close(before, joint)
        expected = torch.cat([parameter.grad for parameter in parameters])
        # torch adds 1e-6 to the norm, which shortens short gradients a little
        torch.testing.assert_close(got, expected, rtol=2e-3, atol=1e-12)
        assert got.norm() <= norm * (1 + 1e-12)


@given(gradient=gradients, value=st.floats(1e-3, 1e3))
def test_value_clipping_cuts_entries(gradient, value):
    clipped = Clip(value=value)(gradient)
    torch.testing.assert_close(clipped.gradient, gradient.clamp(-value, value))
    assert clipped.fired.tolist() == (gradient.abs() > value).any(1).tolist()


@given(gradient=gradients)
def test_no_threshold_changes_nothing_but_measures(gradient):
    clipped = Clip()(gradient)
    assert clipped.gradient is gradient
    assert not clipped.fired.any()
    torch.testing.assert_close(clipped.norm, gradient.norm(dim=1))


def test_a_gradient_of_zero_stays_zero():
    clipped = Clip(norm=1.0, value=1.0)(torch.zeros(2, 3))
    assert (clipped.gradient == 0).all()
    assert not clipped.fired.any()


def test_the_direction_is_kept_and_a_long_member_does_not_touch_a_short_one():
    gradient = torch.tensor([[300.0, 400.0], [0.3, 0.4]])
    clipped = Clip(norm=5.0)(gradient)
    torch.testing.assert_close(clipped.gradient, torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    assert clipped.fired.tolist() == [True, False]
    assert gradient[0, 0] == 300


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), "1"])
def test_bad_thresholds_are_refused(bad):
    with pytest.raises(SettingError, match="clip norm"):
        Clip(norm=bad)
    with pytest.raises(SettingError, match="clip value"):
        Clip(value=bad)
