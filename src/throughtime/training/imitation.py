"""Pre-programming: before a net learns from data, make it behave like a model that is known.

With f_θ the net and g the teacher, a function of the inputs alone,

    θ <- argmin E ℓ(f_θ(x), g(x))                              g in place of the targets
    explained = 1 - Σ (f_θ(x) - g(x))² / Σ (g(x) - mean g)²    over the examples, f_θ's point forecast

Training then goes on from a net that forecasts at least as well as the teacher does, instead of from
random weights; what the teacher says has no noise and no gaps, so imitation is quick and cannot
overfit the targets. No gradient runs through the teacher.

    LinearTeacher      g(x) = A x                                       an autoregression, h steps ahead
    SeasonalTeacher    g(x)_k = x_{L + k - m ceil(k/m)}, k = 1..h       the last season, of m steps, again

The idea is as old as hints and rule insertion: Abu-Mostafa 1990, "Learning from hints in neural
networks"; Towell and Shavlik 1994, "Knowledge-based artificial neural networks". The loss against
another model's answers is that of Bucila, Caruana and Niculescu-Mizil 2006, "Model compression".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import DataError
from throughtime.training import losses
from throughtime.training.context import mode
from throughtime.training.examples import Examples, Inputs, Some
from throughtime.training.loop import Trainer
from throughtime.training.losses import Loss
from throughtime.training.observer import History, Observer
from throughtime.training.parameters import members_of
from throughtime.training.settings import TrainingSettings
from throughtime.training.sources import device_of, evaluation_batches

MOST_MEASURED = 2**14  # examples on which a net is held against its teacher

Teacher = Callable[..., Tensor]
"""`teacher(inputs)`, or `teacher(*inputs)` where there are several; see `imitate`."""


@dataclass(frozen=True)
class Imitation:
    """What happened, and the share of the teacher's variance that the net explains.

    `explained` is 1 for a perfect copy and 0 for one no better than the teacher's mean; for an
    ensemble it is that of all members together. It is NaN where the teacher always says the same.
    """

    history: History
    explained: float


def imitate(
    model: torch.nn.Module,
    teacher: Teacher,
    examples: Examples,
    settings: TrainingSettings | None = None,
    observers: Sequence[Observer] = (),
    loss: Loss = losses.mse,
    point: Callable[[Tensor], Tensor] | None = None,
) -> Imitation:
    """Train `model` on what `teacher` says about the inputs of `examples`, and measure how well.

    The teacher is called without gradients with inputs [B, ...] ([E, B, ...] for an ensemble) and
    returns answers of the targets' shape, or of one with as many numbers. `loss` compares the
    model's outputs with them. `point` makes point forecasts [..., outputs] of the outputs, to
    measure `explained`: a head's `.point`; by default the only parameter. The rest is as in
    `Trainer.fit`, whose errors it raises; DataError for answers of another size.

    >>> from throughtime.training import TensorExamples
    >>> line = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Unflatten(-1, (1, 1)))
    >>> x = torch.eye(3).repeat(4, 1)
    >>> settings = TrainingSettings(max_updates=300, learning_rate=0.1)
    >>> same_again = SeasonalTeacher(season=3, h=1)
    >>> imitation = imitate(line, same_again, TensorExamples(x, torch.zeros(12, 1)), settings)
    >>> round(imitation.explained, 3)
    1.0
    """
    taught = TaughtExamples(examples, teacher)
    history = Trainer(model, loss, settings, observers).fit(taught, name="imitation")
    return Imitation(history, explained(model, Some(taught, MOST_MEASURED), point))


@dataclass(frozen=True, eq=False)
class TaughtExamples:
    """Examples whose targets are a teacher's answers to their inputs."""

    examples: Examples
    teacher: Teacher

    def __len__(self) -> int:
        return len(self.examples)

    @torch.no_grad()
    def __getitem__(self, index: Tensor) -> tuple[Inputs, Tensor]:
        inputs, targets, *_ = self.examples[index]
        several = (inputs,) if isinstance(inputs, Tensor) else inputs
        answers = self.teacher(*several)
        if answers.numel() != targets.numel() or len(answers) != len(targets):
            raise DataError(
                f"answers of the targets' shape {tuple(targets.shape)}",
                str(tuple(answers.shape)),
                "let the teacher say as many numbers as there are targets",
            )
        return inputs, answers.reshape(targets.shape).to(several[0].dtype)


@torch.no_grad()
def explained(
    model: torch.nn.Module,
    taught: Examples,
    point: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Return 1 - Σ (f - y)²/Σ (y - mean y)² over all examples, f the model's point forecast.

    The mean is that of every output by itself. See `imitate` for `point`.
    """
    members, errors, answers = members_of(model), torch.zeros((), dtype=torch.float64), []
    with mode(model, training=False):
        for index in evaluation_batches(len(taught), members):
            inputs, y, *_ = taught[index if members is None else index.expand(members, -1)]
            several = (inputs,) if isinstance(inputs, Tensor) else inputs
            outputs: Any = model(*(tensor.to(device_of(model)) for tensor in several))
            f = _only(outputs) if point is None else point(outputs)
            errors += (f.cpu() - y).double().square().sum()
            answers.append(y.double())
    batch = 0 if members is None else 1
    y = torch.cat(answers, batch)
    spread = (y - y.mean(batch, keepdim=True)).square().sum()
    return float(1 - errors / spread) if spread > 0 else float("nan")


def _only(outputs: Tensor) -> Tensor:
    if outputs.shape[-1] != 1:
        raise DataError(
            "one parameter for each output, which is the forecast",
            f"outputs of shape {tuple(outputs.shape)}",
            "pass point=head.point",
        )
    return outputs[..., 0]


class LinearTeacher:
    """g(x) = A x: windows [..., L, 1] or [..., L], oldest value first, to forecasts [..., h].

    `A` [h, L] is any array, such as a fitted autoregression iterated h steps ahead. Raises DataError
    for windows of another length.

    >>> LinearTeacher([[0.0, 0.5], [0.0, 0.25]])(torch.tensor([[1.0, 8.0]]))
    tensor([[4., 2.]])
    """

    def __init__(self, A: Any) -> None:
        self.A = torch.as_tensor(A)
        if self.A.dim() != 2:
            raise DataError(
                "a matrix A [h, L]", f"shape {tuple(self.A.shape)}", "give each horizon a row"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Return A x."""
        x = _windows(x, self.A.shape[1])
        return x @ self.A.to(x).mT


class SeasonalTeacher:
    """The last season again: windows [..., L, 1] or [..., L] to forecasts [..., h].

    Raises SettingError for a season or h below 1, DataError for windows shorter than one season.

    >>> SeasonalTeacher(season=2, h=3)(torch.tensor([9.0, 1.0, 2.0]))
    tensor([1., 2., 1.])
    """

    def __init__(self, season: int, h: int) -> None:
        self.season, self.h = positive_int("season", season), positive_int("h", h)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x_{L + k - m ceil(k/m)} for k = 1..h."""
        x = _windows(x, None)
        if x.shape[-1] < self.season:
            raise DataError(
                f"windows of at least one season, {self.season} steps",
                str(x.shape[-1]),
                "take a longer context or a shorter season",
            )
        last = x[..., -self.season :]
        return last[..., torch.arange(self.h, device=x.device) % self.season]


def _windows(x: Tensor, length: int | None) -> Tensor:
    """Return windows [..., L] of [..., L, 1] or [..., L]."""
    has_features = x.dim() > 1 and x.shape[-1] == 1 and (length is None or x.shape[-2] == length)
    x = x[..., 0] if has_features else x
    if length is not None and x.shape[-1] != length:
        raise DataError(
            f"windows of {length} steps, [..., {length}, 1] or [..., {length}]",
            f"shape {tuple(x.shape)}",
            "pass a matrix A with as many columns as the window has steps",
        )
    return x
