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

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime._checks import positive_int, real
from throughtime._errors import SettingError
from throughtime.nn.base import on_our_ground
from throughtime.nn.dilated import Layer
from throughtime.nn.heads import Head
from throughtime.nn.recurrence import Recurrence, State, newest
from throughtime.nn.stacks import Stack


class _Reader(nn.Module):
    """A head on layers that read the input."""

    def __init__(self, input_size: int, recurrence: Recurrence, head: Head) -> None:
        super().__init__()
        self.head = _fitting(head, recurrence)
        self.layer = recurrence.build(input_size)


class OneToOne(_Reader):
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
        _one_way(recurrence, "OneToOne")
        super().__init__(input_size, recurrence, head)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, I] to parameters [B, outputs, parameters]."""
        _expect(x, "B", self.layer.input_size)
        hidden, _ = self.layer(x[:, None])
        params: Tensor = self.head(hidden[:, 0])
        return params


class SequenceInput(_Reader):
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

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map x [B, T, I] to parameters [B, outputs, parameters].

        `lengths` [B], whole numbers from 1 to T, say where each row truly ends; what comes after
        is not read.
        """
        _expect(x, "BT", self.layer.input_size)
        _, state = _read(self.layer, x, lengths)
        params: Tensor = self.head(newest(self.layer, state))
        return params


class SyncedSequence(_Reader):
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
