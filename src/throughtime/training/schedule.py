"""Learning rates as functions of the update k = 0 ... K-1, so that resuming needs no state.

With p the progress through the updates after the warm-up, from 0 up to 1:

    constant    η
    cosine      η (1 + cos πp) / 2                    Loshchilov and Hutter 2017, without restarts
    one-cycle   a cosine from η/25 up to η over the first 30 %, then one down to η/250,000
                                                      Smith and Topin 2018

A linear warm-up of w updates multiplies the first two by (k + 1) / w.
"""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "one-cycle"]

RISE, START, END = 0.3, 1 / 25, 1 / 250_000


def learning_rate(schedule: Schedule, peak: float, index: int, total: int, warm_up: int) -> float:
    """Return the learning rate of update `index` out of `total`, `peak` being η.

    >>> [learning_rate("cosine", 0.1, k, 4, 0) for k in (0, 2)]
    [0.1, 0.05...]
    """
    if schedule == "one-cycle":
        return peak * _one_cycle(index, total)
    if index < warm_up:
        return peak * (index + 1) / warm_up
    if schedule == "constant":
        return peak
    return peak * _cosine(1.0, 0.0, (index - warm_up) / (total - warm_up))


def _one_cycle(index: int, total: int) -> float:
    top = RISE * total - 1
    if index <= top:
        return _cosine(START, 1.0, index / top)
    return _cosine(1.0, END, (index - top) / (total - 1 - top))


def _cosine(start: float, end: float, progress: float) -> float:
    """Go from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
