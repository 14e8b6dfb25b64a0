"""The regular grids that dates may lie on, as arithmetic on numpy stamps.

A grid is a start s and a step: g_k = s + k steps, k = 0, 1, 2, ... A step is so many integers,
seconds or business days, or so many months; the phase (the day of the month and the time of day,
or the distance to the end of the month) comes from the start. So `MS` is monthly on the day of
the month of the first stamp, up to the 28th, and `ME` is the last day of each month.

Stamps are `int64` (positions, or years as numbers) or `datetime64[us]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError, SettingError

Stamps: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = npt.NDArray[np.int64]

_MOST = (2**50, 2**55)  # integers, or microseconds, in a step: so that a sum of many fits
_PIECE = 2**16  # stamps that are looked at together, where all are

SECOND = 1_000_000  # stamps count microseconds
HOUR, DAY = 3600 * SECOND, 86400 * SECOND
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")

MONTHS = {"YS": 12, "YE": 12, "QS": 3, "QE": 3, "MS": 1, "ME": 1}
FIXED = {"D": DAY, "h": HOUR, "min": 60 * SECOND, "s": SECOND} | {
    f"W-{day}": 7 * DAY for day in WEEKDAYS
}
# how many units make one turn of the calendar: a week of days, a day of hours or minutes, ...
CYCLES = {"D": 7, "B": 5, "h": 24, "min": 24 * 60, "s": 3600} | {f"W-{day}": 52 for day in WEEKDAYS}

_SPELLINGS = {
    "Y": "YE", "A": "YE", "AS": "YS", "Q": "QE", "M": "ME", "W": "W-SUN",
    "H": "h", "T": "min", "S": "s", "y": "YS", "q": "QS", "mo": "MS", "d": "D", "i": "",
}  # fmt: skip
_KNOWN = "YS, YE, QS, QE, MS, ME, W-MON to W-SUN, B, D, h, min, s, a multiple such as 30min, or 1"


@dataclass(frozen=True)
class Frequency:
    """The step between two neighbouring stamps of a series, by its pandas alias.

    `alias` is one of `YS YE QS QE MS ME W-MON ... W-SUN B D h min s` with an optional whole number
    before it (`30min`), or a whole number alone for stamps that are integers. Other common
    spellings (`M`, `H`, `T`, `A`, `QS-OCT`, `1mo`) are turned into these.

    Raises `SettingError` for an alias that is not known.

    >>> Frequency("M"), Frequency("30T").season_length, Frequency(1)
    (Frequency(alias='ME'), 48, Frequency(alias='1'))
    >>> Frequency("2h").range(np.datetime64("1949-01-01T22"), 2).astype("datetime64[h]")
    array(['1949-01-01T22', '1949-01-02T00'], dtype='datetime64[h]')
    """

    alias: str

    def __post_init__(self) -> None:
        step, unit = _parse(self.alias)
        alias = str(step) if unit == "" else unit if step == 1 else f"{step}{unit}"
        object.__setattr__(self, "alias", alias)

    @classmethod
    def parse(cls, alias: str | int | Frequency) -> Frequency:
        """Return the frequency that an alias, or an integer step, stands for."""
        return alias if isinstance(alias, Frequency) else cls(str(alias))

    @cached_property
    def _parts(self) -> tuple[int, str]:
        return _parse(self.alias)

    @property
    def step(self) -> int:
        """How many units one step is long: 30 for `30min`."""
        return self._parts[0]

    @property
    def unit(self) -> str:
        """The alias without its number: `min` for `30min`, empty for integers."""
        return self._parts[1]

    @property
    def is_integer(self) -> bool:
        """Whether stamps are integers rather than dates."""
        return self.unit == ""

    @property
    def season_length(self) -> int:
        """The steps in one turn of the calendar, 1 where that is no whole number.

        A year of months, quarters or weeks; a week of days or business days; a day of hours or
        minutes; an hour of seconds.

        >>> [Frequency(alias).season_length for alias in ("MS", "QE", "W", "D", "B", "h", "YS", "1")]
        [12, 4, 52, 7, 5, 24, 1, 1]
        """
        cycle = 12 if self.unit in MONTHS else CYCLES.get(self.unit, 1)
        step = self.step * MONTHS.get(self.unit, 1)
        return cycle // step if cycle % step == 0 else 1

    def range(self, start: Any, n: int) -> Stamps:
        """Return the first `n` stamps of the grid that begins at `start`.

        >>> Frequency("ME").range(np.datetime64("2024-01-31"), 3).astype("datetime64[D]")
        array(['2024-01-31', '2024-02-29', '2024-03-31'], dtype='datetime64[D]')
        """
        return self.at(self._checked(start), np.arange(positive_int("n", n, at_least=0)))

    def at(self, start: Any, k: npt.NDArray[np.int64] | int) -> Stamps:
        """Return the stamps `k` steps after `start`; both may be arrays, which broadcast."""
        start, k = self._stamps(start), np.asarray(k) * self.step
        if self.is_integer:
            return np.asarray(start + k)
        if self.unit in FIXED:
            return np.asarray(start + k * np.timedelta64(FIXED[self.unit], "us"))
        if self.unit == "B":
            day = start.astype("datetime64[D]")
            return np.asarray(np.busday_offset(day, k) + (start - day))
        month, phase = self._month_and_phase(start)
        return np.asarray(self._month_edge(month + k * MONTHS[self.unit]) + phase)

    def index(self, start: Any, ds: Any) -> npt.NDArray[np.int64]:
        """Return how many steps after `start` each stamp of `ds` lies.

        Raises `DataError` with the first stamp that is not on the grid.

        >>> Frequency("B").index(np.datetime64("2024-03-01"), np.array(["2024-03-04"], "M8[D]"))
        array([1])
        """
        ds = self._stamps(ds)
        k, on_grid = self.locate(self._checked(start), ds)
        if not on_grid.all():
            raise self.off_grid(start, np.atleast_1d(ds)[np.argmin(np.atleast_1d(on_grid))])
        return k

    def number(self, ds: Any) -> npt.NDArray[np.int64]:
        """Return the number of whole steps from 1970 (of integers from 0) to each stamp.

        >>> Frequency("MS").number(np.array(["1969-12-01", "1971-01-01"], "M8[D]"))
        array([-1, 12])
        """
        return self.locate(0 if self.is_integer else np.datetime64(0, "us"), ds)[0]

    def locate(self, start: Any, ds: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the number of whole steps from `start` to each of `ds`, and which are exact."""
        start, ds = self._stamps(start), self._stamps(ds)
        fits = np.ones(np.broadcast(start, ds).shape, dtype=bool)
        if self.unit in MONTHS:
            (month, phase), (month_0, phase_0) = map(self._month_and_phase, (ds, start))
            distance, step = (month - month_0).astype(np.int64), self.step * MONTHS[self.unit]
            # a day after the 28th is missing in some months, a month's last day is not
            microseconds = phase.astype(np.int64)
            by_end = self.unit.endswith("E")
            fits &= microseconds >= -DAY if by_end else microseconds < 28 * DAY
            fits &= phase == phase_0
        elif self.unit == "B":
            day, day_0 = ds.astype("datetime64[D]"), start.astype("datetime64[D]")
            fits &= ((ds - day) == (start - day_0)) & np.is_busday(day) & np.is_busday(day_0)
            distance, step = np.busday_count(day_0, day), self.step
        else:
            distance, step = (ds - start).astype(np.int64), self.step * FIXED.get(self.unit, 1)
            if self.unit.startswith("W-"):
                fits &= weekday(ds) == WEEKDAYS.index(self.unit[2:])
        return np.asarray(distance // step), fits & (distance % step == 0)

    def off_grid(self, start: Any, stamp: Any, where: str = "") -> DataError:
        """Return the error that says that `stamp` is not on the grid that begins at `start`."""
        return DataError(
            f"dates every {self.alias} from {show(start)}",
            f"{show(stamp)}{where}",
            "correct that date, or pass freq= with the step between neighbouring dates",
        )

    def _checked(self, start: Any) -> Stamps:
        stamps = self._stamps(start)
        if not self.locate(stamps, stamps)[1].all():
            raise self.off_grid(start, start)
        return stamps

    def _stamps(self, ds: Any) -> Stamps:
        stamps = as_stamps(ds)
        if (stamps.dtype.kind == "i") != self.is_integer:
            kinds = ("integers", "dates") if self.is_integer else ("dates", "integers")
            remedy = "'MS'" if self.is_integer else "1"
            raise DataError(
                f"{kinds[0]} for freq={self.alias!r}", kinds[1], f"pass a freq such as {remedy}"
            )
        return stamps

    def _month_edge(self, month: Stamps) -> Stamps:
        """Return the instant that phases count from: the start of the month, or its end."""
        edge = month + np.timedelta64(int(self.unit.endswith("E")), "M")
        return np.asarray(edge, dtype="datetime64[us]")

    def _month_and_phase(self, ds: Stamps) -> tuple[Stamps, Stamps]:
        month = ds.astype("datetime64[M]")
        return month, ds - self._month_edge(month)

    @staticmethod
    def infer(ds: Any, offsets: npt.NDArray[np.int64] | None = None) -> Frequency:
        """Return the frequency of sorted stamps without duplicates, which may have gaps.

        `ds` holds one or more series one after the other, series i in
        `ds[offsets[i]:offsets[i + 1]]`. The step is the most common difference (in months where
        the day of the month stays, or is always the last), and every other difference must be a
        multiple of it; else the smallest difference, if few stamps are then missing.

        Raises `DataError` with the differences found where no step fits.

        >>> Frequency.infer(np.array(["2024-01-31", "2024-02-29", "2024-05-31"], "M8[D]"))
        Frequency(alias='ME')
        >>> Frequency.infer(np.array([1700, 1701, 1704]))
        Frequency(alias='1')
        """
        ds = as_stamps(ds)
        offsets = np.array([0, len(ds)]) if offsets is None else offsets
        goes_on = np.ones(len(ds), dtype=bool)  # has a neighbour in its own series
        goes_on[offsets[1:] - 1] = False
        if not goes_on.any():
            raise DataError(
                "at least two dates in a series, to find the step between them",
                "one date a series",
                "pass freq=, such as freq='MS'",
            )
        values, counts = _differences(ds, goes_on)
        if ds.dtype.kind == "i":
            alias = str(_common_step(values, counts) or "")
        else:
            alias = _monthly(ds, goes_on, values[0]) or _fixed(ds, goes_on, values, counts)
        if not alias:
            raise _irregular(values, counts, str if ds.dtype.kind == "i" else _words)
        return Frequency(alias)


def _parse(alias: str) -> tuple[int, str]:
    found = re.fullmatch(r"([0-9]*)([A-Za-z]*(?:-[A-Z]{3})?)", str(alias).strip())
    number, unit = found.groups() if found else ("", "?")
    if re.fullmatch(r"(Y|A|Q|YS|AS|QS|YE|QE)-[A-Z]{3}", unit):
        unit = unit[:-4]  # the month comes from the first stamp
    unit = _SPELLINGS.get(unit, unit)
    if not (unit in MONTHS or unit in FIXED or unit == "B" or (unit == "" and number)):
        raise SettingError(f"freq to be one of {_KNOWN}", repr(alias), "choose one of them")
    step, most = positive_int("freq", int((number or "1")[:20])), _MOST[bool(unit)] // _size(unit)
    if step > most:
        raise SettingError(f"freq of at most {most}{unit}", repr(alias), "pass a shorter step")
    return step, unit


def _size(unit: str) -> int:
    """Return about how many microseconds a unit lasts; 1 for integers."""
    return FIXED.get(unit) or MONTHS.get(unit, 0) * 31 * DAY or (DAY if unit == "B" else 1)


def _pairs(ds: Stamps, goes_on: npt.NDArray[np.bool_]) -> Iterator[tuple[Stamps, Stamps]]:
    """Go over neighbours in time, in pieces that are small beside all of them."""
    for begin in range(0, len(ds) - 1, _PIECE):
        piece = ds[begin : begin + _PIECE + 1]
        inside = goes_on[begin : begin + len(piece) - 1]
        yield piece[:-1][inside], piece[1:][inside]


def _differences(ds: Stamps, goes_on: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return the differences between neighbours in increasing order, and how often each is met."""
    found = [
        np.unique((second - first).astype(np.int64), return_counts=True)
        for first, second in _pairs(ds, goes_on)
    ]
    values, where = np.unique(np.concatenate([v for v, _ in found]), return_inverse=True)
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, where, np.concatenate([n for _, n in found]))
    return values, counts


def _monthly(ds: Stamps, goes_on: npt.NDArray[np.bool_], smallest: int) -> str:
    """Return the alias where neighbours share their day and time or all are month ends, or ''."""
    if smallest < 28 * DAY:
        return ""
    before = np.flatnonzero(goes_on)
    first, second = ds[before], ds[before + 1]
    months = second.astype("datetime64[M]") - first.astype("datetime64[M]")
    for edge in ("E", "S"):
        calendar = Frequency(f"M{edge}")
        if calendar.locate(first, second)[1].all():
            step = _common_step(*np.unique(months.astype(np.int64), return_counts=True))
            if not step:
                return ""
            unit = next(u for u in ("Y", "Q", "M") if step % MONTHS[u + edge] == 0) + edge
            return f"{step // MONTHS[unit]}{unit}"
    return ""


def _fixed(ds: Stamps, goes_on: npt.NDArray[np.bool_], values: Ints, counts: Ints) -> str:
    """Return the alias of the common step in weeks, business days, days or less, or ''."""
    step = _common_step(values, counts)
    if step == 0 or step % SECOND != 0:
        return ""
    if step == DAY and values[-1] > DAY:
        business = Frequency("B")
        if all(business.locate(*pair)[1].all() for pair in _pairs(ds, goes_on)):
            return business.alias
    if step % (7 * DAY) == 0 and len(days := np.unique(weekday(ds))) == 1:
        return f"{step // (7 * DAY)}W-{WEEKDAYS[days[0]]}"
    unit = next(unit for unit in ("D", "h", "min", "s") if step % FIXED[unit] == 0)
    return f"{step // FIXED[unit]}{unit}"


def _common_step(values: Ints, counts: Ints) -> int:
    """Return the most common difference, or the smallest, that divides all others; 0 for none.

    The smallest must also leave a grid with stamps on at least a third of its positions.
    """
    common, smallest = int(values[np.argmax(counts)]), int(values[0])
    if common > 0 and (values % common == 0).all():
        return common
    dense = float(values @ counts.astype(float)) <= 3 * smallest * int(counts.sum())
    return smallest if smallest > 0 and dense and (values % smallest == 0).all() else 0


def _irregular(values: Ints, counts: Ints, words: Callable[[int], str]) -> DataError:
    common = np.argsort(-counts, kind="stable")[:4]
    listed = ", ".join(f"{words(int(values[i]))} ({counts[i]} times)" for i in common)
    return DataError(
        "dates at a regular step, gaps allowed",
        f"steps of {listed}{', ...' if len(values) > 4 else ''}",
        "pass freq= if the dates lie on a grid, or put them on one",
    )


def _words(microseconds: int) -> str:
    """Return a length of time in the largest unit that measures it without a rest."""
    for name, size in (("day", DAY), ("hour", HOUR), ("minute", 60 * SECOND), ("second", SECOND)):
        if microseconds % size == 0:
            n = microseconds // size
            return f"{n} {name}{'' if n == 1 else 's'}"
    return f"{microseconds / SECOND:g} seconds"


def as_stamps(ds: Any) -> Stamps:
    """Return integers as `int64` and dates as `datetime64[us]`."""
    ds = np.asarray(ds)
    positions = ds.dtype.kind in "iu" or (ds.dtype.kind == "f" and (ds == np.floor(ds)).all())
    return np.asarray(ds, dtype=np.int64 if positions else "datetime64[us]")


def weekday(ds: Stamps) -> npt.NDArray[np.int64]:
    """Return the day of the week of each date, 0 for Monday."""
    days = np.asarray(ds, dtype="datetime64[D]").astype(np.int64)
    return np.asarray((days + 3) % 7)  # 1970-01-01 was a Thursday


def show(stamp: Any) -> str:
    """Return a stamp as a reader writes it: 1700, 1949-01-31 or 1949-01-31 12:30.

    >>> show(1700), show(np.datetime64("1949-01-31T12:30:00"))
    ('1700', '1949-01-31 12:30')
    """
    text = str(as_stamps(stamp))
    for rest in (".000000", ":00", "T00:00"):
        text = text.removesuffix(rest)
    return text.replace("T", " ")
