"""Learning on from a stream: truncated BPTT through its newest steps.

    every k1 steps:  θ <- AdamW(θ, clip(∂L/∂θ), 0.3 η)      L over the newest complete windows

η is the rate that the fit was trained at, k1 is 8, or fewer at the end of a call. Of each series, or of
256 drawn at random, the last 8 windows whose targets are known: they reach k2 = L steps back from these,
and their states begin at 0, as in the fit. (A window of a net that answers at every step is enough.) The loss that is told is that before the update: of values the weights have not seen.

Truncated BPTT: Williams and Peng (1990), "An efficient gradient-based algorithm for on-line training
of recurrent network trajectories".
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import torch

from throughtime._archive import Snapshot
from throughtime._errors import DivergedError
from throughtime.forecasting.models.model import Model
from throughtime.forecasting.models.state import MOST_NEW
from throughtime.forecasting.series.panel import Panel
from throughtime.training.context import mode, threads
from throughtime.training.run import Run
from throughtime.training.sources import Lesson

K1 = MOST_NEW  # steps that one update learns from, at most
MOST_SERIES = 256  # in an update
SHARE = 0.3  # of the learning rate of the fit
MOST_LOSSES = 1000


class Learner:
    """Goes on training the nets of a model; a source of lessons for its own `Run`."""

    kind, has_validation = "stream", False

    def __init__(self, model: Model, losses: deque[float]) -> None:
        self.model, self.losses = model, losses
        self._begin()

    def _begin(self) -> None:
        """Begin with moments of zero and the random numbers of the fit."""
        model = self.model
        given = model.design.training
        settings = replace(
            given,
            learning_rate=SHARE * given.learning_rate,
            schedule="constant",
            warm_up=0,
            average=None,
            forcing=None,
        )
        self.generator = torch.Generator().manual_seed(given.seed)
        loss = model.design.loss
        self.run = Run(model.network, loss, settings, self, self.generator)

    def learn(self, panel: Panel) -> None:
        """Update the weights once by the newest windows of a panel.

        Raises `DivergedError` where that has no finite loss or gradient; the weights are then those
        before, and the optimiser begins anew.
        """
        if int(panel.lengths.max()) < 2:
            return
        self.panel = self._some(panel)
        network, design = self.model.network, self.model.design
        try:
            with threads(design.numbers_a_step), mode(network, training=True), torch.enable_grad():
                self.losses.append(self.run.update().loss)
        except DivergedError:
            with torch.no_grad():
                self.run.matrix.assign(self.run.weights)
            self._begin()
            raise
        finally:
            self.run.matrix.forget_gradient()

    def lesson(self, index: int) -> Lesson:
        """Run the nets on the newest complete windows."""
        design = self.model.design
        examples = self.model.nets.examples(self.panel)
        at_each_step = design.draws or design.architecture == "synced"
        newest = examples.parts[0].windows.newest_complete(1 if at_each_step else K1)
        inputs, r = examples[newest.expand(design.members, -1)]
        inputs = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
        return Lesson(inputs, self.model.network(*inputs), r)

    def validation(self) -> Lesson:
        """There is none (`has_validation`), so that no run asks for it: the stream goes on instead."""
        raise AssertionError("a stream has no validation part")

    def snapshot(self) -> Snapshot:
        """Return what the next updates depend on beside the weights."""
        optimiser = self.run.optimiser
        tensors = {"m": optimiser.m, "v": optimiser.v, "generator": self.generator.get_state()}
        whole = Snapshot(tensors, {"index": self.run.index, "losses": list(self.losses)})
        whole.include("clipper", Snapshot(self.run.clipper.state_dict()))
        return whole

    def restore(self, snapshot: Snapshot) -> None:
        """Go on as the one of which `snapshot` was taken; `ValueError` for one of other weights."""
        tensors, optimiser, run = snapshot.tensors, self.run.optimiser, self.run
        for name in ("m", "v"):
            found = tensors[name]
            if found.shape != optimiser.m.shape or not found.isfinite().all():
                raise ValueError(f"{name} of the optimiser")
        optimiser.m, optimiser.v = tensors["m"].clone(), tensors["v"].clone()
        run.index = optimiser.t = int(snapshot.facts["index"])
        run.clipper.load_state_dict(snapshot.part("clipper").tensors)
        self.generator.set_state(tensors["generator"])
        self.losses.extend(map(float, snapshot.facts["losses"]))

    def _some(self, panel: Panel) -> Panel:
        n = len(panel.ids)
        if n <= MOST_SERIES:
            return panel
        chosen = torch.randperm(n, generator=self.generator)[:MOST_SERIES]
        return panel.take(np.sort(chosen.numpy()))
