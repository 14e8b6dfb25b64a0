"""RNNCell, LSTMCell and GRUCell: `torch.nn`'s, with our kernels underneath for one time step.

Constructor, parameters, state_dict and errors are PyTorch's; see `throughtime.nn.layers` for when
`forward` hands over to PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime._checks import one_of
from throughtime._errors import SettingError
from throughtime.kernels import gru, lstm, rnn
from throughtime.nn.layers import States, on_our_ground


def _fits(cell: torch.nn.RNNCellBase, input: Tensor, states: Any, count: int) -> bool:
    """Say whether the arguments are in order; where not, PyTorch finds the words."""
    if input.dim() not in (1, 2) or input.numel() == 0 or input.shape[-1] != cell.input_size:
        return False
    if input.dtype != cell.weight_ih.dtype:
        return False
    if states is None:
        return True
    shape = (*input.shape[:-1], cell.hidden_size)
    return len(states) == count and all(s.shape == shape and s.dtype == input.dtype for s in states)


def _one_step(
    cell: torch.nn.RNNCellBase, kernel: Any, input: Tensor, states: Any, count: int, **options: Any
) -> States:
    """Run the kernel over a single time step, with or without a batch axis."""
    x = input if input.dim() == 2 else input.unsqueeze(0)
    if states is None:
        zeros = torch.zeros(x.shape[0], cell.hidden_size, dtype=x.dtype, device=x.device)
        states = (zeros,) * count
    elif input.dim() == 1:
        states = tuple(state.unsqueeze(0) for state in states)
    weights = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
    _, *last = kernel(x.unsqueeze(0), *states, *weights, **options)
    return tuple(last) if input.dim() == 2 else tuple(state.squeeze(0) for state in last)


class RNNCell(torch.nn.RNNCell):
    """`torch.nn.RNNCell` with our kernel: h' = φ(W x + b_ih + U h + b_hh), φ = tanh or ReLU.

    >>> RNNCell(4, 8)(torch.zeros(3, 4)).shape
    torch.Size([3, 8])
    """

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state [B, H] from `input` [B, I] and `hx` [B, H]."""
        states = None if hx is None else (hx,)
        known = self.nonlinearity in ("tanh", "relu")
        if not (known and on_our_ground(input) and _fits(self, input, states, 1)):
            return super().forward(input, hx)
        (h,) = _one_step(self, rnn, input, states, 1, phi=self.nonlinearity)
        return h


class LSTMCell(torch.nn.LSTMCell):
    """`torch.nn.LSTMCell` with our kernel.

    >>> h, c = LSTMCell(4, 8)(torch.zeros(3, 4))
    >>> h.shape, c.shape
    (torch.Size([3, 8]), torch.Size([3, 8]))
    """

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the next hidden and cell state [B, H] from `input` [B, I] and `hx` = (h, c)."""
        if not (on_our_ground(input) and _fits(self, input, hx, 2)):
            return super().forward(input, hx)
        h, c = _one_step(self, lstm, input, hx, 2)
        return h, c


class GRUCell(torch.nn.GRUCell):
    """`torch.nn.GRUCell` with our kernel, in both forms of the reset gate (see `nn.GRU`).

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
        """Return the next hidden state [B, H] from `input` [B, I] and `hx` [B, H]."""
        states = None if hx is None else (hx,)
        ours = self.reset == "before" or on_our_ground(input)
        if not (ours and _fits(self, input, states, 1)):
            answer = super().forward(input, hx)  # most likely raises
            if self.reset == "before" and input.numel():
                wanted = f"input and hx in the dtype of the weights, {self.weight_ih.dtype}"
                raise SettingError(
                    wanted, str(input.dtype), "convert them; PyTorch has no such GRU"
                )
            return answer
        (h,) = _one_step(self, gru, input, states, 1, reset=self.reset)
        return h

    def extra_repr(self) -> str:
        """Name the form of the reset gate where it is not PyTorch's."""
        return super().extra_repr() + ("" if self.reset == "after" else f", reset={self.reset}")
