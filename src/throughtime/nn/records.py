"""Records of recurrences that ran forward, and the taps that their backward passes fill.

`recording` shows the gradients at every state, exactly as the backward pass computed them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.kernels import AdjointTap
from throughtime.kernels.kernel import Kernel

CELL = -1


class Recorded(NamedTuple):
    """One direction of one layer that ran forward, and the tap that its backward pass fills.

    `name` is the module's name in the model; `direction` is 1 for the reverse direction. The tap's
    entries follow the time of the series in both. `kernel` computes what ran, from `inputs` as they
    were (x, the initial states, the weights, dropout and zoneouts; see `Kernel`), in the order of the
    series; `mask` [T, B], with the members of an ensemble that run at once [T, E, B], is False behind
    the ends of series, None where all are of one length. The layer of a cell's single step is CELL. A
    step of the call is `dilation` steps of the series, whose phases are rows of the batch
    (`dilated.py`).
    """

    name: str
    layer: int
    direction: int
    tap: AdjointTap
    kernel: Kernel
    inputs: tuple[Any, ...]
    mask: Tensor | None
    dilation: int = 1

    @property
    def label(self) -> str:
        """Name it in one word, or two: "encoder.l0", "encoder.l0 reverse", "cell"."""
        layer = "" if self.layer == CELL else f"l{self.layer}"
        label = ".".join(part for part in (self.name, layer) if part)
        return f"{label} reverse" if self.direction else label


_Recording = tuple[dict[torch.nn.Module, str], list[Recorded], bool]  # names, records, in turn
_recordings: ContextVar[tuple[_Recording, ...]] = ContextVar("recordings", default=())
open_recordings: list[
    str
] = []  # one entry a recording, in any thread; torch.compile reads no ContextVar


@contextmanager
def recording(model: torch.nn.Module, in_turn: bool = True) -> Iterator[list[Recorded]]:
    """Collect the adjoints of every layer of ours in `model` that runs forward within.

    Yields a list that grows by one `Recorded(name, layer, direction, tap)` for each layer and
    direction; after backward, `tap.dh_TBH` holds dL/dh_t for every t (and `tap.dc_TBH` dL/dc_t).
    Within, layers run our kernels on every device, because PyTorch's leave no record, and outside of
    compiled graphs, which have no place for one (with `fullgraph=True` torch.compile raises). A
    recording within another takes nothing away from it: both get the same taps. An `Ensemble` whose
    template is recorded runs its members in turn, each with records of its own; without `in_turn` it
    runs them as it always does, taps have the axis of the members, and inputs are of no use.

    >>> from throughtime.nn import GRU
    >>> model = torch.nn.Sequential(GRU(1, 2))
    >>> with recording(model) as records:
    ...     output, h_n = model(torch.zeros(5, 3, 1))
    >>> output.sum().backward()
    >>> [(r.name, r.layer, r.direction, r.tap.dh_TBH.shape) for r in records]
    [('0', 0, 0, torch.Size([5, 3, 2]))]
    """
    names = {module: name for name, module in model.named_modules()}
    records: list[Recorded] = []
    token = _recordings.set((*_recordings.get(), (names, records, in_turn)))
    open_recordings.append("open")
    try:
        yield records
    finally:
        open_recordings.pop()
        _recordings.reset(token)


def records_of(layer: torch.nn.Module) -> list[tuple[str, list[Recorded]]]:
    """Return what a layer is to be recorded into, and by which name."""
    if not open_recordings:
        return []
    return [(names[layer], records) for names, records, _ in _recordings.get() if layer in names]


def is_recorded_in_turn(layer: torch.nn.Module) -> bool:
    """Say whether somebody records who wants the members of an ensemble to run in turn."""
    recordings = _recordings.get() if open_recordings else ()
    return any(in_turn and layer in names for names, _, in_turn in recordings)
