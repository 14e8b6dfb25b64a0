"""What every report is made of: one HTML file that holds all it needs and asks no network.

plotly.js once, the style, the numbers. Every text that came from a user is escaped where it enters
the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any, Protocol

from throughtime.drawing.theme import require_plotly


class Source(Protocol):
    """What a report says about itself."""

    @property
    def verdict(self) -> str:
        """The one sentence that matters most."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What was read, by name."""

    @property
    def notes(self) -> Sequence[str]:
        """What the reader should know about the data."""

    @property
    def version(self) -> str:
        """The release of this package."""

    @property
    def made(self) -> str:
        """When."""


def document(title: str, body: str, drawn: Mapping[str, Any], source: Source) -> str:
    """Return a whole page; `drawn` are lists of figures by the id of their place.

    Raises MissingExtraError where plotly is not installed.
    """
    require_plotly()
    from plotly.offline import get_plotlyjs

    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    script = resources.files(__package__).joinpath("report.js").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<footer>Made by throughtime {escape(source.version)} on {escape(source.made)}.</footer>
<script>{get_plotlyjs()}</script>
<script type="application/json" id="figures">{_embedded(drawn)}</script>
<script>
{script}</script>
</body>
</html>
"""


def _embedded(value: Any) -> str:
    """Return JSON that no text inside it can break out of."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def headline(kind: str, title: str, source: Source) -> str:
    """Return the head of a page: what it is, its verdict, what was read."""
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in source.facts.items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in source.notes)
    return f"""<header>
<p class="kicker">{escape(kind)}</p>
<h1>{escape(title)}</h1>
<p class="verdict">{escape(source.verdict)}</p>
<dl class="facts">{facts}</dl>
{f'<ul class="notes">{notes}</ul>' if notes else ""}
</header>"""


def figure(place: str, caption: str) -> str:
    """Return the place of a figure, with its caption (which is HTML)."""
    return (
        f'<figure><div class="plot" id="{place}" role="img" aria-labelledby="{place}-caption">'
        f'</div><figcaption id="{place}-caption">{caption}</figcaption></figure>'
    )


def reproduce(command: str) -> str:
    """Return the command that makes the page again, where there is one."""
    if not command:
        return ""
    said = f"<pre><code>{escape(command)}</code></pre>"
    return f"<p>This command makes this report again:</p>\n{said}"
