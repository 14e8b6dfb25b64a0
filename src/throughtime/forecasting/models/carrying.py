"""Nets that go on from step to step: the states of all members, moved on together.

    s^e_t = f_e(x^e_t, s^e_{t-1})                 e = 1 ... E, from s_0 = 0

States are [D, E, S, H] (the layers' D, members, series), h or (h, c). Plain layers go on in one call
of the compiled kernel for all members. That does the same sums in the same order for any number
of series and steps, as long as there are 8 rows of input or more: fewer are filled up. So the state
of a series is the same to the last bit however its steps come in. Layers with dilations, layer
normalisation or zoneout, and those of an installation without a compiler, go on member by member,
equal up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.forecasting.architectures.architecture import Architecture
from throughtime.forecasting.examples.running import location_and_size
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.kernels import compiled
from throughtime.nn import GRU, LSTM, RNN, Ensemble
from throughtime.nn.recurrence import newest

States = tuple[Tensor, ...]

LEAST_ROWS = 8


class _Tables(NamedTuple):
    x: Tensor
    x_numpy: Any
    states: list[Tensor]


@dataclass(frozen=True, eq=False)
class Carrier:
    """The nets of an ensemble of architectures, to be carried on."""

    network: Ensemble

    @property
    def layer(self) -> Any:
        """The recurrent layers of one member."""
        return self.network.template.layer

    @cached_property
    def _shapes(self) -> list[tuple[int, int]]:
        """Depth and width of every state."""
        with torch.no_grad():
            _, state = self.layer(torch.zeros(1, 1, self.layer.input_size))
        states = (state,) if isinstance(state, Tensor) else state
        return [(s.shape[0], s.shape[-1]) for s in states]

    def zeros(self, S: int) -> States:
        """Return the states of S series that have not begun."""
        E = self.network.members
        return tuple(torch.zeros(D, E, S, H) for D, H in self._shapes)

    @torch.no_grad()
    def move(self, x: Tensor, states: States) -> States:
        """Return the states after x [T, E, B, I], from those before it [D, E, B, H]."""
        T, _, B, _ = x.shape
        if not self._weights or compiled.processor() is None:
            return self._in_turn(x, states)
        rows = B if T * B >= LEAST_ROWS else -(-LEAST_ROWS // T)
        if rows > B:
            x = torch.nn.functional.pad(x, (0, 0, 0, rows - B))
            states = tuple(torch.nn.functional.pad(s, (0, 0, 0, rows - B)) for s in states)
        none, after = (None,) * (1 + len(states)), []
        for depth, weights in enumerate(self._weights):
            kernel = self.layer.kernel(weights[0])
            x, *ends = kernel.forward(
                None, (x, *(s[depth] for s in states), *weights, *none), False
            )
            after.append(ends)
        made = tuple(torch.stack(each) for each in zip(*after, strict=True))
        return tuple(s[:, :, :B] for s in made) if rows > B else made

    def step(self, x: Any, states: States, i: int) -> bool:
        """Move one series on, in place, by a step x [E, I] (numpy); False where `move` has to.

        What `move` does with the same numbers, with as little around the kernel as can be.
        """
        if not self._weights or compiled.processor() is None:
            return False
        tables = self._tables
        tables.x_numpy[0, :, 0] = x
        y = tables.x
        with torch.inference_mode():
            for depth, weights in enumerate(self._weights):
                mine = [s[depth, :, i] for s in states]
                for table, state in zip(tables.states, mine, strict=True):
                    table[:, 0] = state
                kernel = self.layer.kernel(weights[0])
                none = (None,) * (1 + len(mine))
                y, *ends = kernel.forward(None, (y, *tables.states, *weights, *none), False)
                for state, end in zip(mine, ends, strict=True):
                    state.copy_(end[:, 0])
        return True

    @cached_property
    def _tables(self) -> _Tables:
        """The rows of one series, with what fills them up."""
        E = self.network.members
        x = torch.zeros(1, E, LEAST_ROWS, self.layer.input_size)
        states = [torch.zeros(E, LEAST_ROWS, H) for _, H in self._shapes]
        return _Tables(x, x.numpy(), states)

    def statics(self, numbers: Tensor, codes: Tensor) -> Tensor | None:
        """Return what members read of what never changes, [E, S, features]; None for nothing."""
        embeddings: Any = self.network.template.embeddings
        if not (numbers.shape[-1] or len(embeddings)):
            return None
        E = self.network.members
        parts = [numbers.expand(E, *numbers.shape)]
        for k in range(len(embeddings)):
            table = self.network.stacked.get_parameter(f"embeddings.{k}.weight")
            parts.append(table.detach()[:, codes[:, k]])
        return torch.cat(parts, dim=-1)

    def member(self, e: int, states: States) -> tuple[Architecture, Any]:
        """Return a member and its state as its layers take it."""
        net: Any = self.network.member(e).eval()
        mine = tuple(s[:, e].contiguous() for s in states)
        return net, mine if len(mine) == 2 else mine[0]

    @cached_property
    def _weights(self) -> list[list[Any]]:
        """W, U and biases [E, ...] of every layer, where one call is enough for them."""
        layer = self.layer
        plain = type(layer) in (RNN, LSTM, GRU) and layer.proj_size == 0 and not layer.zoneout
        if not plain or layer.bidirectional or not layer.bias:
            return []
        stacked: Any = self.network.stacked.layer
        names = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")
        return [[getattr(stacked, f"{n}{k}") for n in names] for k in range(layer.num_layers)]

    def _in_turn(self, x: Tensor, states: States) -> States:
        after = []
        for e in range(self.network.members):
            net: Any
            net, state = self.member(e, states)
            _, state = net.layer(x[:, e].transpose(0, 1).contiguous(), state)
            after.append((state,) if isinstance(state, Tensor) else state)
        return tuple(torch.stack(each, dim=1) for each in zip(*after, strict=True))


@dataclass(frozen=True, eq=False)
class Sight:
    """What paths of S series begin from: sums of the running scale and newest values [S, M, L]."""

    shift: Any
    n: Any
    A: Any
    B: Any
    u: Tensor


@torch.no_grad()
def paths(
    net: Any,
    state: Any,
    sight: Sight,
    futr: Tensor,
    static: tuple[Tensor, Tensor],
    base: Base,
    n: int,
    h: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw n paths [n, S, M, h] of transformed values, each read as if it were observed.

    `futr` [S, F, h] is what is known ahead, `static` numbers and codes.
    """
    S = len(sight.u)
    params = net.head(newest(net.layer, state)).repeat(n, 1, 1)
    state = _copies(state, n)
    shift, count, A, B = (
        np.tile(each, (n, 1)) for each in (sight.shift, sight.n, sight.A, sight.B)
    )
    u = torch.cat([sight.u.double(), sight.u.new_zeros(*sight.u.shape[:2], h).double()], dim=-1)
    u, (numbers, codes) = u.repeat(n, 1, 1), (each.repeat(n, 1) for each in static)
    L = sight.u.shape[-1]
    for k in range(L, L + h):
        location, size = location_and_size(shift, count, A, B)
        r = net.head.sample(params, generator)[0].double().numpy()
        naive = base.ahead(u[..., :k], 1)[..., 0].numpy() if base.residual != "level" else location
        made = naive + size * r
        u[..., k] = torch.from_numpy(made)
        if k + 1 < L + h:
            d = made - shift
            count, A, B = count + 1, A + d, B + d * d
            location, size = location_and_size(shift, count, A, B)
            z = torch.from_numpy((made - location) / size).float()
            x = [z, torch.ones_like(z)][: 1 + net.sizes.mask]
            x.append(futr[..., k + 1 - L].repeat(n, 1))
            s, state = net.layer(net.read(torch.cat(x, dim=-1)[:, None], numbers, codes), state)
            params = net.head(s[:, 0])
    return u[..., L:].reshape(n, S, *u.shape[1:-1], h)


def _copies(state: Any, n: int) -> Any:
    if isinstance(state, Tensor):
        return state.repeat(1, n, *[1] * (state.dim() - 2))
    return type(state)(_copies(part, n) for part in state)
