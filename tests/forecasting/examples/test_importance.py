"""What errors count in training, beside the measures they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from forecasting_cases import NAN, panel, wave
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.forecasting.evaluation.metrics import naive_scale
from throughtime.forecasting.examples.importance import seasonal_steps, weighed
from throughtime.forecasting.examples.scaled import ScaledWindows, SpreadExamples
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS

L, H, M = 6, 3, 2


def examples(y: list[np.ndarray], name: str, scaling: str = "last") -> SpreadExamples:
    part = ScaledWindows.of(panel(*y), TRANSFORMS[name], L, H, Base("season", M), scaling=scaling)
    return SpreadExamples((part,))


def series(seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [10.0**i * (5 + generator.gamma(2.0, size=20 + i)) for i in range(3)]


@pytest.mark.parametrize("name", ["identity", "sqrt", "log1p", "log"])
@pytest.mark.parametrize("scaling", ["last", "standard"])
def test_small_errors_count_as_the_mean_of_both_measures_beside_the_naive(
    name: str, scaling: str
) -> None:
    y = series(0)
    plain = examples(y, name, scaling)
    part, learned = plain.parts[0], weighed(plain)
    index = torch.arange(len(plain))
    _, _, w = learned[index[None]]

    at, origin = part.windows.places(index)
    truth = np.stack([y[s][p : p + H] for s, p in zip(at, origin, strict=True)])
    repeated = [L - M + k % M for k in range(H)]
    window, scale = part.window(at, origin, H)
    context = part.transform.inverse(scale.invert(window.z[..., :L]).double())[:, 0].numpy()
    naive = context[:, repeated]
    s = np.array([naive_scale(y[i], M) for i in at])[:, None]
    middle = (np.abs(truth) + np.abs(naive)) / 2
    e_1, e_2 = (np.abs(truth - naive) / s).mean(), (np.abs(truth - naive) / middle).mean()

    tiny = 1e-4  # an error of the net, on the scale of the window
    z = scale.apply(part.transform.forward(torch.from_numpy(truth)[:, None])) + tiny
    off = np.abs(part.transform.inverse(scale.invert(z)).numpy()[:, 0] - truth)
    expected = (off / s / e_1 + off / middle / e_2) / 2
    np.testing.assert_allclose(w[0] * tiny, expected, rtol=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=4), st.integers(1, 4))
def test_steps_of_every_row_are_its_own(lengths: list[int], m: int) -> None:
    y = [np.random.default_rng(n).normal(size=n) for n in lengths]
    for found, row in zip(seasonal_steps(panel(*y), m), y, strict=True):
        expected = next((s for s in (naive_scale(row, m), naive_scale(row)) if s > 0), 1.0)
        assert found == pytest.approx(expected)


def test_gaps_break_no_weight_and_values_below_0_have_no_relative_error() -> None:
    y = wave() - 500.0
    y[15] = NAN
    plain = examples([y], "identity")
    _, r, w = weighed(plain)[torch.arange(len(plain))[None]]
    assert w.isfinite().all()  # also where a gap lies, which the loss leaves out
    assert r.isnan().any()
    assert ((w * r.abs()).nansum() / (~r.isnan()).sum()).item() == pytest.approx(1.0, rel=1e-5)


def test_a_series_that_repeats_is_learned_without_weights() -> None:
    plain = examples([np.tile([1.0, 2.0], 12)], "identity")
    assert weighed(plain) is plain


def fitted(weighting: str) -> Any:
    how: dict[str, Any] = {"members": 1, "hidden_size": 4, "n_windows": 0, "context_length": L}
    forecaster = tt.Forecaster(H, weighting=weighting, season_length=M, **how)
    return forecaster.fit(wave()).predict(level=[])["LSTM"].to_pylist()


def test_a_forecaster_learns_by_them() -> None:
    assert fitted("owa") != fitted("window")


def test_a_likelihood_cannot_be_weighed() -> None:
    with pytest.raises(tt.SettingError, match="weighting='window'"):
        tt.Forecaster(H, weighting="owa", output="gaussian").fit(wave())
