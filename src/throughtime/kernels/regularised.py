"""Two regularisers that live in the cell: recurrent dropout and zoneout.

Dropout      d * h_{t-1} stands for h_{t-1} wherever U multiplies it, one d for all time steps. The
             state that is carried (the GRU's z * h_{t-1}, the LSTM's c) stays whole.
             dU = Σ da_t (d * h_{t-1})'                dh_{t-1} gets d * (U' da_t)

Zoneout      s_t = ζ_t * s_{t-1} + (1 - ζ_t) * s̃_t      s̃_t: the state that the recurrence proposes
             ds̃_t = (1 - ζ_t) * ds_t                    ds_{t-1} gets ζ_t * ds_t
             The LSTM's h̃_t = o * tanh(c̃_t) is made from c̃_t = f * c_{t-1} + i * g, not from c_t.

ζ_t in {0, 1} is drawn anew for every unit and step in training; its expected value, a constant, serves
afterwards. A mask that skips a step is a ζ_t of 1. Nothing is random here: d and ζ are given.

Kernels take them as their last inputs: d, then one ζ for each state, any of them None. Those lie
members first, [(E,) T, B, H], as weights and states do, so that all inputs but x are mapped alike.

Gal, Y. and Ghahramani, Z. (2016), A theoretically grounded application of dropout in recurrent neural
networks; Krueger, D. et al. (2017), Zoneout: regularizing RNNs by randomly preserving hidden activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from throughtime._checks import real
from throughtime._errors import SettingError, TensorError
from throughtime.kernels.scan import State, Step, scan

Zoneout = Tensor | float


def given(
    x: Tensor,
    mask: Tensor | None,
    states: Sequence[Tensor],
    W: Tensor,
    dropout: Tensor | None,
    zoneouts: Sequence[Zoneout | None],
) -> tuple[Tensor | None, ...]:
    """Return d and every ζ as kernels read them.

    For a packed x, whose mask is its batch sizes, ζ has every step of every series all the same.
    Raises SettingError for a rate outside [0, 1] and where a gradient is wanted, TensorError for
    shapes that do not fit.
    """
    d = None if dropout is None else _laid_out("dropout", dropout, states[0].shape, W)
    T = x.shape[0] if mask is None else mask.shape[0]
    return d, *(_rates(T, s, W, rate) for s, rate in zip(states, zoneouts, strict=True))


def _rates(T: int, state: Tensor, W: Tensor, rate: Zoneout | None) -> Tensor | None:
    if rate is None or (not isinstance(rate, Tensor) and rate == 0):
        return None
    if not isinstance(rate, Tensor):
        rate = W.new_full(state.shape[-1:], real("zoneout", rate, at_least=0, at_most=1))
    return _laid_out("zoneout", rate, (T, *state.shape), W).movedim(0, -3)


def _laid_out(name: str, tensor: Tensor, shape: Sequence[int], W: Tensor) -> Tensor:
    if tensor.requires_grad:
        raise SettingError(f"{name} to be given", "a gradient to be wanted for it", "detach it")
    try:
        return tensor.to(W.dtype).expand(shape)
    except RuntimeError:
        raise TensorError(
            f"{name} of shape {list(shape)}", str(list(tensor.shape)), "draw it for every unit"
        ) from None


def dropped(h: Tensor, d: Tensor | None) -> Tensor:
    """Return d * h, or h."""
    return h if d is None else h * d


def scan_mixed(
    step: Step, state: State, a: Tensor, zones: Sequence[Tensor | None], mask: Tensor | None
) -> State:
    """Scan s_t = ζ_t * s_{t-1} + (1 - ζ_t) * s̃_t, with s̃_t from `step(*state, a_t)`, out of place.

    Returns h_TBH and the last states.
    """
    n, T = len(state), len(a)

    def mixed_step(*given: Any) -> State:
        before, a_t, zone_t = given[:n], given[n], given[n + 1 :]
        return tuple(map(_mixed, step(*before, a_t), before, zone_t))

    steps_of = [[None] * T if zone is None else zone.unbind(-3) for zone in zones]
    (h_TBH, *_), last = scan(mixed_step, state, [a, *steps_of], mask)
    return h_TBH, *last


def _mixed(proposed: Tensor, before: Tensor, zone_t: Tensor | None) -> Tensor:
    return proposed if zone_t is None else proposed + zone_t * (before - proposed)


def keeping(mask: Tensor | None, zone: Tensor | None) -> Iterable[Tensor | None]:
    """Return for every step what of the state before is kept: where the mask is False all, else ζ."""
    if zone is None:
        return repeat(None) if mask is None else (~mask).unsqueeze(-1).unbind(0)
    return _past(mask, zone).unbind(0)


def keep(kept: Tensor | None, state: Tensor, before: Tensor) -> None:
    """Keep, in place, some of the state before; see `keeping`."""
    if kept is None:
        return
    if kept.dtype == torch.bool:
        torch.where(kept, before, state, out=state)
    else:
        torch.lerp(state, before, kept, out=state)


def passing(mask: Tensor | None, zone: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return how much of a state's gradient passes a step by, [T, B, H or 1]."""
    if zone is not None:
        return _past(mask, zone)
    return None if mask is None else (~mask).unsqueeze(-1).to(dtype)


def _past(mask: Tensor | None, zone: Tensor) -> Tensor:
    """Return ζ with the time first, 1 where the mask is False."""
    along_time = zone.movedim(-3, 0)
    return along_time if mask is None else torch.where((~mask).unsqueeze(-1), 1.0, along_time)


def parted(total: Tensor, passed: Tensor | None, t: int) -> tuple[Tensor, Tensor | None]:
    """Return what of a state's gradient enters step t, and what passes it by."""
    if passed is None:
        return total, None
    past = total * passed[t]
    return total - past, past


def back_through(
    add_product: Callable[..., Tensor], U: Tensor, d: Tensor | None
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the function of (e, da, out) that writes e + d * (da U)."""
    if d is None:
        return lambda e, da, out: add_product(e, da, U, out=out)
    return lambda e, da, out: torch.matmul(da, U, out=out).mul_(d).add_(e)
