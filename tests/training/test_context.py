"""What training changes around it comes back as it was."""

from __future__ import annotations

import pytest
import torch

from throughtime.training.context import own_noise


def test_noise_is_that_of_its_seed_and_the_global_one_goes_on():
    torch.manual_seed(1)
    alone = torch.rand(3), torch.rand(3)
    torch.manual_seed(1)
    before = torch.rand(3)
    with own_noise(7, torch.device("cpu")):
        within = torch.rand(3)
    with pytest.raises(RuntimeError, match="size"), own_noise(7, torch.device("cpu")):
        torch.rand(3) @ torch.rand(2)
    assert before.equal(alone[0])
    assert torch.rand(3).equal(alone[1])
    assert within.equal(torch.rand(3, generator=torch.Generator().manual_seed(7)))
