"""What the loops of all kernels share: buffers along time, and products over all of them at once.

Buffers along time are stored members first, [E, T, B, H], and seen as [T, E, B, H], so that the T*B
rows of every member form one matrix without a copy (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**16  # coefficients of the adjoint computed at once: fewer calls, still in cache


def timeline(like: Tensor, steps: int, features: int) -> Tensor:
    """Return an empty buffer [steps, (E,) B, features] for states shaped [(E,) B, H] as `like`."""
    return like.new_empty((*like.shape[:-2], steps, like.shape[-2], features)).movedim(-3, 0)


def started(first: Tensor, steps: int) -> Tensor:
    """Return a buffer [steps + 1, (E,) B, H] whose entry 0 is the initial state."""
    states = timeline(first, steps + 1, first.shape[-1])
    states[0] = first
    return states


def arriving(h: Tensor, d_h: Tensor | None, d_h_n: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Return dL/dh_T, and what the loss sends directly to h_0, h_1 .. h_{T-1}."""
    nothing = h.new_zeros(()).expand_as(h[0])
    later = [nothing] * (len(h) - 1) if d_h is None else d_h.unbind(0)
    total = torch.empty_like(h[0], memory_format=torch.contiguous_format).copy_(later[-1])
    if d_h_n is not None:
        total += d_h_n
    return total, [nothing, *later[:-1]]


def rows(values: Tensor) -> Tensor:
    """See values [T, (E,) B, F] as matrices of T*B rows, [(E,) T*B, F]."""
    return values.movedim(0, -3).flatten(-3, -2)


def limiter(clip: float, mask: Tensor | None) -> Callable[..., None]:
    """Return the function of (t, *parts) that limits the gradient of a state, given in its parts.

    It works in place and row by row; where the mask is False there is no new state to limit.
    """

    def limit(t: int, *state: Tensor) -> None:
        norm = torch.stack([part.square().sum(-1, keepdim=True) for part in state]).sum(0).sqrt()
        factor = (clip / norm).clamp(max=1.0).nan_to_num(nan=1.0)
        if mask is not None:
            factor = factor.masked_fill(~mask[t].unsqueeze(-1), 1.0)
        for part in state:
            part.mul_(factor)

    return limit if clip else lambda t, *state: None


def together(b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor | None:
    """Return the sum of the two biases, of which either may be missing."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """Return x W' + b, differentiable."""
    return x @ W.mT if b is None else x @ W.mT + b.unsqueeze(-2)


def project(x: Tensor, W: Tensor, b: Tensor | None, out: Tensor) -> Tensor:
    """Write x W' + b for all time steps into `out`, as one product."""
    target = rows(out)
    if b is None:
        torch.matmul(rows(x), W.mT, out=target)
    elif W.dim() == 3:
        torch.baddbmm(b.unsqueeze(-2), rows(x), W.mT, out=target)
    else:
        torch.addmm(b, rows(x), W.mT, out=target)
    return out


def unproject(da: Tensor, W: Tensor) -> Tensor:
    """Return da W for all time steps, as one product."""
    dx = torch.matmul(rows(da), W)
    return torch.unflatten(dx, -2, (da.shape[0], da.shape[-2])).movedim(-3, 0)


def outer(da: Tensor, values: Tensor) -> Tensor:
    """Return the sum over time and batch of da_t' values_t, as one product."""
    return torch.matmul(rows(da).mT, rows(values))


def add_product_for(weight: Tensor) -> Callable[..., Tensor]:
    """Return the function of (addend, left, right, out) that adds a product; members in batches.

    A batched product is fast where its result is contiguous, so loops let it write into a scratch
    tensor and spread the result over time by the operation that follows anyway.
    """
    return torch.baddbmm if weight.dim() == 3 else torch.addmm


def scratch(like: Tensor, features: int) -> Tensor:
    """Return a contiguous [(E,) B, features] to compute in."""
    return like.new_empty((*like.shape[:-1], features))


def chunks_back(gates: Tensor) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of stretches of time from the last to the first."""
    length = max(1, CHUNK_ELEMENTS // max(1, gates[0].numel()))
    for stop in range(gates.shape[0], 0, -length):
        yield max(0, stop - length), stop
