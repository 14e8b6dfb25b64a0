"""Draw what `memory_tasks.py` found: each net's gradient before training, and what came of it.

A panel for each task and length; across, on a logarithmic axis, the gradient at the farthest lag that
is needed, over the newest; a line for each net; filled where the task was solved, ringed in red where
what was said before training did not come true.
"""

from __future__ import annotations

import math
from typing import Any

from kernels_plot import STYLE, text

Row = dict[str, Any]

WIDTH, LINE = 250, 22  # of a panel, and of a net's line within
LEFT, TOP, RIGHT, BOTTOM, GAP, BETWEEN = 215, 92, 24, 52, 26, 56
LEAST = 1e-30  # all below is drawn there
SOLVED, NOT, WRONG = "#1a7f5a", "#ffffff", "#d9480f"
TITLE = "The gradient that arrives before training, and what training brought"


def picture(rows: list[Row]) -> str:
    """Return the picture as SVG."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    nets = list(dict.fromkeys(row["net"] for row in rows))
    common = [sorted({row["T"] for row in rows if row["task"] == task})[:3] for task in tasks]
    columns, height = max(map(len, common)), LINE * len(nets)
    width = LEFT + columns * (WIDTH + GAP) - GAP + RIGHT
    whole = TOP + len(tasks) * (height + BETWEEN) - BETWEEN + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" role="img" '
        f'aria-label="{TITLE}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{whole}" rx="8" fill="#ffffff"/>',
        text(24, 30, TITLE, "title"),
        legend(),
    ]
    for i, (task, lengths) in enumerate(zip(tasks, common, strict=True)):
        for j, T in enumerate(lengths):
            chosen = [row for row in rows if (row["task"], row["T"]) == (task, T)]
            place = f"{LEFT + j * (WIDTH + GAP)} {TOP + i * (height + BETWEEN)}"
            parts += [
                f'<g transform="translate({place})">',
                text(0, -8, f"{task}, T = {T}", "panel"),
                frame(nets, height, named=j == 0),
                *(dot(row, nets.index(row["net"])) for row in chosen),
                "</g>",
            ]
    below = "gradient at the farthest lag needed, over the newest one"
    parts.append(text((LEFT + width - RIGHT) / 2, whole - 12, below, anchor="middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def x(share: float) -> float:
    """Return where a share of the newest gradient lies across a panel."""
    margin, least = 10, math.log10(LEAST)
    return margin + (WIDTH - 2 * margin) * (1 - math.log10(max(share, LEAST)) / least)


def legend() -> str:
    marks = (
        (SOLVED, SOLVED, "solved"),
        (NOT, "#57606a", "not solved"),
        (NOT, WRONG, "foretold wrong"),
    )
    parts = []
    for k, (fill, stroke, words) in enumerate(marks):
        at = 30 + 130 * k
        parts.append(
            f'<circle cx="{at}" cy="52" r="6" fill="{fill}" stroke="{stroke}" stroke-width="2"/>'
        )
        parts.append(text(at + 12, 56, words))
    return "\n".join(parts)


def frame(nets: list[str], height: int, named: bool) -> str:
    """Return a panel's lines, the names of the nets and the numbers below."""
    parts = []
    for k, net in enumerate(nets):
        y = LINE * (k + 0.5)
        parts.append(f'<line x2="{WIDTH}" y1="{y}" y2="{y}" class="grid"/>')
        if named:
            parts.append(text(-12, y + 4, net, anchor="end"))
    edge = x(0.01)
    parts.append(f'<line x1="{edge:.1f}" x2="{edge:.1f}" y2="{height}" class="even"/>')
    for power in (-30, -20, -10, 0):
        words = f"1e{power}" if power else "1"
        parts.append(text(x(10.0**power), height + 16, words, anchor="middle"))
    return "\n".join(parts)


def dot(row: Row, k: int) -> str:
    solved = row["outcome"] == "solved"
    wrong = bool(row["verdict"]["learns"]) != solved
    fill, stroke = (SOLVED if solved else NOT), (SOLVED if solved else "#57606a")
    across, y = x(row["before"]["farthest"]), LINE * (k + 0.5)
    words = f"{row['net']}: {row['outcome']}, {row['made']} updates"
    ring = (
        f'<circle cx="{across:.1f}" cy="{y}" r="9" fill="none" stroke="{WRONG}" stroke-width="2"/>'
    )
    return (
        f'<circle cx="{across:.1f}" cy="{y}" r="6" fill="{fill}" stroke="{stroke}" stroke-width="2">'
        f"<title>{words}</title></circle>" + (ring if wrong else "")
    )
