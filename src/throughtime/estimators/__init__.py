"""Floor 4, another room. From whole sequences to classes: one for each, or one for every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:  # the same names once more, for type checkers and editors
    from throughtime.estimators.classifier import SequenceClassifier as SequenceClassifier
    from throughtime.estimators.labeler import SequenceLabeler as SequenceLabeler

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "SequenceClassifier": "throughtime.estimators.classifier",
        "SequenceLabeler": "throughtime.estimators.labeler",
    },
)
