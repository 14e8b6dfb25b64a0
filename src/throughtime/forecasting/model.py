"""What one fit makes: a linear autoregression and a recurrent ensemble, whose mean is the forecast.

On windows z of the transformed and scaled series (`examples.py`),

    linear      A z                                          (`linear.py`, in closed form)
    recurrent   base(z) + mean over members of V h_T + c     h_T the newest state of each net
    forecast    the mean of both, scaled back and transformed back

Both answer for themselves, and are trained for themselves: the autoregression is hard to beat on
few data and cannot bend, the nets bend and err in other places. The equal mean of two forecasts
that err differently is better than either, and hard to improve by weights that have to be
estimated (Bates and Granger 1969; Claeskens et al. 2016, "The forecast combination puzzle").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from throughtime._checks import one_of, positive_int
from throughtime._errors import SettingError
from throughtime._types import CellName
from throughtime.diagnostics import LagProfile, lag_profile
from throughtime.forecasting.examples import RESIDUALS, Residual, ScaledWindows
from throughtime.forecasting.linear import fit_linear_map
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.transforms import TRANSFORMS, Transform
from throughtime.nn import Ensemble, PointHead, Recurrence, SequenceInput
from throughtime.training import History, Observer, Trainer, TrainingSettings, losses

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """All that is decided before a fit, by the user or from the data.

    Raises `SettingError` for a value that is out of its range, or does not go with the others.
    """

    h: int
    cell: CellName
    hidden_size: int
    num_layers: int
    dropout: float
    members: int
    context_length: int
    season_length: int
    transform: str
    residual: Residual
    training: TrainingSettings

    def __post_init__(self) -> None:
        for name in ("h", "members", "context_length", "season_length"):
            positive_int(name, getattr(self, name))
        one_of("transform", self.transform, TRANSFORMS)
        one_of("residual", self.residual, RESIDUALS)
        if self.residual == "season" and self.season_length > self.context_length:
            raise SettingError(
                f"a context_length of at least one season, {self.season_length}, "
                "for residual='season'",
                str(self.context_length),
                f"pass context_length={self.season_length} or more, or another residual",
            )
        self.recurrence  # noqa: B018  (checks its part)

    @property
    def recurrence(self) -> Recurrence:
        """What each net is made of."""
        return Recurrence(self.cell, self.hidden_size, self.num_layers, self.dropout)

    def examples(self, panel: Panel) -> ScaledWindows:
        """Return the windows of a panel as this design has them."""
        return ScaledWindows.of(
            panel,
            self.scale,
            self.context_length,
            self.h,
            self.residual,
            self.season_length,
        )

    @property
    def scale(self) -> Transform:
        """The transform itself."""
        return TRANSFORMS[self.transform]

    def network(self) -> Ensemble:
        """Return the untrained nets."""
        return Ensemble(
            lambda: SequenceInput(1, self.recurrence, PointHead(self.hidden_size, self.h)),
            self.members,
            self.training.seed,
        )


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted linear map A [h, L] and trained nets."""

    design: Design
    linear: Floats
    network: Ensemble

    def forecast(self, panel: Panel) -> Floats:
        """Return the next h values [S, h] after the end of every series."""
        linear, recurrent = self.paths(panel)
        return np.asarray(self.design.scale.inverse((linear + recurrent) / 2))

    def paths(self, panel: Panel) -> tuple[Floats, Floats]:
        """Return the linear and the recurrent forecast [S, h] on the transformed scale."""
        examples = self.design.examples(panel)
        z, scale = examples.newest()
        with torch.no_grad():
            said = self.network(z.expand(self.design.members, *z.shape)).squeeze(-1).mean(0)
        z = z.squeeze(-1)
        recurrent = scale.invert(said + examples.base(z)).double().numpy()
        u = scale.invert(z).double().numpy()
        level = u.mean(axis=1, keepdims=True)
        linear = level + (u - level) @ self.linear.T
        low, high = u.min(axis=1, keepdims=True), u.max(axis=1, keepdims=True)
        # an unstable fit may not run off
        return np.clip(linear, 2 * low - high, 2 * high - low), recurrent

    def reach(self, panel: Panel) -> LagProfile:
        """Measure how far back the gradient of one forecast reaches, on (at most 256) windows.

        The mean of the members' profiles, of their top layer.
        """
        examples = self.design.examples(panel)
        index = torch.linspace(0, len(examples) - 1, min(len(examples), 256)).long()
        z, r = examples[index]
        profiles = [
            lag_profile(self.network.member(i), z, r, losses.mae)[-1]
            for i in range(self.design.members)
        ]
        phi = np.mean([profile.norms * profile.newest for profile in profiles], axis=0)
        return LagProfile(profiles[0].layer, phi / phi[0], newest=float(phi[0]))


def fit(
    panel: Panel, design: Design, updates: int, observers: Sequence[Observer], name: str
) -> tuple[Model, History]:
    """Fit both paths to everything in the panel, the nets with a given number of updates."""
    training = replace(design.training, max_updates=updates, patience=None)
    model = Model(design, _linear(panel, design), design.network())
    trainer = Trainer(model.network, losses.mae, training, observers)
    history = trainer.fit(design.examples(panel), name=name)
    model.network.eval()
    return model, history


def count_updates(
    panel: Panel, design: Design, observers: Sequence[Observer], name: str
) -> tuple[int, History]:
    """Return how many updates are enough, found by early stopping on the latest fifth.

    The windows whose targets lie in the last fifth of every series validate, the earlier ones are
    learned from; the number at which the validation loss was least is what later fits will make.
    """
    examples = design.examples(panel)
    train, validation = examples.split(max(1, int(panel.lengths.max()) // 5))
    if len(validation) == 0:
        history = History()
        history.reason = "too few rows for a validation part"
        return max(1, design.training.max_updates // 4), history
    trainer = Trainer(design.network(), losses.mae, design.training, observers)
    history = trainer.fit(train, validation, name=name)
    least = min(design.training.evaluate_every, design.training.max_updates)
    return max(history.best_index or 0, least), history


def _linear(panel: Panel, design: Design) -> Floats:
    return fit_linear_map(
        panel, design.scale, design.context_length, design.h, design.season_length
    )
