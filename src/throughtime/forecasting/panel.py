"""Series of one frequency, one after the other in one buffer, each on its regular grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from throughtime._checks import positive_int
from throughtime._errors import DataError, MissingExtraError
from throughtime.forecasting.columns import DateKind, series
from throughtime.forecasting.frequency import Frequency, Stamps

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency, one after the other in one buffer.

    Series i is `y[offsets[i]:offsets[i + 1]]` (float64, NaN where nothing was observed), its first
    stamp is `starts[i]` (`int64` or `datetime64[us]`), its name `ids[i]`. `n_gaps` counts dates
    that had no row, `n_missing` rows that had no value; `notes` says in words what was done to the
    table on the way in. `backend` and `dates` are how it came, for `like`.

    >>> from throughtime.forecasting import read_frame
    >>> panel = read_frame([5.0, 11.0, 16.0])
    >>> panel.cut(1).series(0), panel.future(2)[1]
    (array([ 5., 11.]), array([3, 4]))
    """

    ids: tuple[Any, ...]
    y: Floats
    offsets: Ints
    starts: Stamps
    frequency: Frequency
    n_gaps: int = 0
    n_missing: int = 0
    notes: tuple[str, ...] = ()
    backend: str = "pyarrow"
    dates: DateKind = field(default_factory=DateKind)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Ints:
        """The number of steps in each series."""
        return np.diff(self.offsets)

    @property
    def first(self) -> Any:
        """The earliest stamp of any series."""
        return self.starts.min()

    @property
    def last(self) -> Any:
        """The latest stamp of any series."""
        return self.frequency.at(self.starts, self.lengths - 1).max()

    def series(self, i: int) -> Floats:
        """Return the values of series i, a view."""
        return self.y[self.offsets[i] : self.offsets[i + 1]]

    def ds(self, i: int) -> Stamps:
        """Return the stamps of series i."""
        return self.frequency.at(self.starts[i], np.arange(self.lengths[i]))

    def future(self, h: int) -> tuple[npt.NDArray[np.object_], Stamps]:
        """Return names and stamps, [S * h] each, of the `h` steps that follow every series."""
        k = self.lengths[:, None] + np.arange(positive_int("h", h))
        ds = self.frequency.at(self.starts[:, None], k).ravel()
        return np.repeat(np.array(self.ids, dtype=object), h), ds

    def cut(self, k: int) -> Panel:
        """Return the panel without the last `k` steps of every series.

        A series of which no observed value would stay is left out. Raises `DataError` if that is
        all of them.
        """
        lengths = np.maximum(self.lengths - positive_int("k", k, at_least=0), 0)
        before = np.concatenate([[0], np.cumsum(~np.isnan(self.y))])  # values observed up to here
        kept = np.flatnonzero(before[self.offsets[:-1] + lengths] > before[self.offsets[:-1]])
        if len(kept) == 0:
            raise DataError(
                f"a series with a value before its last {k} steps",
                f"at most {self.lengths.max()} steps",
                "ask for a shorter horizon or fewer windows",
            )
        offsets = np.concatenate([[0], np.cumsum(lengths[kept])])
        old = np.repeat(self.offsets[kept] - offsets[:-1], lengths[kept])
        return replace(
            self,
            ids=self.ids if len(kept) == len(self) else tuple(self.ids[i] for i in kept),
            y=self.y[old + np.arange(offsets[-1])],
            offsets=offsets,
            starts=self.starts[kept],
        )

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
