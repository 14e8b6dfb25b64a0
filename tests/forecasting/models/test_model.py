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
from throughtime.forecasting.fitting.fitting import count_updates, fit
from throughtime.forecasting.models.companions import Maps
from throughtime.forecasting.models.model import Model
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.training import losses

H = 3


def fitted(cell: Any = "lstm", known: Panel | None = None, **settings: Any) -> Model:
    known = panel(wave(40)) if known is None else known
    return fit(known, design(cell=cell, **settings), 3, (), "test")[0]


ALL = ("identity", "sqrt", "log1p")


@pytest.mark.parametrize("cell", CELLS)
def test_every_step_of_the_nets_listens_to_the_newest_input(cell: str) -> None:
    """The readout stands on the newest state, so its gradient by the newest input is not 0."""
    model = fitted(cell)
    window, _ = model.design.examples(panel(wave(40))).parts[0].newest()
    z = window.z.mT.expand(2, -1, -1, -1).clone().requires_grad_()
    said = model.network(z).squeeze(-1)  # [E, S, h]
    assert said.shape == (2, 1, H)
    for k in range(H):
        (gradient,) = torch.autograd.grad(said[:, :, k].sum(), z, retain_graph=True)
        assert (gradient[:, :, -1].abs() > 1e-6).all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("residual", ["level", "last", "season"])
def test_every_step_of_every_path_moves_with_the_newest_value(cell: str, residual: Any) -> None:
    y = 5 + wave(40)
    model = fitted(cell, panel(y), residual=residual, transforms=ALL, members=3)
    moved = y.copy()
    moved[-1] += 0.5
    before, after = model.kinds(panel(y)), model.kinds(panel(moved))
    assert [len(before[kind]) for kind in ("linear", "recurrent")] == [3, 3]
    for kind in ("linear", "recurrent"):
        assert (np.abs(after[kind] - before[kind]) > 1e-6).all(), kind


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_after_the_origin_is_read(cell: str) -> None:
    y, known = wave(40), panel(wave(40)).cut(H)
    poisoned = y.copy()
    poisoned[-H:] = [1e9, -1e9, NAN]
    later = panel(poisoned).cut(H)
    one, other = (fitted(cell, known=each).forecast(each) for each in (known, later))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one).max() < 10


INVERSE = {"identity": lambda u: u, "sqrt": np.square, "log1p": np.expm1}
FORWARD = {"identity": lambda y: y, "sqrt": np.sqrt, "log1p": np.log1p}
SERIES = [(wave(40) + 4) ** 2, 50 + 9 * wave(30, 1)]


@pytest.mark.parametrize("residual", ["level", "last"])
def test_every_path_is_made_on_its_own_scale(residual: Any) -> None:
    """The equations of the module, series by series; members 0, 3 and 1, 4 share a scale."""
    known = panel(*SERIES)
    model = fitted(known=known, transforms=ALL, members=5, residual=residual)
    paths = model.kinds(known)
    for k, name in enumerate(ALL):
        maps = model.linear.of(k, known)[:, 0]
        for s, y in enumerate(SERIES):
            u = FORWARD[name](y)
            w, mean, deviation = u[-8:], u.mean(), u.std()
            linear = mean + deviation * maps[s] @ ((w - mean) / deviation)
            np.testing.assert_allclose(paths["linear"][k, s], INVERSE[name](linear), rtol=1e-4)
            location, size = (w.mean() + mean) / 2, (w.std() + deviation) / 2
            z = torch.from_numpy((w - location) / size).float()[None, :, None]
            with torch.no_grad():
                members = [model.network.member(e).eval()(z) for e in range(k, 5, 3)]
            said = (sum(members) / len(members)).flatten().numpy()
            base = (w[-1] - location) / size if residual == "last" else 0.0
            recurrent = INVERSE[name](location + size * (said + base))
            np.testing.assert_allclose(paths["recurrent"][k, s], recurrent, rtol=1e-4)


@pytest.mark.parametrize(("members", "nets"), [(1, 1), (2, 2), (3, 3), (7, 3)])
def test_the_forecast_is_the_mean_of_the_kinds(members: int, nets: int) -> None:
    """Each kind is the mean over its scales; a net for each scale, or as many as there are."""
    known = panel(*SERIES)
    model = fitted(known=known, transforms=ALL, members=members, season_length=1)
    paths = model.kinds(known)
    assert {kind: len(made) for kind, made in paths.items()} == {"linear": 3, "recurrent": nets}
    linear, recurrent = (sum(paths[kind]) / len(paths[kind]) for kind in ("linear", "recurrent"))
    np.testing.assert_allclose(model.forecast(known), (linear + recurrent) / 2)


@pytest.mark.parametrize(("residual", "season", "cycle"), [("level", 4, True), ("last", 4, False)])
def test_a_cycle_about_a_level_goes_on_as_its_last_two_seasons(
    residual: Any, season: int, cycle: bool
) -> None:
    a, b = 5 + wave(40), 9 + wave(30, 1)
    model = fitted(known=panel(a, b), residual=residual, season_length=season)
    paths = model.kinds(panel(a, b))
    assert ("seasonal" in paths) is cycle
    if cycle:
        expected = [(y[-4:] + y[-8:-4])[:H] / 2 for y in (a, b)]
        np.testing.assert_allclose(paths["seasonal"][0], expected)
        kinds = [made.mean(axis=0) for made in paths.values()]
        np.testing.assert_allclose(model.forecast(panel(a, b)), sum(kinds) / 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_no_path_runs_off(sign: int) -> None:
    """Each is held within the range of the newest window, widened by itself, and 0 if need be."""
    known = panel(*SERIES)
    model = fitted(known=known, transforms=ALL, members=3)
    wild = replace(model, linear=Maps(np.full_like(model.linear.shared, sign * 1e6)))
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if "head" in name:
                weight.fill_(sign * 1e4)
    paths = {kind: wild.kinds(known)[kind] for kind in ("linear", "recurrent")}
    low, high = (np.array([[extreme(y[-8:])] for y in SERIES]) for extreme in (np.min, np.max))
    lowest, highest = np.maximum(2 * low - high, 0.0), 2 * high - low
    for made in paths.values():
        assert (made >= lowest).all()
        assert (made <= highest).all()
        assert all(((path == lowest) | (path == highest)).any() for path in made)
    assert (wild.forecast(known) >= lowest).all()
    point, quantiles = wild.distribution(known, (0.1, 0.9))
    np.testing.assert_array_equal(point, wild.forecast(known))
    low, high = (np.array([[[extreme(y)]] for y in SERIES]) for extreme in (np.min, np.max))
    assert (quantiles >= 0).all()
    assert (quantiles <= high + 100 * (high - low)).all()


LEVELS = (0.005, 0.025, 0.1, 0.5, 0.9, 0.975, 0.995)


@pytest.mark.parametrize("output", ["quantiles", "gaussian", "student-t"])
@pytest.mark.parametrize("sign", [1, -1])
def test_quantiles_are_those_of_the_nets_about_the_forecast_however_little_is_known(
    output: str, sign: int
) -> None:
    """Of one value, two alike, two a little apart, growth, many, and a fall to 0."""
    fall = np.maximum(5 - np.arange(12.0), 0)
    known = panel([3.0], [2.0, 2.0], [1.0, 1.1], 1.5 ** np.arange(12), 5 + wave(40), fall)
    if sign < 0:
        known = panel(*(-known.row(i) for i in range(len(known))))
    model = fitted(known=known, output=output)
    with torch.no_grad():  # a net that says too little, and so less than 0 after the fall
        params, middle = {"quantiles": (7, 3), "gaussian": (2, 0), "student-t": (3, 1)}[output]
        bias = dict(model.network.named_parameters())["stacked.head.linear.bias"]
        bias.unflatten(-1, (H, params))[..., middle] -= 2.0
    parts = model.design.examples(known).parts
    nets, lowest = model.nets.quantiles(parts, H, LEVELS), -np.inf if sign < 0 else 0.0
    own = np.maximum(nets[..., LEVELS.index(0.5)], lowest)
    expected = np.maximum(nets + (model.forecast(known) - own)[..., None], lowest)
    said = model.quantiles(known, LEVELS)
    np.testing.assert_allclose(said, expected, rtol=1e-5, atol=1e-6)
    assert (np.diff(said)[said[..., 1:] > lowest] > 0).all()


def test_a_series_that_may_be_below_0_may_be_forecast_there() -> None:
    known = panel(wave(40))
    u = wave(40)[-8:]
    A = np.tile(-1e6 * np.sign(u - wave(40).mean()), (1, H, 1))
    found = replace(fitted(), linear=Maps(A)).kinds(known)["linear"][0]
    np.testing.assert_allclose(found, np.full((1, H), 2 * u.min() - u.max()))


def test_a_series_that_ends_in_a_long_gap_is_forecast_about_its_mean() -> None:
    gap = [NAN] * 9
    known = panel([*(5 + wave(30)), *gap], 9 + wave(20, 1))
    model = fitted(known=known, transforms=ALL, members=3)
    paths = model.kinds(known)
    for made in paths.values():
        assert np.isfinite(made).all()
        assert (np.abs(made[:, 0] - 5) < 2).all()
    np.testing.assert_allclose(paths["linear"][0, 0], (5 + wave(30)).mean(), rtol=1e-5)


def test_units_do_not_matter() -> None:
    y = wave(40)
    one, other = (fitted(known=panel(each)).forecast(panel(each)) for each in (y, 1000 * y + 700))
    np.testing.assert_allclose(other, 1000 * one + 700, rtol=1e-3)


def test_series_are_forecast_from_their_own_ends() -> None:
    a, b = wave(40), 5 + wave(31, 1)
    together = panel(a, b)
    model = fitted(known=together)
    swapped = together.take(np.array([1, 0]))
    np.testing.assert_allclose(model.forecast(together), model.forecast(swapped)[::-1], atol=1e-6)


def test_a_fit_makes_as_many_updates_as_it_was_told_and_ends_still() -> None:
    model, history = fit(panel(wave(40)), design(), 5, (), "test")
    assert len(history.updates) == 5
    assert not any(module.training for module in model.network.modules())


@pytest.mark.parametrize("least", [1, 12, 1000])
def test_updates_are_counted_by_the_least_loss_on_the_latest_fifth(
    least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never fewer than make a net learn anything, if as many are asked for."""
    monkeypatch.setattr("throughtime.forecasting.fitting.fitting.LEAST_UPDATES", least)
    training = replace(TRAINING, max_updates=30, evaluate_every=3, learning_rate=0.2)
    updates, history = count_updates(panel(wave(60)), design(training=training), (), "pilot")
    best = min(history.evaluations, key=lambda e: e.loss)
    assert 1 < best.index < 30
    assert updates == max(best.index, min(least, 30))
    assert len(history.updates) <= 30


@pytest.mark.parametrize(("n", "most"), [(60, 1), (60, 3), (9, 1), (9, 3), (9, 40)])
def test_never_more_updates_than_asked_for(n: int, most: int) -> None:
    training = replace(TRAINING, max_updates=most, evaluate_every=50)
    settings = design(training=training, h=2, context_length=4)
    updates, _ = count_updates(panel(wave(n)), settings, (), "pilot")
    assert 1 <= updates <= most


@pytest.mark.parametrize("cell", CELLS)
def test_reach_is_the_mean_of_the_members_profiles_of_the_top_layer(cell: Any) -> None:
    known = panel(5 + wave(40))
    model = fitted(cell, known, num_layers=2, transforms=("identity", "sqrt"))
    reach = model.reach(known)
    index = torch.arange(40 - 8 - H + 1)
    tops = [
        lag_profile(model.network.member(e), *part[index], losses.mae)[1]
        for e, part in enumerate(model.design.examples(known).parts)
    ]
    phi = sum(top.norms * top.newest for top in tops) / 2
    np.testing.assert_allclose(reach.norms * reach.newest, phi, rtol=1e-5)
    assert reach.layer.endswith("l1")
    assert len(reach.norms) == 8 + 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"h": 0}, "h to be a whole number"),
    ({"cell": "lstn"}, "cell to be one of"),
    ({"transforms": ("sqrt", "cube")}, "transform to be one of"),
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
