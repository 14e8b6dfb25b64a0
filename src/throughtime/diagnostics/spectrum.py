"""The spectrum of one or several series, beside that of red noise.

    x~_j  = sum_t v_j(t) x_t exp(-2 pi i f t),   v_j(t) = sqrt(2 / (T+1)) sin(pi j (t+1) / (T+1))
    S(f)  = mean of |x~_j|^2 over the tapers j = 1 ... K and over the series
    B(f)  = s ((1 - w) (1 - rho^2) / (1 + rho^2 - 2 rho cos 2 pi f) + w)        an AR(1)'s, and white
    S / B ~ chi^2_m / m,  m = 2 K times the independent series                  if there is no cycle

rho, w and s are those with the least mean |log S - log B|: a median, which a few lines do not move,
where the lag-one autocorrelation of a series with a cycle would take the cycle for redness.

Sources: Riedel and Sidorenko 1995, "Minimum bias multiple taper spectral estimation"; Mann and Lees
1996, "Robust estimation of background noise and signal detection in climatic time series"; Wilson and
Hilferty 1931 for the quantiles of chi^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from statistics import NormalDist

import numpy as np

from throughtime._correlation import Floats

TAPERS = 3
_RHOS = np.concatenate([np.linspace(-0.95, 0.95, 39), 1 - np.geomspace(0.04, 0.001, 10)])
_WHITE = (0.0, 0.1, 0.3, 0.6)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """S(f) at the Fourier frequencies f [cycles a step], the red noise B(f), and m (`freedom`).

    >>> Spectrum(np.array([0.1]), np.array([30.0]), np.array([2.0]), freedom=6).ratio
    array([15.])
    """

    frequencies: Floats
    power: Floats
    background: Floats
    freedom: float

    @property
    def ratio(self) -> Floats:
        """S / B, 1 on average where there is nothing but red noise."""
        return self.power / self.background

    def threshold(self, false_alarms: float = 0.05) -> float:
        """Return what S / B exceeds anywhere, in red noise, at most with this chance.

        The chance is shared among all frequencies (Bonferroni).

        >>> f = np.linspace(0.005, 0.5, 100)
        >>> round(Spectrum(f, f, f, freedom=6).threshold(0.05), 1)
        4.1
        """
        return chi_square(self.freedom, false_alarms / len(self.frequencies)) / self.freedom


def spectrum(series: Floats, independent: float = 1.0) -> Spectrum:
    """Measure the spectrum of series that have no trend, and fit the red noise.

    Args:
        series: [S, T], of mean 0 and comparable scale; NaN where nothing was observed, which counts
            as 0.
        independent: how many independent series a series is worth; less than 1 where several move
            together.

    Costs O(S T log T).

    >>> x = np.random.default_rng(0).normal(size=(1, 600)) + 2 * np.sin(np.arange(600) * np.pi / 6)
    >>> found = spectrum(x)
    >>> bool((found.ratio > found.threshold()).any()), round(1 / found.frequencies[found.ratio.argmax()])
    (True, 12)
    """
    S, T = series.shape
    x = np.where(np.isnan(series), 0, series)
    t = np.arange(1, T + 1)
    power = np.zeros(T // 2)
    for j in range(1, TAPERS + 1):
        v_j = np.sqrt(2 / (T + 1)) * np.sin(np.pi * j * t / (T + 1))
        power += (np.abs(np.fft.rfft(v_j * x)[:, 1 : T // 2 + 1]) ** 2).mean(0) / TAPERS
    power = np.maximum(power, 1e-12 * power.max(initial=1e-300))
    f = np.arange(1, T // 2 + 1) / T
    freedom = 2 * TAPERS * S * independent
    return Spectrum(f, power, red_noise(f, power, freedom), freedom)


def red_noise(f: Floats, power: Floats, freedom: float) -> Floats:
    """Return B(f), the spectrum of an AR(1) and white noise that fits log S best in absolute value.

    >>> f = np.linspace(0.01, 0.5, 50)
    >>> B = red_noise(f, 1 / (1.25 - np.cos(2 * np.pi * f)), freedom=10_000)  # rho = 0.5
    >>> bool(np.allclose(B * (1.25 - np.cos(2 * np.pi * f)), 1, rtol=0.01))
    True
    """
    cosine, log_S = np.cos(2 * np.pi * f), np.log(power)
    least, best = np.inf, log_S
    for rho, w in product(_RHOS, _WHITE):
        log_B = np.log((1 - w) * (1 - rho**2) / (1 + rho**2 - 2 * rho * cosine) + w)
        log_B += np.median(log_S - log_B)
        deviation = np.abs(log_S - log_B).mean()
        if deviation < least:
            least, best = deviation, log_B
    median = (1 - 2 / (9 * freedom)) ** 3  # of chi^2_m / m
    return np.asarray(np.exp(best) / median)


def chi_square(freedom: float, chance: float) -> float:
    """Return what a chi^2 exceeds with this chance, within 3 % from six degrees of freedom on.

    >>> round(chi_square(10, 0.05), 1)
    18.3
    """
    z, spread = NormalDist().inv_cdf(1 - chance), 2 / (9 * freedom)
    return float(freedom * (1 - spread + z * spread**0.5) ** 3)
