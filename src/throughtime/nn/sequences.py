"""The five shapes of sequence work, in one vocabulary.

With h_t = f(u_t, h_{t-1}) a stack of recurrent layers and y_t = head(h_t) of what its top returns:

    OneToOne            x -> y                 u_1 = x
    SequenceInput       x_1..x_T -> y          u_t = x_t, y = head(h_T)
    SequenceOutput      x -> y_1..y_L          u_1 = [x, 0], u_t = [0, y_{t-1}]
    SequenceToSequence  x_1..x_T -> y_1..y_L   the reader's h_T is the writer's h_0;
                                               u_1 = 0, u_t = y_{t-1}
    SyncedSequence      x_1..x_T -> y_1..y_T   u_t = x_t, y_t = head(h_t)

The two shapes that write on their own feed back their outputs, or, *teacher forcing*, the targets.
Axes: batch first, x [B, T, I], results [B, outputs, parameters] or [B, T, outputs, parameters].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import SettingError
from throughtime._types import CellName
from throughtime.nn.base import on_our_ground
from throughtime.nn.dilated import Layer
from throughtime.nn.heads import Head
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


class OneToOne(nn.Module):
    """One input, one output: a single step of the recurrence from a zero state.

    h = f(x, 0), y = head(h).

    Args:
        input_size: I, features of the input.
        recurrence: the layers.
        head: what is made of the top state; its hidden_size is the recurrence's output_size.

    Raises:
        SettingError: the head does not fit the recurrence, or the recurrence is bidirectional.

    >>> from throughtime.nn.heads import PointHead
    >>> model = OneToOne(3, Recurrence("rnn", 8), PointHead(8))
    >>> model(torch.zeros(5, 3)).shape  # [B, outputs, parameters]
    torch.Size([5, 1, 1])
    """

    def __init__(self, input_size: int, recurrence: Recurrence, head: Head) -> None:
        super().__init__()
        _one_way(recurrence, "OneToOne")
        self.head = _fitting(head, recurrence)
        self.layer = recurrence.build(input_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, I] to parameters [B, outputs, parameters]."""
        _expect(x, "B", self.layer.input_size)
        hidden, _ = self.layer(x[:, None])
        params: Tensor = self.head(hidden[:, 0])
        return params


class SequenceInput(nn.Module):
    """Many to one: read a sequence, answer from what the top layer returns at the newest step.

    h_t = f(x_t, h_{t-1}), y = head(h_T). Bidirectional layers answer from [h_T forwards, h_1
    backwards], the newest of each.

    Args:
        input_size: I, features of the input.
        recurrence: the layers.
        head: what is made of the top state; its hidden_size is the recurrence's output_size.

    Raises:
        SettingError: the head does not fit the recurrence.

    >>> from throughtime.nn.heads import QuantileHead
    >>> model = SequenceInput(3, Recurrence("gru", 8), QuantileHead(8, levels=(0.1, 0.5, 0.9)))
    >>> model(torch.zeros(5, 20, 3)).shape  # [B, outputs, parameters]
    torch.Size([5, 1, 3])
    """

    def __init__(self, input_size: int, recurrence: Recurrence, head: Head) -> None:
        super().__init__()
        self.head = _fitting(head, recurrence)
        self.layer = recurrence.build(input_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map x [B, T, I] to parameters [B, outputs, parameters].

        `lengths` [B], whole numbers from 1 to T, say where each row truly ends; what comes after
        is not read.
        """
        _expect(x, "BT", self.layer.input_size)
        _, state = _read(self.layer, x, lengths)
        params: Tensor = self.head(newest(self.layer, state))
        return params


class SyncedSequence(nn.Module):
    """Many to many in step: an output for every input, from nothing but the inputs up to it.

    h_t = f(x_t, h_{t-1}), y_t = head(h_t). The state goes in and out, so that truncated BPTT and
    live streams can carry it from one chunk to the next.

    Args:
        input_size: I, features of the input.
        recurrence: the layers. Bidirectional ones see all inputs at every step, and take no state.
        head: what is made of the top states; its hidden_size is the recurrence's output_size.

    Raises:
        SettingError: the head does not fit the recurrence.

    >>> from throughtime.nn.heads import PointHead
    >>> model = SyncedSequence(3, Recurrence("lstm", 8), PointHead(8, outputs=2))
    >>> y, (h, c) = model(torch.zeros(5, 20, 3))
    >>> y.shape, h.shape  # [B, T, outputs, parameters], [L, B, H]
    (torch.Size([5, 20, 2, 1]), torch.Size([1, 5, 8]))
    """

    def __init__(self, input_size: int, recurrence: Recurrence, head: Head) -> None:
        super().__init__()
        self.head = _fitting(head, recurrence)
        self.layer = recurrence.build(input_size)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Map x [B, T, I] and a state to parameters [B, T, outputs, parameters] and the next state.

        The state is the layer's own: h [L, B, H], or (h, c) for an LSTM; zero by default, and with
        `lengths` [B], which say where each row truly ends: what comes after is not read, and the
        parameters there mean nothing. With dilations h is [D, B, H], with D their sum (`Stack`).
        """
        _expect(x, "BT", self.layer.input_size)
        if state is not None and self.layer.bidirectional:
            raise SettingError(
                "no state for bidirectional layers", "one", "pass whole sequences, without state"
            )
        if state is not None and lengths is not None:
            raise SettingError(
                "a state or lengths", "both", "pass chunks of one length with a state"
            )
        hidden, state = _read(self.layer, x, lengths, state)
        return self.head(hidden), state


class _Writer(nn.Module):
    """A decoder: u_1 is given, u_t = [0, y_{t-1}] padded on the left to the width of u_1."""

    def __init__(self, recurrence: Recurrence, head: Head, extra: int, length: int) -> None:
        super().__init__()
        _one_way(recurrence, type(self).__name__)
        self.head = _fitting(head, recurrence)
        self.decoder = recurrence.build(extra + head.feedback_size)
        self.length = positive_int("length", length)

    def _write(
        self, u: Tensor, state: State | None, targets: Tensor | None, forcing: float
    ) -> Tensor:
        """Write from u_1 [B, U] and a state: parameters [B, L, outputs, parameters]."""
        forcing = real("forcing", forcing, at_least=0, at_most=1)
        extra = u.shape[-1] - self.head.feedback_size
        if targets is None:
            return self._write_freely(u, state, None, 0.0)
        if targets.ndim != 3 or targets.shape[::2] != (len(u), self.head.outputs):
            raise SettingError(
                f"targets of shape [{len(u)}, L, {self.head.outputs}]",
                str(list(targets.shape)),
                "pass them batch first, one column for each output of the head",
            )
        known = pad(self.head.feedback(targets), (extra, 0))
        if forcing < 1:
            return self._write_freely(u, state, known, forcing)
        # All inputs are known in advance: one call of the layer instead of one for each step.
        hidden, _ = self.decoder(torch.cat([u[:, None], known[:, :-1]], 1), state)
        params: Tensor = self.head(hidden)
        return params

    def _write_freely(
        self, u: Tensor, state: State | None, known: Tensor | None, forcing: float
    ) -> Tensor:
        extra = u.shape[-1] - self.head.feedback_size
        written: list[Tensor] = []
        for t in range(self.length if known is None else known.shape[1]):
            hidden, state = self.decoder(u[:, None], state)
            written.append(self.head(hidden[:, 0]))
            u = pad(self.head.feedback(self.head.point(written[-1])), (extra, 0))
            if known is not None and forcing > 0:
                forced = torch.rand_like(u[:, :1]) < forcing
                u = torch.where(forced, known[:, t], u)
        return torch.stack(written, 1)


class SequenceOutput(_Writer):
    """One to many: one input starts a decoder that goes on from its own outputs.

    u_1 = [x, 0], u_t = [0, y_{t-1}], h_t = f(u_t, h_{t-1}) from a zero state, y_t = head(h_t).
    Values are fed back as their point forecast, classes as one-hot codes.

    Args:
        input_size: I, features of the input.
        recurrence: the layers, of one direction.
        head: what is made of the top states; its hidden_size is the recurrence's output_size.
        length: L, how many steps to write where no targets say so.

    Raises:
        SettingError: the head does not fit the recurrence, the recurrence is bidirectional, or
            length is below 1.

    >>> from throughtime.nn.heads import PointHead
    >>> model = SequenceOutput(3, Recurrence("gru", 8), PointHead(8), length=12)
    >>> model(torch.zeros(5, 3)).shape  # [B, L, outputs, parameters]
    torch.Size([5, 12, 1, 1])
    """

    def __init__(self, input_size: int, recurrence: Recurrence, head: Head, length: int) -> None:
        super().__init__(recurrence, head, positive_int("input_size", input_size), length)
        self.input_size = input_size

    def forward(self, x: Tensor, targets: Tensor | None = None, forcing: float = 1.0) -> Tensor:
        """Map x [B, I] to parameters [B, L, outputs, parameters].

        With `targets` [B, L, outputs], each row and step is fed the target with probability
        `forcing`, else its own output. Between 0 and 1 that is scheduled sampling (Bengio et al.
        2015), whose objective is inconsistent (Huszar 2015): handy, but no likelihood.
        """
        _expect(x, "B", self.input_size)
        return self._write(pad(x, (0, self.head.feedback_size)), None, targets, forcing)


class SequenceToSequence(_Writer):
    """Many to many, one after the other: an encoder reads, its final state starts a decoder.

    h_t = f(x_t, h_{t-1}) over the inputs; then from its newest state, u_1 = 0, u_t = y_{t-1},
    s_t = g(u_t, s_{t-1}), y_t = head(s_t). f and g have the same form and their own weights.
    Values are fed back as their point forecast, classes as one-hot codes. A dilated layer of the
    decoder goes on from the last d states of the encoder's, as if time went on.

    Args:
        input_size: I, features of the input.
        recurrence: the layers, of one direction, for encoder and decoder alike.
        head: what is made of the top states; its hidden_size is the recurrence's output_size.
        length: L, how many steps to write where no targets say so.

    Raises:
        SettingError: the head does not fit the recurrence, the recurrence is bidirectional, or
            length is below 1.

    Source: Sutskever, Vinyals, Le 2014, "Sequence to sequence learning with neural networks".

    >>> from throughtime.nn.heads import ClassHead
    >>> model = SequenceToSequence(3, Recurrence("gru", 8), ClassHead(8, classes=10), length=4)
    >>> model(torch.zeros(5, 20, 3)).shape  # [B, L, outputs, parameters]
    torch.Size([5, 4, 1, 10])
    """

    def __init__(self, input_size: int, recurrence: Recurrence, head: Head, length: int) -> None:
        super().__init__(recurrence, head, 0, length)
        self.encoder = recurrence.build(input_size)

    def forward(
        self,
        x: Tensor,
        targets: Tensor | None = None,
        forcing: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Map x [B, T, I] to parameters [B, L, outputs, parameters].

        With `targets` [B, L, outputs], each row and step is fed the target with probability
        `forcing`, else its own output. Between 0 and 1 that is scheduled sampling (Bengio et al.
        2015), whose objective is inconsistent (Huszar 2015): handy, but no likelihood. `lengths`
        [B] say where each row of x truly ends.
        """
        _expect(x, "BT", self.encoder.input_size)
        start = x.new_zeros(len(x), self.head.feedback_size)
        _, state = _read(self.encoder, x, lengths)
        return self._write(start, state, targets, forcing)


def _read(
    layer: Layer | Stack, x: Tensor, lengths: Tensor | None, state: State | None = None
) -> tuple[Tensor, State]:
    """The top states [B, T, H] of all steps, and the state after the last input of each row."""
    hidden: Tensor
    if lengths is None:
        hidden, state = layer(x, state)
    elif on_our_ground(x) and not isinstance(layer, Stack):
        steps = torch.arange(x.shape[1], device=x.device)
        hidden, state = layer.masked(x, steps < lengths.to(x.device).unsqueeze(1))
    else:  # PyTorch's layers, which run there, take rows that end early packed
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, state = layer(packed)
        hidden, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
    assert state is not None
    return hidden, state


def newest(layer: Layer | Stack, state: State) -> Tensor:
    """What the top layer returns at the newest step, [B, H], or [B, 2 H] for both directions."""
    if isinstance(layer, Stack):
        return layer.newest(state)
    h = state if isinstance(state, Tensor) else state[0]
    return torch.cat([h[-2], h[-1]], -1) if layer.bidirectional else h[-1]


def _fitting(head: Head, recurrence: Recurrence) -> Head:
    if head.hidden_size != recurrence.output_size:
        raise SettingError(
            f"a head that reads the {recurrence.output_size} features of the top layer",
            f"hidden_size={head.hidden_size}",
            f"build the head with hidden_size={recurrence.output_size}",
        )
    return head


def _one_way(recurrence: Recurrence, shape: str) -> None:
    if recurrence.bidirectional:
        raise SettingError(
            f"a recurrence of one direction for {shape}",
            "bidirectional=True",
            "pass bidirectional=False, or use SequenceInput or SyncedSequence",
        )


def _expect(x: Tensor, axes: str, input_size: int) -> None:
    if x.ndim != len(axes) + 1 or x.shape[-1] != input_size:
        raise SettingError(
            f"x of shape [{', '.join([*axes, str(input_size)])}]",
            str(list(x.shape)),
            "pass the batch first and the features last",
        )
