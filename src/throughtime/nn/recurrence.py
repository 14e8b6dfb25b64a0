"""A stack of recurrent layers as settings: what it is made of, checked before anything is built.

`Recurrence` holds the choices and builds the layers; the shapes of `sequences` put heads on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import SettingError
from throughtime._types import CellName
from throughtime.nn.dilated import Layer
from throughtime.nn.layer_norm_lstm import LayerNormLSTM
from throughtime.nn.layers import GRU, LSTM, RNN
from throughtime.nn.minimal import MinGRU, MinLSTM
from throughtime.nn.stacks import Dilations, Stack, blocks_of
from throughtime.nn.starting_points import Inits, identity, read_inits

LAYERS: dict[CellName, type[Layer]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
}

Nonlinearity = Literal["tanh", "relu"]
State = Tensor | tuple[Tensor, Tensor]  # h [L, B, H], or for the LSTM (h, c); see also `Stack`


@dataclass(frozen=True)
class Recurrence:
    """What a stack of recurrent layers is made of.

    Args:
        cell: "rnn", "lstm", "gru", "mingru" or "minlstm".
        hidden_size: H, features of one direction's state.
        num_layers: layers on top of each other; as many as there are dilations, where there are.
        dropout: share of features dropped between layers while training; needs two layers or more.
        bidirectional: read the sequence both ways; only for shapes that read before they answer.
        nonlinearity: "tanh" or "relu", of cell "rnn" alone; None is tanh, or relu with identity().
        recurrent_dropout: share of h_{t-1} dropped on its way to U while training; not of "mingru"
            and "minlstm", which have no U.
        zoneout: rate at which units keep their state of the step before; for "lstm" also a pair.
        state_grad_clip: norm that limits the gradient of every state within backward; 0 is none.
        layer_norm: normalise sums and cell states at every step (`LayerNormLSTM`), of cell "lstm".
        init: where the weights start: a value of `starting_points.py`, its text, or several.
        dilations: how many steps before each layer reads its own state, such as (1, 2, 4, 8); nested
            for blocks of several layers, such as ((1, 3), (6, 12)) (`Stack`); None is 1 for all.
        skip_connections: add its input to what each layer returns from the second on; in nested
            dilations, to what each block returns.

    Raises:
        SettingError: a value is out of its range, or not made for this cell, or contradicts another.

    >>> Recurrence("gru", 16).build(input_size=3)
    GRU(3, 16, batch_first=True)
    >>> Recurrence("rnn", 16, init="identity").build(input_size=3).nonlinearity
    'relu'
    >>> Recurrence("lstm", 16, dilations=(1, 3, 6), skip_connections=True).build(input_size=3)
    Stack(
      dilations=((1,), (3,), (6,)), skip_connections=True, batch_first=True
      (layers): ModuleList(
        (0): LSTM(3, 16)
        (1-2): 2 x LSTM(16, 16)
      )
    )
    """

    cell: CellName = "lstm"
    hidden_size: int = 32
    num_layers: int = 1
    dropout: float = 0.0
    bidirectional: bool = False
    nonlinearity: Nonlinearity | None = None
    recurrent_dropout: float = 0.0
    zoneout: float | tuple[float, float] = 0.0
    state_grad_clip: float = 0.0
    layer_norm: bool = False
    init: Inits = ()
    dilations: Dilations | None = None
    skip_connections: bool = False

    def __post_init__(self) -> None:
        one_of("cell", self.cell, LAYERS)
        positive_int("hidden_size", self.hidden_size)
        positive_int("num_layers", self.num_layers)
        self._read_dilations()
        real("dropout", self.dropout, at_least=0, below=1)
        if self.dropout and self.num_layers == 1:
            raise SettingError(
                "two layers or more for dropout between layers",
                f"num_layers=1 with dropout={self.dropout:g}",
                "pass num_layers=2 or more, or dropout=0",
            )
        one_of("nonlinearity", self.nonlinearity, [None, "tanh", "relu"])
        one_of("layer_norm", self.layer_norm, [False, True])
        self._only_for("rnn", nonlinearity=self.nonlinearity)
        self._only_for("lstm", layer_norm=self.layer_norm)
        object.__setattr__(self, "init", read_inits(self.init))
        sample = self._layers(1, 1, 1, device="meta")  # checks the rest, and draws nothing
        for init in read_inits(self.init):
            init.of(sample)
        for name in ("recurrent_dropout", "zoneout", "state_grad_clip"):
            object.__setattr__(self, name, getattr(sample, name))

    def _read_dilations(self) -> None:
        """Check them, turn lists into tuples, and let them say how many layers there are."""
        if self.dilations is None:
            few = min(self.num_layers, 2)  # as good as all, and no list of a billion
            blocks_of((1,) * few, self.skip_connections)
            return
        depth = sum(map(len, blocks_of(self.dilations, self.skip_connections)))
        if self.num_layers not in (1, depth):
            raise SettingError(
                f"num_layers={depth}, one for each of the dilations",
                f"num_layers={self.num_layers} with dilations={self.dilations!r}",
                "leave num_layers out",
            )
        tuples = tuple(tuple(d) if isinstance(d, list) else d for d in self.dilations)
        object.__setattr__(self, "dilations", tuples)
        object.__setattr__(self, "num_layers", depth)

    def _only_for(self, cell: str, **option: object) -> None:
        [(name, value)] = option.items()
        if value and self.cell != cell:
            raise SettingError(
                f"{name} for cell={cell!r} alone",
                f"{name}={value!r} with cell={self.cell!r}",
                f"leave it out, or pass cell={cell!r}",
            )

    @property
    def output_size(self) -> int:
        """Features of the top layer's state: H, or 2 H for both directions."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def build(self, input_size: int) -> Layer | Stack:
        """Make the layers for inputs [B, T, input_size], and start them at `init`."""
        positive_int("input_size", input_size)
        plain = self.dilations is None and not self.skip_connections
        layers = self._plain(input_size) if plain else self._stack(input_size)
        for init in read_inits(self.init):
            init(layers)
        return layers

    def _plain(self, input_size: int) -> Layer:
        sizes = input_size, self.hidden_size, self.num_layers
        return self._layers(*sizes, dropout=self.dropout, batch_first=True)

    def _stack(self, input_size: int) -> Stack:
        widths = [input_size] + [self.output_size] * (self.num_layers - 1)
        layers = [self._layers(width, self.hidden_size) for width in widths]
        return Stack(layers, self.dilations, self.skip_connections, self.dropout, batch_first=True)

    def _layers(self, *sizes: int, **how: Any) -> Layer:
        made: Any = LayerNormLSTM if self.layer_norm else LAYERS[self.cell]
        if self.cell == "rnn":
            accumulates = any(isinstance(init, identity) for init in read_inits(self.init))
            how["nonlinearity"] = self.nonlinearity or ("relu" if accumulates else "tanh")
        layer: Layer = made(
            *sizes,
            bidirectional=self.bidirectional,
            recurrent_dropout=self.recurrent_dropout,
            zoneout=self.zoneout,
            state_grad_clip=self.state_grad_clip,
            **how,
        )
        return layer


def newest(layer: Layer | Stack, state: State) -> Tensor:
    """What the top layer returns at the newest step, [B, H], or [B, 2 H] for both directions."""
    if isinstance(layer, Stack):
        return layer.newest(state)
    h = state if isinstance(state, Tensor) else state[0]
    if layer.bidirectional:
        return torch.cat([h[-2], h[-1]], -1)
    return h.squeeze(0) if len(h) == 1 else h[-1]  # no zeros to be filled in the backward pass
