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
_QUANTILES = {"0.5": "median", "0.95": "95 %"}


def gradient_history(log: Mapping[str, Any]) -> Any:
    """Draw the gradient's norm over the updates, its quantiles, and what clipping did.

    Args:
        log: `updates` (from 0), `norms` before clipping, `thresholds` and `fired` (whether clipping
            did), all of one entry an update; where there are any, `quantiles` by their share,
            `explosions` with the update of their `onset`, and a `suggested_threshold`.

    Returns:
        A plotly figure, y logarithmic.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    norms, updates = log["norms"], [index + 1 for index in log["updates"]]
    thresholds, suggested = _thresholds(log), log.get("suggested_threshold")
    ticks = 1 if spread([*norms, *thresholds, suggested], 30) else None
    figure.update_yaxes(type="log", title_text="gradient norm", dtick=ticks)
    figure.update_xaxes(title_text="update", rangemode="tozero")
    line(figure, updates, positive(norms), "gradient norm", MODEL, 1.3)
    for share, name in _QUANTILES.items():
        value = (log.get("quantiles") or {}).get(share)
        if value and len(norms) >= FEWEST:
            line(figure, [updates[0], updates[-1]], [value] * 2, name, INK, 1, dash="dot")
    norm_at = dict(zip(updates, norms, strict=True))
    fired = [k for k, was in zip(updates, log.get("fired") or (), strict=False) if was]
    _crosses(figure, norm_at, fired, f"clipped ({len(fired)})", "x-thin", WARN)
    onsets = [each["onset"] + 1 for each in log.get("explosions") or ()]
    _crosses(
        figure, norm_at, onsets, f"explosion ({len(onsets)})", "star-triangle-up", COLOURS[1][0]
    )
    if len(set(thresholds)) > 1:
        line(figure, updates, log["thresholds"], "threshold", WARN, 1.4, dash="dash")
    elif thresholds:
        limit(figure, thresholds[0], f"clipped above {thresholds[0]:g}")
    if suggested is not None:
        limit(figure, suggested, f"suggested: {suggested:.2g}", COLOURS[2][0], side="left")
    return figure


def clipping(log: Mapping[str, Any]) -> str:
    """Say in one sentence what clipping did.

    >>> clipping({"norms": [1.0, 5.0], "fired": [False, True], "thresholds": [2.0, 2.0]})
    '1 of 2 updates (50%) were clipped to a norm of 2 (crosses).'
    """
    thresholds, fired = _thresholds(log), sum(log.get("fired") or ())
    if not thresholds and not fired:
        return "Gradients were not clipped."
    share = (
        f"{fired} of {count(len(log['norms']), 'update')} ({percent(fired / len(log['norms']))})"
    )
    if len(set(thresholds)) != 1:
        return f"{share} were clipped (crosses)."
    if fired == 0:
        return f"No gradient was longer than the threshold of {thresholds[0]:g}."
    return f"{share} were clipped to a norm of {thresholds[0]:g} (crosses)."


def _thresholds(log: Mapping[str, Any]) -> list[float]:
    return [value for value in log.get("thresholds") or () if value is not None]


def _crosses(
    figure: Any,
    norm_at: Mapping[int, float],
    updates: Sequence[int],
    name: str,
    symbol: str,
    colour: str,
) -> None:
    if updates:
        marker = {"color": colour, "size": 6 if symbol == "x-thin" else 11, "symbol": symbol}
        figure.add_scatter(
            x=list(updates),
            y=[norm_at[k] for k in updates],
            mode="markers",
            name=name,
            marker={**marker, "line_width": 1.6, "line_color": colour},
        )
