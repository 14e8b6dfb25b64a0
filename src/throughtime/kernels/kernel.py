"""How one recurrence is computed: what a kernel is, and one that runs another backwards in time.

A recurrence maps y = f(x, s_0, θ): an input x, initial states s_0 and weights θ to outputs y (all
h_t and the last states). A `Kernel` says how, three times over:

    forward   y and residuals                      fast, in place, one large product for the inputs
    adjoint   x̄, s̄_0, θ̄ from ȳ and residuals         fast, in place, one large product per weight
    replay    y alone                              slow, plain operations, differentiable any times

Members: all tensors may carry one more axis E (after time, else in front) for nets that run side by
side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from throughtime.kernels.tap import AdjointTap

Tensors = tuple[Tensor, ...]
Optionals = tuple[Tensor | None, ...]
Inputs = tuple[Any, ...]  # tensors; a weight that the recurrence does without is None


class Kernel(ABC):
    """How one recurrence is computed.

    Inputs are always x, the states, the weights; then the dropout d and for each state the zoneout ζ
    of `regularised`, where None is without.
    Outputs are h_TBH and the last value of each state. `clip` limits the norm of the gradient of
    every state, row by row, on its way back through time; 0 is no limit. A step that the mask skips
    makes no state.
    """

    packs: ClassVar[bool] = False  # takes packed sequences, and padding that is not a number

    @property
    @abstractmethod
    def states(self) -> int:
        """Return the number of states."""

    @property
    @abstractmethod
    def clip(self) -> float:
        """Return the limit of the gradient of a state."""

    @property
    @abstractmethod
    def operator(self) -> str:
        """Return the name of the registered operator that stands for the recurrence in a graph."""

    @property
    def reverse(self) -> Kernel:
        """Return the kernel that runs from the last time step to the first."""
        return Reverse(self)

    @abstractmethod
    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Return the outputs, then the residuals that the adjoint needs (time first).

        Without `keep` the residuals are not asked for, and may be missing.
        """

    @abstractmethod
    def blank(self, inputs: Inputs) -> Tensors:
        """Return tensors of the shapes and strides that `forward` returns, values aside.

        It is asked with tensors that have no values and sizes that are symbols.
        """

    @abstractmethod
    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Return the gradient of every input that is needed, and fill the tap.

        Gradients share no memory. They are contiguous, but for x̄, which is laid out as by `timeline`.
        """

    @abstractmethod
    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Return the outputs by operations that can be differentiated any number of times."""


@dataclass(frozen=True)
class Reverse(Kernel):
    """A kernel that runs another one from the last time step to the first."""

    kernel: Kernel

    @property
    def states(self) -> int:
        """Return the number of states."""
        return self.kernel.states

    @property
    def operator(self) -> str:
        """Return the operator of the one that it runs."""
        return self.kernel.operator

    @property
    def clip(self) -> float:
        """Return the limit of the gradient of a state."""
        return self.kernel.clip

    def forward(self, mask: Tensor | None, inputs: Inputs, keep: bool = True) -> Tensors:
        """Turn x round, and then h_TBH."""
        h_TBH, *others = self.kernel.forward(flip(mask), turned(inputs, self.states), keep)
        return h_TBH.flip(0), *others

    def blank(self, inputs: Inputs) -> Tensors:
        """Ask the other one."""
        return self.kernel.blank(inputs)

    def adjoint(
        self,
        needed: Sequence[bool],
        tap: AdjointTap | None,
        mask: Tensor | None,
        d_outputs: Inputs,
        inputs: Inputs,
        residuals: Tensors,
    ) -> Optionals:
        """Turn round x and what the loss sends to h_TBH, and then x's gradient and the tap."""
        d_outputs = flip(d_outputs[0]), *d_outputs[1:]
        inputs = turned(inputs, self.states)
        grads = self.kernel.adjoint(needed, tap, flip(mask), d_outputs, inputs, residuals)
        if tap is not None:
            tap.flip()
        return flip(grads[0]), *grads[1:]

    def replay(self, mask: Tensor | None, inputs: Inputs) -> Tensors:
        """Turn x round, and then h_TBH."""
        h_TBH, *ends = self.kernel.replay(flip(mask), turned(inputs, self.states))
        return h_TBH.flip(0), *ends


def flip(tensor: Tensor | None, axis: int = 0) -> Tensor | None:
    """Turn round an axis of a tensor, if there is one."""
    return None if tensor is None else tensor.flip(axis)


def turned(inputs: Inputs, states: int) -> Inputs:
    """Turn round what runs along time: x, and the zoneout of every state."""
    x, *fixed = inputs[:-states]
    return x.flip(0), *fixed, *(flip(zone, -3) for zone in inputs[-states:])
