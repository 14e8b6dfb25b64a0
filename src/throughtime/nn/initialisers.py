"""Starting points for recurrent layers and cells, in place, torch's or ours.

With gate blocks W_g [H, I], U_g [H, P or H], b_g [H] stacked as in torch (LSTM i f g o; GRU r z n;
ours: MinGRU z n, MinLSTM i f g):

    orthogonal_     U_g' U_g = gain^2 identity for every gate g     (Saxe, McClelland, Ganguli 2014)
    identity_       U = scale identity, b = 0, for a ReLU RNN       (Le, Jaitly, Hinton 2015)
    forget_bias_    b_f = value                                     (Jozefowicz et al. 2015)
    chrono_         b_f ~ log U(1, T_max - 1), b_i = -b_f           (Tallec and Ollivier 2018)
    torch_default_  everything ~ U(-1/sqrt H, 1/sqrt H)             (torch's reset_parameters)

torch keeps two bias vectors that are only ever added up (b_ih + b_hh). Each function here writes
the intended bias into b_ih and zeroes the same block of b_hh; in both, it would count double.
All layers and both directions are set, everything not named stays as it is. For a whole model, and
as an argument that goes to a file and back, see `starting_points.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.nn.minimal import MinGRU, MinLSTM

GATES = {
    "rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "mingru": ("z", "n"),
    "minlstm": ("i", "f", "g"),
}

NAMES = {
    "rnn": "an RNN",
    "lstm": "an LSTM",
    "gru": "a GRU",
    "mingru": "a MinGRU",
    "minlstm": "a MinLSTM",
}

WITH_U = ("rnn", "lstm", "gru")  # the others have no recurrent matrix
FORGETTING = ("lstm", "minlstm")
GATED = ("lstm", "gru", "minlstm", "mingru")

Recurrent = TypeVar("Recurrent", bound=nn.Module)


def orthogonal_(
    module: Recurrent, gain: float = 1.0, generator: torch.Generator | None = None
) -> Recurrent:
    """Make every gate's recurrent matrix orthogonal, each block for itself.

    A projected LSTM's blocks are [H, P] with H >= P: their columns are orthonormal. Under tanh this
    stops explosion at the start, not vanishing, for tanh' <= 1 still contracts.

    Args:
        module: a recurrent layer or cell, changed in place.
        gain: the common singular value of every block, above 0.
        generator: source of the random numbers; torch's global one by default.

    Returns:
        The module.

    Raises:
        SettingError: the module has no recurrent matrix, or gain is not above 0.

    Source: Saxe, McClelland, Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning".

    >>> cell = orthogonal_(nn.GRUCell(2, 3))
    >>> U_r = cell.weight_hh[:3]
    >>> torch.allclose(U_r @ U_r.T, torch.eye(3), atol=1e-5)
    True
    """
    gain = real("gain", gain, above=0)
    gates = len(GATES[_require(module, WITH_U, "orthogonal_")])
    with torch.no_grad():
        for U in _named(module, "weight_hh"):
            for U_g in U.chunk(gates):
                U_g.copy_(gain * _random_orthogonal(U_g, generator))
    return module


def identity_(module: Recurrent, scale: float = 1.0) -> Recurrent:
    """Start a ReLU RNN as an accumulator: U = scale * identity, all biases zero.

    At scale 1 the state-to-state Jacobian is the identity wherever the units are active, so that
    gradients neither vanish nor explode; the input weights stay as they are.

    Args:
        module: an RNN layer or cell with nonlinearity="relu", changed in place.
        scale: the diagonal of U, above 0; below 1 it forgets (the paper uses 0.01 for speech).

    Returns:
        The module.

    Raises:
        SettingError: the module is not a ReLU RNN, or scale is not above 0.

    Source: Le, Jaitly, Hinton 2015, "A simple way to initialize recurrent networks of rectified
    linear units".

    >>> identity_(nn.RNN(1, 2, nonlinearity="relu")).weight_hh_l0.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    scale = real("scale", scale, above=0)
    kind = recurrent_kind(module)
    if kind != "rnn" or getattr(module, "nonlinearity", None) != "relu":
        remedy = f'pass an RNN with nonlinearity="relu"{_instead(kind)}'
        raise SettingError("a ReLU RNN for identity_", describe(module), remedy)
    with torch.no_grad():
        for U in _named(module, "weight_hh"):
            U.copy_(scale * torch.eye(len(U), dtype=U.dtype, device=U.device))
        for b in _named(module, "bias_"):
            b.zero_()
    return module


def forget_bias_(module: Recurrent, value: float = 1.0) -> Recurrent:
    """Open an LSTM's forget gates at the start: b_f = value, so that f is near sigma(value).

    Args:
        module: an LSTM layer or cell, or a MinLSTM, changed in place.
        value: the sum of the two forget biases.

    Returns:
        The module.

    Raises:
        SettingError: the module is neither an LSTM nor a MinLSTM, or has no biases.

    Source: Jozefowicz, Zaremba, Sutskever 2015, "An empirical exploration of recurrent network
    architectures", section 3.

    >>> cell = forget_bias_(nn.LSTMCell(1, 2))
    >>> (cell.bias_ih + cell.bias_hh)[2:4].tolist()
    [1.0, 1.0]
    """
    value = real("value", value)
    _require_biases(module, FORGETTING, "forget_bias_")
    with torch.no_grad():
        for b_f in _biases(module, "f"):
            b_f.fill_(value)
    return module


def chrono_(module: Recurrent, t_max: float, generator: torch.Generator | None = None) -> Recurrent:
    """Spread the memory of gated units over time scales from 1 to t_max steps.

    A unit with forget gate f = sigma(b_f) remembers for about 1/(1-f) = 1 + exp(b_f) steps; hence
    b_f ~ log U(1, t_max - 1) and b_i = -b_f for an LSTM. In torch's GRU z is the share of the old
    state that is *kept*, hence b_z ~ +log U(1, t_max - 1); in a MinGRU z is what is new, hence the
    minus. In a MinLSTM b_i = -b_f makes f sigma(b_f), as in the LSTM.

    Args:
        module: an LSTM or GRU layer or cell, a MinLSTM or MinGRU, changed in place.
        t_max: the longest dependence expected, in time steps, at least 2.
        generator: source of the random numbers; torch's global one by default.

    Returns:
        The module.

    Raises:
        SettingError: the module has no gates (a vanilla RNN) or no biases, or t_max is below 2.

    Source: Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", equation 16.

    >>> cell = chrono_(nn.LSTMCell(1, 50), t_max=100)
    >>> i, f, _, _ = (cell.bias_ih + cell.bias_hh).chunk(4)
    >>> bool((i == -f).all() and (f >= 0).all() and (f <= torch.tensor(99.0).log()).all())
    True
    """
    t_max = real("t_max", t_max, at_least=2)
    kind = _require_biases(module, GATED, "chrono_")
    with torch.no_grad():
        for b_keep in (keep := _biases(module, "f" if "lstm" in kind else "z")):
            b_keep.uniform_(1, t_max - 1, generator=generator).log_()
            if kind == "mingru":
                b_keep.neg_()  # its z is the share of what is new
        if "lstm" in kind:
            for b_f, b_i in zip(keep, _biases(module, "i"), strict=True):
                b_i.copy_(-b_f)
    return module


def torch_default_(module: Recurrent, generator: torch.Generator | None = None) -> Recurrent:
    """Draw all weights and biases anew as torch does: U(-1/sqrt H, 1/sqrt H).

    Args:
        module: a recurrent layer or cell, changed in place.
        generator: source of the random numbers; torch's global one by default.

    Returns:
        The module.

    Raises:
        SettingError: the module is no recurrent layer or cell.

    >>> layer = torch_default_(nn.LSTM(3, 4), torch.Generator().manual_seed(0))
    >>> bool(layer.weight_hh_l0.abs().max() <= 0.5)
    True
    """
    _require(module, tuple(GATES), "torch_default_")
    bound = float(module.hidden_size) ** -0.5  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in _named(module, ("weight_", "bias_")):
            parameter.uniform_(-bound, bound, generator=generator)
    return module


def recurrent_kind(module: nn.Module) -> str | None:
    """Return the name of the cell for a recurrent layer or cell, None for anything else."""
    for kind, classes in (
        ("mingru", (MinGRU,)),
        ("minlstm", (MinLSTM,)),
        ("rnn", (nn.RNN, nn.RNNCell)),
        ("lstm", (nn.LSTM, nn.LSTMCell)),
        ("gru", (nn.GRU, nn.GRUCell)),
    ):
        if isinstance(module, classes):
            return kind
    return None


def describe(module: nn.Module) -> str:
    """Return what a module is, in the words of an error."""
    nonlinearity = getattr(module, "nonlinearity", None)
    return type(module).__name__ + (f" with nonlinearity={nonlinearity!r}" if nonlinearity else "")


def any_of(kinds: tuple[str, ...]) -> str:
    """Return the names of cells, in the words of an error.

    >>> any_of(FORGETTING), any_of(("rnn",))
    ('an LSTM or a MinLSTM', 'an RNN')
    """
    *others, last = (NAMES[kind] for kind in kinds)
    return f"{', '.join(others)} or {last}" if others else last


def _require(module: nn.Module, kinds: tuple[str, ...], initialiser: str) -> str:
    """Return the name of the cell, which is to be one of `kinds`."""
    kind = recurrent_kind(module)
    if kind not in kinds:
        wanted = f"{any_of(kinds)} for {initialiser}"
        raise SettingError(wanted, describe(module), f"pass one{_instead(kind)}")
    return str(kind)


def _require_biases(module: nn.Module, kinds: tuple[str, ...], initialiser: str) -> str:
    kind = _require(module, kinds, initialiser)
    if not module.bias:
        raise SettingError(f"biases for {initialiser}", "bias=False", "build it with bias=True")
    return kind


def _instead(kind: str | None) -> str:
    """Return what there is for a cell that an initialiser is not made for."""
    if kind is None:
        return ""
    return f", or use {'orthogonal_' if kind in WITH_U else 'chrono_'} for this one"


def _named(module: nn.Module, prefix: str | tuple[str, ...]) -> Iterator[Tensor]:
    computed = [name for name in getattr(module, "parametrizations", ()) if name.startswith(prefix)]
    if computed:
        raise SettingError(
            "weights that are parameters themselves",
            f"{computed[0]} under a parametrization",
            "initialise before it is registered",
        )
    return (p for name, p in module.named_parameters(recurse=False) if name.startswith(prefix))


def _biases(module: nn.Module, gate: str) -> list[Tensor]:
    """The blocks of every b_ih that belong to `gate`, after zeroing the same blocks of b_hh."""
    gates = GATES[str(recurrent_kind(module))]
    for b_hh in _named(module, "bias_hh"):
        b_hh.chunk(len(gates))[gates.index(gate)].zero_()
    return [b.chunk(len(gates))[gates.index(gate)] for b in _named(module, "bias_ih")]


def _random_orthogonal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw Q [H, P] uniformly (Haar): the Q of a Gaussian matrix, its R with positive diagonal."""
    rows, columns = like.shape
    dtype = torch.promote_types(like.dtype, torch.float32)
    shape = (max(rows, columns), min(rows, columns))
    gaussian = torch.empty(shape, dtype=dtype, device=like.device).normal_(generator=generator)
    Q, R = torch.linalg.qr(gaussian)
    Q = torch.mul(Q, R.diagonal().sign())
    return Q if rows >= columns else Q.T
