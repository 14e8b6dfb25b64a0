"""Settings in a file: what has a form of its own as JSON or text, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from throughtime.forecasting.settings.given import Given
from throughtime.forecasting.settings.members import Members
from throughtime.forecasting.storage.checking import all_of, need
from throughtime.nn import read_inits
from throughtime.training import TrainingSettings


def pack_given(given: Given) -> dict[str, Any]:
    """Return every argument of a forecaster's constructor, as plain values."""
    design = plain(given.design)
    transforms, _ = design.pop("transforms"), design.pop("combine")
    return {
        "h": given.h,
        **design,
        **given.columns,
        "transform": None if transforms is None else transforms[0],
        "n_windows": given.n_windows,
        "cure": given.cure,
        "members": _packed(given),
        "budget": given.budget,
        "freq": None if given.freq is None else given.freq.alias,
    }


def _packed(given: Given) -> int | dict[str, Any] | None:
    """Return the argument `members`: a number as older releases had it, where it says all."""
    usual = not given.groups and given.members.combine is None
    return given.members.seeds if usual else asdict(given.members)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a file holds them: what has a form of its own as JSON or text."""
    inits = [init.text for init in settings["init"]]
    return {**settings, "training": settings["training"].to_json(), "init": inits}


def made(facts: dict[str, Any]) -> dict[str, Any]:
    """Make settings from what `plain` returned; what an older release did not know stays out."""
    made = {**facts, "training": TrainingSettings.from_json(facts["training"])}
    if "decoder" in made:  # as it was called first
        made["architecture"] = made.pop("decoder")
    if "init" in facts:
        need(all_of(facts["init"], str), "init")
        made["init"] = read_inits(facts["init"])
    if isinstance(made.get("members"), dict):
        members = facts["members"]
        for name in ("contexts", "architectures", "cells"):
            need(isinstance(members[name], list), name)
        made["members"] = Members(**members)
    for name in {"zoneout", "dilations", "lags"} & facts.keys():
        made[name] = _nested(facts[name])
    for name in {"target", "hist", "futr", "calendar"} & facts.keys():
        made[name] = _names(facts[name], name)
    return made


def _nested(values: Any) -> Any:
    return tuple(map(_nested, values)) if isinstance(values, list) else values


def _names(value: Any, what: str) -> Any:
    """Return one name, or several as a tuple; yes, no and what is left open pass, too."""
    need(value is None or isinstance(value, (str, bool)) or all_of(value, str), what)
    return _nested(value)
