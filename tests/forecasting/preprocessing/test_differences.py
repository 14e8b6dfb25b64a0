"""Differences that nets read: by hand, over gaps and beginnings, in every architecture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from forecasting_cases import NAN, panel

import throughtime as tt
from throughtime.forecasting.examples.scaled import ScaledWindows
from throughtime.forecasting.forecaster import TRAINING, Forecaster
from throughtime.forecasting.preprocessing.differences import differenced, lags_of
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.preprocessing.transforms import Identity

L, H, M = 6, 2, 3
LAGS = {1: (1,), "season": (M,), "both": (1, M)}
each_kind = pytest.mark.parametrize("kind", LAGS)


def walk(n: int = 40) -> np.ndarray:
    return np.asarray(np.cumsum(np.random.default_rng(0).normal(size=n)))


def made(y: np.ndarray, kind: Any, base: Base = Base("last")) -> ScaledWindows:  # noqa: B008
    lags = lags_of(kind, M)
    return ScaledWindows.of(panel(y), Identity(), L, H, base, scaling="last", lags=lags)


@each_kind
def test_inputs_and_targets_are_those_of_the_series_differenced_by_hand(kind: Any) -> None:
    y = walk()
    d = y.copy()
    for lag in LAGS[kind]:
        d = d - np.concatenate([np.full(lag, NAN), d[:-lag]])
    x, r = made(y, kind)[torch.arange(33)]
    for i in range(33):
        window = y[i : i + L]
        size = np.abs(np.diff(window)).mean()
        expected = np.nan_to_num(d[i : i + L] / size)
        np.testing.assert_allclose(x[i, :, 0], expected, atol=2e-5)
        cumulated = np.cumsum(np.diff(y)[i + L - 1 : i + L - 1 + H]) / size  # of steps ahead
        np.testing.assert_allclose(r[i], cumulated, atol=2e-5)


@each_kind
def test_differences_do_not_see_the_level(kind: Any) -> None:
    y = walk()
    season = np.resize([5.0, -2.0, -3.0], len(y))
    moved = y + 512 + (season if kind != 1 else 0)
    scale = torch.ones(1)
    read = [differenced(torch.from_numpy(each), LAGS[kind]) / scale for each in (y, moved)]
    torch.testing.assert_close(read[0], read[1], equal_nan=True)


def test_a_gap_is_no_change_and_what_follows_it_all_of_it() -> None:
    y = np.array([1.0, 2.0, NAN, 5.0, 4.0, 6.0, 7.0, 9.0])
    x, _ = made(y, 1)[torch.tensor([L - 1])]  # the one whose context is whole
    assert (x[0, :, 0] * (3 + 0) / x[0, 3, 0]).tolist() == pytest.approx([0, 1, 0, 3, -1, 2])
    assert x[0, :, 1].tolist() == [1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "architecture", ["direct", "segment", "seq2seq", "synced", "recursive", "ar"]
)
@each_kind
def test_every_architecture_reads_them(kind: Any, architecture: str) -> None:
    forecaster = Forecaster(
        H,
        members=1,
        hidden_size=4,
        context_length=L,
        season_length=M,
        architecture=architecture,
        difference=kind,
        scaling="standard",
        transform="identity",
        residual="last",
        companions=False,
        n_windows=0,
        training=replace(TRAINING, max_updates=3, evaluate_every=1),
    )
    y = np.round(64 * walk(60)) / 64
    low, high = (
        forecaster.fit(each).predict(level=[])["LSTM"].to_numpy() for each in (y - 32, y + 32)
    )
    np.testing.assert_allclose(high - low, 64, atol=1e-3)


def test_a_drawn_path_is_read_as_differences() -> None:
    z = torch.from_numpy(walk(20))
    for lags in ((1,), (M,), (1, M)):
        whole = differenced(z, lags)
        for k in range(L, 20):
            newest = differenced(z[k - sum(lags) : k + 1], lags)[-1]
            assert newest == whole[k]


def test_what_does_not_go_together_is_refused() -> None:
    y = walk()
    with pytest.raises(tt.SettingError, match="difference"):
        Forecaster(2, difference=2)  # type: ignore[arg-type]
    with pytest.raises(tt.SettingError, match="context_length"):
        Forecaster(2, difference="season", season_length=9, context_length=4, n_windows=0).fit(y)
    with pytest.raises(tt.SettingError, match="preprogram"):
        Forecaster(2, difference=1, preprogram="linear", n_windows=0).fit(y)
