"""Transforms: there and back, order kept, gaps, and what intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import DataError
from throughtime.forecasting import read_frame
from throughtime.forecasting.preprocessing.transforms import (
    TRANSFORMS,
    Asinh,
    Log,
    Transform,
    choose_transforms,
)

NAN = float("nan")
each_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@each_transform
@given(y=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
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
    least = {"identity": -np.inf, "asinh": -np.inf, "log": np.finfo(np.float64).tiny}
    lowest = least.get(transform.name, 0.0)
    np.testing.assert_array_equal(nearest, [max(value, lowest) for value in y])
    np.testing.assert_array_equal(transform.nearest(torch.tensor(values)).numpy(), nearest)


def test_log_and_asinh_know_where_they_are_defined() -> None:
    with pytest.raises(DataError, match="above 0"):
        Log().forward(np.array([1.0, NAN, 0.0]))
    y = np.array([-1e3, -1e-3, 0.0, 1e-3, 1e3])
    np.testing.assert_allclose(Asinh().inverse(Asinh().forward(y)), y, rtol=1e-9)
    np.testing.assert_allclose(Log().forward(1e3 * y[3:]) - Log().forward(y[3:]), np.log(1e3))


@each_transform
@given(seed=st.integers(0, 99), level=st.floats(0.05, 0.95))
def test_intervals_cover_a_value_just_when_they_cover_its_image(
    transform: Transform, seed: int, level: float
) -> None:
    drawn = np.random.default_rng(seed).gamma(2.0, 3.0, size=(50, 40)) + 0.1
    z = np.sort(transform.forward(drawn), axis=1)
    lo, hi = z[:, int(20 * (1 - level))], z[:, -1 - int(20 * (1 - level))]
    y = drawn[:, 0]
    inside = (lo < transform.forward(y)) & (transform.forward(y) < hi)
    back = (transform.inverse(lo) < y) & (y < transform.inverse(hi))
    at_end = np.isclose(lo, transform.forward(y)) | np.isclose(hi, transform.forward(y))
    np.testing.assert_array_equal(inside[~at_end], back[~at_end])


@pytest.mark.parametrize("name", ["sqrt", "log", "log1p"])
def test_the_median_passes_back_and_the_mean_does_not(name: str) -> None:
    transform, y = TRANSFORMS[name], np.random.default_rng(0).lognormal(size=4001)
    z = transform.forward(y)
    median, mean = transform.inverse(np.array([np.median(z), z.mean()]))
    assert median == pytest.approx(np.median(y))
    assert mean < 0.95 * y.mean()  # Jensen
