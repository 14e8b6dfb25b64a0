"""The rows of `memory_tasks.py` as a page of Markdown."""

from __future__ import annotations

from typing import Any

from kernels_page import table

Row = dict[str, Any]
PUBLISHED = {100: 74_000, 500: 209_000, 1000: 853_000}


def right(row: Row) -> bool:
    """Say whether what was said before training came true."""
    said, solved = row["verdict"]["learns"], row["outcome"] == "solved"
    return bool(said == solved)


def line(row: Row) -> str:
    """Return a row as it is printed while the others run."""
    said = "yes" if row["verdict"]["learns"] else "no"
    return (
        f"{row['task']:7} T={row['T']:<5}{row['net']:32}said {said:4}{row['outcome']:11}"
        f"{row['sequences']:>7} sequences {row['seconds']:7.1f} s{'' if right(row) else '  WRONG'}"
    )


def page(results: dict[str, Any]) -> str:
    """Return the page: what was run, who was right, the short tables, the long one."""
    rows = results["rows"]
    sections = [head(results), agreement(rows)]
    sections += [short(rows, task) for task in dict.fromkeys(row["task"] for row in rows)]
    sections += [published(rows), rates(rows), every(rows)]
    return "\n\n".join(filter(None, sections)) + "\n"


def head(results: dict[str, Any]) -> str:
    return (
        "# Memory: who learns, and what was said before\n\n"
        f"Commit {results['commit']}, {results['date']}, `{results['command']}`: "
        f"{results['seconds'] / 60:.0f} minutes, processes of one thread: {results['processes']}, "
        f"{results['processor']}, torch {results['torch']}.\n\n"
        "Adding: the sum of two marked values; solved is a mean squared error under 0.01 on new "
        "sequences (their mean as an answer scores 1/6). Copy: ten symbols after T + 10 steps; solved "
        "is a tenth of the loss that guessing scores, 10 ln 8 / (T + 20). One layer of 128 units, "
        "AdamW, batches of 20 new sequences, a look at 400 others every 100 updates. Nothing is tuned "
        "by row. The rule that speaks before training was derived from runs of seed 0."
    )


def agreement(rows: list[Row]) -> str:
    """Return in how many runs what was said came true, those at other lengths apart."""
    asked = [row for row in rows if row["T"] in (100, 200, 400)]
    other = [row for row in rows if row not in asked]
    return "\n\n".join(
        f"**{where}: what was said before training came true in {sum(map(right, chosen))} of "
        f"{len(chosen)} runs**; {sum(row['outcome'] == 'solved' for row in chosen)} solved their task. "
        f"Wrong: {'; '.join(named(row) for row in chosen if not right(row)) or 'none'}."
        for where, chosen in (("T = 100, 200, 400", asked), ("At other lengths", other))
        if chosen
    )


def named(row: Row) -> str:
    return f"{row['task']} T={row['T']} {row['net']}"


def short(rows: list[Row], task: str) -> str:
    """Return a table with a column for each length: what was said, and what came."""
    rows = [row for row in rows if row["task"] == task]
    lengths = sorted({row["T"] for row in rows})
    of = {(row["net"], row["T"]): row for row in rows}
    lines = [
        [net, *(told(of[net, T]) if (net, T) in of else "" for T in lengths)]
        for net in dict.fromkeys(row["net"] for row in rows)
    ]
    heads = ["net", *(f"T = {T}" for T in lengths)]
    return f"## {task.capitalize()}\n\nSaid before training: what came, in updates.\n\n" + table(
        heads, lines
    )


def told(row: Row) -> str:
    said = "yes" if row["verdict"]["learns"] else "no"
    came = {
        "solved": f"solved, {row['made']}",
        "diverged": f"diverged, {row['made']}",
        "not solved": f"not in {row['made']}",
    }[row["outcome"]]
    words = f"{said}: {came}"
    return words if right(row) else f"**{words}**"


def published(rows: list[Row]) -> str:
    """Return how many sequences adding took, beside the LSTM of 1997."""
    gated = [
        row
        for row in rows
        if row["task"] == "adding" and row["net"] in ("LSTM", "LSTM, chrono", "GRU")
    ]
    lengths = [T for T in PUBLISHED if any(row["T"] == T for row in gated)]
    if not lengths:
        return ""
    of = {(row["net"], row["T"]): row for row in gated}
    lines = [["LSTM, Hochreiter and Schmidhuber 1997", *(f"{PUBLISHED[T]:,}" for T in lengths)]]
    for net in dict.fromkeys(row["net"] for row in gated):
        lines.append([net, *(sequences(of.get((net, T))) for T in lengths)])
    return "## Sequences until adding is solved\n\n" + table(
        ["net", *(f"T = {T}" for T in lengths)], lines
    )


def sequences(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row['sequences']:,}" if row["outcome"] == "solved" else "not solved"


def rates(rows: list[Row]) -> str:
    chosen = {(row["learning_rate"], row["net"]) for row in rows}
    lines = [
        f"{rate:g}: {'; '.join(sorted(net for other, net in chosen if other == rate))}"
        for rate in sorted({rate for rate, _ in chosen})
    ]
    return "Learning rates: " + ". ".join(lines) + "."


def every(rows: list[Row]) -> str:
    lines = [
        [
            row["task"],
            row["T"],
            row["net"],
            f"{row['before']['farthest']:.1e}",
            row["before"]["memory"] or "all",
            f"{row['before']['directions']:.1f}",
            "yes" if row["verdict"]["learns"] else "no",
            row["outcome"],
            row["made"],
            f"{row['sequences']:,}",
            f"{row['seconds']:.0f}",
            f"{row['losses'][-1]:.2g}" if row["losses"] else "",
        ]
        for row in rows
    ]
    heads = ["task", "T", "net", "gradient at the farthest lag", "memory", "directions", "said"]
    heads += ["came", "updates", "sequences", "seconds", "last loss / baseline"]
    return (
        "## Every run\n\nThe gradient is that of the last answer, at the farthest lag that the task "
        "needs, over the newest one; memory is the lag at which it falls under 1 %; directions are "
        "those by which the inputs that must be told apart arrive (10 for copy, 1 for adding).\n\n"
        + table(heads, lines)
    )
