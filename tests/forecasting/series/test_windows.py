"""Windows against a brute-force list, their shared storage, and a split that leaks nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import Windows

NAN = float("nan")
Series = list[list[float]]
# each observed value is its own number, so that a window tells where it comes from
panels = st.lists(st.lists(st.booleans(), max_size=13), min_size=1, max_size=4).map(
    lambda panel: [[100.0 * i + t if seen else NAN for t, seen in enumerate([True, *row])]
                   for i, row in enumerate(panel)]
)  # fmt: skip
sizes = st.integers(1, 5)


def as_panel(series: Series) -> Panel:
    lengths = [len(row) for row in series]
    return Panel(
        tuple(f"s{i}" for i in range(len(series))),
        np.concatenate(series)[None],
        np.cumsum([0, *lengths])[:-1],
        np.array(lengths),
        np.zeros(len(series), dtype=np.int64),
        Frequency("1"),
    )


def make(series: Series, L: int, h: int) -> Windows:
    return Windows(as_panel(series), L, h)


def brute_force(
    series: Series, L: int, h: int, ends: list[int]
) -> list[tuple[int, int, list[float]]]:
    """List (series, begin of target, values) of all windows whose target ends by `ends`."""
    found = []
    for i, row in enumerate(series):
        last = ends[i] - h if ends[i] > h or ends[i] < len(row) else ends[i] - 1
        for t in range(min(L, max(1, ends[i] - h - L)), last + 1):
            context, target = ([NAN] * L + row[:t])[-L:], (row[t : t + h] + [NAN] * h)[:h]
            found.append((i, t, context + target))
    return found


def listed(windows: Windows) -> np.ndarray:
    return torch.cat(windows[torch.arange(len(windows))], dim=-1)[:, 0].numpy()


@settings(deadline=None, max_examples=200)
@given(panels, sizes, sizes)
def test_windows_equal_the_brute_force_list(series: Series, L: int, h: int) -> None:
    expected = brute_force(series, L, h, [len(row) for row in series])
    if not expected:
        with pytest.raises(DataError, match="at least 2 steps"):
            make(series, L, h)
        return
    windows = make(series, L, h)
    np.testing.assert_array_equal(listed(windows), [values for _, _, values in expected])
    places = torch.stack(windows.places(torch.arange(len(windows))), dim=-1)
    assert places.tolist() == [[i, t] for i, t, _ in expected]


@settings(deadline=None, max_examples=200)
@given(panels, sizes, sizes, st.integers(1, 4))
def test_split_leaks_no_target(series: Series, L: int, h: int, n_validation: int) -> None:
    lengths = [len(row) for row in series]
    every = brute_force(series, L, h, lengths)
    assume(every)
    train, validation = make(series, L, h).split(n_validation)

    boundaries = [max(0, n - h - n_validation + 1) for n in lengths]
    before = brute_force(series, L, h, boundaries)
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
    np.testing.assert_array_equal(make(series, L, 1).newest()[:, 0].numpy(), expected)


def test_panels_that_are_parts_of_one_share_its_buffer() -> None:
    panel = as_panel([list(np.arange(50.0)), list(np.arange(9.0))])
    for part in (panel.cut(3), panel.take(np.array([1])), panel.cut(20).cut(1)):
        assert np.shares_memory(part.values, panel.values)
    windows = Windows(panel.cut(3), 8, 3)
    panel.values[0, 20] = -1
    assert (listed(windows) == -1).sum() == 11


def test_channels_known_ahead_are_read_beyond_the_end() -> None:
    n = 10
    panel = Panel(
        ("a", "b"),
        np.stack([np.arange(2.0 * n), 100 + np.arange(2.0 * n), 200 + np.arange(2.0 * n)]),
        np.array([0, n]),
        np.array([n - 3, n - 2]),
        np.zeros(2, dtype=np.int64),
        Frequency("1"),
        np.array([3, 2]),
        hist=("past",),
        futr=("ahead",),
    )
    y, past, ahead = Windows(panel, 2, 4).gather([0, 1, 2], *Windows(panel, 2, 4).newest_places())[
        0
    ]
    np.testing.assert_array_equal(y, [5, 6, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(past, [105, 106, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(ahead, [205, 206, 207, 208, 209, NAN])


def test_members_of_an_ensemble_draw_their_own_batches() -> None:
    windows = make([list(np.arange(20.0))], 4, 2)
    index = torch.tensor([[0, 5, 2], [1, 1, 14]])
    context, target = windows[index]
    assert context.shape == (2, 3, 1, 4)
    assert target[..., 0, 0].tolist() == [[4, 9, 6], [5, 5, 18]]


def test_a_batch_does_not_alias_the_data() -> None:
    windows = make([list(np.arange(9.0))], 3, 1)
    context, _ = windows[torch.tensor([0])]
    context.zero_()
    assert listed(windows)[0].tolist() == [0, 1, 2, 3]


def test_many_series_need_no_list() -> None:
    n, length = 100_000, 6
    windows = make(np.arange(n * length, dtype=float).reshape(n, length).tolist(), 4, 1)
    assert len(windows) == 5 * n
    train, validation = windows.split(1)
    assert (len(train), len(validation)) == (4 * n, n)


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="context_length"):
        make([[1.0, 2.0]], 0, 1)
    with pytest.raises(SettingError, match="n_validation"):
        make([[1.0, 2.0]], 1, 1).split(0)
