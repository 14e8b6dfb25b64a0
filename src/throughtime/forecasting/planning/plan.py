"""The plan of a fit: what was decided of it, and how many updates a pilot found to be enough.

What follows from a clock, the architecture and the updates that a budget has room for, a checkpoint keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from throughtime.diagnostics import Finding
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.fitting.fitting import count_updates
from throughtime.forecasting.fitting.resuming import NOT_KEPT, Runs
from throughtime.forecasting.planning.budget import Budget, in_time, shortened
from throughtime.forecasting.planning.choosing import Choice, choose
from throughtime.forecasting.planning.deciding import decide, longest_context
from throughtime.forecasting.planning.doctor import treat
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.settings.given import AUTO, Given
from throughtime.training import History, Observer

PILOT = 2  # fits that one with a validation part takes the time of


@dataclass(frozen=True, eq=False)
class Call:
    """A call of `fit` or `cross_validation`; a warm one goes on from `start`.

    `of` is what names of runs end with, where there are several groups of members.
    """

    given: Given
    observers: Sequence[Observer] = ()
    runs: Runs = NOT_KEPT
    start: Fitted | None = None
    budget: Budget = field(default_factory=Budget)
    of: str = ""

    @property
    def groups(self) -> tuple[Call, ...]:
        """The call as it is for each group of members."""
        groups = self.given.groups
        if not groups:
            return (self,)
        starts = (None,) * len(groups) if self.start is None else self.start.each
        return tuple(
            replace(self, given=given, start=start, of=f", group {g}/{len(groups)}")
            for g, (given, start) in enumerate(zip(groups, starts, strict=True), 1)
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """How nets are to be fitted, with how many updates, the findings acted on, what was tried.

    `stays` says of a pretrained net on trial that it has been borne out.
    """

    design: Design
    updates: int
    pilot: History
    treatment: tuple[Finding, ...] = ()
    choice: Choice | None = None
    stays: bool = False

    def tried(self, stays: bool) -> Plan:
        """Return the plan after the trial of a pretrained net."""
        return replace(self, stays=stays, design=self.design if stays else self.design.alone)

    @property
    def stops_early(self) -> bool:
        """Say whether a pilot, which looks as it goes, is to find the number of updates."""
        return self.design.training.schedule != "one-cycle"


def chosen(call: Call, known: Panel, whole: Panel) -> Choice | None:
    """Return the choice of an architecture, where it is left to one."""
    if call.start is not None or call.given.design["architecture"] != AUTO:
        return None
    how = call.budget, call.observers
    facts = call.runs.decided(lambda: choose(call.given, known, whole, *how).to_dict())
    return Choice.of(facts)


def draft(call: Call, known: Panel, whole: Panel, choice: Choice | None) -> Plan:
    """Decide and treat by what is known; a warm start stays with what was decided.

    With the most updates that there may be, which `counted` makes those that are enough.
    """
    given, start = call.given, call.start
    if start is not None:
        n = max(1, len(start.history.updates))
        return Plan(start.model.design, n, start.pilot, stays=True)
    if choice is not None:
        given = given.answering_by(choice.architecture)
    design = decide(given, known, whole)
    crowded = (
        call.budget.seconds is not None or call.of
    )  # no time for a trial; one group of several
    if crowded:
        design = design.alone
    treatment: tuple[Finding, ...] = ()
    if given.cure == "auto":
        longest = longest_context(known, given.h)
        design, treatment = treat(known, design, given.chosen, longest, call.observers)
    return Plan(design, design.training.max_updates, History(), treatment, choice)


def redraft(call: Call, plan: Plan, panel: Panel) -> Plan:
    """Return the plan with what all of a panel decides; a budget has no room for more updates."""
    given = call.given
    if call.start is not None or given.cure is not None:
        return plan
    if plan.choice is not None:
        given = given.answering_by(plan.choice.architecture)
    design = decide(given, panel, panel)
    if not plan.stays:
        design = design.alone
    if call.budget.seconds is not None:
        design = shortened(design, plan.design.training.max_updates)
    return replace(plan, design=design)


def counted(call: Call, plan: Plan, known: Panel, most: int, name: str = "pilot") -> Plan:
    """Return the plan with the updates that a pilot finds to be enough, or as many as the warm start's."""
    if call.start is not None:
        return replace(plan, updates=min(plan.updates, most))
    design = shortened(plan.design, min(plan.design.training.max_updates, most))
    updates, pilot = count_updates(known, design, call.observers, f"{name}{call.of}", call.runs)
    return replace(plan, design=design, updates=updates, pilot=pilot)


def most_updates(
    call: Call, plans: Sequence[Plan], panel: Panel, fits: int, begun: bool = False
) -> int:
    """Return the most that a fit of any of these plans makes, or what a budget has room for.

    The budget is for so many `fits` of each of them, of as many updates all.
    """
    most = max(plan.updates for plan in plans)
    if call.budget.seconds is None:
        return most
    designs, how = [plan.design for plan in plans], (call.observers, most, begun)
    return int(call.runs.decided(lambda: in_time(call.budget, panel, designs, fits, *how)))
