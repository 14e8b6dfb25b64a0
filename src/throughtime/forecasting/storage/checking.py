"""What is read from a file is checked before anything is built from it."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from throughtime._archive import Snapshot


def array(part: Snapshot, name: str, dtype: Any, *shape: int) -> npt.NDArray[Any]:
    """Return a tensor as an array of this type, and this shape where one is given."""
    array: npt.NDArray[Any] = part.tensors[name].numpy()
    fits = array.shape == shape if shape else array.ndim == 1
    need(array.dtype == dtype and fits, f"the type or shape of {name}")
    return array


def text(facts: dict[str, Any], name: str) -> str:
    """Return a fact that is text."""
    value = facts[name]
    need(isinstance(value, str), name)
    return str(value)


def all_of(values: Any, kind: type) -> bool:
    """Say whether this is a list of values of exactly this type."""
    return isinstance(values, list) and all(type(value) is kind for value in values)


def need(fits: bool, what: str) -> None:
    """Raise `ValueError` about `what` unless it fits."""
    if not fits:
        raise ValueError(what)
