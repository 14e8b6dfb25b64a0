"""The plans of all groups of members: one each, and how the groups are weighed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from throughtime.diagnostics import Finding
from throughtime.forecasting.fitting import fitting
from throughtime.forecasting.models.committee import Answers, committee
from throughtime.forecasting.planning.choosing import Choice
from throughtime.forecasting.planning.plan import (
    PILOT,
    Call,
    Plan,
    chosen,
    counted,
    draft,
    most_updates,
    redraft,
)
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design

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

    @property
    def choice(self) -> Choice | None:
        """The choice of an architecture, made for the first group, which all have."""
        return self.groups[0].choice

    @property
    def on_trial(self) -> bool:
        """Say whether a rolling origin is to bear out the pretrained net of the only group."""
        return self.groups[0].design.on_trial and not self.groups[0].stays

    @property
    def untaught(self) -> Plans:
        """The plans of a trial, in which the pretrained net is as it was carried."""
        first = self.groups[0]
        return replace(self, groups=(replace(first, design=replace(first.design, taught=0)),))

    def tried(self, stays: bool) -> Plans:
        """Return the plans after a trial, or with nothing on trial where there was none."""
        return self if not self.on_trial else replace(self, groups=(self.groups[0].tried(stays),))

    def of(self, call: Call) -> Iterator[tuple[Call, Plan]]:
        """Go over the groups: their calls and their plans."""
        return zip(call.groups, self.groups, strict=True)


def plan_all(call: Call, known: Panel, whole: Panel, fits: int = 1) -> Plans:
    """Plan every group by what is known; a budget is to last for so many `fits` of each."""
    calls = call.groups
    choice = chosen(calls[0], known, whole)
    drafts = [draft(each, known, whole, choice) for each in calls]
    pilots = call.start is None and any(each.stops_early for each in drafts)
    most = most_updates(call, drafts, known, fits + PILOT * pilots)
    return Plans(
        tuple(counted(c, drafted, known, most) for c, drafted in zip(calls, drafts, strict=True))
    )


def plan_all_anew(call: Call, plans: Plans, panel: Panel) -> Plans:
    """Return the plans by all of a panel, where what was known before its end decided otherwise.

    Within a budget with as many updates, or fewer where less time is left than there should be. The
    weights stay.
    """
    drafts = [redraft(each, planned, panel) for each, planned in plans.of(call)]
    if call.budget.seconds is not None:
        most = most_updates(call, drafts, panel, fits=1, begun=True)
        return replace(
            plans, groups=tuple(replace(d, updates=min(d.updates, most)) for d in drafts)
        )
    groups = tuple(
        planned if drafted.design == planned.design else _counted_anew(each, drafted, panel)
        for (each, planned), drafted in zip(plans.of(call), drafts, strict=True)
    )
    return replace(plans, groups=groups)


def _counted_anew(call: Call, drafted: Plan, panel: Panel) -> Plan:
    return counted(call, drafted, panel, drafted.design.training.max_updates, "pilot on everything")


def fit_all(call: Call, plans: Plans, panel: Panel, name: str) -> Answers:
    """Fit every group to a panel as planned; `name` is that of the runs."""
    models = [
        fitting.fit(panel, p.design, p.updates, c.observers, f"{name}{c.of}", c.runs)[0]
        for c, p in plans.of(call)
    ]
    return committee(models, call.given.members.between)
