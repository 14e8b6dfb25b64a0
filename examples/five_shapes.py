"""The five shapes of sequence work, each trained on a small task in seconds.

    python examples/five_shapes.py

Each line shows the error on examples that were not trained on, and how much of the error is left
that the best constant answer makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.nn.heads import ClassHead, PointHead
from throughtime.nn.recurrence import Recurrence
from throughtime.nn.sequences import (
    OneToOne,
    SequenceInput,
    SequenceOutput,
    SequenceToSequence,
    SyncedSequence,
)
from throughtime.training import TensorExamples, Trainer, TrainingSettings, Truncation
from throughtime.training.losses import cross_entropy, mse

TRAIN = 1024  # examples to learn from; the others are for the error
H = 32
GRU = Recurrence("gru", H)
SETTINGS = TrainingSettings(
    max_updates=400, batch_size=64, learning_rate=1e-2, schedule="one-cycle"
)


@dataclass(frozen=True)
class Result:
    """The error of a trained model beside that of the best constant."""

    shape: str
    task: str
    error: float
    constant: float
    unit: str = "root mean square"

    def __str__(self) -> str:
        left = f"{self.error / self.constant:6.1%} of a constant's"
        return f"{self.shape:<19} {self.task:<43} {self.error:.3f} {self.unit:<17} {left}"


@dataclass(frozen=True)
class Forced:
    """Examples for teacher forcing: the decoder is given the targets beside the inputs."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (self.x[index], self.y[index]), self.y[index]


def one_to_one() -> Result:
    x = torch.rand(2048, 1) * 6 - 3
    model = OneToOne(1, GRU, PointHead(H))
    Trainer(model, mse, SETTINGS).fit(TensorExamples(x[:TRAIN], x[:TRAIN].sin()))
    return compare(model, "the sine of a number", x[TRAIN:], x[TRAIN:].sin())


def sequence_input(steps: int = 20) -> Result:
    """The adding problem of Hochreiter and Schmidhuber (1997)."""
    numbers = torch.rand(2048, steps)
    marks = torch.zeros_like(numbers).scatter_(1, torch.rand(2048, steps).topk(2).indices, 1.0)
    x, y = torch.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdim=True)
    model = SequenceInput(2, GRU, PointHead(H))
    Trainer(model, mse, SETTINGS).fit(TensorExamples(x[:TRAIN], y[:TRAIN]))
    return compare(model, f"the sum of the two numbers marked among {steps}", x[TRAIN:], y[TRAIN:])


def sequence_output(steps: int = 12) -> Result:
    x = torch.rand(2048, 2) * torch.tensor([0.8, 6.0]) + torch.tensor([0.2, 0.0])
    frequency, phase = x[:, :1], x[:, 1:]
    y = torch.sin(frequency * torch.arange(steps) + phase).unsqueeze(-1)
    model = SequenceOutput(2, GRU, PointHead(H), steps)
    Trainer(model, mse, SETTINGS).fit(TensorExamples(x[:TRAIN], y[:TRAIN]))
    return compare(model, f"{steps} steps of a wave, from its parameters", x[TRAIN:], y[TRAIN:])


def sequence_to_sequence(steps: int = 5, letters: int = 4) -> Result:
    words = torch.randint(letters, (2048, steps))
    x, y = nn.functional.one_hot(words, letters).float(), words.flip(1).unsqueeze(-1)
    model = SequenceToSequence(letters, GRU, ClassHead(H, letters), steps)
    Trainer(model, cross_entropy, SETTINGS).fit(Forced(x[:TRAIN], y[:TRAIN]))
    with torch.no_grad():
        wrong = (model.head.point(model(x[TRAIN:])) != y[TRAIN:]).float().mean()
    task = f"a word of {steps} letters, spelled backwards"
    return Result("SequenceToSequence", task, float(wrong), 1 - 1 / letters, "wrong letters")


def synced_sequence(steps: int = 1000, delay: int = 3) -> Result:
    """Long sequences in chunks of 20 steps: truncated BPTT carries the state from one to the next."""
    x = torch.rand(32, steps, 1)
    y = x.roll(delay, dims=1)
    y[:, :delay] = torch.nan  # not known yet, hence not learned from
    settings = TrainingSettings(
        max_updates=400, learning_rate=1e-2, schedule="one-cycle", truncation=Truncation(k1=20)
    )
    model = SyncedSequence(1, GRU, PointHead(H))
    Trainer(model, mse, settings).fit_sequence(x[:16], y[:16])
    task = f"at every step, the number {delay} steps ago"
    return compare(model, task, x[16:], y[16:])


def compare(model: nn.Module, task: str, x: Tensor, y: Tensor) -> Result:
    with torch.no_grad():
        answer = model(x)
    params = answer if isinstance(answer, Tensor) else answer[0]
    known = ~y.isnan()
    error = (params[..., 0] - y)[known].square().mean().sqrt()
    return Result(type(model).__name__, task, float(error), float(y[known].std()))


def main() -> list[Result]:
    torch.manual_seed(0)
    tasks = (one_to_one, sequence_input, sequence_output, sequence_to_sequence, synced_sequence)
    results = []
    for task in tasks:
        results.append(task())
        print(results[-1])
    return results


if __name__ == "__main__":
    main()
