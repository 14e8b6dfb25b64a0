"""The numbers of `kernels.py` as a page of Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from statistics import geometric_mean
from typing import Any

from kernels_pairs import Row

MODES = ("training", "inference")
WIDTH = 128  # the hidden size whose share of the peak is told


def page(results: dict[str, Any]) -> str:
    """Return the page: the machine, then the parts there are, the points of the grid at the end."""
    sections = [machine(results)]
    sections += [write(results) for part, write in SECTIONS if part in results]
    return "\n\n".join(sections) + "\n"


def machine(results: dict[str, Any]) -> str:
    is_ = results["machine"]
    return (
        "# The kernels, measured\n\n"
        f"Commit {results['commit']}, {results['date']}, `python benchmarks/kernels.py`. "
        f"{is_['processor']}, cores: {is_['cores']}, threads: {is_['threads']}; "
        f"torch {is_['torch']}; our kernels: {is_['kernels']}. "
        f"PyTorch multiplies matrices of 2048 x 2048 in float32 at {is_['peak_gflops']:.0f} GFLOP/s "
        "at best, the peak below.\n\n"
        "Ratios are times of torch.nn over ours, so above 1 we are faster: medians of runs by turns "
        "in one process, float32. Training is forward and backward, with gradients of the weights."
    )


def summary(results: dict[str, Any]) -> str:
    """Return, for each cell and mode, the ratios and what of the peak is reached."""
    peak, rows = results["machine"]["peak_gflops"], []
    for cell, mode, points in by_cell_and_mode(results):
        least, best = min(points, key=ratio), max(points, key=gflops)
        mean = f"{geometric_mean(map(ratio, points)):.2f}"
        low, high = f"{ratio(least):.2f} ({where(least)})", f"{max(map(ratio, points)):.1f}"
        rows.append([cell, mode, len(points), mean, low, high, speed(best, peak), where(best)])
    heads = ["cell", "", "points", "geometric mean", "least ratio", "most"]
    heads += ["our best GFLOP/s", "where"]
    return "## Training and inference\n\n" + table(heads, rows) + left_out(results)


def left_out(results: dict[str, Any]) -> str:
    skipped = [f"{row['cell']} {where(row)}" for row in results["grid"] if "left_out" in row]
    return (
        "\n\nLeft out, because PyTorch would keep more than 4 GiB (T B H numbers of 4 bytes, "
        + (f"4 times for the RNN, 12 times for the others): {'; '.join(skipped) or 'nothing'}.")
    )


def at_one_width(results: dict[str, Any]) -> str:
    """Return what of the peak is reached at one hidden size."""
    peak, rows = results["machine"]["peak_gflops"], []
    for cell, mode, points in by_cell_and_mode(results):
        wide = [point for point in points if point["H"] == WIDTH]
        if not wide:
            continue
        best = max(wide, key=gflops)
        large = [gflops(point) / peak for point in wide if point["B"] == 256]
        span = f"{min(large):.0%} to {max(large):.0%}" if large else "-"
        rows.append([cell, mode, speed(best, peak), where(best), span])
    heads = ["cell", "", "our best GFLOP/s", "where", "of the peak at B=256"]
    return f"## At H = {WIDTH}\n\n" + table(heads, rows)


def points(results: dict[str, Any]) -> str:
    """Return the ratio of every point, one table for each cell and mode."""
    blocks = ["## Every ratio"]
    for cell, mode, rows in by_cell_and_mode(results):
        of = {tuple(row[axis] for axis in "BHTI"): f"{row['ratio']:.2f}" for row in rows}
        columns = sorted({key[2:] for key in of})
        lines = [
            [B, H, *(of.get((B, H, *column), "-") for column in columns)]
            for B, H in sorted({key[:2] for key in of})
        ]
        heads = ["B", "H", *(f"T={T}, I={inputs}" for T, inputs in columns)]
        blocks.append(f"### {cell}, {mode}\n\n" + table(heads, lines))
    return "\n\n".join(blocks)


def newest(results: dict[str, Any]) -> str:
    rows = [[row["cell"], where(row), *times(row, "ms")] for row in results["newest"]]
    heads = ["cell", "where", "torch.nn ms", "ours ms", "ratio"]
    return (
        "## Training from the newest output alone\n\nThe gradient vanishes on its way back, through "
        "numbers that processors are slow with; ours count them as zero.\n\n"
    ) + table(heads, rows)


def packed(results: dict[str, Any]) -> str:
    rows = [
        [
            row["cell"],
            "packed" if row["packed"] else "padded",
            "both" if row["bidirectional"] else "forward",
            where(row),
            *times(row, "ms"),
        ]
        for row in results["packed"]
    ]
    heads = ["cell", "series", "direction", "where", "torch.nn ms", "ours ms", "ratio"]
    return "## Training on packed series, and in both directions\n\n" + table(heads, rows)


def streaming(results: dict[str, Any]) -> str:
    rows = [[row["cell"], *times(row, "us")] for row in results["streaming"]]
    heads = ["cell", "torch.nn µs", "ours µs", "ratio"]
    return "## One step of one series (I=8, H=64), state given\n\n" + table(heads, rows)


def ensembles(results: dict[str, Any]) -> str:
    rows = [[r["cell"], r["E"], where(r), *times(r, "ms")] for r in results["ensembles"]]
    heads = ["cell", "members", "where", "torch.nn ms", "ours ms", "ratio"]
    return "## Training ensembles\n\n" + table(heads, rows)


def memory(results: dict[str, Any]) -> str:
    rows = results["memory"]
    large = [row for row in rows if row["torch_mib"] > 1] or rows
    worst = max(large, key=lambda row: float(row["share"]))
    lines = [
        [
            row["cell"],
            where(row),
            *(f"{row[name]:.3g}" for name in ("torch_mib", "ours_mib")),
            f"{row['share']:.2f}",
        ]
        for row in rows
    ]
    heads = ["cell", "where", "torch.nn MiB", "ours MiB", "ours / torch.nn"]
    return (
        "## Peak memory of training\n\nBeyond what the process held before its first update. "
        f"Largest share: {worst['share']:.2f} ({worst['cell']} {where(worst)}), "
        "of those where torch.nn takes over 1 MiB; below, a few pages decide.\n\n"
    ) + table(heads, lines)


def accuracy(results: dict[str, Any]) -> str:
    names = [
        f"{library}_{what}" for what in ("output", "gradients") for library in ("torch", "ours")
    ]
    rows = [
        [row["cell"], row["dtype"], *(f"{row[name]:.1e}" for name in names)]
        for row in results["accuracy"]
    ]
    heads = ["cell", "", "output, torch.nn", "ours", "gradients, torch.nn", "ours"]
    return (
        f"## Accuracy\n\nLargest difference from the NumPy oracle, relative to its largest magnitude "
        f"({where(results['accuracy'][0])}); for gradients the worst parameter's or the input's.\n\n"
    ) + table(heads, rows)


SECTIONS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    ("grid", summary),
    ("grid", at_one_width),
    ("newest", newest),
    ("packed", packed),
    ("streaming", streaming),
    ("ensembles", ensembles),
    ("memory", memory),
    ("accuracy", accuracy),
    ("grid", points),
]


def by_cell_and_mode(results: dict[str, Any]) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield the points of the grid that were timed, those of each cell and mode together."""
    timed = [row for row in results["grid"] if "ratio" in row]
    cells = dict.fromkeys(row["cell"] for row in timed)
    for cell, mode in itertools.product(cells, MODES):
        yield cell, mode, [row for row in timed if (row["cell"], row["mode"]) == (cell, mode)]


def ratio(row: Row) -> float:
    return float(row["ratio"])


def gflops(row: Row) -> float:
    return float(row["gflops"])


def speed(row: Row, peak: float) -> str:
    return f"{gflops(row):.0f} ({gflops(row) / peak:.0%} of the peak)"


def where(row: Row) -> str:
    return ", ".join(f"{axis}={row[axis]}" for axis in "TBIH")


def times(row: Row, unit: str) -> list[str]:
    return [*(f"{row[f'{name}_{unit}']:.3g}" for name in ("torch", "ours")), f"{row['ratio']:.2f}"]


def table(heads: list[str], rows: Iterable[list[Any]]) -> str:
    """Return a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
