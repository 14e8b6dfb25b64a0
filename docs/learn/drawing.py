"""Shapes of the pictures, as SVG: text, lines, arrows, and a panel with a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

INK, TITLE, GRID, QUIET = "#57606a", "#24292f", "#e4e7eb", "#b6bec8"
LESS, LEVEL, MORE = "#1f8fd6", "#2b9a66", "#d9480f"
MINUS, TIMES = "\u2212", "\u00d7"
STYLE = f"""
text {{ font: 13px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: {INK} }}
.title {{ font-size: 17px; font-weight: 600; fill: {TITLE} }}
.strong {{ font-weight: 600; fill: {TITLE} }}
.small {{ font-size: 11.5px }}
.number {{ font-size: 12px; font-weight: 600; paint-order: stroke; stroke: #fff; stroke-width: 3px }}
"""


def page(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Return a whole picture, on white."""
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
                f'role="img" aria-label="{title}">',
                f"<style>{STYLE}</style>",
                f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>',
                *parts,
                "</svg>",
            ]
        )
        + "\n"
    )


def text(
    x: float, y: float, words: str, kind: str = "", anchor: str = "start", colour: str = ""
) -> str:
    """Return words at a place; `anchor` is start, middle or end."""
    style = f' style="fill: {colour}"' if colour else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{style}>{words}</text>'
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str = GRID, width: float = 1, dash: str = ""
) -> str:
    """Return a straight stroke."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"{dashed}/>'
    )


def curve(
    points: Sequence[tuple[float, float]], colour: str, width: float = 2.4, dash: str = ""
) -> str:
    """Return a line through points."""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
        f'stroke-linejoin="round"{dashed}/>'
    )


def arrow_back(x1: float, x2: float, y: float, width: float, colour: str) -> str:
    """Return an arrow that rises from x1 and comes down at x2, left of it."""
    head = 6 + 1.4 * width
    rise = 30
    tip, middle = (x2, y), (x1 + x2) / 2
    angle = math.atan2(rise, x2 - middle)  # of the end of the curve
    back = (tip[0] - head * math.cos(angle), tip[1] - head * math.sin(angle))
    side = (-math.sin(angle) * head * 0.48, math.cos(angle) * head * 0.48)
    corners = [tip, (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])]
    joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return (
        f'<path d="M{x1:.1f} {y:.1f} Q{middle:.1f} {y - rise:.1f} {back[0]:.1f} {back[1]:.1f}" '
        f'fill="none" stroke="{colour}" stroke-width="{width:.1f}"/>'
        f'<polygon points="{joined}" fill="{colour}"/>'
    )


class Panel:
    """A rectangle at (left, top) with a linear axis across and a logarithmic one upwards."""

    def __init__(
        self,
        place: tuple[float, float],
        size: tuple[float, float],
        across: tuple[float, float],
        upwards: tuple[float, float],
    ) -> None:
        (self.left, self.top), (self.width, self.height) = place, size
        self.across, self.upwards = across, upwards

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a pair of values lies; what is too small lies on the floor."""
        (x0, x1), (y0, y1) = self.across, self.upwards
        up = math.log(max(y, y0) / y0) / math.log(y1 / y0)
        return (
            self.left + self.width * (x - x0) / (x1 - x0),
            self.top + self.height * (1 - up),
        )

    def frame(self, ticks: Sequence[float], steps: Sequence[int], below: str) -> list[str]:
        """Return the lines and numbers at `ticks` upwards and `steps` across, and the words below."""
        right, bottom = self.left + self.width, self.top + self.height
        parts = []
        for tick in ticks:
            y = self.at(self.across[0], tick)[1]
            parts.append(line(self.left, y, right, y, QUIET if tick == 1 else GRID))
            parts.append(text(self.left - 8, y + 4, power(tick), anchor="end"))
        for step in steps:
            parts.append(text(self.at(step, 1)[0], bottom + 18, str(step), anchor="middle"))
        parts.append(text((self.left + right) / 2, bottom + 38, below, anchor="middle"))
        return parts

    def graph(self, values: Sequence[float], colour: str, dash: str = "") -> str:
        """Return the line of values at 0, 1, 2, ..., as far as it is above the floor."""
        above = [k for k, value in enumerate(values) if value >= self.upwards[0]]
        return curve([self.at(k, values[k]) for k in above], colour, 1.8 if dash else 2.4, dash)


def power(value: float) -> str:
    """Return 0.01 ... 100 as they are, and other powers of ten as such."""
    exponent = round(math.log10(value))
    if -2 <= exponent <= 2 or not math.isclose(value, 10.0**exponent):
        return f"{value:g}"
    digits = str(exponent).replace("-", MINUS)
    return f'10<tspan dy="-5" font-size="9">{digits}</tspan>'


def blend(share: float, low: str = "#f1f6fb", high: str = "#14507f") -> str:
    """Return the colour at this share of the way from `low` to `high`."""
    ends = [[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in (low, high)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends, strict=True))
