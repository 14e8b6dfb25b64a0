"""The numbers of `truncation.py` as a page of Markdown."""

from __future__ import annotations

import statistics
from typing import Any

from kernels_page import table

Row = dict[str, Any]


def page(results: dict[str, Any]) -> str:
    """Return the page: what was run, and for each part what k2 costs and saves."""
    plan = results["plan"]
    head = (
        "# What truncation costs\n\n"
        f"Commit {results['commit']}, {results['date']}, `{results['command']}`: "
        f"{results['seconds'] / 60:.1f} minutes on one thread of {results['processor']}. "
        f"Seeds {', '.join(map(str, plan['seeds']))}."
    )
    titles = {
        "sunspots": (
            "## Monthly sunspots, a year ahead\n\n"
            f"A GRU of 32 units on one sequence, {plan['sunspots']} updates, one every 24 months that "
            "reaches k2 back; the best mean squared error on the validation part, mean (least to "
            "most) over the seeds, on the scale of the training part's standard deviation."
        ),
        "adding": (
            "## The adding problem, T = 100\n\n"
            f"A GRU of 64 units, {plan['adding']} updates with 20 new sequences each; the gradient "
            "goes k2 steps back; squared error over 1/6, mean (least to most) over the seeds."
        ),
    }
    bodies = [
        "\n\n".join([title, trained(results[part]), bias(results[part])])
        for part, title in titles.items()
        if part in results
    ]
    return "\n\n".join([head, *bodies]) + "\n"


def trained(rows: list[Row]) -> str:
    lines = [
        [
            row["k2"] or "all",
            f"{statistics.mean(row['scores']):.4f} ({min(row['scores']):.4f} to "
            f"{max(row['scores']):.4f})",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
        if "scores" in row
    ]
    return table(["k2", "loss", "seconds"], lines)


def bias(rows: list[Row]) -> str:
    lines = [
        [
            row["state"],
            row["k2"],
            *(f"{row[kind]:.2g}" for kind in ("predicted", "newest", "update")),
        ]
        for row in rows
        if "predicted" in row
    ]
    heads = ["net", "k2", "predicted from the lag profile", "measured, newest step", "of an update"]
    return (
        "The relative bias of the gradient by the layer's weights; trained is the net of the first "
        "seed that learned with the longest reach.\n\n" + table(heads, lines)
    )
