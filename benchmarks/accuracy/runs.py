"""What the benchmarks of accuracy share: options, a process for each seed, and the rows that are kept.

A run is kept in results/accuracy.json and the page accuracy.md where it judges the defaults on the
test part. Seeds of the same code and circumstances are merged; rows of other code are replaced.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
FOLDER = "THROUGHTIME_DATA"
COSTS = {"seconds": "seconds", "processor_seconds": "of processor", "mib": "MiB"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One task: its key in the results, a line that says what it is, what stands beside us.

    `measures` are the columns, by the names that rows have them under; `decimals` the digits shown.
    """

    key: str
    title: str
    measures: Mapping[str, str]
    beside: Mapping[str, Row] = field(default_factory=dict)
    decimals: int = 3


def parser(description: str | None, threads: int) -> argparse.ArgumentParser:
    """Return a parser of the options that all have."""
    made = argparse.ArgumentParser(description=description, formatter_class=_AsWritten)
    add = made.add_argument
    add("--data", type=Path, default=os.environ.get(FOLDER), help=f"folder (default: ${FOLDER})")
    add("--seeds", default="0,1,2", help="'' for the baselines alone")
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", dest="changes")
    add("--threads", type=int, default=threads, help="of every run")
    add("--out", type=Path, help="folder for accuracy.json and .md; keeps a run with --set, too")
    return made


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Leaves the equations of the help where they are."""


def settings_of(changes: Sequence[str]) -> Row:
    """Return values by name: Python's literals, and words as they are.

    >>> settings_of(["hidden_size=64", "cell=gru", "members=None"])
    {'hidden_size': 64, 'cell': 'gru', 'members': None}
    """
    settings = {}
    for change in changes:
        name, _, text = change.partition("=")
        try:
            settings[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            settings[name] = text
    return settings


def forecaster(h: int, seed: int, settings: Row, table: Any) -> Any:
    """Return a `Forecaster` with its defaults but for `settings`.

    Those that it does not know are fields of `TrainingSettings`, and change those that it would
    choose for the table.
    """
    from throughtime.forecasting.forecaster import Forecaster
    from throughtime.forecasting.series.frame import read_frame
    from throughtime.forecasting.series.seasons import panel_season_length
    from throughtime.forecasting.settings.cures import Cures
    from throughtime.forecasting.settings.effort import effort_for
    from throughtime.training import TrainingSettings

    own = {*inspect.signature(Forecaster).parameters, *Cures.__annotations__}
    fields = set(TrainingSettings.__dataclass_fields__) - own
    given = {name: value for name, value in settings.items() if name not in fields}
    changed = {name: value for name, value in settings.items() if name in fields}
    if changed:
        panel = read_frame(table)
        season = settings.get("season_length") or panel_season_length(panel, h)
        given["training"] = replace(effort_for(panel, h, season).training, **changed)
    return Forecaster(h, seed=seed, **given)


@dataclass(frozen=True)
class Clock:
    """Seconds since it was made, on the wall and of the processor, with the peak of the memory."""

    wall: float = field(default_factory=time.perf_counter)
    processor: float = field(default_factory=time.process_time)

    def costs(self) -> Row:
        return {
            "seconds": time.perf_counter() - self.wall,
            "processor_seconds": time.process_time() - self.processor,
            "mib": peak_mib(),
        }


def peak_mib() -> float:
    """Return the most memory that this process held."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage would count what the process that started this one held
        words = status.read_text().split()
        return int(words[words.index("VmHWM:") + 1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on a Mac


def apart(function: Callable[..., Row], *arguments: Any) -> Row:
    """Return `function(*arguments)` from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run(case: Case, one: Callable[[int], Row], options: argparse.Namespace, kept: bool) -> None:
    """Print what stands beside us, each seed as it ends, and the mean; keep it if asked to."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read by the processes of the seeds
        os.environ[name] = str(options.threads)
    around = circumstances(options)  # before a page is written
    print(case.title)
    print(" " * 24 + "".join(f"{word:>14}" for word in (*case.measures.values(), *COSTS.values())))
    for name, row in case.beside.items():
        print(line(case, name, row), flush=True)
    seeds: dict[str, Row] = {}
    for seed in map(int, filter(None, options.seeds.split(","))):
        seeds[str(seed)] = apart(one, seed)
        print(line(case, f"ours, seed {seed}", seeds[str(seed)]), flush=True)
    if seeds:
        print(line(case, "ours, mean", mean(list(seeds.values()))))
    if kept and (options.out or not options.changes):
        entry = {"title": case.title, "beside": dict(case.beside), "seeds": seeds, **around}
        keep(options.out or RESULTS, case.key, entry)


def line(case: Case, name: str, row: Row) -> str:
    digits = dict.fromkeys(case.measures, case.decimals) | dict.fromkeys(COSTS, 1)
    cells = [f"{row[each]:.{n}f}" if each in row else "" for each, n in digits.items()]
    return f"{name:24}" + "".join(f"{cell:>14}" for cell in cells)


def mean(rows: Sequence[Row]) -> Row:
    """Return the mean of what all rows have.

    >>> mean([{"owa": 1.0, "mib": 3.0}, {"owa": 2.0}])
    {'owa': 1.5}
    """
    return {
        name: statistics.mean(row[name] for row in rows)
        for name in rows[0]
        if all(name in row for row in rows)
    }


def circumstances(options: argparse.Namespace) -> Row:
    """Return what a run depends on."""
    sys.path.append(str(HERE.parent))
    from provenance import provenance

    made = provenance(sys.argv)
    return made | {
        "commit": commit(),
        "command": made["command"].replace("benchmarks/", "benchmarks/accuracy/"),
        "settings": settings_of(options.changes),
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def commit() -> str:
    """Return the commit that is measured, "-dirty" where package or benchmark differ from it."""
    asked = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    name = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    differs = ["git", "-C", str(HERE), "diff", "--quiet", "HEAD", "--", ".", "../../src"]
    return name + "-dirty" * subprocess.run(differs).returncode if name else "unknown"


def keep(folder: Path, key: str, entry: Row) -> None:
    """Merge a run into the results of a folder, and write its page anew."""
    from accuracy_page import page

    from throughtime._files import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    rows = merged(kept_rows(folder), key, entry)
    write_atomically(folder / "accuracy.json", json.dumps({"rows": rows}, indent=1) + "\n")
    write_atomically(folder / "accuracy.md", page(rows))


def kept_rows(folder: Path) -> dict[str, Row]:
    path = folder / "accuracy.json"
    return dict(json.loads(path.read_text())["rows"]) if path.exists() else {}


def merged(rows: Mapping[str, Row], key: str, entry: Row) -> dict[str, Row]:
    """Return rows with a run: its seeds beside those of the same code and circumstances.

    >>> run = {"commit": "a", "settings": {}, "threads": 2, "beside": {}, "seeds": {"0": {"owa": 1}}}
    >>> list(merged({"m4": run}, "m4", {**run, "seeds": {"1": {"owa": 2}}})["m4"]["seeds"])
    ['0', '1']
    >>> list(merged({"m4": run}, "m4", {**run, "commit": "b", "seeds": {"1": {}}})["m4"]["seeds"])
    ['1']
    """
    old = rows.get(key, {})
    same = ("commit", "settings", "threads", "processor")
    seeds = entry["seeds"]
    if not entry["commit"].endswith("-dirty") and all(
        old.get(name) == entry.get(name) for name in same
    ):
        seeds = dict(sorted({**old["seeds"], **seeds}.items(), key=lambda item: int(item[0])))
    beside = {**old.get("beside", {}), **entry["beside"]}
    return {**rows, key: {**entry, "seeds": seeds, "beside": beside}}
