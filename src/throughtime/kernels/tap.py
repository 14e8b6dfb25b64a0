"""The record that a backward pass leaves behind: the total gradient at every state.

dL/dh_t means all of it: what the loss sends to the output at t, and what comes back from t+1. It is
what the adjoint loop of a recurrence computes anyway, so reading it costs no extra pass.

The state of an LSTM is the pair (h_t, c_t), whose halves are independent coordinates: dL/dc_t is the
gradient along c_t with h_t held, so it leaves out the path c_t -> h_t, which dL/dh_t already counts.
It is f_{t+1} times the total derivative by c_{t+1}; at the last step, what the loss sends to c_n.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class AdjointTap:
    """The gradients with respect to the states, filled when backward has run.

    `dh_TBH` is dL/dh_t for t = 1..T and `dh_0` the one of the initial state; `dc_TBH` and `dc_0`
    are the other half for an LSTM, dL/dc_t with h_t held, and None for other recurrences.
    `dh_norm_TB` and `dc_norm_TB` are the norms over H; with `whole=False` they are all that is kept
    of a step. With members the axes are T, E, B, H. Every backward pass fills the record anew.

    >>> import torch
    >>> from throughtime.kernels import rnn
    >>> x, U = torch.zeros(3, 1, 1, requires_grad=True), torch.full((1, 1), 0.5)
    >>> tap = AdjointTap()
    >>> h_TBH, h_n = rnn(x, torch.zeros(1, 1), torch.ones(1, 1), U, None, None, tap=tap)
    >>> h_n.sum().backward()
    >>> tap.dh_TBH.flatten().tolist()
    [0.25, 0.5, 1.0]
    """

    whole: bool = True
    dh_TBH: Tensor | None = None
    dc_TBH: Tensor | None = None
    dh_norm_TB: Tensor | None = None
    dc_norm_TB: Tensor | None = None
    dh_0: Tensor | None = None
    dc_0: Tensor | None = None

    def fill(
        self, dh: Tensor, dh_0: Tensor, dc: Tensor | None = None, dc_0: Tensor | None = None
    ) -> None:
        """Record the gradients of h_1..h_T and h_0, and of the other half of the state."""
        self.dh_TBH, self.dc_TBH = (dh, dc) if self.whole else (None, None)
        self.dh_norm_TB = dh.norm(dim=-1)
        self.dc_norm_TB = None if dc is None else dc.norm(dim=-1)
        self.dh_0, self.dc_0 = dh_0.clone(), None if dc_0 is None else dc_0.clone()

    def flip(self) -> None:
        """Turn the record round in time."""
        for name in ("dh_TBH", "dc_TBH", "dh_norm_TB", "dc_norm_TB"):
            record = getattr(self, name)
            setattr(self, name, None if record is None else record.flip(0))
