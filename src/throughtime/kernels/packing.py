"""Packed sequences: the rows of all steps one after the other, [N, I], as PackedSequence has them.

`batch_sizes` [T] says how many rows each step has; they never grow. In C++ the loop over time reads
and writes packed rows as they lie. All else pads them, runs masked, and packs again.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pad(packed: Tensor, batch_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return [T, B, I] with zeros behind the ends, and the mask [T, B] of what is real.

    >>> pad(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 1]))[0].squeeze(-1)
    tensor([[1., 2.],
            [3., 0.]])
    """
    T, B = len(batch_sizes), int(batch_sizes[0])
    mask = (torch.arange(B) < batch_sizes.unsqueeze(1)).to(packed.device)
    rows = mask.flatten().nonzero().squeeze(1)
    padded = packed.new_zeros(T * B, *packed.shape[1:]).index_copy(0, rows, packed)
    return padded.reshape(T, B, *packed.shape[1:]), mask


def pack(padded: Tensor, mask: Tensor) -> Tensor:
    """Return the real rows [N, H] of [T, B, H]."""
    rows = mask.flatten().nonzero().squeeze(1)  # where torch.compile breaks its graph
    return padded.flatten(0, 1).index_select(0, rows)
