"""Scales of windows: their equations, units, gaps; the affine map of revin; the choice for a panel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from forecasting_cases import NAN, panel
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting import read_frame
from throughtime.forecasting.architectures.reversible import Reversible
from throughtime.forecasting.examples.scaled import ScaledWindows
from throughtime.forecasting.forecaster import TRAINING, Forecaster
from throughtime.forecasting.models.ridge import fit_ridge, say, scaled
from throughtime.forecasting.planning.deciding import decide
from throughtime.forecasting.planning.scale_choice import choose
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.preprocessing.scaling import OF_WINDOWS, Scale, begun, carry_on, latest
from throughtime.forecasting.preprocessing.transforms import Identity
from throughtime.training.outputs import OUTPUTS, output

each_scaling = pytest.mark.parametrize("name", OF_WINDOWS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
QUICK = replace(TRAINING, max_updates=3, evaluate_every=1)

CONTEXT = [2.0, NAN, 4.0, 10.0, NAN, 4.0]
MU, SIGMA = 7.0, 3.0
KNOWN = {
    "blend": ((np.mean([2, 2, 4, 10, 10, 4]) + MU) / 2, (np.std([2, 2, 4, 10, 10, 4]) + SIGMA) / 2),
    "standard": (5.0, np.std([2, 4, 10, 4])),
    "revin": (5.0, np.std([2, 4, 10, 4])),
    "robust": (4.0, 2.0 / 1.349),
    "mean-absolute": (0.0, 5.0),
    "last": (4.0, 6.0),
    "series": (MU, SIGMA),
}


def scale_of(name: str, u: torch.Tensor, mu: float = MU, sigma: float = SIGMA) -> Scale:
    like = u[..., :1]
    return OF_WINDOWS[name](u, Scale(torch.full_like(like, mu), torch.full_like(like, sigma)))


@each_dtype
@pytest.mark.parametrize("name", KNOWN)
def test_scales_equal_their_equations(name: str, dtype: torch.dtype) -> None:
    u = torch.tensor([[CONTEXT], [[NAN, *CONTEXT[:5]]]], dtype=dtype)  # [..., M, L]
    scale = scale_of(name, u)
    assert scale.location.shape == scale.size.shape == (2, 1, 1)
    assert scale.size.dtype == dtype
    assert [scale.location[0].item(), scale.size[0].item()] == pytest.approx(KNOWN[name])
    future = torch.tensor([[1.0, 2.0, 3.0]], dtype=dtype)
    torch.testing.assert_close(scale.invert(scale.apply(future)), future.expand(2, 1, 3))


@each_scaling
@given(
    values=st.lists(st.one_of(st.just(NAN), st.integers(-8, 8).map(float)), min_size=2, max_size=9),
    a=st.integers(-50, 50),
    b=st.sampled_from([0.25, 1.0, 64.0]),
)
def test_scales_are_blind_to_units(name: str, values: list[float], a: float, b: float) -> None:
    a = 0 if name == "mean-absolute" else a
    u = torch.tensor(values, dtype=torch.float64)
    scale, moved = scale_of(name, u), scale_of(name, a + b * u, a + b * MU, b * SIGMA)
    assert scale.size.item() > 0
    assert np.isfinite(scale.location.item())
    torch.testing.assert_close(moved.apply(a + b * u), scale.apply(u), equal_nan=True)


@each_scaling
@each_dtype
def test_windows_without_width_or_value_have_those_of_their_series(
    name: str, dtype: torch.dtype
) -> None:
    nothing = scale_of(name, torch.full((3,), NAN, dtype=dtype))
    assert [nothing.location.item(), nothing.size.item()] == [MU, SIGMA]
    constant = scale_of(name, torch.full((9,), 0.1, dtype=dtype))
    assert constant.size.item() == pytest.approx(0.1 if name == "mean-absolute" else SIGMA)
    assert scale_of(name, torch.zeros(9, dtype=dtype)).size.item() == SIGMA


def test_rare_values_and_lonely_values_still_have_a_width() -> None:
    for u in ([0.0] * 9 + [5.0], [0.0, NAN, 8.0, NAN, 2.0]):
        for name in ("robust", "last"):
            assert scale_of(name, torch.tensor(u)).size.item() != SIGMA


def series(n: int = 90, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(size=n)
    return np.asarray(np.cumsum(steps) + 3 * np.sin(np.arange(n) / 2) - 2)


def forecast(y: np.ndarray, scaling: str) -> np.ndarray:
    forecaster = Forecaster(
        3,
        members=2,
        hidden_size=4,
        context_length=12,
        residual="last",
        transform="identity",
        n_windows=0,
        training=QUICK,
        scaling=scaling,
    )
    return np.asarray(forecaster.fit(y).predict(level=[])["LSTM"].to_numpy())


@each_scaling
def test_forecasts_follow_the_units_of_the_series(name: str) -> None:
    a, b = (0.0 if name == "mean-absolute" else -1024.0), 64.0
    expected = a + b * forecast(series(), name)
    np.testing.assert_allclose(forecast(a + b * series(), name), expected, rtol=1e-3)


@pytest.mark.parametrize("kind", [name for name in OUTPUTS if name != "negative-binomial"])
@pytest.mark.parametrize("residual", ["level", "last"])
def test_what_revin_says_of_z_is_what_was_said_of_gamma_z_plus_beta(
    kind: str, residual: str
) -> None:
    base, generator = Base(residual), torch.Generator().manual_seed(0)
    head = output(kind, 5, 6)[0].double()
    affine = Reversible(2, base).double()
    torch.nn.init.constant_(affine.log_gamma, 0.7)
    affine.beta.data = torch.tensor([0.4, -3.0]).double()
    params = head(torch.randn(4, 5, generator=generator, dtype=torch.float64))
    z = torch.randn(4, 7, 2, generator=generator, dtype=torch.float64)
    read, q = affine.read(z), torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    assert torch.allclose(read, z * np.exp(0.7) + affine.beta)
    inner = base.ahead(read.mT, 3).flatten(-2)[..., None] + head.quantile(params, q)
    back = (inner - affine.beta.repeat_interleave(3)[:, None]) / np.exp(0.7)
    outer = base.ahead(z.mT, 3).flatten(-2)[..., None]
    found = outer + head.quantile(affine.undo(head, params), q)
    torch.testing.assert_close(found, back, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "architecture", ["direct", "segment", "seq2seq", "synced", "recursive", "ar"]
)
def test_revin_begins_as_standard_and_learns_gamma_and_beta(architecture: str) -> None:
    kind = "gaussian" if architecture in ("recursive", "ar") else "point"
    made = {}
    for scaling in ("standard", "revin"):
        forecaster = Forecaster(
            3,
            members=2,
            hidden_size=4,
            context_length=12,
            season_length=4,
            residual="level",
            transform="identity",
            scaling=scaling,
            architecture=architecture,
            output=kind,
            n_windows=0,
            training=QUICK,
        )
        design = decide(forecaster._given, known := read_frame(series()), known)
        examples = design.examples(known)
        inputs, r = examples[torch.tensor([[0, 3]] * 2)]
        net = design.network(examples.parts[0].channels.sizes)
        said = net(*((inputs,) if isinstance(inputs, torch.Tensor) else inputs))
        design.loss(said, r).backward()
        made[scaling] = said, net
        assert forecaster.fit(series()).predict(level=[]).num_rows == 3
    assert torch.allclose(made["standard"][0], made["revin"][0], atol=1e-6)
    for name in ("log_gamma", "beta"):
        grad = made["revin"][1].stacked.reversible.get_parameter(name).grad
        assert grad is not None
        assert (grad != 0).all()


def test_the_ridge_is_the_weighted_least_squares_of_its_equations() -> None:
    examples = ScaledWindows.of(panel(series()), Identity(), 6, 2, Base("last"), scaling="standard")
    _, z, truth, _ = (part.numpy() for part in scaled(examples, torch.arange(len(examples))))
    r = truth - z[:, -1:]
    w = 1 / (1 + np.abs(r).mean(axis=1))
    gram = np.einsum("i,ij,ik->jk", w, z, z)
    size = 0.01 * np.trace(gram) / 6
    rows = np.concatenate([np.sqrt(w)[:, None] * z, np.sqrt(size) * np.eye(6)])
    goal = np.concatenate([np.sqrt(w)[:, None] * r, np.zeros((6, 2))])
    R = np.linalg.lstsq(rows, goal, rcond=None)[0].T
    A = fit_ridge(examples)
    np.testing.assert_allclose(A - np.eye(6)[[-1, -1]], R, atol=1e-8)
    w = torch.from_numpy(z[:1])
    np.testing.assert_allclose(say(R, Base("last"), w, w)[0], A @ z[0], atol=1e-8)


def trending(n: int = 24) -> list[np.ndarray]:
    return [10.0 ** (i % 3) * (30 + series(60, i) + 2 * np.arange(60)) for i in range(n)]


def test_series_that_leave_their_level_are_not_scaled_by_it() -> None:
    choice = choose(panel(*trending()), Identity(), 3, 1, [6, 12])
    assert choice is not None
    assert choice.scaling not in ("series", "blend", "mean-absolute")
    steps = np.random.default_rng(0).normal(size=(24, 60))
    season = np.tile([0.0, 9.0, 1.0, 5.0], 15)
    found = choose(panel(*np.cumsum(season + 0.1 * steps, axis=1)), Identity(), 3, 4, [8])
    assert found is not None
    assert found.error < 0.2  # of a step


def test_a_longer_look_back_is_chosen_where_it_tells_more() -> None:
    noise = np.random.default_rng(1).normal(size=(24, 300))
    y = noise + np.roll(noise, 12, axis=1)  # what comes is told by values 12 steps ago
    found = choose(panel(*y), Identity(), 2, 1, [4, 8, 16])
    assert found is not None
    assert found.context_length in (4, 16)
    cycle = np.tile(np.random.default_rng(2).normal(size=(24, 14)), 20)
    longer = choose(panel(*cycle), Identity(), 2, 1, [8, 16])
    assert longer is not None
    assert longer.context_length == 16


def test_panels_choose_and_single_series_keep_the_blend() -> None:
    forecaster = Forecaster(3, n_windows=0)
    many, one = panel(*trending()), panel(series())
    assert decide(forecaster._given, many, many).scaling in ("standard", "last", "shift")
    assert decide(forecaster._given, one, one).scaling == "blend"
    given = Forecaster(3, scaling="robust", residual="level", context_length=9, n_windows=0)
    design = decide(given._given, many, many)
    assert (design.scaling, design.residual, design.context_length) == ("robust", "level", 9)


def test_the_words_say_what_was_chosen() -> None:
    forecaster = Forecaster(
        2, members=1, n_windows=0, season_length=4, residual="season", difference="both"
    )
    fitted = forecaster.fit(np.tile([0.0, 3.0, 1.0, 2.0], 12) + series(48))
    assert fitted.scaling_words == (
        "identity; moments of window and series, half each; from the last season (4); "
        "reads differences at lag 1 and 4"
    )


def test_a_scaling_that_is_none_is_refused() -> None:
    with pytest.raises(tt.SettingError, match="scaling"):
        Forecaster(2, scaling="mean")


gappy_rows = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([NAN, 1.0, 2.0, 5.0]), min_size=n, max_size=n), min_size=1
    )
)


@given(gappy_rows, st.integers(1, 6))
def test_gaps_are_filled_in_each_row_as_in_it_alone(rows: list[list[float]], L: int) -> None:
    u = torch.tensor(rows).reshape(len(rows), -1)
    whole = u.clone()
    for made, fill in ((carry_on(u), _carried), (begun(u, L), lambda row: _begun(row, L))):
        assert made.shape == u.shape
        for each, row in zip(made.tolist(), rows, strict=True):
            np.testing.assert_array_equal(each, fill(row))
    np.testing.assert_array_equal(latest(u)[:, 0], [_carried(row)[-1] for row in rows])
    torch.testing.assert_close(u, whole, equal_nan=True)  # left as it was


def _carried(row: list[float]) -> list[float]:
    made: list[float] = []
    for value in row:
        made.append(made[-1] if made and np.isnan(value) else value)
    return made


def _begun(row: list[float], L: int) -> list[float]:
    seen = [t for t, value in enumerate(row[:L]) if not np.isnan(value)]
    filled = row if not seen else [row[seen[0]]] * seen[0] + row[seen[0] :]
    return [0.0 if np.isnan(value) else value for value in filled]


@pytest.mark.parametrize("name", KNOWN)
def test_a_window_without_gaps_has_the_scale_it_has_beside_one_with_gaps(name: str) -> None:
    u = torch.tensor([[CONTEXT], [[1.0, 2.0, 4.0, 8.0, 16.0, 31.0]]])
    both, alone = scale_of(name, u), scale_of(name, u[1:])
    torch.testing.assert_close(both.location[1:], alone.location, rtol=0, atol=0)
    torch.testing.assert_close(both.size[1:], alone.size, rtol=0, atol=0)
