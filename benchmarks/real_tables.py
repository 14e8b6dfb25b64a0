"""Our forecaster on real tables beside seasonal naive and the LSTM and DeepAR of other libraries.

Every model sees the same series and origins, learns once from what comes before the first origin, and
forecasts from every origin with its weights as they are. All have their defaults; what a library leaves
open is said in its file (`real_tables_neuralforecast.py`, ..._darts.py, ..._gluonts.py; ours in
..._throughtime.py), tasks and measures in `real_tables_tasks.py`.

Every run is a process of its own: seconds to import, to fit and to forecast, peak memory. Finished runs
are kept and left out the next time, unless they may train longer then. A training that outlasts
--most-seconds is ended there, and its seconds are those divided by the share of its updates that it had
done. With --busy, on a machine that does other work, the seconds are the processor's, best with
--threads 1.

Run with `python benchmarks/real_tables.py [--data folder] [--quick] [--only task/model,...] [--again]
[--seeds 0,1,...] [--threads 2] [--most-seconds n] [--busy] [--out folder]`; --only takes patterns such as
'electricity/*,*/darts*'. The folder is by default $THROUGHTIME_DATA, the others are installed by
`pip install -e '.[peers]'`; what is missing is skipped with a line.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAME = "real_tables"
LIBRARIES = {  # the models of each, by the module that has them
    "throughtime": ("seasonal-naive", "seasonal-naive-longest", "throughtime"),
    "neuralforecast": (
        "neuralforecast-LSTM",
        "neuralforecast-DeepAR",
        "neuralforecast-DeepAR-scaled",
    ),
    "darts": ("darts-LSTM", "darts-DeepAR"),
    "gluonts": ("gluonts-DeepAR",),
}
LIBRARY = {model: library for library, models in LIBRARIES.items() for model in models}
FILES = {
    "passengers": "classics/AirPassengers.csv",
    "yearly": "sunspots/yearly.csv",
    "monthly": "sunspots/monthly.csv",
    "electricity": "classics/vic_electricity.csv.gz",
    "m4-hourly": "m4/hourly_train.parquet",
}
QUICK = ("passengers", "yearly")

CLOCKS = {False: time.perf_counter, True: time.process_time}  # by whether the machine is busy

Row = dict[str, Any]


def one(words: list[str]) -> Row:
    """Run one model on one task in this process."""
    task_name, model_name, seed, most, threads, busy, data = words
    clock = CLOCKS[bool(busy)]
    start = clock()
    import torch

    torch.set_num_threads(int(threads))
    module = importlib.import_module(f"{NAME}_{LIBRARY[model_name]}")
    imported = clock()
    tasks = importlib.import_module(f"{NAME}_tasks")
    task = tasks.TASKS[task_name](Path(data))
    model = module.MODELS[model_name](task, int(seed), tasks.Limit(clock, float(most or "inf")))
    ready = clock()
    model.fit()
    fitted = clock()
    answer = model.forecast()
    done = clock()
    return {
        **tasks.scores(task, answer),
        "import_seconds": imported - start,
        "fit_seconds": fitted - ready,
        "share": model.share,
        "forecast_seconds": done - fitted,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(task: str, model: str, seed: int, options: argparse.Namespace) -> Row:
    """Run one model on one task in a process and a folder of their own."""
    threads = str(options.threads)
    most = "" if options.most_seconds is None else str(options.most_seconds)
    environment = os.environ | {f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL")}
    busy = "busy" if options.busy else ""
    words = [task, model, str(seed), most, threads, busy, str(options.data.resolve())]
    with tempfile.TemporaryDirectory() as folder:  # where libraries write their logs
        answer = Path(folder) / "answer.json"
        command = [sys.executable, str(HERE / f"{NAME}.py"), "--one", *words, str(answer)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        if answer.exists():
            return dict(json.loads(answer.read_text()))
    last = (ended.stderr.strip() or "no words").splitlines()[-1]
    return {"error": f"exit {ended.returncode}: {last[:300]}"}


def circumstances(options: argparse.Namespace) -> Row:
    """Return what all rows of a command depend on."""
    from kernels import commit, processor_name

    return {
        "busy": options.busy,
        "threads": options.threads,
        "most_seconds": options.most_seconds,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor_name(),
        "python": platform.python_version(),
        "torch": version_of("torch"),
    }


def finished(row: Row, most: float | None) -> bool:
    """Whether a run need not be made again: it ended by itself, or would be cut short as early."""
    if "error" in row:
        return False
    limit = row.get("most_seconds")
    return bool(row["share"] == 1 or (limit is not None and most is not None and limit >= most))


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield tasks and models that were asked for and can be run; say what cannot."""
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            print(f"skipped: {library} is not installed (pip install -e '.[peers]')")
    for task, file in FILES.items():
        if not (options.data / file).exists():
            print(f"skipped: {options.data} has no {file}")
            continue
        for model, library in LIBRARY.items():
            if model.endswith("longest") and task != "electricity":
                continue
            asked = any(fnmatch(f"{task}/{model}", pattern) for pattern in options.only)
            if asked and importlib.util.find_spec(library) is not None:
                yield task, model


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        *words, answer = sys.argv[2:]
        os.chdir(Path(answer).parent)
        Path(answer).write_text(json.dumps(one(words)))
        return
    options = read_options()
    if options.data is None:
        print("skipped: --data and $THROUGHTIME_DATA name no folder")
        return
    from real_tables_page import page

    from throughtime._files import check_writable, write_atomically

    folder = options.out or (None if options.quick else HERE / "results")
    rows: dict[str, Row] = {}
    around = circumstances(options)  # the commit before the page is written
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / f"{NAME}.json")
        if (folder / f"{NAME}.json").exists():
            rows = json.loads((folder / f"{NAME}.json").read_text())["rows"]
    for task, model in wanted(options):
        if options.quick and task not in QUICK:
            continue
        for seed in options.seeds:
            key = f"{task}/{model}/{seed}"
            if key in rows and finished(rows[key], options.most_seconds) and not options.again:
                continue
            rows[key] = {
                **measured(task, model, seed, options),
                **around,
                "version": version_of(LIBRARY[model]),
            }
            print(key, {k: rows[key][k] for k in list(rows[key])[:9]}, flush=True)
            if folder is not None:
                write_atomically(
                    folder / f"{NAME}.json", json.dumps({"rows": rows}, indent=1) + "\n"
                )
                write_atomically(folder / f"{NAME}.md", page(rows))
    print("\n" + page(rows))


def read_options() -> argparse.Namespace:
    from exploding import numbers
    from monthly_sunspots import FOLDER

    parser = argparse.ArgumentParser(description="Forecast real tables beside other libraries.")
    parser.add_argument("--data", type=Path, default=os.environ.get(FOLDER))
    parser.add_argument("--quick", action="store_true", help="two small tasks, half a minute each")
    parser.add_argument("--only", type=lambda words: words.split(","), default=["*"])
    parser.add_argument("--again", action="store_true", help="also what has been run before")
    parser.add_argument("--seeds", type=numbers, default=[0])
    parser.add_argument("--threads", type=int, default=2, help="of every model alike")
    parser.add_argument("--most-seconds", type=float, help="of training, of a peer")
    parser.add_argument(
        "--busy", action="store_true", help="say that the machine is doing other work"
    )
    parser.add_argument("--out", type=Path, help=f"folder for {NAME}.md and .json")
    options = parser.parse_args()
    if options.quick and options.most_seconds is None:
        options.most_seconds = 30.0
    return options


if __name__ == "__main__":
    main()
