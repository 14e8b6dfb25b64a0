"""Stacks of recurrent layers with dilations and skip connections.

Layer l reads its own state from d_l steps before (`dilated.py`), and layers form blocks F_1 .. F_K:

    h^l_t = f_l(drop(u^l_t), h^l_{t-d_l})       u^l: what the layer below returns; drop from l = 2 on
    y^1_t = F_1(x)_t
    y^k_t = y^{k-1}_t + F_k(y^{k-1})_t          k = 2 .. K, a skip connection around each block

F_k(y)_t is h^l_t of the last layer of the block, read over y. The first block has none around it,
for x has a width of its own. Without skip connections K = 1. States are the layers' own, h^l without
what the connection adds, and dropout spares the connections, so that the gradient of y^K passes to
every block as it is. What the top says of the newest step is then a sum of states alone,

    y^K_T = h_T of the last layer of block 1 + .. + that of block K

Layers in two directions return both side by side, [h forwards, h backwards], and so does y.

Sources: He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", equation 1; Wu et
al. 2016, "Google's neural machine translation system", equation 6, for LSTMs, whose form this is.
Kim, El-Khamy, Lee 2017, "Residual LSTM", add within the output gate instead, so that the state
carries the sum. Blocks of dilated LSTMs: Smyl 2020, "A hybrid method of exponential smoothing and
recurrent neural networks for time series forecasting", who won the M4 with ((1, 3), (6, 12)) for
months.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import SettingError
from throughtime.nn.base import States
from throughtime.nn.dilated import Layer, dilated
from throughtime.nn.layers import LSTM

Dilations = Sequence[int | Sequence[int]]
Blocks = tuple[tuple[int, ...], ...]


def blocks_of(dilations: Dilations, skip_connections: bool) -> Blocks:
    """Return the dilations of each block.

    Raises SettingError for what are no dilations, for blocks without skip connections around them,
    and for skip connections around a single block.

    >>> blocks_of((1, 2, 4), False), blocks_of((1, 2, 4), True)
    (((1, 2, 4),), ((1,), (2,), (4,)))
    >>> blocks_of(((1, 3), (6, 12)), True)
    ((1, 3), (6, 12))
    """
    one_of("skip_connections", skip_connections, [False, True])
    given = dilations if isinstance(dilations, (tuple, list)) else ()
    nested = [isinstance(each, (tuple, list)) for each in given]
    blocks = tuple(tuple(each) if isinstance(each, (tuple, list)) else (each,) for each in given)
    if not blocks or not all(blocks):
        wanted = "dilations to be one number a layer, or a tuple of them a block"
        raise SettingError(
            wanted, repr(dilations), "pass for example (1, 2, 4) or ((1, 3), (6, 12))"
        )
    blocks = tuple(tuple(positive_int("dilation", d) for d in block) for block in blocks)
    if skip_connections and len(blocks) == 1:
        remedy = "pass two layers or more, or leave skip_connections out"
        raise SettingError("two blocks or more for skip connections", "one", remedy)
    if any(nested) and not skip_connections:
        remedy = "pass skip_connections=True, or one flat tuple"
        raise SettingError("skip connections around blocks", repr(dilations), remedy)
    return blocks if skip_connections else (sum(blocks, ()),)


class Stack(nn.Module):
    """Recurrent layers on top of each other, with dilations and skip connections.

    Called as a recurrent layer of PyTorch's is: input [T, B, I], [T, I] without a batch, or packed,
    and the state before it; returns the output and the state after it. The state of layer l has d_l
    entries, oldest first, behind those of the layers below: h [D, B, H] with D the sum of all dilations
    (twice that for two directions), or (h, c). Carried from one piece of a series to the next, it gives
    what the whole series would. Weights are those of `layers`, whose `dilation` is set. torch.export
    takes it for a T that every dilation divides.

    Args:
        layers: RNN, LSTM, GRU, MinGRU or MinLSTM, each of one layer and with time first; all of one
            kind and size.
        dilations: d_l, how many steps before each layer reads its own state; nested for blocks of
            several layers, such as ((1, 3), (6, 12)); None is 1 for all.
        skip_connections: add its input to what each block returns, from the second block on; in a
            flat `dilations` every layer is a block.
        dropout: share of features dropped on their way into each layer but the first, in training.
        batch_first: take and return [B, T, I]; states stay as they are.

    Raises:
        SettingError: layers do not fit on each other, or dilations or connections not on them; when
            called, a state of another shape.

    >>> from throughtime.nn import GRU
    >>> stack = Stack([GRU(3, 8), GRU(8, 8), GRU(8, 8)], dilations=(1, 2, 4), skip_connections=True)
    >>> output, h_n = stack(torch.zeros(20, 5, 3))
    >>> output.shape, h_n.shape
    (torch.Size([20, 5, 8]), torch.Size([7, 5, 8]))
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        dilations: Dilations | None = None,
        skip_connections: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        _fit(layers)
        ones = (1,) * len(layers)
        self.blocks = blocks_of(ones if dilations is None else dilations, skip_connections)
        self.dilations: tuple[int, ...] = sum(self.blocks, ())
        if len(self.dilations) != len(layers):
            wanted = f"one dilation for each of {len(layers)} layers"
            raise SettingError(wanted, str(self.dilations), "pass as many")
        self.layers = nn.ModuleList(layers)
        for layer, d in zip(layers, self.dilations, strict=True):
            layer.dilation = d
        self.dropout = real("dropout", dropout, at_least=0, below=1)
        self.batch_first = batch_first
        self.input_size, self.hidden_size = layers[0].input_size, layers[0].hidden_size
        self.proj_size, self.bidirectional = layers[0].proj_size, layers[0].bidirectional
        self.num_layers = len(layers)

    @property
    def skip_connections(self) -> bool:
        """Say whether there are any."""
        return len(self.blocks) > 1

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output of the top layer and the states after the newest step."""
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(0 if self.batch_first else 1)
        x = x.transpose(0, 1) if self.batch_first else x
        states = self._states(x, hx, batched)
        output, states = self._run(x, states, None)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output = output.squeeze(0 if self.batch_first else 1)
            states = tuple(s.squeeze(1) for s in states)
        return output, self._hx(states)

    def newest(self, state: Any) -> Tensor:
        """Return the output of the top layer at the newest step, [B, H], from the states after it.

        In two directions [B, 2H]: forwards at the last step, backwards at the first.

        >>> stack = Stack([LSTM(1, 2), LSTM(2, 2)], dilations=(2, 3), skip_connections=True)
        >>> output, state = stack(torch.randn(10, 4, 1))
        >>> torch.allclose(stack.newest(state), output[-1])
        True
        """
        h = state if isinstance(state, Tensor) else state[0]
        rings = torch.split(h, self._ring_sizes())
        tops, top = [], -1
        for block in self.blocks:
            top += len(block)
            both = torch.split(rings[top], self.dilations[top])
            tops.append(torch.cat([ring[-1] for ring in both], -1))
        return torch.stack(tops).sum(0) if len(tops) > 1 else tops[0]

    def _ring_sizes(self) -> list[int]:
        return [d * (1 + self.bidirectional) for d in self.dilations]

    def _run(self, x: Tensor, states: States, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Run all layers over x [T, B, I]."""
        rings = zip(*(torch.split(s, self._ring_sizes()) for s in states), strict=True)
        layers = zip(self.layers, rings, strict=True)
        last: list[States] = []
        for k, block in enumerate(self.blocks):
            y = x
            for d in block:
                layer, ring = next(layers)
                if self.dropout and last:
                    y = dropout(y, self.dropout, self.training)
                y, after = dilated(layer, d, y, ring, lengths)  # type: ignore[arg-type]
                last.append(after)
            x = x + y if k else y
        return x, tuple(torch.cat(rings) for rings in zip(*last, strict=True))

    def _run_packed(self, input: PackedSequence, hx: Any) -> Any:
        """Run rows that end each at its own length."""
        x, lengths = pad_packed_sequence(input)
        output, states = self._run(x, self._states(x, hx, batched=True), lengths)
        order = input.sorted_indices
        if order is not None:
            output, lengths = output[:, order], lengths[order.cpu()]
        data = pack_padded_sequence(output, lengths).data
        packed = PackedSequence(data, input.batch_sizes, order, input.unsorted_indices)
        return packed, self._hx(states)

    def _states(self, x: Tensor, hx: Any, batched: bool) -> States:
        """Return the states [D, B, H] before x [T, B, I]."""
        widths = [self.proj_size or self.hidden_size, self.hidden_size][-self._kinds() :]
        shapes = [(sum(self._ring_sizes()), x.shape[1], width) for width in widths]
        if hx is None:
            return tuple(x.new_zeros(shape) for shape in shapes)
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        given = given if batched else tuple(s.unsqueeze(1) for s in given)
        if [tuple(s.shape) for s in given] != shapes:
            found = ", ".join(str(list(s.shape)) for s in given)
            wanted = f"states of shape {' and '.join(str(list(shape)) for shape in shapes)}"
            raise SettingError(wanted, found, "pass those that the stack returned, or none")
        return given

    def _kinds(self) -> int:
        """Return the number of states of each layer: h, or h and c."""
        return 2 if isinstance(self.layers[0], LSTM) else 1

    def _hx(self, states: States) -> Any:
        return states if self._kinds() == 2 else states[0]

    def extra_repr(self) -> str:
        """Name what is between the layers."""
        parts = [f"dilations={self.blocks if self.skip_connections else self.dilations}"]
        parts += ["skip_connections=True"] * self.skip_connections
        parts += [f"dropout={self.dropout}"] * bool(self.dropout)
        parts += ["batch_first=True"] * self.batch_first
        return ", ".join(parts)


def _fit(layers: Sequence[Layer]) -> None:
    """Refuse layers that do not fit on each other."""
    ours = [each for each in layers if isinstance(each, Layer)]
    forms = {(e.mode, e.hidden_size, e.proj_size, e.bidirectional) for e in ours}
    single = all(each.num_layers == 1 and not each.batch_first for each in ours)
    if ours and len(ours) == len(layers) and len(forms) == 1 and single:
        [(_, H, P, both)] = forms
        if all(each.input_size == (P or H) * (1 + both) for each in ours[1:]):
            return
    raise SettingError(
        "RNNs, LSTMs or GRUs of ours, of one layer each, time first, alike, each as wide as the next",
        ", ".join(map(repr, layers)) or "none",
        "build them with Recurrence(...).build(input_size)",
    )
