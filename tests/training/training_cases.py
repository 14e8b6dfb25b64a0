"""Small models and data that the tests of the loop and of checkpoints share."""

import torch

from throughtime.nn import PointHead, Recurrence, SequenceToSequence
from throughtime.training import TensorExamples


class Net(torch.nn.Module):
    """A recurrent net with dropout and a buffer, ending in one parameter a step."""

    def __init__(self, seed=0, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = torch.nn.LSTM(1, 5, batch_first=True)
            self.norm = torch.nn.BatchNorm1d(5)
            self.dropout = torch.nn.Dropout(dropout)
            self.head = torch.nn.Linear(5, 1)

    def forward(self, x):
        last = self.norm(self.layer(x)[0][:, -1])
        return self.head(self.dropout(last)).unsqueeze(-1)


class SequenceNet(torch.nn.Module):
    """A stateful net for long sequences."""

    def __init__(self, seed=0, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = torch.nn.LSTM(1, 5, batch_first=True)
            self.dropout = torch.nn.Dropout(dropout)
            self.head = torch.nn.Linear(5, 1)

    def forward(self, x, state=None):
        outputs, state = self.layer(x, state)
        return self.head(self.dropout(outputs)).unsqueeze(-1), state


class Lines(torch.nn.Module):
    """An ensemble of straight lines without any layer of ours: y = x W + b, members first."""

    def __init__(self, members=3, seed=0):
        super().__init__()
        self.members = members
        g = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(members, 2, 1, generator=g).double())
        self.bias = torch.nn.Parameter(torch.zeros(members, 1, 1).double())

    def forward(self, x):
        return (x @ self.weight + self.bias).unsqueeze(-1)


class Writer(SequenceToSequence):
    """A decoder of three steps that feeds on itself."""

    def __init__(self, seed=0, cell="gru", length=3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            super().__init__(1, Recurrence(cell, 5), PointHead(5), length)


def waves(count=24, length=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    starts = 6 * torch.rand(count, 1, generator=g)
    values = torch.sin(starts + 0.5 * torch.arange(length + 1))
    return TensorExamples(values[:, :-1, None], values[:, -1:])


def written_waves(count=24, seed=0, length=3):
    """Waves to read, and the next `length` values to write."""
    g = torch.Generator().manual_seed(seed)
    values = torch.sin(6 * torch.rand(count, 1, generator=g) + 0.5 * torch.arange(8 + length))
    return TensorExamples(values[:, :8, None], values[:, 8:, None])


def sequence(length=50):
    values = torch.sin(0.3 * torch.arange(length + 1.0)).expand(2, -1).clone()
    values[1] *= 0.5
    return values[:, :-1, None], values[:, 1:, None]


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    """Are two sets of weights the same, bit for bit?"""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
