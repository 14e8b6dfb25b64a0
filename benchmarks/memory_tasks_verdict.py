"""What the doctor says before training (`throughtime.diagnostics.learnable`), on 64 sequences of a task."""

from __future__ import annotations

import copy

import torch
from memory_tasks_nets import Net
from memory_tasks_problems import Problem
from torch import Tensor

from throughtime.diagnostics import Before, LagProfile, trajectories

EXAMPLES = 64


def look(net: Net, problem: Problem, seed: int = 0) -> tuple[Before, int | None]:
    """Measure a net before training, and the lag at which less than 1 % of the gradient is left.

    In float64, where 1e-60 of the newest gradient can still be told from nothing.
    """
    x, y = problem.draw(EXAMPLES, torch.Generator().manual_seed(seed))

    def newest(answers: Tensor, targets: Tensor) -> Tensor:
        return problem.loss(answers[-1:], targets[-1:])

    twin = copy.deepcopy(net).double()
    [ran] = trajectories(twin, x.double(), y, newest, output=lambda answers: answers)
    return Before.of(ran, problem.need), LagProfile.of(ran).memory
