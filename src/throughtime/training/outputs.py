"""Stand-in until the room of heads is merged."""

from __future__ import annotations

from throughtime.nn.heads import Head, PointHead
from throughtime.training import losses
from throughtime.training.losses import Loss

OUTPUTS = ("point",)


def output(name: str, hidden_size: int, outputs: int) -> tuple[Head, Loss]:
    """Return the head and its loss."""
    return PointHead(hidden_size, outputs), losses.mae
