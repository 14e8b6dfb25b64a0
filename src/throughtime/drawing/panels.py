"""Several figures as small multiples in one: each keeps its axes, its colour bar and its marks.

A figure's axes have domains within [0, 1]; here these are moved into a cell. What refers to an axis
(`x2`, `y domain`) refers to the moved one; nothing may refer to `paper`. Legends cannot be moved into
a cell without running into the next, so each panel names its lines in their own colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from throughtime.drawing.theme import HEIGHT, INK, blank

_TITLE, _LINE, _BAR = 34, 16, 52  # pixels that a title, a line of names and a colour bar take
_FOOT, _SIDE = 58, 110  # pixels under and left of the axes of a cell
_WIDTH = 1100  # pixels for which the gaps between columns are reckoned
_LETTERS = 84  # that fit on a line over a panel of half the width
_KEPT = ("barmode",)
_AXIS = re.compile(r"([xy])axis(\d*)")
_REFERENCE = re.compile(r"([xy])(\d*)( domain)?")
_STROKES = {"solid": "\u2501", "dash": "\u254c", "dot": "\u2508", "dashdot": "\u254d"}

Panel = tuple[str, Any]
Box = tuple[float, float, float, float]  # x0, x1, y0, y1


def together(rows: Sequence[Sequence[Panel]], height: int = HEIGHT) -> Any:
    """Return one figure of titled figures in rows; each row is as high as its highest, at least `height`.

    >>> both = together([[("one", blank()), ("two", blank())]])
    >>> both.layout.xaxis2.domain[0] > both.layout.xaxis.domain[1]
    True
    """
    import plotly.graph_objects as go

    heights = [max([height, *(panel.layout.height for _, panel in row)]) for row in rows]
    total = sum(heights)
    layout: dict[str, Any] = {
        **blank(total or height).to_plotly_json()["layout"],
        "hovermode": "closest",
    }
    for name in ("xaxis", "yaxis", "legend"):
        del layout[name]
    layout |= {"showlegend": False, "shapes": [], "annotations": [], "meta": "small multiples"}
    traces: list[dict[str, Any]] = []
    axes = top = 0
    for row, high in zip(rows, heights, strict=True):
        plains = [panel.to_plotly_json() for _, panel in row]
        head = max(_TITLE + _LINE * len(_names(plain)) + _over(plain) for plain in plains)
        for k, ((title, _), plain) in enumerate(zip(row, plains, strict=True)):
            nested = "meta" in plain["layout"]
            y0 = 1 - (top + high - (0 if nested else _FOOT)) / total
            y1 = 1 - (top + (_LINE if nested else head)) / total
            box = (k / len(row) + (_SIDE / _WIDTH if k else 0), (k + 1) / len(row), y0, y1)
            layout["annotations"].append(_title(title, plain, axes))
            axes += _place(plain, box, axes, layout, traces)
        top += high
    return go.Figure({"data": traces, "layout": layout})


def _place(
    panel: dict[str, Any], box: Box, axes: int, layout: dict[str, Any], traces: list[dict[str, Any]]
) -> int:
    """Move one figure into its box of the layout; return how many axes it had."""
    inner = panel["layout"]
    found = [match for match in map(_AXIS.fullmatch, inner) if match]
    for match in found:
        letter, number = match.groups()
        axis = {"anchor": ("y" if letter == "x" else "x") + number, **inner[match[0]]}
        layout[f"{letter}axis{_number(number, axes)}"] = {
            **axis,
            "domain": _moved(axis.get("domain", (0, 1)), box, letter),
            "anchor": _referred(axis["anchor"], axes),
        }
    for trace in panel["data"]:
        refers = {f"{a}axis": _referred(trace.get(f"{a}axis", a), axes) for a in "xy"}
        bar = {"colorbar": _colour_bar(trace["colorbar"], box)} if "colorbar" in trace else {}
        traces.append({**trace, **refers, **bar})
    for kind in ("shapes", "annotations"):
        for each in inner.get(kind, ()):
            refers = {f"{a}ref": _referred(each[f"{a}ref"], axes) for a in "xy"}
            layout[kind].append({**each, **refers})
    layout |= {name: inner[name] for name in _KEPT if name in inner}
    return len(found) // 2


def _moved(domain: Sequence[float], box: Box, letter: str) -> list[float]:
    low, high = box[:2] if letter == "x" else box[2:]
    return [low + share * (high - low) for share in domain]


def _number(number: str, axes: int) -> str:
    moved = int(number or 1) + axes
    return "" if moved == 1 else str(moved)


def _referred(reference: str, axes: int) -> str:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"{reference!r} refers to no axis, and cannot be moved")
    return f"{match[1]}{_number(match[2], axes)}{match[3] or ''}"


def _colour_bar(bar: dict[str, Any], box: Box) -> dict[str, Any]:
    [x] = _moved([bar["x"]], box, "x")
    [y] = _moved([bar["y"]], box, "y")
    return {**bar, "x": x, "y": y, "len": bar["len"] * (box[1] - box[0])}


def _title(text: str, panel: dict[str, Any], axes: int) -> dict[str, Any]:
    """Return the words over a panel: its title, and below it the names of its lines."""
    return {
        "text": "<br>".join([f"<b>{text}</b>", *_names(panel)]),
        "x": 0,
        "xref": _referred("x domain", axes),
        "xanchor": "left",
        "align": "left",
        "y": 1,
        "yref": _referred("y domain", axes),
        "yanchor": "bottom",
        "yshift": 6 + _over(panel),
        "showarrow": False,
        "font": {"size": 12, "color": INK},
    }


def _over(panel: dict[str, Any]) -> int:
    """Return the pixels over the axes that a colour bar takes, and in small multiples a title."""
    bar = any(trace.get("showscale") for trace in panel["data"])
    return _BAR * bar + (_TITLE - 12) * ("meta" in panel["layout"])


def _names(panel: dict[str, Any]) -> list[str]:
    """Return lines of the names of a panel's lines, where there is more than one to tell apart."""
    if panel["layout"].get("showlegend") is False:
        return []
    return _in_lines(list(_keys(panel)))


def _keys(panel: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield what names each line in its colour, and how many letters that takes."""
    for trace in panel["data"]:
        if trace.get("name") and trace["type"] in ("scatter", "bar"):
            line, marker = trace.get("line", {}), trace.get("marker", {})
            symbol = _STROKES.get(line.get("dash", "solid"), "") if "color" in line else "\u25cf"
            colour = line.get("color") or marker.get("color", INK)
            text = f"{symbol} {trace['name']}"
            yield f'<span style="color:{colour}">{text}</span>', len(text) + 3


def _in_lines(keys: Sequence[tuple[str, int]]) -> list[str]:
    lines: list[list[str]] = []
    room = 0
    for text, letters in keys:
        if letters > room:
            lines.append([])
            room = _LETTERS
        lines[-1].append(text)
        room -= letters
    return ["&nbsp;&nbsp; ".join(line) for line in lines]
