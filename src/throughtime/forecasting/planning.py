"""The plan of a fit: what was decided of it, and how many updates a pilot found to be enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from throughtime.diagnostics import Finding
from throughtime.forecasting.deciding import decide, longest_context
from throughtime.forecasting.design import Design
from throughtime.forecasting.doctor import treat
from throughtime.forecasting.fitted import Fitted
from throughtime.forecasting.fitting import count_updates
from throughtime.forecasting.given import Given
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.resuming import NOT_KEPT, Runs
from throughtime.training import History, Observer


@dataclass(frozen=True, eq=False)
class Call:
    """A call of `fit` or `cross_validation`; a warm one goes on from `start`.

    `of` is what names of runs end with, where there are several groups of members.
    """

    given: Given
    observers: Sequence[Observer] = ()
    runs: Runs = NOT_KEPT
    start: Fitted | None = None
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
    """How nets are to be fitted, with how many updates, and the findings that were acted on."""

    design: Design
    updates: int
    pilot: History
    treatment: tuple[Finding, ...] = ()


def plan(call: Call, known: Panel, whole: Panel) -> Plan:
    """Decide, treat and count updates by what is known; a warm start stays with what was decided."""
    given, start = call.given, call.start
    if start is not None:
        return Plan(start.model.design, max(1, len(start.history.updates)), start.pilot)
    design = decide(given, known, whole)
    treatment: tuple[Finding, ...] = ()
    if given.cure == "auto":
        longest = longest_context(known, given.h)
        design, treatment = treat(known, design, given.chosen, longest, call.observers)
    updates, pilot = count_updates(known, design, call.observers, f"pilot{call.of}", call.runs)
    return Plan(design, updates, pilot, treatment)


def plan_anew(call: Call, plan: Plan, panel: Panel) -> Plan:
    """Return the plan by all of a panel, where what was known before its end decided otherwise."""
    if call.start is not None or call.given.cure is not None:
        return plan
    design = decide(call.given, panel, panel)
    if design == plan.design:
        return plan
    name = f"pilot on everything{call.of}"
    return Plan(design, *count_updates(panel, design, call.observers, name, call.runs))
