"""RNN, LSTM and GRU layers: `torch.nn`'s, with our kernels underneath.

Each class is a subclass of the one it stands in for, so the constructor, the parameters and their
names, the state_dict and every error message are PyTorch's. `forward` runs our kernels on a CPU, in
float32 and float64. For anything else (another device, torch.jit.trace, and arguments that do not fit)
it hands over to PyTorch, whose answer or error it is then. `torch.jit.script` alone cannot compile
these classes; for it, load the state_dict into PyTorch's.

Graphs (torch.export, make_fx, torch.compile) hold our operators in the layers' place. torch.compile
breaks its graph at whatever descends from PyTorch's recurrent layers and runs it as it is; to compile
a model as a whole, set `torch._dynamo.config.allow_rnn = True`. A saved program runs where
`throughtime.kernels` is imported before it is loaded.

Three keywords are our own, on all of them; a layer that uses one runs our kernels everywhere:

    recurrent_dropout   the rate at which h_{t-1} is dropped on its way to U, with one mask for all
                        time steps of a call; in training alone (Gal and Ghahramani, 2016)
    zoneout             the rate at which a unit keeps its state of the step before; in training by
                        chance, else by its expected value (Krueger et al., 2017)
    state_grad_clip     the norm to which the gradient of every state, h_t or (h_t, c_t), of every
                        series is limited on its way back through time; 0 is no limit

Under autocast the layers take what they are given in the precision of their weights, and answer in it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime._checks import one_of
from throughtime._errors import SettingError
from throughtime.kernels import gru, lstm, rnn
from throughtime.kernels.gru import gru_kernel
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.lstm import lstm_kernel
from throughtime.kernels.rnn import Phi, rnn_kernel
from throughtime.nn.base import Layers, States


class RNN(Layers, torch.nn.RNN):
    """`torch.nn.RNN` with our kernels: h_t = φ(W x_t + b_ih + U h_{t-1} + b_hh), φ = tanh or ReLU.

    Arguments, inputs, outputs, errors and the state_dict are those of `torch.nn.RNN`, and
    `recurrent_dropout`, `zoneout`, `state_grad_clip` (see the module) are added. Raises SettingError
    for a rate outside [0, 1) or a negative clip.

    >>> layer = RNN(4, 8, num_layers=2, bidirectional=True)
    >>> output, h_n = layer(torch.zeros(10, 3, 4))
    >>> output.shape, h_n.shape
    (torch.Size([10, 3, 16]), torch.Size([4, 3, 8]))
    """

    @property
    def _phi(self) -> Phi:
        return "tanh" if self.mode == "RNN_TANH" else "relu"

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel for weights like W."""
        return rnn_kernel(W, self._phi)

    @property
    def operator(self) -> str:
        """Return the recurrence's name among the operators."""
        return f"rnn_{self._phi}"

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        return rnn(x, *states, *weights, phi=self._phi, **how)


class LSTM(Layers, torch.nn.LSTM):
    """`torch.nn.LSTM` with our kernels, projections included.

    Arguments, inputs, outputs, errors and the state_dict are those of `torch.nn.LSTM`, and
    `recurrent_dropout`, `zoneout`, `state_grad_clip` (see the module) are added; `zoneout` is one
    rate, or a pair for h and c. Raises SettingError for a rate outside [0, 1) or a negative clip.

    >>> layer = LSTM(4, 8, proj_size=3, batch_first=True)
    >>> output, (h_n, c_n) = layer(torch.zeros(2, 10, 4))
    >>> output.shape, h_n.shape, c_n.shape
    (torch.Size([2, 10, 3]), torch.Size([1, 2, 3]), torch.Size([1, 2, 8]))
    >>> LSTM(4, 8, recurrent_dropout=0.2, zoneout=(0.05, 0.5))
    LSTM(4, 8, recurrent_dropout=0.2, zoneout=(0.05, 0.5))
    """

    STATES = 2
    WEIGHTS = (*Layers.WEIGHTS, "weight_hr")
    operator = "lstm"

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel for weights like W."""
        P: Any = getattr(self, "weight_hr_l0", None)
        return lstm_kernel(W, P)

    def _checked(self, zoneout: Any) -> Any:
        if not isinstance(zoneout, (tuple, list)):
            return super()._checked(zoneout)
        if len(zoneout) != 2:
            raise SettingError(
                "zoneout to be a rate, or one for h and one for c", repr(zoneout), "pass 2"
            )
        pair = tuple(map(super()._checked, zoneout))
        return pair if any(pair) else 0.0

    def _widths(self) -> list[int]:
        return [self.proj_size or self.hidden_size, self.hidden_size]

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        return lstm(x, *states, *weights, **how)


class GRU(Layers, torch.nn.GRU):
    """`torch.nn.GRU` with our kernels, in both forms.

    Arguments, inputs, outputs, errors and the state_dict are those of `torch.nn.GRU`, and
    `recurrent_dropout`, `zoneout`, `state_grad_clip` (see the module) are added, and `reset`.
    `reset="after"`, PyTorch's form, lets r act on U_n h + b_hn; `reset="before"`, the one
    of Cho et al. (2014) and of the textbooks, on h itself. PyTorch has no kernel for the latter, so
    it runs ours on every device. Raises SettingError for another `reset`, a rate outside [0, 1) or a
    negative clip.

    >>> layer = GRU(4, 8, reset="before")
    >>> output, h_n = layer(torch.zeros(10, 3, 4))
    >>> layer
    GRU(4, 8, reset=before)
    """

    reset: str = "after"  # also for a torch.nn.GRU whose class was changed

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel for weights like W."""
        reset: Any = self.reset
        return gru_kernel(W, reset)

    @property
    def operator(self) -> str:
        """Return the recurrence's name among the operators."""
        return "gru_after" if self.reset == "after" else "gru_before"

    def __init__(self, *args: Any, reset: str = "after", **kwargs: Any) -> None:
        one_of("reset", reset, ["after", "before"])
        super().__init__(*args, **kwargs)
        self.reset = reset

    def _is_our_own(self) -> bool:
        return self.reset == "before" or super()._is_our_own()

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        reset: Any = self.reset
        return gru(x, *states, *weights, reset=reset, **how)

    def extra_repr(self) -> str:
        """Name what is not PyTorch's, where it is used."""
        return super().extra_repr() + ("" if self.reset == "after" else f", reset={self.reset}")
