"""Sequences as they come, and as a net reads them.

With x_t,i feature i of a sequence at step t, mean_i and deviation_i its moments over all observed steps
of all sequences that were learned from, and s <= t the newest step at which it was observed:

    z_t,i = (x_s,i - mean_i) / deviation_i      0 before the first observation
    m_t,i = 1 where x_t,i is observed, else 0   an input of its own for every feature that had gaps
                                                when it was learned from

A gap carries the last value on, and says that it does (Che et al. 2018, "Recurrent neural networks for
multivariate time series with missing values", their GRU-simple). Sequences that end early are padded
with zeros behind their ends; with their lengths, no net of `nn.sequences` reads the padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._errors import DataError
from throughtime.forecasting.series.columns import LARGEST

Floats = npt.NDArray[np.float64]
FORMS = "pass an array [n, T] or [n, T, features], or a list of arrays [T_i] or [T_i, features]"
ROUNDING = 1e-12  # a spread below this share of the mean is what a constant leaves


@dataclass(frozen=True, eq=False)
class Sequences:
    """n sequences [T_i, I]; `as_array` says whether they came as one array."""

    rows: tuple[Floats, ...]
    as_array: bool

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> list[int]:
        """T_i of every sequence."""
        return list(map(len, self.rows))

    @property
    def features(self) -> int:
        """I, alike in all sequences."""
        return int(self.rows[0].shape[1])


def read_sequences(X: Any, features: int | None = None) -> Sequences:
    """Read an array [n, T] or [n, T, I], or a list of n arrays [T_i] or [T_i, I]; NaN is a gap.

    Raises DataError for anything else, for values that are infinite or too large, and for other than
    so many `features`.

    >>> read_sequences([[1.0, 2.0], [3.0]]).lengths
    [2, 1]
    >>> read_sequences([[1.0, float("inf")]])
    Traceback (most recent call last):
    throughtime._errors.DataError: Expected finite values, none beyond 1e+16, or NaN for a gap, found inf in sequence 0 at step 1, feature 0 (counted from 0): correct or leave out that sequence.
    """
    as_array = not _is_list(X)
    rows = _rows_of_array(X) if as_array else _rows_of_list(X)
    wanted = rows[0].shape[1] if features is None else features
    for i, row in enumerate(rows):
        if len(row) == 0:
            raise DataError(
                "at least one step in every sequence",
                f"none in sequence {i} (counted from 0)",
                "leave out empty sequences",
            )
        if row.shape[1] != wanted:
            since = "" if features is None else ", as in fit"
            raise DataError(
                f"{wanted} feature{'s' * (wanted != 1)} in every sequence{since}",
                f"{row.shape[1]} in sequence {i} (counted from 0)",
                "give all sequences the same features, the last axis",
            )
        if (large := np.abs(row) > LARGEST).any():
            t, j = np.argwhere(large)[0]
            raise DataError(
                f"finite values, none beyond {LARGEST:g}, or NaN for a gap",
                f"{row[t, j]} in sequence {i} at step {t}, feature {j} (counted from 0)",
                "correct or leave out that sequence",
            )
    return Sequences(tuple(rows), as_array)


def _is_list(X: Any) -> bool:
    """Say whether sequences come one by one: not as one array, tensor or table of numbers."""
    if isinstance(X, (str, bytes, dict)) or not isinstance(X, Iterable):
        raise DataError("sequences", f"a value of type {type(X).__name__}", FORMS)
    if isinstance(X, Tensor):
        return False
    if not hasattr(X, "__array__"):
        return True
    array = np.asarray(X)
    return array.ndim == 1 and array.dtype == object


def _rows_of_array(X: Any) -> list[Floats]:
    array = _numbers(X, "X")
    if array.ndim not in (2, 3) or len(array) == 0 or array.shape[-1] == 0:
        raise DataError("at least one sequence", f"an array of shape {array.shape}", FORMS)
    return list(array[:, :, None] if array.ndim == 2 else array)


def _rows_of_list(X: Iterable[Any]) -> list[Floats]:
    rows = [_numbers(row, f"sequence {i}") for i, row in enumerate(X)]
    if not rows:
        raise DataError("at least one sequence", "none", FORMS)
    for i, row in enumerate(rows):
        if row.ndim not in (1, 2) or row.shape[1:] == (0,):
            raise DataError(
                "arrays [T_i] or [T_i, features]", f"shape {row.shape} in sequence {i}", FORMS
            )
    return [row[:, None] if row.ndim == 1 else row for row in rows]


def _numbers(values: Any, where: str) -> Floats:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"numbers in {where}", " ".join(str(error).split()), FORMS) from error


@dataclass(frozen=True, eq=False)
class Padded:
    """Inputs of a net: x [n, T, C], zero behind the ends, and `lengths` [n].

    `lengths` is None where all are T, which runs faster.
    """

    x: Tensor
    lengths: Tensor | None


@dataclass(frozen=True, eq=False)
class Features:
    """What was learned about each of the I features: moments, and which of them had gaps.

    >>> features = Features.of(read_sequences([[0.0, 4.0], [2.0]]))
    >>> features.inputs(read_sequences([[6.0, 2.0], [2.0]])).lengths
    tensor([2, 1])
    """

    mean: Floats
    deviation: Floats
    has_gaps: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, sequences: Sequences) -> Features:
        """Take the moments over all steps of all sequences that are observed."""
        x = np.concatenate(sequences.rows)
        observed = ~np.isnan(x)
        count = np.maximum(observed.sum(axis=0), 1)
        mean = np.where(observed, x, 0.0).sum(axis=0) / count
        deviation = np.sqrt((np.where(observed, x - mean, 0.0) ** 2).sum(axis=0) / count)
        varies = deviation > ROUNDING * np.abs(mean)
        has_gaps = (~observed).sum(axis=0) > 0
        return cls(mean, np.where(varies, deviation, 1.0), has_gaps)

    @property
    def size(self) -> int:
        """C: how many inputs a net has at each step."""
        return len(self.mean) + int(self.has_gaps.sum())

    def inputs(self, sequences: Sequences) -> Padded:
        """Standardise, carry on over gaps, and pad."""
        n, lengths = len(sequences), sequences.lengths
        z = np.full((n, max(lengths), len(self.mean)), np.nan)
        for i, row in enumerate(sequences.rows):
            z[i, : len(row)] = (row - self.mean) / self.deviation
        observed = ~np.isnan(z)
        m = observed[..., self.has_gaps].astype(np.float32)
        z = z if observed.all() else _carried_on(z, observed)
        real = np.arange(z.shape[1]) < np.asarray(lengths)[:, None]
        x = np.concatenate([np.where(real[..., None], z, 0.0), m], axis=-1, dtype=np.float32)
        ragged = min(lengths) < z.shape[1]
        return Padded(torch.from_numpy(x), torch.tensor(lengths) if ragged else None)


def _carried_on(z: Floats, observed: npt.NDArray[np.bool_]) -> Floats:
    """Fill gaps in z [n, T, I] with the value before them, or 0.

    >>> z = np.array([np.nan, 1.0, np.nan]).reshape(1, 3, 1)
    >>> _carried_on(z, ~np.isnan(z)).flatten().tolist()
    [0.0, 1.0, 1.0]
    """
    steps = np.arange(z.shape[1])[:, None]
    newest = np.maximum.accumulate(np.where(observed, steps, 0), axis=1)
    return np.nan_to_num(np.take_along_axis(z, newest, axis=1), nan=0.0)


def chunks(sequences: Sequences, size: int) -> Iterable[Sequences]:
    """Cut into parts of at most `size` sequences, so that a long one does not pad them all."""
    for start in range(0, len(sequences), size):
        yield Sequences(sequences.rows[start : start + size], sequences.as_array)


def same_number(n: int, labels: Sequence[Any] | npt.NDArray[Any]) -> None:
    """Refuse other than n labels (or sequences of them)."""
    if len(labels) != n:
        raise DataError(
            f"labels for {n} sequences", str(len(labels)), "give every sequence its own in y"
        )
