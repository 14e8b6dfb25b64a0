"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    t <- t + 1
    m <- β₁ m + (1 - β₁) g          v <- β₂ v + (1 - β₂) g²
    θ <- θ - η λ θ - η (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)

θ, g, m, v are matrices [E, N], a row for each member of an ensemble. It is written out here
because `torch.optim` takes about a second to make its first optimiser (it loads the compiler),
and because a run that is to be resumed exactly had better own what it must save.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class AdamW:
    """The moments m, v and the count t of updates; `weight_decay` is λ."""

    m: Tensor
    v: Tensor
    weight_decay: float = 0.0
    t: int = 0

    @classmethod
    def like(cls, weights: Tensor, weight_decay: float = 0.0) -> AdamW:
        """Begin with moments of zero for `weights` [E, N]."""
        return cls(torch.zeros_like(weights), torch.zeros_like(weights), weight_decay)

    def step(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> Tensor:
        """Return the weights after one update; those passed in are left as they were.

        >>> theta = torch.tensor([[1.0, 1.0]])
        >>> AdamW.like(theta).step(theta, torch.tensor([[5.0, -0.2]]), learning_rate=0.1)
        tensor([[0.9000, 1.1000]])
        """
        self.t += 1
        self.m.lerp_(gradient, 1 - BETA_1)
        self.v.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        root = (self.v / (1 - BETA_2**self.t)).sqrt_().add_(EPSILON)
        decayed = weights * (1 - learning_rate * self.weight_decay)
        return decayed.addcdiv_(self.m, root, value=-learning_rate / (1 - BETA_1**self.t))
