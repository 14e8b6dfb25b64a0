"""How far every series moves in a step: the unit in which errors of unlike series are compared.

b_i = mean |u_t - u_{t-1}|          u = f(y), over the steps between observed values of row i
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.series.panel import Panel

Floats = npt.NDArray[np.float64]


def series_sizes(panel: Panel, transform: Transform) -> Floats:
    """Return the mean absolute step [rows] of each row on the transformed scale; 1 where it is 0."""
    sizes = mean_steps(panel, transform)
    return np.where(sizes > 0, sizes, 1.0)


def mean_steps(panel: Panel, transform: Transform) -> Floats:
    """Return the mean absolute step [rows] of each row on the transformed scale; 0 where none is."""
    if panel.memory is not None and panel.memory.knows(transform.name):
        return panel.memory.sizes(transform.name)
    total, count = np.zeros(len(panel)), np.zeros(len(panel))
    for rows, y, offsets in panel.pieces():
        steps = np.abs(np.diff(transform.forward(y.astype(np.float64, copy=False)), append=np.nan))
        steps[offsets[1:] - 1] = np.nan  # from one row into the next is no step
        observed = ~np.isnan(steps)
        total[rows] += np.add.reduceat(np.where(observed, steps, 0.0), offsets[:-1])
        count[rows] += np.add.reduceat(observed, offsets[:-1], dtype=np.int64)
    return np.asarray(total / np.maximum(count, 1))
