"""Where a window lies and how wide it is: z = (u - location) / size, and back.

Of the observed values u_1 ... u_L of a window of (transformed) values, and the mean mu and standard
deviation sigma of all its series:

                    location              size
    blend           (mean(c) + mu) / 2    (deviation(c) + sigma) / 2    c is u, a gap carrying on
    standard        mean(u)               deviation(u)
    robust          median(u)             (q75(u) - q25(u)) / 1.349
    mean-absolute   0                     mean |u_t|
    last            u_L                   mean |u_t - u_{t-1}|
    shift           u_L                   sigma
    series          mu                    sigma
    revin           as standard; the nets then read gamma z + beta (`architectures/reversible.py`)
    running         of all values up to each step: another at every step (`examples/running.py`)

"standard" follows a level that drifts; "robust" is deaf to outliers: 1.349 is that difference for a
normal variable of variance 1. "mean-absolute" keeps 0 where it is (Salinas, Flunkert, Gasthaus and
Januschowski 2020, "DeepAR", section 3.3, there 1 + mean). Under "last" the forecast 0 is the naive
one, and an error of 1 its usual error one step ahead. The moments of "series" are less noisy and
keep the level in sight; "blend" is half of each. "revin" is reversible instance normalisation (Kim
et al. 2022).

All but "mean-absolute" are blind to the units: windows of a + b y, b > 0, have the z of those of y;
for "mean-absolute" that holds with a = 0. So a window that does not vary (or of which no two
neighbours were observed, for "last") is not divided by an arbitrary number: where the quartiles
coincide or steps lack, the size is the deviation about the location, and where that is 0, too, it
is sigma. A window without a value has location mu and size sigma, and sigma is 1 where it would be 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scale:
    """Location and size of windows, [..., 1] each: z = (u - location) / size."""

    location: Tensor
    size: Tensor

    def apply(self, u: Tensor) -> Tensor:
        """Return windows [..., any length] on the common scale."""
        return (u - self.location) / self.size

    def invert(self, z: Tensor) -> Tensor:
        """Return what `apply` would map to `z`."""
        return z * self.size + self.location


Scaling = Callable[[Tensor, Scale], Scale]  # (windows [..., L], the scale of their series)


def blend(u: Tensor, series: Scale) -> Scale:
    """Return half the window's moments, half its series'; gaps repeat the value before them.

    >>> series = Scale(torch.tensor([0.0]), torch.tensor([3.0]))
    >>> blend(torch.tensor([1.0, 3.0]), series).apply(torch.tensor([5.0]))
    tensor([2.])
    """
    own = standard(carry_on(u), series)
    return Scale(
        torch.lerp(series.location, own.location, 0.5), torch.lerp(series.size, own.size, 0.5)
    )


def standard(u: Tensor, series: Scale) -> Scale:
    """Return mean and standard deviation of each window.

    >>> series = Scale(torch.tensor([0.0]), torch.tensor([1.0]))
    >>> standard(torch.tensor([1.0, 3.0, float("nan")]), series).apply(torch.tensor([5.0]))
    tensor([3.])
    """
    location = _mean(u)
    return _safe(location, _deviation(u, location), series)


def robust(u: Tensor, series: Scale) -> Scale:
    """Return median and (q75 - q25) / 1.349 of each window."""
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=u.dtype, device=u.device)
    low, middle, high = u.nanquantile(levels, dim=-1, keepdim=True)
    return _safe(middle, _or_deviation((high - low) / 1.349, u, middle), series)


def mean_absolute(u: Tensor, series: Scale) -> Scale:
    """Return 0 and the mean |u| of each window."""
    size = _mean(u.abs())
    return _safe(torch.where(size.isnan(), size, 0.0), size, series)


def last(u: Tensor, series: Scale) -> Scale:
    """Return last value and mean |u_t - u_{t-1}| of each window."""
    location = latest(u)
    return _safe(location, _or_deviation(_mean(u.diff(dim=-1).abs()), u, location), series)


def shift(u: Tensor, series: Scale) -> Scale:
    """Return last value of each window and deviation of its series."""
    return _safe(latest(u), series.size, series)


def of_series(u: Tensor, series: Scale) -> Scale:
    """Return the scale of the series."""
    return series


OF_WINDOWS: dict[str, Scaling] = {
    "blend": blend,
    "standard": standard,
    "robust": robust,
    "mean-absolute": mean_absolute,
    "last": last,
    "shift": shift,
    "series": of_series,
    "revin": standard,
}
SCALINGS = (*OF_WINDOWS, "running")

SCALING_WORDS = {
    "blend": "moments of window and series, half each",
    "standard": "mean and deviation of the window",
    "robust": "median and quartiles of the window",
    "mean-absolute": "mean absolute value of the window",
    "last": "last value and mean step of the window",
    "shift": "last value of the window and deviation of its series",
    "series": "mean and deviation of the series",
    "revin": "mean and deviation of the window, then an affine map that is learned",
    "running": "mean and deviation of all values up to each step",
}


def has_gaps(u: Tensor) -> bool:
    """Say whether any value is NaN (or so large that the sum of all is no number).

    >>> has_gaps(torch.tensor([1.0, float("nan")]))
    True
    """
    return not u.sum().isfinite()  # many times as fast as to ask each


def carry_on(u: Tensor) -> Tensor:
    """Return windows [..., L] in which a gap repeats the value before it; u where none has one.

    >>> carry_on(torch.tensor([float("nan"), 1.0, float("nan"), 3.0]))
    tensor([nan, 1., 1., 3.])
    """
    if not has_gaps(u):
        return u
    gap = u.isnan()
    if not (gap[..., 1:] & ~gap[..., :-1]).any():  # all lie before a series begins
        return u
    return _of_gaps(u, u.sum(dim=-1), u, _carried_on)


def latest(u: Tensor) -> Tensor:
    """Return the last value [..., 1] that was observed in windows [..., L]; NaN where none was.

    >>> latest(torch.tensor([1.0, 3.0, float("nan")]))
    tensor([3.])
    """
    newest = u[..., -1:]
    return carry_on(u)[..., -1:] if has_gaps(newest) else newest


def begun(u: Tensor, L: int) -> Tensor:
    """Return windows [..., L + ahead] with the first value of the context for what lies before it.

    What is missing even so reads 0: to a context without a value, what comes after must not be told.

    >>> begun(torch.tensor([float("nan"), 1.0, 3.0]), 2), begun(torch.tensor([float("nan"), 3.0]), 1)
    (tensor([1., 1., 3.]), tensor([0., 3.]))
    """
    return _of_gaps(u, u.sum(dim=-1), u, partial(_begun, L=L))


def _of_gaps(u: Tensor, sums: Tensor, plain: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `plain` [..., n], with `of(u)` in its place where windows u [..., L] have gaps.

    Their `sums` [...] (or means) tell which do: they are no numbers.
    """
    gaps = (~sums.flatten().isfinite()).nonzero()[:, 0]
    if len(gaps) == 0:
        return plain
    rows = u.reshape(-1, u.shape[-1]).index_select(0, gaps)
    return plain.reshape(sums.numel(), -1).index_copy(0, gaps, of(rows)).reshape(plain.shape)


def _carried_on(u: Tensor) -> Tensor:
    position = torch.arange(u.shape[-1], dtype=torch.int32)
    latest = torch.where(u.isnan(), 0, position).cummax(dim=-1).values
    return u.gather(-1, latest.long())


def _begun(u: Tensor, L: int) -> Tensor:
    observed = ~u[..., :L].isnan()
    first = observed.float().argmax(dim=-1, keepdim=True)  # 0 where nothing is
    position = torch.arange(u.shape[-1])
    return torch.where(position < first, u.gather(-1, first), u).nan_to_num(0.0)


def _or_deviation(size: Tensor, u: Tensor, location: Tensor) -> Tensor:
    """Return a size, or the deviation about the location where it is not above 0."""
    wide = size > 0
    return size if wide.all() else torch.where(wide, size, _deviation(u, location))


def _deviation(u: Tensor, location: Tensor) -> Tensor:
    return _mean((u - location).square_()).sqrt()


def _mean(u: Tensor) -> Tensor:
    """Return the mean of what was observed, [..., 1]: u.mean, but for gaps."""
    mean = u.mean(dim=-1, keepdim=True)
    return _of_gaps(u, mean, mean, partial(torch.nanmean, dim=-1, keepdim=True))


def _safe(location: Tensor, size: Tensor, series: Scale) -> Scale:
    """Return a scale that has those of the series where a window has no value, or no width."""
    rounding = 8 * torch.finfo(size.dtype).eps * location.abs()
    return Scale(
        torch.where(location.isnan(), series.location, location),
        torch.where(size > rounding, size, series.size),
    )
