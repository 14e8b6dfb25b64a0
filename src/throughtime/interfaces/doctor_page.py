"""The doctor's page: what a diagnosis found, what to do about it, and the pictures that show it.

Reads what `Diagnosis.to_dict()` returns and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from throughtime._words import count, joined, number
from throughtime.drawing.doctor import Picture, pictures
from throughtime.interfaces.document import document, figure, headline, reproduce

SEVERITIES = ("serious", "warning", "note", "fine")
SHOWN = ("heat", "reach", "history", "gates")  # the others can be folded away
CALM = "Nothing was found that stands in the way of learning."


@dataclass(frozen=True)
class Checkup:
    """All that the report on a diagnosis says, as plain data; `model` is what a sentence calls it."""

    source: str
    diagnosis: Mapping[str, Any]
    facts: Mapping[str, str]
    version: str
    model: str = ""
    command: str = ""
    notes: Sequence[str] = ()
    made: str = field(default_factory=lambda: datetime.now().strftime("%Y-%m-%d %H:%M"))

    @property
    def verdict(self) -> str:
        """How many findings of which severity, and the worst of them."""
        return verdict(self.diagnosis)


def render_diagnosis(data: Checkup) -> str:
    """Return the report on one diagnosis as one HTML page.

    Raises MissingExtraError where plotly is not installed.
    """
    drawings = pictures(data.diagnosis)
    model = data.model or data.diagnosis.get("model") or "the model"
    body = [
        headline("Diagnosis", f"{data.source}: how gradients travel through {model}", data),
        doctor_sections(data.diagnosis, drawings),
    ]
    if data.command:
        again = f"<h2>How to reproduce this</h2>\n{reproduce(data.command)}"
        body.append(f"<section>\n{again}\n</section>")
    return document(f"{data.source}: diagnosis", "\n".join(body), drawn(drawings), data)


def verdict(diagnosis: Mapping[str, Any]) -> str:
    """Say how many findings there are, or that all is well.

    >>> verdict({"findings": [{"severity": "serious"}, {"severity": "note"}, {"severity": "note"}]})
    'The doctor has 1 serious finding and 2 notes.'
    >>> verdict({"findings": [{"severity": "fine"}]})
    'Nothing was found that stands in the way of learning.'
    """
    found = Counter(finding["severity"] for finding in diagnosis.get("findings") or ())
    names = {"serious": "serious finding", "warning": "warning", "note": "note"}
    parts = [count(found[severity], name) for severity, name in names.items() if found[severity]]
    return f"The doctor has {joined(parts)}." if parts else CALM


def doctor_sections(
    diagnosis: Mapping[str, Any],
    drawings: Sequence[Picture],
    said: Mapping[str, str] | None = None,
    folded: bool = False,
) -> str:
    """Return the findings as cards, then the pictures, each with its caption.

    `said` are sentences over pictures, by the picture's name; `folded` shows the first pictures and
    keeps the others behind a line to open.
    """
    said, findings = said or {}, diagnosis.get("findings") or ()
    cards = "".join(
        _card(finding)
        for severity in SEVERITIES
        for finding in findings
        if finding["severity"] == severity
    )
    listed = f'<ul class="findings">{cards}</ul>' if cards else ""
    first = [each for each in drawings if each.name in SHOWN or not folded]
    rest = "".join(_picture(each, said, "h3") for each in drawings if each not in first)
    parts = [f"<section>{_picture(each, said, 'h2')}</section>" for each in first]
    if rest:
        more = "<summary>More of what was measured</summary>"
        parts.append(f"<section><details class='more'>{more}{rest}</details></section>")
    if folded or cards:
        # a page of its own says the verdict at its head
        sentence = f"<p>{escape(verdict(diagnosis))}</p>" if folded and cards else ""
        parts.insert(0, f"<section>\n<h2>The doctor</h2>\n{sentence}\n{listed}\n</section>")
    return "\n".join(parts)


def drawn(drawings: Sequence[Picture]) -> dict[str, list[Any]]:
    """Return the figures by the id of their place."""
    return {_place(each): [each.figure.to_plotly_json()] for each in drawings}


def _place(picture: Picture) -> str:
    return f"doctor-{picture.name}"


def _picture(picture: Picture, said: Mapping[str, str], heading: str) -> str:
    sentence = said.get(picture.name, "")
    over = f"<p>{escape(sentence)}</p>" if sentence else ""
    return f"""
<{heading}>{escape(picture.title)}</{heading}>
{over}{figure(_place(picture), escape(picture.caption))}
"""


def _card(finding: Mapping[str, Any]) -> str:
    severity, topic = finding["severity"], finding.get("topic") or ""
    evidence = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(_value(value))}</dd></div>"
        for name, value in (finding.get("evidence") or {}).items()
    )
    cures = "".join(_cure(cure) for cure in finding.get("cures") or ())
    return f"""<li class="finding {severity}">
<p class="severity">{escape(": ".join(filter(None, (severity, topic))))}</p>
<p>{escape(finding["sentence"])}</p>
{f'<dl class="evidence">{evidence}</dl>' if evidence else ""}
{f'<ul class="cures">{cures}</ul>' if cures else ""}
</li>"""


def _cure(cure: Mapping[str, Any]) -> str:
    effect = cure.get("effect") or ""
    said = f" <span>{escape(effect)}</span>" if effect else ""
    return f'<li><code class="copy">{escape(cure["argument"])}</code>{said}</li>'


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)
