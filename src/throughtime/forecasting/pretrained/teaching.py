"""Teaching the pretrained net a panel: it goes on from what it has learned of simulated series.

    T ~ log-uniform on [max(8, 2 m), L],    u = f_k(y_{p-T} ... y_{p+h-1})    for any origin p of any series
    loss = mean over steps of |o - (u_ahead - base) / unit|

in the units of `reading.py`, on the scales f_1 ... f_K by turns; all windows of an update have one
length. L is what nine rows in ten have at most, up to 200: the few that are longer would take half of
the time. So one net learns to read the short past of a young series and the long one of an old series,
and what it knew keeps it from learning by heart (Howard and Ruder 2018, "Universal language model
fine-tuning").

Batch k is drawn from the seed and k alone: a run that is resumed reads on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from throughtime._archive import Snapshot
from throughtime.forecasting.preprocessing.scaling import carry_on
from throughtime.forecasting.preprocessing.transforms import Transform
from throughtime.forecasting.pretrained.net import LEAST, LONGEST, PretrainedNet
from throughtime.forecasting.pretrained.reading import read
from throughtime.forecasting.series.panel import Panel
from throughtime.training import Clip, History, Observer, Trainer, TrainingSettings, losses
from throughtime.training.sources import Lesson

Floats = npt.NDArray[np.float64]

SHORTEST = 8  # values that are read, two seasons where these are more
USUAL = 0.9  # of the rows, whose length is none that few have
LARGEST = 20.0  # units that a target counts as off, at most
TEACHING = TrainingSettings(
    max_updates=600,
    batch_size=192,
    learning_rate=5e-4,
    schedule="one-cycle",
    weight_decay=0.01,
    clip=Clip(norm=1.0),
    average=0.99,
)


class Lessons:
    """What the net reads next of a panel, and what came after it; a `training.sources.Source`."""

    kind = "windows of a panel"
    has_validation = False

    def __init__(
        self,
        net: PretrainedNet,
        panel: Panel,
        transforms: Sequence[Transform],
        h: int,
        season_length: int,
        settings: TrainingSettings = TEACHING,
    ) -> None:
        self.net, self.panel, self.transforms = net, panel, transforms
        self.h, self.m, self.settings = h, season_length, settings
        S = len(panel.ids)
        self.begins = np.tile(panel.begins, len(panel.targets))
        self.channels = np.repeat(np.arange(len(panel.targets)), S)
        self.lengths = np.tile(panel.lengths, len(panel.targets))

    @property
    def longest(self) -> int:
        """The most values that are read: what nine rows in ten have at most before h more."""
        room = self.lengths - self.h
        room = room[room >= LEAST]
        return min(LONGEST, int(np.quantile(room, USUAL))) if len(room) else 0

    def snapshot(self) -> Snapshot:
        """Return where the lessons stand: nowhere but at their update."""
        return Snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Stand there again."""

    def validation(self) -> Lesson:
        """Read what is held out, which nothing is."""
        raise AssertionError("nothing is held out to validate on")

    def lesson(self, index: int) -> Lesson:
        """Read the windows of update `index`."""
        g = np.random.default_rng((self.settings.seed, index))
        u = torch.from_numpy(self._drawn(g, self.transforms[index % len(self.transforms)]))
        begins = u[:, :1].isfinite()
        past, ahead = carry_on(torch.where(begins, u[:, : -self.h], 0.0)), u[:, -self.h :]
        reading = read(past, self.h, self.m)
        r = ((ahead - reading.base) / reading.unit).clamp(-LARGEST, LARGEST)
        varies = past.std(dim=1, correction=0) > 1e-6 * (1 + past.abs().mean(dim=1))
        # not observed, so that it does not count; nor does what begins with a gap
        r[~varies] = torch.nan
        inputs = reading.past, reading.ahead
        return Lesson(inputs, self.net(*inputs)[..., None], r.float())

    def _drawn(self, g: np.random.Generator, f: Transform) -> Floats:
        """Draw windows u [B, T + h] of one length, from anywhere in the series that are as long."""
        shortest = min(max(SHORTEST, 2 * self.m), self.longest)
        T = int(np.exp(g.uniform(np.log(shortest), np.log(self.longest + 1))))
        rows = np.flatnonzero(self.lengths >= T + self.h)
        rows = g.choice(rows, self.settings.batch_size)
        start = g.integers(0, self.lengths[rows] - T - self.h, endpoint=True)
        at = (self.begins[rows] + start)[:, None] + np.arange(T + self.h)
        y = self.panel.values[self.channels[rows][:, None], at].astype(np.float64)
        return f.forward(y)


def teach(lessons: Lessons, observers: Sequence[Observer] = ()) -> History:
    """Let the net of these lessons learn from their panel, and return what happened.

    It stays as it was where no series has 4 values to read before h more. Raises what `Trainer` raises.
    """
    if lessons.longest < LEAST:
        return History(reason="no series is long enough")
    net = lessons.net.requires_grad_(True)
    trainer = Trainer(net, losses.mae, lessons.settings, observers)
    history = trainer.fit_lessons(lessons, "teaching the pretrained net")
    net.requires_grad_(False)
    return history
