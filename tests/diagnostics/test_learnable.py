"""The rule says what its conditions say, from what the adjoints show."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from throughtime import SettingError
from throughtime.diagnostics import lag_profile, trajectories
from throughtime.diagnostics.learnable import Asked, Before, learnable, participation
from throughtime.nn import orthogonal

ORDER = Asked(10, 20, compared=tuple(range(10, 20)), told_apart=True)
ALIKE = Asked(10, 20, compared=tuple(range(10, 20)))

CASES = {
    "vanishes, no gates": (Before(0.5, 1e-3, 5.0, False), Asked(1, 20), True, False),
    "vanishes, gates, near enough": (Before(0.5, 1e-9, 1.0, True), Asked(1, 20), True, True),
    "vanishes, gates, too far": (Before(1e-3, 1e-9, 1.0, True), Asked(15, 20), True, False),
    "reaches": (Before(0.9, 0.1, 0.0, False), Asked(1, 20), True, True),
    "one direction for what has an order": (Before(0.9, 0.1, 1.2, True), ORDER, True, False),
    "many directions for what has an order": (Before(0.9, 0.1, 8.0, True), ORDER, True, True),
    "many directions for what counts alike": (Before(0.9, 0.1, 8.0, False), ALIKE, True, False),
    "one direction for what counts alike": (Before(0.9, 0.1, 1.2, False), ALIKE, True, True),
    "at the edge, not clipped": (Before(1.0, 0.9, 1.2, False), ALIKE, False, False),
    "at the edge, clipped": (Before(1.0, 0.9, 1.2, False), ALIKE, True, True),
    "at the edge, gated": (Before(1.0, 0.9, 1.2, True), ALIKE, False, True),
    "not a number": (Before(1.0, float("nan"), 1.2, False), ALIKE, True, False),
}


@pytest.mark.parametrize("case", CASES)
def test_each_condition_decides(case: str) -> None:
    before, asked, clipped, learns = CASES[case]
    assert learnable(before, asked, clipped=clipped).learns == learns


@given(st.integers(1, 6), st.integers(0, 99))
def test_directions_are_counted_whatever_their_lengths(k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(3, 8, 8, generator=generator)).Q[:, :k]
    lengths = 10 ** (8 * torch.rand(3, k, 1, generator=generator) - 8)
    assert participation(turned * lengths) == pytest.approx(k, rel=1e-4)
    assert participation(turned[:, :1] * lengths) == pytest.approx(1, rel=1e-4)
    assert 1 - 1e-6 <= participation(torch.randn(3, k, 8, generator=generator)) <= k + 1e-6


def test_what_is_measured_is_read_at_its_lags() -> None:
    torch.manual_seed(0)
    rnn = orthogonal()(nn.RNN(1, 16, batch_first=True)).double()
    x = 0.01 * torch.randn(4, 30, 1).double()
    [trajectory] = trajectories(rnn, x)
    [profile] = lag_profile(rnn, x)
    before = Before.of(trajectory, ORDER)
    assert (before.nearest, before.farthest) == (profile.norms[10], profile.norms[20])
    assert not before.gated
    assert before.directions > 4  # an orthogonal matrix turns on
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.eye(16))
    [still] = trajectories(rnn, x)
    assert Before.of(still, ORDER).directions < 1.1
    assert Before.of(still, Asked(1, 2)).directions == 0
    [gated] = trajectories(nn.GRU(1, 4), torch.zeros(5, 1, 1))
    assert Before.of(gated, Asked(1, 2)).gated


def test_lags_out_of_order_are_refused() -> None:
    with pytest.raises(SettingError, match="at least nearest=5"):
        Asked(5, 4)
