"""Floor 0. Recurrences as pure functions on tensors, each with its hand-derived adjoint."""

import throughtime.kernels.operators
from throughtime.kernels.gru import gru
from throughtime.kernels.layer_norm_lstm import layer_norm_lstm
from throughtime.kernels.linear_scan import linear_scan
from throughtime.kernels.lstm import lstm
from throughtime.kernels.min_gru import min_gru
from throughtime.kernels.min_lstm import min_lstm
from throughtime.kernels.rnn import rnn
from throughtime.kernels.scan import adjoint_scan, scan
from throughtime.kernels.tap import AdjointTap

__all__ = [
    "AdjointTap",
    "adjoint_scan",
    "gru",
    "layer_norm_lstm",
    "linear_scan",
    "lstm",
    "min_gru",
    "min_lstm",
    "rnn",
    "scan",
]
