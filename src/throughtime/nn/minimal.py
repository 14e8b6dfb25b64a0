"""MinGRU and MinLSTM: layers whose gates read the input alone, so that time is a parallel scan.

    p_t = W x_t + b                                          no U: nothing reads h_{t-1} but the mean
    h_t = f * h_{t-1} + (1 - f) * g(p_n)                     f = 1 - σ(p_z), or σ(p_f) / (σ(p_f) + σ(p_i))

One product for all steps and one pass over them: no step waits for another's product. What it costs is
that gates cannot depend on what is remembered, but in the layers above.

Where they start. Since no gate reads the state, how long it lives is what b says. PyTorch's start,
f near 1/2, forgets in two steps. So each unit's bias is such that f = σ(u), u ~ U(0, 4): time scales
1 / (1 - f) = 1 + exp(u), spread evenly in their logarithm from 2 to 55 steps; `chrono(T)` spreads
them to T. In the minLSTM b_f = u and b_i = -u, for which f is σ(u) exactly. W is drawn as of a
`torch.nn.Linear`, U(-1/√I, 1/√I); the bias of the candidate likewise.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime._checks import one_of
from throughtime._errors import SettingError
from throughtime.kernels import min_gru, min_lstm
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.min_gru import min_gru_kernel
from throughtime.kernels.min_lstm import min_lstm_kernel
from throughtime.kernels.minimal import CANDIDATES, Candidate
from throughtime.nn.base import Layers, States

LONGEST = 4.0  # of u: about 55 steps


class _Minimal(Layers):
    """Stacked layers without U; a subclass says which recurrence they run."""

    WEIGHTS = ("weight_ih", "bias_ih")
    BLOCKS: ClassVar[int]
    has_short_way = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        candidate: Candidate = "linear",
        recurrent_dropout: float = 0.0,
        zoneout: Any = 0.0,
        state_grad_clip: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        one_of("candidate", candidate, CANDIDATES)
        if recurrent_dropout:
            wanted = f"no recurrent_dropout in a {type(self).__name__}, whose gates read no h"
            raise SettingError(wanted, repr(recurrent_dropout), "use dropout between layers")
        sizes = input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        how: dict[str, Any] = {"zoneout": zoneout, "state_grad_clip": state_grad_clip}
        super().__init__("RNN_TANH", *sizes, **how, device="meta")  # checks them
        self.mode, self.candidate = type(self).__name__, candidate
        self._all_weights = []
        for layer, names in enumerate(self._take_names_away()):
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            rows = self.BLOCKS * hidden_size
            for W, *b in names:
                self._all_weights.append([W, *b])
                shapes = {W: (rows, width), **dict.fromkeys(b, (rows,))}
                for name, shape in shapes.items():
                    values = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name, torch.nn.Parameter(values))
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self._init_flat_weights()
        self.reset_parameters()

    def _take_names_away(self) -> list[list[list[str]]]:
        """Drop PyTorch's parameters; return the names of ours by layer and direction."""
        for name in self._flat_weights_names:
            delattr(self, name)
        kinds = self.WEIGHTS[: 1 + self.bias]
        ways = ["", "_reverse"][: 1 + self.bidirectional]
        return [
            [[f"{kind}_l{layer}{way}" for kind in kinds] for way in ways]
            for layer in range(self.num_layers)
        ]

    def flatten_parameters(self) -> None:
        """Do nothing: cuDNN has no such layer."""

    def reset_parameters(self) -> None:
        """Draw W as of a Linear, and b for memories of 2 to 55 steps (see the module)."""
        if self.weight_ih_l0.is_meta:
            return  # there is nothing to draw
        with torch.no_grad():
            for W, *biases in self.all_weights:
                bound = W.shape[1] ** -0.5
                W.uniform_(-bound, bound)
                for b in biases:
                    self._remember(b.uniform_(-bound, bound))

    def _remember(self, b: Tensor) -> None:
        """Draw the bias of the gates."""
        raise TypeError("a layer says which gates it has")

    def _is_our_own(self) -> bool:
        return True

    def _hand_over(self, input: Any, hx: Any) -> Any:
        """Say what does not fit; what is only empty runs."""
        packed = isinstance(input, PackedSequence)
        data = input.data if packed else input
        if data.dim() not in ((2,) if packed else (2, 3)) or data.shape[-1] != self.input_size:
            wanted = (
                f"input with {self.input_size} features along the last of 3 axes (2 for one row)"
            )
            raise SettingError(
                wanted, f"shape {list(data.shape)}", "pass [T, B, I], or batch first"
            )
        states = [] if hx is None else [hx]
        if not all(isinstance(each, Tensor) and self._takes(each) for each in (data, *states)):
            found = " and ".join(str(getattr(each, "dtype", each)) for each in (data, *states))
            wanted = f"input and hx in the dtype of the weights, {self.weight_ih_l0.dtype}"
            raise SettingError(wanted, found, "convert them")
        batch = data.shape[1 - self.batch_first] if data.dim() == 3 else None
        batch = int(input.batch_sizes[0]) if packed else batch
        depth = self.num_layers * (1 + self.bidirectional)
        shape = [depth, *([] if batch is None else [batch]), self.hidden_size]
        if hx is not None and list(hx.shape) != shape:
            raise SettingError(f"hx of shape {shape}", str(list(hx.shape)), "pass h_n, or nothing")
        return self._run_packed(input, hx) if packed else self._run_padded(input, hx)

    def extra_repr(self) -> str:
        """Name the candidate where it is not the usual one."""
        other = "" if self.candidate == "linear" else f", candidate={self.candidate}"
        return super().extra_repr() + other


class MinGRU(_Minimal):
    """The minGRU (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, 2024).

        z = σ(W_z x_t + b_z)        h_t = (1 - z) * h_{t-1} + z * g(W_n x_t + b_n)

    Arguments, inputs and outputs are those of `torch.nn.GRU`, packed sequences and `masked` included;
    the parameters are `weight_ih_l0` [2H, I] and `bias_ih_l0` [2H], blocks z n, for every layer and
    direction. `candidate="positive"` takes the paper's g in place of the identity (`kernels/minimal.py`
    says why not). `zoneout` and `state_grad_clip` are those of `GRU`. It runs on every device; on a
    CPU in C++, elsewhere as a parallel scan. The module says where the weights start. Raises
    SettingError for an unknown candidate, for `recurrent_dropout`, which has nothing to act on, and
    for inputs that do not fit.

    >>> layer = MinGRU(4, 8, num_layers=2, bidirectional=True)
    >>> output, h_n = layer(torch.zeros(10, 3, 4))
    >>> output.shape, h_n.shape
    (torch.Size([10, 3, 16]), torch.Size([4, 3, 8]))
    >>> sorted(name for name, _ in MinGRU(4, 8).named_parameters())
    ['bias_ih_l0', 'weight_ih_l0']
    """

    BLOCKS = 2

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel for weights like W."""
        return min_gru_kernel(W, self.candidate)

    def _remember(self, b: Tensor) -> None:
        b.chunk(2)[0].uniform_(-LONGEST, 0.0)

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        return min_gru(x, *states, *weights, candidate=self.candidate, **how)


class MinLSTM(_Minimal):
    """The minLSTM (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, 2024), with normalised gates.

        i, f = σ(W_i x_t + b_i), σ(W_f x_t + b_f)
        h_t = (f * h_{t-1} + i * g(W_g x_t + b_g)) / (f + i)

    Its only state is h. The parameters are `weight_ih_l0` [3H, I] and `bias_ih_l0` [3H], blocks i f g;
    everything else is as in `MinGRU`.

    >>> layer = MinLSTM(4, 8, batch_first=True)
    >>> output, h_n = layer(torch.zeros(2, 10, 4))
    >>> output.shape, h_n.shape, layer.weight_ih_l0.shape
    (torch.Size([2, 10, 8]), torch.Size([1, 2, 8]), torch.Size([24, 4]))
    """

    BLOCKS = 3

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel for weights like W."""
        return min_lstm_kernel(W, self.candidate)

    def _remember(self, b: Tensor) -> None:
        i, f, _ = b.chunk(3)
        i.copy_(-f.uniform_(0.0, LONGEST))

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        return min_lstm(x, *states, *weights, candidate=self.candidate, **how)
