"""Labels of any kind that can be hashed, and the numbers 0, 1, ... that stand for them.

The classes are sorted where their kind has an order, else in the order in which they first appear.
A label that is None or NaN is a missing one, NOT_OBSERVED; losses leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._errors import DataError

NOT_OBSERVED = -1
Array = npt.NDArray[Any]


def as_list(labels: Any) -> list[Any]:
    """Return labels as plain values of Python's, in a list.

    >>> as_list(np.array([3, 1]))
    [3, 1]
    """
    for name in ("to_pylist", "to_numpy", "tolist"):  # columns of tables, tables, arrays, tensors
        labels = getattr(labels, name)() if hasattr(labels, name) else labels
    if isinstance(labels, (str, bytes, dict)) or not isinstance(labels, Iterable):
        raise DataError("labels in a list or array", repr(labels), "pass one for every sequence")
    return [each.item() if isinstance(each, np.generic) else each for each in labels]


def classes_of(labels: Iterable[Any], dtype: np.dtype[Any] | None = None) -> Array:
    """Return the different labels, missing ones left out, in an array of their own type.

    Raises DataError for labels that cannot be hashed, and where there are fewer than two classes.

    >>> classes_of(["b", "a", "b"])
    array(['a', 'b'], dtype='<U1')
    >>> classes_of([("b", 2), ("a", 1)])
    array([('a', 1), ('b', 2)], dtype=object)
    >>> classes_of([1, 1])
    Traceback (most recent call last):
    throughtime._errors.DataError: Expected labels of two classes or more, found 1 alone: pass examples of every class.
    """
    try:
        found = list(dict.fromkeys(label for label in labels if not is_missing(label)))
    except TypeError as error:
        raise DataError(
            "labels that can be hashed, such as words or whole numbers",
            str(error),
            "make each label one such value",
        ) from error
    if len(found) < 2:
        alone = f"{found[0]!r} alone" if found else "none"
        raise DataError("labels of two classes or more", alone, "pass examples of every class")
    with suppress(TypeError):  # labels without an order between them
        found.sort()
    kinds = {type(label) for label in found}
    plain = dtype is None and len(kinds) == 1 and kinds <= {str, int, float, bool}
    made = np.empty(len(found), dtype=object)
    made[:] = found
    return made.astype(np.asarray(found).dtype if plain else dtype or object)


def codes_of(labels: Iterable[Any], classes: Array) -> list[int]:
    """Return the numbers of the classes, NOT_OBSERVED for a missing label or one of no class.

    >>> codes_of(["b", None, "a", "?"], np.array(["a", "b"]))
    [1, -1, 0, -1]
    """
    number = {label: k for k, label in enumerate(as_list(classes))}
    return [NOT_OBSERVED if is_missing(label) else number.get(label, -1) for label in labels]


def is_missing(label: Any) -> bool:
    """Say whether a label is None or NaN, as tables have it.

    >>> [is_missing(label) for label in (None, float("nan"), np.datetime64("NaT"), 0, "")]
    [True, True, True, False, False]
    """
    return label is None or (not isinstance(label, (str, tuple)) and bool(label != label))
