"""How long the gradient was at every update, and where it was clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from throughtime._words import count, percent
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
            (whether), `threshold` (one, or one an update), `suggested` (a better one), `quantiles` by
            their names.

    Returns:
        A plotly figure, y logarithmic.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    norms = log["norms"]
    updates = list(log.get("updates") or range(1, len(norms) + 1))
    threshold, suggested = log.get("threshold"), log.get("suggested")
    moving = list(threshold) if isinstance(threshold, Sequence) else []
    ticks = 1 if spread([*norms, *(moving or [threshold]), suggested], 30) else None
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
    if moving:
        line(figure, updates, positive(moving), "threshold", WARN, 1.4, dash="dash")
    elif threshold is not None:
        limit(figure, threshold, f"clipped above {threshold:g}")
    if suggested is not None:
        limit(figure, suggested, f"suggested: {suggested:.2g}", COLOURS[2][0], side="left")
    return figure


def clipping(log: Mapping[str, Any]) -> str:
    """Say in one sentence what clipping did.

    >>> clipping({"norms": [1.0, 5.0], "clipped": [False, True], "threshold": 2.0})
    '1 of 2 updates (50%) were clipped to a norm of 2 (crosses).'
    """
    threshold, clipped, total = (
        log.get("threshold"),
        sum(log.get("clipped") or ()),
        len(log["norms"]),
    )
    if threshold is None:
        return "Gradients were not clipped."
    to = "a moving threshold" if isinstance(threshold, Sequence) else f"{threshold:g}"
    if clipped == 0:
        return f"No gradient was longer than {to if 'moving' in to else f'the threshold of {to}'}."
    share = f"{clipped} of {count(total, 'update')} ({percent(clipped / total)})"
    return f"{share} were clipped to a norm of {to} (crosses)."
