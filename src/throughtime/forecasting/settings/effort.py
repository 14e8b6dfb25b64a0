"""How large the nets are and how they are trained, by how much there is to learn from.

    N = sum of floor(n_i / min(h, m))      horizons or seasons (of m steps) that the panel has

Few, below 500 (a single series of a few cycles), want many small nets that stop early: the
number of updates is found on a validation part (`fitting.count_updates`), and closed forms stand
beside them (`models/companions.py`). Many want fewer and larger nets, linear maps inside them that the
state weighs (`linear_skip`, `architectures/at_once.py`), differences of a season where these tell more
(`planning/scale_choice.py`), and a schedule that ends: one cycle of the learning rate (Smith and Topin
2018) and an average of the weights that is long. There a long context is read by segments. Most, 5,000
and more, bear larger nets still, more updates and a context of eight horizons, in at most eight
segments, the median of the nets in place of their mean, and errors that count as they will be judged
(`examples/importance.py`); ten times as many twice the updates, each of twice the windows. Beside them
stands the pretrained net, if the first rolling origin bears it out (`planning/trial.py`), taught what
there is to learn where that is most (`pretrained/teaching.py`).

Of long series, many of these of at most 64 series, it depends on how well they can be told. Where a
linear map of the context leaves less than half of the error of its naive base
(`planning/scale_choice.py`) the same nets as for most serve, with fewer updates. Where it leaves
more, it learns noise: there is none in the nets, which tell the series apart and ask for every
segment ahead by itself (`architectures/segment.py`), with dropout, and make at most as many updates as there are horizons,

    min(1000, max(150, sum of floor(n_i / h)))

Beside them stands the linear map, as beside those of few, where the horizons are below 500.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from throughtime.forecasting.architectures.segment import MOST_SERIES
from throughtime.forecasting.pretrained.teaching import TEACHING
from throughtime.forecasting.series.panel import Panel
from throughtime.training import Clip, TrainingSettings

LEAST_MANY, LEAST_MOST, LEAST_VAST = 500, 5_000, 50_000  # horizons or seasons

TRAINING = TrainingSettings(
    max_updates=200,
    batch_size=32,
    learning_rate=1e-2,
    warm_up=10,
    weight_decay=0.01,
    clip=Clip(norm=1.0),
    evaluate_every=5,
    patience=10,
    average=0.95,
)


ONE_CYCLE = TrainingSettings(
    max_updates=600,
    batch_size=128,
    learning_rate=5e-3,
    schedule="one-cycle",
    weight_decay=0.01,
    clip=Clip(norm=1.0),
    average=0.99,
)


@dataclass(frozen=True)
class Effort:
    """What is chosen together: the nets, their number, their training and what they read.

    `many` says that there is much to learn from, `long` that a few long series tell it. A look-back
    that is chosen has at most `segments`, and `horizons` where that is not None.
    `taught` are the updates by which the pretrained net learns from many series; None: it is not tried.
    """

    hidden_size: int
    members: int
    training: TrainingSettings
    many: bool = False
    long: bool = False
    companions: bool = False
    architecture: str = "direct"
    dropout: float = 0.0
    linear_skip: int = 0
    combine: str = "mean"
    weighting: str = "window"
    differences: bool = False
    horizons: int | None = None
    segments: int = 8
    taught: int | None = None


FEW = Effort(32, 6, TRAINING, companions=True)
MANY = Effort(64, 3, ONE_CYCLE, many=True, linear_skip=4, differences=True, segments=28, taught=0)
MOST = Effort(
    128,
    3,
    replace(ONE_CYCLE, max_updates=2000),
    many=True,
    linear_skip=4,
    combine="median",
    weighting="owa",
    differences=True,
    horizons=8,
    taught=TEACHING.max_updates,
)
VAST = replace(MOST, training=replace(ONE_CYCLE, max_updates=4000, batch_size=256))
LONG = replace(
    MOST,
    training=replace(ONE_CYCLE, max_updates=1000),
    long=True,
    linear_skip=1,
    combine="mean",
    differences=False,
    segments=MANY.segments,
    taught=None,
)
NOISY = replace(LONG, architecture="segment", dropout=0.5, linear_skip=0)


def effort_for(panel: Panel, h: int, season_length: int = 1) -> Effort:
    """Return what suits a panel.

    >>> from throughtime.forecasting import read_frame
    >>> effort_for(read_frame([0.0, 1.0] * 600), h=8, season_length=2) == LONG
    True
    """
    turn = min(h, season_length) if season_length > 1 else h
    N = int((panel.lengths // turn).sum())
    if N < LEAST_MANY:
        return FEW
    if len(panel.ids) <= MOST_SERIES:
        return LONG
    return VAST if N >= LEAST_VAST else MOST if N >= LEAST_MOST else MANY


def noisy(panel: Panel, h: int) -> Effort:
    """Return what suits long series that a linear map says little of.

    >>> from throughtime.forecasting import read_frame
    >>> noisy(read_frame([0.0, 1.0] * 600), h=2).training.max_updates
    600
    """
    n, least = int((panel.lengths // h).sum()), 150
    updates = min(NOISY.training.max_updates, max(least, n))
    training = replace(NOISY.training, max_updates=updates)
    return replace(NOISY, training=training, companions=n < LEAST_MANY)


def is_usual(training: TrainingSettings) -> bool:
    """Say whether settings are those that nobody chose, seed and cures apart."""
    own = {name: getattr(training, name) for name in ("seed", "clip", "penalties")}
    return replace(TRAINING, **own) == training


def trained(effort: Effort, training: TrainingSettings) -> TrainingSettings:
    """Return the training of an effort where it is the user's to leave, with seed and cures."""
    if not is_usual(training):
        return training
    own = {name: getattr(training, name) for name in ("seed", "clip", "penalties")}
    return replace(effort.training, **own)


def segmented(longest: int, season_length: int, segments: int) -> int:
    """Return the look-back, at most the `longest`, that goes into few segments and loses least.

    >>> segmented(104, 1, 8), segmented(384, 24, 8), segmented(101, 1, 8)
    (104, 384, 98)
    """
    least = -(-longest // segments)
    lengths = range(least, 3 * least // 2 + 1)
    return max(longest // w * w for w in _within(season_length, lengths))


def segment_of(context_length: int, season_length: int, segments: int) -> int:
    """Return how many steps are read at a time: a part or a multiple of the season, 1 where short.

    >>> segment_of(168, 24, 8), segment_of(144, 48, 28), segment_of(26, 1, 28)
    (24, 6, 1)
    """
    least = -(-context_length // segments)
    lengths = range(least, context_length + 1)
    return _within(season_length, [w for w in lengths if context_length % w == 0])[0]


def _within(season_length: int, lengths: Sequence[int]) -> Sequence[int]:
    """Return those that go into the season or that it goes into; all where none do."""
    m = season_length
    return [w for w in lengths if m % w == 0 or w % m == 0] or lengths
