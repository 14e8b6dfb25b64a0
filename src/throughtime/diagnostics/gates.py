"""What the gates do: how far open, how often stuck, and how long they let the state live.

    saturation        share of a gate's values outside [0.05, 0.95]; of tanh, outside [-0.95, 0.95]:
                      there its slope is under 0.05 (of tanh, 0.1), and little gradient passes
    keeping           f of the LSTM, z of the GRU: what of the state stays, c_t = f * c_{t-1} + ...
                      of the minGRU 1 - z, of the minLSTM f / (f + i), both named f
    τ = -1 / <ln f>   time constant of a unit, in steps, < > the mean over time and examples: over T
                      steps the product of its gates is exp(-T / τ); infinite where it forgets nothing
    dead              a ReLU unit that is never active; always active: one that is linear throughout

Gates are named as in the kernels' equations: i f g o of the LSTM, r z n of the GRU, h of the plain net;
"tanh(c)" is what the LSTM shows of its cell. Zoneout keeps more of a state than its gate does, and is
not counted.

Sources: Karpathy, Johnson, Fei-Fei 2015, "Visualizing and understanding recurrent networks", section
4.2 (saturation); Tallec, Ollivier 2018, "Can recurrent neural networks warp time?" (time constants);
Lu et al. 2020, "Dying ReLU and initialization".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from throughtime.diagnostics.replaying import plain, sampled
from throughtime.diagnostics.trajectory import Rows, Trajectory
from throughtime.kernels.buffers import affine, together
from throughtime.kernels.layer_norm_lstm import normal
from throughtime.kernels.min_lstm import keeping_argument
from throughtime.kernels.regularised import dropped

Kind = Literal["sigmoid", "tanh", "relu"]
Arguments = dict[str, Tensor]  # what goes into each gate, [N, H]
Weights = tuple[Any, ...]  # W, U, b_ih, b_hh and more, the biases None where there are none

EDGES: dict[Kind, tuple[float, float]] = {"sigmoid": (0.05, 0.95), "tanh": (-0.95, 0.95)}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
KEEPING = {"lstm": "f", "layer_norm_lstm": "f", "gru_after": "z", "gru_before": "z"}
KEEPING |= dict.fromkeys(("min_gru", "min_gru_positive", "min_lstm", "min_lstm_positive"), "f")
MOST_VALUES = 2**22  # of each gate, over time, examples and units


@dataclass(frozen=True, eq=False)
class Gate:
    """The values of one gate, over all real steps, examples and units.

    kind       "sigmoid", "tanh" or "relu"
    mean       the mean of all
    quantiles  [5] at 0.05, 0.25, 0.5, 0.75, 0.95
    low, high  share below and above the edges of saturation; of a ReLU, at 0, and above
    units      [H] the mean of every unit
    """

    kind: Kind
    mean: float
    quantiles: np.ndarray
    low: float
    high: float
    units: np.ndarray

    @property
    def saturation(self) -> float:
        """The share of values that are stuck; of a ReLU, of those that are at zero."""
        return self.low if self.kind == "relu" else self.low + self.high

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers; of the units, quantiles in the place of all."""
        shown = {**vars(self), "units": np.quantile(self.units, QUANTILES)}
        return plain({**shown, "saturation": self.saturation})  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Gates:
    """The gates of one layer and direction.

    layer, operator  its name, and what it computes
    gates            by name; empty for a cell of somebody else's
    time_constants   [H] τ in steps of every unit of a gated net, else empty
    dead, linear     [H] whether a ReLU unit is never, or always, active; else empty

    >>> from throughtime.diagnostics import trajectories
    >>> gru = torch.nn.GRU(1, 1)
    >>> for weight in gru.parameters(): _ = torch.nn.init.zeros_(weight)
    >>> gates = Gates.of(trajectories(gru, torch.zeros(4, 1, 1))[0])
    >>> gates.gates["z"].mean, gates.time_constants.round(3)  # z = 1/2 halves the state, 1 / ln 2
    (0.5, array([1.443]))
    """

    layer: str
    operator: str
    gates: dict[str, Gate]
    time_constants: np.ndarray
    dead: np.ndarray
    linear: np.ndarray

    @classmethod
    def of(cls, trajectory: Trajectory, rows: int | None = None) -> Gates:
        """Compute the gates again from inputs, states and weights, of at most `rows` examples.

        None: all examples, or of more than four million values a gate as many, spread evenly. Costs one
        forward pass, and memory for all gates.
        """
        operator, nothing = trajectory.operator, np.zeros(0)
        if operator not in ARGUMENTS:
            return cls(trajectory.layer, operator, {}, nothing, nothing > 0, nothing > 0)
        if rows is None:
            rows = max(1, MOST_VALUES // (trajectory.length * trajectory.states[-1].shape[-1]))
        trajectory = sampled(trajectory, rows)
        arguments = ARGUMENTS[operator](trajectory.rows(), trajectory.weights)
        kinds = {name: _kind(operator, name) for name in arguments}
        relu = arguments["h"] > 0 if operator == "rnn_relu" else None
        kept = KEEPING.get(operator)
        return cls(
            trajectory.layer,
            operator,
            {name: _gate(kinds[name], a) for name, a in arguments.items()},
            nothing if kept is None else trajectory.dilation * _time_constants(arguments[kept]),
            nothing > 0 if relu is None else (~relu.any(0)).numpy(),
            nothing > 0 if relu is None else relu.all(0).numpy(),
        )

    @property
    def longest(self) -> float | None:
        """The longest time constant, in steps; None where nothing is gated."""
        return float(self.time_constants.max()) if self.time_constants.size else None

    @property
    def dead_share(self) -> float:
        """The share of units that are never active; 0 for units that are not ReLU."""
        return float(self.dead.mean()) if self.dead.size else 0.0

    @property
    def linear_share(self) -> float:
        """The share of ReLU units that are always active."""
        return float(self.linear.mean()) if self.linear.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers; of the time constants, quantiles in the place of all."""
        constants = self.time_constants
        return {
            "layer": self.layer,
            "operator": self.operator,
            "gates": {name: gate.to_dict() for name, gate in self.gates.items()},
            "time_constants": plain(
                np.quantile(constants, QUANTILES, method="lower") if constants.size else []
            ),
            "longest": plain(self.longest),
            "dead_share": self.dead_share,
            "linear_share": self.linear_share,
        }


def _kind(operator: str, name: str) -> Kind:
    if operator == "rnn_relu":
        return "relu"
    return "tanh" if name in ("g", "n", "h", "tanh(c)") else "sigmoid"


def _gate(kind: Kind, a: Tensor) -> Gate:
    """Describe the values of a gate of which `a` is the argument."""
    values = {"sigmoid": a.sigmoid, "tanh": a.tanh, "relu": a.relu}[kind]()
    low, high = EDGES.get(kind, (0.0, 0.0))
    below = values <= low if kind == "relu" else values < low
    return Gate(
        kind,
        float(values.mean()),
        np.quantile(values.numpy(), QUANTILES),
        float(below.double().mean()),
        float((values > high).double().mean()),
        values.mean(0).numpy(),
    )


def _time_constants(a: Tensor) -> np.ndarray:
    """Return τ; ln σ(a) is taken of the argument, since σ(a) itself rounds to 1."""
    constants: np.ndarray = (1 / torch.nn.functional.logsigmoid(a).mean(0).abs()).numpy()
    return constants


def _rnn(rows: Rows, weights: Weights) -> Arguments:
    W, U, b_ih, b_hh = weights
    return {"h": affine(rows.x, W, together(b_ih, b_hh)) + _past(rows) @ U.mT}


def _gru_after(rows: Rows, weights: Weights) -> Arguments:
    W, U, b_ih, b_hh = weights
    x_r, x_z, x_n = affine(rows.x, W, b_ih).chunk(3, -1)
    h_r, h_z, h_n = affine(_past(rows), U, b_hh).chunk(3, -1)
    r = x_r + h_r
    return {"r": r, "z": x_z + h_z, "n": x_n + r.sigmoid() * h_n}


def _gru_before(rows: Rows, weights: Weights) -> Arguments:
    W, U, b_ih, b_hh = weights
    h, (U_r, U_z, U_n) = _past(rows), U.chunk(3)
    a_r, a_z, a_n = affine(rows.x, W, together(b_ih, b_hh)).chunk(3, -1)
    r = a_r + h @ U_r.mT
    return {"r": r, "z": a_z + h @ U_z.mT, "n": a_n + (r.sigmoid() * h) @ U_n.mT}


def _lstm(rows: Rows, weights: Weights) -> Arguments:
    W, U, b_ih, b_hh, _ = weights
    gates, c = _cell(affine(rows.x, W, together(b_ih, b_hh)) + _past(rows) @ U.mT, rows)
    return {**gates, "tanh(c)": c}


def _layer_norm_lstm(rows: Rows, weights: Weights) -> Arguments:
    W, U, b_ih, b_hh, gamma_x, gamma_h, gamma_c, beta_c = weights
    a = gamma_x * normal(rows.x @ W.mT)[0] + gamma_h * normal(_past(rows) @ U.mT)[0]
    b = together(b_ih, b_hh)
    gates, c = _cell(a if b is None else a + b, rows)
    k = gamma_c * normal(c)[0]
    return {**gates, "tanh(c)": k if beta_c is None else k + beta_c}


def _min_gru(rows: Rows, weights: Weights) -> Arguments:
    z, _ = affine(rows.x, *weights).chunk(2, -1)
    return {"f": -z}


def _min_lstm(rows: Rows, weights: Weights) -> Arguments:
    i, f, _ = affine(rows.x, *weights).chunk(3, -1)
    return {"f": keeping_argument(i, f)}


def _cell(a: Tensor, rows: Rows) -> tuple[Arguments, Tensor]:
    """Return the LSTM's gates' arguments and c_t."""
    i, f, g, o = a.chunk(4, -1)
    c = f.sigmoid() * rows.before[1] + i.sigmoid() * g.tanh()
    return {"i": i, "f": f, "g": g, "o": o}, c


def _past(rows: Rows) -> Tensor:
    """Return h_{t-1} as U reads it."""
    return dropped(rows.before[0], rows.extras[0] if rows.extras else None)


ARGUMENTS: dict[str, Callable[[Rows, Weights], Arguments]] = {
    "rnn_tanh": _rnn,
    "rnn_relu": _rnn,
    "lstm": _lstm,
    "layer_norm_lstm": _layer_norm_lstm,
    "gru_after": _gru_after,
    "gru_before": _gru_before,
    "min_gru": _min_gru,
    "min_gru_positive": _min_gru,
    "min_lstm": _min_lstm,
    "min_lstm_positive": _min_lstm,
}
