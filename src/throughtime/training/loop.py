"""The training loop: update, look, remember the best, stop in time."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime._archive import Snapshot
from throughtime._errors import DivergedError, ModelFileError, SettingError
from throughtime.training import checkpoint as files
from throughtime.training.checkpoint import Keeper
from throughtime.training.context import mode
from throughtime.training.examples import Examples
from throughtime.training.losses import Loss
from throughtime.training.observer import History, Observer
from throughtime.training.run import Run
from throughtime.training.settings import TrainingSettings
from throughtime.training.sources import ExampleSource, SequenceSource, Source


class Trainer:
    """Trains `model` on `loss` (see `losses.py`) by `settings`, and tells `observers`.

    A model with a whole number `members` is an ensemble: its parameters, inputs and outputs have
    the members as their leading axis, and each member learns from batches of its own.

    >>> from throughtime.training import TensorExamples, losses
    >>> x = torch.linspace(-1, 1, 50).reshape(-1, 1)
    >>> line = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Unflatten(-1, (1, 1)))
    >>> settings = TrainingSettings(max_updates=300, learning_rate=0.1)
    >>> history = Trainer(line, losses.mse, settings).fit(TensorExamples(x, 2 * x + 1))
    >>> history.reason, round(line[0].weight.item(), 3), round(line[0].bias.item(), 3)
    ('all 300 updates made', 2.0, 1.0)
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        settings: TrainingSettings | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.model, self.loss, self.settings = model, loss, settings or TrainingSettings()
        self.observers = tuple(observers)
        self.history = History()
        self._resumed: Snapshot | None = None

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        model: torch.nn.Module,
        loss: Loss,
        observers: Sequence[Observer] = (),
    ) -> Trainer:
        """Return a trainer whose next `fit` goes on from the checkpoint at `path`.

        Settings and weights come from the file; call `fit` (or `fit_sequence`) with the same data,
        and weights and history end up as if the run had never stopped, to the last bit. Raises
        ModelFileError for a file that is damaged or foreign.
        """
        snapshot = files.read(path)
        try:
            settings = TrainingSettings.from_json(snapshot.facts["settings"])
        except (KeyError, TypeError, SettingError) as error:
            raise ModelFileError(
                f"{os.fspath(path)} to hold the settings of a run", "none", "start afresh"
            ) from error
        trainer = cls(model, loss, settings, observers)
        trainer.go_on_from(snapshot)
        return trainer

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Let the next `fit` go on from a checkpoint, `resume` having said how.

        Raises ModelFileError for one of a run with other settings.
        """
        if snapshot.facts["settings"] != self.settings.to_json():
            raise ModelFileError(
                "a checkpoint of a run with these settings", "one with others", "start afresh"
            )
        self._resumed = snapshot

    def fit(
        self,
        train: Examples,
        validation: Examples | None = None,
        name: str = "training",
        checkpoint: Keeper | None = None,
    ) -> History:
        """Train on examples, and return what happened.

        With a `validation` part the model ends with the weights that were best on it. Ctrl-C ends
        training as if it were done. Raises DivergedError for a loss or gradient that is not finite
        (the model is left with the last good weights, `self.history` with what happened), and
        SettingError for settings that make no sense here.
        """
        if self.settings.truncation is not None:
            raise SettingError(
                "no truncation for separate examples", "one", "use fit_sequence for long sequences"
            )
        generator = self._generator()
        source = ExampleSource(self.model, train, validation, self.settings, generator)
        return self._train(source, generator, name, checkpoint)

    def fit_sequence(
        self,
        inputs: Tensor,
        targets: Tensor,
        validation: tuple[Tensor, Tensor] | None = None,
        name: str = "training",
        checkpoint: Keeper | None = None,
    ) -> History:
        """Train on long sequences, inputs [B, T, I] and targets [B, T, ...], side by side.

        `model(inputs, state)` returns outputs [B, T, ...] and the state after them, which is
        carried along; `settings.truncation` says how far gradients reach. All members of an
        ensemble learn from the same sequences. `validation` is a pair
        like (inputs, targets); it begins with the model's own state, so let it start with some
        steps whose targets are NaN to warm that up. Ends and raises as `fit` does.
        """
        if self.settings.batch_size is not None:
            raise SettingError(
                "no batch_size for sequences, which are walked along side by side",
                repr(self.settings.batch_size),
                "leave it at None",
            )
        if self.settings.forcing is not None:
            raise SettingError(
                "no forcing for sequences, which are read and not written",
                repr(self.settings.forcing),
                "leave it at None",
            )
        source = SequenceSource(self.model, (inputs, targets), validation, self.settings)
        return self._train(source, self._generator(), name, checkpoint)

    def fit_lessons(
        self, source: Source, name: str = "training", checkpoint: Keeper | None = None
    ) -> History:
        """Train on what a source of one's own makes of every update (`sources.Source`).

        Ends and raises as `fit` does.
        """
        return self._train(source, self._generator(), name, checkpoint)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed)

    def _train(
        self,
        source: Source,
        generator: torch.Generator,
        name: str,
        checkpoint: Keeper | None,
    ) -> History:
        if self.settings.patience is not None and not source.has_validation:
            raise SettingError(
                "a validation part to stop early on",
                f"patience={self.settings.patience} without one",
                "pass validation=..., or patience=None",
            )
        run = Run(self.model, self.loss, self.settings, source, generator, self.observers)
        self.history = History()
        self._take_up(run)
        watchers = (self.history, *self.observers)
        for observer in self.observers:
            observer.on_start(name, self.settings.max_updates)
        reason, good = "failed", True
        try:
            with mode(self.model, training=True):
                reason = self._updates(run, watchers, checkpoint)
        except KeyboardInterrupt:
            reason = "interrupted"
        except DivergedError:
            reason, good = f"diverged at update {run.index}", False
            raise
        finally:
            run.finish(averaged=good)
            for watcher in watchers:
                watcher.on_end(reason)
        return self.history

    def _take_up(self, run: Run) -> None:
        """Go on from the checkpoint, if this run resumes one."""
        if self._resumed is not None:
            files.unpack_history(self._resumed.part("history"), self.history)
            run.restore(self._resumed, [update.grad_norm for update in self.history.updates])
            self._resumed = None

    def _updates(self, run: Run, watchers: Sequence[Observer], checkpoint: Keeper | None) -> str:
        """Update until there is a reason to stop, and return it."""
        reason = self._reason(run)
        while not reason:
            self._update(run, watchers)
            reason = self._reason(run)
            if checkpoint and (reason or run.index % checkpoint.every == 0):
                self._write(run, checkpoint)
        return reason

    def _reason(self, run: Run) -> str:
        total, patience = self.settings.max_updates, self.settings.patience
        if patience is not None and run.looks_since_best >= patience:
            return f"no better validation loss in {patience} looks"
        return f"all {total} updates made" if run.index >= total else ""

    def _update(self, run: Run, watchers: Sequence[Observer]) -> None:
        update = run.update()
        for watcher in watchers:
            watcher.on_update(update)
        due = run.index % self.settings.evaluate_every == 0
        if run.source.has_validation and (due or run.index == self.settings.max_updates):
            evaluation = run.evaluate()
            for watcher in watchers:
                watcher.on_evaluation(evaluation)

    def _write(self, run: Run, checkpoint: Keeper) -> None:
        snapshot = run.snapshot()
        snapshot.include("history", files.pack_history(self.history))
        checkpoint.write(snapshot)
