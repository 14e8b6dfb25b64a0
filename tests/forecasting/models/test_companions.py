"""What goes beside the nets: linear maps of each series, drawn to the shared one; the pretrained net."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from forecasting_cases import NAN, design, panel

from throughtime.forecasting.examples.scaled import moments
from throughtime.forecasting.models.companions import PRIOR, fit_linear, pretrained
from throughtime.forecasting.models.linear import fit_linear_map
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.pretrained.net import LONGEST, WEIGHTS, carried, forecast

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


def test_the_pretrained_net_answers_each_row_on_each_scale_for_itself() -> None:
    few = replace(DESIGN, transforms=("sqrt", "identity"))
    gapped, late = noise(60, 0), noise(60, 1)
    gapped[20:23] = gapped[-1] = late[:15] = NAN
    known = panel(gapped, noise(40, 2), late)
    made = pretrained(known, few, 5, carried(WEIGHTS[-1]))
    assert made.shape == (2, 3, 5)
    for r, y in enumerate([gapped, noise(40, 2), late[15:]]):
        filled = np.array([y[: t + 1][~np.isnan(y[: t + 1])][-1] for t in range(len(y))])
        for k, f_k in enumerate(TRANSFORMS[name] for name in few.transforms):
            expected = f_k.inverse(forecast(f_k.forward(filled)[None], 5, few.season_length)[0])
            np.testing.assert_allclose(made[k, r], expected, rtol=1e-4)


def test_a_row_without_a_new_value_is_forecast_by_its_mean() -> None:
    few = replace(DESIGN, transforms=("identity",))
    silent = np.concatenate([noise(20, 1), np.full(LONGEST, NAN)])
    known = panel(noise(40, 0), silent)
    mean = float(moments(known, TRANSFORMS["identity"])[0][1])
    np.testing.assert_allclose(pretrained(known, few, 5, carried(WEIGHTS[-1]))[0, 1], mean)
