"""Floor 0. Recurrences as pure functions on tensors, each with its hand-derived adjoint."""

import throughtime.kernels.operators
from throughtime.kernels.gru import gru
from throughtime.kernels.layer_norm_lstm import layer_norm_lstm
from throughtime.kernels.lstm import lstm
from throughtime.kernels.rnn import rnn
from throughtime.kernels.scan import adjoint_scan, scan
from throughtime.kernels.tap import AdjointTap

__all__ = ["AdjointTap", "adjoint_scan", "gru", "layer_norm_lstm", "lstm", "rnn", "scan"]
