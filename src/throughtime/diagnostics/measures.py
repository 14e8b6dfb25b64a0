"""All that the doctor measures about a model, before any of it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from throughtime._errors import DataError
from throughtime.diagnostics.gates import Gates
from throughtime.diagnostics.gradient_log import GradientLog
from throughtime.diagnostics.jacobians import Jacobians
from throughtime.diagnostics.lag_profile import LagProfile
from throughtime.diagnostics.lyapunov import Lyapunov
from throughtime.diagnostics.need import Need
from throughtime.diagnostics.trajectory import Trajectory
from throughtime.diagnostics.truncation_bias import TruncationBias

Trial = Callable[[Callable[[nn.Module], Any]], tuple[LagProfile, ...]]


@dataclass(frozen=True, eq=False)
class LayerMeasures:
    """What was measured on one direction of one layer: `steps` steps of `examples` examples.

    `skipped` counts the newest steps that the loss does not read. There are no exponents where the
    states are not finite.
    """

    layer: str
    operator: str
    steps: int
    units: int
    examples: int
    skipped: int
    lag_profile: LagProfile
    jacobians: Jacobians
    lyapunov: Lyapunov | None
    gates: Gates
    truncation_bias: TruncationBias

    @classmethod
    def of(cls, trajectory: Trajectory, rows: int | None = None) -> LayerMeasures:
        """Measure all; Jacobians and exponents on `rows` of the examples, a few where None."""
        return cls(
            trajectory.layer,
            trajectory.operator,
            trajectory.length * trajectory.dilation,
            trajectory.states[0].shape[-1],
            trajectory.x.shape[1],
            trajectory.skipped * trajectory.dilation,
            LagProfile.of(trajectory),
            Jacobians.of(trajectory, rows=rows),
            _exponents(trajectory, rows),
            Gates.of(trajectory),
            TruncationBias.of(trajectory),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {"layer": self.layer, "operator": self.operator, "steps": self.steps}
        plain |= {"units": self.units, "examples": self.examples, "skipped": self.skipped}
        parts = ("lag_profile", "jacobians", "lyapunov", "gates", "truncation_bias")
        measured = {name: getattr(self, name) for name in parts}
        return plain | {name: each and each.to_dict() for name, each in measured.items()}


def _exponents(trajectory: Trajectory, rows: int | None) -> Lyapunov | None:
    try:
        return Lyapunov.of(trajectory, rows=rows)
    except DataError:
        return None


@dataclass(frozen=True, eq=False)
class Measures:
    """What was measured on a model.

    model      what it is called
    precision  of its weights, such as "float32"
    step       the word for one time step
    layers     every direction of every layer and every cell that ran
    need       which lags the data depends on, None where it is not known
    log        of the gradients in training, None where none was kept
    trial      measures the lag profiles of a copy of the model after a starting point was applied to it
    """

    model: str
    precision: str
    step: str
    layers: tuple[LayerMeasures, ...]
    need: Need | None
    log: GradientLog | None
    trial: Trial

    def reach(self, lag: int) -> tuple[float, str]:
        """Return how much of the newest gradient is left `lag` steps back, and in which layer most."""
        return furthest([layer.lag_profile for layer in self.layers], lag)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "model": self.model,
            "precision": self.precision,
            "step": self.step,
            "layers": [layer.to_dict() for layer in self.layers],
            "need": None if self.need is None else self.need.to_dict(),
            "log": None if self.log is None else self.log.to_dict(),
        }


def furthest(profiles: list[LagProfile] | tuple[LagProfile, ...], lag: int) -> tuple[float, str]:
    """Return the largest share of the newest gradient `lag` steps back, and the layer's name."""
    return max((profile.at(lag), profile.layer) for profile in profiles)
