"""What a fitted model reads, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from forecasting_cases import CELLS, NAN, TRAINING, design, panel, wave

from throughtime import SettingError
from throughtime.diagnostics import lag_profile
from throughtime.forecasting.model import Design, Model, count_updates, fit
from throughtime.forecasting.panel import Panel
from throughtime.training import losses

H = 3


def fitted(cell: Any = "lstm", known: Panel | None = None, **settings: Any) -> Model:
    known = panel(wave(40)) if known is None else known
    return fit(known, design(cell=cell, **settings), 3, (), "test")[0]


@pytest.mark.parametrize("cell", CELLS)
def test_every_step_of_the_nets_listens_to_the_newest_input(cell: str) -> None:
    """The readout stands on the newest state, so its gradient by the newest input is not 0."""
    model = fitted(cell)
    z, _ = model.design.examples(panel(wave(40))).newest()
    z = z.expand(2, *z.shape).clone().requires_grad_()
    said = model.network(z).squeeze(-1)  # [E, S, h]
    assert said.shape == (2, 1, H)
    for k in range(H):
        (gradient,) = torch.autograd.grad(said[:, :, k].sum(), z, retain_graph=True)
        assert (gradient[:, :, -1].abs() > 1e-6).all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("residual", ["level", "last", "season"])
def test_every_step_of_both_paths_moves_with_the_newest_value(cell: str, residual: Any) -> None:
    y, model = wave(40), fitted(cell, residual=residual)
    moved = y.copy()
    moved[-1] += 0.5
    for before, after in zip(model.paths(panel(y)), model.paths(panel(moved)), strict=True):
        assert (np.abs(after - before) > 1e-6).all()


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_after_the_origin_is_read(cell: str) -> None:
    y, known = wave(40), panel(wave(40)).cut(H)
    poisoned = y.copy()
    poisoned[-H:] = [1e9, -1e9, NAN]
    later = panel(poisoned).cut(H)
    one, other = (fitted(cell, known=each).forecast(each) for each in (known, later))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one).max() < 10


def test_the_forecast_is_the_mean_of_both_paths_transformed_back() -> None:
    known = panel((wave(40) + 4) ** 2)
    model = fitted(known=known, transform="sqrt")
    linear, recurrent = model.paths(known)
    np.testing.assert_allclose(model.forecast(known), ((linear + recurrent) / 2) ** 2)


def test_the_linear_path_is_the_map_of_the_window_and_cannot_run_off() -> None:
    known, A = panel(wave(40)), np.random.default_rng(0).normal(size=(H, 8)) / 8
    model = replace(fitted(), linear=A)
    u = wave(40)[-8:]
    np.testing.assert_allclose(model.paths(known)[0][0], u.mean() + A @ (u - u.mean()), atol=1e-6)
    wild = replace(model, linear=1e6 * A).paths(known)[0]
    assert (wild <= 2 * u.max() - u.min() + 1e-6).all()
    assert (wild >= 2 * u.min() - u.max() - 1e-6).all()


def test_the_recurrent_path_is_the_mean_of_the_members_on_the_naive_forecast() -> None:
    known = panel(wave(40), 50 + 9 * wave(30, 1))
    model = fitted(known=known, residual="last")
    z, scale = model.design.examples(known).newest()
    with torch.no_grad():
        said = sum(model.network.member(e).eval()(z).squeeze(-1) for e in range(2)) / 2
    expected = scale.invert(said + z[:, -1]).numpy()
    np.testing.assert_allclose(model.paths(known)[1], expected, rtol=1e-4)


def test_units_do_not_matter() -> None:
    y = wave(40)
    one, other = (fitted(known=panel(each)).forecast(panel(each)) for each in (y, 1000 * y + 700))
    np.testing.assert_allclose(other, 1000 * one + 700, rtol=1e-3)


def test_series_are_forecast_from_their_own_ends() -> None:
    a, b = wave(40), 5 + wave(31, 1)
    together = panel(a, b)
    model = fitted(known=together)
    swapped = panel(b, a)
    np.testing.assert_allclose(model.forecast(together), model.forecast(swapped)[::-1], atol=1e-6)


def test_a_fit_makes_as_many_updates_as_it_was_told_and_ends_still() -> None:
    model, history = fit(panel(wave(40)), design(), 5, (), "test")
    assert len(history.updates) == 5
    assert not any(module.training for module in model.network.modules())


def test_updates_are_counted_by_the_least_loss_on_the_latest_fifth() -> None:
    training = replace(TRAINING, max_updates=30, evaluate_every=3)
    updates, history = count_updates(panel(wave(60)), design(training=training), (), "pilot")
    best = min(history.evaluations, key=lambda e: e.loss)
    assert updates == max(best.index, 3)
    assert len(history.updates) <= 30


@pytest.mark.parametrize(("n", "most"), [(60, 1), (60, 3), (9, 1), (9, 3), (9, 40)])
def test_never_more_updates_than_asked_for(n: int, most: int) -> None:
    training = replace(TRAINING, max_updates=most, evaluate_every=50)
    settings = design(training=training, h=2, context_length=4)
    updates, _ = count_updates(panel(wave(n)), settings, (), "pilot")
    assert 1 <= updates <= most


@pytest.mark.parametrize("cell", CELLS)
def test_reach_is_the_mean_of_the_members_profiles_of_the_top_layer(cell: Any) -> None:
    known = panel(wave(40))
    model = fitted(cell, num_layers=2)
    reach = model.reach(known)
    z, r = model.design.examples(known)[torch.arange(40 - 8 - H + 1)]
    tops = [lag_profile(model.network.member(e), z, r, losses.mae)[1] for e in range(2)]
    phi = sum(top.norms * top.newest for top in tops) / 2
    np.testing.assert_allclose(reach.norms * reach.newest, phi, rtol=1e-5)
    assert reach.layer.endswith("l1")
    assert len(reach.norms) == 8 + 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"h": 0}, "h to be a whole number"),
    ({"cell": "lstn"}, "cell to be one of"),
    ({"transform": "log"}, "transform to be one of"),
    ({"residual": "none"}, "residual to be one of"),
    ({"dropout": 0.5}, "two layers or more"),
    ({"context_length": 1.5}, "context_length to be a whole number"),
    ({"residual": "season", "season_length": 12}, "context_length of at least one season, 12"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_a_design_that_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        design(**settings)


def test_a_design_is_made_of_its_fields_alone() -> None:
    assert design() == Design(**vars(design()))
