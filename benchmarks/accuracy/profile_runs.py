"""Where does the time of a training go: to the recurrence, the optimiser, large products, or the rest?

Each case trains the nets that the defaults choose, as the last run of a fit does (the pilot that finds
the number of updates, too, where there is one), and takes from the profiler of PyTorch what each
operator of one thread took itself. A share is one of all the time between the first update and the last:

    recurrence    the kernels, forward and backward, with the buffers that they take
    products      mm, bmm, addmm and their like, forward and backward
    optimiser     AdamW, clipping, the matrix of weights and gradients, their average
    rest          examples: windows cut, scaled and weighed; the other operators of the nets' forward
                  and backward pass; the loss; everything between

What Python takes between operators is in the part that it runs in. The profiler makes every operator
a little slower, and so the rest greater than it is: milliseconds an update are told without it.
The rest is to be less than a quarter.

Run with `python benchmarks/accuracy/profile_runs.py [case ...] [--data folder] [--updates 60]
[--threads 1] [--out folder]`; without a case, all of them. The folder (default: $THROUGHTIME_DATA)
holds m4/, ett/, sunspots/ and classics/.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

from profile_page import page
from runs import RESULTS, Row, apart, circumstances, parser

WARM_UP = 10  # updates before the first that counts

RECURRENCES = {"Recurrence", "EagerRecurrence", "Express"}  # autograd functions
PRODUCTS = {"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::addmv", "aten::mv"}


@dataclass(frozen=True)
class Case:
    """A table by its name, h, and what is not left open.

    Of the run that finds updates, `pilot`; of the one that teaches the pretrained net, `teaching`.
    """

    title: str
    read: Callable[[Path], Any]
    h: int
    settings: Row = field(default_factory=dict)
    pilot: bool = False
    teaching: bool = False


def m4(group: str, teaching: bool = False) -> Case:
    from m4_facts import GROUPS, read

    h = GROUPS[group].h
    words = ", teaching" if teaching else ""
    title = f"M4 {group}, h = {h}{words}"
    return Case(title, lambda data: read(data, group, "train"), h, teaching=teaching)


def ett(name: str, h: int, **settings: Any) -> Case:
    from ett import LOOK_BACK, TABLES, read

    def train(data: Path) -> Any:
        found = read(data / "ett" / TABLES[name].file, TABLES[name])
        return found.until(found.train)

    words = "".join(f", {key}={value!r}" for key, value in settings.items())
    settings["context_length"] = LOOK_BACK
    return Case(f"{name}, h = {h}{words}", train, h, settings)


def sunspots(name: str, pilot: bool = False) -> Case:
    from sunspots import ROLLING, read

    h, words = ROLLING[name].h, ", pilot" if pilot else ""
    return Case(f"{name} sunspots, h = {h}{words}", partial(read, name), h, {}, pilot)


def electricity() -> Case:
    """Half-hourly demand, with the temperature and holidays known ahead."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pv

    def read(data: Path) -> Any:
        table = pv.read_csv(data / "classics/vic_electricity.csv.gz")
        columns = {
            "unique_id": pa.array(["Victoria"] * len(table)),
            "ds": table["Time"],
            "y": table["Demand"],
            "temperature": table["Temperature"],
            "holiday": pc.cast(pc.cast(table["Holiday"], pa.bool_()), pa.float64()),
        }
        return pa.table(columns)

    return Case("Victorian electricity, h = 48", read, 48, {"futr": ["temperature", "holiday"]})


def segrnn(name: str, h: int) -> Case:
    return ett(name, h, architecture="segment", dropout=0.5)


CASES: dict[str, Callable[[], Case]] = {
    **{f"m4-{group}": partial(m4, group) for group in ("yearly", "weekly", "hourly")},
    "m4-yearly-teaching": partial(m4, "yearly", True),
    **{f"{name}-{h}": partial(ett, name, h) for name in ("ETTh1", "ETTm1") for h in (96, 720)},
    **{
        f"{name}-{h}-segment": partial(segrnn, name, h)
        for name in ("ETTh1", "ETTm1")
        for h in (96, 720)
    },
    **{f"sunspots-{name}": partial(sunspots, name) for name in ("yearly", "monthly")},
    **{f"sunspots-{name}-pilot": partial(sunspots, name, True) for name in ("yearly", "monthly")},
    "electricity": electricity,
}


def main() -> None:
    made = parser(__doc__, threads=1)
    made.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    made.add_argument("--updates", type=int, default=60)
    options = made.parse_args()
    if options.data is None:
        print("skipped: --data (or $THROUGHTIME_DATA) names no folder")
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read by the processes of the cases
        os.environ[name] = str(options.threads)
    unknown = set(options.cases) - set(CASES)
    if unknown:
        made.error(f"no case {', '.join(sorted(unknown))}: choose among {', '.join(CASES)}")
    for name in options.cases or CASES:
        try:
            row = apart(profiled, Path(options.data), name, options.updates)
        except FileNotFoundError as error:
            print(f"skipped {name}: {error}")
            continue
        shares = row["shares"].items()
        print(f"{name:20}{row['ms']:9.2f} ms an update, rest {row['rest']:.1%}: ", end="")
        print(", ".join(f"{part} {share:.1%}" for part, share in shares), flush=True)
        keep(options.out or RESULTS, name, row | circumstances(options))


def profiled(data: Path, name: str, updates: int) -> Row:
    """Train one case twice, without and with the profiler, and return its shares."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    case = CASES[name]()
    train = prepared(case, data, WARM_UP + updates)
    plain = Stretch(updates)
    train(plain)
    with parts_named():
        seen = Stretch(updates, profile(activities=[ProfilerActivity.CPU]))
        train(seen)
    assert seen.profiler is not None
    microseconds = taken(seen.profiler.events())
    total = 1e6 * seen.seconds
    microseconds["between"] += total - sum(microseconds.values())
    shares = {
        part: t / total for part, t in sorted(microseconds.items(), key=lambda each: -each[1])
    }
    rest = sum(share for part, share in shares.items() if part not in LEARNING)
    per = {"ms": 1e3 * plain.seconds / updates, "profiled_ms": total / 1e3 / updates}
    return {"title": case.title, **per, "rest": rest, "shares": shares}


def prepared(case: Case, data: Path, updates: int) -> Callable[[Any], None]:
    """Return a training of so many updates of what the defaults choose, to be called with an observer."""
    from throughtime.diagnostics import Watch
    from throughtime.forecasting.final import LOOKS
    from throughtime.forecasting.fitting import fitting
    from throughtime.forecasting.forecaster import Forecaster
    from throughtime.forecasting.planning.deciding import decide
    from throughtime.forecasting.reading import read

    given = Forecaster(case.h, n_windows=0, **case.settings)._given
    panel = read(case.read(data), given)
    design = decide(given, panel, panel)
    every = max(1, design.training.max_updates // LOOKS)
    training = replace(design.training, max_updates=updates, patience=None)
    taught = replace(design, taught=updates) if case.teaching else design
    design = replace(design.alone, training=training)

    def train(observer: Any) -> None:
        if case.pilot:
            fitting.count_updates(panel, design, (observer,), "profile")
        elif case.teaching:
            fitting.taught_net(panel, taught, (observer,))
        else:
            fitting.fit(panel, design, updates, (observer, Watch(every=every)), "profile")

    return train


class Stretch:
    """An observer that times the updates after the warm-up, under a profiler if there is one."""

    def __init__(self, updates: int, profiler: Any = None) -> None:
        self.updates, self.profiler, self.seconds = updates, profiler, 0.0

    def on_start(self, name: str, total: int) -> None:
        """Do nothing before the warm-up."""

    def on_update(self, update: Any) -> None:
        """Begin or end."""
        if update.index + 1 == WARM_UP:
            if self.profiler is not None:
                self.profiler.__enter__()
            self.seconds = time.perf_counter()
        if update.index + 1 == WARM_UP + self.updates:
            self.seconds = time.perf_counter() - self.seconds
            if self.profiler is not None:
                self.profiler.__exit__(None, None, None)

    def on_evaluation(self, evaluation: Any) -> None:
        """Let it pass: its time counts."""

    def on_end(self, reason: str) -> None:
        """Do nothing after the last."""


LEARNING = ("recurrence", "products", "optimiser")  # what is not the rest


@contextmanager
def parts_named() -> Iterator[None]:
    """Let the profiler know which part of an update an operator runs in."""
    import torch

    from throughtime.forecasting.examples import importance, scaled
    from throughtime.forecasting.pretrained import teaching
    from throughtime.kernels.compiled import Compiled
    from throughtime.nn import Ensemble, express
    from throughtime.training import adamw, clipping, parameters, run
    from throughtime.training.examples import Kept

    parts: list[tuple[Any, str, str]] = [
        (scaled.SpreadExamples, "__getitem__", "examples"),
        (importance.Weighed, "__getitem__", "examples"),
        (Kept, "__getitem__", "examples"),
        (teaching, "read", "examples"),
        (teaching.Lessons, "_drawn", "examples"),
        (Ensemble, "forward", "forward"),
        (Compiled, "forward", "recurrence"),  # which a look at the validation part calls by itself,
        (express, "_run", "recurrence"),  # as it does this
        (torch.autograd, "backward", "backward"),
        (run.Run, "_losses", "loss"),
        (run.Run, "_average", "optimiser"),
        (run, "_means", "optimiser"),
        (adamw.AdamW, "step", "optimiser"),
        (clipping.Clip, "__call__", "optimiser"),
        *((parameters.ParameterMatrix, name, "optimiser") for name in ("gradient", "assign")),
    ]
    before = [getattr(owner, name) for owner, name, _ in parts]
    for (owner, name, part), function in zip(parts, before, strict=True):
        setattr(owner, name, named(part, function))
    try:
        yield
    finally:
        for (owner, name, _), function in zip(parts, before, strict=True):
            setattr(owner, name, function)


def named(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    from torch._C._profiler import _RecordFunctionFast  # a tenth of what record_function takes

    @wraps(function)
    def called(*arguments: Any, **keywords: Any) -> Any:
        with _RecordFunctionFast(f"part:{part}"):
            return function(*arguments, **keywords)

    return called


def taken(events: Any) -> dict[str, float]:
    """Return the microseconds of each part: an operator's own, where it or what called it has one."""
    microseconds: dict[str, float] = defaultdict(float)
    for event in events:
        microseconds[part_of(event)] += event.self_cpu_time_total
    return microseconds


def part_of(event: Any) -> str:
    """Return the part that an event counts to: its own, or that of what it runs in."""
    if event.name in PRODUCTS:
        return "products"
    while event is not None:
        if event.name.removesuffix("Backward") in RECURRENCES:
            return "recurrence"
        if event.name.startswith("part:"):
            return str(event.name.removeprefix("part:"))
        event = event.cpu_parent
    return "between"


def keep(folder: Path, name: str, row: Row) -> None:
    """Merge a case into the results of a folder, and write its page anew."""
    from throughtime._files import write_atomically

    path = folder / "profile.json"
    rows = dict(json.loads(path.read_text())["rows"]) if path.exists() else {}
    rows[name] = row
    rows = {each: rows[each] for each in CASES if each in rows}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"rows": rows}, indent=1) + "\n")
    write_atomically(folder / "profile.md", page(rows))


if __name__ == "__main__":
    main()
