"""The monthly sunspot numbers, which are not shipped: where they lie, and their parts."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

FOLDER = "THROUGHTIME_DATA"
TRAIN, VALIDATE = 0.70, 0.15  # shares of the series, in this order; the rest is not looked at


@dataclass(frozen=True)
class Parts:
    """The series, on the scale of its first 70 %, up to the end of the validation part."""

    known: Tensor
    split: int

    @property
    def train(self) -> Tensor:
        return self.known[: self.split]

    def validation(self, context: int) -> Tensor:
        """Return the validation part, and as many values before it as its first window needs."""
        return self.known[self.split - context :]


def parts_of(values: Tensor) -> Parts:
    """Standardise by the training part, and leave the last 15 % out.

    >>> parts = parts_of(torch.arange(100.0))
    >>> len(parts.train), len(parts.known), abs(round(parts.train.mean().item(), 6))
    (70, 85, 0.0)
    """
    split, end = round(len(values) * TRAIN), round(len(values) * (TRAIN + VALIDATE))
    train = values[:split]
    return Parts(((values - train.mean()) / train.std())[:end], split)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get(FOLDER),
        help=f"folder with sunspots/monthly.csv (default: ${FOLDER})",
    )


def read_parts(folder: Path | None) -> Parts:
    """Read the file, or end with a line that says what is missing."""
    if folder is None or not (path := Path(folder) / "sunspots/monthly.csv").exists():
        where = f"{folder} has no" if folder else f"--data and ${FOLDER} name no folder with"
        print(f"skipped: {where} sunspots/monthly.csv (WDC-SILSO, columns ds, y)")
        sys.exit(0)
    with path.open(newline="", encoding="utf-8") as file:
        return parts_of(torch.tensor([float(row["y"]) for row in csv.DictReader(file)]))
