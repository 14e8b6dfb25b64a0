"""One run of training: what changes from update to update, and how.

    θ <- AdamW(θ, clip(∂(L + penalties)/∂θ), η_k)
    θ̄ <- d_k θ̄ + (1 - d_k) θ,   d_k = min(d, (1 + k)/(10 + k))

The average θ̄ (Polyak and Juditsky 1992, in its exponential form) is what is validated and kept
when the settings ask for one; its decay starts low, so that the first weights are soon forgotten.
The members of an ensemble share nothing: each has its own batch, loss, norm and moments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from throughtime._archive import Snapshot
from throughtime._errors import DivergedError, ModelFileError, SettingError
from throughtime.training.adamw import AdamW
from throughtime.training.clipping import Clipped
from throughtime.training.context import mode, own_noise
from throughtime.training.guard import data_to_blame, diverged
from throughtime.training.losses import Loss, per_member, weighted
from throughtime.training.observer import (
    Evaluation,
    Gradient,
    GradientObserver,
    Observer,
    Update,
)
from throughtime.training.parameters import ParameterMatrix, members_of
from throughtime.training.penalties import penalise, watching
from throughtime.training.schedule import learning_rate
from throughtime.training.settings import TrainingSettings
from throughtime.training.sources import Lesson, Source


class Run:
    """The state of one run; `index` counts its updates."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        settings: TrainingSettings,
        source: Source,
        generator: torch.Generator,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.model, self.loss, self.settings = model, loss, settings
        self.losses = None if members_of(model) is None else per_member(loss)
        self.source, self.generator = source, generator
        self.watchers = [each for each in observers if isinstance(each, GradientObserver)]
        self.matrix = ParameterMatrix(model)
        self.weights = self.before = self.matrix.weights()
        self.clipper = settings.clip.start(self.matrix)
        self.optimiser = AdamW.like(self.weights, settings.weight_decay)
        self.average = None if settings.average is None else self.weights.clone()
        self.index = 0
        self.norms: list[float] = []
        self.best: dict[str, Tensor] = {}
        self.best_loss = math.inf
        self.looks_since_best = 0

    def update(self) -> Update:
        """Learn from the next lesson; raises DivergedError and leaves the last good weights."""
        settings, index = self.settings, self.index
        rate = learning_rate(
            settings.schedule,
            settings.learning_rate,
            index,
            settings.max_updates,
            settings.warm_up,
        )
        self.matrix.forget_gradient()
        with own_noise(self._noise_seed(), self.weights.device), self._watched():
            with watching(self.model, settings.penalties) as records:
                lesson = self.source.lesson(index)
            losses = self._losses(lesson)
            loss = losses.sum() if lesson.weight == 1 else losses.sum() * lesson.weight
            torch.autograd.backward(loss, retain_graph=bool(records))
            penalise(self.model, settings.penalties, records)
        gradient = self.matrix.gradient()
        clipped = self.clipper(gradient, self.weights)
        mean, norm, fired = _means(losses, clipped)
        update = Update(index, settings.max_updates, mean, norm, clipped.threshold, fired > 0, rate)
        for watcher in self.watchers:
            pieces = self.matrix.pieces
            watcher.on_gradient(Gradient(update, gradient, clipped.gradient, pieces))
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise self._diverged(f"update {index}", lesson, mean, gradient)
        self.before = self.weights
        self.weights = self.optimiser.step(self.weights, clipped.gradient, rate)
        self.matrix.assign(self.weights)
        self._average()
        self.norms.append(norm)
        self.index += 1
        return update

    def evaluate(self) -> Evaluation:
        """Measure the loss on the validation part and keep the weights if it is the best."""
        with self._averaged_weights(), mode(self.model, training=False), torch.no_grad():
            with own_noise(self.settings.seed, self.weights.device):
                lesson = self.source.validation()
                loss = self._losses(lesson).mean().item()
            if not math.isfinite(loss):
                raise self._diverged(f"the validation after update {self.index - 1}", lesson, loss)
            best = loss < self.best_loss
            self.looks_since_best = 0 if best else self.looks_since_best + 1
            if best:
                state = self.model.state_dict()
                self.best_loss = loss
                self.best = {name: tensor.clone() for name, tensor in state.items()}
        return Evaluation(self.index, loss, best)

    def finish(self, *, averaged: bool = True) -> None:
        """Leave the model with the best weights; without any, with the averaged or the last."""
        self.matrix.forget_gradient()
        if self.best:
            self.model.load_state_dict(self.best)
        elif averaged and self.average is not None:
            self.matrix.assign(self.average)
        else:
            self.matrix.assign(self.weights)

    def snapshot(self) -> Snapshot:
        """Return all that the rest of the run depends on."""
        whole = Snapshot(facts={"settings": self.settings.to_json(), "kind": self.source.kind})
        whole.facts["index"] = self.index
        whole.facts["best_loss"] = self.best_loss
        whole.facts["looks_since_best"] = self.looks_since_best
        whole.tensors = {"m": self.optimiser.m, "v": self.optimiser.v, "before": self.before}
        whole.tensors["generator"] = self.generator.get_state()
        if self.average is not None:
            whole.tensors["average"] = self.average
        whole.include("model", Snapshot(self.model.state_dict()))
        whole.include("best", Snapshot(self.best))
        whole.include("clipper", Snapshot(self.clipper.state_dict()))
        whole.include("source", self.source.snapshot())
        return whole

    def restore(self, snapshot: Snapshot, norms: list[float]) -> None:
        """Stand where `snapshot` was taken, `norms` being the gradient norms up to there.

        Raises ModelFileError if it is of another model or was made by the other kind of `fit`.
        """
        tensors, facts = snapshot.tensors, snapshot.facts
        if facts["kind"] != self.source.kind:
            raise ModelFileError(
                f"a checkpoint of a run on {self.source.kind}",
                f"one on {facts['kind']}",
                "resume with fit for examples and with fit_sequence for sequences",
            )
        try:
            self.model.load_state_dict(snapshot.part("model").tensors)
        except RuntimeError as error:
            raise ModelFileError(
                "a checkpoint of this model", "one with other parameters", "build the same model"
            ) from error
        like = self.weights = self.matrix.weights()
        self.before = tensors["before"].to(like)
        self.optimiser.m, self.optimiser.v = tensors["m"].to(like), tensors["v"].to(like)
        self.average = tensors["average"].to(like) if "average" in tensors else None
        self.generator.set_state(tensors["generator"])
        self.index = self.optimiser.t = facts["index"]
        self.best, self.best_loss = snapshot.part("best").tensors, facts["best_loss"]
        self.looks_since_best = facts["looks_since_best"]
        self.norms = norms
        self.clipper.load_state_dict(snapshot.part("clipper").tensors)
        self.source.restore(snapshot.part("source"))

    def _losses(self, lesson: Lesson) -> Tensor:
        """Return the loss of each member, [E]."""
        told = lesson.outputs, lesson.targets, lesson.weights
        if self.losses is not None:
            return self.losses(*told)
        loss = weighted(self.loss, *told)
        if loss.dim() != 0:
            raise SettingError(
                "a loss that is a scalar", f"shape {tuple(loss.shape)}", "average it"
            )
        return loss.unsqueeze(0)

    def _noise_seed(self) -> int:
        return int(torch.randint(2**31, (), generator=self.generator))

    def _average(self) -> None:
        if self.average is not None and self.settings.average is not None:
            decay = min(self.settings.average, (1 + self.index) / (10 + self.index))
            self.average.lerp_(self.weights, 1 - decay)

    def _watched(self) -> ExitStack:
        """Let watchers look on while the model runs forward and backward."""
        with ExitStack() as stack:
            for watcher in self.watchers:
                stack.enter_context(watcher.watching(self.index, self.model))
            return stack.pop_all()

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        if self.average is None:
            yield
            return
        self.matrix.assign(self.average)
        try:
            yield
        finally:
            self.matrix.assign(self.weights)

    def _diverged(
        self, moment: str, lesson: Lesson, loss: float, gradient: Tensor | None = None
    ) -> DivergedError:
        """Find out what broke, and go back to the weights before it."""
        data = data_to_blame(lesson, loss)
        broken = data or self._first_not_finite(lesson, loss, gradient)
        if data is None and not math.isfinite(loss):
            self.weights = self.before  # the update before this one made that loss
        return diverged(moment, loss, broken, data, self.norms, self.settings)

    def _first_not_finite(self, lesson: Lesson, loss: float, gradient: Tensor | None) -> str:
        parameter = self.matrix.first_not_finite(self.matrix.weights())
        if parameter is not None:
            return parameter
        if not lesson.outputs.isfinite().all():
            return "outputs of the model"
        if gradient is None or not math.isfinite(loss):
            return "loss"
        parameter = self.matrix.first_not_finite(gradient)
        return "norm of the gradient" if parameter is None else f"gradient of {parameter}"


def _means(losses: Tensor, clipped: Clipped) -> tuple[float, float, float]:
    """Bring the means over the members to the host, all at once."""
    columns = torch.stack([losses.detach(), clipped.norm, clipped.fired.to(losses.dtype)])
    loss, norm, fired = columns.mean(dim=1).tolist()
    return loss, norm, fired
