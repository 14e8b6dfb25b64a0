"""How far series usually lie from their forecasts, in a file: steps, ratios, counts of errors, traits."""

from __future__ import annotations

import numpy as np
import torch

from throughtime._archive import Snapshot
from throughtime.forecasting.calibration.spread import Spread
from throughtime.forecasting.calibration.widths import TRAITS
from throughtime.forecasting.storage.checking import array, need

_NAMES = ("steps", "ratios", "counts")


def pack_spread(spread: Spread) -> Snapshot:
    """Return what `unpack_spread` makes the same of."""
    names = _NAMES if spread.traits is None else (*_NAMES, "traits")
    return Snapshot({name: torch.tensor(getattr(spread, name)) for name in names})


def unpack_spread(part: Snapshot, *shape: int) -> Spread:
    """Return what was packed, [..., rows]; `ValueError` for what does not fit."""
    steps, ratios, counts = (array(part, name, np.float64, *shape).copy() for name in _NAMES)
    for each in (steps, ratios):
        need(bool((np.isnan(each) | (np.isfinite(each) & (each > 0))).all()), "sizes of errors")
    need(bool((np.isfinite(counts) & (counts >= 0)).all()), "counts of errors")
    told = None
    if "traits" in part.tensors:  # files of before have none, or one less
        told = array(part, "traits", np.float64, *shape, _traits(part)).copy()
        need(not np.isinf(told).any(), "traits")
    return Spread(steps, ratios, counts, told)


def _traits(part: Snapshot) -> int:
    """Return how many traits of a row are there; the last came later than the others."""
    there = part.tensors["traits"].shape[-1:]
    return TRAITS - 1 if there == (TRAITS - 1,) else TRAITS
