"""What a model learns from next, and what it is validated on.

A source runs the model forward; the run that owns it does everything else alike for both kinds:
`ExampleSource` draws batches of examples, `SequenceSource` walks along sequences reach by reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from throughtime._archive import Snapshot
from throughtime._errors import DataError, SettingError
from throughtime.training.checkpoint import pack_state, unpack_state
from throughtime.training.examples import Example, Examples, Inputs, Shuffle, numbers_in
from throughtime.training.forcing import takes_forcing
from throughtime.training.parameters import members_of
from throughtime.training.settings import TrainingSettings
from throughtime.training.truncation import Position, RandomTruncation, Reach, reaches

EVALUATION_BATCH = 768  # examples that are evaluated together, those of all members counted
MOST_NUMBERS = 2**19  # of the batches that are read together


@dataclass(frozen=True)
class Lesson:
    """What the model was given, what it answered, and what was observed.

    `weight` is what the loss counts in the gradient; it makes up for lessons of uneven length.
    `weights`, of the shape of the targets, are what each error counts within the loss.
    """

    inputs: Inputs
    outputs: Tensor
    targets: Tensor
    weight: float = 1.0
    weights: Tensor | None = None


class Source(Protocol):
    """Where lessons come from; `kind` tells checkpoints of different sources apart."""

    kind: str
    has_validation: bool

    def lesson(self, index: int) -> Lesson:
        """Run the model on what is to be learned from next, in update `index`."""
        ...

    def validation(self) -> Lesson:
        """Run the model on the whole validation part."""
        ...

    def snapshot(self) -> Snapshot:
        """Return where the source stands."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Stand where `snapshot` was taken."""
        ...


class ExampleSource:
    """Batches of examples in shuffled order."""

    kind = "examples"

    def __init__(
        self,
        model: torch.nn.Module,
        train: Examples,
        validation: Examples | None,
        settings: TrainingSettings,
        generator: torch.Generator,
    ) -> None:
        self.model, self.train, self.held_out = model, train, validation
        self.members, self.device = members_of(model), device_of(model)
        self.shuffle = Shuffle(len(train), settings.batch_size, self.members, generator)
        self.has_validation = validation is not None and len(validation) > 0
        self.settings = settings
        self.read: list[Example] = []  # batches that come next
        self.at_once = 1  # how many are read
        if settings.forcing is not None and not takes_forcing(model):
            raise SettingError(
                "a model whose forward takes `targets` and `forcing`, to be fed with targets",
                type(getattr(model, "template", model)).__name__,
                "take SequenceOutput or SequenceToSequence, or leave forcing at None",
            )

    def lesson(self, index: int) -> Lesson:
        """Run the model on the next batch, fed with its targets as the settings say."""
        forcing, total = self.settings.forcing, self.settings.max_updates
        rate = None if forcing is None else forcing(index, total)
        return self._answer(self._batch(total - index), rate)

    def validation(self) -> Lesson:
        """Run the model on all validation examples, a large batch at a time."""
        assert self.held_out is not None
        axis = 0 if self.members is None else 1
        lessons = []
        for index in evaluation_batches(len(self.held_out), self.members):
            shared = index if self.members is None else index.expand(self.members, -1)
            lessons.append(self._answer(self.held_out[shared]))
        outputs = torch.cat([lesson.outputs for lesson in lessons], axis)
        targets = torch.cat([lesson.targets for lesson in lessons], axis)
        counts = [lesson.weights for lesson in lessons if lesson.weights is not None]
        weights = torch.cat(counts, axis) if counts else None
        # inputs are for finding out what broke, so those of a batch that did are enough
        broken = (lesson.inputs for lesson in lessons if not lesson.outputs.isfinite().all())
        return Lesson(next(broken, ()), outputs, targets, weights=weights)

    def snapshot(self) -> Snapshot:
        """Return what is left of the shuffled epoch."""
        return Snapshot({"left": self.shuffle.left}, {"count": self.shuffle.count})

    def restore(self, snapshot: Snapshot) -> None:
        """Go on within the shuffled epoch."""
        if snapshot.facts["count"] != self.shuffle.count:
            raise DataError(
                f"the {snapshot.facts['count']} examples that the checkpoint was made with",
                str(self.shuffle.count),
                "resume with the same data",
            )
        self.shuffle.left, self.read = snapshot.tensors["left"], []

    def _batch(self, wanted: int) -> Example:
        """Return the next batch; of small ones several are read at once, which costs hardly more."""
        index = self.shuffle.draw()
        if not self.read:
            more = self.shuffle.following(min(self.at_once, wanted) - 1)
            index = torch.cat([index, more], dim=-1)
            self.read = list(
                batches_of(self.train[index], self.shuffle.batch_size, index.dim() - 1)
            )
            self.at_once = max(1, MOST_NUMBERS // numbers_in(self.read[0]))
        return self.read.pop(0)

    def _answer(self, example: Example, forcing: float | None = None) -> Lesson:
        inputs, targets, *given = example
        targets = targets.to(self.device)
        weights = given[0].to(self.device) if given else None
        fed = {} if forcing is None else {"targets": targets, "forcing": forcing}
        if isinstance(inputs, Tensor):
            inputs = inputs.to(self.device)
            return Lesson(inputs, self.model(inputs, **fed), targets, weights=weights)
        inputs = tuple(tensor.to(self.device) for tensor in inputs)
        return Lesson(inputs, self.model(*inputs, **fed), targets, weights=weights)


class SequenceSource:
    """Long sequences side by side, walked along again and again."""

    kind = "sequences"
    position: Position
    walk: Iterator[Reach]

    def __init__(
        self,
        model: torch.nn.Module,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor] | None,
        settings: TrainingSettings,
    ) -> None:
        self.model, self.truncation = model, settings.truncation
        self.time = 1 if members_of(model) is None else 2
        self.train = self._for_all(train)
        self.held_out = validation and self._for_all(validation)
        self.has_validation = validation is not None
        self._walk_from(Position())

    def lesson(self, index: int) -> Lesson:
        """Run the model over the next reach; after the last step, begin again."""
        if self.position.stop == self.train[0].shape[self.time]:
            self._walk_from(Position())
        reach = next(self.walk)
        self.position = reach.position
        inputs = self.train[0].narrow(self.time, reach.start, reach.stop - reach.start)
        weight = 1.0
        if isinstance(self.truncation, RandomTruncation):  # a mean, to be a part of one sum
            weight = (reach.stop - reach.learn_from) / self.truncation.mean_reach
        return Lesson(inputs, reach.outputs, reach.targets, weight)

    def validation(self) -> Lesson:
        """Run the model over the whole validation sequences, from its own initial state."""
        assert self.held_out is not None
        (reach,) = reaches(self.model, *self.held_out, time=self.time)
        return Lesson(self.held_out[0], reach.outputs, reach.targets)

    def snapshot(self) -> Snapshot:
        """Return the position in the sequences, with the state carried along."""
        tensors, shape = pack_state(self.position.state)
        facts = {"start": self.position.start, "stop": self.position.stop, "state": shape}
        return Snapshot(tensors, {**facts, "sizes": list(self.train[0].shape)})

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from that position."""
        facts = snapshot.facts
        if facts["sizes"] != list(self.train[0].shape):
            raise DataError(
                f"inputs of shape {tuple(facts['sizes'])}, as the checkpoint was made with",
                str(tuple(self.train[0].shape)),
                "resume with the same data",
            )
        tensors = {k: v.to(self.train[0].device) for k, v in snapshot.tensors.items()}
        state = unpack_state(tensors, facts["state"])
        self._walk_from(Position(facts["start"], facts["stop"], state))

    def _walk_from(self, position: Position) -> None:
        self.position = position
        self.walk = reaches(self.model, *self.train, self.truncation, position, time=self.time)

    def _for_all(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Give every member of an ensemble the same sequences."""
        inputs, targets = (tensor.to(device_of(self.model)) for tensor in pair)
        members = members_of(self.model)
        if members is None:
            return inputs, targets
        return inputs.expand(members, *inputs.shape), targets.expand(members, *targets.shape)


def evaluation_batches(count: int, members: int | None) -> tuple[Tensor, ...]:
    """Return the indices of `count` examples, as many at a time as fit in a little memory."""
    return torch.split(torch.arange(count), max(1, EVALUATION_BATCH // (members or 1)))


def batches_of(example: Example, size: int, axis: int) -> Iterator[Example]:
    """Return batches of so many, that lie side by side along an axis."""
    parts: list[Any] = [
        torch.split(each, size, axis)
        if isinstance(each, Tensor)
        else zip(*(torch.split(tensor, size, axis) for tensor in each), strict=True)
        for each in example
    ]
    return zip(*parts, strict=True)


def device_of(model: torch.nn.Module) -> torch.device:
    """Return where the model's parameters lie."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
