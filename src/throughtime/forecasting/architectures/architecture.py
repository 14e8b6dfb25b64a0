"""What every architecture has: what it reads at a step, and a layout of windows as examples.

At a step t a net reads

    x_t = [z_t, whether each was observed, past covariates at t, those known ahead at t, static]

with z_t the scaled targets, a gap carrying the last value on. Categories are read as a vector that
is learned for each of their values (an embedding; code 0 stands for one never seen).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.forecasting.architectures.reversible import Reversible
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.preprocessing.scaling import Scale
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence
from throughtime.nn.heads import ValueHead

HeadOf = Callable[[int, int], ValueHead]  # (hidden size, outputs) -> head
Inputs = Tensor | tuple[Tensor, ...]


class Beside(NamedTuple):
    """What a net is called with after x [B, T, I], in this order.

    `ahead` [B, ..., F] is what is known ahead, `numbers` [B, n] and `codes` [B, k] are static, with
    the number of the series as the last of the codes where series are told apart, and `size` [B, M, 1]
    is that of counts.
    """

    ahead: Tensor | None = None
    numbers: Tensor | None = None
    codes: Tensor | None = None
    size: Tensor | None = None


class Place(NamedTuple):
    """Whose windows they are and when, for nets that have parameters of each series.

    `series` [...] counts from 1 those that were fitted, 0 is another; `first` [...] is the number of
    the window's first step since 1970, `unit` [..., M, 1] the size of its series on its scale.
    """

    series: Tensor
    first: Tensor
    unit: Tensor


@dataclass(frozen=True, eq=False)
class Window:
    """Windows on their scale, [..., channels, L + h], and what does not change.

    `z` is read: a gap carries the last value on, and what is before a series begins is its first.
    `truth` is z with NaN where nothing was observed. `numbers` [..., n] and `codes` [..., k] are
    static. With `lags`, `differences` of z are read in its place (`preprocessing/differences.py`).
    With `size` [..., M, 1] the targets are counts: `truth` is of the counts themselves, z size.
    `back` are the lags that are read beside z, `earlier` [..., M, R] the values before it that they
    need.
    """

    L: int
    z: Tensor
    truth: Tensor
    hist: Tensor
    futr: Tensor
    numbers: Tensor
    codes: Tensor
    lags: tuple[int, ...] = ()
    differences: Tensor | None = None
    size: Tensor | None = None
    place: Place | None = None
    back: tuple[int, ...] = ()
    earlier: Tensor | None = None

    def steps(self, sizes: Sizes, start: int, stop: int) -> Tensor:
        """Return what is read of the window's own steps from `start` to `stop`, [..., steps, I]."""
        read = self.z if self.differences is None else self.differences
        parts = [read[..., start:stop]]
        if sizes.mask:
            parts.append((~self.truth[..., start:stop].isnan()).float())
        if sizes.hist:
            parts.append(self.hist[..., start:stop])
        if sizes.futr:
            parts.append(self.futr[..., start:stop])
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)
        return x.transpose(-1, -2)

    def values(self, scale: Scale) -> Tensor:
        """Return the transformed values of the context, [..., M, L]."""
        return scale.invert(self.z[..., : self.L])

    def beyond(self, base: Base, T: int, h: int) -> Tensor:
        """Return what the h steps after each of the first T add to the naive forecast.

        [..., M, T, h], NaN where nothing was observed.
        """
        return self.truth[..., 1 : T + h].unfold(-1, h, 1) - base.at_each(self.z[..., :T], h)

    def naive(self, base: Base, h: int) -> Tensor:
        """Return the naive forecast [..., M, h] from the end of the context."""
        return base.ahead(self.z[..., : self.L], h)

    def inputs(self, sizes: Sizes, x: Tensor, ahead: Tensor) -> Inputs:
        """Return x and what comes `Beside` it: x alone where there is nothing else."""
        if self.size is not None:
            return x, ahead, self.numbers, self.codes, self.size
        return x if sizes.is_plain else (x, ahead, self.numbers, self.codes)


def lagged(earlier: Tensor, z: Tensor, lags: Sequence[int], start: int, stop: int) -> Tensor:
    """Return the values z [..., M, T] `lags` before the steps from `start` on, [..., steps, K M].

    `earlier` [..., M, R] are those before z.

    >>> lagged(torch.tensor([[1.0]]), torch.tensor([[2.0, 3.0, 4.0]]), (2, 1), 1, 4)
    tensor([[1., 2.],
            [2., 3.],
            [3., 4.]])
    """
    R, z = earlier.shape[-1], torch.cat([earlier, z], dim=-1)
    return torch.cat([z[..., R + start - lag : R + stop - lag] for lag in lags], dim=-2).mT


class Architecture(nn.Module, ABC):
    """A net that reads windows and says their targets: `net(x, *beside)`, see `Beside`.

    `lay_out` makes examples of windows, on which `forward` is trained.
    """

    any_horizon = False  # whether it can go on beyond the h it was trained for
    head: ValueHead

    @abstractmethod
    def __init__(self, sizes: Sizes, recurrence: Recurrence, head: HeadOf, h: int) -> None:
        super().__init__()
        self.sizes, self.h = sizes, h
        self.reversible: Reversible | None = None  # what scaling="revin" learns
        self.ahead: Ahead | None = None  # joins a state with what is known ahead
        self.embeddings = nn.ModuleList(nn.Embedding(n + 1, _embedded(n)) for n in sizes.categories)

    @property
    def input_size(self) -> int:
        """Features of a step with what is static."""
        sizes = self.sizes
        return sizes.step + sizes.numbers + sum(map(_embedded, sizes.categories))

    @classmethod
    def tells_apart(cls, n_series: int) -> bool:
        """Say whether it has parameters of each series, where there are so many of them."""
        return False

    @staticmethod
    @abstractmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Return what `forward` is called with, and what it is to say beyond the naive forecast."""

    def read(self, x: Tensor, numbers: Tensor | None, codes: Tensor | None) -> Tensor:
        """Return x [B, T, I] as it is read, with what is static at every step."""
        return self.with_static(self.rescaled(x), numbers, codes)

    def rescaled(self, x: Tensor) -> Tensor:
        """Return x [B, T, I] as scaling="revin" has it read; as it is for others."""
        return x if self.reversible is None else self.reversible.read(x)

    def with_static(self, x: Tensor, numbers: Tensor | None, codes: Tensor | None) -> Tensor:
        """Return steps x [B, T, ...] with what is static at each."""
        if numbers is None or codes is None or not (self.sizes.numbers or self.sizes.categories):
            return x
        each = [numbers, *(embed(codes[:, k]) for k, embed in enumerate(self.embeddings))]
        static = torch.cat(each, dim=-1)
        return torch.cat([x, static[:, None].expand(-1, x.shape[1], -1)], dim=-1)

    def say(self, hidden: Tensor) -> Tensor:
        """Return parameters [..., outputs, P] of what hidden states [..., H] say."""
        return self.undone(self.head(hidden))

    def undone(self, params: Tensor) -> Tensor:
        """Return parameters [..., outputs, P] as scaling="revin" undoes them; others as they are."""
        return params if self.reversible is None else self.reversible.undo(self.head, params)

    def answer(self, s: Tensor, ahead: Tensor | None) -> Tensor:
        """Map states [..., H] and what is known ahead of them [..., h, F] to parameters."""
        if self.ahead is None or ahead is None:
            return self.say(s)
        return by_row(self.say(self.ahead(s, ahead)))


def resized(head: ValueHead, params: Tensor, size: Tensor | None, repeat: int = 1) -> Tensor:
    """Return parameters [B, ..., M repeat, P] of counts of these sizes [B, M, 1]; others unchanged.

    Each target has `repeat` places after each other.
    """
    if size is None:
        return params
    size = size[..., 0].repeat_interleave(repeat, dim=-1)
    return head.rescale(params, size=size.reshape(len(size), *[1] * (params.dim() - 3), -1))


def copies(state: Any, n: int) -> Any:
    """Return n copies of every state, batches side by side along the second axis."""
    if isinstance(state, Tensor):
        return state.repeat(1, n, *[1] * (state.dim() - 2))
    return type(state)(copies(part, n) for part in state)


class Ahead(nn.Module):
    """What is known of each of h steps ahead, joined with the state: u_k = relu(W_k s + V a_k + c).

    s is the state [..., H], a [..., h, F] what is known ahead; u [..., h, H].
    """

    def __init__(self, hidden_size: int, futr: int, h: int) -> None:
        super().__init__()
        self.h = h
        self.of_state = nn.Linear(hidden_size, h * hidden_size)
        self.of_ahead = nn.Linear(futr, hidden_size, bias=False)

    def forward(self, state: Tensor, ahead: Tensor) -> Tensor:
        """Join a state [..., H] and what is known ahead [..., h, F] to [..., h, H]."""
        spread = self.of_state(state).reshape(*state.shape[:-1], self.h, -1)
        return torch.relu_(spread + self.of_ahead(ahead))


def by_row(params: Tensor) -> Tensor:
    """Return parameters [..., h, M, P] in the order of rows, [..., M h, P]."""
    return params.transpose(-2, -3).flatten(-3, -2)


def _embedded(n: int) -> int:
    """Return how many features stand for a variable of n categories."""
    return min(16, math.ceil(math.sqrt(n + 1)))
