"""The linear layer of an ensemble says what PyTorch's does, under a vmap and without one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from throughtime.nn.ensemble import mapped
from throughtime.nn.linear import Linear

E = 3


def numbers(
    layer: nn.Linear, shape: tuple[int, ...], dims: tuple[int, ...], seed: int
) -> list[Tensor]:
    """The output and all gradients, with members along other axes than the first where told."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(seed))
    x, W = draw(E, *shape, 32), draw(E, 11, 32)
    b = draw(E, 11) if layer.bias is not None else None
    given = [t.movedim(0, dims[i]).contiguous() for i, t in enumerate((x, W, b)) if t is not None]
    for tensor in given:
        tensor.requires_grad_()

    def call(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
        weights = {"weight": W} if b is None else {"weight": W, "bias": b}
        y: Tensor = torch.func.functional_call(layer, weights, x)
        return y

    if all(dim == 0 for dim in dims):
        y = mapped(call, E, *given)
    else:
        y = torch.func.vmap(call, in_dims=dims[: len(given)])(*given)
    y.backward(draw(y.shape))
    return [y, *(tensor.grad for tensor in given)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(32,), (1,), (500,), (), (4, 7)])
@pytest.mark.parametrize("dims", [(0, 0, 0), (1, 0, 0)])
def test_members_at_once_are_the_mapped_ones_to_the_last_bit(bias, shape, dims):
    if dims[0] and not shape:
        return
    ours = numbers(Linear(32, 11, bias), shape, dims, 0)
    theirs = numbers(nn.Linear(32, 11, bias), shape, dims, 0)
    assert all(map(torch.equal, ours, theirs))


def test_a_weight_that_all_members_share_is_mapped_as_before():
    x, layer = torch.randn(E, 4, 32), Linear(32, 11)
    found = mapped(layer, E, x)
    torch.testing.assert_close(found, nn.functional.linear(x, layer.weight, layer.bias))
