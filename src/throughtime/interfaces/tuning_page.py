"""How the settings were found: the trials of a search, LSTM or GRU, and what the score is worth.

Reads what `Tuning.to_dict()` returns and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from throughtime._words import aligned, count
from throughtime.drawing.search import trials
from throughtime.interfaces.document import document, figure, headline, reproduce

PLACE = "tuning"


@dataclass(frozen=True)
class Search:
    """All that the report on a search says, as plain data; `code` is the line that uses it."""

    source: str
    tuning: Mapping[str, Any]
    facts: Mapping[str, str]
    version: str
    step: str = "step"
    code: str = ""
    command: str = ""
    notes: Sequence[str] = ()
    made: str = field(default_factory=lambda: datetime.now().strftime("%Y-%m-%d %H:%M"))

    @property
    def verdict(self) -> str:
        """The best settings, and their score."""
        return str(self.tuning["found"])


def render_tuning(data: Search) -> str:
    """Return the report on a search as one HTML page.

    Raises MissingExtraError where plotly is not installed.
    """
    ahead = count(data.tuning["h"], data.step)
    again = f"<h2>How to reproduce this</h2>\n{reproduce(data.command)}" if data.command else ""
    body = [
        headline("Search over settings", f"{data.source}, {ahead} ahead", data),
        tuning_section(data.tuning),
        _use(data.code),
        f"<section>\n{again}\n</section>" if again else "",
    ]
    return document(f"{data.source}: settings", "\n".join(body), drawn(data.tuning), data)


def tuning_section(tuning: Mapping[str, Any]) -> str:
    """Return the section on the trials: the answer, the figure, a table of cells and of trials."""
    caption = (
        f"The mean error of every trial over {count(tuning['n_windows'], 'rolling origin')}, lower is "
        "better. A cross was stopped early, where it did worse than the median, and is the mean of "
        "the origins it came to."
    )
    cautions = " ".join(tuning["cautions"])
    return f"""<section>
<h2>How the settings were found</h2>
<p>{escape(tuning["answer"])}</p>
{figure(PLACE, caption)}
<h3>By cell</h3>
<div class="scroll"><table class="scores">
{_cells(tuning)}</table></div>
<p>{escape(cautions)}</p>
<details><summary>All {count(len(tuning["trials"]), "trial")} in numbers</summary>
<div class="scroll"><table>{_trials(tuning)}</table></div></details>
</section>"""


def drawn(tuning: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the figure by the id of its place."""
    return {PLACE: [trials(tuning).to_plotly_json()]}


def _use(code: str) -> str:
    if not code:
        return ""
    return (
        f"<section>\n<h2>How to use them</h2>\n<pre><code>{escape(code)}</code></pre>\n</section>"
    )


def _cells(tuning: Mapping[str, Any]) -> str:
    rows = tuning["by_cell"]
    best, median = (aligned(each[name] for each in rows) for name in ("best", "median"))
    return _table(
        ("Cell", "Trials", "To the end", "Best", "Median"),
        [
            (each["cell"], str(each["trials"]), str(each["complete"]), best[k], median[k])
            for k, each in enumerate(rows)
        ],
    )


def _trials(tuning: Mapping[str, Any]) -> str:
    every = tuning["trials"]
    names = list(dict.fromkeys(name for each in every for name in each["settings"]))
    scores = aligned(each["score"] for each in every)
    return _table(
        ("Trial", *(name.replace("_", " ").capitalize() for name in names), "Score", "State"),
        [
            (
                str(each["trial"]),
                *(_setting(each["settings"].get(name, "usual")) for name in names),
                scores[k],
                each["state"],
            )
            for k, each in enumerate(every)
        ],
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
