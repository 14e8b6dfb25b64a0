"""The settings of a forecaster as one list, and what its groups of members differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
COMBINED = {"mean": "their mean", "median": "their median", "weighted": "their weighted mean"}


def flat(settings: Mapping[str, Any], within: str = "") -> Row:
    """Return nested settings as one list of names and values, plain ones before nested ones.

    >>> flat({"training": {"seed": 1}, "h": 2})
    {'h': 2, 'training seed': 1}
    """
    plain = {f"{within}{k}": v for k, v in settings.items() if not isinstance(v, Mapping)}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            plain |= flat(value, f"{within}{name} ")
    return plain


def parted(settings: Mapping[str, Any]) -> tuple[Row, list[Row]]:
    """Return the settings that all groups share, and for each group the others, with its weight.

    >>> groups = [{"cell": "gru", "context_length": 11}, {"cell": "gru", "context_length": 22}]
    >>> parted({"cell": "gru", "context_length": 11, "weights": [0.3, 0.7], "groups": groups})
    ({'cell': 'gru'}, [{'context_length': 11, 'weight': 0.3}, {'context_length': 22, 'weight': 0.7}])
    >>> parted({"cell": "gru"})
    ({'cell': 'gru'}, [])
    """
    whole = {name: settings[name] for name in settings if name not in ("groups", "weights")}
    groups = [flat(group) for group in settings.get("groups", ())]
    names = dict.fromkeys(name for group in groups for name in group)
    apart = [name for name in names if any(g.get(name) != groups[0].get(name) for g in groups)]
    shared = {name: value for name, value in flat(whole).items() if name not in apart}
    weights = settings.get("weights", ())
    rows = [{name: group.get(name) for name in apart} for group in groups]
    return shared, [row | {"weight": w} for row, w in zip(rows, weights, strict=True)]


def each(groups: Sequence[Mapping[str, Any]], name: str, value: Any) -> list[Any]:
    """Return the values of all groups, each once; `value` where they share it.

    >>> each([{"cell": "gru"}, {"cell": "lstm"}], "cell", "gru"), each([], "h", 2)
    (['gru', 'lstm'], [2])
    """
    return list(dict.fromkeys(group.get(name, value) for group in groups)) or [value]
