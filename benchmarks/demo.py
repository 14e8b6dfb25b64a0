"""Time the demo's command, `throughtime forecast sunspots --h 11`, as its user waits for it.

From the start of the process until the forecast and the report are written (in a temporary
folder), with the wall time's median, least and most over N runs, what share of it is imports, and
the most memory that any run held. Run with `python benchmarks/demo.py [N] [options of forecast]`,
for example `python benchmarks/demo.py 5 --cell rnn`. POSIX only: the memory is read with `wait4`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMAND = [sys.executable, "-m", "throughtime", "forecast", "sunspots", "--h", "11", "--quiet"]
IMPORTS = "import throughtime.interfaces.tasks, throughtime.forecasting.forecaster, plotly.offline"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def timed(command: list[str], folder: str) -> tuple[float, float]:
    """Run a command; return its wall time in seconds and its peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - start
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(said.decode())
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return taken, usage.ru_maxrss / unit


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    command = [*COMMAND, *sys.argv[2:]]
    print(" ".join(["throughtime", *command[3:]]), f"({runs} runs)")
    with tempfile.TemporaryDirectory() as folder:
        timed([sys.executable, "-c", IMPORTS], folder)  # files into the cache of the disk
        whole, memory = zip(*(timed(command, folder) for _ in range(runs)), strict=True)
        imports = [timed([sys.executable, "-c", IMPORTS], folder)[0] for _ in range(runs)]
    median = statistics.median(whole)
    share = statistics.median(imports) / median
    print(f"wall time    median {median:.2f} s, min {min(whole):.2f} s, max {max(whole):.2f} s")
    print(f"of it import {statistics.median(imports):.2f} s ({share:.0%})")
    print(f"peak memory  {max(memory):.0f} MiB")


if __name__ == "__main__":
    main()
