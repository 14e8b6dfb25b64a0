"""Floor 1. Parameters: layers, cells, initialisers, heads, the five shapes of sequence work."""

from throughtime.nn.acceleration import Acceleration, RecurrentModule, accelerate
from throughtime.nn.cells import GRUCell, LSTMCell, RNNCell
from throughtime.nn.ensemble import Ensemble
from throughtime.nn.heads import (
    ClassHead,
    GaussianHead,
    Head,
    MixtureHead,
    NegativeBinomialHead,
    PointHead,
    QuantileHead,
    StudentTHead,
    ValueHead,
)
from throughtime.nn.initialisers import (
    chrono_,
    forget_bias_,
    identity_,
    orthogonal_,
    torch_default_,
)
from throughtime.nn.layer_norm_lstm import LayerNormLSTM
from throughtime.nn.layers import GRU, LSTM, RNN
from throughtime.nn.minimal import MinGRU, MinLSTM
from throughtime.nn.orthogonal import keep_orthogonal
from throughtime.nn.records import Recorded, recording
from throughtime.nn.recurrence import Recurrence
from throughtime.nn.sequences import (
    OneToOne,
    SequenceInput,
    SequenceOutput,
    SequenceToSequence,
    SyncedSequence,
)
from throughtime.nn.stacks import Stack
from throughtime.nn.starting_points import (
    Init,
    chrono,
    forget_bias,
    identity,
    orthogonal,
    read_inits,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Acceleration",
    "ClassHead",
    "Ensemble",
    "GRUCell",
    "GaussianHead",
    "Head",
    "Init",
    "LSTMCell",
    "LayerNormLSTM",
    "MinGRU",
    "MinLSTM",
    "MixtureHead",
    "NegativeBinomialHead",
    "OneToOne",
    "PointHead",
    "QuantileHead",
    "RNNCell",
    "Recorded",
    "Recurrence",
    "RecurrentModule",
    "SequenceInput",
    "SequenceOutput",
    "SequenceToSequence",
    "Stack",
    "StudentTHead",
    "SyncedSequence",
    "ValueHead",
    "accelerate",
    "chrono",
    "chrono_",
    "forget_bias",
    "forget_bias_",
    "identity",
    "identity_",
    "keep_orthogonal",
    "orthogonal",
    "orthogonal_",
    "read_inits",
    "recording",
    "torch_default_",
]
