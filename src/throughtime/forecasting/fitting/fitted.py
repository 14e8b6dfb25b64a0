"""What a fit leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime.diagnostics import GradientLog, LagProfile
from throughtime.forecasting.models.committee import Answers, Committee, committee
from throughtime.forecasting.series.panel import Panel
from throughtime.training import History

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit leaves behind: what was read, the model, and how training went.

    `history` is of the final fit and `log` its gradients; `pilot` is of the run that found the
    number of updates. Of several groups of members they are the first one's, and `groups` has what each
    left.
    """

    panel: Panel
    model: Answers
    history: History
    pilot: History
    log: GradientLog | None = None
    groups: tuple[Fitted, ...] = ()

    @classmethod
    def together(
        cls, parts: Sequence[Fitted], combine: str, weights: Floats | None = None
    ) -> Fitted:
        """Return what the fits of all groups leave behind; one as it is."""
        if len(parts) == 1:
            return parts[0]
        model = committee([each.model.models[0] for each in parts], combine, weights)
        return replace(parts[0], model=model, groups=tuple(parts))

    @property
    def each(self) -> tuple[Fitted, ...]:
        """What each group left; this alone where there is one."""
        return self.groups or (self,)

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
        whole["updates"] = len(self.history.updates)
        if isinstance(self.model, Committee):
            whole |= {"combine": self.model.combine, "weights": self.model.shares.tolist()}
            whole["groups"] = [each.settings for each in self.groups]
        return whole
