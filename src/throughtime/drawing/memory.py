"""How far back the gradient reaches, and what it costs to look no further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from throughtime._words import count
from throughtime.drawing.theme import (
    COLOURS,
    INK,
    MODEL,
    blank,
    colour,
    limit,
    line,
    mark,
    positive,
    upright,
)

DEEPEST = 1e-8  # under this a curve has long ended, and the axis with it
ADDS = "partial autocorrelation"


def lag_profile(
    layers: Sequence[Mapping[str, Any]],
    need: Mapping[str, Any] | None = None,
    step: str = "step",
) -> Any:
    """Draw phi_l / phi_0 over the lag, a line a layer, beside the lags that the data depends on.

    Args:
        layers: each with `layer` and `lag_profile`: `lags`, `norms` relative to the newest, `memory`.
        need: `cycle`, and `lags` with the `lag` and the `evidence` of each.
        step: the word for a time step.

    Returns:
        A plotly figure. The axis reaches the data's cycle also where the net does not.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    figure.update_yaxes(
        type="log", title_text="size relative to the newest", tickformat="~p", dtick=1
    )
    figure.update_xaxes(title_text=f"{step}s before the newest", rangemode="tozero")
    profiles = [(layer["layer"], layer["lag_profile"]) for layer in layers]
    for k, (name, profile) in enumerate(profiles):
        norms = [v if v is not None and v >= DEEPEST else None for v in profile["norms"]]
        stroke, dash = colour(k)
        line(
            figure,
            profile["lags"],
            positive(norms),
            name,
            stroke,
            2.4,
            dash=dash,
            hovertemplate="%{y:.2~p}",
        )
    last = max((p["lags"][-1] for _, p in profiles if p["lags"]), default=0)
    beyond = ((need or {}).get("cycle") or 0) > last
    limit(figure, 0.01, "1 %", side="left" if beyond else "right")
    if len(profiles) == 1:
        figure.update_layout(showlegend=False)
        memory = profiles[0][1].get("memory")
        if memory is not None:
            mark(figure, memory, f"memory: {count(memory, step)}", low=True)
    if need is not None:
        _draw_need(figure, need, last, step)
    return figure


def _draw_need(figure: Any, need: Mapping[str, Any], last: int, step: str) -> None:
    """Mark the data's cycle, and with ticks at the foot the lags that add something to nearer ones."""
    cycle = need.get("cycle")
    edge = max(last, cycle or 0)
    for found in need.get("lags", ()):
        if found["evidence"] in (ADDS, "cross-correlation") and found["lag"] <= edge:
            tick = upright(found["lag"], {"color": COLOURS[0][0], "width": 2})
            figure.add_shape({**tick, "y1": 0.035})
    if cycle:
        mark(figure, cycle, f"the data's cycle: {cycle}", COLOURS[0][0], dash="dot")
        if cycle > last:
            figure.layout.annotations[-1].update(xanchor="right", xshift=-4)
            figure.update_xaxes(range=[0, 1.03 * cycle])


def truncation_bias(layers: Sequence[Mapping[str, Any]], step: str = "step") -> Any:
    """Draw the gradient's relative bias over the length at which it is cut off.

    Args:
        layers: each with `layer` and `truncation_bias`: `lengths`, the `bias` that was measured,
            and, where there is one, the `predicted`.
        step: the word for a time step.

    Returns:
        A plotly figure, both axes logarithmic.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    figure.update_xaxes(type="log", title_text=f"cut off after so many {step}s", dtick="D2")
    figure.update_yaxes(type="log", title_text="relative bias", tickformat="~p", dtick=1)
    shown = [layer for layer in layers if layer.get("truncation_bias")]
    for k, layer in enumerate(shown):
        curve, name = layer["truncation_bias"], layer["layer"] if len(shown) > 1 else "bias"
        stroke = MODEL if len(shown) == 1 else colour(k)[0]
        bias = positive([_seen(v) for v in curve["bias"]])
        line(
            figure,
            curve["lengths"],
            bias,
            name,
            stroke,
            2.4,
            markers=True,
            hovertemplate="%{y:.2~p}",
        )
        if curve.get("predicted"):
            guess = positive([_seen(v) for v in curve["predicted"]])
            line(
                figure,
                curve["lengths"],
                guess,
                "predicted" if len(shown) == 1 else f"{name}, predicted",
                INK if len(shown) == 1 else stroke,
                dash="dot",
                hovertemplate="%{y:.2~p}",
            )
    limit(figure, 0.1, "10 %")
    return figure


def _seen(value: float | None) -> float | None:
    return value if value is not None and value >= DEEPEST else None
