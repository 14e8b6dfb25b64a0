"""Losses: plain functions `loss(params, target, weights=None)` that return a scalar mean.

`params` [..., outputs, parameters] is what a head gives, `target` [..., outputs] what was observed;
with y a target, f a point forecast (or a quantile's), d = y - f:

    mse            d²
    mae            |d|
    huber          d²/2 where |d| <= δ, else δ (|d| - δ/2)                 Huber 1964
    quantile       mean over the levels q of max(q d, (q - 1) d)           Koenker and Bassett 1978
    gaussian_nll   ln σ + z²/2 + ln(2π)/2,             z = (y - μ)/σ
    student_t_nll  ln σ + (ν+1)/2 ln(1 + z²/ν) + ln(νπ)/2 + ln Γ(ν/2) - ln Γ((ν+1)/2)
    negative_binomial_nll  ln Γ(r) - ln Γ(r+y) + ln Γ(y+1) - y ln(αμ) + (y+r) ln(1 + αμ),  r = 1/α
    mixture_nll    -ln Σ_k exp(ln w_k - ln s_k - z_k²/2) + ln(2π)/2,  z_k = (y - m_k)/s_k
    cross_entropy  ln Σ_k exp(o_k) - o_y

A target that is NaN (a class below 0) is not observed: the mean runs over the others, and no
gradient flows from it, nor a NaN. Where nothing is observed the loss is 0. `weights` (the shape of
`target`, or one that broadcasts to it) turns the mean into a weighted one.

For an ensemble the members share nothing: with `members` a loss returns one mean for each entry of
the leading axis, and `per_member` does so with any function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from throughtime._checks import real
from throughtime._errors import DataError, SettingError
from throughtime.nn.ensemble import mapped
from throughtime.nn.heads.special import log_rising


class Loss(Protocol):
    """What training needs of a loss: outputs of the model and targets in, a scalar out."""

    def __call__(self, params: Tensor, target: Tensor, /) -> Tensor:
        """Return the scalar mean for params [..., outputs, parameters], target [..., outputs]."""
        ...


class WeightedLoss(Protocol):
    """A loss for examples that say what errors count: `weights` have the shape of the target."""

    def __call__(self, params: Tensor, target: Tensor, weights: Tensor | None, /) -> Tensor:
        """Return the weighted mean."""
        ...


def weighted(loss: Loss, params: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Return a loss, with weights where there are any.

    >>> weighted(mae, torch.tensor([[1.0], [2.0]]), torch.zeros(2), torch.tensor([3.0, 1.0]))
    tensor(1.2500)
    """
    return (
        loss(params, target)
        if weights is None
        else cast(WeightedLoss, loss)(params, target, weights)
    )


def mse(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of d², for a point forecast.

    >>> mse(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, torch.nan]))
    tensor(4.)
    """
    return _mean(lambda y: (y - _point(params)) ** 2, params, target, weights, members)


def mae(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of |d|, for a point forecast: its optimum is the median.

    >>> mae(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.0]))
    tensor(1.)
    """
    return _mean(lambda y: (y - _point(params)).abs(), params, target, weights, members)


def huber(
    params: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    delta: float = 1.0,
    members: bool = False,
) -> Tensor:
    """Mean of Huber's loss, for a point forecast: squares up to `delta`, lines beyond.

    >>> huber(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.0]))
    tensor(0.7500)
    """

    def elements(y: Tensor) -> Tensor:
        d = (y - _point(params)).abs()
        return torch.where(d <= delta, d**2 / 2, delta * (d - delta / 2))

    return _mean(elements, params, target, weights, members)


@dataclass(frozen=True)
class Quantile:
    """Mean pinball loss of the quantiles at `levels`, in the order of the head's parameters.

    Raises SettingError for levels that are not rising inside (0, 1). Source: Koenker and Bassett
    1978.

    >>> Quantile((0.1, 0.5, 0.9))(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([3.0]))
    tensor(0.2333)
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        levels = tuple(real("quantile level", q, above=0, below=1) for q in self.levels)
        if not levels or list(levels) != sorted(set(levels)):
            raise SettingError("rising quantile levels", repr(self.levels), "sort them")
        object.__setattr__(self, "levels", levels)

    def __call__(
        self,
        params: Tensor,
        target: Tensor,
        weights: Tensor | None = None,
        *,
        members: bool = False,
    ) -> Tensor:
        """Return the mean for params [..., outputs, Q] and target [..., outputs]."""
        if params.shape[-1] != len(self.levels):
            raise DataError(
                f"{len(self.levels)} parameters, one for each quantile level",
                f"params of shape {tuple(params.shape)}",
                "give the head the same levels as the loss",
            )
        q = params.new_tensor(self.levels)

        def elements(y: Tensor) -> Tensor:
            d = y.unsqueeze(-1) - params
            return torch.maximum(q * d, (q - 1) * d).mean(-1)

        return _mean(elements, params, target, weights, members)


def gaussian_nll(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of -ln N(y; μ, σ), for params (μ, σ) with σ > 0.

    >>> gaussian_nll(torch.tensor([[0.0, 1.0]]), torch.tensor([0.0]))
    tensor(0.9189)
    """
    mu, sigma = _parameters(params, "mean", "scale")

    def elements(y: Tensor) -> Tensor:
        return sigma.log() + ((y - mu) / sigma) ** 2 / 2 + math.log(2 * math.pi) / 2

    return _mean(elements, params, target, weights, members)


def student_t_nll(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of -ln t(y; ν, μ, σ), for params (ν, μ, σ) with ν > 0 and σ > 0.

    >>> student_t_nll(torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([0.0]))  # Cauchy: ln π
    tensor(1.1447)
    """
    nu, mu, sigma = _parameters(params, "df", "loc", "scale")

    def elements(y: Tensor) -> Tensor:
        z = (y - mu) / sigma
        spread = sigma.log() + (nu * math.pi).log() / 2
        return (
            spread
            - log_rising(nu / 2, torch.full_like(nu, 0.5))
            + (nu + 1) / 2 * torch.log1p(z**2 / nu)
        )

    return _mean(elements, params, target, weights, members)


def negative_binomial_nll(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of -ln NB(y; μ, α), for params (μ, α) > 0 and counts y: variance μ + α μ².

    The counts are raw: where the network works on a size of its own, the params come from
    `head.rescale(params, size=size)`. Computed in float64, as ln Γ of large counts needs it.

    >>> negative_binomial_nll(torch.tensor([[1.0, 1.0]]), torch.tensor([0.0]))  # geometric: ln 2
    tensor(0.6931)
    """
    mu, alpha = (p.double() for p in _parameters(params, "mean", "dispersion"))

    def elements(y: Tensor) -> Tensor:
        r, y = 1 / alpha, y.double()
        ways = log_rising(r, y) - torch.lgamma(y + 1)
        odds = y * (alpha * mu).log() - (y + r) * torch.log1p(alpha * mu)
        return -(ways + odds).to(params.dtype)

    return _mean(elements, params, target, weights, members)


def mixture_nll(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of -ln Σ_k w_k N(y; m_k, s_k), for params (K times ln w, K times m, K times s).

    Raises DataError where the last axis is not three parts.

    >>> mixture_nll(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.0]))  # K = 1: the normal
    tensor(0.9189)
    """
    if params.shape[-1] % 3:
        raise DataError(
            "a last axis of 3 K: log weights, means, scales",
            f"params of shape {tuple(params.shape)}",
            "use the head that goes with this loss",
        )
    ln_w, m, s = params.tensor_split(3, -1)

    def elements(y: Tensor) -> Tensor:
        z = (y.unsqueeze(-1) - m) / s
        return math.log(2 * math.pi) / 2 - (ln_w - s.log() - z**2 / 2).logsumexp(-1)

    return _mean(elements, params, target, weights, members)


def cross_entropy(
    params: Tensor, target: Tensor, weights: Tensor | None = None, *, members: bool = False
) -> Tensor:
    """Mean of -ln softmax(o)_y, for params that are the classes' logits o, and classes y.

    >>> cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor(0.6931)
    """

    def elements(y: Tensor) -> Tensor:
        return -params.log_softmax(-1).gather(-1, y.long().unsqueeze(-1)).squeeze(-1)

    classes = target.float()
    seen = torch.where(classes < 0, torch.nan, classes)
    return _mean(elements, params, seen, weights, members)


Losses = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Params, target and weights, or None, of an ensemble in; the losses [E] of its members out."""


def per_member(loss: Loss) -> Losses:
    """Return the losses [E] of params [E, ...] and target and weights [E, ...], for any `loss`.

    One that takes `members` is asked for all of them at once; others are mapped.

    >>> per_member(mse)(torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([[3.0], [2.0]]), None)
    tensor([4., 0.])
    """
    if "members" in signature(loss).parameters:
        return partial(weighted, partial(cast(Any, loss), members=True))

    def losses(params: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        values: Tensor = mapped(partial(weighted, loss), len(params), params, target, weights)
        return values

    return losses


def _mean(
    elements: Callable[[Tensor], Tensor],
    params: Tensor,
    target: Tensor,
    weights: Tensor | None,
    members: bool,
) -> Tensor:
    """Average `elements` over what was observed; a stand-in of 0 keeps NaN out of the graph."""
    if params.shape[:-1] != target.shape or target.dim() < 2 * members:
        raise DataError(
            "params [..., outputs, parameters] for a target [..., outputs]",
            f"shapes {tuple(params.shape)} and {tuple(target.shape)}",
            "give both the same leading axes (a point forecast has a last axis of 1 parameter)",
        )
    axes = tuple(range(members, target.dim()))
    if members and weights is None and _is_whole(target):
        return elements(target).mean(axes)  # the same to the last bit, by a third of the operators
    missing = target.isnan()
    values = elements(target.masked_fill(missing, 0))
    weight = (~missing).to(values.dtype)
    weight = weight if weights is None else weight * weights.to(values.dtype)
    total = weight.sum(axes)
    return (values.masked_fill(missing, 0) * weight).sum(axes) / total.masked_fill(total == 0, 1)


def _is_whole(target: Tensor) -> bool:
    """Say whether all was observed, as a finite sum says; another device would have to be waited for."""
    return target.is_cpu and target.numel() > 0 and math.isfinite(target.sum())


def _point(params: Tensor) -> Tensor:
    return _checked(params, "point").squeeze(-1)


def _parameters(params: Tensor, *names: str) -> tuple[Tensor, ...]:
    return _checked(params, *names).unbind(-1)


def _checked(params: Tensor, *names: str) -> Tensor:
    if params.shape[-1:] != (len(names),):
        raise DataError(
            f"a last axis of {len(names)}: {', '.join(names)}",
            f"params of shape {tuple(params.shape)}",
            "use the head that goes with this loss",
        )
    return params
