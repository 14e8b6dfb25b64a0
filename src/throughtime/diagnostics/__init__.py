"""Floor 3. Measures only: how gradients travel through time."""

from throughtime.diagnostics.diagnosis import Diagnosis, diagnose
from throughtime.diagnostics.explosions import Explosion, find_explosions
from throughtime.diagnostics.findings import Cure, Finding
from throughtime.diagnostics.gates import Gate, Gates
from throughtime.diagnostics.gradient_log import GradientLog, HeatMap, Look
from throughtime.diagnostics.jacobians import Jacobians, jacobians
from throughtime.diagnostics.lag_profile import LagProfile, lag_profile
from throughtime.diagnostics.learnable import Asked, Before, Verdict, learnable
from throughtime.diagnostics.lyapunov import Lyapunov
from throughtime.diagnostics.need import Dependence, Need, data_need, need_of_windows
from throughtime.diagnostics.trajectory import Trajectory, trajectories
from throughtime.diagnostics.truncation_bias import TruncationBias
from throughtime.diagnostics.watch import Watch

__all__ = [
    "Asked",
    "Before",
    "Cure",
    "Dependence",
    "Diagnosis",
    "Explosion",
    "Finding",
    "Gate",
    "Gates",
    "GradientLog",
    "HeatMap",
    "Jacobians",
    "LagProfile",
    "Look",
    "Lyapunov",
    "Need",
    "Trajectory",
    "TruncationBias",
    "Verdict",
    "Watch",
    "data_need",
    "diagnose",
    "find_explosions",
    "jacobians",
    "lag_profile",
    "learnable",
    "need_of_windows",
    "trajectories",
]
