"""The losses of training runs over their updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from throughtime.drawing.theme import COLOURS, INK, MODEL, blank, line, mark


class Run(Protocol):
    """One loss an update, and the validation losses in between, if any."""

    @property
    def losses(self) -> Sequence[float]:
        """The training loss of every update."""

    @property
    def validation_at(self) -> Sequence[int]:
        """After how many updates the validation part was looked at."""

    @property
    def validation(self) -> Sequence[float]:
        """The validation losses."""

    @property
    def best_index(self) -> int | None:
        """After how many updates the validation loss was lowest."""


def learning_curve(learning: Run, pilot: Run | None = None) -> Any:
    """Draw the losses over the updates: the pilot run's, its best update marked, the final fit's."""
    figure = blank()
    runs = [run for run in (pilot, learning) if run is not None]
    values = [v for run in runs for v in (*run.losses, *run.validation)]
    log = bool(values) and min(values) > 0 and max(values) > 8 * min(values)
    figure.update_yaxes(
        type="log" if log else "linear", title_text="loss", dtick=1 if log else None
    )
    figure.update_xaxes(title_text="update", rangemode="tozero")
    if pilot is not None:
        _losses(figure, pilot, "pilot: training", INK)
        line(figure, pilot.validation_at, pilot.validation, "pilot: validation", MODEL, 2.4)
        if pilot.best_index is not None:
            mark(figure, pilot.best_index, f"best: update {pilot.best_index}")
    final, dash = COLOURS[0]
    _losses(figure, learning, "final fit", final, dash if pilot else "solid")
    return figure


def _losses(figure: Any, run: Run, name: str, colour: str, dash: str = "solid") -> None:
    line(figure, range(1, len(run.losses) + 1), run.losses, name, colour, 1.2, dash=dash)
