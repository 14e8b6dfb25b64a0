"""Windows against a brute-force list, their shared storage, and a split that leaks nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.forecasting.windows import Windows

NAN = float("nan")
Series = list[list[float]]
# each observed value is its own number, so that a window tells where it comes from
panels = st.lists(st.lists(st.booleans(), min_size=1, max_size=14), min_size=1, max_size=4).map(
    lambda panel: [[100.0 * i + t if seen else NAN for t, seen in enumerate(row)]
                   for i, row in enumerate(panel)]
)  # fmt: skip
sizes = st.integers(1, 5)


def make(series: Series, L: int, h: int, min_observed: int = 1) -> Windows:
    offsets = np.cumsum([0, *map(len, series)])
    y = np.concatenate(series)
    return Windows(y, offsets, L, h, min_observed=min_observed, dtype=torch.float64)


def brute_force(
    series: Series, L: int, h: int, min_observed: int, ends: list[int]
) -> list[tuple[int, int, list[float]]]:
    """List (series, begin of target, values) of all windows whose target ends by `ends`."""
    found = []
    for i, row in enumerate(series):
        for t in range(L if ends[i] >= L + h else 1, ends[i] - h + 1):
            context, target = ([NAN] * L + row[:t])[-L:], row[t : t + h]
            enough = np.sum(~np.isnan(context)) >= min_observed and not np.isnan(target).all()
            if enough:
                found.append((i, t, context + target))
    return found


def listed(windows: Windows) -> np.ndarray:
    return torch.cat(windows[torch.arange(len(windows))], dim=-1).numpy()


@settings(deadline=None, max_examples=200)
@given(panels, sizes, sizes, st.integers(1, 3))
def test_windows_equal_the_brute_force_list(
    series: Series, L: int, h: int, min_observed: int
) -> None:
    expected = brute_force(series, L, h, min_observed, [len(row) for row in series])
    if not expected:
        with pytest.raises(DataError, match=f"for a horizon of {h}"):
            make(series, L, h, min_observed)
        return
    windows = make(series, L, h, min_observed)
    np.testing.assert_array_equal(listed(windows), [values for _, _, values in expected])
    assert windows.series.tolist() == [i for i, _, _ in expected]


@settings(deadline=None, max_examples=200)
@given(panels, sizes, sizes, st.integers(1, 4))
def test_split_leaks_no_target(series: Series, L: int, h: int, n_validation: int) -> None:
    lengths = [len(row) for row in series]
    every = brute_force(series, L, h, 1, lengths)
    assume(every)
    train, validation = make(series, L, h).split(n_validation)

    boundaries = [max(0, n - h - n_validation + 1) for n in lengths]
    before = brute_force(series, L, h, 1, boundaries)
    splits = {i for i, _, _ in before}
    kept = before + [w for w in every if w[0] not in splits]
    late = [w for w in every if w[0] in splits and w[1] >= boundaries[w[0]]]
    np.testing.assert_array_equal(
        listed(train), [values for _, _, values in sorted(kept, key=lambda w: w[:2])]
    )
    np.testing.assert_array_equal(
        listed(validation), np.array([values for _, _, values in late]).reshape(-1, L + h)
    )
    shared = set(listed(train)[:, L:].ravel()) & set(listed(validation)[:, L:].ravel())
    assert all(np.isnan(v) for v in shared)


@given(panels, sizes)
def test_newest_contexts_end_every_series(series: Series, L: int) -> None:
    series = [[*row, 7.0, 8.0] for row in series]
    expected = [([NAN] * L + row)[-L:] for row in series]
    np.testing.assert_array_equal(make(series, L, 1).newest().numpy(), expected)


def test_windows_are_views_and_parts_share_one_buffer() -> None:
    windows = make([list(np.arange(50.0))], 8, 3)
    train, validation = windows.split(4)
    assert len(train) + len(validation) == len(windows) - 2  # h - 1 would overlap
    for part in (train, validation):
        assert part.buffer.data_ptr() == windows.buffer.data_ptr()
    rows = windows.buffer.unfold(0, 11, 1)
    assert rows.untyped_storage().data_ptr() == windows.buffer.untyped_storage().data_ptr()
    windows.buffer[8 + 20] = -1  # the 21st value, behind the padding
    assert (listed(windows) == -1).sum() == 11


def test_members_of_an_ensemble_draw_their_own_batches() -> None:
    windows = make([list(np.arange(20.0))], 4, 2)
    index = torch.tensor([[0, 5, 2], [1, 1, 14]])
    context, target = windows[index]
    assert context.shape == (2, 3, 4)
    assert target[..., 0].tolist() == [[4, 9, 6], [5, 5, 18]]


def test_a_batch_does_not_alias_the_data() -> None:
    windows = make([list(np.arange(9.0))], 3, 1)
    context, _ = windows[torch.tensor([0])]
    context.zero_()
    assert listed(windows)[0].tolist() == [0, 1, 2, 3]


def test_many_series_need_no_loop() -> None:
    n, length = 100_000, 6
    y = np.arange(n * length, dtype=float)
    windows = Windows(y, np.arange(0, n * length + 1, length), 4, 1)
    assert len(windows) == 2 * n
    assert windows.buffer.dtype == torch.float32
    train, validation = windows.split(1)
    assert len(train) == len(validation) == n


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="context_length"):
        make([[1.0, 2.0]], 0, 1)
    with pytest.raises(SettingError, match="n_validation"):
        make([[1.0, 2.0]], 1, 1).split(0)
