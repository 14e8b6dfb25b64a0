"""Examples, and the order in which they are learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Union

import torch
from torch import Tensor

from throughtime._checks import positive_int
from throughtime._errors import DataError

Inputs = Union[Tensor, tuple[Tensor, ...]]  # noqa: UP007  (evaluated, Python 3.10)
"""What a model is called with: one tensor, or a tuple of them."""

Example = Union[tuple[Inputs, Tensor], tuple[Inputs, Tensor, Tensor]]  # noqa: UP007  (evaluated, 3.10)
"""Inputs, targets and perhaps weights."""

LARGEST_EPOCH = 2**16  # examples; of more, any one is drawn
LARGEST_DRAW = 2**12  # indices that are drawn at once, then
MOST_KEPT = 2**22  # numbers that are kept at hand


class Examples(Protocol):
    """A collection of examples that is indexed with tensors.

    `examples[index]` with whole numbers of shape [B], or [E, B] for an ensemble, returns inputs
    and targets that have the shape of `index` as their leading axes, and perhaps what errors count
    for, `weights` of the shape of the targets.
    """

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def __getitem__(self, index: Tensor, /) -> Example:
        """Return inputs and targets of the examples at `index`, and perhaps weights."""
        ...


@dataclass(frozen=True)
class TensorExamples:
    """Examples that lie in two tensors, `inputs` [N, ...] and `targets` [N, ...].

    Raises DataError where their numbers differ.

    >>> examples = TensorExamples(torch.arange(6.0).reshape(3, 2), torch.arange(3.0))
    >>> examples[torch.tensor([2, 0])]
    (tensor([[4., 5.], [0., 1.]]), tensor([2., 0.]))
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(
                "as many inputs as targets",
                f"{len(self.inputs)} and {len(self.targets)}",
                "give each example one of both",
            )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]


@dataclass(frozen=True)
class Some:
    """At most `most` of some examples, spread evenly over them; all where there are no more.

    >>> every = TensorExamples(torch.arange(9.0), torch.arange(9.0))
    >>> len(Some(every, 3)), Some(every, 3)[torch.tensor([0, 1, 2])][0].tolist()
    (3, [0.0, 4.0, 8.0])
    """

    examples: Examples
    most: int

    def __post_init__(self) -> None:
        positive_int("most", self.most)

    def __len__(self) -> int:
        return min(self.most, len(self.examples))

    def __getitem__(self, index: Tensor) -> Example:
        last = max(len(self) - 1, 1)
        return self.examples[index * (len(self.examples) - 1) // last]


@dataclass(frozen=True)
class Kept:
    """Examples for an ensemble, of K kinds, that were made once: member e reads those of kind e mod K.

    Their tensors are [K, N, ...].
    """

    example: Example

    def __len__(self) -> int:
        return self.example[1].shape[1]

    def __getitem__(self, index: Tensor) -> Example:
        K, N = self.example[1].shape[:2]
        row = (index + N * (torch.arange(len(index)) % K)[:, None]).flatten()
        made: Example = _rows(self.example, row, index.shape)
        return made


def _rows(tensors: Any, row: Tensor, shape: torch.Size) -> Any:
    if isinstance(tensors, tuple):
        return tuple(_rows(tensor, row, shape) for tensor in tensors)
    return tensors.flatten(0, 1).index_select(0, row).reshape(*shape, *tensors.shape[2:])


def kept(examples: Examples, kinds: int) -> Examples:
    """Return examples for an ensemble, made at once where all of them are few numbers.

    >>> class Squares:
    ...     def __len__(self) -> int:
    ...         return 9
    ...     def __getitem__(self, index):
    ...         return index[..., None], index**2
    >>> x, y = kept(Squares(), kinds=1)[torch.tensor([[3, 4], [5, 6]])]
    >>> y.tolist()
    [[9, 16], [25, 36]]
    """
    one = examples[torch.zeros(kinds, 1, dtype=torch.long)]
    if len(examples) * numbers_in(one) > MOST_KEPT:
        return examples
    return Kept(examples[torch.arange(len(examples)).expand(kinds, -1)])


def numbers_in(example: Example) -> int:
    """Return how many numbers there are in a batch."""
    inputs, *others = example
    parts = (inputs,) if isinstance(inputs, Tensor) else inputs
    return max(1, sum(tensor.numel() for tensor in (*parts, *others)))


class Shuffle:
    """Batches of indices from shuffled epochs, for each member of an ensemble its own.

    An epoch is a permutation; a batch that its end leaves short is filled from the next one, so
    that all batches are of one size and every example is drawn equally often. Of more than
    `LARGEST_EPOCH` examples, each draw is of any one of them. Without a `batch_size` below `count`
    each batch is everything, in order. Draws come from `generator` only.

    >>> shuffle = Shuffle(5, 2, None, torch.Generator().manual_seed(0))
    >>> epochs = torch.cat([shuffle.draw() for _ in range(5)])
    >>> [sorted(epoch) for epoch in epochs.reshape(2, 5).tolist()]
    [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    """

    def __init__(
        self, count: int, batch_size: int | None, members: int | None, generator: torch.Generator
    ) -> None:
        if count < 1:
            raise DataError("at least one example", "none", "pass some to learn from")
        self.count, self.members, self.generator = count, members, generator
        self.batch_size = min(batch_size or count, count)
        self.left = torch.empty(members or 1, 0, dtype=torch.long)

    def draw(self) -> Tensor:
        """Return the next batch of indices, [B] or [E, B]."""
        if self.batch_size == self.count:
            index = torch.arange(self.count).expand(self.members or 1, -1)
        else:
            if self.left.shape[1] < self.batch_size:
                self.left = torch.cat([self.left, self._epoch()], dim=1)
            index, self.left = self.left.tensor_split([self.batch_size], dim=1)
        return index[0] if self.members is None else index

    def following(self, n: int) -> Tensor:
        """Return the indices of the next (at most) n batches side by side, which are not drawn yet.

        Those beyond the epochs that are shuffled are not known. [n B] or [E, n B].

        >>> shuffle = Shuffle(5, 2, None, torch.Generator().manual_seed(0))
        >>> first = shuffle.draw()
        >>> shuffle.following(2).equal(shuffle.draw())
        True
        """
        n = min(n, self.left.shape[1] // self.batch_size)
        index = self.left[:, : n * self.batch_size]
        return index[0] if self.members is None else index

    def _epoch(self) -> Tensor:
        rows = range(self.members or 1)
        if self.count > LARGEST_EPOCH:
            # A permutation would hold 8 bytes an example for every member. Few trainings come to
            # its end, and until then draws with replacement hardly differ from it.
            size = max(LARGEST_DRAW, self.batch_size)
            return torch.randint(self.count, (len(rows), size), generator=self.generator)
        return torch.stack([torch.randperm(self.count, generator=self.generator) for _ in rows])
