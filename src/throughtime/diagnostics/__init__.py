"""Floor 3. Measures only: how gradients travel through time."""

from throughtime.diagnostics.lag_profile import LagProfile, lag_profile
from throughtime.diagnostics.trajectory import Trajectory, trajectories

__all__ = ["LagProfile", "Trajectory", "lag_profile", "trajectories"]
