"""Many to one: a class for every sequence.

    h_t = f(z_t, h_{t-1}),   o = V h_T + c,   p(class k | x_1..x_T) = softmax(o)_k

p is the mean over the members; see `base.py` for how they learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from throughtime._errors import DataError
from throughtime.estimators.base import Floats
from throughtime.estimators.labels import Array, as_list, classes_of, codes_of, is_missing
from throughtime.estimators.sequences import Sequences, read_sequences, same_number
from throughtime.estimators.storage import SavedEstimator
from throughtime.nn import SequenceInput

if TYPE_CHECKING:
    from typing_extensions import Self


class SequenceClassifier(SavedEstimator):
    """Tells which class a whole sequence belongs to.

    >>> import numpy as np, throughtime as tt
    >>> rising = [np.arange(n) for n in (4, 5, 6, 7)]
    >>> X, y = rising + [-x for x in rising], ["up"] * 4 + ["down"] * 4
    >>> training = tt.training.TrainingSettings(max_updates=60, learning_rate=0.02)
    >>> model = tt.SequenceClassifier(hidden_size=8, members=2, training=training).fit(X, y)
    >>> model.classes_, model.predict([[0.0, 2.0, 3.0]])
    (array(['down', 'up'], dtype='<U4'), array(['up'], dtype='<U4'))
    """

    shape = SequenceInput
    reads_both_ways = True
    estimator_type = _estimator_type = "classifier"

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from sequences X, [n, T], [n, T, features] or a list, and their n labels.

        NaN in X is a gap. Raises DataError naming what does not fit, SettingError for a setting out
        of its range, DivergedError where training breaks down; each leaves the estimator as it was.
        """
        sequences, labels = read_sequences(X), _labels(y)
        same_number(len(sequences), labels)
        for i, label in enumerate(labels):
            if is_missing(label):
                raise DataError(
                    "a label for every sequence",
                    f"{label} for sequence {i} (counted from 0)",
                    "leave that sequence out",
                )
        plain = isinstance(y, np.ndarray) and y.dtype != object
        classes = classes_of(labels, y.dtype if plain else None)
        codes = codes_of(labels, classes)
        self._learn(sequences, codes, codes, classes)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of every class, [n, classes] in the order of `classes_`.

        Raises DataError for sequences unlike those of `fit`, NotFittedError before it.
        """
        return torch.cat(list(self._probabilities(self._read(X)))).numpy()

    def predict(self, X: Any) -> Array:
        """Return the likeliest class of every sequence, [n] labels; raises as `predict_proba`."""
        p = self.predict_proba(X)
        chosen: Array = self.classes_[p.argmax(axis=-1)]
        return chosen

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of sequences that are told right; raises as `predict_proba`."""
        sequences = self._read(X)
        codes = np.asarray(self._codes(sequences, y))
        return float(np.average(self.predict_proba(X).argmax(-1) == codes, weights=sample_weight))

    def _codes(self, sequences: Sequences, y: Any) -> list[int]:
        labels = _labels(y)
        same_number(len(sequences), labels)
        return codes_of(labels, self.classes_)

    def _targets(self, sequences: Sequences, codes: Sequence[Any]) -> Tensor:
        return torch.tensor(codes).unsqueeze(-1)


def _labels(y: Any) -> list[Any]:
    """Return one label a sequence, also of a column [n, 1]."""
    if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
        y = np.asarray(y)[:, 0]
    if getattr(y, "ndim", 1) != 1:
        raise DataError(
            "one label for every sequence, [n]",
            f"an array of shape {tuple(y.shape)}",
            "take SequenceLabeler where every step has one",
        )
    return as_list(y)
