"""Floor 3. Measures only: how gradients travel through time."""

from throughtime.diagnostics.lag_profile import LagProfile, lag_profile

__all__ = ["LagProfile", "lag_profile"]
