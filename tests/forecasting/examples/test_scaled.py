"""Scaled windows equal their definition, element by element."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from forecasting_cases import NAN, panel, wave
from hypothesis import example, given, settings
from hypothesis import strategies as st

from throughtime.forecasting.examples.scaled import (
    ScaledWindows,
    SpreadExamples,
    choose_residual,
    moments,
)
from throughtime.forecasting.preprocessing.residuals import RESIDUALS, Base
from throughtime.forecasting.preprocessing.transforms import BY_TURNS, TRANSFORMS, Identity, Sqrt
from throughtime.forecasting.series import panel as panel_module
from throughtime.forecasting.series.frequency import Frequency

L, H, SEASON = 5, 3, 2


def gappy(n: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    y = 3 + generator.normal(size=n)
    y[generator.random(n) < 0.3] = NAN
    y[0] = 2.0
    return y


def by_hand(y: np.ndarray, start: int, residual: str) -> tuple[np.ndarray, np.ndarray, float]:
    """The window whose context begins at `start` (below 0 in the padding), from the equations."""
    context, latest = [], NAN
    for t in range(start, start + L):
        value = y[t] if t >= 0 else NAN
        latest = latest if np.isnan(value) else value
        context.append(latest)
    C, whole = np.array(context), np.nanstd(y)
    if np.isnan(C).all():
        location, size = np.nanmean(y), whole if whole > 0 else 1.0
    else:
        whole = whole if whole > 0 else 1.0
        own = np.nanstd(C) if np.nanstd(C) > 1e-6 else whole
        location = (np.nanmean(C) + np.nanmean(y)) / 2
        size = (own + whole) / 2
    observed = C[~np.isnan(C)]
    z = ((np.where(np.isnan(C), observed[0], C) if len(observed) else location) - location) / size
    z = np.broadcast_to(z, L)
    k = np.arange(1, H + 1)
    base = {
        "level": np.zeros(H),
        "last": np.repeat(z[-1], H),
        "season": z[L - 1 + k - SEASON * np.ceil(k / SEASON).astype(int)],
    }[residual]
    r = (y[start + L : start + L + H] - location) / size - base
    most = np.nanmax(np.abs(np.concatenate([z, r])), initial=1.0)
    rounding = 2.0**-20 * most * (1 + abs(location) / size)  # values come in single precision
    return z, r, rounding


def check(series: list[np.ndarray], residual: Any) -> None:
    examples = ScaledWindows.of(panel(*series), Identity(), L, H, Base(residual, SEASON))
    z, r = examples[torch.arange(len(examples))]
    gaps = any(np.isnan(y).any() for y in series)
    assert z.shape == (len(examples), L, 1 + gaps)
    assert r.shape == (len(examples), H)
    expected = [
        by_hand(y, start, residual)
        for y in series
        for start in range(min(0, max(1 - L, len(y) - H - 2 * L)), len(y) - L - H + 1)
    ]
    assert len(expected) == len(examples)
    for found_z, found_r, (z_i, r_i, rounding) in zip(z[..., 0], r, expected, strict=True):
        np.testing.assert_allclose(found_z, z_i, rtol=0, atol=rounding)
        np.testing.assert_allclose(found_r, r_i, rtol=0, atol=rounding)


@pytest.mark.parametrize("residual", RESIDUALS)
@settings(max_examples=15, deadline=None)
@example([4, 4, 5], 13)  # one window about 300 with two values close together
@given(st.lists(st.integers(4, 20), min_size=1, max_size=3), st.integers(0, 99))
def test_windows_of_any_series_equal_the_equations(
    residual: str, lengths: list[int], seed: int
) -> None:
    series = [gappy(n, seed + 100 * i) * 10.0**i for i, n in enumerate(lengths)]
    series[0] = np.append(series[0], 4.0)  # has a target
    check(series, residual)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_newest_window_ends_with_the_series(residual: Any) -> None:
    series = [gappy(12, 1), gappy(3, 2)]
    examples = ScaledWindows.of(panel(*series), Identity(), L, H, Base(residual, SEASON))
    window, scale = examples.newest()
    for s, y in enumerate(series):
        longer = np.concatenate([y, np.full(H, NAN)])
        expected, _, rounding = by_hand(longer, len(y) - L, residual)
        np.testing.assert_allclose(window.z[s, 0], expected, atol=rounding)
    last = [y[~np.isnan(y)][-1] for y in series]
    np.testing.assert_allclose(scale.invert(window.z[..., -1:]).flatten(), last, atol=2e-5)


def test_what_lies_before_a_short_series_is_its_first_value_and_a_gap_repeats() -> None:
    examples = ScaledWindows.of(panel([1.0, NAN, 3.0, 5.0]), Identity(), L, 1)
    window, scale = examples.newest()
    assert scale.invert(window.z).flatten() == pytest.approx([1.0, 1.0, 1.0, 3.0, 5.0][-L:])


def test_a_window_without_a_value_stands_at_the_mean_of_its_series() -> None:
    series = [[4.0, 8.0, *[NAN] * L], [7.0, 7.0, *[NAN] * L], [1.0, 2.0]]
    window, scale = ScaledWindows.of(panel(*series), Identity(), L, 1).newest()
    assert not window.z[:2].any()
    assert scale.location[:2].flatten().tolist() == [6.0, 7.0]
    assert scale.size[:2].flatten().tolist() == [2.0, 1.0]


def test_windows_are_cut_from_transformed_values() -> None:
    y = np.arange(1.0, 20.0)
    on_roots = ScaledWindows.of(panel(np.sqrt(y)), Identity(), L, H)
    roots = ScaledWindows.of(panel(y), Sqrt(), L, H)
    index = torch.arange(len(roots))
    for a, b in zip(roots[index], on_roots[index], strict=True):
        torch.testing.assert_close(a, b)


def test_members_may_each_ask_for_their_own() -> None:
    examples = ScaledWindows.of(panel(wave(30)), Identity(), L, H)
    index = torch.tensor([[0, 3], [5, 1]])
    z, r = examples[index]
    assert z.shape == (2, 2, L, 1)
    torch.testing.assert_close(z[1, 0], examples[torch.tensor([5])][0][0])
    torch.testing.assert_close(r[0, 1], examples[torch.tensor([3])][1][0])


def test_both_parts_of_a_split_keep_scale_and_residual() -> None:
    examples = ScaledWindows.of(panel(wave(30)), Identity(), L, H, Base("last"))
    train, validation = examples.split(6)
    n = len(examples)
    assert len(validation) == 6
    later = examples[torch.arange(n - 6, n)]
    for a, b in zip(validation[torch.arange(6)], later, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(train[torch.tensor([0])][1], examples[torch.tensor([0])][1])


def test_members_take_turns_over_the_scales() -> None:
    known = panel(5 + wave(30), 9 + wave(20, 1))
    parts = tuple(ScaledWindows.of(known, f, L, H) for f in map(TRANSFORMS.get, BY_TURNS))
    spread = SpreadExamples(parts)
    assert len(spread) == len(parts[0])
    index = torch.tensor([[e, 7, 2 * e + 1] for e in range(5)])
    z, r = spread[index]
    assert z.shape == (5, 3, L, 1)
    assert r.shape == (5, 3, H)
    for e, k in enumerate([0, 1, 2, 0, 1]):
        one_z, one_r = parts[k][index[e]]
        assert torch.equal(z[e], one_z)
        assert torch.equal(r[e], one_r)


def test_every_scale_is_split_at_the_same_window() -> None:
    known = panel(5 + wave(30))
    parts = tuple(ScaledWindows.of(known, f, L, H) for f in map(TRANSFORMS.get, BY_TURNS))
    index = torch.tensor([[0, 3]] * 3)
    for whole, half in enumerate(SpreadExamples(parts).split(6)):
        alone = [part.split(6)[whole] for part in parts]
        assert len(half) == len(alone[0])
        for e, part in enumerate(alone):
            assert torch.equal(half[index][0][e], part[index[e]][0])


STEPS = np.random.default_rng(3).normal(size=400)
RESIDUAL_CASES = [
    ("a random walk", np.cumsum(STEPS), True, "last"),
    ("noise about a level", STEPS, True, "level"),
    ("a season", np.tile([0.0, 9.0, 1.0, 5.0], 100) + 0.1 * STEPS, True, "season"),
    ("a season that is no calendar's", np.tile([0.0, 9.0, 1.0, 5.0], 100), False, None),
    ("gaps", np.where(np.arange(400) % 7, np.cumsum(STEPS), NAN), True, "last"),
]


@pytest.mark.parametrize(("name", "y", "calendar", "expected"), RESIDUAL_CASES)
def test_the_residual_is_the_naive_forecast_that_errs_least(
    name: str, y: np.ndarray, calendar: bool, expected: str | None
) -> None:
    known = panel(y)
    if calendar:
        known = replace(known, frequency=Frequency("QS"))  # four a year
    found = choose_residual(known, Identity(), 8, H, 4)
    assert found != "season" if expected is None else found == expected


def test_a_season_that_the_user_knows_may_be_the_naive_forecast() -> None:
    y = np.tile([0.0, 9.0, 1.0, 5.0], 100) + 0.1 * STEPS
    assert choose_residual(panel(y), Identity(), 8, H, 4, known=True) == "season"
    assert choose_residual(panel(y), Identity(), 3, H, 4, known=True) != "season"  # too short


@pytest.mark.parametrize(("noise", "repeated"), [(0.2, True), (0.6, False)])
def test_a_known_season_has_to_err_a_third_less_than_the_level(
    noise: float, repeated: bool
) -> None:
    """Its repetition errs by the noise of two seasons: a third of the level's error, or nearly all."""
    known = panel(np.tile([0.0, 1.0, 0.0, -1.0], 100) + noise * STEPS)
    found = choose_residual(known, Identity(), 8, H, 4, known=True)
    assert found == ("season" if repeated else "level")
    calendar = replace(known, frequency=Frequency("QS"))
    assert choose_residual(calendar, Identity(), 8, H, 4, known=True) == "season"


@pytest.mark.parametrize("piece", [2**18, 7])
def test_moments_are_those_of_numpy(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_module, "PIECE", piece)
    series = [gappy(n, n) for n in (5, 9, 30)]
    means, deviations = moments(panel(*series), Identity())
    np.testing.assert_allclose(means, [np.nanmean(y) for y in series])
    np.testing.assert_allclose(deviations, [np.nanstd(y) for y in series])


@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize("members", [1, 2, 5])
def test_members_learn_what_each_would_on_its_own_scale(K: int, members: int) -> None:
    table = panel(gappy(40, 0) ** 2, gappy(30, 1) ** 2)
    parts = tuple(
        ScaledWindows.of(table, TRANSFORMS[name], L, H, Base("last")) for name in BY_TURNS[:K]
    )
    spread = SpreadExamples(parts)
    index = torch.randint(len(spread), (members, 4), generator=torch.Generator().manual_seed(0))
    x, r = spread[index]
    assert isinstance(x, torch.Tensor)
    for e, row in enumerate(index):
        alone_x, alone_r = parts[e % K][row]
        torch.testing.assert_close(x[e], alone_x, rtol=0, atol=0)
        torch.testing.assert_close(r[e], alone_r, rtol=0, atol=0, equal_nan=True)
