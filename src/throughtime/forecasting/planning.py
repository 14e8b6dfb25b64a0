"""The plan of a fit: what was decided of it, and how many updates a pilot found to be enough.

What follows from a clock, the architecture and the updates that a budget has room for, a checkpoint keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from throughtime.diagnostics import Finding
from throughtime.forecasting.budget import Budget, in_time, shortened
from throughtime.forecasting.choosing import Choice, choose
from throughtime.forecasting.deciding import decide, longest_context
from throughtime.forecasting.design import Design
from throughtime.forecasting.doctor import treat
from throughtime.forecasting.fitted import Fitted
from throughtime.forecasting.fitting import count_updates
from throughtime.forecasting.given import AUTO, Given
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.resuming import NOT_KEPT, Runs
from throughtime.training import History, Observer

PILOT = 2  # fits that one with a validation part takes the time of


@dataclass(frozen=True, eq=False)
class Call:
    """A call of `fit` or `cross_validation`; a warm one goes on from `start`."""

    given: Given
    observers: Sequence[Observer] = ()
    runs: Runs = NOT_KEPT
    start: Fitted | None = None
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, eq=False)
class Plan:
    """How nets are to be fitted, with how many updates, the findings acted on, what was tried."""

    design: Design
    updates: int
    pilot: History
    treatment: tuple[Finding, ...] = ()
    choice: Choice | None = None


def plan(call: Call, known: Panel, whole: Panel, fits: int = 1) -> Plan:
    """Decide, treat and count updates by what is known; a warm start stays with what was decided.

    A budget is to last for so many `fits`.
    """
    given, start = call.given, call.start
    if start is not None:
        design = start.model.design
        updates = _in_time(call, known, design, fits, max(1, len(start.history.updates)))
        return Plan(design, updates, start.pilot)
    choice = _chosen(call, known, whole)
    if choice is not None:
        given = given.answering_by(choice.architecture)
    design = decide(given, known, whole)
    treatment: tuple[Finding, ...] = ()
    if given.cure == "auto":
        longest = longest_context(known, given.h)
        design, treatment = treat(known, design, given.chosen, longest, call.observers)
    stops_early = design.training.schedule != "one-cycle"  # found by a pilot, that looks as it goes
    most = design.training.max_updates
    most = _in_time(call, known, design, fits + PILOT * stops_early, most)
    design = shortened(design, most)
    updates, pilot = count_updates(known, design, call.observers, "pilot", call.runs)
    return Plan(design, updates, pilot, treatment, choice)


def plan_anew(call: Call, plan: Plan, panel: Panel) -> Plan:
    """Return the plan by all of a panel, where what was known before its end decided otherwise.

    Within a budget with as many updates, or fewer where less time is left than there should be.
    """
    design, given = plan.design, call.given
    if call.start is None and given.cure is None:
        if plan.choice is not None:
            given = given.answering_by(plan.choice.architecture)
        decided = decide(given, panel, panel)
        design = shortened(decided, design.training.max_updates)
    if given.budget is not None:
        updates = _in_time(call, panel, design, 1, plan.updates, begun=True)
        return replace(plan, design=design, updates=updates)
    if design == plan.design:
        return plan
    name = "pilot on everything"
    updates, pilot = count_updates(panel, design, call.observers, name, call.runs)
    return replace(plan, design=design, updates=updates, pilot=pilot)


def _chosen(call: Call, known: Panel, whole: Panel) -> Choice | None:
    """Return the choice of an architecture, where it is left open."""
    if call.given.design["architecture"] != AUTO:
        return None
    how = call.budget, call.observers
    facts = call.runs.decided(lambda: choose(call.given, known, whole, *how).to_dict())
    return Choice.of(facts)


def _in_time(
    call: Call, panel: Panel, design: Design, fits: int, most: int, begun: bool = False
) -> int:
    """Return the updates of each of the fits to come: `most`, or what a budget has room for."""
    if call.budget.seconds is None:
        return most
    how = call.observers, most, begun
    return int(call.runs.decided(lambda: in_time(call.budget, panel, design, fits, *how)))
