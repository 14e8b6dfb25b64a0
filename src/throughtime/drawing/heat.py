"""How far back the gradient reaches, update by update, as a picture of heat.

Every row is one update: the lag profile phi_l / phi_0 at that moment of the training, the newest time
step at the right, the past to the left. The line is the memory, the first lag under 1 %. Colours are
those of things that glow: dark from 0.01 % down, pale at the size of the newest, blue beyond. They are
even steps of size for the eye, and the same in every picture: a net that cannot learn from the past is
black on the left, one that explodes is blue there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from throughtime._words import count
from throughtime.drawing.panels import together
from throughtime.drawing.theme import blank

COLDEST, HOTTEST = -4, 6  # log10; what lies beyond is drawn in the colour of the end
MOST_ROWS, MOST_COLUMNS = 160, 264
FORGOTTEN = 0.01
_GROWING = ("#b9f2c8", "#55d8e6", "#2c9cf2", "#2348d8")  # from the size of the newest upwards
_LINE, _NEED = "#ffffff", "#4db8d8"


def heat_map(
    log: Mapping[str, Any], need: Mapping[str, Any] | None = None, step: str = "step"
) -> Any:
    """Draw the gradient's size over time by update, one panel a layer.

    Args:
        log: `looks`, each with the `index` of an update (from 0) and `profiles`: by layer, the norm of
            the gradient at every time step, the newest last; None where there was no step.
        need: a `cycle` of the data, marked where the picture reaches that far.
        step: the word for a time step.

    Returns:
        A plotly figure.

    Raises:
        MissingExtraError: plotly is not installed.

    >>> looks = [{"index": 0, "profiles": {"l0": [0, 0.1, 1]}}, {"index": 9, "profiles": {"l0": [8, 4, 2]}}]
    >>> list(heat_map({"looks": looks}).data[0].z)
    [[0.0, -1.0, -4], [0.0, 0.301, 0.602]]
    """
    layers = heats(log)
    top = hottest(layers)
    panels = [(layer["layer"], _layer(layer, top, need, step)) for layer in layers]
    if len(panels) == 1:
        return panels[0][1]
    for _, panel in panels[1:]:
        panel.data[0].showscale = False  # one key will do
    return together([[panel] for panel in panels], height=320)


def heats(log: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, by layer, the `updates` (from 1), the `lags`, and the `norms` relative to the newest.

    >>> heats({"looks": [{"index": 0, "profiles": {"l0": [1, 2, 4]}}]})
    [{'layer': 'l0', 'updates': [1], 'lags': [0, 1, 2], 'norms': [[1.0, 0.5, 0.25]]}]
    """
    looks = log.get("looks") or ()
    found = []
    for name in dict.fromkeys(name for look in looks for name in look["profiles"]):
        own = [look for look in looks if look["profiles"].get(name)]
        rows = [_relative(look["profiles"][name]) for look in own]
        T = max(map(len, rows), default=0)
        if T:
            norms = [row + [None] * (T - len(row)) for row in rows]
            updates = [look["index"] + 1 for look in own]
            found.append(
                {"layer": name, "updates": updates, "lags": list(range(T)), "norms": norms}
            )
    return found


def _relative(profile: Sequence[float | None]) -> list[float | None]:
    newest = profile[-1]
    if newest is None or not newest > 0:
        return [None] * len(profile)
    return [None if v is None else v / newest for v in reversed(profile)]


def hottest(layers: Sequence[Mapping[str, Any]]) -> int:
    """Return the exponent of ten at which the scale ends: 0 unless something grows into the past."""
    sizes = (v for layer in layers for row in layer["norms"] for v in row)
    largest = max((v for v in sizes if v is not None and not math.isnan(v)), default=1.0)
    if not math.isfinite(largest):
        return HOTTEST
    return min(HOTTEST, max(0, math.ceil(math.log10(largest) - 0.15))) if largest > 0 else 0


def memory_by_update(layer: Mapping[str, Any]) -> list[int | None]:
    """Return the first lag under 1 % at every update, None where there is none.

    >>> layer = {"lags": [0, 1, 2], "norms": [[1, 0.02, 0.009], [1, 0.5, 0.25]]}
    >>> memory_by_update(layer)
    [2, None]
    """
    lags = layer["lags"]
    return [
        next(
            (lag for lag, v in zip(lags, row, strict=False) if v is not None and v < FORGOTTEN),
            None,
        )
        for row in layer["norms"]
    ]


def _layer(layer: Mapping[str, Any], top: int, need: Mapping[str, Any] | None, step: str) -> Any:
    figure = blank()
    rows = _spread(len(layer["updates"]), MOST_ROWS)
    columns = _spread(len(layer["lags"]), MOST_COLUMNS)
    lags = [layer["lags"][k] for k in columns]
    updates = [layer["updates"][k] for k in rows]
    z = [[_exponent(layer["norms"][u][k]) for k in columns] for u in rows]
    figure.add_heatmap(
        x=lags,
        y=updates,
        z=z,
        zmin=COLDEST,
        zmax=top,
        colorscale=_colours(top),
        showscale=True,
        colorbar=_key(top),
        hoverongaps=False,
        hovertemplate=f"update %{{y}}<br>%{{x}} {step}s before the newest"
        "<br>10<sup>%{z:.1f}</sup> of the newest gradient<extra></extra>",
    )
    _draw_memory(figure, layer, rows, step)
    cycle = (need or {}).get("cycle")
    if cycle and cycle <= lags[-1]:
        _draw_need(figure, cycle)
    figure.update_xaxes(title_text=f"{step}s before the newest", range=_edges(lags)[::-1])
    figure.update_yaxes(title_text="update", showgrid=False, range=_edges(updates))
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.layout.margin.t = 76
    return figure


def _draw_memory(figure: Any, layer: Mapping[str, Any], rows: Sequence[int], step: str) -> None:
    memory = memory_by_update(layer)
    if all(lag is None for lag in memory):
        return
    figure.add_scatter(
        x=[memory[k] for k in rows],
        y=[layer["updates"][k] for k in rows],
        mode="lines",
        line={"color": _LINE, "width": 1.6},
        name="1 %",
        hovertemplate="1 % at %{x}<extra></extra>",
    )
    if memory[-1] is not None:
        far = memory[-1] > 0.75 * layer["lags"][-1]  # no room for words behind it
        figure.add_annotation(
            text=f"1 % at {count(memory[-1], step)}",
            x=memory[-1],
            xref="x",
            xanchor="left" if far else "right",
            xshift=5 if far else -5,
            y=1,
            yref="y domain",
            yanchor="top",
            yshift=-4,
            showarrow=False,
            font={"color": _LINE},
            bgcolor="rgba(0,0,0,0.4)",
        )


def _draw_need(figure: Any, cycle: int) -> None:
    place = {"x0": cycle, "x1": cycle, "xref": "x", "y0": 0, "y1": 1, "yref": "y domain"}
    stroke = {"color": _NEED, "width": 1.4, "dash": "dash"}
    figure.add_shape({"type": "line", **place, "line": stroke})
    figure.add_annotation(
        text=f"cycle: {cycle}",
        x=cycle,
        xref="x",
        xanchor="left",
        xshift=4,
        y=0,
        yref="y domain",
        yanchor="bottom",
        showarrow=False,
        font={"color": _NEED},
        bgcolor="rgba(0,0,0,0.4)",
    )


def _colours(top: int) -> list[tuple[float, str]]:
    """Return the colours over [0, 1]: up to the size of the newest always the same."""
    from plotly.colors import sequential

    glow = sequential.Inferno
    newest = -COLDEST / (top - COLDEST)
    scale = [(newest * k / (len(glow) - 1), shade) for k, shade in enumerate(glow)]
    if top > 0:
        steps = len(_GROWING)
        scale += [(newest + (1 - newest) * (k + 1) / steps, c) for k, c in enumerate(_GROWING)]
    return scale


def _key(top: int) -> dict[str, Any]:
    exponents = list(range(COLDEST, top + 1, 1 if top < 2 else 2))
    return {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "len": 0.98,
        "thickness": 9,
        "outlinewidth": 0,
        "tickvals": exponents,
        "ticktext": [_size(e) for e in exponents],
        "ticks": "",
        "tickangle": 0,
        "ticklabelposition": "outside",
        "title": {"text": "size of the gradient beside the newest step's", "side": "top"},
    }


def _size(exponent: int) -> str:
    """Write a power of ten as the reader of a key does.

    >>> [_size(e) for e in (-4, -2, 0, 2)]
    ['0.01 %', '1 %', '100 %', '100 times']
    """
    return f"{10.0 ** (exponent + 2):g} %" if exponent <= 0 else f"{10**exponent:,} times"


def _exponent(size: float | None) -> float | None:
    if size is None or math.isnan(size):
        return None
    if size <= 0:
        return COLDEST
    return round(min(max(math.log10(size), COLDEST), HOTTEST), 3) if size < math.inf else HOTTEST


def _edges(places: Sequence[int]) -> list[float]:
    """Return where the first cell begins and the last one ends.

    >>> _edges([1, 5, 9]), _edges([7])
    ([-1.0, 11.0], [6.5, 7.5])
    """
    width = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 1
    return [places[0] - width / 2, places[-1] + width / 2]


def _spread(n: int, most: int) -> list[int]:
    """Return at most so many of n places, spread evenly, the first and the last among them."""
    if n <= most:
        return list(range(n))
    return [round(k * (n - 1) / (most - 1)) for k in range(most)]
