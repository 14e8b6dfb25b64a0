"""Floor 3. Measures only: how gradients travel through time."""

from throughtime.diagnostics.diagnosis import Diagnosis, diagnose
from throughtime.diagnostics.findings import Cure, Finding
from throughtime.diagnostics.gates import Gate, Gates
from throughtime.diagnostics.jacobians import Jacobians, jacobians
from throughtime.diagnostics.lag_profile import LagProfile, lag_profile
from throughtime.diagnostics.lyapunov import Lyapunov
from throughtime.diagnostics.trajectory import Trajectory, trajectories
from throughtime.diagnostics.truncation_bias import TruncationBias

__all__ = [
    "Cure",
    "Diagnosis",
    "Finding",
    "Gate",
    "Gates",
    "Jacobians",
    "LagProfile",
    "Lyapunov",
    "Trajectory",
    "TruncationBias",
    "diagnose",
    "jacobians",
    "lag_profile",
    "trajectories",
]
