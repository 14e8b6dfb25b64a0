"""The plans of all groups of members: one each, and how the groups are weighed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from throughtime.diagnostics import Finding
from throughtime.forecasting import fitting
from throughtime.forecasting.committee import Answers, committee
from throughtime.forecasting.design import Design
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.planning import Call, Plan, plan, plan_anew

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plans:
    """The plan of every group, and the weights that rolling origins gave the groups, if they did."""

    groups: tuple[Plan, ...]
    weights: Floats | None = None

    @property
    def design(self) -> Design:
        """The design of the first group; what forecasts are made of, all have in common."""
        return self.groups[0].design

    @property
    def treatment(self) -> tuple[Finding, ...]:
        """The findings that were acted on, group by group."""
        return tuple(finding for each in self.groups for finding in each.treatment)

    def of(self, call: Call) -> Iterator[tuple[Call, Plan]]:
        """Go over the groups: their calls and their plans."""
        return zip(call.groups, self.groups, strict=True)


def plan_all(call: Call, known: Panel, whole: Panel) -> Plans:
    """Plan every group by what is known."""
    return Plans(tuple(plan(each, known, whole) for each in call.groups))


def plan_all_anew(call: Call, plans: Plans, panel: Panel) -> Plans:
    """Return the plans by all of a panel; the weights stay."""
    groups = tuple(plan_anew(each, planned, panel) for each, planned in plans.of(call))
    return Plans(groups, plans.weights)


def fit_all(call: Call, plans: Plans, panel: Panel, name: str) -> Answers:
    """Fit every group to a panel as planned; `name` is that of the runs."""
    models = [
        fitting.fit(panel, p.design, p.updates, c.observers, f"{name}{c.of}", c.runs)[0]
        for c, p in plans.of(call)
    ]
    return committee(models, call.given.members.combine)
