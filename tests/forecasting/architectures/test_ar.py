"""DeepAR: lags by hand, and paths that read what they drew as a forward pass does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from forecasting_cases import design, panel, quick
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting import read_frame
from throughtime.forecasting.architectures.ar import Ar
from throughtime.forecasting.planning.deciding import decide

L, H = 8, 3


def made(lags: tuple[int, ...], *series: Any, **more: Any) -> Any:
    how = {"architecture": "ar", "output": "gaussian", "scaling": "mean-absolute"}
    plan = design(**how, lags=lags, context_length=L, h=H, members=1, **more)
    return plan, plan.examples(panel(*series)).parts[0]


@settings(max_examples=30, deadline=None)
@given(
    lags=st.sets(st.integers(2, 14), max_size=3).map(sorted),
    n=st.integers(L + H, 30),
    seed=st.integers(0, 9),
)
def test_steps_read_the_values_so_long_before_those_they_forecast(
    lags: list[int], n: int, seed: int
) -> None:
    y = 5 + np.random.default_rng(seed).normal(size=n)
    _, examples = made(tuple(lags), y)
    x, r = examples[torch.arange(len(examples))]
    assert x.shape == (len(examples), L + H - 1, 1 + len(lags))
    assert r.shape == (len(examples), L + H - 1, 1)
    _, origins = examples.windows.places(torch.arange(len(examples)))
    for i, origin in enumerate(origins.tolist()):
        begin = origin - L
        size = np.abs(y[max(begin, 0) : origin]).mean()
        for t in range(L + H - 1):
            steps = [begin + t, *(begin + t + 1 - lag for lag in lags)]
            wanted = [y[max(step, 0)] / size for step in steps]
            np.testing.assert_allclose(x[i, t], wanted, rtol=1e-5)


@pytest.mark.parametrize("residual", ["level", "last", "season"])
def test_a_path_reads_what_it_drew_as_a_forward_pass_does(residual: Any) -> None:
    rng = np.random.default_rng(0)
    plan, examples = made((2, 4, 11), *(5 + rng.normal(size=(2, 40))), residual=residual)
    net: Any = plan.network(examples.channels.sizes).member(0).eval()
    assert isinstance(net, Ar)
    net.head.sample = lambda params, generator: net.head.point(params)[None]  # no chance in it
    window, _ = examples.newest(ahead=H)
    drawn = net.paths(window, plan.base, 3, H, torch.Generator())
    assert drawn.shape == (3, 2, 1, H)
    z = window.z.clone()
    z[..., L:] = drawn[0]
    whole = replace(window, z=z)
    x, _ = net.lay_out(whole, net.sizes, plan.base)
    with torch.no_grad():
        r = net.head.point(net(x))[..., L - 1 :, 0]
    for path in drawn:
        for k in range(H):
            wanted = plan.base.ahead(z[..., : L + k], 1)[..., 0, 0] + r[:, k]
            torch.testing.assert_close(path[:, 0, k], wanted, rtol=1e-4, atol=1e-5)


def months(n: int = 72) -> pa.Table:
    ds = (np.datetime64("2015-01") + np.arange(n)).astype("datetime64[D]")
    return pa.table({"ds": ds, "y": 5 + np.sin(np.arange(n) * np.pi / 6)})


@pytest.mark.parametrize(
    ("how", "lags", "calendar"),
    [
        ({}, (11, 12, 13, 24), ("month",)),
        ({"season_length": 30}, (29, 30, 31), ("month",)),
        ({"lags": [7, 3, 7], "calendar": False}, (3, 7), ()),
        ({"lags": []}, (), ("month",)),
        ({"difference": 1}, (), ("month",)),
        ({"architecture": "recursive"}, (), ()),
    ],
    ids=str,
)
def test_lags_and_calendar_are_those_of_the_frequency_unless_given(
    how: dict[str, Any], lags: tuple[int, ...], calendar: tuple[str, ...]
) -> None:
    table = read_frame(months())
    chosen = decide(tt.Forecaster(3, **{"architecture": "ar", **how})._given, table, table)
    assert (chosen.lags, chosen.calendar) == (lags, calendar)


def test_it_forecasts_any_horizon_is_saved_and_goes_on(tmp_path: Any) -> None:
    early, late = months().slice(0, 60), months().slice(60)
    forecaster = quick(architecture="ar", n_windows=1, context_length=6, members=2).fit(early)
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    assert loaded.settings["lags"] == (11, 12, 13, 24)
    for each in (forecaster, loaded):
        each.update(late)
    made = forecaster.predict(h=30)
    assert loaded.predict(h=30) == made
    assert np.isfinite(made["LSTM"].to_numpy()).all()
    there = forecaster.predict(months(), h=30)
    np.testing.assert_allclose(made["LSTM"].to_numpy(), there["LSTM"].to_numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"lags": [1]}, "every one of lags"),
        ({"lags": 12}, "lags to be whole numbers"),
        ({"lags": [80]}, "lags of at most"),
        ({"lags": [12], "architecture": "recursive"}, "lags for architecture='ar'"),
        ({"lags": [12], "difference": 1}, "not with difference"),
        ({"output": "point"}, "a distribution to draw paths from, for architecture='ar'"),
        ({"scaling": "running"}, "scaling='running' for"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(tt.SettingError, match=said):
        quick(**{"architecture": "ar", **how}).fit(months())
