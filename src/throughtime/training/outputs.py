"""What a forecast says, by one name: the head that describes it, and the loss that trains the head.

    point               one number                     mean absolute error (its optimum: the median)
    quantiles           a quantile at each level       pinball loss
    gaussian            normal distribution            its negative log-likelihood, and so below
    student-t           heavy tails
    negative-binomial   counts
    mixture             three normal distributions: skew, or of several modes

A network for scaled values z = (y - location)/size is trained on them, and its params then rescaled by
`head.rescale(params, location, size)`. Where `head.counts`, its params are rescaled by the size before
the loss, which reads the raw counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from throughtime._checks import one_of
from throughtime.nn.heads import (
    GaussianHead,
    MixtureHead,
    NegativeBinomialHead,
    PointHead,
    QuantileHead,
    StudentTHead,
    ValueHead,
)
from throughtime.training import losses
from throughtime.training.losses import Loss

COUNTS = frozenset({"negative-binomial"})  # outputs whose head `counts`
LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)

Output = Callable[[int, int, Sequence[float]], tuple[ValueHead, Loss]]


def _plain(build: Callable[[int, int], ValueHead], loss: Loss) -> Output:
    return lambda hidden_size, outputs, levels: (build(hidden_size, outputs), loss)


def _quantiles(
    hidden_size: int, outputs: int, levels: Sequence[float]
) -> tuple[QuantileHead, Loss]:
    head = QuantileHead(hidden_size, outputs, levels)
    return head, losses.Quantile(head.levels)


OUTPUTS: dict[str, Output] = {
    "point": _plain(PointHead, losses.mae),
    "quantiles": _quantiles,
    "gaussian": _plain(GaussianHead, losses.gaussian_nll),
    "student-t": _plain(StudentTHead, losses.student_t_nll),
    "negative-binomial": _plain(NegativeBinomialHead, losses.negative_binomial_nll),
    "mixture": _plain(MixtureHead, losses.mixture_nll),
}


def output(
    name: str, hidden_size: int, outputs: int = 1, levels: Sequence[float] = LEVELS
) -> tuple[ValueHead, Loss]:
    """Return a new head, and the loss that goes with it, for one of the names above.

    Args:
        name: what each forecast is, such as "gaussian".
        hidden_size: H, the features of the hidden state the head reads.
        outputs: how many values are forecast at once.
        levels: of the quantiles, rising inside (0, 1); for "quantiles" alone.

    Raises:
        SettingError: the name is none of these, a size is below 1, or the levels do not rise.

    >>> head, loss = output("quantiles", hidden_size=8, levels=(0.1, 0.9))
    >>> head.levels, loss
    ((0.1, 0.9), Quantile(levels=(0.1, 0.9)))
    """
    one_of("output", name, OUTPUTS)
    return OUTPUTS[name](hidden_size, outputs, levels)
