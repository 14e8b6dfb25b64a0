"""Floor 3. Measures only: how gradients travel through time."""

from throughtime.diagnostics.explosions import Explosion
from throughtime.diagnostics.gradient_log import GradientLog, HeatMap, Look
from throughtime.diagnostics.lag_profile import LagProfile, lag_profile
from throughtime.diagnostics.watch import Watch

__all__ = [
    "Explosion",
    "GradientLog",
    "HeatMap",
    "LagProfile",
    "Look",
    "Watch",
    "lag_profile",
]
