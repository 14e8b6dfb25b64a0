"""The numbers of `real_tables.py` as a page of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from kernels_page import table

Row = dict[str, Any]

OURS = "throughtime"
TITLES = {
    "yearly": "Sunspots, yearly: h = 11, eight origins that end in 2008",
    "monthly": "Sunspots, monthly: h = 132, ten origins",
    "electricity": "Victorian electricity, half-hourly: h = 48, 28 origins, temperature and holiday known",
    "passengers": "AirPassengers: h = 12, four origins",
    "m4-hourly": "M4 hourly: 414 series, h = 48, the official test part",
}
NAMES = {
    "seasonal-naive": "seasonal naive",
    "seasonal-naive-longest": "seasonal naive, a week",
    "throughtime": "**throughtime, LSTM**",
    "neuralforecast-LSTM": "neuralforecast LSTM",
    "neuralforecast-DeepAR": "neuralforecast DeepAR",
    "neuralforecast-DeepAR-scaled": 'the same, `local_scaler_type="standard"`',
    "darts-LSTM": "Darts LSTM",
    "darts-DeepAR": "Darts DeepAR",
    "gluonts-DeepAR": "GluonTS DeepAR",
}
HEAD = """\
# Real tables, beside other libraries

`python benchmarks/real_tables.py`: every model sees the same series and origins, learns once from what \
comes before the first origin, and forecasts from every origin with its weights as they are. Defaults \
throughout; what a library leaves open is said in `real_tables_neuralforecast.py`, `..._darts.py`, \
`..._gluonts.py`. Means over the seeds{seeds}. Coverage in percent; seconds to fit and forecast, \
after imports, each in a process of its own. Above 1, error is the row's MAE (M4: OWA) over ours: we are \
ahead; time is the row's seconds over ours: we are faster."""
CAPPED = """\
~: training was ended before its end, after the percentage of its updates in "trained", and accuracy is \
what it had by then; seconds are those it would have taken, by that percentage."""
BUSY = """\
Seconds with a * are the processor's: the machine did other work, which still makes them longer."""


def page(rows: dict[str, Row]) -> str:
    """Return the page: a summary, and for each task a row a model."""
    good = {key: row for key, row in rows.items() if "error" not in row}
    seeds = sorted({int(key.rsplit("/", 1)[1]) for key in good})
    notes = [HEAD.format(seeds=f" ({', '.join(map(str, seeds))})" if len(seeds) > 1 else "")]
    if any(row["share"] < 1 for row in good.values()):
        notes.append(CAPPED)
    if any(row["busy"] for row in good.values()):
        notes.append(BUSY)
    parts = [*notes, made_with(good), "## In short", in_short(good)]
    for task, title in TITLES.items():
        if found := models_of(good, task):
            parts += [f"## {title}", task_table(found)]
    failed = [f"- {key}: {row['error']}" for key, row in rows.items() if "error" in row]
    if failed:
        parts += ["## What failed", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


def made_with(rows: dict[str, Row]) -> str:
    """Say on what the rows were measured; several where they differ."""

    def all_of(name: str) -> str:
        return ", ".join(sorted({str(row[name]) for row in rows.values()}))

    versions = {
        f"{key.split('/')[1].split('-')[0]} {row['version']}"
        for key, row in rows.items()
        if not key.split("/")[1].startswith("seasonal")
    }
    return (
        f"Commit {all_of('commit')}, {all_of('date')}, {all_of('processor')}; "
        f"threads for every model: {all_of('threads')}; Python {all_of('python')}, "
        f"torch {all_of('torch')}, {', '.join(sorted(versions))}."
    )


def models_of(rows: dict[str, Row], task: str) -> dict[str, list[Row]]:
    """Return each model's rows of a task, one a seed, in the order of the page."""
    found = {
        model: [row for key, row in rows.items() if key.startswith(f"{task}/{model}/")]
        for model in NAMES
    }
    return {model: each for model, each in found.items() if each}


def mean(rows: list[Row], name: str) -> float:
    return float(statistics.mean(row[name] for row in rows))


def error(rows: list[Row]) -> float:
    """Return what models are compared by: OWA where there is one, else MAE."""
    return mean(rows, "owa" if "owa" in rows[0] else "mae")


def seconds(rows: list[Row]) -> float:
    """Return seconds to fit in full and to forecast."""
    each = [row["fit_seconds"] / row["share"] + row["forecast_seconds"] for row in rows]
    return float(statistics.mean(each))


def share(rows: list[Row]) -> float:
    return float(min(row["share"] for row in rows))


def in_short(rows: dict[str, Row]) -> str:
    """Return, for each task, whom we are ahead of, and whom not."""
    lines = []
    for task in TITLES:
        models = models_of(rows, task)
        if OURS not in models:
            continue
        ours = models.pop(OURS)
        ratios = {model: error(each) / error(ours) for model, each in models.items()}
        behind = {model: ratio for model, ratio in ratios.items() if ratio <= 1}
        peers = {m: each for m, each in models.items() if not m.startswith("seasonal")}
        times = [seconds(each) / seconds(ours) for each in peers.values()]
        lines.append(
            [
                task,
                f"{len(ratios) - len(behind)} of {len(ratios)}",
                ", ".join(f"{NAMES[m]} ({1 / ratio:.2f})" for m, ratio in behind.items()) or "none",
                f"{min(times):.1f} to {max(times):.0f}" if times else "",
                f"{sum(share(each) == 1 for each in peers.values())} of {len(peers)}",
                *(gap(ours, level) for level in (80, 95)),
            ]
        )
    heads = [
        "task",
        "ahead of",
        "behind (our error over theirs)",
        "times faster than the libraries",
        "of these trained to the end",
    ]
    return table([*heads, "our 80 % cover", "our 95 % cover"], lines)


def gap(rows: list[Row], level: int) -> str:
    cover = [row["coverage"][str(level)] for row in rows if str(level) in row["coverage"]]
    return f"{100 * statistics.mean(cover):.1f}" if cover else ""


def task_table(models: dict[str, list[Row]]) -> str:
    measures = [
        "mae",
        "mase",
        *(["smape", "owa"] if "owa" in next(iter(models.values()))[0] else []),
    ]
    heads = [
        "",
        *(
            {"mae": "MAE", "mase": "MASE", "smape": "sMAPE", "owa": "OWA"}[name]
            for name in measures
        ),
        "80 %",
        "95 %",
        "error / ours",
        "seconds: fit",
        "forecast",
        "import",
        "time / ours",
        "trained",
        "MiB",
    ]
    return table(heads, task_rows(models, measures))


def task_rows(models: dict[str, list[Row]], measures: list[str]) -> Iterator[list[str]]:
    ours = models.get(OURS)
    for model, rows in models.items():
        naive = model.startswith("seasonal")
        capped = "~" if share(rows) < 1 else ""
        busy = "*" if any(row["busy"] for row in rows) else ""
        fit = statistics.mean(row["fit_seconds"] / row["share"] for row in rows)
        yield [
            NAMES[model],
            *(spread(rows, name) for name in measures),
            *(gap(rows, level) for level in (80, 95)),
            f"{error(rows) / error(ours):.2f}" if ours and rows is not ours else "",
            "" if naive else f"{capped}{shown(fit)}{busy}",
            f"{mean(rows, 'forecast_seconds'):.2g}{busy}",
            "" if naive else f"{mean(rows, 'import_seconds'):.2g}{busy}",
            shown(seconds(rows) / seconds(ours)) if ours and rows is not ours and not naive else "",
            "" if naive else f"{100 * share(rows):.3g} %",
            f"{mean(rows, 'peak_mib'):.0f}",
        ]


def spread(rows: list[Row], name: str) -> str:
    """Return the mean over the seeds, with the least and the most."""
    values = [row[name] for row in rows]
    if len(values) == 1:
        return shown(values[0])
    return f"{shown(statistics.mean(values))} ({shown(min(values))} to {shown(max(values))})"


def shown(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}" if value >= 10 else f"{value:.3f}"
