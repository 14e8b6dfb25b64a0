"""What a forecaster is given: its arguments, checked; None stands for what the data decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from throughtime._checks import duration, one_of, positive_int, random_seed
from throughtime._errors import SettingError
from throughtime._types import model_name
from throughtime.forecasting.architectures import ARCHITECTURES, DRAWS
from throughtime.forecasting.architectures.ar import checked_lags
from throughtime.forecasting.examples.importance import WEIGHTINGS
from throughtime.forecasting.preprocessing.differences import DIFFERENCES
from throughtime.forecasting.preprocessing.residuals import RESIDUALS
from throughtime.forecasting.preprocessing.scaling import SCALINGS
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.settings.cures import (
    OF_THE_NET,
    Cures,
    check_names,
    checked_preprogram,
    trained_with,
)
from throughtime.forecasting.settings.design import Design, recurrence_of
from throughtime.forecasting.settings.effort import FEW, TRAINING
from throughtime.forecasting.settings.members import ALONE, Members
from throughtime.training.outputs import OUTPUTS

AUTO = "auto"  # of architecture: the one that forecasts best (`planning/choosing.py`)

CHOICES: dict[str, tuple[Any, ...]] = {
    "cure": (None, "auto"),
    "transform": (None, *TRANSFORMS),
    "residual": (None, *RESIDUALS),
    "scaling": (None, *SCALINGS),
    "difference": (0, *DIFFERENCES),  # 0 for none
    "architecture": (None, AUTO, *ARCHITECTURES),
    "weighting": (None, *WEIGHTINGS),
    "output": (None, *OUTPUTS),
}
NUMBERS = {"context_length": 1, "season_length": 1, "n_windows": 0}  # the least
COLUMNS = "target", "hist", "futr"
AS_THEY_ARE = (
    *("members", "context_length", "season_length", "residual", "scaling", "difference"),
    *("architecture", "calendar", "companions", "segment", "linear_skip", "weighting"),
)


@dataclass(frozen=True)
class Given:
    """The arguments of a forecaster.

    `budget` are the seconds that a fit may take, `columns` the names of target, hist and futr, `design`
    settings of `Design` by name; what is None is decided from the data. Where `members` are of several
    `groups`, each of these has a `design` of its own, and that beside them is the first one's but for
    context, architecture and cell, which are as they were passed.
    """

    h: int
    n_windows: int | None
    cure: Literal["auto"] | None
    freq: Frequency | None
    columns: Mapping[str, str | Sequence[str]]
    design: Mapping[str, Any]
    budget: float | None = None
    members: Members = field(default_factory=Members)
    groups: tuple[Given, ...] = ()

    @property
    def name(self) -> str:
        """The name of the model's column in tables: the cell's, or the cells' of all groups."""
        cells = [each.design["cell"] for each in self.groups or (self,)]
        return "+".join(dict.fromkeys(map(model_name, cells)))

    def answering_by(self, architecture: str) -> Given:
        """Return what would be given if the user had asked for this architecture."""
        return replace(self, design={**self.design, "architecture": architecture})

    @property
    def chosen(self) -> set[str]:
        """The cures that were passed and are not what would be without them."""
        usual = {each.name: each.default for each in fields(Design)}
        names = {name for name in OF_THE_NET if self.design[name] != usual[name]}
        if self.design["training"].clip != TRAINING.clip:
            names.add("clip")
        if self.design["context_length"] is not None:
            names.add("context_length")
        return names


def checked_arguments(arguments: Mapping[str, Any], cures: Cures) -> Given:
    """Return the arguments of a forecaster, cures among them; `SettingError` for one out of range."""
    check_names(cures, arguments)
    members = Members.of(arguments["members"])
    groups = tuple(
        _checked({**arguments, **choice, "members": members.seeds}, cures, members.within)
        for choice in members.choices(arguments)
    )
    if len(groups) == 1:
        return replace(groups[0], members=Members(members.seeds, combine=members.combine))
    _check_groups(groups, members)
    design = {**groups[0].design, **{name: arguments[name] for name in ALONE}}
    return replace(groups[0], members=members, groups=groups, design=design)


def _check_groups(groups: Sequence[Given], members: Members) -> None:
    """Refuse what is for one group alone, and weights without origins that tell them."""
    given = groups[0]
    if given.design["scaling"] == "running":
        raise SettingError(
            "one context, architecture and cell for scaling='running', whose states are carried on",
            f"{len(groups)} groups of members",
            "leave scaling out, or pass a number of members",
        )
    if members.combine == "weighted" and given.n_windows == 0:
        raise SettingError(
            "rolling origins for combine='weighted', whose errors are the weights",
            "n_windows=0",
            "leave n_windows out, or pass combine='mean' or 'median'",
        )


def _checked(arguments: Mapping[str, Any], cures: Cures, combine: str | None) -> Given:
    """Return the arguments of one group."""
    h = positive_int("h", arguments["h"])
    for name, choices in CHOICES.items():
        one_of(name, arguments[name], choices)
    for name, least in NUMBERS.items():
        if arguments[name] is not None:
            positive_int(name, arguments[name], at_least=least)
    freq = arguments["freq"]
    return Given(
        h,
        arguments["n_windows"],
        arguments["cure"],
        None if freq is None else Frequency.parse(freq),
        {name: arguments[name] for name in COLUMNS},
        {**_of_design(arguments, cures), "combine": combine},
        None if arguments["budget"] is None else duration("budget", arguments["budget"]),
    )


def _of_design(arguments: Mapping[str, Any], cures: Cures) -> dict[str, Any]:
    """Return what of the arguments is a setting of the design."""
    hidden_size, transform = arguments["hidden_size"], arguments["transform"]
    size = FEW.hidden_size if hidden_size is None else hidden_size
    shape = arguments["cell"], size, arguments["num_layers"]
    of_the_net: dict[str, Any] = {n: value for n, value in cures.items() if n in OF_THE_NET}
    architecture, dropout = arguments["architecture"], arguments["dropout"]
    net = recurrence_of(architecture, dropout or 0.0, *shape, **of_the_net)
    parts = ("cell", "num_layers", *OF_THE_NET)
    seed = random_seed("seed", arguments["seed"])
    usual_output = "student-t" if architecture in DRAWS else "point"
    return {
        **{name: getattr(net, name) for name in parts},
        "lags": None if arguments["lags"] is None else checked_lags(arguments["lags"]),
        "hidden_size": hidden_size,
        "dropout": dropout,
        **{name: arguments[name] for name in AS_THEY_ARE},
        "transforms": None if transform is None else (transform,),
        "training": replace(trained_with(arguments["training"], cures), seed=seed),
        "preprogram": checked_preprogram(cures.get("preprogram")),
        "output": arguments["output"] or usual_output,
    }
