"""LayerNormLSTM: layers of the LSTM whose sums and cell states are normalised at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.kernels import layer_norm_lstm
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.layer_norm_lstm import LayerNormLSTM as layer_norm_kernel
from throughtime.nn.base import Layers, States
from throughtime.nn.layers import LSTM


class LayerNormLSTM(LSTM):
    """Layers of the LSTM with layer normalisation (Ba, Kiros and Hinton, 2016).

        a_t = γ_ih * LN(W x_t) + γ_hh * LN(U h_{t-1}) + b_ih + b_hh
        c_t = f * c_{t-1} + i * g        h_t = o * tanh(γ_c * LN(c_t) + β_c)

    with i, f, g, o from a_t as in the LSTM, and LN over the units of each row (for the sums: of all
    four gates at once, as in the paper). Arguments, inputs and outputs are those of `LSTM`, without
    `proj_size`; the parameters, too, and for every layer and direction `gamma_ih_l0`, `gamma_hh_l0`
    [4H], `gamma_c_l0` [H], which start as ones, and `beta_c_l0` [H] (unless bias=False), as zeros.
    It runs on PyTorch's operations, several times slower than `LSTM`. Raises SettingError for a
    projection and where `LSTM` does.

    >>> layer = LayerNormLSTM(4, 8, num_layers=2)
    >>> output, (h_n, c_n) = layer(torch.zeros(10, 3, 4))
    >>> output.shape, layer.gamma_c_l1.shape
    (torch.Size([10, 3, 8]), torch.Size([8]))
    """

    WEIGHTS = (*Layers.WEIGHTS, "gamma_ih", "gamma_hh", "gamma_c", "beta_c")
    has_short_way = False
    operator = "layer_norm_lstm"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.proj_size:
            remedy = "use LSTM, or a Linear behind"
            raise SettingError("no projection of a LayerNormLSTM", f"{self.proj_size}", remedy)
        H: int = self.hidden_size
        W: Any = self.weight_ih_l0
        sizes = {"gamma_ih": 4 * H, "gamma_hh": 4 * H, "gamma_c": H}
        sizes |= {"beta_c": H} if self.bias else {}
        for layer in range(self.num_layers):
            for direction in range(1 + self.bidirectional):
                suffix = f"_l{layer}" + "_reverse" * direction
                for name, size in sizes.items():
                    values = torch.empty(size, dtype=W.dtype, device=W.device)
                    self.register_parameter(name + suffix, torch.nn.Parameter(values))
        self._reset_normalisation()

    def reset_parameters(self) -> None:
        """Draw weights and biases as PyTorch does; scale by one and shift by zero."""
        super().reset_parameters()
        self._reset_normalisation()

    def _reset_normalisation(self) -> None:
        for name, parameter in self.named_parameters(recurse=False):
            if name.startswith(("gamma_", "beta_")):
                torch.nn.init.constant_(parameter, float(name.startswith("gamma_")))

    def _is_our_own(self) -> bool:
        return True

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel; there is one for all weights."""
        return layer_norm_kernel()

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        return layer_norm_lstm(x, *states, *weights, **how)
