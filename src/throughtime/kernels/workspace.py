"""Large buffers that come back: what the forward pass keeps for the adjoint, step after step.

The system clears every page of a fresh buffer when it is first touched, which costs a small net more
time than its arithmetic. Training asks for the same sizes again and again, so buffers of a megabyte
and more return to a shelf when their last tensor dies. A request that nothing on the shelf fits
empties it first: memory at the peak is what it would be without. The shelf holds at most a gigabyte.
"""

from __future__ import annotations

import mmap
import weakref

import torch
from torch import Tensor

SMALLEST, LARGEST_SUM = 1 << 20, 1 << 30

_shelf: list[mmap.mmap] = []
_lent: dict[int, tuple[weakref.ref[memoryview], mmap.mmap]] = {}


def workspace(count: int, like: Tensor) -> Tensor:
    """Return an uninitialised [count] of the dtype of `like`, on the CPU.

    >>> workspace(3, torch.zeros(1)).shape
    torch.Size([3])
    """
    size = count * like.element_size()
    if size < SMALLEST:
        return torch.empty(count, dtype=like.dtype)
    buffer = _take(size)
    view = memoryview(buffer)  # the tensor holds on to it, and it dies with the tensor
    end = weakref.ref(view, _give_back)
    _lent[id(end)] = end, buffer
    return torch.frombuffer(view, dtype=like.dtype, count=count)


def release() -> None:
    """Give the buffers that nobody uses back to the system."""
    _shelf.clear()


def _take(size: int) -> mmap.mmap:
    fitting = [buffer for buffer in _shelf if size <= len(buffer) <= 2 * size]
    if fitting:
        buffer = min(fitting, key=len)
        _shelf.remove(buffer)
        return buffer
    _shelf.clear()
    buffer = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _give_back(end: weakref.ref[memoryview]) -> None:
    _, buffer = _lent.pop(id(end))
    if sum(map(len, _shelf)) + len(buffer) <= LARGEST_SUM:
        _shelf.append(buffer)
