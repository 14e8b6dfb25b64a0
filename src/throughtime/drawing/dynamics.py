"""What one time step, and many, do to a small change of the state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from throughtime.drawing.theme import (
    COLOURS,
    INK,
    WARN,
    blank,
    colour,
    limit,
    line,
    positive,
)

FARTHEST = 12  # powers of ten; beyond, a double cannot tell a matrix from a singular one


def lyapunov(layers: Sequence[Mapping[str, Any]], step: str = "step") -> Any:
    """Draw the Lyapunov spectrum: the rate at which the k-th direction grows, per time step.

    Args:
        layers: each with `layer` and `lyapunov`: `exponents` in falling order, `error` of the first,
            `verdict`.
        step: the word for a time step.

    Returns:
        A plotly figure; above the line at 0 changes grow without end.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    figure.update_xaxes(title_text="direction, the slowest to die out first")
    figure.update_yaxes(title_text=f"growth per {step} (nats)")
    for k, layer in enumerate(shown := [layer for layer in layers if layer.get("lyapunov")]):
        spectrum = layer["lyapunov"]
        exponents = [_finite(v) for v in spectrum["exponents"]]
        errors = [spectrum.get("error") or 0.0] + [0.0] * (len(exponents) - 1)
        stroke, dash = colour(k)
        name = (
            f"{layer['layer']}: {spectrum['verdict']}"
            if spectrum.get("verdict")
            else layer["layer"]
        )
        line(
            figure,
            range(1, len(exponents) + 1),
            exponents,
            name,
            stroke,
            1.6,
            dash=dash,
            markers=True,
            error_y={"array": errors, "color": stroke, "thickness": 1.4},
        )
    figure.update_layout(showlegend=bool(shown))
    limit(figure, 0.0, "the edge: above it, gradients explode")
    return figure


def singular_values(layers: Sequence[Mapping[str, Any]], step: str = "step") -> Any:
    """Draw the singular values and the spectral radius of the one-step Jacobians over time.

    Args:
        layers: each with `layer` and `jacobians`: `largest`, `radius`, `smallest` at `steps` (1, 2,
            ... where there are none).
        step: the word for a time step.

    Returns:
        A plotly figure, y logarithmic. At a value of 1 a change of the state keeps its size.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    figure.update_xaxes(title_text=f"{step} of the window")
    figure.update_yaxes(type="log", title_text="change of size in one step")
    shown = [layer for layer in layers if layer.get("jacobians")]
    values: list[float | None] = [1.0]
    for k, layer in enumerate(shown):
        found, own = layer["jacobians"], f"{layer['layer']}: " if len(shown) > 1 else ""
        steps = found.get("steps") or list(range(1, len(found["largest"]) + 1))
        drawn = (("largest", "solid", 2.4), ("radius", "dash", 1.6), ("smallest", "dot", 1.6))
        for kind, (which, dash, width) in enumerate(drawn):
            if which != "largest" and len(shown) > 2:
                continue  # a forest of lines says nothing
            stroke = colour(k)[0] if len(shown) > 1 else (colour(0)[0], COLOURS[1][0], INK)[kind]
            name = f"{own}{_NAMES[which]}"
            line(figure, steps, positive(found[which]), name, stroke, width, dash=dash)
            values += found[which]
    if (shape := _decades(values)) is not None:
        figure.update_yaxes(dtick=shape, exponentformat="power")
    limit(figure, 1.0, "keeps its size", INK)
    return figure


_NAMES = {"largest": "largest", "radius": "spectral radius", "smallest": "smallest"}


def long_jacobian(layers: Sequence[Mapping[str, Any]], step: str = "step") -> Any:
    """Draw what many steps in a row do: the largest singular value of J_t ... J_{t-l+1} over the lag.

    Args:
        layers: each with `layer` and `jacobians`: `lags`, `log10_long_largest`,
            `log10_long_condition`.
        step: the word for a time step.

    Returns:
        A plotly figure in powers of ten: the largest singular value, and, where there are at most
        two layers, how much larger it is than the smallest (the condition).

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    figure.update_xaxes(title_text=f"{step}s in a row", rangemode="tozero")
    figure.update_yaxes(title_text="power of ten", tickprefix="10<sup>", ticksuffix="</sup>")
    shown = [layer for layer in layers if layer.get("jacobians")]
    sizes = [-2.0, 0.0]
    for k, layer in enumerate(shown):
        found, own = layer["jacobians"], f"{layer['layer']}: " if len(shown) > 1 else ""
        stroke, _ = colour(k)
        largest = [_finite(v) for v in found["log10_long_largest"]]
        line(figure, found["lags"], largest, f"{own}largest", stroke, 2.4, markers=True)
        sizes += [v for v in largest if v is not None]
        if len(shown) < 3:
            condition = [_finite(v) for v in found["log10_long_condition"]]
            weak = INK if len(shown) == 1 else stroke
            line(figure, found["lags"], condition, f"{own}largest over smallest", weak, dash="dot")
    # the condition soon leaves every scale on which the largest value could be read
    figure.update_yaxes(range=[min(sizes) - 0.5, max(sizes) + 3])
    limit(figure, -2.0, "1 %", WARN)
    return figure


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _decades(values: Sequence[float | None]) -> int | None:
    """Return how many powers of ten lie between ticks; None for plotly's own where there are few."""
    sizes = [v for v in positive(values) if v is not None]
    decades = math.log10(max(sizes) / min(sizes))
    return None if decades < 1.5 else max(1, round(decades / 5))
