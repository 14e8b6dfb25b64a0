"""A fit that was killed goes on where it stood, and ends as if it had never stopped.

A fit is a chain of *runs* of training: the pilot, one at every rolling origin, the final one, each of
them perhaps after an imitation, or after the pretrained net was taught. What lies between them follows
from the data, the settings and the weights, and is made again; a run is not. Its file holds

    of          whose fit it is: settings, a hash of the data, what was called
    on          what the same bits need beside the seed: releases, threads, kernels
    runs        those that are done: weights, history, and what else they told; between them what a
                clock has decided (`planning/`), which is not decided again
    running     the checkpoint of the one that is not, as `training.checkpoint` has it

and is replaced as a whole at every checkpoint. The doctor's pilot is so short that it is made again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import numpy as np
import torch

from throughtime import _archive
from throughtime._archive import Format, Snapshot
from throughtime._errors import ModelFileError
from throughtime._files import check_writable
from throughtime._version import __version__
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.given import Given
from throughtime.forecasting.storage.given import pack_given
from throughtime.forecasting.storage.model import pack_model
from throughtime.kernels import compiled
from throughtime.training import Checkpoint, Examples, History, Trainer
from throughtime.training.checkpoint import pack_history, unpack_history

REMEDY = "delete it to start afresh, or pass another path"
FORMAT = Format("throughtime fit", 1, "a checkpoint of a fit", REMEDY)


class Runs:
    """The runs of a fit, which no file keeps; `took_up` says if the newest began before this call."""

    took_up = False

    def train(
        self, trainer: Trainer, examples: Examples, validation: Examples | None, name: str
    ) -> History:
        """Train on examples, with a validation part or without, and return what happened."""
        return trainer.fit(examples, validation, name)

    def prepare(self, network: torch.nn.Module, teach: Callable[[], float | None]) -> float | None:
        """Let `teach` change the weights of `network`, and return what it returns."""
        return teach()

    def decided(self, decide: Callable[[], Any]) -> Any:
        """Return what `decide` returns, plain values that another time could be others."""
        return decide()

    def finish(self) -> None:
        """Follow the end of the fit."""


NOT_KEPT = Runs()


class KeptRuns(Runs):
    """The runs of one fit, kept in the file of a `Checkpoint`: those that are done are not made again.

    `of` are plain values that say whose fit it is. Raises `ModelFileError` for a file that is damaged
    or of another fit, `SettingError` where it cannot be written; warns where the same bits cannot be
    promised, for it was begun with another release of PyTorch, other threads or kernels.
    """

    def __init__(self, checkpoint: Checkpoint, of: dict[str, Any]) -> None:
        self.path = os.path.realpath(os.path.expanduser(checkpoint.path))
        self.every = checkpoint.every
        check_writable(self.path)
        self._facts = {"of": _plain(of), "on": conditions()}
        self._runs: list[Snapshot] = []
        self._running: Snapshot | None = None
        self._index = 0
        self._sweep()
        if os.path.exists(self.path):
            self._take_up(_archive.read(self.path, FORMAT))

    def train(
        self, trainer: Trainer, examples: Examples, validation: Examples | None, name: str
    ) -> History:
        """Train, go on with training, or return what came of it before."""
        run = self._done()
        self.took_up = run is not None or self._running is not None
        if run is not None:
            trainer.model.load_state_dict(run.part("network").tensors)
            history = History(reason=run.facts["reason"])
            unpack_history(run.part("history"), history)
            return history
        if self._running is not None:
            trainer.go_on_from(self._running)
        history = trainer.fit(examples, validation, name, checkpoint=self)
        if history.reason != "interrupted":
            run = Snapshot(facts={"reason": history.reason})
            run.include("history", pack_history(history))
            self._keep(run, trainer.model)
        return history

    def prepare(self, network: torch.nn.Module, teach: Callable[[], float | None]) -> float | None:
        """Let `teach` change the weights of `network`, unless it has before."""
        run = self._done()
        if run is None:
            run = Snapshot(facts={"told": teach()})
            self._keep(run, network)
        else:
            network.load_state_dict(run.part("network").tensors)
        told: float | None = run.facts["told"]
        return told

    def decided(self, decide: Callable[[], Any]) -> Any:
        """Return what `decide` returns, or returned before."""
        run = self._done()
        if run is None:
            run = Snapshot(facts={"decided": decide()})
            self._keep(run)
        return run.facts["decided"]

    def finish(self) -> None:
        """Remove the file."""
        if os.path.exists(self.path):
            os.unlink(self.path)

    def write(self, running: Snapshot | None) -> None:
        """Write all that is done, and the checkpoint of what is running, whole or not at all."""
        whole = Snapshot(facts={**self._facts, "n_runs": len(self._runs)})
        for i, run in enumerate(self._runs):
            whole.include(str(i), run)
        if running is not None:
            whole.include("running", running)
        _archive.write(self.path, FORMAT, whole)

    def _done(self) -> Snapshot | None:
        """Return the next run, if it is one that is done."""
        if self._index == len(self._runs):
            return None
        self._index += 1
        return self._runs[self._index - 1]

    def _keep(self, run: Snapshot, network: torch.nn.Module | None = None) -> None:
        if network is not None:
            weights = network.state_dict()
            run.include("network", Snapshot({name: w.clone() for name, w in weights.items()}))
        self._runs.append(run)
        self._index, self._running = len(self._runs), None
        self.write(None)

    def _take_up(self, whole: Snapshot) -> None:
        other = _difference(whole.facts["of"], self._facts["of"])
        if other:
            expected = f"{self.path} to be a checkpoint of this fit"
            raise ModelFileError(expected, f"one with {other}", REMEDY)
        changed = _difference(whole.facts["on"], self._facts["on"])
        if changed:
            warnings.warn(
                f"the fit in {self.path} was begun with {changed}: it goes on, but will not end with "
                "the same bits as one that was never stopped",
                stacklevel=5,
            )
        self._runs = [whole.part(str(i)) for i in range(whole.facts["n_runs"])]
        self._running = whole.part("running") if "running" in whole.facts else None

    def _sweep(self) -> None:
        """Remove what a process that was killed while it wrote has left beside the file."""
        folder, name = os.path.split(self.path)
        if len(name) <= 40:  # of longer names the half-written file has only the beginning
            for left in glob.glob(f"{glob.escape(os.path.join(folder, f'.{name}'))}.????????"):
                os.unlink(left)


def runs_of(
    call: str,
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    given: Given,
    panel: Panel,
    start: Fitted | None = None,
    **how: Any,
) -> Runs:
    """Return the runs of a call, kept in a file if there is a checkpoint."""
    if checkpoint is None:
        return NOT_KEPT
    file = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    of: dict[str, Any] = {"call": call, **how, "start": None}
    of |= {"settings": pack_given(given), "data": fingerprint(panel)}
    if start is not None:
        weights = snapshot_fingerprint(pack_model(start.model))
        of["start"] = {"updates": len(start.history.updates), "weights": weights}
    return KeptRuns(file, of)


def whole(history: History) -> History:
    """Return a history that was not broken off; training alone would end as if it were done."""
    if history.reason == "interrupted":
        raise KeyboardInterrupt
    return history


def fingerprint(panel: Panel) -> str:
    """Return a hash of all that a panel says: values, names, dates, channels.

    >>> from throughtime.forecasting import read_frame
    >>> fingerprint(read_frame([1.0, 2.0])) == fingerprint(read_frame([1.0, 2.5]))
    False
    """
    panel, hashed = panel.compact(), hashlib.blake2b(digest_size=16)
    static = panel.static
    names = (
        *(panel.ids, panel.frequency.alias, panel.targets, panel.hist, panel.futr),
        *(static.number_names, static.category_names, static.categories),
    )
    hashed.update(json.dumps(names, default=methodcaller("item")).encode())
    for array in (
        *panel.values,
        *(panel.begins, panel.lengths, panel.room, panel.starts),
        *(static.numbers, static.codes),
    ):
        hashed.update(f"{array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()


def snapshot_fingerprint(snapshot: Snapshot) -> str:
    """Return a hash of tensors and facts.

    >>> one, other = (Snapshot({"W": torch.tensor([w])}) for w in (1.0, 2.0))
    >>> snapshot_fingerprint(one) == snapshot_fingerprint(other)
    False
    """
    hashed = hashlib.blake2b(digest_size=16)
    hashed.update(json.dumps(_plain(snapshot.facts), sort_keys=True).encode())
    for name, tensor in sorted(snapshot.tensors.items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def conditions() -> dict[str, Any]:
    """Return what forecasts depend on to the last bit, beside seed, data and settings."""
    processor = compiled.processor()
    return {
        "throughtime": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "kernels": "torch" if processor is None else processor.name,
    }


def _plain(values: Any) -> Any:
    """Return values as JSON gives them back."""
    return json.loads(json.dumps(values, default=methodcaller("item")))


def _difference(begun: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in words how the first value that is another differs; nothing where none does."""
    for name in [*now, *(begun.keys() - now.keys())]:
        one, other = begun.get(name), now.get(name)
        if one != other:
            if isinstance(one, dict) and isinstance(other, dict):
                return _difference(one, other)
            return "other data" if name == "data" else f"{name} {one!r}, not {other!r}"
    return ""
