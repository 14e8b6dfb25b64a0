"""Our layers in a model that somebody else wrote.

Ours are subclasses of `torch.nn`'s that add nothing to their state, so a layer is replaced by
changing its class. The object stays the one it was: parameters, optimisers made before, tied
weights, hooks, buffers and every reference to it hold. Only where the class is exactly PyTorch's, or
PyTorch's with parametrizations, is it known what forward computes; anything else is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from throughtime._errors import SettingError
from throughtime.nn.base import on_our_ground
from throughtime.nn.cells import GRUCell, LSTMCell, RNNCell
from throughtime.nn.layers import GRU, LSTM, RNN
from throughtime.nn.minimal import MinGRU, MinLSTM

STAND_INS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNNCell: RNNCell,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
}


class RecurrentModule(NamedTuple):
    """One recurrent module: its name in the model, how PyTorch prints it, and a note or ""."""

    name: str
    module: str
    note: str

    def __str__(self) -> str:
        """Return the three in one line."""
        note = f", {self.note}" if self.note else ""
        return f"{self.name or 'the model itself'}: {self.module}{note}"


@dataclass(frozen=True, repr=False)
class Acceleration:
    """What `accelerate` did: the model it was given, what it replaced and what it left, and why."""

    model: nn.Module = field(compare=False)
    replaced: tuple[RecurrentModule, ...]
    left: tuple[RecurrentModule, ...]

    def __str__(self) -> str:
        """Return a count, then one line for each module."""
        total = len(self.replaced) + len(self.left)
        if not total:
            return f"Nothing to replace: {type(self.model).__name__} has no recurrent modules."
        counts = f"Replaced {len(self.replaced)} of {total} recurrent modules by throughtime's"
        left = [_listed("Left alone", self.left)] if self.left else []
        return "\n".join([_listed(counts, self.replaced), *left])

    __repr__ = __str__  # `tt.accelerate(model)` alone on a line of a notebook says what it did


def accelerate(model: nn.Module) -> Acceleration:
    """Replace PyTorch's recurrent layers and cells in a model by ours, in place, and say which.

    What the model computes, its parameters and its state_dict stay as they were, and so do
    optimisers made before. Layers run our kernels from the next call on. A cell does what it did: one
    step leaves nothing to gain. On other devices than a CPU and in other dtypes than float32 and
    float64, layers hand over to PyTorch, and the report notes it.

    Left alone, and named with the reason: subclasses (derive them from `tt.nn`'s classes instead),
    TorchScript, quantised modules, modules whose `forward` was set by hand, and ours.

    After it, pickling the whole model (not its state_dict) needs this package to load, and
    `torch.jit.script` no longer compiles it.

    Args:
        model: any module; a recurrent layer itself, too.

    Returns:
        What was replaced and what was left. Its str is a report, its `model` the one passed in.

    Raises:
        SettingError: `model` is no torch.nn.Module.

    >>> model = nn.ModuleDict({"encoder": nn.GRU(8, 64, num_layers=2), "head": nn.Linear(64, 1)})
    >>> accelerate(model)
    Replaced 1 of 1 recurrent modules by throughtime's:
      encoder: GRU(8, 64, num_layers=2)
    >>> accelerate(model)
    Replaced 0 of 1 recurrent modules by throughtime's.
    Left alone:
      encoder: GRU(8, 64, num_layers=2), throughtime's already
    """
    if not isinstance(model, nn.Module):
        found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise SettingError("a torch.nn.Module", found, "pass the model itself")
    replaced, left = [], []
    for name, module in model.named_modules():
        if not _is_recurrent(module):
            continue
        text = f"{type(module).__name__}({module.extra_repr()})"
        reason = _reason_to_leave(module)
        if reason:
            left.append(RecurrentModule(name, text, reason))
        else:
            module.__class__ = _stand_in(type(module))
            replaced.append(RecurrentModule(name, text, _note(module)))
    return Acceleration(model, tuple(replaced), tuple(left))


def _is_recurrent(module: nn.Module) -> bool:
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return True
    foreign = isinstance(module, torch.jit.ScriptModule) or _is_quantised(module)
    name = getattr(module, "original_name", type(module).__name__)  # TorchScript's name for it
    return foreign and name in {cls.__name__ for cls in STAND_INS}


def _is_quantised(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.ao.")


def _reason_to_leave(module: nn.Module) -> str:
    cls = type(module)
    if isinstance(module, (*STAND_INS.values(), MinGRU, MinLSTM)):
        return "throughtime's already"
    if isinstance(module, torch.jit.ScriptModule):
        return "compiled by TorchScript"
    if _is_quantised(module):
        return "of PyTorch's quantisation"
    if "forward" in vars(module):
        return "its forward was set by hand"
    if _plain(cls) in STAND_INS:
        return ""
    own = all(cls.forward is not torchs.forward for torchs in STAND_INS)
    return "a subclass with its own forward" if own else "a subclass"


def _plain(cls: type[nn.Module]) -> type[nn.Module]:
    """The class without parametrizations, for which PyTorch derives one of its own on the fly."""
    return cls.__bases__[0] if cls.__module__ == parametrize.__name__ else cls


def _stand_in(cls: type[nn.Module]) -> type[nn.Module]:
    """Our class for PyTorch's, under the same parametrizations.

    Copies of a parametrized module share its class, so that a new one is made and theirs kept.
    """
    ours = STAND_INS[_plain(cls)]
    return ours if _plain(cls) is cls else type(cls.__name__, (ours,), dict(vars(cls)))


def _note(module: nn.Module) -> str:
    weight = next(module.parameters(), None)  # None where a hook computes all of them
    if isinstance(module, nn.RNNCellBase):
        return "one step at a time as before"
    if weight is None or on_our_ground(weight):
        return ""
    dtype = str(weight.dtype).removeprefix("torch.")
    return f"handing over to PyTorch while in {dtype} on {weight.device.type}"


def _listed(heading: str, modules: Sequence[RecurrentModule]) -> str:
    return "\n  ".join([heading + (":" if modules else "."), *map(str, modules)])
