"""How accurate is the forecaster on the electricity transformer temperatures, beside the published?

The protocol of the tables: months of 30 days, 12 to train, 4 to validate and 4 to test; each of the seven
channels is a series, standardised by mean and deviation of its train part; the forecaster sees the train
part alone, and then forecasts h steps from every step of the test part that has h after it, from the
--context steps before, with its weights as they are. MSE and MAE are the means over all windows, steps and
channels:

    MSE = mean (z_{p+k} - f_{pk})^2

First the last value, repeated, has to err as it is known to. `--validate` forecasts from the validation
part instead. No rolling origins are made within the train part (n_windows=0), as no interval is judged.

Run with `python benchmarks/accuracy/ett.py ETTh1|ETTm1 --h 96|192|336|720 [--context 720] [--data folder]
[--seeds 0,1,2] [--validate] [--set name=value ...] [--threads 2] [--out folder]`, the folder (default:
$THROUGHTIME_DATA) holding ett/ETTh1.csv and ett/ETTm1.csv.gz. Figures are published for --context 720.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv
from runs import Case, Clock, Row, forecaster, parser, run, settings_of

from throughtime.forecasting.evaluation.at_origins import at_origins
from throughtime.forecasting.series.frame import read_frame

Floats = npt.NDArray[np.float64]

HORIZONS = (96, 192, 336, 720)
LOOK_BACK = 720  # of the published figures
BLOCK = 64  # origins that are forecast together
MEASURES = {"mse": "MSE", "mae": "MAE"}


@dataclass(frozen=True)
class Table:
    """A file, its rows and its steps a day, and what the last value's MSE has to be by horizon."""

    file: str
    n_rows: int
    day: int
    naive: dict[int, str]
    published: dict[str, tuple[float, ...]]  # MSE by horizon

    def border(self, months: int) -> int:
        return months * 30 * self.day


TABLES = {
    "ETTh1": Table(
        "ETTh1.csv",
        17_420,
        24,
        dict(zip(HORIZONS, ("1.294", "1.325", "1.330", "1.335"), strict=True)),
        {
            "SegRNN": (0.351, 0.392, 0.423, 0.466),
            "PatchTST": (0.375, 0.418, 0.462, 0.495),
            "one linear layer": (0.374, 0.408, 0.429, 0.440),
            "GRU": (1.135, 1.123, 1.080, 1.089),
        },
    ),
    "ETTm1": Table(
        "ETTm1.csv.gz",
        69_680,
        96,
        dict(zip(HORIZONS, ("1.214", "1.261", "1.287", "1.322"), strict=True)),
        {
            "SegRNN": (0.293, 0.328, 0.357, 0.410),
            "PatchTST": (0.300, 0.339, 0.368, 0.420),
            "DLinear": (0.307, 0.337, 0.371, 0.416),
            "GRU": (0.953, 1.124, 1.200, 1.173),
        },
    ),
}


@dataclass(frozen=True)
class Data:
    """Channels z [7, T] on the scale of the train part, their stamps, and the borders of the parts."""

    names: tuple[str, ...]
    stamps: npt.NDArray[np.datetime64]
    z: Floats
    train: int
    validation: int
    test: int

    def until(self, end: int) -> pa.Table:
        """Return a long table of the first steps."""
        n = len(self.names)
        return pa.table(
            {
                "unique_id": np.repeat(np.array(self.names), end),
                "ds": np.tile(self.stamps[:end], n),
                "y": self.z[:, :end].ravel(),
            }
        )

    def origins(self, h: int, validate: bool) -> npt.NDArray[np.int64]:
        """Return every step of the test part (or validation part) that has h steps after it, there."""
        first, end = (self.train, self.validation) if validate else (self.validation, self.test)
        return np.arange(first, end - h + 1)

    def truth(self, origins: npt.NDArray[np.int64], h: int) -> Floats:
        """Return the values [origins, 7, h] that follow."""
        return np.asarray(np.moveaxis(self.z[:, origins[:, None] + np.arange(h)], 0, 1))


class Errors:
    """Sums of squares and of sizes of errors, in double precision."""

    def __init__(self) -> None:
        self.n, self.squares, self.sizes = 0, 0.0, 0.0

    def add(self, errors: Floats) -> None:
        e = errors.astype(np.float64)
        self.n += e.size
        self.squares += float(np.square(e).sum())
        self.sizes += float(np.abs(e).sum())

    @property
    def row(self) -> Row:
        return {"mse": self.squares / self.n, "mae": self.sizes / self.n}


def main() -> None:
    made = parser(__doc__, threads=2)
    made.add_argument("table", choices=TABLES)
    made.add_argument("--h", type=int, required=True, choices=HORIZONS)
    made.add_argument("--context", type=int, default=LOOK_BACK, help="steps of look-back")
    made.add_argument("--validate", action="store_true")
    options = made.parse_args()
    name, h, validate = options.table, options.h, options.validate
    table = TABLES[name]
    path = Path(options.data or "") / "ett" / table.file
    if not path.exists():
        print(f"skipped: --data (or $THROUGHTIME_DATA) names no folder with ett/{table.file}")
        return
    data = read(path, table)
    expected, naive = table.naive[h], last_value(data, h, validate=False)
    if f"{naive['mse']:.3f}" != expected:
        sys.exit(f"the last value's MSE on the test part is {naive['mse']:.3f}, not {expected}")
    official = options.context == LOOK_BACK and not validate
    beside: dict[str, Row] = {"last value": last_value(data, h, validate)}
    if official:
        k = HORIZONS.index(h)
        beside |= {model: {"mse": each[k]} for model, each in table.published.items()}
    settings = {"n_windows": 0, "context_length": options.context}
    settings |= settings_of(options.changes)
    one = partial(scored, path, name, h, validate, settings)
    part = f"{len(data.origins(h, validate)):,} {'validation' if validate else 'test'} windows"
    title = f"{name}: h = {h}, look-back {options.context}, 7 series, {part}"
    run(Case(f"{name}-{h}", title, MEASURES, beside), one, options, kept=official)


def read(path: Path, table: Table) -> Data:
    """Return the channels on the scale of the train part; `SystemExit` for another file."""
    columns = pv.read_csv(path)
    if columns.num_rows != table.n_rows:
        raise SystemExit(f"{path.name} has {columns.num_rows:,} rows, not {table.n_rows:,}")
    names = tuple(columns.column_names[1:])
    y = np.stack([columns[name].to_numpy() for name in names])
    train, validation, test = (table.border(months) for months in (12, 16, 20))
    mean, deviation = (f(y[:, :train], axis=1, keepdims=True) for f in (np.mean, np.std))
    stamps = columns["date"].to_numpy().astype("datetime64[us]")
    return Data(names, stamps, (y - mean) / deviation, train, validation, test)


def last_value(data: Data, h: int, validate: bool) -> Row:
    """Return how the last value, repeated, errs."""
    errors = Errors()
    for some in blocks(data.origins(h, validate)):
        errors.add(data.truth(some, h) - data.z.T[some - 1][:, :, None])
    return errors.row


def scored(path: Path, name: str, h: int, validate: bool, settings: Row, seed: int) -> Row:
    """Fit one seed to the train part, and return how it errs at every origin and what it cost."""
    data = read(path, TABLES[name])
    train, errors = data.until(data.train), Errors()
    ours = forecaster(h, seed, settings, train)
    clock = Clock()
    ours.fit(train)
    whole = read_frame(data.until(data.validation if validate else data.test), like=ours.panel)
    assert whole.ids == data.names, whole.ids
    origins = data.origins(h, validate)
    known = at_origins(whole, origins).blocks(BLOCK * len(data.names))
    for some, each in zip(blocks(origins), known, strict=True):
        errors.add(ours.model.forecast(each).reshape(len(some), -1, h) - data.truth(some, h))
    return errors.row | clock.costs()


def blocks(origins: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return np.split(origins, range(BLOCK, len(origins), BLOCK))


if __name__ == "__main__":
    main()
