"""What an error counts in training: in the units of MASE and sMAPE, and not of its window.

A net's error on the scale of a window, d = z - zhat, is one of |dy| = |f^-1'(u)| size |d| in the
units of the series, to first order. In training it counts

    w_k = |f^-1'(u_k)| size / 2 ( 1 / (s e_1) + 1 / (a_k e_2) )

    s     mean |y_t - y_{t-m}| of the series           that MASE divides by
    a_k   (|y_k| + |naive_k|) / 2                      that sMAPE divides by
    e_1, e_2   the mean errors of the naive base in these units, over the windows

so that the weighted mean of |d| is the mean of both measures beside the naive forecast, as the
overall weighted average (OWA) of Makridakis, Spiliotis and Assimakopoulos (2020, "The M4
competition", section 2.3) is. Windows that lie calm in a lively series, or series that are small
beside their steps, else count too much. Where values lie below 0 relative errors mean little: e_1
and s alone are taken. a_k is at least a tenth of s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.architectures.architecture import Inputs, Window
from throughtime.forecasting.examples.scaled import ScaledWindows, SpreadExamples, of_members
from throughtime.forecasting.preprocessing.scaling import Scale
from throughtime.forecasting.preprocessing.steps import series_sizes
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.windows import spread
from throughtime.training.examples import Example, Examples

WEIGHTINGS = ("window", "owa")
LEAST = 0.1  # of s: below that a value is not divided by
_MOST = 4_000  # windows that tell the naive errors
_BLOCK = 2**10


@dataclass(frozen=True, eq=False)
class Weighed:
    """Examples with weights: `weighed[index [E, B]] -> (inputs, r, w)`, w of the shape of r.

    `s` [S, M, 1] of every series; `errors` e_1 and e_2 on each of the scales.
    """

    examples: SpreadExamples
    s: Tensor
    errors: tuple[tuple[float, float], ...]
    negative: bool

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Tensor) -> Example:
        parts = zip(self.examples.on_scales(index), self.errors, strict=False)
        made = [self._of(part, each, *errors) for (part, each), errors in parts]
        inputs, r, w = of_members(made)
        return inputs, r, w

    def _of(
        self, part: ScaledWindows, index: Tensor, e_1: float, e_2: float
    ) -> tuple[Inputs, Tensor, Tensor]:
        series, origin = part.windows.places(index)
        window, scale = part.window(series, origin, part.windows.h)
        y, naive, slope = _of_series(part, window, scale)
        s = self.s[series]
        share = 1 / (s * e_1)
        if not self.negative:
            share = (share + 1 / (_middle(y, naive, s) * e_2)) / 2
        w = (slope * scale.size * share).nan_to_num(0.0).flatten(-2).float()
        return *part.laid_out(window), w


def weighed(examples: SpreadExamples) -> Examples:
    """Return the examples with weights; as they are where the naive base never errs.

    >>> from throughtime.forecasting import read_frame
    >>> from throughtime.forecasting.preprocessing.transforms import Identity
    >>> part = ScaledWindows.of(read_frame([0.0, 2.0] * 6), Identity(), context_length=2, h=1)
    >>> _, r, w = weighed(SpreadExamples((part,)))[torch.tensor([[0, 1]])]
    >>> bool(((w * r.abs()).mean() - 1).abs() < 1e-6)  # the naive base errs by 1
    True
    """
    first = examples.parts[0]
    panel = first.windows.panel
    s = torch.from_numpy(seasonal_steps(panel, first.base.season_length))
    s = s.reshape(len(panel.ids), -1, 1)
    errors = tuple(_naive_errors(part, s) for part in examples.parts)
    if not all(e_1 > 0 for e_1, _ in errors):
        return examples
    return Weighed(examples, s, errors, panel.is_negative)


def seasonal_steps(panel: Panel, m: int) -> npt.NDArray[np.float64]:
    """Return mean |y_t - y_{t-m}| [rows] of every row; with m = 1, or 1, where that is 0 or nothing.

    >>> from throughtime.forecasting import read_frame
    >>> seasonal_steps(read_frame([0.0, 1.0, 4.0]), 2)
    array([4.])
    """
    total, count = np.zeros(len(panel)), np.zeros(len(panel))
    for rows, y, offsets in panel.pieces():
        y = y.astype(np.float64, copy=False)
        step = np.full(len(y), np.nan)
        step[m:] = np.abs(y[m:] - y[:-m])
        place = np.arange(len(y)) - np.repeat(offsets[:-1], np.diff(offsets))
        step[place < m] = np.nan  # from one row into the next is no step
        total[rows] += np.add.reduceat(np.nan_to_num(step), offsets[:-1])
        count[rows] += np.add.reduceat(~np.isnan(step), offsets[:-1], dtype=np.int64)
    means = total / np.maximum(count, 1)
    return np.where(means > 0, means, series_sizes(panel, TRANSFORMS["identity"]))


def _naive_errors(part: ScaledWindows, s: Tensor) -> tuple[float, float]:
    """Return the mean error of the naive base in units of s, and of a_k."""
    errors: list[tuple[Tensor, Tensor]] = []
    for some in torch.split(spread(len(part), _MOST), _BLOCK):
        series, origin = part.windows.places(some)
        window, scale = part.window(series, origin, part.windows.h)
        y, naive, _ = _of_series(part, window, scale)
        e = (y - naive).abs()
        errors.append((e / s[series], e / _middle(y, naive, s[series])))
    e_1, e_2 = (torch.cat(each).nanmean().item() for each in zip(*errors, strict=True))
    return e_1, e_2


def _of_series(part: ScaledWindows, window: Window, scale: Scale) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, its naive forecast and |f^-1'(f(y))|, [..., M, h] each, in units of the series."""
    h = window.truth.shape[-1] - window.L
    f = part.transform
    y = f.inverse(scale.invert(window.truth[..., window.L :]).double())
    naive = f.inverse(scale.invert(window.naive(part.base, h)).double())
    return y, naive, f.slope(y)


def _middle(y: Tensor, naive: Tensor, s: Tensor) -> Tensor:
    return ((y.abs() + naive.abs()) / 2).maximum(LEAST * s)
