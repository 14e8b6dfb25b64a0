"""Recurrences as data: what is run, at which sizes; and how to draw tensors for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from throughtime import kernels

FORWARD_MODE_COMPILES = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"  # in torch


@dataclass(frozen=True)
class Case:
    cell: str  # rnn, lstm, gru or layer_norm_lstm
    T: int = 4
    B: int = 3
    I: int = 2  # noqa: E741
    H: int = 5
    E: int = 0  # members; 0 for none
    P: int = 0  # projection; 0 for none
    bias: bool = True
    masked: bool = False
    options: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    def __str__(self) -> str:
        return "-".join(str(v) for v in vars(self).values() if v not in (False, ())).replace(
            " ", ""
        )

    @property
    def names(self) -> list[str]:
        """The names of the tensors that may want a gradient."""
        states = ["h_0", "c_0"] if self.is_lstm else ["h_0"]
        biases = ["b_ih", "b_hh"] if self.bias else []
        return ["x", *states, "W", "U", *biases, *(["P"] if self.P else []), *self.of_norms]

    @property
    def is_lstm(self) -> bool:
        return self.cell.endswith("lstm")

    @property
    def of_norms(self) -> list[str]:
        """The weights of the normalisations."""
        shift = ["beta_c"] if self.bias else []
        return ["gamma_x", "gamma_h", "gamma_c", *shift] if self.cell == "layer_norm_lstm" else []

    def draw(self) -> dict[str, Tensor]:
        """Random tensors in float64 by argument name, each wanting a gradient."""
        torch.manual_seed(self.seed)
        gates = {"rnn": 1, "gru": 3}.get(self.cell, 4) * self.H
        members = (self.E,) if self.E else ()
        out = self.P or self.H
        shapes: dict[str, tuple[int, ...]] = {
            "x": (self.T, *members, self.B, self.I),
            "h_0": (*members, self.B, out),
            "c_0": (*members, self.B, self.H),
            "W": (*members, gates, self.I),
            "U": (*members, gates, out),
            "b_ih": (*members, gates),
            "b_hh": (*members, gates),
            "P": (*members, self.P, self.H),
            "gamma_x": (*members, gates),
            "gamma_h": (*members, gates),
            "gamma_c": (*members, self.H),
            "beta_c": (*members, self.H),
        }
        return {
            name: torch.randn(shapes[name], dtype=torch.float64).mul_(0.8).requires_grad_()
            for name in self.names
        }

    def mask(self) -> Tensor | None:
        """Random steps to skip, the same for all members."""
        if not self.masked:
            return None
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.rand(self.T, self.B, generator=generator) > 0.4

    def arguments(self, tensors: dict[str, Any]) -> list[Any]:
        """The positional arguments of the recurrence."""
        names = ["x", "h_0", *(["c_0"] if self.is_lstm else []), "W", "U", "b_ih", "b_hh"]
        more = {"lstm": ["P"], "layer_norm_lstm": ["gamma_x", "gamma_h", "gamma_c", "beta_c"]}
        return [tensors.get(name) for name in [*names, *more.get(self.cell, [])]]

    def run(self, tensors: dict[str, Tensor], **more: Any) -> tuple[Tensor, ...]:
        """The outputs of our kernel."""
        function = getattr(kernels, self.cell)
        options: dict[str, Any] = {"mask": self.mask(), **dict(self.options), **more}
        return function(*self.arguments(tensors), **options)


RNN, RELU = Case("rnn"), Case("rnn", options=(("phi", "relu"),))
LSTM, PROJECTED = Case("lstm"), Case("lstm", P=3)
NORMED = Case("layer_norm_lstm")
GRU, BEFORE = Case("gru"), Case("gru", options=(("reset", "before"),))
KINDS = [RNN, RELU, LSTM, PROJECTED, GRU, BEFORE]  # NORMED apart: it is never in C++
PLAIN = [replace(kind, bias=bias) for kind in KINDS for bias in (True, False)]
MASKED = [replace(kind, masked=True) for kind in KINDS]
MEMBERS = [replace(kind, E=3, masked=masked) for kind in KINDS for masked in (False, True)]
ALL = [*PLAIN, *MASKED, *MEMBERS]


@st.composite
def any_case(draw: Any, members: bool = False) -> Case:
    """Any kind of recurrence at any small size."""
    size = st.integers(1, 6)
    H = draw(size)
    kind = draw(st.sampled_from(KINDS))
    return replace(
        kind,
        T=draw(st.integers(1, 9)),
        B=draw(st.integers(0, 4)),
        I=draw(size),
        H=H + 1 if kind.P else H,
        P=draw(st.integers(1, H)) if kind.P else 0,
        E=draw(st.integers(1, 3)) if members else 0,
        bias=draw(st.booleans()),
        masked=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )


def random_weights(outputs: Sequence[Tensor]) -> list[Tensor]:
    """What the loss sends to each output: random, the same at every call and for every layout."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(o.shape, dtype=torch.float64, generator=generator) for o in outputs]


def weighted(outputs: Sequence[Tensor]) -> Tensor:
    """A loss with random weights on every output."""
    terms = [(o * w).sum() for o, w in zip(outputs, random_weights(outputs), strict=True)]
    return torch.stack(terms).sum()


def layouts(operator: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """Shapes, strides where they matter, and precisions: of results, and of fake tensors' results."""
    real = operator(*arguments)
    with FakeTensorMode() as mode:
        fake = operator(*tree_map_only(Tensor, mode.from_tensor, arguments))
    return [[_layout(tensor) for tensor in tree_leaves(each)] for each in (real, fake)]


def _layout(tensor: Tensor) -> Any:
    strides = [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]
    return list(tensor.shape), strides if tensor.numel() else [], tensor.dtype


def worst(ours: Any, theirs: Any) -> float:
    """The largest absolute difference between two lists of tensors of the same shapes."""
    pairs = list(zip(ours, theirs, strict=True))
    for a, b in pairs:
        assert a.shape == b.shape
    differences = [(a - b).detach().abs().max().double() for a, b in pairs if a.numel()]
    return float(torch.stack(differences).max()) if differences else 0.0  # NaN stays NaN
