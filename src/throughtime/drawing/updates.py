"""How long the gradient was at every update, and where it was clipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from throughtime.drawing.theme import (
    COLOURS,
    INK,
    MODEL,
    WARN,
    blank,
    limit,
    line,
    positive,
    spread,
)

FEWEST = 20  # updates of which quantiles say anything


def gradient_history(log: Mapping[str, Any]) -> Any:
    """Draw the gradient's norm over the updates, its quantiles, and what clipping did.

    Args:
        log: `norms` before clipping, and where there are any `updates` (1, 2, ... else), `clipped`
            (whether), `threshold`, `suggested` (a better one), `quantiles` by their names.

    Returns:
        A plotly figure, y logarithmic.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    norms = log["norms"]
    updates = list(log.get("updates") or range(1, len(norms) + 1))
    threshold, suggested = log.get("threshold"), log.get("suggested")
    ticks = 1 if spread([*norms, threshold, suggested], 30) else None
    figure.update_yaxes(type="log", title_text="gradient norm", dtick=ticks)
    figure.update_xaxes(title_text="update", rangemode="tozero")
    line(figure, updates, positive(norms), "gradient norm", MODEL, 1.3)
    for name, value in (log.get("quantiles") or {}).items():
        if value and len(norms) >= FEWEST:
            line(figure, [updates[0], updates[-1]], [value] * 2, name, INK, 1, dash="dot")
    clipped = [k for k, was in enumerate(log.get("clipped") or ()) if was]
    if clipped:
        figure.add_scatter(
            x=[updates[k] for k in clipped],
            y=[norms[k] for k in clipped],
            mode="markers",
            name=f"clipped ({len(clipped)})",
            marker={
                "color": WARN,
                "size": 6,
                "symbol": "x-thin",
                "line_width": 1.6,
                "line_color": WARN,
            },
        )
    if threshold is not None:
        limit(figure, threshold, f"clipped above {threshold:g}")
    if suggested is not None:
        limit(figure, suggested, f"suggested: {suggested:.2g}", COLOURS[2][0], side="left")
    return figure
