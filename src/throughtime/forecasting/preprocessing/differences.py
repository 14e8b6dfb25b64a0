"""What a net reads in place of its values: their differences.

    difference=1          d_t = z_t - z_{t-1}
    difference="season"   d_t = z_t - z_{t-m}                                  seasons of m steps
    difference="both"     d_t = (z_t - z_{t-1}) - (z_{t-m} - z_{t-m-1})

A level (1), a seasonal pattern ("season"), or both leave the input, so that what a net learned at
one level holds at another (Box and Jenkins 1970, section 4.1, for linear models). The windows reach
back 1, m or m + 1 steps further; what lies before a series begins counts as no change.

Only what is read changes, by a linear map: what is said stays r_k = z_{T+k} - base_k(z), the change
from the last value or from the last season (`residuals.py`). A net that says differences
d_{T+1} ... d_{T+h} instead would forecast z_{T+k} = z_T + d_{T+1} + ... + d_{T+k}. That sum is right
for points alone: the quantile of a sum is not the sum of the quantiles (for k independent steps
of equal width it is sqrt(k) as wide, not k). Of r_k, it is exact: quantile(z_{T+k}) = base_k +
quantile(r_k), and r_k is that sum when the base is "last".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Difference = Literal[1, "season", "both"]
DIFFERENCES: tuple[Difference | None, ...] = (None, *get_args(Difference))


def lags_of(difference: Difference | None, season_length: int) -> tuple[int, ...]:
    """Return the lags at which differences are taken, one after the other.

    >>> lags_of("both", 12)
    (1, 12)
    """
    lags = {None: (), 1: (1,), "season": (season_length,), "both": (1, season_length)}
    return lags[difference]


def differenced(z: Tensor, lags: Sequence[int]) -> Tensor:
    """Return the differences of z [..., T], NaN for those of a step that z does not reach back to.

    >>> differenced(torch.tensor([1.0, 2.0, 4.0, 8.0]), [1, 2])
    tensor([nan, nan, nan, 3.])
    """
    for lag in lags:
        unknown = z.new_full((*z.shape[:-1], min(lag, z.shape[-1])), torch.nan)
        z = torch.cat([unknown, z[..., lag:] - z[..., :-lag]], dim=-1)
    return z
