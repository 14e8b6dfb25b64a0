"""Transforms and scales: there and back, order kept, gaps and constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from throughtime import DataError
from throughtime.forecasting import read_frame
from throughtime.forecasting.transforms import (
    SCALINGS,
    TRANSFORMS,
    Scaling,
    Transform,
    choose_transforms,
)

NAN = float("nan")
each_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
each_scaling = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@each_transform
@given(y=st.lists(st.floats(0, 1e6), min_size=1, max_size=9))
def test_transforms_come_back_and_keep_the_order(transform: Transform, y: list[float]) -> None:
    values = np.sort(np.array(y))
    z = transform.forward(values)
    assert (np.diff(z) >= 0).all()
    np.testing.assert_allclose(transform.inverse(z), values, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(transform.forward(torch.tensor(values)).numpy(), z, atol=1e-9)
    np.testing.assert_allclose(
        transform.inverse(torch.tensor(z)).numpy(), transform.inverse(z), atol=1e-9
    )


@each_transform
@each_dtype
def test_transforms_keep_gaps_and_dtype(transform: Transform, dtype: torch.dtype) -> None:
    z = transform.forward(torch.tensor([1.0, NAN], dtype=dtype))
    assert z.dtype == transform.inverse(z).dtype == dtype
    assert z.isnan().tolist() == [False, True]


@pytest.mark.parametrize("name", ["sqrt", "log1p"])
def test_what_is_never_negative_stays_so(name: str) -> None:
    transform = TRANSFORMS[name]
    assert transform.inverse(np.array([-3.0, 0.0])).tolist() == [0, 0]
    with pytest.raises(DataError, match="below 0"):
        transform.forward(np.array([1.0, NAN, -0.5]))


def test_the_choice_looks_for_values_below_0() -> None:
    assert choose_transforms(read_frame([NAN, 0.0, 5.0])) == ("identity", "sqrt", "log1p")
    assert choose_transforms(read_frame([NAN, -1.0, 5.0])) == ("identity",)


@each_transform
@given(y=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_the_nearest_value_is_one_that_the_transform_takes(
    transform: Transform, y: list[float]
) -> None:
    values = np.array(y)
    nearest = transform.nearest(values)
    assert np.isfinite(transform.forward(nearest)).all()
    lowest = -np.inf if transform.name == "identity" else 0.0
    np.testing.assert_array_equal(nearest, [max(value, lowest) for value in y])
    np.testing.assert_array_equal(transform.nearest(torch.tensor(values)).numpy(), nearest)


CONTEXT = [2.0, NAN, 4.0, 10.0, NAN, 4.0]
KNOWN = {
    "mean": (5.0, np.std([2, 4, 10, 4])),
    "median": (4.0, 2.0 / 1.349),
    "last": (4.0, 6.0),
}


@each_dtype
@pytest.mark.parametrize("name", KNOWN)
def test_scales_see_observed_values_only(name: str, dtype: torch.dtype) -> None:
    context = torch.tensor([CONTEXT, [NAN, *CONTEXT[:5]]], dtype=dtype)
    scale = SCALINGS[name](context)
    assert scale.location.shape == scale.size.shape == (2, 1)
    assert scale.size.dtype == dtype
    assert [scale.location[0].item(), scale.size[0].item()] == pytest.approx(KNOWN[name])
    future = torch.tensor([[1.0, 2.0, 3.0]] * 2, dtype=dtype)
    torch.testing.assert_close(scale.invert(scale.apply(future)), future)


@each_scaling
@each_dtype
def test_scales_are_blind_to_units(scaling: Scaling, dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 20, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x[..., 3] = NAN
    moved = 1000 * x + 30
    torch.testing.assert_close(
        scaling(x).apply(x), scaling(moved).apply(moved), equal_nan=True, rtol=1e-3, atol=1e-4
    )


HARDLY = {
    "constant": ([0.1] * 9, 0.1, 1.0),
    "one value": ([NAN, 3.0, NAN], 3.0, 1.0),
    "nothing": ([NAN, NAN, NAN], 0.0, 1.0),
}


@each_scaling
@each_dtype
@pytest.mark.parametrize(("x", "location", "size"), HARDLY.values(), ids=HARDLY)
def test_windows_without_spread_have_size_1(
    scaling: Scaling, dtype: torch.dtype, x: list[float], location: float, size: float
) -> None:
    scale = scaling(torch.tensor(x, dtype=dtype))
    assert scale.location.item() == pytest.approx(location)
    assert scale.size.item() == size


def sizes(x: list[float]) -> Tensor:
    return torch.stack([scaling(torch.tensor(x)).size for scaling in SCALINGS.values()])


def test_rare_values_and_lonely_values_still_have_a_size() -> None:
    assert (sizes([0.0] * 9 + [5.0]) != 1).all()  # the quartiles coincide
    assert (sizes([0.0, NAN, 8.0, NAN, 2.0]) != 1).all()  # no neighbours
