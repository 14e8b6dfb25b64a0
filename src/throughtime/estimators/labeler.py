"""Many to many in step: a class for every step of a sequence.

    h_t = f(z_t, h_{t-1}),   o_t = V h_t + c,   p(class k at step t | x_1..x_t) = softmax(o_t)_k

p is the mean over the members; see `base.py` for how they learn. Nothing after step t is looked at,
unless the nets are bidirectional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from throughtime._errors import DataError
from throughtime.estimators.base import Floats
from throughtime.estimators.labels import (
    NOT_OBSERVED,
    as_list,
    classes_of,
    codes_of,
    is_missing,
)
from throughtime.estimators.sequences import Sequences, read_sequences, same_number
from throughtime.estimators.storage import SavedEstimator
from throughtime.nn import SyncedSequence

if TYPE_CHECKING:
    from typing_extensions import Self


class Steps(SyncedSequence):
    """A `SyncedSequence` that reads whole sequences, and keeps its states to itself."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map x [B, T, I] to parameters [B, T, outputs, parameters]."""
        params, _ = super().forward(x, lengths=lengths)
        return params


class SequenceLabeler(SavedEstimator):
    """Tells the class of every step of a sequence.

    >>> import numpy as np, throughtime as tt
    >>> X = np.random.default_rng(0).choice([0.0, 1.0], size=(40, 6), p=[0.7, 0.3])
    >>> y = np.where(X.cumsum(axis=1) > 0, "seen", "not yet")  # whether there has been a one
    >>> training = tt.training.TrainingSettings(max_updates=150, learning_rate=0.02)
    >>> model = tt.SequenceLabeler(hidden_size=8, members=2, training=training).fit(X, y)
    >>> model.predict([[0.0, 0.0, 1.0, 0.0]])
    [array(['not yet', 'not yet', 'seen', 'seen'], dtype='<U7')]
    """

    shape = Steps
    reads_both_ways = False

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from sequences X, [n, T], [n, T, features] or a list, and labels of their steps.

        y is [n, T] or a list of [T_i]. NaN in X is a gap; None or NaN in y is a label that is not
        known, from which nothing is learned. Raises DataError naming what does not fit, SettingError
        for a setting out of its range, DivergedError where training breaks down; each leaves the
        estimator as it was.
        """
        sequences = read_sequences(X)
        labels = _labels(sequences, y)
        plain = isinstance(y, np.ndarray) and y.dtype != object
        classes = classes_of((label for row in labels for label in row), y.dtype if plain else None)
        codes = [codes_of(row, classes) for row in labels]
        self._learn(sequences, codes, [0] * len(codes), classes)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of every step, in the order of `classes_`.

        An array [n, T, classes] for an array, a list of [T_i, classes] for a list. Raises DataError
        for sequences unlike those of `fit`, NotFittedError before it.
        """
        sequences = self._read(X)
        rows = self._rows(sequences)
        return np.stack(rows) if sequences.as_array else rows

    def predict(self, X: Any) -> Any:
        """Return the likeliest class of every step: [n, T] for an array, a list of [T_i] for a list.

        Raises as `predict_proba` does.
        """
        sequences = self._read(X)
        rows = [self.classes_[p.argmax(axis=-1)] for p in self._rows(sequences)]
        return np.stack(rows) if sequences.as_array else rows

    def score(self, X: Any, y: Any) -> float:
        """Return the share of steps with a known label that are told right.

        Raises as `predict_proba` does, and DataError where no label is known.
        """
        sequences = self._read(X)
        labels = [label for row in _labels(sequences, y) for label in row]
        known = ~np.asarray([is_missing(label) for label in labels])
        if not known.any():
            raise DataError("a label that is known", "none", "pass some in y")
        chosen = np.concatenate([p.argmax(axis=-1) for p in self._rows(sequences)])
        return float((chosen == np.asarray(codes_of(labels, self.classes_)))[known].mean())

    def _rows(self, sequences: Sequences) -> list[Floats]:
        padded = (row.numpy() for part in self._probabilities(sequences) for row in part)
        return [row[:T] for row, T in zip(padded, sequences.lengths, strict=True)]

    def _codes(self, sequences: Sequences, y: Any) -> list[list[int]]:
        return [codes_of(row, self.classes_) for row in _labels(sequences, y)]

    def _targets(self, sequences: Sequences, codes: Sequence[Any]) -> Tensor:
        targets = torch.full((len(codes), max(sequences.lengths), 1), NOT_OBSERVED)
        for row, known in zip(targets, codes, strict=True):
            row[: len(known), 0] = torch.tensor(known)
        return targets


def _labels(sequences: Sequences, y: Any) -> list[list[Any]]:
    """Return a label, or None, for every step of every sequence."""
    if getattr(y, "ndim", 1) == 3 and y.shape[2] == 1:
        y = np.asarray(y)[..., 0]
    rows = [as_list(row) for row in as_list(y)]
    same_number(len(sequences), rows)
    for i, (row, T) in enumerate(zip(rows, sequences.lengths, strict=True)):
        if len(row) != T:
            raise DataError(
                f"{T} labels for the {T} steps of sequence {i} (counted from 0)",
                str(len(row)),
                "give every step one, None or NaN where it is not known",
            )
    return rows
