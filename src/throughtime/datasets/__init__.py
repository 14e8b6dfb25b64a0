"""Series that the package carries, and others that it makes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:
    from throughtime.datasets.carried import sunspots as sunspots
    from throughtime.datasets.simulation import simulated as simulated

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "simulated": "throughtime.datasets.simulation",
        "sunspots": "throughtime.datasets.carried",
    },
)
