"""How accurate is the forecaster, with its defaults, on the series of M4, beside the published?

sMAPE, MASE and OWA as the competition has them, and of intervals of 95 per cent MSIS and coverage;
ACD is |coverage - 0.95|. Every seed is fitted on the training part and judged on the test part, in a
process of its own; seconds are those of fit and forecast.

First the naive forecasts are scored: they have to be the published figures to the last digit.

`--validate n` does not look at the test part: of every training series of more than (n + 1) h steps the
last n h are judged, fitted once on what is before, at n origins h apart. OWA is then relative to the
(for hourly: seasonal) naive forecast.

Run with `python benchmarks/accuracy/m4.py yearly|weekly|hourly [--data folder] [--seeds 0,1,2]
[--validate [n]] [--set name=value ...] [--threads 2] [--out folder]`. --set passes arguments of the
forecaster, or of its `TrainingSettings`. For the files see m4_facts.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from m4_facts import GROUPS, LEVEL, facts_of, missing, published, read, same
from runs import Case, Clock, Row, forecaster, parser, run, settings_of

import throughtime as tt
from throughtime.forecasting import SeasonalNaive, read_frame

MEASURES = {
    "smape": "sMAPE",
    "mase": "MASE",
    "owa": "OWA",
    "msis": "MSIS",
    "acd": "ACD",
    "coverage": "coverage",
}
METHODS = {
    "Naive": "Naive",
    "Naive2": "Naive2",
    "sNaive": "seasonal naive",
    "Theta": "Theta",
    "RNN": "organisers' RNN",
    "36": "entry 36",
    "245": "FFORMA",
    "118": "ES-RNN, the winner",
}

Ints = npt.NDArray[np.int64]


def main() -> None:
    made = parser(__doc__, threads=2)
    made.add_argument("group", choices=GROUPS)
    made.add_argument("--validate", type=int, nargs="?", const=1, metavar="N")
    options = made.parse_args()
    lacking = missing(options.data)
    if lacking:
        print(f"skipped: {lacking} (M4 as parquet, and the organisers' tables)")
        return
    name, n = options.group, options.validate
    wrong = [fact for fact in facts_of(options.data, name) if not same(fact[2], fact[3])]
    if wrong:
        sys.exit(f"not as published (model, metric, ours, theirs): {wrong}")
    one = partial(scored, options.data, name, n, settings_of(options.changes))
    part = "the test part" if n is None else f"validation, {n} origins"
    group = GROUPS[name]
    title = f"M4 {name}: {group.n_series:,} series, h = {group.h}, {part}"
    beside = others(options.data, name) if n is None else {"naive": naive(options.data, name, n)}
    run(Case(f"m4-{name}", title, MEASURES, beside), one, options, kept=n is None)


def others(folder: Path, name: str) -> dict[str, Row]:
    """Return the published rows."""
    point, intervals = published(folder, "point"), published(folder, "intervals")
    rows: dict[str, Row] = {}
    for method, words in METHODS.items():
        found = {**point[method], **intervals.get(method, {})}
        columns = {each: f"{MEASURES[each]}_{name.title()}" for each in MEASURES}
        rows[words] = {each: float(found[c]) for each, c in columns.items() if c in found}
    return rows


def scored(folder: Path, name: str, n: int | None, settings: Row, seed: int) -> Row:
    """Fit one seed, and return its scores and what it cost."""
    train, group = read(folder, name, "train"), GROUPS[name]
    parts = list(origins(train, group.h, n)) if n else [(train, read(folder, name, "test"))]
    ours = forecaster(group.h, seed, settings, parts[0][0])
    clock = Clock()
    ours.fit(parts[0][0], level=[LEVEL])
    made = [ours.predict(known if r else None, level=[LEVEL]) for r, (known, _) in enumerate(parts)]
    costs = clock.costs()
    named = {end: f"{ours.name}{end}" for end in ("", f"-lo-{LEVEL}", f"-hi-{LEVEL}")}
    tables = []
    for (known, truth), each in zip(parts, made, strict=True):
        assert each["unique_id"].to_pylist() == truth["unique_id"].to_pylist()
        assert each["ds"].to_pylist() == truth["ds"].to_pylist()
        columns = {f"ours{end}": each[column] for end, column in named.items()}
        columns["baseline"] = baseline(known, group.season, group.h) if n else truth["naive2"]
        tables.append(with_columns(truth, columns))
    return scores(tables, train, group.season, "ours") | costs


def naive(folder: Path, name: str, n: int) -> Row:
    """Return the scores of the naive forecast in the validation part."""
    train, group = read(folder, name, "train"), GROUPS[name]
    tables = [
        with_columns(truth, {"baseline": baseline(known, group.season, group.h)})
        for known, truth in origins(train, group.h, n)
    ]
    return scores(tables, train, group.season, "baseline")


def origins(train: pa.Table, h: int, n: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield what is known and the h steps after it at n origins, h apart, of the series long enough.

    >>> train = pa.table({"unique_id": ["a"] * 5, "ds": [1, 2, 3, 4, 5], "y": [1.0] * 5})
    >>> [(len(known), truth["ds"].to_pylist()) for known, truth in origins(train, 1, 2)]
    [(3, [4]), (4, [5])]
    """
    ids = train["unique_id"].to_numpy()
    last = np.append(np.flatnonzero(ids[1:] != ids[:-1]), len(ids) - 1)
    lengths = np.diff(last, prepend=-1)
    ahead = np.repeat(last, lengths) - np.arange(len(ids))  # steps after this one
    enough = np.repeat(lengths, lengths) > (n + 1) * h
    for k in range(n, 0, -1):
        truth = enough & ((k - 1) * h <= ahead) & (ahead < k * h)
        yield train.filter(pa.array(enough & (ahead >= k * h))), train.filter(pa.array(truth))


def baseline(known: pa.Table, season: int, h: int) -> Any:
    panel = read_frame(known)
    return np.concatenate(
        [SeasonalNaive(season).forecast(y, h) for y in map(panel.row, range(len(panel)))]
    )


def with_columns(truth: pa.Table, columns: dict[str, Any]) -> pa.Table:
    table = truth.select(["unique_id", "ds", "y"])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(np.asarray(values)))
    first = table.group_by("unique_id").aggregate([("ds", "min")])
    before = dict(zip(*(first[c].to_pylist() for c in ("unique_id", "ds_min")), strict=True))
    cutoff = [before[name] - 1 for name in table["unique_id"].to_pylist()]
    return table.append_column("cutoff", pa.array(cutoff))


def scores(tables: list[pa.Table], train: pa.Table, season: int, model: str) -> Row:
    """Return the measures of a model, over the series first."""
    made = tt.evaluate(pa.concat_tables(tables), train, season_length=season, baseline="baseline")
    row = next(row for row in made.to_pylist() if row["model"] == model)
    found = {each: row[each] for each in ("smape", "mase", "owa")}
    cover = row.get(f"coverage-{LEVEL}")
    if cover is None:
        return found
    return found | {
        "msis": row[f"msis-{LEVEL}"],
        "coverage": cover,
        "acd": abs(cover - LEVEL / 100),
    }


if __name__ == "__main__":
    main()
