"""What one fit makes: linear autoregressions and recurrent nets, whose mean is the forecast.

For each of the K scales f_k (as is, square root, logarithm; `transforms.py`),

    linear_k      f_k^-1( mean + deviation A_k (w - mean) / deviation )     in closed form (`linear.py`)
    recurrent_k   f_k^-1( location + size (base(z) + V h_T + c) )           by training
    seasonal      the mean of the last two seasons                          for a cycle about a level

w is the window of the transformed series, mean and deviation those of its series; h_T the newest
state of a net that reads z (`examples.py`); members e = k, k + K, ... of the ensemble are on scale
k, and recurrent_k is the mean of what they say. Each is held within the range of the window widened
by itself on either side. The forecast is the mean over the kinds of the mean over the scales.

Each answers for itself and is trained for itself. The autoregression is hard to beat on few data
and cannot bend; the nets bend and err in other places; the last seasons keep the level and
the shape that both smooth away. Which scale is right cannot be told from a few cycles. A combination of
forecasts that err differently is better than most of them, and equal parts are hard to improve by
weights that have to be estimated (Bates and Granger 1969; Claeskens et al. 2016, "The forecast
combination puzzle").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from throughtime._checks import one_of, positive_int
from throughtime._errors import SettingError
from throughtime._types import CellName
from throughtime.diagnostics import LagProfile, lag_profile
from throughtime.forecasting.baselines import SeasonalNaive
from throughtime.forecasting.cures import OF_THE_NET, Preprogram, checked_preprogram
from throughtime.forecasting.examples import (
    RESIDUALS,
    Residual,
    ScaledWindows,
    SpreadExamples,
)
from throughtime.forecasting.linear import fit_linear_map
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.preprogramming import preprogram
from throughtime.forecasting.transforms import TRANSFORMS, Transform
from throughtime.forecasting.windows import Windows
from throughtime.nn import Ensemble, Init, PointHead, Recurrence, SequenceInput
from throughtime.nn.sequences import Nonlinearity
from throughtime.training import History, Observer, Trainer, TrainingSettings, losses
from throughtime.training.examples import Some
from throughtime.training.sources import evaluation_batches

Floats = npt.NDArray[np.float64]

SMALL = 2**16  # numbers that the nets handle in one time step
BLOCK = 2**10  # series that are forecast together
MOST_VALIDATED = 2**11  # windows, at each look
LEAST_UPDATES = 100  # before that nets have learned nothing, whatever a short validation part says


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
    transforms: tuple[str, ...]
    residual: Residual
    training: TrainingSettings
    init: tuple[Init, ...] = ()
    nonlinearity: Nonlinearity | None = None
    recurrent_dropout: float = 0.0
    zoneout: float | tuple[float, float] = 0.0
    state_grad_clip: float = 0.0
    layer_norm: bool = False
    preprogram: Preprogram | None = None

    def __post_init__(self) -> None:
        checked_preprogram(self.preprogram)
        for name in ("h", "members", "context_length", "season_length"):
            positive_int(name, getattr(self, name))
        for name in self.transforms:
            one_of("transform", name, TRANSFORMS)
        one_of("residual", self.residual, RESIDUALS)
        for name, value in (
            ("residual='season'", self.residual == "season"),
            ("preprogram='seasonal'", self.preprogram == "seasonal"),
        ):
            if value and self.season_length > self.context_length:
                raise SettingError(
                    f"a context_length of at least one season, {self.season_length}, for {name}",
                    str(self.context_length),
                    f"pass context_length={self.season_length} or more, or another "
                    f"{name.partition('=')[0]}",
                )
        self.recurrence  # noqa: B018  (checks its part)

    @property
    def recurrence(self) -> Recurrence:
        """What each net is made of."""
        cures = {name: getattr(self, name) for name in OF_THE_NET}
        return Recurrence(self.cell, self.hidden_size, self.num_layers, self.dropout, **cures)

    def examples(self, panel: Panel) -> SpreadExamples:
        """Return the windows of a panel on every scale; the scales share their numbering."""
        parts: list[ScaledWindows] = []
        for name in self.transforms:
            part = ScaledWindows.of(
                panel,
                TRANSFORMS[name],
                self.context_length,
                self.h,
                self.residual,
                self.season_length,
            )
            parts.append(replace(part, windows=parts[0].windows) if parts else part)
        return SpreadExamples(tuple(parts))

    @property
    def scale(self) -> Transform:
        """The middle one of the scales, on which errors are taken to be even."""
        return TRANSFORMS[self.transforms[len(self.transforms) // 2]]

    @property
    def has_cycle(self) -> bool:
        """Say whether series turn about a level, so that the last seasons are a forecast."""
        return self.residual == "level" and self.season_length > 1

    def network(self) -> Ensemble:
        """Return the untrained nets."""
        return Ensemble(
            lambda: SequenceInput(1, self.recurrence, PointHead(self.hidden_size, self.h)),
            self.members,
            self.training.seed,
        )


@dataclass(frozen=True, eq=False)
class Model:
    """The linear maps A_k [K, h, L] and the trained nets.

    `explained` is the share of their teacher's variance that the nets explained before training.
    """

    design: Design
    linear: Floats
    network: Ensemble
    explained: float | None = None

    def forecast(self, panel: Panel) -> Floats:
        """Return the next h values [rows, h] after the end of every series, some at a time."""
        made, may_be_negative = [], panel.is_negative
        for block in panel.blocks(BLOCK):
            kinds = [each.mean(axis=0) for each in self.paths(block, may_be_negative).values()]
            made.append(np.mean(kinds, axis=0))
        return np.asarray(np.concatenate(made))

    @np.errstate(over="ignore")  # the limits hold what overflows, too
    def paths(self, panel: Panel, may_be_negative: bool | None = None) -> dict[str, Floats]:
        """Return the forecasts [scales, rows, h] that are combined, by their kind.

        They are not below 0 unless they `may_be_negative`; None asks whether the panel is.
        """
        parts = self.design.examples(panel).parts
        newest = [part.newest() for part in parts]
        members, K = self.design.members, len(parts)
        with torch.no_grad():
            z_E = torch.stack([newest[e % K][0] for e in range(members)])
            batches = evaluation_batches(z_E.shape[1], members)
            said_E = torch.cat([self.network(z_E[:, each]) for each in batches], 1).squeeze(-1)
        linear, recurrent = [], []
        for k, (part, (z, scale)) in enumerate(zip(parts, newest, strict=True)):
            inverse = TRANSFORMS[self.design.transforms[k]].inverse
            z, whole = z.transpose(-1, -2), part.row_scale()
            ahead = whole.apply(scale.invert(z)).double() @ torch.from_numpy(self.linear[k].T)
            linear.append(inverse(whole.invert(ahead).flatten(0, 1).numpy()))
            if k < members:
                said = said_E[k::K].mean(0).reshape(len(z), -1, self.design.h)
                said = scale.invert(said + part.base(z)).flatten(0, 1)
                recurrent.append(inverse(said.double().numpy()))
        made = {"linear": np.stack(linear), "recurrent": np.stack(recurrent)}
        if self.design.has_cycle:
            made["seasonal"] = _last_two_seasons(panel, self.design)[None]
        negative = panel.is_negative if may_be_negative is None else may_be_negative
        low, high = _limits(panel, self.design.context_length, negative)
        return {kind: np.clip(values, low, high) for kind, values in made.items()}

    def reach(self, panel: Panel) -> LagProfile:
        """Measure how far back the gradient of one forecast reaches, on (at most 256) windows.

        The mean of the members' profiles, of their top layer.
        """
        examples = self.design.examples(panel)
        index = torch.linspace(0, len(examples) - 1, min(len(examples), 256)).long()
        z_E, r_E = examples[index.expand(self.design.members, -1)]
        profiles = [
            lag_profile(self.network.member(e), z, r, losses.mae)[-1]
            for e, (z, r) in enumerate(zip(z_E, r_E, strict=True))
        ]
        phi = np.mean([profile.norms * profile.newest for profile in profiles], axis=0)
        return LagProfile(profiles[0].layer, phi / phi[0], newest=float(phi[0]))


def fit(
    panel: Panel, design: Design, updates: int, observers: Sequence[Observer], name: str
) -> tuple[Model, History]:
    """Fit all paths to everything in the panel, the nets with a given number of updates."""
    training = replace(design.training, max_updates=updates, patience=None)
    linear, network, examples = _linear(panel, design), design.network(), design.examples(panel)
    with threads(design):
        explained = _preprogrammed(network, design, linear, examples, observers)
        trainer = Trainer(network, losses.mae, training, observers)
        history = whole(trainer.fit(examples, name=name))
    return Model(design, linear, network.eval(), explained), history


def count_updates(
    panel: Panel, design: Design, observers: Sequence[Observer], name: str
) -> tuple[int, History]:
    """Return how many updates are enough, found by early stopping on the latest fifth.

    The windows whose targets lie in the last fifth of every series validate (2,048 of them at most,
    spread evenly), the earlier ones are learned from; the number at which the validation loss was least is what later fits will make.
    """
    n_validation = max(1, int(panel.lengths.max()) // 5)
    train, validation = design.examples(panel).split(n_validation)
    if len(validation) == 0:
        history = History()
        history.reason = "too few rows for a validation part"
        return max(1, design.training.max_updates // 4), history
    network, linear = design.network(), None
    if design.preprogram == "linear":  # of what is known before the validation part
        linear = _linear(panel.cut(n_validation + design.h - 1), design)
    with threads(design):
        _preprogrammed(network, design, linear, train, observers)
        trainer = Trainer(network, losses.mae, design.training, observers)
        history = whole(trainer.fit(train, Some(validation, MOST_VALIDATED), name=name))
    least = min(LEAST_UPDATES, design.training.max_updates)
    return max(history.best_index or 0, least), history


def _preprogrammed(
    network: Ensemble,
    design: Design,
    linear: Floats | None,
    examples: SpreadExamples,
    observers: Sequence[Observer],
) -> float | None:
    if design.preprogram is None:
        return None
    plain = replace(design.training, patience=None, penalties=())
    return preprogram(network, design.preprogram, linear, examples, plain, observers)


def _last_two_seasons(panel: Panel, design: Design) -> Floats:
    """Return the mean of the last two seasons [rows, h]; the last alone where there is no other."""
    h, again = design.h, SeasonalNaive(design.season_length)
    m = min(design.season_length, int(panel.lengths.max()))
    newest = Windows(panel, 2 * m, 1).newest().flatten(0, 1).double().numpy()
    k = np.arange(h) % m
    made = (newest[:, m + k] + newest[:, k]) / 2
    for r in np.flatnonzero(np.isnan(newest).any(axis=1)).tolist():
        y = panel.row(r)
        last, before = again.forecast(y, h), y[:-m]
        second = last if np.isnan(before).all() else again.forecast(before, h)
        made[r] = (last + second) / 2
    return np.asarray(made)


def whole(history: History) -> History:
    """Return a history that was not broken off; training alone would end as if it were done."""
    if history.reason == "interrupted":
        raise KeyboardInterrupt
    return history


@contextmanager
def threads(design: Design) -> Iterator[None]:
    """Keep small nets on one thread: a second costs more than it gives, on busy cores ten times."""
    before = torch.get_num_threads()
    numbers_a_step = design.members * (design.training.batch_size or 256) * design.hidden_size
    if numbers_a_step <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _limits(panel: Panel, context_length: int, negative: bool) -> tuple[Floats, Floats]:
    """Return the range [rows, 1] of each row's newest window, widened by itself on either side.

    The range of the whole series, where that window has no value. An unstable autoregression, or
    a logarithm taken back, may not run off. Not below 0 unless values may be `negative`.
    """
    w = Windows(panel, context_length, 1).newest().flatten(0, 1).numpy()
    low, high = (
        np.where(np.isnan(newest), whole, newest)[:, None]
        for newest, whole in (
            (extreme.reduce(w, axis=1), panel.extreme(extreme)) for extreme in (np.fmin, np.fmax)
        )
    )
    lowest = -np.inf if negative else 0.0
    return np.maximum(2 * low - high, lowest), 2 * high - low


def _linear(panel: Panel, design: Design) -> Floats:
    maps = [
        fit_linear_map(
            panel,
            TRANSFORMS[name],
            design.context_length,
            design.h,
            design.residual,
            design.season_length,
        )
        for name in design.transforms
    ]
    return np.stack(maps)
