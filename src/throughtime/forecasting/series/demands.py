"""What a panel must have before anything is learned from it; checked before torch is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError
from throughtime.forecasting.series.frequency import show
from throughtime.forecasting.series.panel import Panel


def checked_panel(panel: Panel, h: int) -> Panel:
    """Return a panel that can be learned from, with a note on series that never vary.

    Raises `DataError` where no series varies, none is long enough for one rolling origin, or one
    has no value of one of several targets.

    >>> from throughtime.forecasting import read_frame
    >>> checked_panel(read_frame([5.0] * 30), h=2)
    Traceback (most recent call last):
    throughtime._errors.DataError: Expected a series that varies, found the value 5 in all 30 rows: no model is needed to forecast it, for that value is the forecast.
    """
    least, greatest = panel.extreme(np.fmin), panel.extreme(np.fmax)
    _refuse_empty(panel, np.isnan(least))
    varies = np.flatnonzero(least < greatest)
    if len(varies) == 0:
        raise DataError(
            "a series that varies",
            f"the value {panel.row(0)[0]:g} in all {panel.n_observed} rows"
            if len(panel) == 1
            else f"{len(panel):,} series that never do",
            "no model is needed to forecast it, for that value is the forecast",
        )
    windows_that_fit(panel, h, 1, h)
    still = len(panel) - len(varies)
    if still == 0:
        return panel
    note = f"{still:,} {'series never varies' if still == 1 else 'series never vary'}"
    return replace(panel, notes=(*panel.notes, note))


def checked_counts(panel: Panel) -> Panel:
    """Return a panel whose targets are counts; `DataError` naming the first value that is none.

    >>> from throughtime.forecasting import read_frame
    >>> checked_counts(read_frame([3.0, 1.5]))
    Traceback (most recent call last):
    throughtime._errors.DataError: Expected counts (whole numbers, none below 0) for output='negative-binomial', found 1.5 on 1 in series 'series': choose another output, or mend the table.
    """
    reached = np.zeros(len(panel), dtype=np.int64)
    for rows, y, offsets in panel.pieces():
        wrong = not_counts(y)
        if wrong.any():
            at = int(np.argmax(wrong))
            j = int(np.searchsorted(offsets, at, side="right")) - 1
            i, k = divmod(int(rows[j]), len(panel.targets))[0], at - offsets[j] + reached[rows[j]]
            raise DataError(
                "counts (whole numbers, none below 0) for output='negative-binomial'",
                f"{y[at]:g} on {show(panel.ds(i)[k])} in series {panel.ids[i]!r}",
                "choose another output, or mend the table",
            )
        reached[rows] += np.diff(offsets)
    return panel


def not_counts(y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Say of each value whether it is no count; NaN, which is unknown, may be one."""
    return np.asarray((y < 0) | (y != np.floor(y)) & ~np.isnan(y))


def least_rows(h: int) -> int:
    """Return how many rows a series must have before an origin, to be learned from."""
    return max(8, 2 * h)


def windows_that_fit(panel: Panel, h: int, n_windows: int, step_size: int) -> int:
    """Return how many origins leave the longest series enough steps to learn from.

    At most `n_windows`; raises `DataError` if not even one does.
    """
    positive_int("n_windows", n_windows, at_least=1)
    least, longest = least_rows(h), int(panel.lengths.max())
    if longest < least + h:
        raise DataError(
            f"at least {least + h} rows in the longest series for a horizon of {h} "
            f"({least} to learn from, {h} to test on)",
            str(longest),
            "pass more history or a shorter horizon",
        )
    return min(n_windows, 1 + (longest - least - h) // step_size)


def _refuse_empty(panel: Panel, empty: np.ndarray) -> None:
    """Refuse a row that has no value, of a series that has some of another target."""
    if empty.any():
        i, m = divmod(int(np.argmax(empty)), len(panel.targets))
        raise DataError(
            f"a value of {panel.targets[m]!r} in every series",
            f"none in {panel.ids[i]!r}",
            "leave that series out, or that target",
        )
