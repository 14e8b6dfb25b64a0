"""Every recurrence that a model runs, whoever wrote it.

Our layers record themselves (`nn.recording`). PyTorch's do not, but every one of them, subclass or
not, ends in one of a few functions (`torch.lstm`, `torch.gru_cell` ...), where a mode can step in:
a layer's call goes to ours with the same weights, which records itself, and a cell's call to the kernel
of the same equations, over one step. Cells whose equations are not known are watched where they are
named: dL/dh_t by hooks on the states that they return.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from throughtime.kernels import AdjointTap
from throughtime.kernels.gru import GRUAfter, GRUBefore
from throughtime.kernels.kernel import Kernel, Tensors
from throughtime.kernels.lstm import LSTM as LSTMKernel
from throughtime.kernels.recurrence import run
from throughtime.kernels.rnn import RNN as RNNKernel
from throughtime.nn import GRU, LSTM, RNN, GRUCell, Recorded, recording
from throughtime.nn.records import CELL

_LAYERS: dict[str, Callable[..., Any]] = {
    "rnn_tanh": RNN,
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "lstm": LSTM,
    "gru": GRU,
}
_CELLS: dict[str, Kernel] = {
    "rnn_tanh_cell": RNNKernel("tanh"),
    "rnn_relu_cell": RNNKernel("relu"),
    "lstm_cell": LSTMKernel(),
    "gru_cell": GRUAfter(),
}


@contextmanager
def recurrences(model: nn.Module, cells: Sequence[nn.Module] = ()) -> Iterator[list[Recorded]]:
    """Collect every call of a recurrence, one step or many, while `model` runs forward within.

    `cells` are modules of your own that map (x_t, state) to the next state, a tensor or a tuple of
    tensors. Yields records that grow by one for each call, layer and direction; backward fills the
    taps. Neither the model nor what it computes is changed.

    >>> model = nn.GRU(1, 2)
    >>> with recurrences(model) as records:
    ...     output, h_n = model(torch.zeros(5, 3, 1))
    >>> h_n.sum().backward()
    >>> [(r.kernel.operator, r.tap.dh_TBH.shape) for r in records]
    [('gru_after', torch.Size([5, 3, 2]))]
    """
    names = {module: name for name, module in model.named_modules()}
    textbook = {m for m in names if isinstance(m, GRUCell) and m.reset == "before"}
    with recording(model) as records:
        mode = _Mode(records, names, {*textbook, *cells})
        handles = [
            register_module_forward_pre_hook(mode.enter),
            register_module_forward_hook(mode.leave, always_call=True),
        ]
        try:
            with mode:
                yield records
        finally:
            for handle in handles:
                handle.remove()


class _Mode(TorchFunctionMode):
    def __init__(
        self, records: list[Recorded], names: dict[nn.Module, str], watched: set[nn.Module]
    ) -> None:
        super().__init__()
        self.records, self.names, self.watched = records, names, watched
        self.running: list[nn.Module] = []

    def enter(self, module: nn.Module, _: Any) -> None:
        """Follow a module that begins to run."""
        if module in self.names:
            self.running.append(module)

    def leave(self, module: nn.Module, arguments: Any, answer: Any) -> None:
        """Follow a module that has run, and record it if it is one of the watched cells."""
        if self.running and self.running[-1] is module:
            self.running.pop()
            if module in self.watched and answer is not None and not self._hidden():
                self._ran(module, arguments, answer)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Step in where a recurrence of PyTorch's is about to run."""
        name = getattr(func, "__name__", "")
        if not kwargs and not self._hidden():
            if name in _LAYERS:
                return self._layer(name, *args)
            if name in _CELLS:
                return self._cell(_CELLS[name], *args)
        return func(*args, **(kwargs or {}))

    def _hidden(self) -> bool:
        """Say whether a watched cell is at work, whose inner life is its own."""
        return any(module in self.watched for module in self.running)

    def _name(self) -> str:
        return self.names[self.running[-1]] if self.running else ""

    def _layer(self, name: str, x: Tensor, *args: Any) -> Any:
        """Run a layer of ours with the weights of the call."""
        packed = isinstance(args[2], (list, tuple))
        batch_sizes, (hx, weights, bias, depth, dropout, train, both, *first) = (
            (args[0], args[1:]) if packed else (None, args)
        )
        layer = _shell(name, weights, bias, depth, dropout, both, batch_first=first == [True])
        layer.train(train)
        given = PackedSequence(x, batch_sizes) if packed else x
        by_name = dict(zip(layer._flat_weights_names, weights, strict=True))
        hx = tuple(hx) if name == "lstm" else hx
        with recording(layer) as records:
            output, ends = torch.func.functional_call(layer, by_name, (given, hx))
        self.records.extend(r._replace(name=self._name()) for r in records)
        ends = ends if name == "lstm" else (ends,)
        return output.data if packed else output, *ends

    def _cell(self, kernel: Kernel, x: Tensor, hx: Any, *weights: Any) -> Any:
        """Run one step of the kernel with the weights of the call."""
        states = tuple(hx) if kernel.states == 2 else (hx,)
        weights = (*weights, *(None,) * (4 - len(weights)))
        extra = (None,) * (2 if kernel.states == 1 else 4)  # projection, dropout, zoneouts
        inputs, tap = (x.unsqueeze(0), *states, *weights, *extra), AdjointTap()
        _, *after = run(kernel, tap, None, False, *inputs)
        self.records.append(Recorded(self._name(), CELL, 0, tap, kernel, inputs, None))
        return tuple(after) if kernel.states == 2 else after[0]

    def _ran(self, cell: nn.Module, arguments: Any, answer: Any) -> None:
        """Record a step of a cell whose equations are its own affair."""
        x, *rest = arguments
        after = answer if isinstance(answer, tuple) else (answer,)
        before = rest[0] if rest and rest[0] is not None else tuple(map(torch.zeros_like, after))
        before = before if isinstance(before, tuple) else (before,)
        kernel: Any = GRUBefore() if isinstance(cell, GRUCell) else Foreign(cell, len(after))
        weights: tuple[Any, ...] = ()
        if isinstance(cell, GRUCell):
            biases = (cell.bias_ih, cell.bias_hh) if cell.bias else (None, None)
            weights = (cell.weight_ih, cell.weight_hh, *biases, None, None)
        tap, names = AdjointTap(), ("dh_TBH", "dc_TBH")
        for name, state in zip(names, after, strict=False):
            if state.requires_grad:
                _hook(state, partial(_fill, tap, name))
        inputs = x.unsqueeze(0), *before, *weights
        self.records.append(Recorded(self.names[cell], CELL, 0, tap, kernel, inputs, None))


@dataclass(frozen=True)
class Foreign:
    """A cell of somebody else's in the place of a `Kernel`: it can be run again, no more is known."""

    cell: nn.Module
    states: int
    operator: str = "foreign"

    def replay(self, mask: Tensor | None, inputs: tuple[Any, ...]) -> Tensors:
        """Run one step of the cell, x [1, B, I]."""
        x, *states = inputs[: 1 + self.states]
        answer = self.cell.forward(x[0], tuple(states) if self.states > 1 else states[0])
        after = answer if isinstance(answer, tuple) else (answer,)
        return after[0].unsqueeze(0), *after


def _hook(state: Tensor, hook: Callable[[Tensor], None]) -> None:
    state.register_hook(hook)  # type: ignore[no-untyped-call]


def _fill(tap: AdjointTap, name: str, grad: Tensor) -> None:
    setattr(tap, name, grad.detach().unsqueeze(0))


def _shell(
    name: str,
    weights: Sequence[Tensor],
    bias: bool,
    depth: int,
    dropout: float,
    both: bool,
    batch_first: bool,
) -> Any:
    """Return a layer of ours that fits the weights of a call, without any of its own."""
    W, U = weights[:2]
    gates = {"lstm": 4, "gru": 3}.get(name, 1)
    H = W.shape[0] // gates
    projection = {"proj_size": U.shape[1]} if U.shape[1] != H else {}
    sizes = {"num_layers": depth, "bidirectional": both, "dropout": dropout if depth > 1 else 0.0}
    how = {"bias": bias, "batch_first": batch_first, "device": "meta", "dtype": W.dtype}
    return _LAYERS[name](W.shape[1], H, **sizes, **how, **projection)
