"""How far a series usually lies from its forecasts: what its errors are divided by to be pooled.

Of row i on the transformed scale u = f(y), by what is known at an origin alone:

    b_i       mean |u_t - u_{t-1}|                 its mean step
    e_i       root mean square of n_i errors       of the model that is asked, over the K = 4 horizons
                                                   before the origin, as far as they are there
    q_i       log(e_i / b_i)
    sigma_i   b_i exp(w_i (q_i - q)),              w_i = n_i / (n_i + nu)

Where series are alike a step is a fair unit of error. It is a poor one where some cycles can be
forecast and others cannot; there e_i says more, as far as it rests on errors enough, and is drawn
to what all rows have in common, q, the mean of the q_i weighted by w_i. How many errors that weighs as
much as, the rolling origins tell: nu is the one of 3/16, 3/8 ... 384 or infinity (sigma_i = b_i) that makes
the errors r there likeliest, as those of Laplace distributions of widths in proportion to sigma:

    nu = argmin  log mean(|r_i| / sigma_i) + mean log sigma_i          |r_i| the mean over the steps

A row that never moved has the geometric mean b of the b_i, one of which no error is known has q.
b, q and nu are those of the rolling origins, for every forecast that these calibrate. Where these
judge many rows, sigma_i is multiplied by what a regression of |r_i| says of the past of row i (`widths.py`).

sigma_i knows nothing of what comes after its origin but these few numbers, so that errors in units of it
are conformal scores like others: normalized conformal prediction (Papadopoulos, Proedrou, Vovk and
Gammerman 2002; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018, section 5.2). A model errs less in
what it has learned from than after it, which cancels in q_i - q as far as all rows have that in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.calibration.widths import LEAST, TRAITS, Widths, traits
from throughtime.forecasting.preprocessing.steps import mean_steps
from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.series.panel import Panel

Floats = npt.NDArray[np.float64]

K = 4  # horizons before an origin
PRIORS = (np.inf, *(3 * 2.0**j for j in range(-4, 8)))


class Settings(Protocol):
    """The settings of a model, as far as its errors are asked for."""

    @property
    def h(self) -> int:
        """How many steps it forecasts."""


class Asked(Protocol):
    """A model, as far as its errors are asked for."""

    @property
    def design(self) -> Settings:
        """Its settings."""

    def forecast(self, panel: Panel, h: int | None = None) -> Floats:
        """Return the next h values [rows, h]."""


@dataclass(frozen=True)
class Common:
    """What rows have in common: the step b, the log ratio q, and how many errors nu that counts for.

    `widths` is what their past says of their errors, where there are rows enough to learn it from.
    """

    step: float
    ratio: float
    prior: float
    widths: Widths | None = None

    @property
    def traits(self) -> int:
        """How many traits of a row the widths go by, 5 in files of before."""
        return TRAITS if self.widths is None else len(self.widths.beta) - 1

    @property
    def bent(self) -> bool:
        """Say if errors are bent on a scale from 0 (`conformity.py`), as files of before say not."""
        return self.widths is not None and self.traits == TRAITS


@dataclass(frozen=True, eq=False)
class Spread:
    """Steps b, ratios e / b and counts n of errors, [..., rows] each; NaN and 0 where there is none.

    `traits` [..., rows, 6] of the past (`widths.py`) are 5 or None in files of before.

    >>> spread = Spread(np.ones(3), np.array([1.0, 4.0, np.nan]), np.array([24, 24, 0]))
    >>> spread.sizes(Common(1.0, np.log(2), prior=24)).round(4)
    array([0.7071, 1.4142, 1.    ])
    """

    steps: Floats
    ratios: Floats
    counts: Floats
    traits: Floats | None = None

    @classmethod
    def of(cls, model: Asked, panel: Panel, transform: Transform) -> Spread:
        """Return what a model's errors in a panel say; it forecasts from K origins there."""
        steps = _positive(mean_steps(panel, transform))
        squares, counts = np.zeros(len(panel)), np.zeros(len(panel))
        h = model.design.h
        for ahead in range(h, (K + 1) * h, h):
            rows = np.flatnonzero(panel.row_lengths > ahead)
            if len(rows) == 0:
                break
            point = transform.nearest(model.forecast(panel.cut(ahead)))
            y = np.stack([panel.row(r)[-ahead:][:h] for r in rows.tolist()]).astype(np.float64)
            e = transform.forward(y) - transform.forward(point)
            squares[rows] += np.nansum(e**2, axis=1)
            counts[rows] += (~np.isnan(e)).sum(axis=1)
        ratios = _positive(np.sqrt(squares / np.maximum(counts, 1))) / steps
        return cls(steps, ratios, counts, traits(panel, transform, h))

    @classmethod
    def at_origins(cls, spreads: Sequence[Spread], known: npt.NDArray[np.bool_]) -> Spread:
        """Return what was known at each origin, of those rows alone that were `known` [R, rows]."""
        steps, ratios, counts = (np.full(known.shape, fill) for fill in (np.nan, np.nan, 0.0))
        told = np.full((*known.shape, TRAITS), np.nan)
        for r, each in enumerate(spreads):
            steps[r, known[r]], told[r, known[r]] = each.steps, each.traits
            ratios[r, known[r]], counts[r, known[r]] = each.ratios, each.counts
        return cls(steps, ratios, counts, told)

    def moved_to(self, panel: Panel, transform: Transform) -> Spread:
        """Return it with the steps of a panel in which these rows went on, and new ones came last."""
        steps = _positive(mean_steps(panel, transform))
        new = len(steps) - len(self.ratios)
        ratios = np.append(self.ratios, np.full(new, np.nan))
        told = self.traits
        if told is not None:
            told = np.concatenate([told, np.full((new, told.shape[-1]), np.nan)])
        return Spread(steps, ratios, np.append(self.counts, np.zeros(new)), told)

    def sizes(self, common: Common) -> Floats:
        """Return sigma [..., rows], given what the rows of a calibration have in common."""
        steps = np.where(np.isnan(self.steps), common.step, self.steps)
        sizes = steps * np.exp(self._own(common))
        if common.widths is None or self.traits is None:
            return sizes
        return sizes * common.widths.factors(self._told(common))

    def left_out(self, common: Common, errors: Floats) -> Floats:
        """Return sigma [R, rows] with widths by the errors [R, rows, h] at the other origins alone."""
        if common.widths is None:
            return self.sizes(common)
        made = np.empty(self.steps.shape)
        for r in range(len(made)):
            others = errors.copy()
            others[r] = np.nan
            made[r] = self.sizes(replace(common, widths=self._widths(common, others)))[r]
        return made

    def weights(self, prior: float) -> Floats:
        """Return the weights w [..., rows] of the rows' own errors; 0 where no ratio is known."""
        return np.where(np.isnan(self.ratios), 0.0, self.counts / (self.counts + prior))

    def common(self, errors: Floats) -> Common:
        """Return what rows have in common, with the prior that makes errors [..., rows, h] likeliest."""
        seen = ~np.isnan(self.steps)
        step = float(np.exp(np.log(self.steps[seen]).mean())) if seen.any() else 1.0
        made = [Common(step, self._ratio(prior), prior) for prior in PRIORS]
        r, n = np.nansum(np.abs(errors), axis=-1), (~np.isnan(errors)).sum(axis=-1)
        judged = n > 0
        r = r[judged] / n[judged]
        if not r.any():  # that never err say nothing
            return made[0]
        sizes = [self.sizes(each)[judged] for each in made]
        losses = [np.log((r / sigma).mean()) + np.log(sigma).mean() for sigma in sizes]
        best = made[int(np.argmin(losses))]
        at_origins = judged.reshape(-1, judged.shape[-1]).sum(axis=-1)
        enough = self.traits is not None and (at_origins >= LEAST).sum() > 1
        return replace(best, widths=self._widths(best, errors)) if enough else best

    def _widths(self, common: Common, errors: Floats) -> Widths | None:
        """Return what errors [R, rows, h] in units of sigma say of the past; None of too few."""
        plain = replace(common, widths=None)
        sigma = self.sizes(plain)
        size, n = np.nansum(np.abs(errors), axis=-1), (~np.isnan(errors)).sum(axis=-1)
        r = size / np.maximum(n, 1) / sigma
        return Widths.fit(self._told(plain), r) if (r > 0).sum() >= LEAST else None

    def _told(self, common: Common) -> Floats:
        """Return x [..., rows, 7]: the traits, and what the rows' own errors say."""
        assert self.traits is not None
        told = self.traits[..., : common.traits]
        return np.concatenate([told, self._own(common)[..., None]], axis=-1)

    def _own(self, common: Common) -> Floats:
        """Return w (q_i - q) [..., rows], 0 where no error is known."""
        q = np.where(np.isnan(self.ratios), common.ratio, np.log(self.ratios))
        return self.weights(common.prior) * (q - common.ratio)

    def _ratio(self, prior: float) -> float:
        w = self.weights(prior)
        own = w > 0
        return float(np.average(np.log(self.ratios[own]), weights=w[own])) if own.any() else 0.0


def _positive(each: Floats) -> Floats:
    return np.where(each > 0, each, np.nan)
