"""One of several classes for each output: logits o = r, probabilities softmax(o)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical

from throughtime._checks import positive_int
from throughtime.nn.heads.base import Head


class ClassHead(Head):
    """One of several classes for each output: the parameters are logits over the classes.

    Args:
        hidden_size: H, the features of the hidden state it reads.
        classes: how many classes there are, at least 2.
        outputs: how many class variables are forecast at once.

    Raises:
        SettingError: a size is below 1, or there are fewer than 2 classes.

    >>> head = ClassHead(8, classes=3)
    >>> head.point(torch.tensor([[0.1, 2.0, 0.3]]))
    tensor([1])
    >>> head.feedback(torch.tensor([1]))
    tensor([0., 1., 0.])
    """

    def __init__(self, hidden_size: int, classes: int, outputs: int = 1) -> None:
        super().__init__(hidden_size, outputs, positive_int("classes", classes, at_least=2))
        self.classes = classes

    def point(self, params: Tensor) -> Tensor:
        """The likeliest class, counted from 0: [..., outputs]."""
        return params.argmax(-1)

    @property
    def feedback_size(self) -> int:
        """One feature for each class of each output."""
        return self.outputs * self.classes

    def feedback(self, y: Tensor) -> Tensor:
        """One-hot codes of the classes, side by side; all zeros for no class (such as -100)."""
        codes = y[..., None] == torch.arange(self.classes, device=y.device)
        return codes.flatten(-2).to(self.linear.weight.dtype)

    def distribution(self, params: Tensor) -> Categorical:
        """The distributions themselves, of batch shape [..., outputs], to sample."""
        return Categorical(logits=params)
