"""Lags and cycles that are there are found, in noise hardly any; the measures equal the textbooks'."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import throughtime as tt
from throughtime import DataError, SettingError
from throughtime._correlation import autocorrelation, bartlett, partial_autocorrelation
from throughtime.diagnostics.need import Dependence, Need, data_need, need_of_windows
from throughtime.diagnostics.spectrum import chi_square, spectrum

SUNSPOTS = tt.datasets.sunspots()["y"].to_numpy()
AIR_PASSENGERS = [
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149,
    170, 170, 158, 133, 114, 140, 145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166,
    171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194, 196, 196, 236, 235, 229, 243,
    264, 272, 237, 211, 180, 201, 204, 188, 235, 227, 234, 264, 302, 293, 259, 229, 203, 229,
    242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278, 284, 277, 317, 313, 318, 374,
    413, 405, 355, 306, 271, 306, 315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336,
    340, 318, 362, 348, 363, 435, 491, 505, 404, 359, 310, 337, 360, 342, 406, 396, 420, 472,
    548, 559, 463, 407, 362, 405, 417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432,
]  # fmt: skip
ADDS, CYCLE = "partial autocorrelation", "cycle"


def autoregression(rng: np.random.Generator, n: int, *phi: float) -> np.ndarray:
    y = rng.normal(size=n + 200)
    for t in range(len(phi), len(y)):
        y[t] += sum(p * y[t - 1 - j] for j, p in enumerate(phi))
    return y[200:]


# --- the measures ------------------------------------------------------------------------------


@settings(max_examples=50)
@given(n=st.integers(3, 40), seed=st.integers(0, 999), gaps=st.booleans(), S=st.integers(1, 3))
def test_autocorrelation_is_its_definition(n: int, seed: int, gaps: bool, S: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(S, n)) + 5
    if gaps:
        x[rng.random((S, n)) < 0.3] = np.nan
        x[:, 0] = 5
    z = np.nan_to_num(x - np.nanmean(x, 1, keepdims=True))
    c = [sum(float(row[: n - k] @ row[k:]) for row in z) for k in range(n)]
    r = autocorrelation(x if S > 1 else x[0], n + 1)
    np.testing.assert_allclose(r[:n], np.array(c) / c[0] if c[0] else 0, atol=1e-10)
    assert not r[n:].any()


@settings(max_examples=50)
@given(n=st.integers(12, 60), seed=st.integers(0, 999))
def test_partial_autocorrelation_is_the_last_coefficient_of_a_regression(n: int, seed: int) -> None:
    r = autocorrelation(np.random.default_rng(seed).normal(size=n).cumsum(), 8)
    a = partial_autocorrelation(r)
    for k in range(1, 9):
        toeplitz = r[np.abs(np.subtract.outer(np.arange(k), np.arange(k)))]
        assert a[k] == pytest.approx(np.linalg.solve(toeplitz, r[1 : k + 1])[-1], abs=1e-8)
    assert (np.abs(a) <= 1).all()


def test_the_correlations_are_those_of_statsmodels() -> None:
    tools = pytest.importorskip("statsmodels.tsa.stattools")
    r = autocorrelation(SUNSPOTS, 40)
    np.testing.assert_allclose(r, tools.acf(SUNSPOTS, nlags=40, fft=False), atol=1e-12)
    theirs = tools.pacf(SUNSPOTS, nlags=40, method="ld_biased")
    np.testing.assert_allclose(partial_autocorrelation(r), theirs, atol=1e-10)


def test_bartletts_band_holds_what_a_moving_average_leaves_by_chance() -> None:
    """Of x_t = e_t + e_{t-1}, r_k is 0 from lag 2 on and varies by 1 + 2 / 4 over n."""
    e = np.random.default_rng(1).normal(size=(2000, 401))
    r = np.stack([autocorrelation(x, 6) for x in e[:, 1:] + e[:, :-1]])
    found = r[:, 5].std()
    assert found == pytest.approx(math.sqrt(1.5 / 400), rel=0.05)
    assert np.mean([bartlett(x, 400)[5] for x in r]) == pytest.approx(found, rel=0.05)


def test_a_series_that_is_all_cycle_leaves_nothing_to_explain() -> None:
    a = partial_autocorrelation(np.cos(np.arange(40) * np.pi / 6))
    assert abs(a[2] + 1) < 1e-12
    assert not a[3:].any()


def test_white_noise_has_a_spectrum_of_one() -> None:
    S = spectrum(np.random.default_rng(0).normal(size=(40, 200)))
    assert S.power.mean() == pytest.approx(1, abs=0.03)
    assert S.ratio.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.6, 0.9])
def test_the_red_noise_is_that_of_an_autoregression(rho: float) -> None:
    rng = np.random.default_rng(1)
    x = np.stack([autoregression(rng, 400, rho) for _ in range(30)])
    S = spectrum(x)
    true = 1 / (1 + rho**2 - 2 * rho * np.cos(2 * np.pi * S.frequencies))
    np.testing.assert_allclose(S.background, true, rtol=0.15)


def test_a_cycle_does_not_pass_for_redness() -> None:
    y = np.random.default_rng(2).normal(size=600)
    without = spectrum(y[None]).background
    around = spectrum((y + 3 * np.sin(np.arange(600) / 8))[None]).background
    np.testing.assert_allclose(around, without, rtol=0.25)


@pytest.mark.parametrize("freedom", [6, 12, 60, 600])
@pytest.mark.parametrize("chance", [0.05, 1e-3, 1e-5])
def test_the_quantiles_are_those_of_chi_square(freedom: int, chance: float) -> None:
    assert chi_square(freedom, chance) == pytest.approx(stats.chi2.isf(chance, freedom), rel=0.03)


# --- what is there is found --------------------------------------------------------------------


def test_the_cycles_that_everybody_knows() -> None:
    assert data_need(SUNSPOTS).cycle == 11
    assert data_need(AIR_PASSENGERS).cycle == 12
    assert data_need(np.log(AIR_PASSENGERS)).cycle == 12


def test_months_of_sunspots_come_back_after_eleven_years() -> None:
    """Months drawn between the years, with the noise of a month: 132 of them, within three."""
    months = np.interp(np.arange(12 * 308) / 12, np.arange(309), SUNSPOTS)
    noise = np.random.default_rng(0).normal(scale=15, size=len(months))
    need = data_need(months + noise)
    assert need.cycle is not None
    assert 129 <= need.cycle <= 135
    assert need.longest >= need.cycle


@settings(max_examples=40)
@given(
    period=st.integers(3, 60),
    turns=st.integers(8, 12),
    seed=st.integers(0, 99),
    S=st.integers(1, 3),
)
def test_a_noisy_cycle_is_found(period: int, turns: int, seed: int, S: int) -> None:
    rng = np.random.default_rng(seed)
    n = max(period * turns, 60)
    wave = 2 * np.cos(2 * np.pi * np.arange(n) / period)
    found = data_need(wave + rng.normal(scale=0.5, size=(S, n)) + 1e3 + np.arange(n))
    assert found.cycle is not None
    assert abs(found.cycle - period) <= period // 20
    assert found.longest >= found.cycle


def test_a_fast_cycle_within_a_slow_one_are_both_found() -> None:
    t = np.arange(24 * 7 * 12)
    y = np.cos(2 * np.pi * t / 24) + 0.7 * np.cos(2 * np.pi * t / 168)
    y += np.random.default_rng(0).normal(scale=0.3, size=len(t))
    need = data_need(y)
    assert set(need.by(CYCLE)) == {24, 168}
    assert need.cycle == 168


def test_a_spiky_season_is_its_period_and_not_an_overtone() -> None:
    y = np.tile([9.0, 0, 0, 3, 0, 0, 0, 5, 0, 0], 20)
    assert data_need(y + np.random.default_rng(0).normal(scale=0.5, size=200)).cycle == 10


def test_gaps_and_outliers_hide_no_cycle() -> None:
    rng = np.random.default_rng(0)
    y = SUNSPOTS.copy()
    y[rng.random(309) < 0.2] = np.nan
    assert data_need(y).cycle == 11
    y[[7, 100]] = [1e6, -1e6]
    assert data_need(y).cycle == 11


@pytest.mark.parametrize("phi", [(0.6,), (0.5, 0.3), (0.4, 0.2, 0.3)])
def test_an_autoregression_needs_as_many_lags_as_it_has(phi: tuple[float, ...]) -> None:
    rng = np.random.default_rng(3)
    found = [data_need(autoregression(rng, 1500, *phi)).longest for _ in range(20)]
    assert found.count(len(phi)) >= 18


def test_one_far_lag_is_found() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=1000)
    for t in range(40, 1000):
        y[t] += 0.5 * y[t - 40]
    assert data_need(y).longest in (40, 80, 120)
    assert 40 in data_need(y).by(ADDS)


def test_short_series_tell_together_what_none_tells_alone() -> None:
    rng = np.random.default_rng(5)
    ragged = np.full((60, 60), np.nan)
    for i, n in enumerate(rng.integers(30, 61, size=60)):
        ragged[i, 60 - n :] = autoregression(rng, int(n), 0.0, 0.0, 0.35)
    assert data_need(ragged).longest == 3
    assert sum(data_need(row).longest == 3 for row in ragged) < 30


# --- in noise hardly any -----------------------------------------------------------------------

NOISE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "white": lambda rng: rng.normal(size=200),
    "gaps": lambda rng: np.where(rng.random(300) < 0.3, np.nan, rng.normal(size=300)),
    "heavy tails": lambda rng: rng.standard_t(2.5, size=500),
    "many": lambda rng: rng.normal(size=(300, 30)),
    "together": lambda rng: rng.normal(size=(30, 100)) + rng.normal(size=100),
}


@pytest.mark.parametrize("kind", NOISE)
def test_white_noise_needs_nothing(kind: str) -> None:
    rng = np.random.default_rng(6)
    found = [data_need(NOISE[kind](rng)) for _ in range(60)]
    assert sum(bool(need.lags) for need in found) <= 6
    assert sum(need.cycle is not None for need in found) <= 2


@pytest.mark.parametrize("phi", [-0.8, 0.5, 0.9, 0.99, 1.0])
def test_red_noise_has_no_cycle_and_needs_one_lag(phi: float) -> None:
    rng = np.random.default_rng(7)
    found = [data_need(autoregression(rng, 300, phi)) for _ in range(60)]
    assert sum(need.cycle is not None for need in found) <= 4
    assert sum(need.longest == 1 for need in found) >= 54


def test_fewer_false_alarms_are_fewer() -> None:
    rng = np.random.default_rng(8)
    noise = [rng.normal(size=60) for _ in range(60)]
    strict, loose = (
        sum(bool(data_need(y, false_alarms=chance).lags) for y in noise) for chance in (1e-4, 0.9)
    )
    assert strict <= 1 < loose


@pytest.mark.parametrize(
    "y",
    [
        [],
        [[]],
        [1.0],
        [np.nan] * 20,
        [5.0] * 99,
        np.arange(99),
        [[1.0] * 20, [np.nan] * 20],
        [0] * 9,
    ],
    ids=str,
)
def test_hardly_a_series_needs_nothing(y: list[float]) -> None:
    assert data_need(y) == Need(())


@settings(max_examples=50)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 80),
    scale=st.sampled_from([1e-200, 1e-3, 1.0, 1e12, 1e300]),
    longest=st.one_of(st.none(), st.integers(1, 100)),
)
def test_scale_and_direction_of_time_do_not_matter(
    seed: int, n: int, scale: float, longest: int | None
) -> None:
    rng = np.random.default_rng(seed)
    y = np.cos(np.arange(n)) + rng.normal(size=n)
    y[rng.random(n) < 0.1] = np.nan
    need = data_need(y, longest)
    for other in (y * scale, -y, y[::-1]):
        again = data_need(other, longest)
        assert [(f.lag, f.evidence) for f in again.lags] == [(f.lag, f.evidence) for f in need.lags]
        assert again.cycle == need.cycle
    assert all(1 <= f.lag <= (longest or n) and abs(f.strength) <= 1 for f in need.lags)


# --- windows -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    lag=st.integers(0, 29),
    feature=st.integers(0, 2),
    seed=st.integers(0, 99),
    sign=st.sampled_from([-1, 1]),
)
def test_the_lag_and_the_feature_a_target_follows(
    lag: int, feature: int, seed: int, sign: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(150, 30, 3))
    y = np.stack([rng.normal(size=150), sign * x[:, 29 - lag, feature]], 1)
    y += 0.5 * rng.normal(size=y.shape)
    need = need_of_windows(x, y, false_alarms=1e-6)
    assert [(f.lag, f.feature) for f in need.lags] == [(lag, feature)]
    assert need.longest == lag
    assert need.lags[0].strength * sign > 0.7


def test_cross_correlations_are_numpys_over_the_pairs_observed() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(80, 4, 1)) + 1e4, rng.normal(size=80)
    x[:, 2, 0] += y
    x[rng.random(80) < 0.3, 2, 0] = np.nan
    y[:3] = np.nan
    both = ~np.isnan(x[:, 2, 0]) & ~np.isnan(y)
    [found] = need_of_windows(x[..., 0], y).lags
    expected = np.corrcoef(x[both, 2, 0], y[both])[0, 1]
    assert found == Dependence(1, pytest.approx(expected), "cross-correlation", 0)


def test_windows_of_noise_need_nothing() -> None:
    rng = np.random.default_rng(10)
    found = [
        need_of_windows(rng.normal(size=(40, 25, 2)), rng.normal(size=(40, 3))) for _ in range(100)
    ]
    assert sum(bool(need.lags) for need in found) <= 10
    assert {need.cycle for need in found} == {None}


def test_the_adding_problem_leaves_no_correlation() -> None:
    """The target follows two inputs exactly, and no single lag shows it: what the page says."""
    rng = np.random.default_rng(11)
    T, B = 100, 1000
    values, marks = rng.random((B, T)), np.zeros((B, T))
    marks[np.arange(B), rng.integers(0, T // 2, B)] = 1
    marks[np.arange(B), rng.integers(T // 2, T, B)] = 1
    y = (values * marks).sum(1)
    assert need_of_windows(np.stack([values, marks], -1), y) == Need(())
    each = [abs(np.corrcoef(values[:, t], y)[0, 1]) for t in range(T)]
    assert np.mean(each) < 3 * (math.sqrt(2) / T)


def test_constant_features_and_few_examples_are_no_evidence() -> None:
    rng = np.random.default_rng(12)
    for constant in (0.1, 1e9 / 7, 1e-300, *rng.random(100)):
        y = rng.normal(size=53)
        assert need_of_windows(np.full((53, 2, 1), constant), y, false_alarms=0.9) == Need(())
        assert need_of_windows(y[:, None, None], np.full(53, constant)) == Need(())
    for B in range(4):
        assert need_of_windows(rng.normal(size=(B, 3, 1)), np.arange(B)) == Need(())


# --- the border --------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [1.0, np.zeros((2, 3, 4)), [1.0, np.inf] * 9])
def test_what_is_no_series_is_refused(y: object) -> None:
    with pytest.raises(DataError, match=r"a series \[T\] or several \[S, T\]"):
        data_need(y)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [((5, 4, 3), (6,)), ((5,), (5,)), ((5, 4), (5, 4, 1)), ((5, 4, 3, 2), (5,)), ((5, 4), ())],
)
def test_windows_that_do_not_go_together_are_refused(
    inputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match=r"inputs \[B, T, I\] and targets \[B, O\]"):
        need_of_windows(np.zeros(inputs), np.zeros(targets))
    with pytest.raises(DataError, match="infinite"):
        need_of_windows(np.full((9, 4), np.inf), np.zeros(9))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingError, match="longest"):
        data_need(SUNSPOTS, 0)
    for chance in (0, 1):
        with pytest.raises(SettingError, match="false_alarms"):
            data_need(SUNSPOTS, false_alarms=chance)
        with pytest.raises(SettingError, match="false_alarms"):
            need_of_windows(np.zeros((9, 4)), np.zeros(9), false_alarms=chance)


def test_a_need_goes_into_json() -> None:
    need = data_need(SUNSPOTS)
    told = json.loads(json.dumps(need.to_dict()))
    assert (told["longest"], told["cycle"]) == (11, 11)
    assert [Dependence(**lag) for lag in told["lags"]] == list(need.lags)
    assert list(need.lags) == sorted(need.lags, key=lambda found: (found.lag, found.evidence))
