"""The options of the command line, checked before any long work begins.

Imports nothing heavy: a mistyped option is answered at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from throughtime._checks import one_of, positive_int
from throughtime._errors import SettingError
from throughtime._files import check_writable

CELLS = ("rnn", "lstm", "gru")


@dataclass(frozen=True)
class Options:
    """What the commands take, as the user gave it; None where it is left to the program."""

    file: str
    h: int
    time: str | None = None
    target: str | None = None
    id: str | None = None
    freq: str | None = None
    season: int | None = None
    cell: str = "lstm"
    level: str = "80,95"
    context_length: int | None = None
    seed: int = 0
    windows: int = 8

    def __post_init__(self) -> None:
        positive_int("--h", self.h)
        positive_int("--windows", self.windows)
        positive_int("--seed", self.seed, at_least=0)
        for name, value in (("--season", self.season), ("--context-length", self.context_length)):
            if value is not None:
                positive_int(name, value)
        one_of("--cell", self.cell, CELLS)
        levels(self.level)

    @property
    def title(self) -> str:
        """How reports call what was read."""
        return "standard input" if self.file == "-" else self.stem

    @property
    def stem(self) -> str:
        """How files that come out are called: after the file that went in."""
        if self.file == "-":
            return "stdin"
        return re.sub(r"(\.(csv|tsv|txt|parquet|pq|gz))+$", "", Path(self.file).name, flags=re.I)


def levels(text: str) -> list[float]:
    """Read `--level`: per cents, several parted by commas.

    >>> levels("95, 80, 99.5")
    [80, 95, 99.5]
    >>> levels("80,120")
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected --level to be per cents above 0 and below 100, parted by commas, found '120': pass for example --level 80,95.
    """
    found: set[float] = set()
    for part in text.split(","):
        if not (re.fullmatch(r"\d+(\.\d+)?", part.strip()) and 0 < float(part) < 100):
            raise SettingError(
                "--level to be per cents above 0 and below 100, parted by commas",
                repr(part.strip()),
                "pass for example --level 80,95",
            )
        found.add(float(part))
    return [int(value) if value.is_integer() else value for value in sorted(found)]


def check_places(source: str, places: Mapping[str, str | None]) -> None:
    """Refuse, before the long work, files that could not be written or would overwrite another."""
    taken = {os.path.realpath(source): "the file that is read"} if source != "-" else {}
    for option, place in places.items():
        if place is None:
            continue
        real = os.path.realpath(place)
        if real in taken:
            raise SettingError(
                f"{option} to be a file of its own",
                f"{place!r}, {taken[real]}",
                "name another file",
            )
        taken[real] = f"which {option} names too"
        check_writable(place)
