"""Series, their forecasts with intervals, and what was forecast at earlier origins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from throughtime.drawing.theme import GRID, INK, MODEL, blank, colour, line, upright

Band = Mapping[float, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Origin:
    """What was forecast from one cutoff, and what then came; one value a step, a list a model."""

    cutoff: Any
    ds: Sequence[Any]
    y: Sequence[float | None]
    models: Mapping[str, Sequence[float]]
    bands: Band


@dataclass(frozen=True)
class View:
    """One series, its forecast and its back-test. Dates are ISO texts or integers."""

    name: str
    ds: Sequence[Any]
    y: Sequence[float | None]
    forecast_ds: Sequence[Any]
    forecast: Sequence[float]
    bands: Band
    origins: Sequence[Origin] = ()


def close_up(h: int, season_length: int) -> int:
    """Return how many points of a series are shown at first, so that the forecast can be seen."""
    return max(120, 8 * h, 4 * season_length)


def forecast(view: View, model: str, shown: int) -> Any:
    """Draw one series (at first its last `shown` points) with its forecast, intervals shaded.

    Raises `MissingExtraError` where plotly is not installed.
    """
    figure = blank()
    _bands(figure, [view.forecast_ds], [view.bands])
    line(figure, view.ds, view.y, "observed", INK, width=1.6)
    # the line starts at the last observation; the intervals do not, nothing was unknown there
    start_ds, start_y = ([view.ds[-1]], [view.y[-1]]) if view.y else ([], [])
    line(figure, [*start_ds, *view.forecast_ds], [*start_y, *view.forecast], model, MODEL, 2.4)
    if len(view.ds) > shown:
        figure.update_xaxes(range=[view.ds[-shown], view.forecast_ds[-1]])
    return figure


def backtest(origins: Sequence[Origin], model: str, rival: str | None, choose: bool = True) -> Any:
    """Draw what was forecast at each origin beside what then came.

    Of the other models `rival` is shown; the rest can be chosen in the legend, or are left out.

    Raises `MissingExtraError` where plotly is not installed.
    """
    figure = blank()
    _bands(figure, [origin.ds for origin in origins], [origin.bands for origin in origins])
    ds = _with_gaps([origin.ds for origin in origins])
    line(figure, ds, _with_gaps([origin.y for origin in origins]), "observed", INK, markers=True)
    for k, name in enumerate(name for name in origins[0].models if name != model):
        stroke, dash = colour(k + 1)
        values = _with_gaps([origin.models[name] for origin in origins])
        if not (choose or name == rival):
            continue
        shown = True if name == rival else "legendonly"
        line(figure, ds, values, name, stroke, 1.6, dash=dash, visible=shown)
    line(figure, ds, _with_gaps([o.models[model] for o in origins]), model, MODEL, 2.4)
    thin = {"color": GRID, "width": 1, "dash": "dot"}
    figure.update_layout(shapes=[upright(origin.cutoff, thin) for origin in origins])
    return figure


def _bands(figure: Any, ds: Sequence[Sequence[Any]], bands: Sequence[Mapping[float, Any]]) -> None:
    """Shade the intervals, the widest first, so that the narrow ones lie darker on top."""
    for level in sorted(bands[0], reverse=True):
        narrow = level <= 80
        figure.add_scatter(
            x=_with_gaps([[*stamps, *reversed(stamps)] for stamps in ds]),
            y=_with_gaps([[*band[level][1], *reversed(band[level][0])] for band in bands]),
            fill="toself",
            fillcolor=f"rgba(31,143,214,{0.30 if narrow else 0.16})",
            # of its name in small multiples, which must be read on white
            marker={"color": f"rgba(31,143,214,{0.9 if narrow else 0.65})"},
            line={"width": 0},
            mode="lines",
            name=f"{level:g}% interval",
            hoverinfo="skip",
        )


def _with_gaps(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Put the parts one after the other with a gap between, so that lines do not join them."""
    joined: list[Any] = []
    for part in parts:
        joined += [*part, None]
    return joined[:-1]
