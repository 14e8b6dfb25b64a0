"""What goes beside the nets: each series has a linear map of its own, drawn to the shared one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from forecasting_cases import NAN, design, panel

from throughtime.forecasting.models.companions import PRIOR, fit_linear
from throughtime.forecasting.models.linear import fit_linear_map
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS

SCALES = ("identity", "sqrt")
DESIGN = design(transforms=SCALES, context_length=6, residual="level", companions=True)


def noise(n: int, seed: int) -> np.ndarray:
    """An autoregression whose coefficient depends on the seed."""
    generator = np.random.default_rng(seed)
    y = np.full(n, 20.0)
    for t in range(1, n):
        y[t] += (0.9 - 0.6 * seed) * (y[t - 1] - 20) + generator.normal()
    return y


def by_hand(series: list[np.ndarray]) -> np.ndarray:
    """The maps [K, h, L] that these series share."""
    how = (DESIGN.context_length, DESIGN.h, "level", DESIGN.season_length)
    return np.stack([fit_linear_map(panel(*series), TRANSFORMS[name], *how) for name in SCALES])


def test_each_map_is_drawn_to_the_shared_one_by_how_short_its_series_is() -> None:
    long, short = noise(300, 0), noise(40, 1)
    short[7] = NAN
    maps = fit_linear(panel(long, short), DESIGN)
    shared = by_hand([long, short])
    np.testing.assert_allclose(maps.shared, shared)
    for i, (y, n) in enumerate([(long, 300), (short, 39)]):
        w = n / (n + PRIOR)
        np.testing.assert_allclose(maps.own[:, i, 0], w * by_hand([y]) + (1 - w) * shared)


def test_the_maps_of_a_panel_are_found_by_the_names_of_its_series() -> None:
    known = panel(noise(80, 0), noise(50, 1), noise(60, 2))
    maps = fit_linear(known, DESIGN)
    asked = replace(known.take(np.array([2, 0, 1])), ids=(known.ids[2], "new", known.ids[1]))
    for k in range(len(SCALES)):
        expected = [maps.own[k, 2], maps.shared[k][None], maps.own[k, 1]]
        np.testing.assert_array_equal(maps.of(k, asked), expected)


def test_each_target_has_a_map_of_its_own() -> None:
    a, b = panel(noise(90, 0), noise(70, 2)), panel(noise(90, 1), noise(70, 0))
    both = replace(a, values=np.concatenate([a.values, b.values]), targets=("a", "b"))
    maps = fit_linear(both, DESIGN)
    assert maps.own.shape == (len(SCALES), 2, 2, DESIGN.h, DESIGN.context_length)
    w = 70 / (70 + PRIOR)
    expected = w * by_hand([noise(70, 0)]) + (1 - w) * maps.shared
    np.testing.assert_allclose(maps.own[:, 1, 1], expected)


def test_a_single_series_shares_with_nobody() -> None:
    maps = fit_linear(panel(noise(80, 0)), DESIGN)
    assert maps.ids == ()
    np.testing.assert_array_equal(maps.shared, by_hand([noise(80, 0)]))
