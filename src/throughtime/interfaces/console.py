"""Drawing in the terminal: from results to what rich prints. Nothing here writes or computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from throughtime._words import aligned, count, joined, number, percent
from throughtime.forecasting.evaluation.views import best

MOST_SERIES = 3
MOST_ROWS = 48


def facts_block(facts: Mapping[str, str], notes: Sequence[str]) -> Any:
    """Return what was read: a name and a value a line, then the notes."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in facts.items():
        grid.add_row(name, Text(value))
    return Group(grid, *(Text(f"note: {note}", style="yellow") for note in notes))


def score_table(backtest: Any, name: str, step: str) -> Any:
    """Return the table of errors and coverages, the best of each measure in bold."""
    from rich.text import Text

    scores = backtest.scores
    measures = (("mae", "MAE"), ("mase", "MASE"), ("smape", "sMAPE"))
    levels = sorted({level for score in scores for level in score.coverage})
    table = _table()
    table.add_column("", no_wrap=True)
    for _, title in measures:
        table.add_column(title, justify="right", no_wrap=True)
    for level in levels:
        table.add_column(f"in {level:g}%", justify="right", no_wrap=True)
    winners = {measure: best(scores, measure) for measure, _ in measures}
    for score in scores:
        style = "cyan" if score.model == name else ""
        cells = [Text(score.model, style=style)]
        for measure, _ in measures:
            bold = "bold" if winners[measure] == score.model else ""
            cells.append(Text(number(getattr(score, measure)), style=f"{style} {bold}".strip()))
        cells += [Text(percent(score.coverage.get(level)), style=style) for level in levels]
        table.add_row(*cells)
    origins = count(backtest.n_windows, "rolling origin")
    return _titled(f"Back-test: {origins}, {count(backtest.h, step)} each; lower is better", table)


def forecast_table(forecast: Any, name: str, level: Sequence[float], target: str = "") -> Any:
    """Return the forecast (a pyarrow table) with its intervals; of many series the first few.

    `name` is the model's column, `target` what it forecasts, where there are several.
    """
    import pyarrow.compute as pc
    from rich.text import Text

    level = [value for value in level if f"{name}-lo-{value:g}" in forecast.column_names]
    ids = forecast["unique_id"].unique()
    many = len(ids) > 1
    shown = pc.is_in(forecast["unique_id"], value_set=ids[:MOST_SERIES])
    rows = forecast.filter(shown).to_pylist()
    left_out = []
    if len(ids) > MOST_SERIES:
        left_out.append(f"{MOST_SERIES} of {len(ids):,} series")
    if len(rows) > MOST_ROWS:
        left_out.append(f"{MOST_ROWS} of {len(rows):,} rows")
    more = f" ({joined(left_out)} shown; the file has all)" if left_out else ""
    of = f" of {target}" if target else ""
    table = _table()
    if many:
        table.add_column("series", no_wrap=True)
    for title in ("date", name.removeprefix(f"{target}-")):
        table.add_column(title, justify="right", no_wrap=True)
    for value in level:
        table.add_column(f"{value:g}% interval", justify="right", no_wrap=True)
    rows, before = rows[:MOST_ROWS], None
    names = [name, *(f"{name}-{side}-{value:g}" for value in level for side in ("lo", "hi"))]
    written = _written(rows, names)
    dates = date_texts([row["ds"] for row in rows])
    for row, date, cells in zip(rows, dates, written, strict=True):
        if many and before not in (None, row["unique_id"]):
            table.add_section()
        first = [Text("" if before == row["unique_id"] else str(row["unique_id"]))] if many else []
        before = row["unique_id"]
        bands = [f"{low} to {high}" for low, high in zip(cells[1::2], cells[2::2], strict=True)]
        table.add_row(*first, date, cells[0], *bands)
    return _titled(f"Forecast{of}{more}", table)


def _written(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[list[str]]:
    """Write the numbers of each series with decimals of their own."""
    written = []
    for _, own in groupby(rows, key=lambda row: row["unique_id"]):
        of_series = list(own)
        cells = aligned(row[name] for row in of_series for name in names)
        written += [cells[k : k + len(names)] for k in range(0, len(cells), len(names))]
    return written


_SECTIONS = {  # of the metrics of `tt.evaluate`, each with its title
    "Point forecasts": {
        "mae": "MAE", "rmse": "RMSE", "smape": "sMAPE", "mase": "MASE", "rmsse": "RMSSE",
        "owa": "OWA", "n": "values",
    },
    "Quantiles": {"pinball": "pinball {}", "scaled_crps": "scaled CRPS"},
    "Intervals": {"coverage": "in {}%", "interval_score": "score {}%", "msis": "MSIS {}%"},
}  # fmt: skip


def evaluation_tables(scores: Any, by: Sequence[str]) -> list[Any]:
    """Return what `tt.evaluate` found (a pyarrow table): points, quantiles and intervals."""
    made = []
    for title, metrics in _SECTIONS.items():
        columns = {
            name: metrics[name.partition("-")[0]].format(name.partition("-")[2])
            for name in scores.column_names
            if name.partition("-")[0] in metrics and name not in by
        }
        rows = [
            row
            for row in scores.to_pylist()
            if any(_is_known(row[name]) for name in columns if name != "n")
        ]
        if rows:
            made.append(_section(title, rows, columns, by))
    return made


def _section(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], by: Sequence[str]
) -> Any:
    """Return a table with a row for each group and model, the group named once."""
    from rich.text import Text

    more = f" ({MOST_ROWS} of {len(rows):,} rows shown)" if len(rows) > MOST_ROWS else ""
    rows, before = rows[:MOST_ROWS], None
    table = _table()
    for name in (*by, ""):
        table.add_column(name, no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    texts = [date_texts([row[name] for row in rows]) for name in by]
    groups = list(zip(*texts, strict=True)) if by else [()] * len(rows)
    of_several = len(set(groups)) < len(rows)
    for row, group in zip(rows, groups, strict=True):
        if of_several and before not in (None, group):
            table.add_section()
        named = ["" if before == group else text for text in group]
        before = group
        table.add_row(
            *map(Text, (*named, row["model"])),
            *(Text(_score(name, row[name])) for name in columns),
        )
    return _titled(f"{title}{more}", table)


def _score(metric: str, value: float | None) -> str:
    if metric == "n":
        return f"{value:,}"
    return (percent if metric.startswith("coverage-") else number)(value)


def _is_known(value: float | None) -> bool:
    return value is not None and value == value


def date_texts(values: Sequence[Any]) -> list[str]:
    """Write dates as a reader does, with a time of day where one of them has it.

    >>> from datetime import datetime
    >>> date_texts([1700]), date_texts([datetime(2024, 1, 31)])
    (['1700'], ['2024-01-31'])
    >>> date_texts([datetime(2024, 1, 31), datetime(2024, 1, 31, 12, 30)])
    ['2024-01-31 00:00', '2024-01-31 12:30']
    """
    texts = [str(value) for value in values]
    for rest in (":00", " 00:00"):
        if all(text.endswith(rest) for text in texts):
            texts = [text.removesuffix(rest) for text in texts]
    return texts


def _table() -> Any:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def _titled(title: str, table: Any) -> Any:
    # a title of the table itself would be wrapped to the width of the table
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), table, Text())
