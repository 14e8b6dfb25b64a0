"""Colours and strokes that every figure shares.

Colours and fonts are mid-tones that read on white and on near-black alike; lines differ by dash
as well as by colour, so that they survive a black-and-white print. What is placed beside values is
placed by `x domain` and `y domain`, so that figures can be put together (`panels.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from throughtime._errors import MissingExtraError

INK, MODEL, WARN = "#7d8590", "#1f8fd6", "#d9480f"
COLOURS = (("#c27c0e", "dot"), ("#8a63d2", "dash"), ("#2b9a66", "dashdot"), ("#b5527d", "dot"))
GRID = "rgba(128,136,148,0.22)"
FONT = "Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
HEIGHT = 380
INSTALL = "pip install 'throughtime[report]'"


def require_plotly() -> None:
    """Refuse, with the line that installs it, where plotly is missing."""
    if find_spec("plotly") is None:
        raise MissingExtraError("plotly, for figures", "it is not installed", INSTALL)


def blank(height: int = HEIGHT) -> Any:
    """Return a figure with the house's axes and nothing on them."""
    require_plotly()
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    return go.Figure(
        layout={
            "template": None,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": INK},
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "height": height,
            "hovermode": "x unified",
            "hoverlabel": {"bgcolor": "#22272e", "font": {"color": "#e6edf3"}},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {**axis, "showgrid": False},
            "yaxis": axis,
        }
    )


def colour(k: int) -> tuple[str, str]:
    """Return colour and dash of the k-th of several lines.

    >>> colour(0), colour(1)
    (('#1f8fd6', 'solid'), ('#c27c0e', 'dot'))
    """
    return (MODEL, "solid") if k == 0 else COLOURS[(k - 1) % len(COLOURS)]


def line(
    figure: Any,
    x: Sequence[Any],
    y: Sequence[Any],
    name: str,
    colour: str,
    width: float = 1.8,
    *,
    dash: str = "solid",
    markers: bool = False,
    visible: bool | str = True,
    **more: Any,
) -> None:
    """Draw a line; None in `y` is a gap."""
    figure.add_scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines+markers" if markers else "lines",
        line={"color": colour, "width": width, "dash": dash},
        marker={"size": 4},
        visible=visible,
        connectgaps=False,
        **{"hovertemplate": "%{y:,.4~g}", **more},
    )
    # years are numbers, but nobody writes 1,984
    if len(x) and isinstance(x[0], int):
        figure.update_xaxes(tickformat="d", hoverformat="d")


def upright(x: Any, line: dict[str, Any]) -> dict[str, Any]:
    """Return the shape of a vertical line at `x`."""
    place = {"x0": x, "x1": x, "xref": "x", "y0": 0, "y1": 1, "yref": "y domain"}
    return {"type": "line", **place, "line": line}


def limit(figure: Any, y: float, text: str, colour: str = WARN, side: str = "right") -> None:
    """Draw a horizontal line across a figure, with its name at one side."""
    place = {"x0": 0, "x1": 1, "xref": "x domain", "y0": y, "y1": y, "yref": "y"}
    stroke = {"color": colour, "width": 1.4, "dash": "dash"}
    figure.add_shape({"type": "line", **place, "line": stroke})
    # plotly places lines by value, but annotations on a logarithmic axis by exponent
    exponent = figure.layout.yaxis.type == "log"
    figure.add_annotation(
        text=text,
        font={"color": colour},
        showarrow=False,
        x=1 if side == "right" else 0,
        xref="x domain",
        xanchor=side,
        y=math.log10(y) if exponent else y,
        yref="y",
        yanchor="bottom",
    )


def mark(
    figure: Any, x: float, text: str, colour: str = MODEL, low: bool = False, dash: str = "dash"
) -> None:
    """Draw a vertical line across a figure, with its name at the top or a little lower."""
    figure.add_shape(upright(x, {"color": colour, "width": 1.4, "dash": dash}))
    exponent = figure.layout.xaxis.type == "log"
    figure.add_annotation(
        text=text,
        font={"color": colour},
        showarrow=False,
        x=math.log10(x) if exponent else x,
        xref="x",
        xanchor="left",
        xshift=4,
        y=0.88 if low else 1,
        yref="y domain",
        yanchor="top",
    )


def positive(values: Sequence[float | None]) -> list[float | None]:
    """Return the values that a logarithmic axis can show, None for the others.

    >>> positive([1.0, 0.0, None, float("inf")])
    [1.0, None, None, None]
    """
    return [v if v is not None and 0 < v < math.inf else None for v in values]


def spread(values: Sequence[float | None], factor: float) -> bool:
    """Say whether the largest value is more than `factor` times the smallest that is above 0."""
    sizes = [v for v in positive(values) if v is not None]
    return bool(sizes) and max(sizes) > factor * min(sizes)
