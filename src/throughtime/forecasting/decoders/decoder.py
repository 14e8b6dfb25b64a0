"""What every decoder has: what it reads at a step, and a layout of windows as examples.

At a step t a net reads

    x_t = [z_t, whether each was observed, past covariates at t, those known ahead at t, static]

with z_t the scaled targets, a gap carrying the last value on. Categories are read as a vector that
is learned for each of their values (an embedding; code 0 stands for one never seen).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.forecasting.channels import Sizes
from throughtime.forecasting.residuals import Base
from throughtime.forecasting.transforms import Scale
from throughtime.nn.heads import Head

HeadOf = Callable[[int, int], Head]  # (hidden size, outputs) -> head
Inputs = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Window:
    """Windows on their scale, [..., channels, L + h], and what does not change.

    `z` is read: a gap carries the last value on, 0 before a series begins. `truth` is z with NaN
    where nothing was observed. `numbers` [..., n] and `codes` [..., k] are static.
    """

    L: int
    z: Tensor
    truth: Tensor
    hist: Tensor
    futr: Tensor
    numbers: Tensor
    codes: Tensor

    def steps(self, sizes: Sizes, start: int, stop: int) -> Tensor:
        """Return what is read of the window's own steps from `start` to `stop`, [..., steps, I]."""
        parts = [self.z[..., start:stop]]
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
        """Return what a net is called with: x alone where there is nothing else."""
        return x if sizes.is_plain else (x, ahead, self.numbers, self.codes)


class Decoder(nn.Module, ABC):
    """A net that reads windows and says their targets.

    `lay_out` makes examples of windows, on which `forward` is trained.
    """

    any_horizon = False  # whether it can go on beyond the h it was trained for

    def __init__(self, sizes: Sizes, h: int) -> None:
        super().__init__()
        self.sizes, self.h = sizes, h
        self.embeddings = nn.ModuleList(nn.Embedding(n + 1, _embedded(n)) for n in sizes.categories)

    @property
    def input_size(self) -> int:
        """Features of a step with what is static."""
        sizes = self.sizes
        return sizes.step + sizes.numbers + sum(map(_embedded, sizes.categories))

    @staticmethod
    @abstractmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Return what `forward` is called with, and what it is to say beyond the naive forecast."""

    def read(self, x: Tensor, numbers: Tensor | None, codes: Tensor | None) -> Tensor:
        """Return x [B, T, I] with what is static at every step."""
        if numbers is None or codes is None or not (self.sizes.numbers or self.sizes.categories):
            return x
        each = [numbers, *(embed(codes[:, k]) for k, embed in enumerate(self.embeddings))]
        static = torch.cat(each, dim=-1)
        return torch.cat([x, static[:, None].expand(-1, x.shape[1], -1)], dim=-1)


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
        spread = self.of_state(state).unflatten(-1, (self.h, -1))
        return torch.relu(spread + self.of_ahead(ahead))


def by_row(params: Tensor) -> Tensor:
    """Return parameters [..., h, M, P] in the order of rows, [..., M h, P]."""
    return params.transpose(-2, -3).flatten(-3, -2)


def _embedded(n: int) -> int:
    """Return how many features stand for a variable of n categories."""
    return min(16, math.ceil(math.sqrt(n + 1)))
