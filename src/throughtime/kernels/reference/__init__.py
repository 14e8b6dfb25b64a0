"""The oracle: every recurrence in NumPy float64, forward and backward, one sample and step at a time.

Slow and obvious, written from the equations alone; it shares no code with the fast kernels, so that
anyone can check them, or their own. `through_time` steps a cell along time and back; one file for
each recurrence has its cell. Arguments and shapes are those of `throughtime.kernels.rnn`,
`lstm`, `layer_norm_lstm`, `gru`, `min_gru` and `min_lstm`, as arrays, without members. Each `*_gradients`
takes what the loss sends to the outputs and returns dL/d(argument) by the argument's name (a bias that
is None counts as zeros), and the gradient of every state under the name "h_t", [T, B, H]. For the LSTMs
that is dL/d(h_t, c_t), under "h_t" and "c_t": each half is the gradient with the other held, so the
path c_t -> h_t counts in "h_t" alone.

All of them take by name:

    mask       [T, B]: where it is False the state is carried unchanged, and so is its gradient
    dropout    d [B, H], as h_0: d * h_{t-1} stands for h_{t-1} beside U
    zoneout    ζ_t [T, B, H] or one number (LSTM: a pair, for h and c), how much of s_{t-1} stays:
               s_t = ζ_t * s_{t-1} + (1 - ζ_t) * s̃_t

and the gradients `state_grad_clip`, which scales the gradient of every state (h_t, c_t) of a sample to at
most that norm; 0 does not, and a step that the mask skips makes no state.
"""

from throughtime.kernels.reference.gru import gru, gru_gradients
from throughtime.kernels.reference.layer_norm_lstm import (
    layer_norm_lstm,
    layer_norm_lstm_gradients,
)
from throughtime.kernels.reference.lstm import lstm, lstm_gradients
from throughtime.kernels.reference.minimal import (
    min_gru,
    min_gru_gradients,
    min_lstm,
    min_lstm_gradients,
)
from throughtime.kernels.reference.rnn import rnn, rnn_gradients
from throughtime.kernels.reference.through_time import (
    Array,
    Gradients,
    Mask,
    Zoneout,
    sigmoid,
)

__all__ = [
    "Array",
    "Gradients",
    "Mask",
    "Zoneout",
    "gru",
    "gru_gradients",
    "layer_norm_lstm",
    "layer_norm_lstm_gradients",
    "lstm",
    "lstm_gradients",
    "min_gru",
    "min_gru_gradients",
    "min_lstm",
    "min_lstm_gradients",
    "rnn",
    "rnn_gradients",
    "sigmoid",
]
