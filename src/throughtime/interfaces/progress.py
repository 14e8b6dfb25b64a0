"""Training as seen from a terminal: one bar a fit, with the loss and the norm of the gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from throughtime._words import count, number
from throughtime.forecasting.tuning.trials import Trial, shown
from throughtime.training.observer import Evaluation, Observer, Update

_EVERY = 0.1  # seconds between two drawings


class Bars(Observer):
    """An observer that draws on a rich console; use it as a context manager."""

    def __init__(self, console: Any, most: int = 10) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:<13}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[status]}", style="dim", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._most, self._drawn, self._done, self._validation = most, 0.0, 0, ""
        self._tasks: list[Any] = []

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def on_start(self, name: str, total: int) -> None:
        """Begin a new bar; the oldest of many leaves the screen."""
        self._tasks.append(self._progress.add_task(name, total=total, status=""))
        if len(self._tasks) > self._most:
            self._progress.update(self._tasks[-self._most - 1], visible=False)
        self._drawn, self._done, self._validation = 0.0, 0, ""

    def on_update(self, update: Update) -> None:
        """Move the bar; drawing at every update would cost more than some updates do."""
        self._done = update.index + 1
        now = time.monotonic()
        if now - self._drawn < _EVERY and self._done < update.total:
            return
        self._drawn = now
        status = f"loss {number(update.loss)}  gradient {number(update.grad_norm)}"
        self._show(completed=self._done, status=f"{status}{self._validation}")

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Remember the validation loss, for the next drawing."""
        self._validation = f"  valid {number(evaluation.loss)}"

    def on_end(self, reason: str) -> None:
        """Fill the bar: training that stops early is done as well."""
        self._show(total=max(self._done, 1), completed=max(self._done, 1))

    def _show(self, **changes: Any) -> None:
        if self._tasks:
            self._progress.update(self._tasks[-1], **changes)


class Tally(Observer):
    """An observer that only counts, for one plain line where no bar can be drawn."""

    def __init__(self) -> None:
        self.fits, self.updates, self._began = 0, 0, time.monotonic()

    def __enter__(self) -> Tally:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing was opened, so nothing is closed."""

    def on_start(self, name: str, total: int) -> None:
        """Count a fit."""
        self.fits += 1

    def on_update(self, update: Update) -> None:
        """Count an update."""
        self.updates += 1

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Let it pass."""

    def on_end(self, reason: str) -> None:
        """Let it pass, unless the user stopped it."""

    @property
    def line(self) -> str:
        """What was done, in one line."""
        seconds = time.monotonic() - self._began
        return (
            f"trained {count(self.fits, 'fit')}, {count(self.updates, 'update')} "
            f"in {number(seconds)} s"
        )


class Trials(Observer):
    """An observer of a search that says a line for every trial: its settings, its score, the best."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._best: Trial | None = None

    def on_start(self, name: str, total: int) -> None:
        """Let it pass."""

    def on_update(self, update: Update) -> None:
        """Let it pass."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Let it pass."""

    def on_end(self, reason: str) -> None:
        """Let it pass."""

    def on_trial(self, trial: Trial, n_trials: int) -> None:
        """Say what it was, what it scored, and whether that is the lowest so far."""
        settings = [f"{k}={shown(v)}" for k, v in trial.settings.items() if k != "cell"]
        what = f"{trial.cell} {', '.join(settings) or 'with the usual settings'}"
        ending = {"complete": number(trial.score), "pruned": "stopped early"}.get(trial.state)
        score, best = trial.score, self._best.score if self._best is not None else None
        if trial.state == "complete" and score is not None and (best is None or score < best):
            self._best = trial
            ending = f"{ending}, the best so far"
        self._say(f"trial {trial.number}/{n_trials}: {what}: {ending or trial.state}")
