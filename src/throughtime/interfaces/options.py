"""The options of the command line, checked before any long work begins.

Imports nothing heavy: a mistyped option is answered at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import SettingError
from throughtime._files import check_writable

CELLS = ("rnn", "lstm", "gru")
INITS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {  # for which cells, in which range
    "orthogonal": (CELLS, {"above": 0}),
    "identity": (("rnn",), {"above": 0}),
    "forget_bias": (("lstm",), {}),
    "chrono": (("lstm", "gru"), {"at_least": 2}),
}


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
    init: str | None = None
    clip: float | None = None
    preprogram: str | None = None
    nonlinearity: str | None = None
    zoneout: float = 0.0
    recurrent_dropout: float = 0.0
    layer_norm: bool = False

    def __post_init__(self) -> None:
        positive_int("--h", self.h)
        positive_int("--windows", self.windows)
        positive_int("--seed", self.seed, at_least=0)
        for name, value in (("--season", self.season), ("--context-length", self.context_length)):
            if value is not None:
                positive_int(name, value)
        one_of("--cell", self.cell, CELLS)
        levels(self.level)
        self._check_cures()

    def _check_cures(self) -> None:
        if self.clip is not None:
            real("--clip", self.clip, above=0)
        real("--zoneout", self.zoneout, at_least=0, below=1)
        real("--recurrent-dropout", self.recurrent_dropout, at_least=0, below=1)
        one_of("--preprogram", self.preprogram, [None, "linear", "seasonal"])
        one_of("--nonlinearity", self.nonlinearity, [None, "tanh", "relu"])
        self._for_cells("--nonlinearity", bool(self.nonlinearity), ("rnn",))
        self._for_cells("--layer-norm", self.layer_norm, ("lstm",))
        for name in inits(self.init):
            self._for_cells(f"--init {name}", True, INITS[name][0])
            if (name, self.nonlinearity) == ("identity", "tanh"):
                wanted = "--nonlinearity relu with --init identity"
                raise SettingError(wanted, "--nonlinearity tanh", "leave it out")

    def _for_cells(self, option: str, given: bool, cells: tuple[str, ...]) -> None:
        if given and self.cell not in cells:
            wanted = " or ".join(f"--cell {cell}" for cell in cells)
            raise SettingError(
                f"{wanted} with {option}", f"--cell {self.cell}", "change one of them"
            )

    @property
    def cures(self) -> dict[str, Any]:
        """The arguments of a forecaster that were given against vanishing and exploding gradients."""
        names = (
            "init",
            "clip",
            "preprogram",
            "nonlinearity",
            "zoneout",
            "recurrent_dropout",
            "layer_norm",
        )
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value}

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


def inits(text: str | None) -> list[str]:
    """Return the names in `--init`: starting points with their numbers, parted by commas.

    >>> inits("orthogonal, chrono:132")
    ['orthogonal', 'chrono']
    """
    return [] if text is None else [_init(part.strip()) for part in text.split(",")]


def _init(text: str) -> str:
    name, _, argument = text.partition(":")
    if text == "orthogonal:kept" or (name in INITS and name != "chrono" and not argument):
        return name
    try:
        number = float(argument)
    except ValueError:
        number = None
    if name not in INITS or number is None:
        raise SettingError(
            "--init to be orthogonal, orthogonal:kept, identity, forget_bias or chrono:T",
            repr(text),
            "pass for example --init chrono:132",
        )
    real(f"the number of --init {name}", number, **INITS[name][1])
    return name


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
