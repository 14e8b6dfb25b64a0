"""How far open gates stand, and how often they are stuck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from throughtime.drawing.theme import COLOURS, HEIGHT, INK, MODEL, blank

_NAMES = {
    "min": {"f": "keeping"},
    "lstm": {"i": "input", "f": "forget", "g": "candidate", "o": "output", "tanh(c)": "shown cell"},
    "gru": {"r": "reset", "z": "update", "n": "candidate"},
    "rnn": {"h": "state"},
}


def gates(layers: Sequence[Mapping[str, Any]]) -> Any:
    """Draw, for every gate, the share of its values that are stuck at either end, or free between.

    Args:
        layers: each with `layer`, `operator` and `gates`, whose `gates` by name hold `kind`, `low`,
            `high` (shares) and `mean`.

    Returns:
        A plotly figure, one bar a gate, with a dot at the gate's mean (of a sigmoid).

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    rows = _rows(layers)
    names = [name for name, _ in rows]
    low = [gate["low"] for _, gate in rows]
    high = [gate["high"] for _, gate in rows]
    parts = (
        ("stuck low (shut, or dead)", low, COLOURS[1][0]),
        (
            "free",
            [
                1 - a - b if g["kind"] != "relu" else 0.0
                for a, b, (_, g) in zip(low, high, rows, strict=True)
            ],
            MODEL,
        ),
        ("stuck high (open; of a ReLU, active)", high, COLOURS[0][0]),
    )
    for name, shares, stroke in parts:
        figure.add_bar(
            x=shares,
            y=names,
            orientation="h",
            width=min(0.65, 0.12 * len(rows)),  # a gate alone is no wall
            name=name,
            marker={"color": stroke, "opacity": 0.75},
            hovertemplate="%{x:.1%}",
        )
    means = [(name, gate["mean"]) for name, gate in rows if gate["kind"] == "sigmoid"]
    if means:
        figure.add_scatter(
            x=[mean for _, mean in means],
            y=[name for name, _ in means],
            mode="markers",
            name="mean opening",
            marker={"color": INK, "size": 9, "line": {"color": "#ffffff", "width": 1.5}},
            hovertemplate="%{x:.2f}",
        )
    figure.update_layout(barmode="stack", hovermode="y unified", legend_traceorder="normal")
    figure.update_xaxes(tickformat=".0%", range=[0, 1.0], title_text="share of values")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.layout.height = max(HEIGHT, 120 + 34 * len(rows))
    return figure


def _rows(layers: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    shown = [layer for layer in layers if (layer.get("gates") or {}).get("gates")]
    rows = []
    for layer in shown:
        own = f"{layer['layer']}: " if len(shown) > 1 else ""
        for letter, gate in layer["gates"]["gates"].items():
            rows.append((f"{own}{_name(layer.get('operator', ''), letter)}", gate))
    return rows


def _name(operator: str, letter: str) -> str:
    """Return how a reader calls a gate.

    >>> _name("lstm", "f"), _name("gru_after", "z"), _name("mine", "q")
    ('forget', 'update', 'q')
    """
    family = next((names for key, names in _NAMES.items() if key in operator), {})
    return family.get(letter, letter)
