"""One recurrent layer that reads its own state from d steps before: a dilated layer.

    h_t = f(x_t, h_{t-d})           an LSTM reads h_{t-d} and c_{t-d}

    reverse direction               h_t = f(x_t, h_{t+d})

Nothing passes between steps whose distance is no multiple of d, so the layer is an ordinary one over
d sequences, the phases x_j, x_{j+d}, x_{j+2d} .. for j = 0 .. d-1: with time in front [T, B, I] is seen
as [T/d, d*B, I] and runs in one call. Where d does not divide T, the last phases are one step
shorter, which is a packed sequence whose rows lie as they are.

The state is a ring: the last d states in the order in which they were read, [d, B, H], the newest
last; in two directions [2d, B, H], the ring of the reverse one behind. Dropout of the state draws one mask
for each phase.

Source: Chang, Zhang, Han et al. 2017, "Dilated recurrent neural networks", equation 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.nn.base import States
from throughtime.nn.layers import GRU, LSTM, RNN
from throughtime.nn.minimal import MinGRU, MinLSTM

Layer = RNN | LSTM | GRU | MinGRU | MinLSTM


def dilated(
    layer: Layer, d: int, x: Tensor, rings: States, lengths: Tensor | None = None
) -> tuple[Tensor, States]:
    """Return the outputs [T, B, H] of one layer with dilation d, and its rings after the last step.

    `layer` has one layer and takes time first; `lengths` [B] say where each row of x [T, B, I] ends,
    None that all are T long.

    >>> layer = RNN(1, 1, nonlinearity="relu", bias=False)
    >>> for weight in layer.parameters(): _ = torch.nn.init.constant_(weight, 1.0)
    >>> output, [ring] = dilated(layer, 2, torch.tensor([1.0, 10, 2, 20, 3]).view(5, 1, 1),
    ...                          (torch.zeros(2, 1, 1),))
    >>> output.flatten().tolist(), ring.flatten().tolist()
    ([1.0, 10.0, 3.0, 30.0, 6.0], [30.0, 6.0])
    """
    if d == 1 and lengths is None:
        return _called(layer, x, rings)
    ends: Any = x.shape[0] if lengths is None else lengths.to(x.device)
    phases = tuple(_phases(ring, d, ends).flatten(1, 2) for ring in rings)
    if lengths is None:
        output, phases = _even(layer, d, x, phases)
    else:
        output, phases = _uneven(layer, d, x, phases, lengths.cpu())
    return output, tuple(_rings(each, d, ends) for each in phases)


def _even(layer: Layer, d: int, x: Tensor, phases: States) -> tuple[Tensor, States]:
    """Run all phases [1 or 2, d*B, H] over rows that are T long."""
    T, B = x.shape[:2]
    width = min(T, d) * B  # in T < d steps, only the first T phases move
    moving = tuple(s[:, :width] for s in phases)
    steps, rest = divmod(T * B, width)
    if rest:
        sizes = torch.tensor([width] * steps + [rest])
        packed, last = _called(layer, PackedSequence(x.flatten(0, 1), sizes), moving)
        output = packed.data
    else:
        output, last = _called(layer, x.reshape(steps, width, -1), moving)
    whole = (torch.cat([s, p[:, width:]], 1) for s, p in zip(last, phases, strict=True))
    return output.reshape(T, B, -1), tuple(whole)


def _uneven(
    layer: Layer, d: int, x: Tensor, phases: States, lengths: Tensor
) -> tuple[Tensor, States]:
    """Run all phases [1 or 2, d*B, H] over rows of these lengths; behind their ends outputs are 0."""
    T, B = x.shape[:2]
    steps = -(-T // d)
    x = pad(x, (0, 0, 0, 0, 0, steps * d - T)).reshape(steps, d * B, -1)
    counts = ((lengths + d - 1 - torch.arange(d).unsqueeze(1)) // d).flatten()
    some = counts.nonzero().squeeze(1)  # a row shorter than d has phases without a step
    moving = some.to(x.device)
    packed = pack_padded_sequence(x[:, moving], counts[some], enforce_sorted=False)
    packed, last = _called(layer, packed, tuple(s[:, moving] for s in phases))
    found, _ = pad_packed_sequence(packed, total_length=steps)
    output = found.new_zeros(steps, d * B, found.shape[-1]).index_copy(1, moving, found)
    whole = (p.to(s.dtype).index_copy(1, moving, s) for s, p in zip(last, phases, strict=True))
    return output.reshape(steps * d, B, -1)[:T], tuple(whole)


def _called(layer: Layer, x: Any, states: States) -> tuple[Any, States]:
    """Call a layer with its states in a tuple, of which it may have one."""
    output, last = layer(x, states if len(states) == 2 else states[0])
    return output, last if len(states) == 2 else (last,)


def _phases(ring: Tensor, d: int, ends: Any) -> Tensor:
    """Return which state each phase begins with, [1 or 2, d, B, H].

    Forwards, step j reads the jth of the ring; backwards the first one read is the last step of all.
    """
    first, *reverse = torch.split(ring, d)
    return torch.stack([first, *(_rolled(r.flip(0), ends) for r in reverse)])


def _rings(phases: Tensor, d: int, ends: Any) -> Tensor:
    """Return the last states of the phases [1 or 2, d*B, H] in the order of their last steps."""
    first, *reverse = torch.unflatten(phases, 1, (d, -1))
    return torch.cat([_rolled(first, -ends), *(r.flip(0) for r in reverse)])


def _rolled(values: Tensor, steps: Any) -> Tensor:
    """Return values [d, B, H] rolled along d, by one number or one for each row."""
    d = len(values)
    if isinstance(steps, int):
        return values.roll(steps % d, 0)
    order = (torch.arange(d, device=values.device).unsqueeze(1) - steps) % d
    return values.take_along_dim(order.unsqueeze(-1), 0)
