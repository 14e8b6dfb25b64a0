"""Findings: measurements turned into sentences, each with its evidence and the cure to pass.

A rule looks at what was measured and returns a finding or None; the rules are the list at the end.
Thresholds are named and stand at the top, so that they can be argued with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["serious", "warning", "note", "fine"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note", "fine")


@dataclass(frozen=True)
class Cure:
    """What to pass: the text of the argument, what it stands for, and what it was measured to do.

    >>> print(Cure("clip=0.5", {"clip": 0.5}))
    clip=0.5
    """

    argument: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    effect: str = ""

    def __str__(self) -> str:
        """Return the argument, and its effect where it was measured."""
        return f"{self.argument} ({self.effect})" if self.effect else self.argument

    def to_dict(self) -> dict[str, str]:
        """Return plain values, for JSON."""
        return {"argument": self.argument, "effect": self.effect}


@dataclass(frozen=True)
class Finding:
    """One sentence about a model, with its topic, its severity, its evidence and its cures."""

    severity: Severity
    topic: str
    sentence: str
    evidence: Mapping[str, float | int | str | None] = field(default_factory=dict)
    cures: tuple[Cure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "severity": self.severity,
            "topic": self.topic,
            "sentence": self.sentence,
            "evidence": dict(self.evidence),
            "cures": [cure.to_dict() for cure in self.cures],
        }
