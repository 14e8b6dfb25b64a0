"""A panel as it was known at many origins, so that a model forecasts from all of them at once.

    series i at origin p     values[:, begins[i] : begins[i] + p],     p = 1 ... lengths[i]

Each pair is a series of what `at_origins` returns, on the same buffer. What a forecast asks of the
whole past comes from sums and extremes that run along each series, made once:

    n_p = sum_{t<p} 1      A_p = sum_{t<p} v_t      B_p = sum_{t<p} v_t^2      v = f(y) - c
    mean = c + A_p / n_p             deviation^2 = B_p / n_p - (A_p / n_p)^2

over the observed steps, f the transform and c the mean of the whole series, which keeps the difference
exact. So an origin costs what its context costs, however long its past.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._errors import SettingError
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS, Transform
from throughtime.forecasting.series.panel import Floats, Ints, Panel


def at_origins(panel: Panel, origins: npt.ArrayLike) -> Panel:
    """Return the series of a panel up to each of the `origins`, steps from their beginnings.

    By origin, then by series: what a model forecasts for it is [origins, rows of the panel, h] in a
    row. Channels known ahead stay known. Raises `SettingError` for an origin outside a series.

    >>> from throughtime.forecasting import read_frame
    >>> known = at_origins(read_frame([5.0, 11.0, 16.0]), [1, 2])
    >>> known.row(0), known.row(1), known.future(1)[1]
    (array([5.]), array([ 5., 11.]), array([1, 2]))
    """
    p = np.asarray(origins, dtype=np.int64)
    shortest = int(panel.lengths.min())
    if p.size == 0 or p.min() < 1 or p.max() > shortest:
        found = f"{p.min()} to {p.max()}" if p.size else "none"
        raise SettingError(f"origins from 1 to {shortest}", found, "leave the others out")
    S = len(panel.ids)
    series, ends = np.tile(np.arange(S), len(p)), np.repeat(p, S)
    known = replace(panel, memory=None).take(series)
    room = known.room + known.lengths - ends
    return replace(known, lengths=ends, room=room, memory=Past(Running(panel), series, ends))


@dataclass(frozen=True, eq=False)
class Past:
    """What was known of `series` [N] of a panel at the origins `ends` [N] (`panel.Memory`)."""

    running: Running
    series: Ints
    ends: Ints

    def take(self, index: Ints) -> Past:
        """Return what was known at some of the places."""
        return replace(self, series=self.series[index], ends=self.ends[index])

    @property
    def low(self) -> Floats:
        """The least value of every row."""
        return self._newest(self.running.low)

    @property
    def high(self) -> Floats:
        """The greatest value of every row."""
        return self._newest(self.running.high)

    def knows(self, transform: str) -> bool:
        """Say that any transform's sums can be made."""
        return transform in TRANSFORMS

    def moments(self, transform: str) -> tuple[Floats, Floats]:
        """Return mean and deviation [rows] of the transformed values."""
        centre, *sums = self.running.sums(transform)
        n, A, B = (self._newest(each) for each in sums)
        mean = A / np.maximum(n, 1)
        variance = B / np.maximum(n, 1) - mean**2
        return mean + self._of_rows(centre), np.sqrt(np.maximum(variance, 0.0))

    def sizes(self, transform: str) -> Floats:
        """Return the mean absolute step [rows] of the transformed values, 0 where there is none."""
        n, total = (self._newest(each) for each in self.running.steps(transform))
        return total / np.maximum(n, 1)

    def sums(self, transform: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Refuse: a carried state is read from the beginning, at every origin."""
        raise SettingError(
            "a scaling that reads each window for itself",
            "scaling='running', whose states are carried from the beginning",
            "forecast at one origin after the other, each from panel.cut",
        )

    def sums_before(self, panel: Panel, transform: Any) -> tuple[Floats, Floats]:
        """Refuse, as `sums`."""
        return self.sums(transform.name)[:2]

    def _newest(self, along: Floats) -> Floats:
        """Return of what runs along all rows what it was at the last step before each origin."""
        M, lengths = self.running.M, self.running.panel.row_lengths
        first = (np.cumsum(lengths) - lengths).reshape(-1, M)
        return np.asarray(along[first[self.series] + self.ends[:, None] - 1]).ravel()

    def _of_rows(self, each: Floats) -> Floats:
        return np.asarray(each.reshape(-1, self.running.M)[self.series]).ravel()


@dataclass(frozen=True, eq=False)
class Running:
    """Sums and extremes up to every step of every row of a panel, one row after the other."""

    panel: Panel
    _sums: dict[str, tuple[Floats, Floats, Floats, Floats]] = field(default_factory=dict)

    @property
    def M(self) -> int:
        """The number of targets."""
        return len(self.panel.targets)

    @cached_property
    def low(self) -> Floats:
        """The least value so far."""
        return np.concatenate([np.fmin.accumulate(y) for y in self._rows()])

    @cached_property
    def high(self) -> Floats:
        """The greatest value so far."""
        return np.concatenate([np.fmax.accumulate(y) for y in self._rows()])

    def sums(self, transform: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Return c [rows] and, up to every step, n, A and B."""
        if transform not in self._sums:
            self._sums[transform] = self._summed(TRANSFORMS[transform])
        return self._sums[transform]

    def _summed(self, f: Transform) -> tuple[Floats, Floats, Floats, Floats]:
        rows = [f.forward(y) for y in self._rows()]
        centre = np.array([np.nanmean(u) if not np.isnan(u).all() else 0.0 for u in rows])
        v = [u - c for u, c in zip(rows, centre, strict=True)]
        return centre, _along(~np.isnan(u) for u in v), _along(v), _along(u**2 for u in v)

    def steps(self, transform: str) -> tuple[Floats, Floats]:
        """Return how many steps between observed values there were, and the sum of their sizes."""
        f = TRANSFORMS[transform]
        sizes = [np.abs(np.diff(f.forward(y), prepend=np.nan)) for y in self._rows()]
        return _along(~np.isnan(each) for each in sizes), _along(sizes)

    def _rows(self) -> list[Floats]:
        return [self.panel.row(r).astype(np.float64) for r in range(len(self.panel))]


def _along(rows: Iterable[Any]) -> Floats:
    """Return the sums up to every step, row after row; NaN counts as 0."""
    return np.concatenate([np.nancumsum(row, dtype=np.float64) for row in rows])
