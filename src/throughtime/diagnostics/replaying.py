"""Run the steps of a trajectory again, apart from the model: in double precision, for some examples.

What is measured is the recurrence as it ran: dropout and zoneout are those that were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime.diagnostics.interception import Foreign
from throughtime.diagnostics.runs import States
from throughtime.diagnostics.trajectory import Trajectory
from throughtime.diagnostics.untouched import untouched

MOST_VALUES = 2**19  # how many numbers of one kind are held at once: 4 MB, near the processor


@torch.inference_mode(False)
def sampled(trajectory: Trajectory, rows: int | None = None) -> Trajectory:
    """Return the trajectory of at most `rows` examples in double precision, with one of the longest.

    They are spread evenly over the examples by their length, which are in their order where all are
    as long. A cell of somebody else's stays in its own precision. Raises SettingError for rows < 1.
    """
    B = trajectory.x.shape[1]
    rows = B if rows is None else min(B, positive_int("rows", rows))
    longest_first = trajectory.real.sum(0).argsort(descending=True, stable=True)
    chosen = longest_first[torch.arange(rows, device=trajectory.x.device) * B // rows].sort().values
    foreign = isinstance(trajectory.kernel, Foreign)

    def each(tensors: tuple[Any, ...], along_rows: bool = True) -> tuple[Any, ...]:
        found = (None if t is None else t[:, chosen] if along_rows else t for t in tensors)
        return tuple(t if t is None or foreign else t.to("cpu", torch.float64) for t in found)

    (x,) = each((trajectory.x,))
    return replace(
        trajectory,
        x=x,
        states=each(trajectory.states),
        adjoints=each(trajectory.adjoints),
        real=trajectory.real[:, chosen].to(x.device),
        weights=each(trajectory.weights, along_rows=False),
        extras=each(trajectory.extras),
    )


@contextmanager
def replaying(trajectory: Trajectory) -> Iterator[list[Tensor]]:
    """Let gradients be taken through `step`, whatever mode the caller is in.

    Yields the parameters of a cell of somebody else's, which is left as it was found.
    """
    with torch.inference_mode(False), torch.enable_grad():
        if isinstance(trajectory.kernel, Foreign):
            with untouched(trajectory.kernel.cell) as parameters:
                yield list(parameters)
        else:
            yield []


def spans(length: int, values_a_step: int, most: int = MOST_VALUES) -> list[tuple[int, int]]:
    """Cut 0 ... length into spans that hold at most so many values each, or one step.

    >>> spans(5, 10, most=20)
    [(0, 2), (2, 4), (4, 5)]
    """
    span = max(1, most // max(1, values_a_step))
    return [(start, min(start + span, length)) for start in range(0, length, span)]


def split(joint: Tensor, like: States) -> States:
    """Part states that lie side by side along the last axis, [..., n]."""
    ends = np.cumsum([s.shape[-1] for s in like]).tolist()
    return tuple(joint[..., a:b] for a, b in zip([0, *ends], ends, strict=False))


def log_spaced(last: int, count: int = 40) -> np.ndarray:
    """Return whole numbers from 1 to `last`, about `count`, evenly on a logarithmic scale.

    >>> log_spaced(8, 4)
    array([1, 2, 4, 8])
    """
    grid = np.unique(np.rint(np.geomspace(1, last, count)).astype(int))
    return np.concatenate([grid[grid < last], [last]])


def plain(value: Any) -> Any:
    """Turn arrays and numbers into what JSON knows, None in the place of NaN and infinity.

    >>> plain({"a": np.array([1.0, np.inf]), "b": (np.int64(2), float("nan"))})
    {'a': [1.0, None], 'b': [2, None]}
    """
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
