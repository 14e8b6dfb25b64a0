"""The check against M4's published figures, without its data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks/accuracy/m4_facts.py"


def test_a_folder_without_m4_is_a_line_that_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("skipped: ")
    assert "has no m4/yearly_train.parquet" in done.stdout
    assert len(done.stdout.splitlines()) == 1
