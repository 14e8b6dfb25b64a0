"""Intervals whose widths follow their coverage, value by value, as a stream drifts.

    w_{t,k}          half-width of the interval at level 1 - α for the k-th step after t, as calibrated
    e_{t,k}          1 if y_{t+k} fell outside of what was issued at t, else 0
    θ_k <- θ_k + γ (e_{t,k} - α)           as soon as y_{t+k} is known
    interval         forecast -/+ exp(θ_k) w_{t,k}

|y - forecast| and w are scores (`conformity.py`): errors about a point, normal scores by quantiles.

Nothing is assumed of the stream. If |y - forecast| / w always lies in [exp(-b), exp(b)], then θ_k turns
back at b, it can go no further than the k values on their way, |θ_k| <= b + γ k, and so over T values

    |mean of e_{t,k} - α| = |θ_k(T) - θ_k(0)| / (γ T) <= (2 b + 2 γ k) / (γ T)

Gibbs and Candès (2021), "Adaptive conformal inference under distribution shift", move the level by this
rule; Angelopoulos, Candès and Tibshirani (2023), "Conformal PID control for time series prediction",
the quantile itself, of which this is the logarithm: a width is then never infinite, and of no unit.

Series are scored together, each with its part of γ, by what was issued. So θ does not depend on how
the rows come, one by one or many at once. What was issued at (at most) 16 times, spread over the last
h steps, waits for its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from throughtime._archive import Snapshot

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GAMMA = 0.05
MOST = 16  # forecasts that wait for their values


@dataclass(frozen=True, eq=False)
class Issued:
    """Intervals [levels, S, M, h] at the `levels` for the steps after the first `origins` [S]."""

    levels: tuple[float, ...]
    origins: Ints
    low: Floats
    high: Floats


class Coverage:
    """θ [h] of every level that was ever asked for, and the intervals that wait; see the module.

    >>> coverage = Coverage(h=1)
    >>> coverage.issue([80], np.array([5]), np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1)))
    >>> coverage.score(np.array([0]), np.array([5]), np.array([[[3.0]]]))  # outside of [0, 1]
    >>> coverage.factor(80).round(4)
    array([1.0408])
    """

    def __init__(self, h: int) -> None:
        self.h = h
        self.theta: dict[float, Floats] = {}
        self.waiting: list[Issued] = []

    def __repr__(self) -> str:
        factors = {level: np.exp(theta).tolist() for level, theta in self.theta.items()}
        return f"Coverage(h={self.h}, factors={factors})"

    def factor(self, level: float, h: int | None = None) -> Floats:
        """Return what half-widths [h] at this level are to be multiplied by.

        Steps beyond those that are followed have the factor of the last.
        """
        theta = self.theta.get(level, np.zeros(self.h))
        return np.exp(theta[np.minimum(np.arange(self.h if h is None else h), self.h - 1)])

    def issue(self, levels: Sequence[float], origins: Ints, low: Floats, high: Floats) -> None:
        """Remember intervals [levels, S, M, steps] for those after the first `origins` [S].

        Of more steps than h the first h, of fewer these.
        """
        low, high = (_of_steps(ends, self.h) for ends in (low, high))
        issued = Issued(tuple(levels), origins.copy(), low, high)
        alike = [each for each in self.waiting if each.levels == issued.levels]
        if alike:
            before = alike[-1].origins
            ahead = int((origins[: len(before)] - before).max())
            if 0 < ahead < -(-self.h // MOST):
                return
            if ahead <= 0:
                self.waiting.remove(alike[-1])
        self.waiting = [*self.waiting, issued][-MOST:]
        for level in levels:
            self.theta.setdefault(level, np.zeros(self.h))

    def score(self, index: Ints, lengths: Ints, y: Floats) -> None:
        """Score what was issued for the values y [n, M, J] that follow `lengths` [n] of the series."""
        j = np.arange(y.shape[-1])
        for each in self.waiting:
            known = np.flatnonzero(index < len(each.origins))
            k = (lengths[known] - each.origins[index[known]])[:, None] + j
            row, step = np.nonzero((k >= 0) & (k < self.h))
            ahead, series = k[row, step], index[known[row]]
            values = y[known[row], :, step]  # [hits, M]
            for level, low, high in zip(each.levels, each.low, each.high, strict=True):
                alpha, rows = 1 - level / 100, low.shape[0] * low.shape[1]
                below, above = low[series, :, ahead] - values, values - high[series, :, ahead]
                scored = ~(np.isnan(below) | np.isnan(above))  # observed, and forecast
                missed = (below > 0) | (above > 0)
                moves = np.where(scored, missed - alpha, 0.0).sum(axis=-1)
                np.add.at(self.theta[level], ahead, GAMMA / rows * moves)
        self._forget(index, lengths + y.shape[-1])

    def score_one(self, i: int, length: int, y: Sequence[float]) -> None:
        """Score the next value of every target of one series: what `score` does, sooner."""
        for each in self.waiting:
            k = length - int(each.origins[i]) if i < len(each.origins) else -1
            if not 0 <= k < self.h:
                continue
            rows = each.low.shape[1] * each.low.shape[2]
            for level, low, high in zip(each.levels, each.low, each.high, strict=True):
                ends = zip(y, low[i, :, k].tolist(), high[i, :, k].tolist(), strict=True)
                alpha = 1 - level / 100
                moves = sum((v < a or v > b) - alpha for v, a, b in ends if a <= b)
                self.theta[level][k] += GAMMA / rows * moves
        if self.waiting:
            self._forget(np.array([i]), np.array([length + 1]))

    def _forget(self, index: Ints, lengths: Ints) -> None:
        """Drop what no value is to come for: a series has gone h steps beyond the newest origin."""

        def is_done(each: Issued) -> bool:
            known = index < len(each.origins)
            reached = lengths[known] - each.origins[index[known]]
            return bool(len(reached) == len(each.origins) and (reached >= self.h).all())

        self.waiting = [each for each in self.waiting if not is_done(each)]

    def pack(self) -> Snapshot:
        """Return what `unpack` makes the same of."""
        part = Snapshot(facts={"levels": list(self.theta), "waiting": []})
        for i, theta in enumerate(self.theta.values()):
            part.tensors[f"theta.{i}"] = torch.tensor(theta)
        for i, each in enumerate(self.waiting):
            part.facts["waiting"].append(list(each.levels))
            for name in ("origins", "low", "high"):
                part.tensors[f"{name}.{i}"] = torch.tensor(getattr(each, name))
        return part

    @classmethod
    def unpack(cls, part: Snapshot, h: int) -> Coverage:
        """Return what was packed; `ValueError` for what does not fit together."""
        made, tensors = cls(h), {name: t.numpy() for name, t in part.tensors.items()}
        for i, level in enumerate(part.facts["levels"]):
            theta = _checked(tensors[f"theta.{i}"], (h,))
            if not np.isfinite(theta).all():
                raise ValueError("the coverage of intervals")
            made.theta[float(level)] = theta.copy()
        for i, levels in enumerate(part.facts["waiting"]):
            origins, low = tensors[f"origins.{i}"], tensors[f"low.{i}"]
            _checked(low, (len(levels), len(origins), low.shape[2], h))
            high = _checked(tensors[f"high.{i}"], low.shape)
            if origins.dtype != np.int64 or not set(levels) <= set(made.theta):
                raise ValueError("intervals that wait")
            made.waiting.append(Issued(tuple(levels), origins.copy(), low, high))
        return made


def _of_steps(ends: Floats, h: int) -> Floats:
    """Return the first h steps of ends [..., any number], NaN for those that are not there."""
    missing = h - ends.shape[-1]
    if missing <= 0:
        return ends[..., :h].copy()
    return np.concatenate([ends, np.full((*ends.shape[:-1], missing), np.nan)], axis=-1)


def _checked(array: Any, shape: tuple[int, ...]) -> Floats:
    if array.shape != shape or array.dtype != np.float64:
        raise ValueError("the coverage of intervals")
    return np.asarray(array)
