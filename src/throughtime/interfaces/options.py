"""The options of the command line, checked before any long work begins.

Imports nothing heavy: a mistyped option is answered at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from throughtime._checks import duration, one_of, positive_int, random_seed, real
from throughtime._errors import SettingError
from throughtime._files import check_writable
from throughtime._types import CELLS

WITH_U = ("rnn", "lstm", "gru")
ARCHITECTURES = ("ar", "direct", "es", "recursive", "segment", "seq2seq", "synced")
COMBINE = ("mean", "median", "weighted")
DRAWS = ("ar", "recursive")
OUTPUTS = ("point", "quantiles", "gaussian", "student-t", "negative-binomial", "mixture")
INITS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {  # for which cells, in which range
    "orthogonal": (WITH_U, {"above": 0}),
    "identity": (("rnn",), {"above": 0}),
    "forget_bias": (("lstm", "minlstm"), {}),
    "chrono": (("lstm", "gru", "minlstm", "mingru"), {"at_least": 2}),
}


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number") from None


NUMBER: Any = {"parser": _number, "metavar": "<number>"}
WHOLE: Any = {"parser": _whole, "metavar": "<int>"}


@dataclass(frozen=True)
class Options:
    """What the commands take, as the user gave it; None where it is left to the program.

    Each field is an option of the command line as it stands here; `taking.takes` gives it to the
    commands.
    """

    file: Annotated[
        str,
        typer.Argument(
            help="A CSV or Parquet file, '-' for standard input, or a carried data set: sunspots."
        ),
    ]
    h: Annotated[int, typer.Option("--h", "--horizon", help="How many steps to forecast.", **WHOLE)]
    time: Annotated[
        str | None, typer.Option(help="The column of dates; found where not given.")
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="The column of values, found where not given; several, parted by commas, are "
            "forecast together.",
            metavar="COLUMN,...",
        ),
    ] = None
    id: Annotated[str | None, typer.Option(help="The column that tells several series apart.")] = (
        None
    )
    freq: Annotated[
        str | None, typer.Option(help="The step between dates, such as MS, D or 30min.")
    ] = None
    futr: Annotated[
        list[str] | None,
        typer.Option(help="Columns that are known ahead, such as holidays.", metavar="COLUMN,..."),
    ] = None
    hist: Annotated[
        list[str] | None,
        typer.Option(help="Columns that are known up to the present.", metavar="COLUMN,..."),
    ] = None
    static: Annotated[
        str | None,
        typer.Option(
            help="A file with a row for each series, of what never changes.", metavar="FILE"
        ),
    ] = None
    future: Annotated[
        str | None,
        typer.Option(
            help="A file with the columns of --futr for the steps ahead; else they are rows of "
            "FILE after the last value.",
            metavar="FILE",
        ),
    ] = None
    calendar: Annotated[
        bool, typer.Option("--calendar", help="Read hour, weekday and season off the dates.")
    ] = False
    season: Annotated[
        int | None, typer.Option(help="The length of a season in steps.", **WHOLE)
    ] = None
    cell: Annotated[str, typer.Option(help=f"The recurrent cell: {', '.join(CELLS)}.")] = "lstm"
    architecture: Annotated[
        str | None,
        typer.Option(
            help="How the steps ahead are made: ar, direct, es, recursive, segment, seq2seq or synced; "
            "auto tries those that fit."
        ),
    ] = None
    budget: Annotated[
        str | None,
        typer.Option(help="The time that fits may take, such as 90s, 2m or 1h.", metavar="TIME"),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            help="What is forecast: point, quantiles, gaussian, student-t, negative-binomial or "
            "mixture.  [point; student-t if recursive or ar]"
        ),
    ] = None
    level: Annotated[str, typer.Option(help="The prediction intervals, in per cent.")] = "80,95"
    context_length: Annotated[
        int | None, typer.Option(help="How many steps the model looks back.", **WHOLE)
    ] = None
    members: Annotated[
        int | None,
        typer.Option(help="How many nets forecast, that differ by their seeds.", **WHOLE),
    ] = None
    contexts: Annotated[
        str | None,
        typer.Option(help="Look-backs, each with so many members.", metavar="STEPS,..."),
    ] = None
    architectures: Annotated[
        str | None,
        typer.Option(help="Architectures, each with so many members.", metavar="NAME,..."),
    ] = None
    combine: Annotated[
        str | None,
        typer.Option(
            help="How members make one forecast: mean, median, or weighted by the errors of the "
            "back-test.  [mean, of very many series median]"
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="The seed of all randomness.", **WHOLE)] = 0
    windows: Annotated[
        int | None,
        typer.Option(help="How many rolling origins the back-test has.  [at most 8]", **WHOLE),
    ] = None
    init: Annotated[
        str | None,
        typer.Option(
            help="Where the weights start: chrono:T, orthogonal, orthogonal:kept, identity, "
            "forget_bias."
        ),
    ] = None
    clip: Annotated[
        float | None, typer.Option(help="The largest norm of the gradient.  [1]", **NUMBER)
    ] = None
    preprogram: Annotated[
        str | None, typer.Option(help="Imitate a forecast before training: linear or seasonal.")
    ] = None
    nonlinearity: Annotated[str | None, typer.Option(help="Of the cell rnn: tanh or relu.")] = None
    zoneout: Annotated[
        float, typer.Option(help="The rate at which units keep their state.", **NUMBER)
    ] = 0.0
    recurrent_dropout: Annotated[
        float, typer.Option(help="The share of the state dropped on its way.", **NUMBER)
    ] = 0.0
    layer_norm: Annotated[bool, typer.Option("--layer-norm", help="Normalise the cell lstm.")] = (
        False
    )

    def __post_init__(self) -> None:
        positive_int("--h", self.h)
        random_seed("--seed", self.seed)
        for name in ("season", "context_length", "windows", "members"):
            value = getattr(self, name)
            if value is not None:
                positive_int(f"--{name.replace('_', '-')}", value)
        one_of("--cell", self.cell, CELLS)
        _one_of("--architecture", self.architecture, ("auto", *ARCHITECTURES))
        _one_of("--output", self.output, OUTPUTS)
        if self.budget is not None:
            duration("--budget", self.budget)
        self._check_answer()
        self._check_members()
        if self.future is not None and not self.futr:
            raise SettingError(
                "--futr with --future, to say which of its columns are known ahead",
                "none",
                "pass for example --futr temperature,holiday",
            )
        levels(self.level)
        self._check_cures()

    def _check_answer(self) -> None:
        """Refuse an architecture, an output and a start that do not go together."""
        said = {"architecture": self.architecture, "output": self.output}
        answer = " ".join(f"--{name} {value}" for name, value in said.items() if value)
        draws = self.architecture in DRAWS
        if draws and self.output == "point":
            wanted = f"a distribution to draw paths from with --architecture {self.architecture}"
            raise SettingError(wanted, "--output point", "leave --output out, or pass student-t")
        if draws and self.hist:
            raise SettingError(
                f"no --hist with --architecture {self.architecture}, which reads every step ahead",
                f"--hist {','.join(self.hist)}",
                "choose another architecture, or name in --futr what is known ahead",
            )
        if self.preprogram and (
            self.architecture not in (None, "auto", "direct") or self.output not in (None, "point")
        ):
            wanted = "--architecture direct and --output point with --preprogram"
            raise SettingError(wanted, answer, "leave --preprogram out")

    def _check_members(self) -> None:
        """Refuse what is no member, and one beside several."""
        if self.combine is not None:
            one_of("--combine", self.combine, COMBINE)
        steps(self.contexts)
        for name in parted(self.architectures):
            one_of("--architectures", name, ARCHITECTURES)
        if self.combine == "weighted" and max(map(len, self._several)) < 2:
            raise SettingError(
                "several --contexts or --architectures with --combine weighted; nets that differ by "
                "their seeds err alike",
                "one of each",
                "pass for example --contexts 24,48, or --combine median",
            )
        for several, one in (("contexts", "context_length"), ("architectures", "architecture")):
            if getattr(self, several) is not None and getattr(self, one) is not None:
                option = f"--{one.replace('_', '-')}"
                raise SettingError(
                    f"{option} or --{several}", "both", f"leave {option} out, or --{several}"
                )

    def _check_cures(self) -> None:
        if self.clip is not None:
            real("--clip", self.clip, above=0)
        real("--zoneout", self.zoneout, at_least=0, below=1)
        real("--recurrent-dropout", self.recurrent_dropout, at_least=0, below=1)
        _one_of("--preprogram", self.preprogram, ("linear", "seasonal"))
        _one_of("--nonlinearity", self.nonlinearity, ("tanh", "relu"))
        self._for_cells("--nonlinearity", bool(self.nonlinearity), ("rnn",))
        self._for_cells("--layer-norm", self.layer_norm, ("lstm",))
        self._for_cells("--recurrent-dropout", self.recurrent_dropout > 0, WITH_U)
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
    def answer(self) -> dict[str, Any]:
        """The arguments of a forecaster that say what it reads beside the past, and how it answers."""
        names = "calendar", "architecture", "output", "budget"
        given = {name: getattr(self, name) for name in names} | {"members": self._members}
        return {name: value for name, value in given.items() if value}

    @property
    def _members(self) -> Any:
        if (self.contexts, self.architectures, self.combine) == (None, None, None):
            return self.members
        from throughtime.forecasting.settings.members import Members

        return Members(self.members, *self._several, combine=self.combine)

    @property
    def _several(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return steps(self.contexts), parted(self.architectures)

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
    def sources(self) -> tuple[str | None, ...]:
        """Every file that is read."""
        return self.file, self.static, self.future

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


def _one_of(option: str, value: str | None, choices: Iterable[str]) -> None:
    """Refuse an option that was given and is not among `choices`."""
    if value is not None:
        one_of(option, value, choices)


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


def steps(text: str | None) -> tuple[int, ...]:
    """Read `--contexts`: numbers of steps, several parted by commas.

    >>> steps("24, 48")
    (24, 48)
    >>> steps("24,day")
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected --contexts to be whole numbers of at least 1, parted by commas, found 'day': pass for example --contexts 24,48.
    """
    for part in parted(text):
        if not re.fullmatch(r"0*[1-9]\d*", part):
            raise SettingError(
                "--contexts to be whole numbers of at least 1, parted by commas",
                repr(part),
                "pass for example --contexts 24,48",
            )
    return tuple(map(int, parted(text)))


def parted(text: str | None) -> tuple[str, ...]:
    """Return what an option names, several parted by commas.

    >>> parted("mae, owa")
    ('mae', 'owa')
    """
    return () if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


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


def check_places(sources: Iterable[str | None], places: Mapping[str, str | None]) -> None:
    """Refuse, before the long work, files that could not be written or would overwrite another."""
    read = [source for source in sources if source not in (None, "-")]
    taken = {os.path.realpath(str(source)): "a file that is read" for source in read}
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
