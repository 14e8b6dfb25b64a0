"""Floor 1. Parameters: layers, cells, initialisers, heads, the five shapes of sequence work."""

from throughtime.nn.cells import GRUCell, LSTMCell, RNNCell
from throughtime.nn.layers import GRU, LSTM, RNN, Recorded, recording

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recorded", "recording"]
