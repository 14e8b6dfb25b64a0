"""The runs of the benchmarks of accuracy as one table, beside what they have to reach."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """What one measure of one run must reach, aims at, and what was published; in minutes a seed.

    `must` and `aim` are figures, or shares of the best of the baselines that the run has `beside`.
    """

    key: str
    words: str
    measure: str
    must: float | None
    aim: float | None
    published: str
    minutes: int | None = None
    beside: tuple[str, ...] = ()

    def figure(self, target: float | None, run: Row | None) -> float | None:
        """Return what a target is."""
        if not self.beside or target is None or run is None:
            return None if self.beside else target
        errors = [
            run["beside"][name][self.measure] for name in self.beside if name in run["beside"]
        ]
        return float(target * min(errors)) if errors else None


def _ett(name: str, must: list[float], segrnn: list[float], others: list[str]) -> list[Aim]:
    """Return the four horizons of a table."""
    return [
        Aim(f"{name}-{h}", f"{name}, h = {h}: MSE", "mse", a, b, f"SegRNN {b:.3f}, {other}", 10)
        for h, a, b, other in zip((96, 192, 336, 720), must, segrnn, others, strict=True)
    ]


BASELINES = ("Naive", "seasonal naive", "AR", "AR(9)", "AutoARIMA")
AIMS = [
    Aim(
        "m4-yearly", "M4 yearly: OWA", "owa", 0.778, 0.755, "ES-RNN .778, N-BEATS ensemble .762", 10
    ),
    Aim("m4-weekly", "M4 weekly: OWA", "owa", 0.71, 0.67, "ES-RNN .851, FFORMA .796", 3),
    Aim("m4-hourly", "M4 hourly: OWA", "owa", 0.46, 0.41, "ES-RNN .440, FFORMA .484", 10),
    Aim("m4-yearly", "M4 yearly: MSIS", "msis", 23.898, None, "ES-RNN 23.898"),
    Aim("m4-weekly", "M4 weekly: MSIS", "msis", 22.034, None, "ES-RNN 22.034"),
    Aim("m4-hourly", "M4 hourly: MSIS", "msis", 7.928, None, "ES-RNN 7.928"),
    *_ett(
        "ETTh1",
        [0.365, 0.405, 0.435, 0.475],
        [0.351, 0.392, 0.423, 0.466],
        [
            "PatchTST .375, linear .374",
            "PatchTST .418, linear .408",
            "PatchTST .462, linear .429",
            "PatchTST .495, linear .440",
        ],
    ),
    *_ett(
        "ETTm1",
        [0.305, 0.340, 0.370, 0.420],
        [0.293, 0.328, 0.357, 0.410],
        ["PatchTST .300", "PatchTST .339", "PatchTST .368", "PatchTST .420"],
    ),
    Aim("sunspots-yearly", "yearly sunspots: MAE", "mae", 20.5, 19, "AR(9) 21.1, AutoARIMA 30.0"),
    Aim(
        "sunspots-monthly",
        "monthly sunspots: MAE",
        "mae",
        1.0,
        0.85,
        "the best baseline",
        beside=BASELINES,
    ),
    Aim("sunspots-one-year", "one year ahead: error, 1921-55", "1921-55", None, None, "AR(9) .127"),
    Aim("sunspots-one-year", "one year ahead: error, 1956-79", "1956-79", None, None, "AR(9) .351"),
]
HEADS = (
    "data, measure",
    "must",
    "aim",
    "published",
    "naive",
    "ours",
    "least to most",
    "seeds",
    "seconds",
    "minutes allowed",
    "MiB",
    "commit",
)
HEAD = """\
# Accuracy

`python benchmarks/accuracy/m4.py`, `ett.py` and `sunspots.py`: means over seeds, **bold** where they \
reach what they must. Seconds are those of one seed on the wall, to fit and to forecast, and MiB \
the peak of its process. Settings are chosen with --validate, which looks at no test part; the years \
of the yearly sunspots after 1920 were looked at before that rule (decision 0008), so theirs is no clean \
test. A row whose command has --set is not one of the defaults."""


def page(runs: Mapping[str, Row]) -> str:
    """Return the page."""
    from kernels_page import table

    parts = [HEAD, table(list(HEADS), rows(runs))]
    if found := list(made_with(runs)):
        parts.append("## What they were made with\n\n" + "\n".join(found))
    return "\n\n".join(parts) + "\n"


def rows(runs: Mapping[str, Row]) -> Iterator[list[str]]:
    """Yield a line of the table for every aim, whether it was run or not."""
    for aim in AIMS:
        run = runs.get(aim.key)
        must = aim.figure(aim.must, run)
        start = [aim.words, shown(must), shown(aim.figure(aim.aim, run)), aim.published]
        naive = next(iter(run["beside"].values())).get(aim.measure) if run else None
        start.append(shown(naive))
        if run is None or not run["seeds"]:
            yield start + [""] * (len(HEADS) - len(start))
            continue
        seeds = list(run["seeds"].values())
        values = [seed[aim.measure] for seed in seeds]
        ours = statistics.mean(values)
        reached = must is not None and ours <= must
        yield [
            *start,
            f"**{shown(ours)}**" if reached else shown(ours),
            f"{shown(min(values))} to {shown(max(values))}",
            str(len(seeds)),
            f"{statistics.mean(seed['seconds'] for seed in seeds):.0f}",
            str(aim.minutes or ""),
            f"{statistics.mean(seed['mib'] for seed in seeds):.0f}",
            run["commit"],
        ]


def made_with(runs: Mapping[str, Row]) -> Iterator[str]:
    """Yield a line for each run: its command, and the machine."""
    for key, run in runs.items():
        if not run["seeds"]:
            continue
        busy = f", load {run['load']} before it" if run["load"] > 1 else ""
        yield (
            f"- {key}: `{run['command']}`, {run['date']}, {run['processor']}, "
            f"{run['threads']} of {run['cores']} cores{busy}, torch {run['torch']}"
        )


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value >= 10 else f"{value:.3f}"
