"""The threshold rule on curves whose explosions are known because they were put there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.diagnostics.explosions import find_explosions

QUIET = 60


def quiet(seed: int, count: int = QUIET, spread: float = 0.2) -> tuple[list[float], list[float]]:
    """Norms around 1 and losses around 0.5."""
    random = np.random.default_rng(seed)
    norms = np.exp(spread * random.standard_normal(count))
    return norms.tolist(), (0.5 + 0.02 * random.standard_normal(count)).tolist()


@given(seed=st.integers(0, 10**6), spread=st.floats(0, 1.0))
@settings(deadline=None, max_examples=30)
def test_a_curve_that_only_wavers_has_no_explosion(seed: int, spread: float) -> None:
    norms, losses = quiet(seed, 200, spread)
    assert find_explosions(norms, losses) == []


@given(seed=st.integers(0, 10**6), height=st.floats(20, 1e6), scale=st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=30)
def test_a_blow_up_is_found_and_the_threshold_lies_between(
    seed: int, height: float, scale: float
) -> None:
    norms, losses = quiet(seed, spread=0.1)
    usual = max(norms)
    norms = [scale * n for n in (*norms, height, height**2, math.inf)]
    losses = [scale * L for L in (*losses, 0.5, 60.0, math.nan)]
    [found] = find_explosions(norms, losses)
    assert (found.onset, found.shown) == (QUIET, QUIET + 1)
    assert found.norm == norms[QUIET]
    assert found.threshold == pytest.approx(scale * usual)
    assert found.usual == pytest.approx(np.median(norms[:QUIET]))


def test_a_blow_up_in_small_steps_begins_where_it_leaves_the_bulk() -> None:
    norms, losses = quiet(0, spread=0.05)
    growth = [1.7**k for k in range(1, 12)]
    [found] = find_explosions(
        norms + growth, losses + [0.5] * 4 + [0.5 * 2**k for k in range(1, 8)]
    )
    assert QUIET <= found.onset <= QUIET + 2
    assert found.threshold < 2


def test_a_long_gradient_without_a_loss_behind_it_is_harmless() -> None:
    norms, losses = quiet(1)
    norms[30], losses[30] = 500.0, 40.0  # one odd batch, with its own loss
    assert find_explosions(norms, losses) == []
    # and once harmless, it is no reason to clip below it
    norms += [1e4, 1e5]
    losses += [0.5, 90.0]
    [found] = find_explosions(norms, losses)
    assert (found.onset, found.threshold) == (QUIET, 500.0)


def test_a_new_level_of_norms_is_not_one_explosion_forever() -> None:
    norms, losses = quiet(2)
    more, as_before = quiet(3)
    assert find_explosions([*norms, *(20 * n for n in more)], losses + as_before) == []


def test_each_explosion_is_counted_once_and_the_lowest_threshold_wins() -> None:
    norms, losses = quiet(4, spread=0.1)
    small, calm = quiet(5, 150, spread=0.1)
    norms = [*(10 * n for n in norms), 500, 900, 700, *small, 60, 80, *small]
    losses = [*losses, 0.5, 30, 20, *calm, 0.5, 12, *calm]
    found = find_explosions(norms, losses)
    assert [each.onset for each in found] == [QUIET, QUIET + 3 + 150]
    assert found[0].threshold == max(norms[:QUIET])
    assert found[1].threshold == max(small[50:])


def test_without_losses_only_what_ends_in_no_number_is_an_explosion() -> None:
    norms, losses = quiet(6)
    nothing: list[float | None] = [None] * (QUIET + 3)
    assert find_explosions([*norms, 50.0, 100.0, 60.0], nothing) == []
    [found] = find_explosions([*norms, 50.0, 100.0, math.nan], nothing)
    assert found.onset == QUIET
    assert len(losses) == QUIET


def test_a_loss_that_is_no_number_is_due_to_the_step_before() -> None:
    norms, losses = quiet(7)
    norms[-1] = 1.9
    [found] = find_explosions([*norms, math.nan], [*losses, math.nan])
    assert found.onset == QUIET - 1
    assert found.threshold == max(norms[:-1])
    [found] = find_explosions([*norms, math.inf], [*losses, 0.5])  # backward broke, not forward
    assert found.onset == QUIET


def test_a_clip_that_was_too_loose_is_halved_at_least() -> None:
    norms, losses = quiet(8)
    norms = [*norms, 50.0, 80.0, math.nan]
    losses = [*losses, 0.5, 30.0, math.nan]
    loose = [*norms[:QUIET], 1.5, 1.5, 1.5]
    [found] = find_explosions(norms, losses, loose)
    assert found.threshold == 0.75


@pytest.mark.parametrize(
    ("norms", "losses", "expected"),
    [
        ([], [], []),
        ([1.0], [0.5], []),
        ([0.0, 0.0, 0.0], [0.5, 0.5, 0.5], []),
        ([math.nan], [math.nan], [None]),
        ([8.0, math.nan], [0.5, math.nan], [None]),
        ([3.0, 9.0, 200.0, math.nan], [0.5, 0.9, 80.0, math.nan], [9 * math.sqrt(0.9 / 80)]),
        ([8.0, 70.0, 600.0, 5e3], [0.5, 50.0, 5e3, 5e5], [0.8]),
    ],
)
def test_the_shortest_curves(
    norms: list[float], losses: list[float], expected: list[float | None]
) -> None:
    found = [each.threshold for each in find_explosions(norms, losses)]
    assert found == pytest.approx(expected)


def test_a_loss_that_has_jumped_is_no_measure_of_what_is_usual() -> None:
    [found] = find_explosions([1.0] * 4, [0.5, 50.0, 60.0, 70.0])
    assert (found.onset, found.shown) == (0, 3)


def test_growth_from_the_first_update_on_is_told_by_the_loss() -> None:
    """Each norm is only a few times the last one: no outlier, but no norm is usual either."""
    norms = [2.0 * 6**k for k in range(20)]
    [found] = find_explosions(norms, [0.5 * 36**k for k in range(20)])
    assert found.onset == 0
    assert found.threshold == pytest.approx(2.0 / 6)


def test_the_threshold_is_below_the_onset_even_after_longer_gradients() -> None:
    norms, losses = quiet(9)
    norms = [50.0, *norms, 5.0, 90.0, 900.0]
    losses = [0.6, *losses, 0.5, 20.0, 300.0]
    [found] = find_explosions(norms, losses)
    assert found.onset == QUIET + 1
    assert found.threshold == max(norms[1 : QUIET + 1])


@given(seed=st.integers(0, 10**6), height=st.floats(30, 1e9))
@settings(deadline=None, max_examples=30)
def test_what_clipping_stopped_is_told_from_the_bulk(seed: int, height: float) -> None:
    norms, losses = quiet(seed, 120, spread=0.1)
    for place in (0, 1, 60, 61, 100):  # from the start on, before anything is usual
        norms[place] = height
    clipped = [min(n, 0.5) for n in norms]
    found = find_explosions(norms, losses, clipped)
    assert [each.onset for each in found] == [0, 60, 100]
    assert all(each.stopped for each in found)
    assert [each.threshold for each in found] == [10 * float(np.median(norms))] * 3
    assert find_explosions(norms, losses) == []  # as long without clipping, and no harm done


def test_a_clipped_run_that_goes_on_has_stopped_its_explosions() -> None:
    """Large first gradients and a jump of the loss, from which clipping let the run recover."""
    norms, losses = quiet(3, 120)
    norms[40:43], losses[41:44] = [80.0, 90.0, 70.0], [30.0, 20.0, 9.0]
    clipped = [min(n, 1.0) for n in norms]
    [found] = find_explosions(norms, losses, clipped)
    assert (found.onset, found.stopped) == (40, True)
    assert found.threshold == 10 * float(np.median(norms))
    [ended] = find_explosions(norms[:45], losses[:45], clipped[:45])
    assert not ended.stopped
    assert ended.threshold is not None
    assert ended.threshold <= 0.5
    [never] = find_explosions(norms, losses)
    assert not never.stopped
