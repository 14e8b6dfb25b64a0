"""RNNCell, LSTMCell and GRUCell: `torch.nn`'s, and the reset-before form of the GRU beside them.

A kernel gains by what it does once for all time steps. A cell has a single one, where PyTorch's own
cells were measured to be 4 times faster than our kernels with T = 1, so they are left as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime._checks import one_of
from throughtime.kernels.gru import step


class RNNCell(torch.nn.RNNCell):
    """`torch.nn.RNNCell`: h' = φ(W x + b_ih + U h + b_hh), φ = tanh or ReLU.

    >>> RNNCell(4, 8)(torch.zeros(3, 4)).shape
    torch.Size([3, 8])
    """


class LSTMCell(torch.nn.LSTMCell):
    """`torch.nn.LSTMCell`, gates in the order i f g o.

    >>> h, c = LSTMCell(4, 8)(torch.zeros(3, 4))
    >>> h.shape, c.shape
    (torch.Size([3, 8]), torch.Size([3, 8]))
    """


class GRUCell(torch.nn.GRUCell):
    """`torch.nn.GRUCell` with both forms of the reset gate (see `throughtime.nn.GRU`).

    Raises SettingError where `reset` is neither "after" nor "before".

    >>> GRUCell(4, 8, reset="before")(torch.zeros(3, 4)).shape
    torch.Size([3, 8])
    """

    reset: str = "after"  # also for a torch.nn.GRUCell whose class was changed

    def __init__(self, *args: Any, reset: str = "after", **kwargs: Any) -> None:
        one_of("reset", reset, ["after", "before"])
        super().__init__(*args, **kwargs)
        self.reset = reset

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state [B, H] (or [H]) from `input` [B, I] and `hx` [B, H]."""
        if self.reset == "after" or not self._fits(input, hx):
            return super().forward(input, hx)  # where they do not fit, PyTorch finds the words
        if hx is None:
            hx = input.new_zeros((*input.shape[:-1], self.hidden_size))
        b = self.bias_ih + self.bias_hh if self.bias else None
        a = torch.nn.functional.linear(input, self.weight_ih, b)
        return step(hx, a, self.weight_hh, reset="before")

    def _fits(self, input: Tensor, hx: Tensor | None) -> bool:
        states = (*input.shape[:-1], self.hidden_size)
        return (
            input.dim() in (1, 2)
            and input.shape[-1] == self.input_size
            and (hx is None or hx.shape == states)
        )

    def extra_repr(self) -> str:
        """Name the form of the reset gate where it is not PyTorch's."""
        return super().extra_repr() + ("" if self.reset == "after" else f", reset={self.reset}")
