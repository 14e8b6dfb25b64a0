"""Draw the ratios of training that `kernels.py` measured: one panel for each cell and batch size.

Across is the hidden size, up the ratio torch.nn / ours on a logarithmic axis, a line for each length;
a point is the geometric mean over the input sizes. Run with
`python benchmarks/kernels_plot.py [numbers.json] [picture.svg]`.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean

from kernels_pairs import Row

from throughtime._files import write_atomically

ROOT = Path(__file__).parents[1]
NUMBERS, PICTURE = ROOT / "benchmarks/results/kernels.json", ROOT / "docs/images/kernels.svg"

WIDTH, HEIGHT = 250, 170  # of a panel
GAP, BETWEEN = 26, 60  # columns and rows of panels
LEFT, TOP, RIGHT, BOTTOM = 62, 92, 24, 60  # around all panels
LEGEND = 104  # from one entry to the next
COLOURS = ("#7fc4e8", "#1f8fd6", "#1a5fa8", "#14305c")  # the longer, the darker
TITLE = "Training: times faster than torch.nn on the same threads"
STYLE = """
text { font: 13px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #57606a }
.title { font-size: 16px; font-weight: 600; fill: #24292f }
.panel { font-weight: 600; fill: #24292f }
.grid { stroke: #e4e7eb }
.even { stroke: #d9480f; stroke-width: 1.4; stroke-dasharray: 5 4 }
polyline { fill: none; stroke-width: 2.2; stroke-linejoin: round }
"""


@dataclass(frozen=True)
class Scale:
    """Where numbers lie within a panel: hidden sizes evenly, ratios by their logarithm."""

    sizes: list[int]
    least: float
    most: float

    def x(self, size: int) -> float:
        margin = 18
        step = (WIDTH - 2 * margin) / max(1, len(self.sizes) - 1)
        return margin + step * self.sizes.index(size)

    def y(self, ratio: float) -> float:
        return HEIGHT * math.log(self.most / ratio) / math.log(self.most / self.least)

    def ticks(self) -> list[float]:
        """Return the round ratios within."""
        return [
            tick for tick in (0.25, 0.5, 1, 2, 5, 10, 20, 50) if self.least <= tick <= self.most
        ]


def picture(rows: list[Row]) -> str:
    """Return the picture of these points of training."""
    cells, batches, lengths, inputs, sizes = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("cell", "B", "T", "I", "H")
    )
    ratios = [row["ratio"] for row in rows]
    scale = Scale(sizes, min(0.8, *ratios) / 1.05, max(ratios) * 1.15)
    colours = dict(zip(lengths, COLOURS, strict=False))
    width = LEFT + len(batches) * (WIDTH + GAP) - GAP + RIGHT
    height = TOP + len(cells) * (HEIGHT + BETWEEN) - BETWEEN + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{TITLE}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        text(LEFT, 30, TITLE, "title"),
        legend(colours),
    ]
    for i, cell in enumerate(cells):
        for j, batch in enumerate(batches):
            chosen = [row for row in rows if (row["cell"], row["B"]) == (cell, batch)]
            place = f"{LEFT + j * (WIDTH + GAP)} {TOP + i * (HEIGHT + BETWEEN)}"
            parts += [
                f'<g transform="translate({place})">',
                text(0, -8, f"{cell}, B = {batch}", "panel"),
                frame(scale, numbered=j == 0),
                *(line(scale, chosen, T, colour) for T, colour in colours.items()),
                "</g>",
            ]
    words = f"hidden size H; means over I = {', '.join(map(str, inputs))}"
    below = text((LEFT + width - RIGHT) / 2, height - 14, words, anchor="middle")
    return "\n".join([*parts, below, "</svg>"]) + "\n"


def legend(colours: dict[int, str]) -> str:
    """Return a stroke and a name for each length, and for the line where both are as fast."""
    parts = []
    for k, (T, colour) in enumerate(colours.items()):
        x = LEFT + LEGEND * k
        parts.append(
            f'<line x1="{x}" x2="{x + 20}" y1="48" y2="48" stroke="{colour}" stroke-width="3"/>'
        )
        parts.append(text(x + 26, 52, f"T = {T}"))
    x = LEFT + LEGEND * len(colours)
    parts.append(f'<line x1="{x}" x2="{x + 20}" y1="48" y2="48" class="even"/>')
    return "\n".join([*parts, text(x + 26, 52, "as fast as torch.nn")])


def frame(scale: Scale, numbered: bool) -> str:
    """Return a panel's lines at round ratios and its numbers."""
    parts = []
    for tick in scale.ticks():
        y, kind = scale.y(tick), "even" if tick == 1 else "grid"
        parts.append(f'<line x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="{kind}"/>')
        if numbered:
            parts.append(text(-8, y + 4, f"{tick:g}", anchor="end"))
    parts += [text(scale.x(H), HEIGHT + 18, str(H), anchor="middle") for H in scale.sizes]
    return "\n".join(parts)


def line(scale: Scale, rows: list[Row], T: int, colour: str) -> str:
    """Return the line of one length: the ratio by hidden size."""
    of = {H: [r["ratio"] for r in rows if (r["T"], r["H"]) == (T, H)] for H in scale.sizes}
    places = [(scale.x(H), scale.y(geometric_mean(ratios))) for H, ratios in of.items() if ratios]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return "\n".join([f'<polyline points="{joined}" stroke="{colour}"/>', *dots])


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what kernels.py measured.")
    parser.add_argument("numbers", nargs="?", type=Path, default=NUMBERS)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    options = parser.parse_args()
    rows = json.loads(options.numbers.read_text(encoding="utf-8"))["grid"]
    drawn = picture([row for row in rows if row.get("mode") == "training"])
    write_atomically(options.picture, drawn)
    print(f"written to {options.picture}")


if __name__ == "__main__":
    main()
