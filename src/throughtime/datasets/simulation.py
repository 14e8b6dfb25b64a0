"""Series that are made up, as many as one likes: a random sum of parts, then a random form.

    x_t = a_1 walk_t + a_2 ramp_t + a_3 season_t + a_4 cycle_t + a_5 noise_t + jump_t
    y_t = x_t,  exp(c x_t)  or  max(1 + c x_t, 0)^2              some with outliers, some with a floor

Each part has mean 0 and deviation 1 over its series, the weights a are log-uniform, and every part but
the noise may be left out:

    walk      l_t = l_{t-1} + b_t + e_t,   b_t = phi b_{t-1} + q e'_t          (b = 0 for half of them)
    ramp      a straight line, or a logistic curve
    season    s_t = s_{t-m} + gamma e_t, from a few waves or from any m numbers (gamma = 0 for most)
    cycle     an oscillator whose period and amplitude wander, bent to flat troughs and sharp peaks
              (or the reverse), or an autoregression of order 2 with complex roots
    noise     n_t = phi n_{t-1} + e_t, e_t normal or of Student's t

of a period that is the season's, or for the cycle any. Such a family, wide and cheap, is what nets can
be trained on that are to forecast series which they have never seen (Dooley et al. 2023,
"ForecastPFN").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int, random_seed

Floats = npt.NDArray[np.float64]

WAVES = 12  # of a season, at most
BEGIN = 50  # steps of an autoregression that are not kept


def simulated(S: int, n: int, season_length: int = 1, seed: int = 0) -> Floats:
    """Return S simulated series [S, n], in which a season of `season_length` steps (1: none) may be.

    Raises `SettingError` for a count that is not a positive integer, or a seed below 0.

    Source: Dooley et al. 2023, widened by cycles, jumps and forms.

    >>> y = simulated(3, 40, season_length=12)
    >>> y.shape, bool((y == simulated(3, 40, season_length=12, seed=0)).all())
    ((3, 40), True)
    """
    for name, value in (("S", S), ("n", n), ("season_length", season_length)):
        positive_int(name, value)
    g, m = np.random.default_rng(random_seed("seed", seed)), season_length
    x = _some(g, S, 0.5) * _weight(g, S, -1.5, 1.5) * _walk(g, S, n)
    x += _some(g, S, 0.4) * _weight(g, S, -1.5, 1.5) * _ramp(g, S, n)
    if m > 1:
        kind, a = g.random((S, 1)), _weight(g, S, -1.5, 1.5)
        x += np.where(kind < 0.55, a * _season(g, S, n, m), 0.0)
        period = np.full(S, float(m))
        x += np.where((kind >= 0.55) & (kind < 0.85), 1.5 * a * _cycle(g, S, n, period), 0.0)
    other = np.exp(g.uniform(np.log(4), np.log(60), S))
    x += _some(g, S, 0.2) * _weight(g, S, -1.5, 0.5) * _cycle(g, S, n, other)
    x += _weight(g, S, -4.0, 0.3) * _noise(g, S, n)
    jumps = (g.random((S, 1)) < 0.07) & (np.arange(n) >= g.integers(0, n, (S, 1)))
    return _formed(g, _unit(x + jumps * g.normal(0, 1.5, (S, 1))))


def _formed(g: np.random.Generator, x: Floats) -> Floats:
    """Return y of x [S, n]: as is, exponential or squared, with outliers and floors."""
    S, n = x.shape
    form, c = g.random((S, 1)), _weight(g, S, -2.5, 0.0)
    curved = np.where(form < 0.85, np.exp(np.clip(c * x, -6, 6)), np.maximum(1 + c * x, 0) ** 2)
    y = np.where(form < 0.45, x, curved)
    outliers = (g.random((S, n)) < 0.01) & (g.random((S, 1)) < 0.15)
    y = y + outliers * g.normal(0, 4, (S, n)) * y.std(axis=1, keepdims=True)
    level = np.where(g.random(S) < 0.05, g.uniform(0.05, 0.6, S), 0.0)
    floor = np.take_along_axis(np.sort(y, axis=1), (level * (n - 1)).astype(int)[:, None], axis=1)
    return np.asarray(np.maximum(y, floor))


def _walk(g: np.random.Generator, S: int, n: int) -> Floats:
    drifts = g.random(S) < 0.5
    phi, q = g.choice([0.8, 0.9, 0.95, 0.98, 1.0], S), np.exp(g.normal(-2.5, 1, S))
    e, drift = g.normal(size=(n, S)), g.normal(size=(n, S))
    e[:, drifts] *= 0.3
    b = _recursion(lambda t, b: np.where(drifts, phi * b + q * drift[t], 0.0), S, n)
    return _unit(np.cumsum(b + e.T, axis=1))


def _ramp(g: np.random.Generator, S: int, n: int) -> Floats:
    t, sign = np.linspace(-0.5, 0.5, n), g.choice([-1, 1], (S, 1), p=[0.25, 0.75])
    curve = 1 / (1 + np.exp(-(t - g.uniform(-0.6, 0.6, (S, 1))) * g.uniform(4, 15, (S, 1))))
    return sign * _unit(np.where(g.random((S, 1)) < 0.6, t, curve))


def _season(g: np.random.Generator, S: int, n: int, m: int) -> Floats:
    j = np.arange(1, min(m // 2, WAVES) + 1)[:, None, None]
    heights = np.exp(-np.exp(g.uniform(-2.5, 0, (S, 1))) * (j - 1)) * g.normal(size=(len(j), S, 1))
    phases = g.uniform(0, 2 * np.pi, (len(j), S, 1))
    waves = (heights * np.cos(2 * np.pi * j * np.arange(m) / m + phases)).sum(axis=0)
    any_m = g.normal(size=(S, m))
    any_m = np.where(g.random((S, 1)) < 0.5, any_m, np.abs(any_m) ** 3)
    s = _unit(np.where((g.random((S, 1)) < 0.25) | (m < 4), any_m, waves))
    gamma = np.where(g.random(S) < 0.6, 0.0, np.exp(g.uniform(-4, -0.7, S)))
    begin, each, y = g.integers(0, m, S), np.arange(S), np.empty((S, n))
    for t in range(n):
        phase = (t + begin) % m
        s[each, phase] += gamma * g.normal(size=S)
        y[:, t] = s[each, phase]
    return _unit(y)


def _cycle(g: np.random.Generator, S: int, n: int, period: Floats) -> Floats:
    p = period * np.exp(g.normal(0, 0.08, S))
    wander = np.exp(g.uniform(-4.5, -1.0, S)) * np.sqrt(11 / p)  # 11: a cycle as sunspots have it
    steps = 2 * np.pi / p[:, None] + wander[:, None] * g.normal(size=(S, n))
    phase = g.uniform(0, 2 * np.pi, (S, 1)) + np.cumsum(steps, axis=1)
    r, q, e = g.uniform(0.7, 0.99, S), np.exp(g.uniform(-3.5, -0.7, S)), g.normal(size=(n, S))
    log_amplitude = _recursion(lambda t, a: r * a + q * e[t], S, n)
    x = np.exp(log_amplitude) * np.cos(phase + g.normal(0, 0.5, (S, 1)) * np.sin(phase))
    u = _unit(np.where(g.random((S, 1)) < 0.25, _complex_roots(g, S, n, p), x))
    bend = g.random((S, 1))
    bent = np.where(bend < 0.6, np.exp(0.7 * u), np.where(bend < 0.8, (u + 1.5) ** 2, u))
    return _unit(np.where(bend < 0.3, u, np.where(bend < 0.8, bent, np.maximum(u, -0.8))))


def _complex_roots(g: np.random.Generator, S: int, n: int, period: Floats) -> Floats:
    r, e = 1 - np.exp(g.uniform(-5, -1.5, S)), g.normal(size=(n + BEGIN, S))
    before = np.zeros(S)

    def step(t: int, a: Floats) -> Floats:
        nonlocal before
        a, before = 2 * r * np.cos(2 * np.pi / period) * a - r * r * before + e[t], a
        return a

    return _recursion(step, S, n + BEGIN)[:, BEGIN:]


def _noise(g: np.random.Generator, S: int, n: int) -> Floats:
    freedom = g.choice([0, 0, 3, 5])
    e = g.standard_t(freedom, (n, S)) if freedom else g.normal(size=(n, S))
    phi = np.where(g.random(S) < 0.5, 0.0, g.uniform(-0.5, 0.95, S))
    return _unit(_recursion(lambda t, x: phi * x + e[t], S, n))


def _recursion(step: Callable[[int, Floats], Floats], S: int, n: int) -> Floats:
    """Return x [S, n] of x_t = step(t, x_{t-1}), from 0."""
    x, made = np.zeros(S), np.empty((S, n))
    for t in range(n):
        x = step(t, x)
        made[:, t] = x
    return made


def _some(g: np.random.Generator, S: int, share: float) -> Floats:
    return np.where(g.random((S, 1)) < share, 1.0, 0.0)


def _weight(g: np.random.Generator, S: int, low: float, high: float) -> Floats:
    return np.exp(g.uniform(low, high, (S, 1)))


def _unit(x: Floats) -> Floats:
    """Return x [S, n] with mean 0 and deviation 1 of every row that varies."""
    about = x - x.mean(axis=1, keepdims=True)
    return np.asarray(about / (about.std(axis=1, keepdims=True) + 1e-9))
