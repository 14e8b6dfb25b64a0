"""Adaptive gradient clipping (AGC): no unit may change by more than a share of itself.

For the i-th unit of a parameter W, with gradient G:

    ‖W_i‖* = max(‖W_i‖, ε)
    G_i <- G_i min(1, λ ‖W_i‖* / ‖G_i‖)

A unit is a row of a matrix (what leads to one gate of one cell, or to one output), with all further
axes of a larger parameter; a vector, a bias say, is one unit. The paper leaves out a net's last
linear layer; to do so, call `AGC().on` with the other parameters. The threshold in force is the
joint norm that no gradient can have afterwards exceeded, λ ‖(‖W_i‖*)_i‖.

Source: Brock, De, Smith, Simonyan 2021, "High-performance large-scale image recognition without
normalization", equation 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime._checks import real
from throughtime.training.clipping import Clipped, Clipper, Clipping, Stateless, norms
from throughtime.training.parameters import ParameterMatrix


@dataclass(frozen=True)
class AGC(Clipping):
    """Clip each unit's gradient to `clipping` (λ) times the norm of its weights, at least `eps`.

    Raises SettingError for a value that is not above 0.

    >>> layer = torch.nn.Linear(2, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    >>> clip = AGC(clipping=0.1, eps=1e-3).on(layer)
    >>> layer.weight.grad = torch.ones(2, 2)
    >>> _ = clip()
    >>> layer.weight.grad.norm(dim=1)  # a tenth of 5, a tenth of eps
    tensor([5.0000e-01, 1.0000e-04])
    """

    clipping: float = 0.01
    eps: float = 1e-3

    def __post_init__(self) -> None:
        real("clipping", self.clipping, above=0)
        real("eps", self.eps, above=0)

    def start(self, matrix: ParameterMatrix) -> Clipper:
        """Return a clipper for the units of these parameters."""
        return _UnitClipper(self, matrix)


class _UnitClipper(Stateless):
    def __init__(self, how: AGC, matrix: ParameterMatrix) -> None:
        self.how, self.matrix = how, matrix

    def __call__(self, gradient: Tensor, weights: Tensor) -> Clipped:
        clipped, fired, allowed = [], [], []
        pieces = self.matrix.pieces
        for G, W in zip(pieces(gradient).values(), pieces(weights).values(), strict=True):
            G_i, W_i = _units(G), _units(W)
            longest = self.how.clipping * W_i.norm(dim=-1).clamp(min=self.how.eps)
            norm = G_i.norm(dim=-1)
            clipped.append((G_i * (longest / norm).clamp(max=1).unsqueeze(-1)).flatten(1))
            fired.append((norm > longest).any(dim=1))
            allowed.append(longest.square().sum(dim=1))
        return Clipped(
            torch.cat(clipped, dim=1),
            norms(gradient),
            torch.stack(fired).any(dim=0),
            torch.stack(allowed).sum(dim=0).sqrt().mean().item(),
        )


def _units(piece: Tensor) -> Tensor:
    """Return a member's axis, the units, and what belongs to each: [E, units, ...] in a row."""
    return piece.flatten(2) if piece.dim() > 2 else piece.reshape(len(piece), 1, -1)
