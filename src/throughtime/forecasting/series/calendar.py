"""Where a date lies in the cycles of the calendar, as a point on a circle for each: Fourier features.

A cycle has a phase u in [0, 1), and K harmonics of it make 2 K features,

    sin(2 pi k u), cos(2 pi k u)      k = 1 ... K

so that the end of a cycle is next to its beginning. "hour:3" has three harmonics of the day, "hour" one.
With second s of the day, weekday w (0 is Monday), day d of the
month or of the year, ISO week v, month m and quarter q, those but w and s counted from 1:

    minute_of_hour   (s mod 3600) / 3600
    hour             s / 86400                      half past ten is half an hour after ten
    day_of_week      w / 7
    day_of_month     (d - 1) / days of that month
    day_of_year      (d - 1) / days of that year
    week_of_year     (v - 1) / weeks of that ISO year, 52 or 53
    month            (m - 1) / 12
    quarter          (q - 1) / 4

Integers n have no calendar, but may turn, too: "11:2" is two harmonics of n mod 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._checks import one_of
from throughtime._errors import DataError, SettingError
from throughtime.forecasting.series.frequency import (
    DAY,
    FIXED,
    HOUR,
    MONTHS,
    Frequency,
    Stamps,
    weekday,
)

Phase = npt.NDArray[np.float64]

# the longest step at which a cycle is chosen: two in a turn, or twelve in an hour
_LONGEST = {
    "minute_of_hour": HOUR // 12,
    "hour": DAY // 2,
    "day_of_week": 7 * DAY // 2,
    "day_of_year": 182 * DAY,
}


def features(stamps: Any, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return sine and cosine [..., 2 K] of all harmonics of the named cycles at dates or integers [...].

    Raises `SettingError` for a name that is no cycle, `DataError` for cycles of the others.

    >>> features(np.array(["2024-07-01T06:00"], "M8[us]"), ["hour", "month"]).round(3).tolist()
    [[1.0, 0.0, 0.0, -1.0]]
    >>> features(np.array([1]), ["4:2"]).round(3).tolist()
    [[1.0, 0.0, 0.0, -1.0]]
    """
    ds, j = np.asarray(stamps), 0
    made = np.empty((*ds.shape, count(names)), dtype=np.float32)
    for name in names:
        cycle, K = harmonics(name)
        if cycle.isdecimal() == (ds.dtype.kind == "M"):
            raise _other_dates([name])
        if cycle.isdecimal():
            u = ds % int(cycle) / int(cycle)
        else:
            u = CYCLES[cycle](ds.astype("datetime64[us]", copy=False))
        for k in range(1, K + 1):
            angle = 2 * np.pi * k * u
            np.sin(angle, out=made[..., j], casting="same_kind")
            np.cos(angle, out=made[..., j + 1], casting="same_kind")
            j += 2
    return made


def harmonics(name: str) -> tuple[str, int]:
    """Return the cycle and the number K of its harmonics; `SettingError` for a name that has none.

    >>> harmonics("hour:3"), harmonics("11")
    (('hour', 3), ('11', 1))
    """
    cycle, _, K = name.partition(":")
    if not (cycle.isdecimal() and int(cycle) > 1):
        one_of("calendar", cycle, CYCLES)
    if K and not (K.isdecimal() and int(K) > 0):
        raise SettingError("a number of harmonics above 0", repr(name), f"pass such as '{cycle}:2'")
    return cycle, int(K or 1)


def count(names: Sequence[str]) -> int:
    """Return how many features cycles have."""
    return sum(2 * harmonics(name)[1] for name in names)


def choose(frequency: Frequency, season_length: int = 1) -> tuple[str, ...]:
    """Return the cycles through which dates of a frequency turn, without two that say the same.

    Integers turn through the season, if there is one.

    >>> [choose(Frequency(alias)) for alias in ("30min", "D", "W", "MS", "YS")]
    [('hour', 'day_of_week', 'day_of_year'), ('day_of_week', 'day_of_year'), ('day_of_year',), ('month',), ()]
    """
    if frequency.is_integer:
        return (str(season_length * frequency.step),) if season_length > 1 else ()
    if frequency.unit in MONTHS:
        months = frequency.step * MONTHS[frequency.unit]
        return () if months % 12 == 0 else ("month",) if months % 3 else ("quarter",)
    step = frequency.step * FIXED.get(frequency.unit, DAY)
    weekly = step % (7 * DAY) == 0 and frequency.unit != "B"
    return tuple(
        name
        for name, longest in _LONGEST.items()
        if step <= longest and not (name == "day_of_week" and weekly)
    )


def checked_calendar(
    calendar: bool | Sequence[str], frequency: Frequency, season_length: int = 1
) -> tuple[str, ...]:
    """Return the cycles that an argument names: those chosen for True, none for False.

    Raises `SettingError` for a name that is not known, `DataError` where dates do not go with it.

    >>> checked_calendar(True, Frequency("MS")), checked_calendar("hour:2", Frequency("h"))
    (('month',), ('hour:2',))
    """
    if isinstance(calendar, bool):
        return choose(frequency, season_length) if calendar else ()
    names = (calendar,) if isinstance(calendar, str) else tuple(calendar)
    wrong = [name for name in names if harmonics(name)[0].isdecimal() != frequency.is_integer]
    if wrong:
        raise _other_dates(wrong)
    return tuple(dict.fromkeys(names))


def _other_dates(names: Sequence[str]) -> DataError:
    listed, cycle = ", ".join(map(repr, names)), harmonics(names[0])[0]
    if cycle.isdecimal():
        return DataError(
            f"integers for calendar={listed}",
            "dates",
            "name a cycle of the calendar, such as 'hour'",
        )
    return DataError(
        f"dates for calendar={listed}",
        "integers",
        "leave calendar out, pass dates, or the length of a cycle, such as '12:2'",
    )


def _minute_of_hour(ds: Stamps) -> Phase:
    return np.asarray(ds.astype(np.int64) % HOUR / HOUR)


def _hour(ds: Stamps) -> Phase:
    return np.asarray(ds.astype(np.int64) % DAY / DAY)


def _day_of_week(ds: Stamps) -> Phase:
    return np.asarray(weekday(ds) / 7)


def _day_of_month(ds: Stamps) -> Phase:
    return _share_of(ds, "M")


def _day_of_year(ds: Stamps) -> Phase:
    return _share_of(ds, "Y")


def _share_of(ds: Stamps, unit: str) -> Phase:
    """Return the whole days since the month or year began, by the days that it has."""
    turn, day = ds.astype(f"datetime64[{unit}]"), np.timedelta64(1, "D")
    first, next_first = turn.astype("datetime64[D]"), (turn + 1).astype("datetime64[D]")
    return np.asarray((ds.astype("datetime64[D]") - first) / day / ((next_first - first) / day))


def _week_of_year(ds: Stamps) -> Phase:
    year = _thursday(ds.astype("datetime64[D]")).astype("datetime64[Y]")
    monday, next_monday = _first_monday(year), _first_monday(year + 1)
    weeks = np.timedelta64(7, "D")
    return np.asarray(
        (ds.astype("datetime64[D]") - monday) // weeks / ((next_monday - monday) / weeks)
    )


def _thursday(day: Stamps) -> Stamps:
    """Return the Thursday of each day's week, which lies in the year that the week counts to."""
    return np.asarray(day + (3 - weekday(day)))


def _first_monday(year: Stamps) -> Stamps:
    """Return the Monday of the first ISO week of a year, the one with the 4th of January."""
    fourth = year.astype("datetime64[D]") + 3
    return np.asarray(fourth - weekday(fourth))


def _month(ds: Stamps) -> Phase:
    return np.asarray(ds.astype("datetime64[M]").astype(np.int64) % 12 / 12)


def _quarter(ds: Stamps) -> Phase:
    return np.asarray(ds.astype("datetime64[M]").astype(np.int64) % 12 // 3 / 4)


CYCLES: dict[str, Callable[[Stamps], Phase]] = {
    "minute_of_hour": _minute_of_hour,
    "hour": _hour,
    "day_of_week": _day_of_week,
    "day_of_month": _day_of_month,
    "day_of_year": _day_of_year,
    "week_of_year": _week_of_year,
    "month": _month,
    "quarter": _quarter,
}
