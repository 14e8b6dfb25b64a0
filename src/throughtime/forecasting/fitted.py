"""What a fit leaves behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from throughtime.diagnostics import GradientLog, LagProfile
from throughtime.forecasting.model import Model
from throughtime.forecasting.panel import Panel
from throughtime.training import History


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit leaves behind: what was read, the model, and how training went.

    `history` is of the final fit and `log` its gradients; `pilot` is of the run that found the
    number of updates.
    """

    panel: Panel
    model: Model
    history: History
    pilot: History
    log: GradientLog | None = None

    @cached_property
    def reach(self) -> LagProfile:
        """How far back the gradient of one forecast reaches."""
        return self.model.reach(self.panel)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, with the updates that were made."""
        design = self.model.design
        whole = asdict(design) | {"init": design.init}  # values that say how to pass them
        whole["training"]["penalties"] = design.training.penalties
        if design.preprogram is not None:
            whole["preprogram_explained"] = self.model.explained
        return whole | {"updates": len(self.history.updates)}
