"""The profiles of trainings as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]

PARTS = ("recurrence", "products", "optimiser")
REST = ("examples", "forward", "backward", "loss", "between")
HEAD = """\
# Where the time of a training goes

`python benchmarks/accuracy/profile_runs.py`: shares of the time between the first update and the last, \
by PyTorch's profiler. `recurrence` are the kernels, `products` the large matrix products, `optimiser` AdamW \
with clipping and averages. The rest, which is to be below 25 %, is `examples` (windows cut, scaled and \
weighed), other operators of `forward` and `backward`, `loss`, and everything `between`. What \
Python takes is in the part that it runs in. Milliseconds an update are without the profiler, which \
makes small operators slower, and the rest greater than it is; on a busy machine shares hold, \
milliseconds do not."""


def page(rows: Mapping[str, Row]) -> str:
    """Return the page."""
    from kernels_page import table

    heads = ["training", "ms an update", *PARTS, "rest", *REST]
    lines = [
        [
            row["title"],
            f"{row['ms']:.1f}",
            *(percent(row["shares"].get(part, 0.0)) for part in PARTS),
            f"**{percent(row['rest'])}**" if row["rest"] < 0.25 else percent(row["rest"]),
            *(percent(row["shares"].get(part, 0.0)) for part in REST),
        ]
        for row in rows.values()
    ]
    made = [
        f"- {name}: commit {row['commit']}, `{row['command']}`, {row['date']}, {row['processor']}, "
        f"{row['threads']} of {row['cores']} cores, load {row['load']}, torch {row['torch']}"
        for name, row in rows.items()
    ]
    parts = [HEAD, table(heads, lines), "## What they were made with", "\n".join(made)]
    return "\n\n".join(parts) + "\n"


def percent(share: float) -> str:
    """Return a share in per cent.

    >>> percent(0.256)
    '25.6 %'
    """
    return f"{100 * share:.1f} %"
