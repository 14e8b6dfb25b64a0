"""The figures of a forecast, its back-test and its training, that need no background and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from throughtime.drawing.theme import COLOURS, GRID, INK, MODEL, blank, line, mark, upright

if TYPE_CHECKING:
    from throughtime.interfaces.report import Learning, Origin, View


def close_up(h: int, season_length: int) -> int:
    """Return how many points of a series are shown at first, so that the forecast can be seen."""
    return max(120, 8 * h, 4 * season_length)


def forecast(view: View, model: str, shown: int) -> Any:
    """Draw one series (at first its last `shown` points) with its forecast, intervals shaded."""
    figure = blank()
    _bands(figure, [view.forecast_ds], [view.bands])
    line(figure, view.ds, view.y, "observed", INK, width=1.6)
    # the line starts at the last observation; the intervals do not, nothing was unknown there
    start_ds, start_y = ([view.ds[-1]], [view.y[-1]]) if view.y else ([], [])
    line(figure, [*start_ds, *view.forecast_ds], [*start_y, *view.forecast], model, MODEL, 2.4)
    if len(view.ds) > shown:
        figure.update_xaxes(range=[view.ds[-shown], view.forecast_ds[-1]])
    return figure


def backtest(origins: Sequence[Origin], model: str, rival: str | None) -> Any:
    """Draw what was forecast at each origin beside what then came."""
    figure = blank()
    _bands(figure, [origin.ds for origin in origins], [origin.bands for origin in origins])
    ds = _with_gaps([origin.ds for origin in origins])
    line(figure, ds, _with_gaps([origin.y for origin in origins]), "observed", INK, markers=True)
    for k, name in enumerate(name for name in origins[0].models if name != model):
        colour, dash = COLOURS[k % len(COLOURS)]
        values = _with_gaps([origin.models[name] for origin in origins])
        shown = True if name == rival else "legendonly"
        line(figure, ds, values, name, colour, 1.6, dash=dash, visible=shown)
    line(figure, ds, _with_gaps([o.models[model] for o in origins]), model, MODEL, 2.4)
    thin = {"color": GRID, "width": 1, "dash": "dot"}
    figure.update_layout(shapes=[upright(origin.cutoff, thin) for origin in origins])
    return figure


def learning_curve(learning: Learning, pilot: Learning | None = None) -> Any:
    """Draw the losses over the updates: the pilot run's, its best update marked, the final fit's."""
    figure = blank()
    runs = [run for run in (pilot, learning) if run is not None]
    values = [v for run in runs for v in (*run.losses, *run.validation)]
    log = bool(values) and min(values) > 0 and max(values) > 8 * min(values)
    figure.update_yaxes(
        type="log" if log else "linear", title_text="loss", dtick=1 if log else None
    )
    figure.update_xaxes(title_text="update", rangemode="tozero")
    if pilot is not None:
        _losses(figure, pilot, "pilot: training", INK)
        line(figure, pilot.validation_at, pilot.validation, "pilot: validation", MODEL, 2.4)
        if pilot.best_index is not None:
            mark(figure, pilot.best_index, f"best: update {pilot.best_index}")
    final, dash = COLOURS[0]
    _losses(figure, learning, "final fit", final, dash if pilot else "solid")
    return figure


def _losses(figure: Any, run: Learning, name: str, colour: str, dash: str = "solid") -> None:
    line(figure, range(1, len(run.losses) + 1), run.losses, name, colour, 1.2, dash=dash)


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


def _with_gaps(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Put the parts one after the other with a gap between, so that lines do not join them."""
    joined: list[Any] = []
    for part in parts:
        joined += [*part, None]
    return joined[:-1]
