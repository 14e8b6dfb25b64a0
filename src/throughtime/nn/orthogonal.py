"""Recurrent matrices that stay orthogonal through the whole training.

For each gate block U_g [H, P] of every recurrent weight, with A_g skew and Q_g' Q_g = identity,

    A_g = (X_g - X_g') / 2
    U_g = (I + A_g / 2)^-1 (I - A_g / 2) Q_g             the Cayley transform of A_g, times Q_g

X_g [H, H] is what is trained, from 0, and Q_g, which is not, the orthogonal matrix nearest to the
weight that was there: the polar factor V W' of U = V S W'. The Cayley transform of a skew matrix is
orthogonal, so that U_g' U_g = I after any update by any rule, and |U_g h| = |h| both ways through
time. It can turn Q_g into every orthogonal matrix of the same determinant, but for those that
are a turn by 180 degrees away, and comes as near to these as one likes. In a projected LSTM (P < H)
the columns stay orthonormal.

Source: Helfrich, Willmott, Ye 2018, "Orthogonal recurrent neural networks with scaled Cayley
transform", without their scaling; Lezcano-Casado and Martinez-Rubio 2019, "Cheap orthogonal
constraints in neural networks", for starting anywhere.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from throughtime._errors import SettingError
from throughtime.nn.initialisers import GATES, WITH_U, any_of, recurrent_kind

Model = TypeVar("Model", bound=nn.Module)


class Cayley(nn.Module):
    """The parametrization X [G*H, H] -> U [G*H, P] of one weight, by blocks.

    `Q` is a buffer. Assigning a weight to the parametrised name moves Q to the nearest orthogonal
    blocks, and X to 0.
    """

    Q: Tensor

    def __init__(self, U: Tensor, gates: int) -> None:
        super().__init__()
        self.gates = gates
        self.register_buffer("Q", _nearest(U.detach(), gates))

    def forward(self, X: Tensor) -> Tensor:
        """Return U."""
        X, Q = _blocks(X, self.gates), _blocks(self.Q, self.gates)
        half_A = (X - X.mT) / 4
        identity = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)
        U: Tensor = torch.linalg.solve(identity + half_A, Q - half_A @ Q)
        return U.flatten(0, 1)

    def right_inverse(self, U: Tensor) -> Tensor:
        """Start at the blocks nearest to U."""
        with torch.no_grad():
            self.Q.copy_(_nearest(U, self.gates))
        return U.new_zeros(len(U), len(U) // self.gates)


def keep_orthogonal(module: Model) -> Model:
    """Keep every recurrent matrix inside a module orthogonal, whatever training does.

    Every `weight_hh` of every recurrent layer and cell, torch's or ours, becomes a function
    (`torch.nn.utils.parametrize`) of a parameter X, block by block; it starts at the orthogonal
    blocks nearest to what is there. Make the optimiser, or an `Ensemble`, after this call. Weights
    that are kept already are left as they are. Deep copies and the state_dict work; pickling the
    whole module does not. `torch.nn.utils.parametrize.remove_parametrizations` ends it.

    It costs the solution of G systems of H equations with P right sides in every call of a layer.

    Args:
        module: any module, or a recurrent layer or cell itself; changed in place.

    Returns:
        The module.

    Raises:
        SettingError: there is no RNN, LSTM or GRU, or another parametrization on its weight.

    >>> layer = keep_orthogonal(nn.GRU(1, 4))
    >>> _ = nn.init.normal_(layer.parametrizations.weight_hh_l0.original)
    >>> U_n = layer.weight_hh_l0[-4:]
    >>> torch.allclose(U_n.T @ U_n, torch.eye(4), atol=1e-5)
    True
    """
    recurrent = [m for m in module.modules() if recurrent_kind(m) in WITH_U]
    if not recurrent:
        found = f"{type(module).__name__} without one"
        raise SettingError(f"{any_of(WITH_U)} to keep orthogonal", found, "pass one")
    for each in recurrent:
        _refuse_others(each)
    for each in recurrent:
        for name in [n for n, _ in each.named_parameters(recurse=False) if n.startswith(HH)]:
            U = each.get_parameter(name)
            gates = len(GATES[str(recurrent_kind(each))])
            # its output is of the weight's form; its input is not, where an LSTM projects
            parametrize.register_parametrization(each, name, Cayley(U, gates))
        if isinstance(each, nn.RNNBase):
            _read_weights_anew(each)
    return module


HH = "weight_hh"


def _refuse_others(module: nn.Module) -> None:
    chains: Any = getattr(module, "parametrizations", {})
    for name, chain in chains.items():
        if name.startswith(HH) and not isinstance(chain[0], Cayley):
            raise SettingError(
                f"{name} without a parametrization, to keep it orthogonal",
                type(chain[0]).__name__,
                "remove it first (torch.nn.utils.parametrize.remove_parametrizations)",
            )


def _read_weights_anew(layer: nn.RNNBase) -> None:
    """Let torch's layers compute their weights at every call.

    They hold a list of them, which would be that of the last call, or of the first. The class is the
    layer's own: `parametrize` derives one for each module.
    """

    def fresh(layer: Any) -> list[Tensor]:
        return [getattr(layer, name) for name in layer._flat_weights_names]

    def forget(layer: Any, weights: Any) -> None:
        """The list in the layer stays the one of its parameters, for when this is removed."""

    own: Any = type(layer)
    own._flat_weights = property(fresh, forget)
    own._update_flat_weights = lambda layer: None


def _nearest(U: Tensor, gates: int) -> Tensor:
    """Return the polar factors of the blocks."""
    V, _, Wh = torch.linalg.svd(_blocks(U.detach().double(), gates), full_matrices=False)
    Q: Tensor = V @ Wh
    return Q.to(U.dtype).flatten(0, 1)


def _blocks(stacked: Tensor, gates: int) -> Tensor:
    return stacked.reshape(gates, -1, stacked.shape[-1])
