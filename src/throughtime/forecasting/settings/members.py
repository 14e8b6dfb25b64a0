"""Which nets make one forecast, and how what they say is combined.

    groups g = 1 ... G      every context with every architecture with every cell, E nets of each,
                            which differ by their seeds and are trained as one (`nn.Ensemble`)

                in a group                               of the groups
    mean        the mean over scales of means over e     y = 1/G sum_g y_g
    median      med_e y_e, whatever their scales         y = med_g y_g
    weighted    as the mean                              y = sum_g w_g y_g

What stands beside the nets of a group (`models/model.py`) has equal parts with what these say
together. w_g is larger where a group has erred less at the rolling origins (`models/weighing.py`).
Quantiles are combined as points are, level by level, which keeps them in order.

Means and medians of nets: Kourentzes, Barrow and Crone (2014), "Neural network ensemble operators for
time series forecasting", whose medians are not moved by a few nets that were trained badly. Weights:
Bates and Granger (1969), "The combination of forecasts".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from throughtime._checks import one_of, positive_int
from throughtime._errors import SettingError
from throughtime._types import CELLS, CellName
from throughtime.forecasting.architectures import ARCHITECTURES, DRAWS

COMBINE = ("mean", "median", "weighted")
ALONE = {"context_length": None, "architecture": None, "cell": "lstm"}  # what is not given


@dataclass(frozen=True)
class Members:
    """The nets of a forecaster: `seeds` of them for each context, architecture and cell.

    What is left empty is what the forecaster has or chooses: `seeds` None is chosen from the data,
    no `contexts` are its `context_length`, no `architectures` its `architecture`, no `cells` its
    `cell`. `contexts` are look-backs in steps; `combine` is the "mean", the "median", or "weighted":
    a mean weighed by the errors of the groups at the rolling origins; None is the mean, where there is
    very much to learn from the median of each group (`effort.py`). Raises `SettingError` for what is
    out of its range.

    >>> Members(seeds=3, contexts=(24, 48), architectures=("direct", "segment")).n_groups
    4
    >>> Members(contexts=(24, 24))
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected contexts to name each once, found (24, 24): leave the others out.
    """

    seeds: int | None = None
    contexts: tuple[int, ...] = ()
    architectures: tuple[str, ...] = ()
    cells: tuple[CellName, ...] = ()
    combine: str | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None:
            positive_int("members", self.seeds)
        for name in ("contexts", "architectures", "cells"):
            object.__setattr__(self, name, _several(name, getattr(self, name)))
        for context in self.contexts:
            positive_int("a context", context)
        for architecture in self.architectures:
            one_of("an architecture", architecture, ARCHITECTURES)
        for cell in self.cells:
            one_of("a cell", cell, CELLS)
        if self.combine is not None:
            one_of("combine", self.combine, COMBINE)
        self._check_groups()

    def _check_groups(self) -> None:
        """Refuse groups that do not answer alike, and weights of one."""
        draw = {architecture in DRAWS for architecture in self.architectures}
        if len(draw) > 1:
            raise SettingError(
                f"architectures that all draw paths ({' and '.join(DRAWS)}), or none that does",
                ", ".join(self.architectures),
                "leave the others out",
            )
        if self.combine == "weighted" and self.n_groups == 1:
            raise SettingError(
                "several contexts, architectures or cells for combine='weighted'; nets that differ "
                "by their seeds err alike",
                "one of each",
                "pass contexts=(24, 48) or so, or combine='median'",
            )

    @classmethod
    def of(cls, members: int | Members | None) -> Members:
        """Return what the argument `members` of a forecaster stands for: a number is that of seeds."""
        return members if isinstance(members, Members) else cls(members)

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return prod(len(each) or 1 for each in (self.contexts, self.architectures, self.cells))

    @property
    def within(self) -> str | None:
        """How the nets of one group are combined; None where that is chosen from the data."""
        return "mean" if self.combine == "weighted" else self.combine

    @property
    def between(self) -> str:
        """How groups are combined."""
        return self.combine or "mean"

    def choices(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what each group changes of the arguments; `SettingError` for what is given twice."""
        several = {
            "context_length": ("contexts", self.contexts),
            "architecture": ("architectures", self.architectures),
            "cell": ("cells", self.cells),
        }
        for name, (plural, values) in several.items():
            if values and arguments[name] != ALONE[name]:
                raise SettingError(
                    f"{name}, or {plural} of Members, not both",
                    f"{name}={arguments[name]!r} and {plural}={values!r}",
                    f"leave {name} out",
                )
        given = [values or (arguments[name],) for name, (_, values) in several.items()]
        return [dict(zip(several, choice, strict=True)) for choice in product(*given)]


def _several(name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list)):
        raise SettingError(f"{name} to be a tuple", repr(values), f"pass {name}=({values!r},)")
    if len(set(values)) < len(values):
        raise SettingError(f"{name} to name each once", repr(values), "leave the others out")
    return tuple(values)
