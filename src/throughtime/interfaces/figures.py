"""The figures of the report, as plotly figures that need no background and no network.

Colours and fonts are mid-tones that read on white and on near-black alike; lines differ by dash
as well as by colour, so that they survive a black-and-white print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from throughtime.interfaces.words import count

if TYPE_CHECKING:
    from throughtime.interfaces.report import Learning, Origin, Reach, View

INK, MODEL, WARN = "#7d8590", "#1f8fd6", "#d9480f"
BASELINES = (("#c27c0e", "dot"), ("#8a63d2", "dash"), ("#2b9a66", "dashdot"), ("#b5527d", "dot"))
_GRID = "rgba(128,136,148,0.22)"
_FONT = "Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def close_up(h: int, season_length: int) -> int:
    """Return how many points of a series are shown at first, so that the forecast can be seen."""
    return max(120, 8 * h, 4 * season_length)


def forecast(view: View, model: str, shown: int) -> Any:
    """Draw one series (at first its last `shown` points) with its forecast, intervals shaded."""
    figure = _figure()
    _bands(figure, [view.forecast_ds], [view.bands])
    _line(figure, view.ds, view.y, "observed", INK, width=1.6)
    # the line starts at the last observation; the intervals do not, nothing was unknown there
    start_ds, start_y = ([view.ds[-1]], [view.y[-1]]) if view.y else ([], [])
    _line(figure, [*start_ds, *view.forecast_ds], [*start_y, *view.forecast], model, MODEL, 2.4)
    if len(view.ds) > shown:
        figure.update_xaxes(range=[view.ds[-shown], view.forecast_ds[-1]])
    return figure


def backtest(origins: Sequence[Origin], model: str, rival: str | None) -> Any:
    """Draw what was forecast at each origin beside what then came."""
    figure = _figure()
    _bands(figure, [origin.ds for origin in origins], [origin.bands for origin in origins])
    ds = _with_gaps([origin.ds for origin in origins])
    _line(figure, ds, _with_gaps([origin.y for origin in origins]), "observed", INK, markers=True)
    for k, name in enumerate(name for name in origins[0].models if name != model):
        colour, dash = BASELINES[k % len(BASELINES)]
        values = _with_gaps([origin.models[name] for origin in origins])
        shown = True if name == rival else "legendonly"
        _line(figure, ds, values, name, colour, 1.6, dash=dash, visible=shown)
    _line(figure, ds, _with_gaps([o.models[model] for o in origins]), model, MODEL, 2.4)
    thin = {"color": _GRID, "width": 1, "dash": "dot"}
    figure.update_layout(shapes=[_upright(origin.cutoff, thin) for origin in origins])
    return figure


def learning_curve(learning: Learning, pilot: Learning | None = None) -> Any:
    """Draw the losses over the updates: the pilot run's, its best update marked, the final fit's."""
    figure = _figure()
    runs = [run for run in (pilot, learning) if run is not None]
    values = [v for run in runs for v in (*run.losses, *run.validation)]
    log = bool(values) and min(values) > 0 and max(values) > 8 * min(values)
    figure.update_yaxes(
        type="log" if log else "linear", title_text="loss", dtick=1 if log else None
    )
    figure.update_xaxes(title_text="update", rangemode="tozero")
    if pilot is not None:
        _losses(figure, pilot, "pilot: training", INK)
        _line(figure, pilot.validation_at, pilot.validation, "pilot: validation", MODEL, 2.4)
        if pilot.best_index is not None:
            _mark(figure, pilot.best_index, f"best: update {pilot.best_index}")
    final, dash = BASELINES[0]
    _losses(figure, learning, "final fit", final, dash if pilot else "solid")
    return figure


def _losses(figure: Any, run: Learning, name: str, colour: str, dash: str = "solid") -> None:
    _line(figure, range(1, len(run.losses) + 1), run.losses, name, colour, 1.2, dash=dash)


def gradient_norm(learning: Learning) -> Any:
    """Draw the norm of the gradient over the updates, with the clipping threshold."""
    figure = _figure()
    figure.update_yaxes(type="log", title_text="gradient norm", dtick=_decades(learning))
    figure.update_xaxes(title_text="update", rangemode="tozero")
    updates = list(range(1, len(learning.grad_norms) + 1))
    _line(figure, updates, learning.grad_norms, "gradient norm", MODEL, 1.3)
    clipped = [k for k, was in enumerate(learning.clipped) if was]
    if clipped:
        figure.add_scatter(
            x=[updates[k] for k in clipped],
            y=[learning.grad_norms[k] for k in clipped],
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
    if learning.threshold is not None:
        _limit(figure, learning.threshold, f"clipped above {learning.threshold:g}")
    return figure


def _decades(learning: Learning) -> int | None:
    """Return ticks at powers of ten alone where there are at least two."""
    sizes = [v for v in (*learning.grad_norms, learning.threshold) if v]
    return 1 if sizes and max(sizes) > 30 * min(sizes) else None


def reach(profile: Reach, season_length: int, step: str) -> Any:
    """Draw the gradient of one step's loss with respect to states ever further back."""
    figure = _figure()
    figure.update_yaxes(type="log", title_text="size relative to lag 0", tickformat="~p", dtick=1)
    figure.update_xaxes(title_text=f"lag ({step}s back)", rangemode="tozero")
    norms = [value if value > 0 else None for value in profile.norms]
    _line(figure, profile.lags, norms, "gradient", MODEL, 2.4)
    figure.update_layout(showlegend=False)
    _limit(figure, 0.01, "1%")
    last = profile.lags[-1] if profile.lags else 0
    if 1 < season_length <= last:
        _mark(figure, season_length, f"season: {season_length}", BASELINES[0][0])
    if profile.memory is not None:
        _mark(figure, profile.memory, f"memory: {count(profile.memory, step)}", low=True)
    return figure


def _figure() -> Any:
    import plotly.graph_objects as go

    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    return go.Figure(
        layout={
            "template": None,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": _FONT, "size": 13, "color": INK},
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "height": 380,
            "hovermode": "x unified",
            "hoverlabel": {"bgcolor": "#22272e", "font": {"color": "#e6edf3"}},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {**axis, "showgrid": False},
            "yaxis": axis,
        }
    )


def _line(
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
) -> None:
    figure.add_scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines+markers" if markers else "lines",
        line={"color": colour, "width": width, "dash": dash},
        marker={"size": 4},
        visible=visible,
        hovertemplate="%{y:,.4~g}",
        connectgaps=False,
    )
    # years are numbers, but nobody writes 1,984
    if len(x) and isinstance(x[0], int):
        figure.update_xaxes(tickformat="d", hoverformat="d")


def _bands(figure: Any, ds: Sequence[Sequence[Any]], bands: Sequence[Mapping[float, Any]]) -> None:
    """Shade the intervals, the widest first, so that the narrow ones lie darker on top."""
    for level in sorted(bands[0], reverse=True):
        figure.add_scatter(
            x=_with_gaps([[*stamps, *reversed(stamps)] for stamps in ds]),
            y=_with_gaps([[*band[level][1], *reversed(band[level][0])] for band in bands]),
            fill="toself",
            fillcolor=f"rgba(31,143,214,{0.30 if level <= 80 else 0.16})",
            line={"width": 0},
            mode="lines",
            name=f"{level:g}% interval",
            hoverinfo="skip",
        )


def _upright(x: Any, line: dict[str, Any]) -> dict[str, Any]:
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain", "line": line}


def _limit(figure: Any, y: float, text: str) -> None:
    """Draw a horizontal line across a figure whose y axis is logarithmic."""
    figure.add_hline(y=y, line={"color": WARN, "width": 1.4, "dash": "dash"})
    # plotly places lines by value, but annotations on a logarithmic axis by exponent
    figure.add_annotation(
        text=text,
        font={"color": WARN},
        showarrow=False,
        x=1,
        xref="paper",
        xanchor="right",
        y=math.log10(y),
        yref="y",
        yanchor="bottom",
    )


def _mark(figure: Any, x: float, text: str, colour: str = MODEL, low: bool = False) -> None:
    figure.add_shape(_upright(x, {"color": colour, "width": 1.4, "dash": "dash"}))
    figure.add_annotation(
        text=text,
        font={"color": colour},
        showarrow=False,
        x=x,
        xanchor="left",
        xshift=4,
        y=0.88 if low else 1,
        yref="paper",
        yanchor="top",
    )


def _with_gaps(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Put the parts one after the other with a gap between, so that lines do not join them."""
    joined: list[Any] = []
    for part in parts:
        joined += [*part, None]
    return joined[:-1]
