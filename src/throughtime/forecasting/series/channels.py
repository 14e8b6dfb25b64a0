"""What a net reads beside the targets: covariates, the calendar, what never changes, and the gaps.

A covariate x is read as (x - mean) / deviation over the panel that was fitted, NaN as 0; static
numbers likewise over its series. A category is read as its code, for an embedding. The calendar is
one more channel that is known ahead (`calendar.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._errors import DataError
from throughtime.forecasting.series.calendar import count, features
from throughtime.forecasting.series.panel import Panel, Static
from throughtime.forecasting.series.windows import Windows

Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Sizes:
    """How many numbers a net reads at a step, and from where.

    `targets` M; `mask` says whether it reads for each target if it was observed; `hist`, `futr`
    (with the calendar) and `numbers` count channels; `categories` the values of each category, `series`
    those that nets have parameters of their own for.
    """

    targets: int = 1
    mask: bool = False
    hist: int = 0
    futr: int = 0
    numbers: int = 0
    categories: tuple[int, ...] = ()
    series: int = 0

    @property
    def step(self) -> int:
        """Features of a step, without what is static."""
        return self.targets * (1 + self.mask) + self.hist + self.futr

    @property
    def is_plain(self) -> bool:
        """Say whether the net reads nothing but its targets' past."""
        return not (self.hist or self.futr or self.numbers or self.categories or self.series)


@dataclass(frozen=True, eq=False)
class Channels:
    """The covariates of the panel that was fitted: names, and location and size of each.

    `location` and `size` [P + F] are those of past covariates and of those known ahead,
    `static_location` and `static_size` [n] those of static numbers. `ids` name the series that nets
    have parameters of their own for.
    """

    targets: tuple[str, ...]
    hist: tuple[str, ...]
    futr: tuple[str, ...]
    calendar: tuple[str, ...]
    mask: bool
    location: Floats
    size: Floats
    static_location: Floats
    static_size: Floats
    number_names: tuple[str, ...] = ()
    category_names: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    ids: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls, panel: Panel, calendar: tuple[str, ...] = (), ids: tuple[Any, ...] = ()
    ) -> Channels:
        """Take location and size from what a panel knows by its end.

        >>> from throughtime.forecasting import read_frame
        >>> Channels.of(read_frame([1.0, 2.0])).sizes.is_plain
        True
        """
        M, static = len(panel.targets), panel.static
        rows = [_moments(panel, c) for c in range(M, len(panel.values))]
        location, size = np.array(rows, dtype=np.float64).reshape(-1, 2).T.copy()
        numbers = static.numbers
        spread = numbers.std(axis=0)
        return cls(
            panel.targets,
            panel.hist,
            panel.futr,
            calendar,
            panel.n_observed < panel.n_steps,
            location,
            size,
            numbers.mean(axis=0),
            np.where(spread > 0, spread, 1.0),
            static.number_names,
            static.category_names,
            static.categories,
            ids,
        )

    @property
    def sizes(self) -> Sizes:
        """What a net reads."""
        return Sizes(
            len(self.targets),
            self.mask,
            len(self.hist),
            len(self.futr) + count(self.calendar),
            len(self.number_names),
            tuple(map(len, self.categories)),
            len(self.ids),
        )

    def numbers(self, panel: Panel) -> npt.NDArray[np.int64]:
        """Return which of `ids` each series of a panel is [S], from 1 on; 0 for another."""
        return np.array([self._numbers.get(name, 0) for name in panel.ids], dtype=np.int64)

    @cached_property
    def _numbers(self) -> dict[Any, int]:
        return {name: i for i, name in enumerate(self.ids, 1)}

    def check(self, panel: Panel) -> Panel:
        """Return a panel that has the channels of the fitted one; `DataError` for another."""
        for name in ("targets", "hist", "futr"):
            fitted, found = getattr(self, name), getattr(panel, name)
            if fitted != found:
                raise DataError(
                    f"the columns that were fitted, {name} {', '.join(fitted) or 'none'}",
                    ", ".join(found) or "none",
                    "pass a table with the same columns",
                )
        return panel

    def covariates(
        self, windows: Windows, series: Tensor, origin: Tensor, ahead: int
    ) -> tuple[Tensor, Tensor]:
        """Return past covariates [..., P, L + ahead] and those known ahead [..., F, L + ahead]."""
        M, P = len(self.targets), len(self.hist)
        channels = range(M, M + P + len(self.futr))
        parts = []
        if channels:
            x = windows.gather(channels, series, origin, ahead).double()
            location, size = (torch.from_numpy(m)[:, None] for m in (self.location, self.size))
            parts = [((x - location) / size).float().nan_to_num(0.0)]
        if self.calendar:
            parts.append(self._calendar(windows, series, origin, ahead))
        if not parts:
            shape = (*series.shape, 0, windows.context_length + ahead)
            return torch.zeros(shape), torch.zeros(shape)
        x = torch.cat(parts, dim=-2)
        return x[..., :P, :], x[..., P:, :]

    def static(
        self, static: Static, series: Tensor, numbers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return static numbers [..., n] and the codes of categories [..., k].

        Where series are told apart, their `numbers` [S] (of `ids`) are one more code, the last.
        """
        scaled = (static.numbers - self.static_location) / self.static_size
        codes = torch.from_numpy(static.codes)[series]
        if numbers is not None:
            codes = torch.cat([codes, numbers[series][..., None]], dim=-1)
        return torch.from_numpy(scaled).float()[series], codes

    def _calendar(self, windows: Windows, series: Tensor, origin: Tensor, ahead: int) -> Tensor:
        panel = windows.panel
        k = origin[..., None] + torch.arange(-windows.context_length, ahead)
        stamps = panel.frequency.at(panel.starts[series.numpy()][..., None], k.numpy())
        return torch.from_numpy(features(stamps, self.calendar)).transpose(-1, -2)


def _moments(panel: Panel, channel: int) -> tuple[float, float]:
    """Return mean and deviation of a channel over the known steps of every series."""
    total = count = squares = 0.0
    alone = panel.channel(channel)
    for _, x, _ in alone.pieces():
        total += float(np.nansum(x, dtype=np.float64))
        count += int((~np.isnan(x)).sum())
    mean = total / max(count, 1)
    for _, x, _ in alone.pieces():
        squares += float(np.nansum((x - mean) ** 2, dtype=np.float64))
    deviation = (squares / max(count, 1)) ** 0.5
    return mean, deviation if deviation > 0 else 1.0
