"""Series of one frequency in one buffer, each on its regular grid.

    values [C, N]     a channel a row: the M targets, then past covariates, then those known ahead
    series i          values[c, begins[i] : begins[i] + lengths[i]], its first stamp starts[i]
    room[i]           steps after its end at which channels known ahead have values, too

Whatever picks series, or a part of them in time, changes `begins` and `lengths` and shares the
buffer. A target of a series is a *row*: row i M + m is target m of series i, and what treats one
series of numbers at a time (baselines, errors, intervals) goes over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Protocol

import narwhals as nw
import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError, MissingExtraError
from throughtime.forecasting.series.columns import DateKind, series
from throughtime.forecasting.series.frequency import Frequency, Stamps

Floats = npt.NDArray[Any]  # float64, or float32 where the table was
Ints = npt.NDArray[np.int64]

PIECE = 2**16  # numbers that are looked at together, where all are


@dataclass(frozen=True, eq=False)
class Static:
    """What is known of every series and does not change.

    `numbers` [S, n] are named by `number_names`. `codes` [S, k] count from 1 within the categories
    of each of the k variables named by `category_names`; 0 is a category that was not seen before.
    """

    numbers: Floats
    codes: Ints
    number_names: tuple[str, ...] = ()
    category_names: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of everything that is known."""
        return (*self.number_names, *self.category_names)

    @classmethod
    def none(cls, n_series: int) -> Static:
        """Return nothing about so many series."""
        return cls(np.zeros((n_series, 0)), np.zeros((n_series, 0), dtype=np.int64))

    def take(self, index: Ints) -> Static:
        """Return what is known of some of the series."""
        return replace(self, numbers=self.numbers[index], codes=self.codes[index])


class Memory(Protocol):
    """What is known of whole series of which the buffer has the last steps (`state.State`)."""

    @property
    def low(self) -> Floats:
        """The least value of every row."""

    @property
    def high(self) -> Floats:
        """The greatest value of every row."""

    def take(self, index: Ints) -> Memory:
        """Return what is known of some of the series."""

    def knows(self, transform: str) -> bool:
        """Say whether sums of these transformed values are kept."""

    def moments(self, transform: str) -> tuple[Floats, Floats]:
        """Return mean and deviation [rows] of the transformed values."""

    def sizes(self, transform: str) -> Floats:
        """Return the mean absolute step [rows] of the transformed values, 0 where there is none."""

    def sums(self, transform: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Return first value, n, A and B [S, M] of the running scale."""

    def sums_before(self, panel: Panel, transform: Any) -> tuple[Floats, Floats]:
        """Return the first value [rows], and n, A, B [3, rows] before the steps of the buffer."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency, with their covariates, in one buffer; see the module.

    `values` is float64 or float32, NaN where nothing was observed; every series begins with a step
    at which a target was. Stamps are `int64` or `datetime64[us]`. `targets`, `hist` and `futr` name
    the channels. `n_gaps` counts dates that had no row, `n_missing` rows that had no value; `notes`
    says in words what was done to the table on the way in. `backend` and `dates` are how it came,
    for `like`. `memory` knows of steps before those of the buffer, where there were some.

    >>> from throughtime.forecasting import read_frame
    >>> panel = read_frame([5.0, 11.0, 16.0])
    >>> panel.cut(1).row(0), panel.future(2)[1]
    (array([ 5., 11.]), array([3, 4]))
    """

    ids: tuple[Any, ...]
    values: Floats
    begins: Ints
    lengths: Ints
    starts: Stamps
    frequency: Frequency
    room: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    targets: tuple[str, ...] = ("y",)
    hist: tuple[str, ...] = ()
    futr: tuple[str, ...] = ()
    static: Static = field(default_factory=lambda: Static.none(0))
    n_gaps: int = 0
    n_missing: int = 0
    notes: tuple[str, ...] = ()
    backend: str = "pyarrow"
    dates: DateKind = field(default_factory=DateKind)
    memory: Memory | None = None

    def __post_init__(self) -> None:
        if len(self.room) != len(self.ids):
            object.__setattr__(self, "room", np.zeros(len(self.ids), dtype=np.int64))
        if len(self.static.numbers) != len(self.ids):
            object.__setattr__(self, "static", Static.none(len(self.ids)))

    def __len__(self) -> int:
        """Return the number of rows: series times targets."""
        return len(self.ids) * len(self.targets)

    @property
    def row_ids(self) -> tuple[Any, ...]:
        """The name of the series that each row belongs to."""
        M = len(self.targets)
        return self.ids if M == 1 else tuple(name for name in self.ids for _ in range(M))

    @property
    def row_lengths(self) -> Ints:
        """The number of steps in each row."""
        return np.repeat(self.lengths, len(self.targets))

    @property
    def n_steps(self) -> int:
        """The number of steps in all rows together."""
        return int(self.lengths.sum()) * len(self.targets)

    @property
    def first(self) -> Any:
        """The earliest stamp of any series."""
        return self.starts.min()

    @property
    def last(self) -> Any:
        """The latest stamp of any series."""
        return self.frequency.at(self.starts, self.lengths - 1).max()

    def row(self, r: int) -> Floats:
        """Return the values of row r, a view."""
        i, m = divmod(r, len(self.targets))
        return self.values[m, self.begins[i] : self.begins[i] + self.lengths[i]]

    def ds(self, i: int) -> Stamps:
        """Return the stamps of series i."""
        return self.frequency.at(self.starts[i], np.arange(self.lengths[i]))

    def future(self, h: int) -> tuple[npt.NDArray[np.object_], Stamps]:
        """Return names and stamps, [S * h] each, of the `h` steps that follow every series."""
        k = self.lengths[:, None] + np.arange(positive_int("h", h))
        ds = self.frequency.at(self.starts[:, None], k).ravel()
        return np.repeat(np.array(self.ids, dtype=object), h), ds

    def pieces(self) -> Iterator[tuple[Ints, Floats, Ints]]:
        """Go over all rows, in pieces that are small beside the buffer.

        Each piece is (rows [n], y, offsets [n + 1]): its values y hold a part of row `rows[j]` in
        `y[offsets[j]:offsets[j + 1]]`, never an empty one. A long row comes in several pieces.
        """
        M, S = len(self.targets), len(self.ids)
        total = np.cumsum(self.lengths)
        for m in range(M):
            i = 0
            while i < S:
                before = total[i] - self.lengths[i]
                end = max(i + 1, int(np.searchsorted(total, before + PIECE, side="right")))
                rows, n = np.arange(i, end) * M + m, total[i:end] - before
                if end > i + 1 or n[0] <= PIECE:
                    offsets = np.concatenate([[0], n])
                    yield rows, self._between(m, i, end, offsets), offsets
                else:
                    whole = self.row(int(rows[0]))
                    for start in range(0, len(whole), PIECE):
                        y = whole[start : start + PIECE]
                        yield rows, y, np.array([0, len(y)])
                i = end

    def _between(self, m: int, i: int, end: int, offsets: Ints) -> Floats:
        """Return channel m of the series i ... end - 1, one after the other."""
        begins, lengths = self.begins[i:end], self.lengths[i:end]
        if (begins[1:] == begins[:-1] + lengths[:-1]).all():
            return np.asarray(self.values[m, begins[0] : begins[-1] + lengths[-1]])
        place = np.repeat(begins - offsets[:-1], lengths) + np.arange(offsets[-1])
        return np.asarray(self.values[m, place])

    def extreme(self, of: np.ufunc) -> Floats:
        """Return the least (`of=np.fmin`) or greatest (`np.fmax`) value of every row; NaN for none."""
        if self.memory is not None:
            return np.ravel(self.memory.low if of is np.fmin else self.memory.high)
        found = np.full(len(self), np.nan)
        for rows, y, offsets in self.pieces():
            found[rows] = of(found[rows], of.reduceat(y, offsets[:-1]))
        return found

    @property
    def is_negative(self) -> bool:
        """Say whether any value of a target is below 0."""
        if self.memory is not None:
            return bool((self.memory.low < 0).any())
        return any(bool((y < 0).any()) for _, y, _ in self.pieces())

    @property
    def n_observed(self) -> int:
        """The number of observed values in all rows together."""
        return sum(len(y) - int(np.isnan(y).sum()) for _, y, _ in self.pieces())

    def take(self, index: Ints) -> Panel:
        """Return some of the series, in the order of `index`; the buffer is shared."""
        if len(index) == len(self.ids) and (index == np.arange(len(index))).all():
            return self
        return replace(
            self,
            ids=tuple(self.ids[i] for i in index),
            begins=self.begins[index],
            lengths=self.lengths[index],
            starts=self.starts[index],
            room=self.room[index],
            static=self.static.take(index),
            memory=None if self.memory is None else self.memory.take(index),
        )

    def channel(self, c: int) -> Panel:
        """Return the panel with channel c as its only one, as a target."""
        name = (*self.targets, *self.hist, *self.futr)[c]
        one = self.values[c : c + 1]
        return replace(self, values=one, targets=(name,), hist=(), futr=(), memory=None)

    def spread(self, most: int) -> Panel:
        """Return (at most) so many of the series, spread evenly; the buffer is shared."""
        n = len(self.ids)
        return self.take(np.linspace(0, n - 1, min(most, n)).astype(np.int64))

    def blocks(self, size: int) -> Iterator[Panel]:
        """Go over all series, so many at a time; the buffer is shared."""
        for start in range(0, len(self.ids), size):
            yield self.take(np.arange(start, min(start + size, len(self.ids))))

    def compact(self) -> Panel:
        """Return the panel on a buffer of its own, which holds nothing else."""
        kept = self.lengths + self.room
        ends = np.cumsum(kept)
        if ends[-1] == self.values.shape[1]:
            return self
        place = np.repeat(self.begins - ends + kept, kept) + np.arange(ends[-1])
        return replace(self, values=self.values[:, place], begins=ends - kept)

    def cut(self, k: int) -> Panel:
        """Return the panel without the last `k` steps of every series; the buffer is shared.

        A series of which no step would stay is left out. Raises `DataError` if that is all of
        them. What is known ahead stays known: `room` grows by k.
        """
        positive_int("k", k, at_least=0)
        kept = np.flatnonzero(self.lengths > k)
        if len(kept) == 0:
            raise DataError(
                f"a series with a value before its last {k} steps",
                f"at most {self.lengths.max()} steps",
                "ask for a shorter horizon or fewer windows",
            )
        part = self.take(kept)
        return replace(part, lengths=part.lengths - k, room=part.room + k, memory=None)

    def like(self, columns: Mapping[str, Any]) -> Any:
        """Return columns as a table of the kind that came in.

        `ds` and `cutoff` hold stamps as this panel's, and go out as the dates came in. Raises
        `MissingExtraError` where that library is not here (the panel may come from a file).
        """
        if find_spec(self.backend) is None:
            raise MissingExtraError(
                f"{self.backend}, in which the table came in",
                "it is not installed",
                f"pip install {self.backend}",
            )
        stamps = ("ds", "cutoff")
        made = {
            name: (
                self.dates.restore(np.asarray(values), self.backend)
                if name in stamps
                else series(values, self.backend)
            ).to_native()
            for name, values in columns.items()
        }
        backend: Any = self.backend
        return nw.from_dict(made, backend=backend).to_native()
