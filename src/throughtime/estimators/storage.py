"""Estimators in files: their settings, and what `fit` learned.

    kind              SequenceClassifier or SequenceLabeler
    settings          the arguments of the constructor
    classes           the labels, and the type of their array
    mean, deviation, has_gaps   of every feature
    network           the weights of the nets by their names in PyTorch
    history, pilot    updates and evaluations

Everything that is read is checked before it is used, so that a file edited by hand is refused here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from throughtime import _archive
from throughtime._archive import Format, Snapshot
from throughtime._errors import NotFittedError, SettingError
from throughtime._files import check_writable
from throughtime.estimators.base import SequenceEstimator
from throughtime.estimators.labels import as_list
from throughtime.estimators.sequences import Features
from throughtime.nn import read_inits
from throughtime.training import History, TrainingSettings
from throughtime.training.checkpoint import pack_history, unpack_history

if TYPE_CHECKING:
    from typing_extensions import Self

FORMAT = Format(
    "throughtime estimator",
    1,
    "an estimator that was saved",
    "pass a file that save wrote, or fit anew",
)
PLAIN = (str, int, float, bool)
MOMENTS = ("mean", "deviation", "has_gaps")


class SavedEstimator(SequenceEstimator):
    """An estimator that can be written to a file, and read from it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one file (safetensors with JSON), whole or not at all.

        Raises NotFittedError before `fit`, and SettingError where `path` cannot be written or a
        class is no text, number or truth value.
        """
        path, kind = os.path.expanduser(path), type(self).__name__
        check_writable(path)
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"a fitted {kind}", "a new one", "call fit first")
        labels, features = as_list(self.classes_), self.features_
        for label in labels:
            if not isinstance(label, PLAIN):
                raise SettingError(
                    "classes that are texts, numbers or truth values, to be saved",
                    repr(label),
                    "fit with such labels",
                )
        classes = {"labels": labels, "dtype": self.classes_.dtype.str}
        facts = {"kind": kind, "settings": _packed(self), "classes": classes}
        moments = {name: torch.tensor(getattr(features, name)) for name in MOMENTS}
        whole = Snapshot(moments, facts)
        whole.include("network", Snapshot(self.network_.state_dict()))
        for name, history in (("history", self.history_), ("pilot", self.pilot_)):
            part = pack_history(history)
            part.facts["reason"] = history.reason
            whole.include(name, part)
        _archive.write(path, FORMAT, whole)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the estimator that `save` wrote: it answers the same, and can be fitted anew.

        Loading runs no code from the file. Raises ModelFileError for one that is missing, damaged,
        or of something else.
        """
        path = os.path.expanduser(path)
        snapshot = _archive.read(path, FORMAT)
        kind = snapshot.facts.get("kind")
        if kind != cls.__name__:
            raise FORMAT.unreadable(path, f"{kind!r}, not a {cls.__name__}")
        with FORMAT.unpacking(path):
            estimator = cls(**_made(snapshot.facts["settings"]))
            _restore(estimator, snapshot)
        return estimator


def _packed(estimator: SequenceEstimator) -> dict[str, Any]:
    """Return the settings as JSON has them: what has a form of its own by way of `TrainingSettings`."""
    settings = estimator.get_params()
    training = estimator._checked_training().to_json()
    settings["init"] = [init.text for init in read_inits(settings["init"])]
    settings["training"] = settings["training"].to_json()
    for name, absent in (("clip", None), ("penalties", ())):
        settings[name] = None if settings[name] == absent else training[name]
    if isinstance(settings["class_weight"], Mapping):  # whose keys need not be texts
        settings["class_weight"] = [list(pair) for pair in settings["class_weight"].items()]
    return settings


def _made(settings: dict[str, Any]) -> dict[str, Any]:
    made = {**settings, "init": read_inits(settings["init"])}
    kept = {name: made[name] for name in ("clip", "penalties") if made[name] is not None}
    given = TrainingSettings.from_json(kept)
    made["training"] = TrainingSettings.from_json(settings["training"])
    made["clip"] = given.clip if "clip" in kept else None
    made["penalties"] = given.penalties if "penalties" in kept else ()
    if isinstance(made["class_weight"], list):
        made["class_weight"] = dict(made["class_weight"])
    if isinstance(made["zoneout"], list):
        made["zoneout"] = tuple(made["zoneout"])
    return made


def _restore(estimator: SequenceEstimator, snapshot: Snapshot) -> None:
    """Give an estimator with the settings of a file what it had learned."""
    facts, tensors = snapshot.facts, snapshot.tensors
    estimator._checked_training()
    labels = facts["classes"]["labels"]
    _need(isinstance(labels, list) and len(set(labels)) == len(labels) > 1, "classes")
    _need(all(isinstance(label, PLAIN) for label in labels), "classes")
    classes = np.empty(len(labels), dtype=object)
    classes[:] = labels
    classes = classes.astype(np.dtype(facts["classes"]["dtype"]))
    mean, deviation, has_gaps = (tensors[name].numpy() for name in MOMENTS)
    _need(mean.ndim == 1 and mean.shape == deviation.shape == has_gaps.shape, "moments")
    _need(mean.dtype == deviation.dtype == np.float64 and has_gaps.dtype == bool, "moments")
    _need(bool(np.isfinite(mean).all() and (deviation > 0).all()), "moments")
    weights = snapshot.part("network").tensors
    # before nets are made whose size nothing in the file bears out
    least = estimator.members * estimator.num_layers * estimator.hidden_size**2
    _need(sum(w.numel() for w in weights.values()) >= least, "the number of weights")
    features = Features(mean, deviation, has_gaps)
    network = estimator._network(features, len(labels))
    shapes = {name: w.shape for name, w in network.state_dict().items()}
    _need({name: w.shape for name, w in weights.items()} == shapes, "the shapes of the weights")
    _need(all(bool(w.isfinite().all()) for w in weights.values()), "weights")
    network.load_state_dict(weights)
    course = []
    for name in ("history", "pilot"):
        part = snapshot.part(name)
        _need(isinstance(part.facts["reason"], str), "reason")
        course.append(History(reason=part.facts["reason"]))
        unpack_history(part, course[-1])
    estimator._take(classes, features, network, (course[0], course[1], None))


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)
