"""Exponential smoothing beside a net equals its equations, and what is learned belongs to a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from forecasting_cases import NAN, TRAINING, design, panel, quick, wave
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime import SettingError
from throughtime.forecasting.architectures.es import ES, smooth
from throughtime.forecasting.models.companions import Maps
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.tuning.tune import _architectures
from throughtime.nn.heads import PointHead
from throughtime.training import Clip, TrainingSettings

L, H, M_SEASON = 8, 3, 4
ES_DESIGN = {
    "architecture": "es",
    "context_length": L,
    "season_length": M_SEASON,
    "scaling": "last",
}


def by_loop(
    u: np.ndarray, seen: np.ndarray, alpha: float, gamma: float, s: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """l and s of one series, from the equations, a step after the other."""
    m, s, levels = len(s), list(s), []
    f = int(seen.argmax())
    level = u[f] - s[f % m]
    for t in range(len(u)):
        if seen[t] and t >= f:
            level = alpha * (u[t] - s[t]) + (1 - alpha) * level
            s.append(gamma * (u[t] - level) + (1 - gamma) * s[t])
        else:
            s.append(s[t])
        levels.append(level)
    return levels, s[: len(u)], s[len(u) :]


def smoothed(T: int, m: int, B: int, M: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Values with gaps, as windows carry them, and what smooths them."""
    r = np.random.default_rng(seed)
    u, seen = r.normal(size=(T, B, M)), r.random((T, B, M)) < 0.7
    for b, k in np.ndindex(B, M):
        f = int(seen[:, b, k].argmax())
        for t in range(1, T):
            u[t, b, k] = u[t, b, k] if seen[t, b, k] else u[t - 1, b, k]
        u[:f, b, k] = u[f, b, k]
    alpha, gamma, s = r.random((B, M)), r.random((B, M)), r.normal(size=(m, B, M))
    return tuple(torch.from_numpy(each * 1.0) for each in (u, seen, alpha, gamma, s))


@given(
    T=st.integers(1, 9),
    m=st.integers(1, 11),
    B=st.integers(1, 2),
    M=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_smoothing_by_seasons_is_that_by_steps(T: int, m: int, B: int, M: int, seed: int) -> None:
    u, seen, alpha, gamma, s = smoothed(T, m, B, M, seed)
    made = [each.numpy() for each in smooth(u, seen, alpha, gamma, s)]
    for b, k in np.ndindex(B, M):
        one = (u[:, b, k], seen[:, b, k] > 0, alpha[b, k], gamma[b, k], s[:, b, k])
        for found, wanted in zip(made, by_loop(*(each.numpy() for each in one)), strict=True):
            np.testing.assert_allclose(found[:, b, k], wanted, rtol=1e-12, atol=1e-12)


def net_of(sizes: Any, m: int, **how: Any) -> ES:
    recurrence = design(**ES_DESIGN).recurrence
    return ES(sizes, recurrence, PointHead, H, season_length=m, **how)


@pytest.mark.parametrize("m", [1, M_SEASON])
def test_gradients_are_finite_differences(m: int) -> None:
    """Of α, γ and s, all shared and every series' own, through the whole net."""
    made = design(**ES_DESIGN | {"season_length": m, "members": 1, "cell": "rnn"})
    examples = made.examples(panel(gappy(20, 0), gappy(24, 1)))
    part = examples.parts[0]
    (x, *beside), _ = part[torch.tensor([0, len(part) - 1])]
    net = net_of(part.channels.sizes, m).double()
    torch.nn.init.normal_(net.own, std=0.5)
    placed = [each.double() if each.is_floating_point() else each for each in beside]

    def say(shared: torch.Tensor, own: torch.Tensor) -> Any:
        return torch.func.functional_call(
            net, {"shared": shared, "own": own}, (x.double(), *placed)
        )

    assert torch.autograd.gradcheck(say, (net.shared, net.own))
    say(net.shared, net.own).square().sum().backward()
    learned = slice(0, 1) if m == 1 else slice(0, None)
    assert (net.shared.grad[:, learned] != 0).all()


def gappy(n: int, seed: int) -> np.ndarray:
    y = 5 + wave(n, seed)
    y[[3, n - 3]] = NAN
    return y


def test_a_net_that_is_linear_says_what_the_equations_say() -> None:
    """Phases go by the date and indices by the size of the series, wherever a window lies."""
    made = design(**ES_DESIGN | {"linear_skip": True})
    series = [5 + wave(30, 0), 10 * gappy(25, 1)]
    part = made.examples(panel(*series)).parts[0]
    net = made.network(part.channels.sizes).member(0)
    for parameter in (net.shared, net.own, net.skip.weight):
        torch.nn.init.normal_(parameter)
    for parameter in net.head.parameters():
        torch.nn.init.zeros_(parameter)
    index = torch.arange(len(part))
    numbers, origins = part.windows.places(index)
    _, scale = part.window(numbers, origins, H)
    (x, *beside), _ = part[index]
    with torch.no_grad():
        z = net(x, *beside)[..., 0].reshape(-1, 1, H)
    said = scale.invert(z)[:, 0].numpy()
    assert len(index) > 10
    A = net.skip.weight.detach().double().numpy()
    for i, p, found in zip(numbers.tolist(), origins.tolist(), said, strict=True):
        theta = (net.shared[0] + net.own[i]).detach().double().numpy()
        alpha, gamma = 1 / (1 + np.exp(-theta[:2]))
        indices = theta[2:][(p - L + np.arange(M_SEASON)) % M_SEASON] * np.nanstd(series[i])
        u = series[i][p - L : p]
        seen = ~np.isnan(u)
        level, season, ahead = map(np.array, by_loop(u, seen, alpha, gamma, indices))
        left = np.where(seen, u - season, level) - level[-1]
        np.testing.assert_allclose(found, level[-1] + ahead[:H] + A @ left, rtol=1e-3)


def monthly(S: int = 3, n: int = 40, first: str = "2001-03", seed: int = 0) -> pa.Table:
    """Months with a season and a trend of every series, all above 0; fewer are the first of more."""
    months = np.datetime64(first, "M") + np.arange(n)
    rows = []
    for i in range(S):
        r = np.random.default_rng([seed, i])
        shape, slope = 0.3 * r.normal(size=12), r.uniform(-0.02, 0.02)
        at = months.astype(int)
        u = 3 + slope * (at - 400) + shape[at % 12] + 0.03 * r.normal(size=n)
        rows += [(f"s{i}", ds, value) for ds, value in zip(months, np.exp(u), strict=True)]
    ids, ds, y = zip(*rows, strict=True)
    return pa.table({"unique_id": ids, "ds": np.array(ds, "M8[ms]"), "y": y})


def without_first(table: pa.Table, n: int, last: int = 0) -> pa.Table:
    frame = table.to_pandas()
    place = frame.groupby("unique_id").cumcount()
    left = frame.groupby("unique_id")["y"].transform("size") - place
    return pa.Table.from_pandas(frame[(place >= n) & (left > last)], preserve_index=False)


def test_phases_are_those_of_the_date_wherever_a_table_begins() -> None:
    made = quick(architecture="es", n_windows=0, season_length=12, context_length=12)
    nets = made.fit(monthly()).model.nets

    def newest(table: pa.Table) -> Any:
        read = tt.forecasting.read_frame(table)
        return nets.examples(read).parts[0].newest()[0].place

    whole, part = newest(monthly()), newest(without_first(monthly(), 7))
    assert whole.series.tolist() == part.series.tolist() == [1, 2, 3]
    assert torch.equal(whole.first, part.first)
    assert (whole.first % 12 == (2 + 40 - 12) % 12).all()  # it begins in March


@pytest.mark.parametrize("how", [{}, {"segment": 4, "linear_skip": True}, {"dilations": (1, 2)}])
def test_an_ensemble_is_its_members(how: dict[str, Any]) -> None:
    how = how | {"num_layers": len(how.get("dilations", (1,)))}
    made = design(**ES_DESIGN | how | {"members": 3})
    examples = made.examples(panel(gappy(20, 0), gappy(24, 1)))
    network = made.network(examples.parts[0].channels.sizes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs, _ = examples[torch.arange(15).reshape(3, 5)]
    together = network(*inputs)
    for e in range(3):
        alone = network.member(e)(*(each[e] for each in inputs))
        torch.testing.assert_close(together[e], alone)
    together.square().sum().backward()
    assert (network.stacked.own.grad != 0).any()


def test_seasonal_series_with_trends_are_forecast_better_than_by_seasonal_naive() -> None:
    table, h = monthly(S=12, n=72), 12
    known, y = without_first(table, 0, last=h), table.to_pandas()["y"].to_numpy().reshape(12, -1)
    training = TrainingSettings(
        max_updates=60, batch_size=32, learning_rate=0.02, clip=Clip(norm=1.0), average=0.9
    )
    forecaster = tt.Forecaster(
        h, architecture="es", cell="gru", hidden_size=8, members=1, context_length=24, transform="log",
        n_windows=0, companions=False, training=training,
    )  # fmt: skip
    made = forecaster.fit(known).predict(level=[])["GRU"].to_numpy().reshape(12, h)
    naive = y[:, -2 * h : -h]
    assert np.abs(made - y[:, -h:]).mean() < 0.75 * np.abs(naive - y[:, -h:]).mean()


@pytest.fixture(scope="module")
def fitted() -> tt.Forecaster:
    learns = TrainingSettings(max_updates=20, batch_size=16, learning_rate=0.05)
    how = {"n_windows": 2, "members": 2, "context_length": 12, "training": learns}
    return quick(architecture="es", **how).fit(monthly())


def forecast(forecaster: tt.Forecaster, data: Any = None) -> np.ndarray:
    return forecaster.predict(data, level=[])["LSTM"].to_numpy()


def test_a_series_that_was_not_in_the_fit_has_the_mean_of_the_parameters(
    fitted: tt.Forecaster, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    mean = tt.load(tmp_path / "model")
    own = mean.model.network.stacked.own
    own.data = own.mean(dim=1, keepdim=True).expand_as(own).contiguous()
    shared = Maps(mean.model.linear.shared)  # so has its autoregression
    object.__setattr__(mean.model, "linear", shared)
    known = monthly()
    new = known.set_column(0, "unique_id", pa.array([f"new {i}" for i in known["unique_id"]]))
    np.testing.assert_allclose(forecast(fitted, new), forecast(mean, known), rtol=1e-4)
    assert not np.allclose(forecast(fitted, new), forecast(fitted, known), rtol=1e-3)


def test_a_saved_model_goes_on_with_old_and_new_series(
    fitted: tt.Forecaster, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    streamed, read = tt.load(tmp_path / "model"), tt.load(tmp_path / "model")
    assert read.predict() == fitted.predict()
    assert read.model.channels.ids == ("s0", "s1", "s2")
    whole = monthly(S=4, n=65)
    first_three, fourth = whole.slice(0, 3 * 65), whole.slice(3 * 65)
    streamed.update(without_first(first_three, 40))
    np.testing.assert_allclose(forecast(streamed), forecast(read, first_three), rtol=1e-4)
    streamed.update(fourth)
    np.testing.assert_allclose(forecast(streamed), forecast(read, whole), rtol=1e-4)
    streamed.save(tmp_path / "model")
    assert tt.load(tmp_path / "model").predict() == streamed.predict()


def test_a_stream_is_learned_from(fitted: tt.Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    streamed = tt.load(tmp_path / "model")
    before = streamed.model.network.stacked.own.clone()
    later = without_first(monthly(n=50), 40)
    streamed.update(later, learn=True)
    assert len(streamed.losses) > 0
    assert (streamed.model.network.stacked.own != before).any()


def test_a_table_of_other_series_is_diagnosed(fitted: tt.Forecaster) -> None:
    other = monthly(S=5, first="2005-01")
    assert fitted.diagnose(other).findings is not None


@pytest.mark.parametrize(
    "how",
    [
        {"output": "quantiles"},
        {"output": "student-t", "cell": "gru"},
        {"target": ["y", "v"], "hist": ["w"]},
        {"futr": ["w"], "calendar": True, "output": "mixture"},
        {"segment": 3, "linear_skip": True, "dilations": (1, 2), "num_layers": 2},
        {"bidirectional": True, "season_length": 1},
        {"weighting": "owa", "output": "quantiles", "segment": 4},
    ],
)
def test_every_output_and_column_of_direct_is_one_of_es(how: dict[str, Any]) -> None:
    table = monthly(n=43)
    more = np.random.default_rng(0).normal(size=(2, len(table)))
    table = table.append_column("v", pa.array(more[0])).append_column("w", pa.array(more[1]))
    known = without_first(table, 0, last=3)
    forecaster = quick(architecture="es", context_length=12, n_windows=1, **how).fit(known)
    ahead = without_first(table, 40).select(["unique_id", "ds", "w"]) if "futr" in how else None
    made = forecaster.predict(futr_df=ahead, level=[80]).to_pandas()
    assert np.isfinite(made.select_dtypes("number")).all(axis=None)
    assert len(made) == 9


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"output": "negative-binomial", "residual": "level"}, "shifted"),
        ({"scaling": "revin"}, "shifted"),
        ({"scaling": "running"}, "step by step"),
        ({"residual": "last"}, "residual='level'"),
        ({"difference": 1}, "no difference"),
        ({"preprogram": "linear"}, "preprogram for architecture='direct'"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        design(**ES_DESIGN | how)


@pytest.mark.parametrize(
    ("fixed", "own", "searched"),
    [
        ({}, {}, True),
        ({"output": "quantiles"}, {}, True),
        ({"output": "negative-binomial"}, {}, False),
        ({}, {"output": ["negative-binomial", "gaussian"]}, False),
        ({"residual": "last"}, {}, False),
        ({}, {"scaling": ["revin", "blend"]}, False),
    ],
)
def test_tuning_searches_it_where_it_goes_with_the_rest(
    fixed: dict[str, Any], own: dict[str, Any], searched: bool
) -> None:
    assert ("es" in _architectures(panel(wave()), fixed, own)) == searched


def test_the_look_back_of_few_series_is_read_with_a_level_as_base() -> None:
    made: Design = quick(architecture="es", n_windows=0, training=TRAINING).fit(5 + wave()).design
    assert (made.residual, made.has_cycle) == ("level", False)
