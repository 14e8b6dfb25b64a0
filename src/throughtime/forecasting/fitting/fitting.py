"""From a design and a panel to a model: how many updates, and the fit."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from throughtime.forecasting.examples.importance import weighed
from throughtime.forecasting.examples.scaled import SpreadExamples
from throughtime.forecasting.fitting.preprogramming import preprogram
from throughtime.forecasting.fitting.resuming import NOT_KEPT, Runs, whole
from throughtime.forecasting.models.companions import Maps, fit_linear
from throughtime.forecasting.models.model import Model
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.pretrained.net import HIDDEN_SIZE, PretrainedNet, carried
from throughtime.forecasting.pretrained.teaching import TEACHING, Lessons, teach
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.nn import Ensemble
from throughtime.training import History, Observer, Trainer
from throughtime.training.context import threads
from throughtime.training.examples import Some, kept

Floats = npt.NDArray[np.float64]

MOST_VALIDATED = 2**11  # windows, at each look
LEAST_UPDATES = 100  # before that nets have learned nothing, whatever a short validation part says


def fit(
    panel: Panel,
    design: Design,
    updates: int,
    observers: Sequence[Observer],
    name: str,
    runs: Runs = NOT_KEPT,
    partial: bool = False,
    start: Model | None = None,
) -> tuple[Model, History]:
    """Fit all paths to everything in the panel, the nets with a given number of updates.

    The nets go on from the weights of `start` where given, and read what they read there.
    `KeyboardInterrupt` breaks it off, unless a `partial` fit is as welcome, and updates were made.
    """
    training = replace(design.training, max_updates=updates, patience=None)
    before = None if start is None else start.taught
    taught = taught_net(panel, design, observers, runs, before)
    channels = design.channels(panel) if start is None else start.channels
    linear, network = fit_linear(panel, design), design.network(channels.sizes)
    examples = design.examples(panel, channels)
    with threads(design.numbers_a_step):
        if start is None:
            explained = _preprogrammed(network, design, linear, examples, observers, runs)
        else:
            explained = start.explained
            network.load_state_dict(start.network.state_dict())
        trainer = Trainer(network, design.loss, training, observers)
        learned = weighed(examples) if design.weighting == "owa" else examples
        history = runs.train(trainer, kept(learned, len(design.transforms)), None, name)
        if not (partial and history.updates):
            whole(history)
    return Model(design, linear, network.eval(), channels, explained, taught), history


def taught_net(
    panel: Panel,
    design: Design,
    observers: Sequence[Observer],
    runs: Runs = NOT_KEPT,
    start: PretrainedNet | None = None,
) -> PretrainedNet | None:
    """Return the pretrained net, or that of a `start`, taught a panel; None where none is to be taught.

    `KeyboardInterrupt` breaks it off.
    """
    if not design.pretrained or not design.taught:
        return None
    net = deepcopy(start or carried(design.pretrained))
    scales = [TRANSFORMS[name] for name in design.transforms]
    settings = replace(TEACHING, max_updates=design.taught, seed=design.training.seed)
    lessons = Lessons(net, panel, scales, design.h, design.season_length, settings)

    def learn() -> None:
        with threads((settings.batch_size or 1) * HIDDEN_SIZE):
            whole(teach(lessons, observers))

    runs.prepare(net, learn)
    return net


def count_updates(
    panel: Panel,
    design: Design,
    observers: Sequence[Observer],
    name: str,
    runs: Runs = NOT_KEPT,
) -> tuple[int, History]:
    """Return how many updates are enough, found by early stopping on the latest fifth.

    The windows whose targets lie in the last fifth of every series validate (2,048 of them at most,
    spread evenly), the earlier ones are learned from; the number at which the validation loss was least is what later fits will make.
    """
    examples = design.examples(panel)
    if design.training.schedule == "one-cycle":  # which ends where it is to end
        history = History()
        history.reason = "a schedule of one cycle, made as a whole"
        return design.training.max_updates, history
    n_validation = max(1, int(panel.lengths.max()) // 5)
    train, validation = examples.split(n_validation)
    if len(validation) == 0:
        history = History()
        history.reason = "too few rows for a validation part"
        return max(1, design.training.max_updates // 4), history
    network, linear = design.network(train.parts[0].channels.sizes), None
    if design.preprogram == "linear":  # of what is known before the validation part
        linear = fit_linear(panel.cut(n_validation + design.h - 1), design)
    with threads(design.numbers_a_step):
        _preprogrammed(network, design, linear, train, observers, runs)
        trainer = Trainer(network, design.loss, design.training, observers)
        parts = train, Some(validation, MOST_VALIDATED)
        learned, validated = (kept(part, len(design.transforms)) for part in parts)
        history = whole(runs.train(trainer, learned, validated, name))
    least = min(LEAST_UPDATES, design.training.max_updates)
    return max(history.best_index or 0, least), history


def _preprogrammed(
    network: Ensemble,
    design: Design,
    linear: Maps | None,
    examples: SpreadExamples,
    observers: Sequence[Observer],
    runs: Runs,
) -> float | None:
    kind = design.preprogram
    if kind is None:
        return None
    plain = replace(design.training, patience=None, penalties=())
    shared = None if linear is None else linear.shared
    return runs.prepare(
        network, lambda: preprogram(network, kind, shared, examples, plain, observers)
    )
