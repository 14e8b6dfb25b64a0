"""The trainable parameters of a model as one matrix.

A row for each member of an ensemble, whose parameters have the members as their leading axis, or
one row for a single model; a column for each weight. Norms, clipping, the optimiser, the average
and the copies that are kept are then one operation each, and members cannot mix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime._errors import DataError


def members_of(model: torch.nn.Module) -> int | None:
    """Return how many members an ensemble has (its `members`), None for a single model."""
    members = getattr(model, "members", None)
    return members if isinstance(members, int) and not isinstance(members, bool) else None


class ParameterMatrix:
    """Reads and writes the trainable parameters of `model` as a matrix [E, N].

    Raises DataError for a model without any, or an ensemble's parameter without its leading axis.

    >>> matrix = ParameterMatrix(torch.nn.Linear(2, 1))
    >>> matrix.weights().shape
    torch.Size([1, 3])
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.rows = members_of(model) or 1
        self.stacked = members_of(model) is not None
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(named), list(named.values())
        if not named:
            raise DataError(
                "a model with trainable parameters", "none", "set requires_grad on some of them"
            )
        if members_of(model):
            for name, parameter in named.items():
                if parameter.shape[:1] != (self.rows,):
                    raise DataError(
                        f"parameters with a leading axis of {self.rows} members",
                        f"{name} of shape {tuple(parameter.shape)}",
                        "stack the members' parameters",
                    )

    def weights(self) -> Tensor:
        """Return a copy of the weights [E, N]."""
        return self._matrix([p.detach() for p in self.parameters])

    def gradient(self) -> Tensor:
        """Return a copy of the gradient [E, N]; zero where a parameter had no part in the loss."""
        return self._matrix(
            [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        )

    def forget_gradient(self) -> None:
        """Make the gradient None."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def assign(self, weights: Tensor) -> None:
        """Write `weights` [E, N] into the model."""
        for parameter, piece in zip(self.parameters, self._split(weights), strict=True):
            parameter.copy_(piece.reshape(parameter.shape))

    def first_not_finite(self, matrix: Tensor) -> str | None:
        """Name the first parameter whose part of `matrix` [E, N] is not finite, if any."""
        pieces = zip(self.names, self._split(matrix), strict=True)
        return next((name for name, piece in pieces if not piece.isfinite().all()), None)

    def pieces(self, matrix: Tensor) -> dict[str, Tensor]:
        """Return the part of `matrix` [E, N] of each parameter by name, [E, *shape of one member].

        >>> pieces = ParameterMatrix(torch.nn.Linear(2, 3)).pieces(torch.zeros(1, 9))
        >>> {name: tuple(piece.shape) for name, piece in pieces.items()}
        {'weight': (1, 3, 2), 'bias': (1, 3)}
        """
        return {
            name: piece.reshape(self.rows, *parameter.shape[self.stacked :])
            for name, parameter, piece in zip(
                self.names, self.parameters, self._split(matrix), strict=True
            )
        }

    def _matrix(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat([tensor.reshape(self.rows, -1) for tensor in tensors], dim=1)

    def _split(self, matrix: Tensor) -> tuple[Tensor, ...]:
        sizes = [p.numel() // self.rows for p in self.parameters]
        return torch.split(matrix, sizes, dim=1)
