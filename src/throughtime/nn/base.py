"""What the layers share: whose kernels run, how layers are stacked, what is random, what is recorded.

`Layers.forward` decides call by call: the short way of `express`, our kernels, or PyTorch's. The
layers themselves (`layers`, `layer_norm_lstm`) say which recurrence they run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.kernels import AdjointTap
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.packing import pad
from throughtime.kernels.recurrence import autocasts
from throughtime.kernels.regularised import given
from throughtime.nn.express import answer
from throughtime.nn.records import Recorded, open_recordings, records_of

States = tuple[Tensor, ...]
_is_jit_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]


def on_our_ground(*inputs: Tensor) -> bool:
    """Say whether our kernels are at home with tensors: on a CPU, float32 or float64.

    torch.jit.trace would unroll their loops, and knows PyTorch's.
    """
    at_home = all(x.is_cpu and x.dtype in (torch.float32, torch.float64) for x in inputs)
    return at_home and not _is_jit_tracing()


class Layers(torch.nn.RNNBase):
    """Stacked layers in one or two directions; a subclass says which recurrence they run."""

    STATES: ClassVar[int] = 1
    WEIGHTS: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    has_short_way: ClassVar[bool] = True  # see `express`
    recurrent_dropout: float = 0.0  # also for a layer of torch.nn whose class was changed
    zoneout: float | tuple[float, float] = 0.0
    state_grad_clip: float = 0.0
    dilation: int = 1  # what a step is to the series; set by the `Stack` that the layer is in

    def __init__(
        self,
        *args: Any,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        state_grad_clip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        recurrent_dropout = real("recurrent_dropout", recurrent_dropout, at_least=0, below=1)
        zoneout = self._checked(zoneout)
        state_grad_clip = real("state_grad_clip", state_grad_clip, at_least=0)
        super().__init__(*args, **kwargs)
        self.recurrent_dropout, self.zoneout = recurrent_dropout, zoneout
        self.state_grad_clip = state_grad_clip

    def _checked(self, zoneout: Any) -> Any:
        return real("zoneout", zoneout, at_least=0, below=1)

    def kernel(self, W: Tensor) -> Kernel:
        """Return the kernel for weights like W."""
        raise TypeError("a layer says which recurrence it runs")

    @property
    def operator(self) -> str:
        """Return the recurrence's name among the operators; the short way asks for it."""
        raise TypeError("a layer with a short way says which recurrence it runs")

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output of the last layer and the last states, as PyTorch's layer does."""
        if self.has_short_way and not open_recordings and not torch.compiler.is_compiling():
            quick = answer(self, input, hx)
            if quick is not None:
                return quick
        # A graph of torch.compile's has no room for a record, nor for clipping.
        eager = open_recordings or (self.state_grad_clip and torch.is_grad_enabled())
        if eager and "torch._dynamo" in sys.modules:
            return torch.compiler.disable(self._forward)(input, hx)  # type: ignore[no-untyped-call]
        return self._forward(input, hx)

    def _forward(self, input: Any, hx: Any) -> Any:
        packed = isinstance(input, PackedSequence)
        data = input.data if packed else input
        if not (
            self._is_ours(data) and self._fits(data, hx, input.batch_sizes if packed else None)
        ):
            return self._hand_over(input, hx)
        return self._run_packed(input, hx) if packed else self._run_padded(input, hx)

    def _hand_over(self, input: Any, hx: Any) -> Any:
        answer = super().forward(input, hx)  # the sibling in torch.nn
        data = input.data if isinstance(input, PackedSequence) else input
        if data.numel() and self._is_our_own():  # most likely it has raised
            wanted = f"input and hx in the dtype of the weights, {self.weight_ih_l0.dtype}"
            remedy = f"convert them; PyTorch has no such {type(self).__name__}"
            raise SettingError(wanted, str(data.dtype), remedy)
        return answer

    def _is_our_own(self) -> bool:
        """Say whether PyTorch has no layer that would do the same."""
        return bool(
            (self.training and self.recurrent_dropout)
            or any(self._zoneouts())
            or (self.state_grad_clip and torch.is_grad_enabled())
        )

    def _zoneouts(self) -> tuple[float, ...]:
        """Return the rate of each state."""
        return self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout,) * self.STATES

    def _is_ours(self, data: Tensor) -> bool:
        if _is_jit_tracing() and self._is_our_own():
            name = type(self).__name__
            raise SettingError(
                f"a {name} that PyTorch has too, for torch.jit.trace",
                repr(self),
                "use torch.export",
            )
        weight: Any = self.weight_ih_l0
        at_home = data.device.type == "cpu" and on_our_ground(weight)
        return at_home or self._is_our_own() or bool(records_of(self))

    def _recur(self, x: Tensor, states: States, weights: list[Any], **how: Any) -> States:
        raise TypeError("a layer says which recurrence it runs")

    def _widths(self) -> list[int]:
        """Return the size of each state."""
        return [self.hidden_size]

    def _fits(self, data: Tensor, hx: Any, batch_sizes: Tensor | None) -> bool:
        """Say whether the arguments are in order; where not, PyTorch finds the words."""
        if data.dim() not in ((2,) if batch_sizes is not None else (2, 3)) or data.numel() == 0:
            return False
        if data.shape[-1] != self.input_size or not self._takes(data):
            return False
        if hx is None:
            return True
        states = hx if len(self._widths()) == 2 else (hx,)
        if not isinstance(states, (tuple, list)) or len(states) != len(self._widths()):
            return False
        if batch_sizes is not None:
            batch = [int(batch_sizes[0])]
        else:
            batch = [data.shape[0 if self.batch_first else 1]] if data.dim() == 3 else []
        depth = self.num_layers * (1 + self.bidirectional)
        return all(
            self._takes(s) and list(s.shape) == [depth, *batch, width]
            for s, width in zip(states, self._widths(), strict=True)
        )

    def _takes(self, tensor: Tensor) -> bool:
        """Say whether a tensor has the weights' precision, or autocast may give it that."""
        fits = tensor.dtype == self.weight_ih_l0.dtype
        return fits or (tensor.is_floating_point() and autocasts(tensor))

    def _run_padded(self, input: Tensor, hx: Any) -> Any:
        batched, batch_axis = input.dim() == 3, 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_axis)
        x = x.transpose(0, 1) if self.batch_first else x
        states = self._states(
            x, x.shape[1], hx if batched or hx is None else _each(hx, "unsqueeze")
        )
        output, last = self._run(x, states, None)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, last = output.squeeze(batch_axis), _each(last, "squeeze")
        return output, self._hx(last)

    def _run_packed(self, input: PackedSequence, hx: Any) -> Any:
        hx = hx if hx is None else self.permute_hidden(hx, input.sorted_indices)
        states = self._states(input.data, int(input.batch_sizes[0]), hx)
        output, last = self._run(input.data, states, input.batch_sizes)
        _, sizes, sorted_indices, unsorted_indices = input
        packed = PackedSequence(output, sizes, sorted_indices, unsorted_indices)
        return packed, self.permute_hidden(self._hx(last), unsorted_indices)

    def masked(self, input: Tensor, mask: Tensor) -> Any:
        """Return what `forward` does for a batch of rows that end early.

        `mask` is True for the steps that are read, [B, T] with `batch_first`, else [T, B]; at the
        others the states stay as they are, and the output repeats them. So a row ends up as it
        would alone, in both directions. Our kernels run, on every device, also under `vmap`.

        >>> from throughtime.nn import GRU
        >>> layer, x = GRU(1, 2, batch_first=True, bidirectional=True), torch.randn(1, 3, 1)
        >>> output, h_n = layer.masked(x, torch.tensor([[True, True, False]]))
        >>> torch.testing.assert_close(output[:, :2], layer(x[:, :2])[0])
        """
        x, mask = (t.transpose(0, 1) if self.batch_first else t for t in (input, mask))
        output, last = self._run(x, self._states(x, x.shape[1], None), mask)
        return output.transpose(0, 1) if self.batch_first else output, self._hx(last)

    def _states(self, x: Tensor, B: int, hx: Any) -> States:
        if hx is not None:
            return tuple(hx) if len(self._widths()) == 2 else (hx,)
        depth = self.num_layers * (1 + self.bidirectional)
        shapes = [(depth, B, width) for width in self._widths()]
        return tuple(torch.zeros(s, dtype=x.dtype, device=x.device) for s in shapes)

    def _hx(self, states: States) -> Any:
        return states if len(self._widths()) == 2 else states[0]

    def _run(self, x: Tensor, states: States, mask: Tensor | None) -> tuple[Tensor, States]:
        """Run all layers over x [T, B, I] (mask [T, B]), or [N, I], whose mask is the batch sizes."""
        last, directions = [], 1 + self.bidirectional
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                k = layer * directions + direction
                output, *ends = self._run_one(
                    x, tuple(s[k] for s in states), mask, layer, direction
                )
                outputs.append(output)
                last.append(ends)
            x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = torch.nn.functional.dropout(x, self.dropout, self.training)
        if len(last) == 1:
            return x, tuple(end.unsqueeze(0) for end in last[0])
        return x, tuple(torch.stack(ends) for ends in zip(*last, strict=True))

    def _run_one(
        self, x: Tensor, states: States, mask: Tensor | None, layer: int, direction: int
    ) -> States:
        suffix = f"_l{layer}" + "_reverse" * direction
        weights: list[Any] = [getattr(self, name + suffix, None) for name in self.WEIGHTS]
        T = (x if mask is None else mask).shape[0]  # len() would fix it in an exported graph
        in_the_cell = self._in_the_cell(T, states, weights[0])
        recordings, tap = records_of(self), None
        if recordings:
            tap = AdjointTap()
            inputs = self._as_recorded(x, states, weights, mask, in_the_cell)
            for name, records in recordings:
                records.append(Recorded(name, layer, direction, tap, *inputs, self.dilation))
        how = {"mask": mask, "reverse": direction == 1, "tap": tap}
        return self._recur(x, states, weights, **how, **in_the_cell)

    def _as_recorded(
        self,
        x: Tensor,
        states: States,
        weights: list[Any],
        mask: Tensor | None,
        in_the_cell: dict[str, Any],
    ) -> tuple[Kernel, tuple[Any, ...], Tensor | None]:
        """Return the kernel, its inputs, and the mask; packed series are padded."""
        if mask is not None:
            x, mask = pad(x, mask) if mask.dtype == torch.int64 else (x, _of_all_members(mask))
        zoneout = in_the_cell["zoneout"]
        zoneouts = zoneout if isinstance(zoneout, tuple) else (zoneout,)
        extra = given(x, mask, states, weights[0], in_the_cell.get("dropout"), zoneouts)
        return self.kernel(weights[0]), (x, *states, *weights, *extra), mask

    def _in_the_cell(self, T: int, states: States, W: Tensor) -> dict[str, Any]:
        """Draw what is random in this call, and name what is not."""
        how: dict[str, Any] = {"state_grad_clip": self.state_grad_clip}
        if self.training and self.recurrent_dropout:
            whole = torch.ones(states[0].shape, dtype=W.dtype, device=W.device)
            how["dropout"] = torch.nn.functional.dropout(whole, self.recurrent_dropout)
        zoneouts: list[Any] = list(self._zoneouts())
        if self.training:
            for i, state in enumerate(states):
                if zoneouts[i]:
                    zoneouts[i] = _chosen(zoneouts[i], (T, *state.shape), W)
        how["zoneout"] = tuple(zoneouts) if len(zoneouts) == 2 else zoneouts[0]
        return how

    def extra_repr(self) -> str:
        """Name what is not PyTorch's, where it is used."""
        names = "recurrent_dropout", "zoneout", "state_grad_clip"
        used = (f", {name}={getattr(self, name)}" for name in names if getattr(self, name))
        return super().extra_repr() + "".join(used)


def _chosen(rate: float, shape: tuple[int, ...], W: Tensor) -> Tensor:
    """Return ones at this rate, to within 2^-17, among zeros.

    Random bits cost more than the recurrence does with them; 16 of them decide, not a whole number.
    """
    *outer, H = shape
    bits = torch.randint(-(2**63), 2**63 - 1, (*outer, -(-H // 4)), device=W.device)
    return (bits.view(torch.int16)[..., :H] < round(rate * 2**16) - 2**15).to(W.dtype)


def _of_all_members(mask: Tensor) -> Tensor:
    """Return the masks [T, E, B] that `vmap` goes through; a record is read when that is over."""
    inner = torch._C._functorch
    while inner.is_batchedtensor(mask):
        mask = inner.get_unwrapped(mask).movedim(inner.maybe_get_bdim(mask), 1)
    return mask


def _each(states: Any, method: str) -> Any:
    """Add or drop the batch axis of the one or the two states."""
    if isinstance(states, Tensor):
        return cast(Tensor, getattr(states, method)(1))
    return tuple(getattr(state, method)(1) for state in states)
