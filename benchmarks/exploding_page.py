"""The numbers of `exploding.py` as a page of Markdown, and as a picture."""

from __future__ import annotations

import math
import statistics
from typing import Any

from kernels_page import table
from kernels_plot import STYLE, text

Sweep = dict[str, Any]

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM, GAP = 380, 240, 70, 76, 30, 62, 60
TITLE = "Monthly sunspots, ReLU RNN: validation loss over the clipping threshold"


def page(results: dict[str, Any]) -> str:
    """Return the page: what was run, and for each learning rate the sweep and the suggestion."""
    head = (
        "# Exploding, and the threshold that stops it\n\n"
        f"Commit {results['commit']}, {results['date']}, `{results['command']}`: "
        f"{results['seconds'] / 60:.1f} minutes on one thread of {results['processor']}. "
        f"Seeds {', '.join(map(str, results['seeds']))}; {results['updates']} updates; the loss is "
        "the mean squared error on the validation part, on the scale of the training part's standard "
        "deviation."
    )
    return "\n\n".join([head, *map(section, results["sweeps"])]) + "\n"


def section(sweep: Sweep) -> str:
    broke = [update for update in sweep["broke"] if update is not None]
    lines = [
        [
            f"{row['threshold']:g}",
            f"{mean(row):.4f}" if math.isfinite(mean(row)) else "",
            f"{error(row):.4f}" if math.isfinite(mean(row)) else "",
            sum(not math.isfinite(loss) for loss in row["losses"]),
        ]
        for row in sweep["sweep"]
    ]
    best = best_of(sweep)
    return (
        f"## Learning rate {sweep['rate']:g}\n\n"
        f"Without clipping {len(broke)} of {len(sweep['broke'])} runs end in numbers that are none, at updates "
        f"{', '.join(map(str, broke))}.\n\n"
        + table(["threshold", "validation loss", "standard error", "runs that broke"], lines)
        + f"\n\nBest of the sweep: {best:g}.\n\n"
        + table(
            ["suggested by", "least", "median", "most", "within a factor of 2 of the best"],
            [
                ["ten times the median norm", *spread(sweep["suggested"], best)],
                ["`GradientLog.suggested_threshold`", *spread(sweep["logged"], best)],
            ],
        )
    )


def spread(suggested: list[float], best: float) -> list[str]:
    within = sum(is_near(each, best) for each in suggested)
    numbers = min(suggested), statistics.median(suggested), max(suggested)
    return [*(f"{each:.2f}" for each in numbers), f"{within} of {len(suggested)}"]


def best_of(sweep: Sweep) -> float:
    return float(min(sweep["sweep"], key=mean)["threshold"])


def is_near(threshold: float, best: float) -> bool:
    return best / 2 <= threshold <= best * 2


def mean(row: Sweep) -> float:
    return float(statistics.mean(row["losses"]))


def error(row: Sweep) -> float:
    losses: list[float] = row["losses"]
    return statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan


def picture(results: dict[str, Any]) -> str:
    """Return a panel for each learning rate: loss over threshold, and the suggestions."""
    sweeps = results["sweeps"]
    width = LEFT + len(sweeps) * (WIDTH + GAP) - GAP + RIGHT
    height = TOP + HEIGHT + BOTTOM
    means = [mean(row) for sweep in sweeps for row in sweep["sweep"]]
    finite = [value for value in means if math.isfinite(value)]
    low, high = min(finite), max(finite)
    margin = (high - low) / 10 or 0.01
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{TITLE}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        text(LEFT, 30, TITLE, "title"),
    ]
    for k, sweep in enumerate(sweeps):
        parts.append(f'<g transform="translate({LEFT + k * (WIDTH + GAP)} {TOP})">')
        parts += panel(sweep, low - margin, high + margin)
        parts.append("</g>")
    below = "clipping threshold; shaded: ten times the median norm of one run; red: some runs broke"
    parts.append(text(width / 2, height - 12, below, anchor="middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(sweep: Sweep, low: float, high: float) -> list[str]:
    thresholds = [row["threshold"] for row in sweep["sweep"]]
    first, last = math.log2(thresholds[0]) - 0.5, math.log2(thresholds[-1]) + 0.5

    def x(threshold: float) -> float:
        return WIDTH * (math.log2(threshold) - first) / (last - first)

    def y(loss: float) -> float:
        return HEIGHT * (high - loss) / (high - low) if math.isfinite(loss) else 0.0

    from_, to = x(min(sweep["suggested"])), x(max(sweep["suggested"]))
    parts = [
        text(0, -10, f"learning rate {sweep['rate']:g}", "panel"),
        f'<rect x="{from_:.1f}" width="{max(to - from_, 2):.1f}" height="{HEIGHT}" fill="#dbeefb"/>',
        f'<line x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}" class="grid"/>',
    ]
    for k in range(5):
        loss = low + (high - low) * k / 4
        parts.append(f'<line x2="{WIDTH}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" class="grid"/>')
        parts.append(text(-8, y(loss) + 4, f"{loss:.3f}", anchor="end"))
    kept = [row for row in sweep["sweep"] if math.isfinite(mean(row))]
    places = " ".join(f"{x(row['threshold']):.1f},{y(mean(row)):.1f}" for row in kept)
    parts.append(f'<polyline points="{places}" stroke="#1a5fa8"/>')
    for row in sweep["sweep"]:
        fine = math.isfinite(mean(row))
        parts.append(
            f'<circle cx="{x(row["threshold"]):.1f}" cy="{y(mean(row)):.1f}" r="4" '
            f'fill="{"#1a5fa8" if fine else "#d9480f"}"/>'
        )
        if math.log2(row["threshold"]) % 2 == 0:
            parts.append(
                text(x(row["threshold"]), HEIGHT + 18, f"{row['threshold']:g}", anchor="middle")
            )
    return parts
