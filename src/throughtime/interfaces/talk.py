"""How the program speaks: tables on stdout, all else on stderr, or JSON on stdout alone."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Talk:
    """How the program speaks: tables on stdout, all else on stderr."""

    json: bool = False
    quiet: bool = False
    _consoles: dict[str, Any] = field(default_factory=dict)

    def _console(self, name: str) -> Any:
        if name not in self._consoles:
            from rich.console import Console

            stream = getattr(sys, name)
            # a pipe has no width of its own; tables must not be cut to 80 columns there
            width = None if stream.isatty() or "COLUMNS" in os.environ else 120
            self._consoles[name] = Console(
                file=stream, width=width, highlight=False, soft_wrap=False
            )
        return self._consoles[name]

    def status(self, *things: Any) -> None:
        """Say on stderr what is under way."""
        if not self.quiet:
            self._console("stderr").print(*things, sep="\n", markup=False)

    def result(self, *things: Any) -> None:
        """Show tables on stdout."""
        if not (self.quiet or self.json):
            self._console("stdout").print(*things, sep="\n", markup=False)

    def machine(self, value: Mapping[str, Any]) -> None:
        """Print JSON on stdout where it was asked for."""
        if self.json:
            sys.stdout.write(json.dumps(_finite(value), indent=2, default=_as_text) + "\n")

    def last(self, line: str) -> None:
        """Say the one line that even a quiet run ends with."""
        self._console("stderr").print(line, markup=False, soft_wrap=True)

    @contextmanager
    def watching(self, most: int = 10) -> Iterator[Any]:
        """Give an observer that draws (at `most` so many) bars on a terminal, and counts elsewhere."""
        from throughtime.interfaces.progress import Bars, Tally

        console = None if self.quiet else self._console("stderr")
        if console is not None and console.is_terminal:
            with Bars(console, most) as bars:
                yield bars
        else:
            tally = Tally()
            yield tally
            self.status(tally.line)


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _as_text(value: Any) -> Any:
    """Write dates and numpy numbers as JSON can."""
    if hasattr(value, "isoformat"):
        return value.isoformat().removesuffix("T00:00:00")
    return value.item() if hasattr(value, "item") else str(value)
