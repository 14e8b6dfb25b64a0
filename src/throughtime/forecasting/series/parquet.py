"""From a Parquet file to a `Panel`, a piece at a time: what is held is the panel, not the table.

Rows in the order of series and, within each, of dates (as long tables are mostly written) go
straight to their place in the buffer:

    place of a row = begin of its series + k,     k steps from its first date     (`frequency.py`)

The step between dates is read off the first piece. It is that of the whole table where, in the end,
every date is found to lie on its grid and at least half of all neighbours to be one step apart: no
other difference is then more common (`Frequency.infer`). Whatever is not so, and every cell that
does not fit, is left to `read_frame`, which reads the table at once and names the cell.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from throughtime._checks import one_of
from throughtime._errors import DataError
from throughtime.forecasting.series.columns import DateKind, arrow, dates, numbers
from throughtime.forecasting.series.frame import read_frame
from throughtime.forecasting.series.frequency import DAY, Frequency, Stamps
from throughtime.forecasting.series.panel import Floats, Ints, Panel

_ROWS = 2**15  # that are decoded together
_BYTES = 2**16  # that are read together, of each column
_MOST_GAPS = 100  # a row; a table with more is left to `read_frame`
_SMALL = (pa.types.is_float16, pa.types.is_float32, pa.types.is_int8, pa.types.is_int16,
          pa.types.is_uint8, pa.types.is_uint16)  # fmt: skip


AT_ONCE = "read as a whole, not in pieces"
_REMEDY = "name them by target= and time_column=, or rename them to 'y' and 'ds'"


class _Unfit(Exception):
    """The table is one that is to be read at once."""


def read_parquet(
    path: str | os.PathLike[str],
    freq: str | int | Frequency | None = None,
    *,
    target: str | Sequence[str] = "y",
    hist: str | Sequence[str] = (),
    futr: str | Sequence[str] = (),
    id_column: str = "unique_id",
    time_column: str = "ds",
    dtype: str | None = None,
    row_word: str = "row",
    first_row: int = 0,
) -> Panel:
    """Return the series in a Parquet file on their regular grid, as `read_frame` would.

    `target`, `hist` and `futr` name columns as in `read_frame`, `id_column` and `time_column` those
    of the series' names and dates. Values are float32 where the columns of the targets hold no
    other numbers, else float64, or what `dtype` says. Memory: the values and a little more, if rows are
    in the order of series and dates and there are no covariates; else that of the table, and a
    note says so. Raises `DataError` as `read_frame` (rows count from `first_row`), and for a file that is
    no Parquet file.

    >>> import tempfile
    >>> table = pa.table({"ds": [1, 2, 4], "y": [5.0, 6.0, 8.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pq.write_table(table, f"{folder}/table.parquet")
    ...     panel = read_parquet(f"{folder}/table.parquet")
    >>> panel.row(0), panel.notes
    (array([ 5.,  6., nan,  8.]), ('1 missing date filled as gap',))
    """
    one_of("dtype", dtype, [None, "float32", "float64"])
    targets, hist, futr = ((n,) if isinstance(n, str) else tuple(n) for n in (target, hist, futr))
    wanted = {id_column: "unique_id", time_column: "ds"}
    wanted |= {name: name for name in (*targets, *hist, *futr)}
    with opened(path) as file:
        names = file.schema_arrow.names
        ignored = ", ".join(repr(name) for name in names if name not in wanted)
        notes = [f"ignored: {ignored}"] if ignored else []
        panel = None
        if not (hist or futr):  # which are read at once
            panel = _in_pieces(file, freq, targets, id_column, time_column, dtype)
        if panel is None:
            channels = {"target": targets, "hist": hist, "futr": futr}
            how: dict[str, Any] = {**channels, "row_word": row_word, "first_row": first_row}
            panel = read_frame(_whole(file, wanted), freq, **how)
            values = panel.values if dtype is None else panel.values.astype(dtype)
            panel = replace(panel, values=values)
            notes.append(AT_ONCE)
    pa.default_memory_pool().release_unused()
    return replace(panel, targets=targets, notes=(*notes, *panel.notes))


def read_in_pieces(
    path: str | os.PathLike[str],
    freq: str | int | Frequency | None = None,
    *,
    target: str | Sequence[str] = "y",
    id_column: str | None = "unique_id",
    time_column: str = "ds",
) -> Panel | None:
    """Return the series as `read_parquet` does, or None where the table is to be read at once.

    Without an `id_column` all rows are one series. Raises `DataError` for no Parquet file.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    with opened(path) as file:
        return _in_pieces(file, freq, targets, id_column, time_column, None)


def opened(path: str | os.PathLike[str]) -> pq.ParquetFile:
    """Return a Parquet file to read from; `DataError` where there is none."""
    try:
        return pq.ParquetFile(path, buffer_size=_BYTES, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise DataError("a Parquet file", said, "pass the path of one") from None


def _in_pieces(
    file: pq.ParquetFile,
    freq: str | int | Frequency | None,
    targets: tuple[str, ...],
    id_column: str | None,
    time_column: str,
    dtype: str | None,
) -> Panel | None:
    names = file.schema_arrow.names
    if any(names.count(name) != 1 for name in (*targets, time_column)) or (
        names.count(id_column) > 1
    ):
        return None
    try:
        panel = _streamed(file, freq, targets, id_column, time_column, dtype)
    except (_Unfit, DataError, pa.ArrowException):
        return None
    finally:
        pa.default_memory_pool().release_unused()
    return replace(panel, targets=targets)


def _whole(file: pq.ParquetFile, wanted: dict[str, str]) -> pa.Table:
    """Return the columns that are `wanted`, under their new names; `DataError` without one."""
    names = file.schema_arrow.names
    lacking = [name for name, new in wanted.items() if name not in names and new != "unique_id"]
    if lacking:
        found = ", ".join(map(repr, names)) or "no columns"
        raise DataError(f"columns {' and '.join(map(repr, lacking))}", found, _REMEDY)
    table = file.read(columns=[name for name in names if name in wanted])
    return table.rename_columns([wanted[name] for name in table.column_names])


def _streamed(
    file: pq.ParquetFile,
    freq: str | int | Frequency | None,
    targets: tuple[str, ...],
    id_column: str | None,
    time_column: str,
    dtype: str | None,
) -> Panel:
    schema = file.schema_arrow
    small = all(any(is_one(schema.field(name).type) for is_one in _SMALL) for name in targets)
    kind = np.dtype(dtype or ("float32" if small else "float64"))
    growth = _Growth(file.metadata.num_rows, len(targets), kind, freq)
    ids = [id_column] if id_column is not None and id_column in schema.names else []
    columns = [*ids, time_column, *targets]
    for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
        if len(batch) == 0:
            continue
        table = nw.from_native(pa.Table.from_batches([batch]))
        names, ends = ["series"], np.array([len(batch)])
        for name in ids:
            names, ends = _runs(arrow(table[name], str))
        ds, date_kind = dates(table[time_column], str)
        growth.add(names, ends, ds, date_kind, [numbers(table[name], str) for name in targets])
        pa.default_memory_pool().release_unused()  # else it keeps some of every piece
    return growth.panel()


def _runs(ids: pa.Array) -> tuple[list[Any], Ints]:
    """Return each run of equal names, and where it ends."""
    if ids.null_count:
        raise _Unfit
    if not pa.types.is_integer(ids.type):
        ids = ids.cast(pa.string())
    runs = pc.run_end_encode(ids, run_end_type=pa.int64())
    return runs.values.to_pylist(), runs.run_ends.to_numpy()


class _Growth:
    """A panel that grows at its end, piece by piece."""

    def __init__(
        self, n_rows: int, n_channels: int, kind: np.dtype[Any], freq: str | int | Frequency | None
    ) -> None:
        self.values: Floats = np.empty((n_channels, n_rows), dtype=kind)
        self.frequency = None if freq is None else Frequency.parse(freq)
        self.is_stated = freq is not None
        self.date_kind: DateKind | None = None
        self.ids: list[Any] = []
        self.starts: list[Stamps] = []
        self.lengths: list[Ints] = []
        self.begin = self.used = 0  # where the newest series begins, and ends
        self.n_rows = self.n_missing = self.n_pairs = self.n_single = 0
        self.had_gaps = False  # in the piece that the frequency was read off
        self.newest: Any = None  # date

    def add(
        self, names: list[Any], ends: Ints, ds: Stamps, kind: DateKind, columns: list[Floats]
    ) -> None:
        """Place rows, of which `names[j]` has those up to `ends[j]`; a series may go on."""
        if self.date_kind not in (None, kind):
            raise _Unfit
        first = np.concatenate([[0], ends[:-1]])
        counts = ends - first
        if self.frequency is None:
            self.frequency = Frequency.infer(ds, np.concatenate([[0], ends]))
        goes_on = bool(self.ids) and self.ids[-1] == names[0]
        starts = ds[first]
        if goes_on:
            starts[0] = self.starts[-1][-1]
        k, on_grid = self.frequency.locate(np.repeat(starts, counts), ds)
        if not on_grid.all():
            raise _Unfit
        self._look_at_steps(k, ds, first, goes_on, kind)

        lengths = k[ends - 1] + 1
        begins = (self.begin if goes_on else self.used) + np.cumsum(lengths) - lengths
        used = int(begins[-1] + lengths[-1])
        self.n_rows += len(ds)
        self._make_room(used)
        place = np.repeat(begins, counts) + k
        for channel, y in zip(self.values, columns, strict=True):
            channel[self.used : used] = np.nan
            channel[place] = y
            self.n_missing += int(np.isnan(y).sum())
        if goes_on:
            self.lengths[-1][-1] = lengths[0]
        self.ids += names[goes_on:]
        self.starts.append(starts[int(goes_on) :])
        self.lengths.append(lengths[int(goes_on) :])
        if len(self.lengths[-1]) == 0:
            self.starts.pop()
            self.lengths.pop()
        self.begin, self.used, self.newest, self.date_kind = int(begins[-1]), used, ds[-1], kind

    def _look_at_steps(
        self, k: Ints, ds: Stamps, first: Ints, goes_on: bool, kind: DateKind
    ) -> None:
        """Count the pairs of neighbours, and those a single step apart; dates must rise."""
        inside = np.ones(len(k), dtype=bool)  # has a neighbour before it in its series
        inside[first] = False
        before_k, before = np.concatenate([[0], k[:-1]]), np.concatenate([ds[:1], ds[:-1]])
        if goes_on:
            inside[0], before_k[0], before[0] = True, self.used - self.begin - 1, self.newest
        steps, apart = (k - before_k)[inside], (ds - before)[inside]
        if (steps <= 0).any():
            raise _Unfit
        assert self.frequency is not None
        single = steps == 1
        if self.frequency.unit == "B":  # from Friday to Monday is another difference
            single = apart == np.timedelta64(DAY, "us")
        is_first = self.date_kind is None
        self.had_gaps = bool((steps > 1).any()) if is_first else self.had_gaps
        if self.frequency.alias == "D" and not self.had_gaps and (steps > 1).any():
            raise _Unfit  # they may be weekends
        self.n_pairs, self.n_single = self.n_pairs + len(steps), self.n_single + int(single.sum())
        if kind.zone and kind.clock == "wall" and not is_first:  # one time of day in each piece
            times = (stamp - stamp.astype("datetime64[D]") for stamp in (ds[0], self.newest))
            if len(set(times)) > 1:
                raise _Unfit

    def _make_room(self, used: int) -> None:
        if used > _MOST_GAPS * self.n_rows:
            raise _Unfit
        if used > self.values.shape[1]:
            wider = np.empty((len(self.values), used + used // 4), dtype=self.values.dtype)
            wider[:, : self.used] = self.values[:, : self.used]
            self.values = wider

    def panel(self) -> Panel:
        """Return what has grown; every series begins with its first value."""
        n_gaps = self.used - self.n_rows
        is_sure = self.is_stated or 2 * self.n_single >= self.n_pairs
        if self.frequency is None or self.date_kind is None or not is_sure:
            raise _Unfit
        if len(set(self.ids)) < len(self.ids):
            raise _Unfit
        lengths, starts = np.concatenate(self.lengths), np.concatenate(self.starts)
        begins = np.cumsum(lengths) - lengths
        late = np.zeros_like(lengths)
        for i in np.flatnonzero(np.isnan(self.values[:, begins]).all(axis=0)).tolist():
            y = self.values[:, begins[i] : begins[i] + lengths[i]]
            observed = ~np.isnan(y).all(axis=0)
            if not observed.any():
                raise _Unfit
            late[i] = np.argmax(observed)
        if self.is_stated and n_gaps > (lengths - late).sum() / 2:
            raise _Unfit  # the step may be stated too short
        notes = _counted(n_gaps, "missing date filled as gap", "missing dates filled as gaps")
        notes += _counted(self.n_missing, "empty value", "empty values")
        return Panel(
            tuple(self.ids),
            self.values[:, : self.used],
            begins + late,
            lengths - late,
            np.asarray(self.frequency.at(starts, late)),
            self.frequency,
            n_gaps=n_gaps,
            n_missing=self.n_missing,
            notes=tuple(notes),
            dates=self.date_kind,
        )


def _counted(n: int, one: str, many: str) -> list[str]:
    return [f"{n} {one if n == 1 else many}"] if n else []
