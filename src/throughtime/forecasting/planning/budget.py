"""A fit that ends in time: how many updates a budget of seconds has room for.

A fit of n updates takes a + s n seconds, and a forecast after it f. They are measured on a short one
that is thrown away: s is the median of its updates after some of warm-up, a what all else took. In
the T seconds that are left, K such fits, those of all groups of members, may each make

    n = floor( ((1 - r) T - sum_k (a_k + f_k)) / sum_k s_k )

updates, r being a reserve for what is not measured. A schedule of one cycle has to know its end, so
n is set before the first real update. As it follows from a clock, other machines and other days
have another n: what came of it can be repeated by `settings`, which tell it, and not by the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from throughtime._errors import SettingError
from throughtime._words import count, duration
from throughtime.forecasting.evaluation.backtest import judged
from throughtime.forecasting.fitting import fitting
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.training import Observer

RESERVE = 0.15  # r, of what is left
LEAST = 50  # updates, before which a net says little
WARM_UP, MEASURED = 3, 7  # updates of the short fit

Clock = Callable[[], float]


@dataclass(frozen=True)
class Budget:
    """The seconds that a call may take, from when this is made; without a limit where None."""

    seconds: float | None = None
    clock: Clock = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "began", self.clock())

    @property
    def spent(self) -> float:
        """The seconds so far."""
        return self.clock() - self.began


@dataclass(frozen=True)
class Pace:
    """What a fit costs, in seconds: `fit` (a) and `update` (s); and a `forecast` after it (f)."""

    fit: float
    update: float
    forecast: float = 0.0

    def after(self, forecasts: int) -> Pace:
        """Return the pace where so many forecasts follow each fit."""
        return replace(self, forecast=forecasts * self.forecast)


def affordable(paces: Sequence[Pace], seconds: float) -> int:
    """Return the n updates that each of K fits may make; below 1 where there is no time for any.

    >>> affordable([Pace(fit=1.0, update=0.5, forecast=0.25)] * 2, seconds=100.0)
    82
    """
    other = sum(pace.fit + pace.forecast for pace in paces)
    return int(((1 - RESERVE) * seconds - other) // sum(pace.update for pace in paces))


def needed(paces: Sequence[Pace], updates: int) -> float:
    """Return the seconds that K fits of so many updates want, with the reserve."""
    total = sum(pace.fit + pace.forecast + pace.update * updates for pace in paces)
    return total / (1 - RESERVE)


def measure(panel: Panel, design: Design, clock: Clock, observers: Sequence[Observer] = ()) -> Pace:
    """Return what a fit to a panel costs, of a short one and the forecast of those who are judged."""
    n = min(WARM_UP + MEASURED, design.training.max_updates)
    stamps, began = _Stamps(clock), clock()
    model, _ = fitting.fit(panel, design, n, (*observers, stamps), "measuring an update")
    fitted = clock()
    model.forecast(judged(panel, 0))
    update = max(stamps.update, 1e-9)
    return Pace(max(0.0, fitted - began - n * update), update, clock() - fitted)


def in_time(
    budget: Budget,
    panel: Panel,
    designs: Sequence[Design],
    fits: int,
    observers: Sequence[Observer],
    most: int,
    begun: bool = False,
) -> int:
    """Return the updates, at most so many, of each of the `fits` of each design that are still to come.

    Raises `SettingError` where there is not even time for 50; what has `begun` ends with these.
    """
    if budget.seconds is None:
        return most
    paces = [measure(panel, each, budget.clock, observers) for each in designs] * fits
    left, least = budget.seconds - budget.spent, min(LEAST, most)
    n = affordable(paces, left)
    if n >= least or begun:
        return max(least, min(n, most))
    wanted = needed(paces, least)
    if left > 0:  # of a longer one as large a part is spent by now
        wanted *= budget.seconds / left
    else:
        wanted += budget.spent
    raise SettingError(
        f"a budget of at least {duration(wanted)} on this machine, for {count(len(paces), 'run')} of "
        f"{count(least, 'update')} each",
        duration(budget.seconds),
        f"pass budget={duration(wanted)!r} or more, fewer n_windows or smaller nets",
    )


def shortened(design: Design, updates: int) -> Design:
    """Return a design whose nets make at most so many updates."""
    return replace(design, training=replace(design.training, max_updates=updates))


class _Stamps(Observer):
    """Writes down when each update ended."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.times = clock, [clock()]

    def on_start(self, name: str, total: int) -> None:
        self.times = [self.clock()]

    def on_update(self, update: Any) -> None:
        self.times.append(self.clock())

    def on_evaluation(self, evaluation: Any) -> None:
        """There is none."""

    def on_end(self, reason: str) -> None:
        """Keep the times."""

    @property
    def update(self) -> float:
        """The median time of an update, after those of warm-up where there are others."""
        each = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        return median(each[WARM_UP:] or each)
