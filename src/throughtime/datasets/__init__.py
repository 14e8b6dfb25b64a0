"""Series that the package carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:
    from throughtime.datasets.carried import sunspots as sunspots

__getattr__, __dir__, __all__ = lazy(__name__, {"sunspots": "throughtime.datasets.carried"})
