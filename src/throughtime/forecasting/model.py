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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._checks import one_of, positive_int
from throughtime._errors import SettingError
from throughtime._types import CellName
from throughtime.diagnostics import LagProfile, lag_profile
from throughtime.forecasting.baselines import SeasonalNaive
from throughtime.forecasting.cures import OF_THE_NET, Preprogram, checked_preprogram
from throughtime.forecasting.channels import Channels, Sizes
from throughtime.forecasting.decoders import DECODERS
from throughtime.forecasting.decoders.decoder import Inputs
from throughtime.forecasting.examples import ScaledWindows, SpreadExamples, stacked
from throughtime.forecasting.linear import fit_linear_map
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.preprogramming import preprogram
from throughtime.forecasting.residuals import RESIDUALS, Base, Residual
from throughtime.forecasting.transforms import TRANSFORMS, Transform
from throughtime.forecasting.windows import Windows
from throughtime.nn import Ensemble, Init, Recurrence
from throughtime.nn.heads import Head
from throughtime.nn.sequences import Nonlinearity
from throughtime.nn.stacks import Dilations
from throughtime.training import History, Observer, Trainer, TrainingSettings
from throughtime.training.losses import Loss
from throughtime.training.outputs import OUTPUTS, output

Floats = npt.NDArray[np.float64]

Say = Callable[[Any, Tensor], Tensor]  # (head, parameters [E, B, M, h, P]) -> [E, B, M, h]

BLOCK = 4096  # series that are forecast together
SMALL = 2**16  # numbers that the nets handle in one time step
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
    bidirectional: bool = False
    dilations: Dilations | None = None
    skip_connections: bool = False
    preprogram: Preprogram | None = None
    decoder: str = "direct"
    output: str = "point"
    calendar: tuple[str, ...] = ()
    companions: bool = True

    def __post_init__(self) -> None:
        checked_preprogram(self.preprogram)
        for name in ("h", "members", "context_length", "season_length"):
            positive_int(name, getattr(self, name))
        for name in self.transforms:
            one_of("transform", name, TRANSFORMS)
        one_of("residual", self.residual, RESIDUALS)
        one_of("decoder", self.decoder, DECODERS)
        one_of("output", self.output, OUTPUTS)
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
        if self.preprogram and (self.decoder, self.output) != ("direct", "point"):
            raise SettingError(
                "preprogram for decoder='direct' and output='point' alone",
                f"decoder={self.decoder!r}, output={self.output!r}",
                "leave preprogram out",
            )
        if self.decoder == "recursive" and self.output == "point":
            raise SettingError(
                "a distribution to draw paths from, for decoder='recursive'",
                "output='point'",
                "pass output='student-t', 'gaussian' or another",
            )
        if self.bidirectional and self.decoder != "direct":
            raise SettingError(
                "bidirectional for decoder='direct' alone, which reads before it answers",
                f"decoder={self.decoder!r}",
                "leave bidirectional out",
            )
        self.recurrence  # noqa: B018  (checks its part)

    @property
    def recurrence(self) -> Recurrence:
        """What each net is made of."""
        cures = {name: getattr(self, name) for name in OF_THE_NET}
        return Recurrence(self.cell, self.hidden_size, self.num_layers, self.dropout, **cures)

    @property
    def base(self) -> Base:
        """The naive forecast that the nets begin from."""
        return Base(self.residual, self.season_length)

    @property
    def loss(self) -> Loss:
        """What the nets are trained on."""
        return output(self.output, 1, 1)[1]

    def examples(self, panel: Panel, channels: Channels | None = None) -> SpreadExamples:
        """Return the windows of a panel on every scale; `channels` are those that were fitted."""
        channels = Channels.of(panel, self.calendar) if channels is None else channels
        return SpreadExamples(
            tuple(
                ScaledWindows.of(
                    panel,
                    TRANSFORMS[name],
                    self.context_length,
                    self.h,
                    self.base,
                    DECODERS[self.decoder],
                    channels,
                )
                for name in self.transforms
            )
        )

    @property
    def scale(self) -> Transform:
        """The middle one of the scales, on which errors are taken to be even."""
        return TRANSFORMS[self.transforms[len(self.transforms) // 2]]

    @property
    def has_cycle(self) -> bool:
        """Say whether series turn about a level, so that the last seasons are a forecast."""
        return self.residual == "level" and self.season_length > 1

    def network(self, sizes: Sizes) -> Ensemble:
        """Return the untrained nets, for inputs of these sizes."""

        def head(hidden_size: int, outputs: int) -> Head:
            return output(self.output, hidden_size, outputs)[0]

        decoder = DECODERS[self.decoder]
        return Ensemble(
            lambda: decoder(sizes, self.recurrence, head, self.h),
            self.members,
            self.training.seed,
        )


@dataclass(frozen=True, eq=False)
class Model:
    """The linear maps A_k [K, h, L] and the trained nets, with what they read beside the targets.

    `explained` is the share of their teacher's variance that the nets explained before training.
    """

    design: Design
    linear: Floats
    network: Ensemble
    channels: Channels
    explained: float | None = None

    def examples(self, panel: Panel) -> SpreadExamples:
        """Return the windows of a panel that has the channels of the fitted one."""
        return self.design.examples(self.channels.check(panel), self.channels)

    def forecast(self, panel: Panel) -> Floats:
        """Return the next h values [rows, h] after the end of every series."""
        kinds = [made.mean(axis=0) for made in self.kinds(panel).values()]
        return np.asarray(np.mean(kinds, axis=0))

    @np.errstate(over="ignore")  # the limits hold what overflows, too
    def kinds(self, panel: Panel) -> dict[str, Floats]:
        """Return the forecasts [scales, rows, h] that are combined, by their kind."""
        parts = self.examples(panel).parts
        made = {"recurrent": self._recurrent(parts, lambda head, params: head.point(params))}
        if self.design.companions:
            made["linear"] = self._linear(parts)
            if self.design.has_cycle:
                made["seasonal"] = _last_two_seasons(panel, self.design)[None]
        low, high = _limits(panel, self.design.context_length)
        return {kind: np.clip(values, low, high) for kind, values in made.items()}

    def _linear(self, parts: Sequence[ScaledWindows]) -> Floats:
        made = []
        for k, part in enumerate(parts):
            window, scale = part.newest()
            whole = part.row_scale()
            A = torch.from_numpy(self.linear[k].T)
            ahead = whole.invert(whole.apply(scale.invert(window.z)).double() @ A)
            made.append(part.transform.inverse(ahead.flatten(0, 1).numpy()))
        return np.stack(made)

    def _recurrent(self, parts: Sequence[ScaledWindows], say: Say) -> Floats:
        """Return what the nets say [scales, rows, h], a block of series at a time."""
        n = len(parts[0].windows.panel.ids)
        blocks = torch.arange(n).split(BLOCK)
        return np.concatenate([self._said(parts, block, say) for block in blocks], axis=1)

    def _said(self, parts: Sequence[ScaledWindows], series: Tensor, say: Say) -> Floats:
        members, K, h = self.design.members, len(parts), self.design.h
        windows = [part.newest(series, h) for part in parts]
        decoder, sizes, base = DECODERS[self.design.decoder], self.channels.sizes, self.design.base
        inputs = [decoder.lay_out(window, sizes, base)[0] for window, _ in windows]
        params_E = self._called(stacked([inputs[e % K] for e in range(members)]))
        head = self.network.template.head
        made = []
        for k, (part, (window, scale)) in enumerate(zip(parts, windows, strict=True)):
            if k < members:
                r = say(head, params_E[k::K]).mean(0)  # [B, M, h]
                z = r + base.ahead(window.z[..., : window.L], h)
                made.append(part.transform.inverse(scale.invert(z).flatten(0, 1).double().numpy()))
        return np.stack(made)

    def _called(self, inputs: Inputs) -> Tensor:
        """Return the parameters [E, B, M, h, P] that the nets say of the newest windows."""
        with torch.no_grad():
            params_E: Tensor = self.network(*((inputs,) if isinstance(inputs, Tensor) else inputs))
        newest = params_E[:, :, -1] if self.design.decoder == "synced" else params_E
        return newest.unflatten(2, (-1, self.design.h))

    def reach(self, panel: Panel) -> LagProfile:
        """Measure how far back the gradient of one forecast reaches, on (at most 256) windows.

        The mean of the members' profiles, of their top layer.
        """
        parts = self.examples(panel).parts
        index = torch.linspace(0, len(parts[0]) - 1, min(len(parts[0]), 256)).long()
        profiles = []
        for e in range(self.design.members):
            inputs, r = parts[e % len(parts)][index]
            profiles.append(lag_profile(self.network.member(e), inputs, r, self.design.loss)[-1])
        phi = np.mean([profile.norms * profile.newest for profile in profiles], axis=0)
        return LagProfile(profiles[0].layer, phi / phi[0], newest=float(phi[0]))


def fit(
    panel: Panel, design: Design, updates: int, observers: Sequence[Observer], name: str
) -> tuple[Model, History]:
    """Fit all paths to everything in the panel, the nets with a given number of updates."""
    training = replace(design.training, max_updates=updates, patience=None)
    channels = Channels.of(panel, design.calendar)
    linear, network = _linear(panel, design), design.network(channels.sizes)
    examples = design.examples(panel, channels)
    with threads(design):
        explained = _preprogrammed(network, design, linear, examples, observers)
        trainer = Trainer(network, design.loss, training, observers)
        history = whole(trainer.fit(examples, name=name))
    return Model(design, linear, network.eval(), channels, explained), history


def count_updates(
    panel: Panel, design: Design, observers: Sequence[Observer], name: str
) -> tuple[int, History]:
    """Return how many updates are enough, found by early stopping on the latest fifth.

    The windows whose targets lie in the last fifth of every series validate, the earlier ones are
    learned from; the number at which the validation loss was least is what later fits will make.
    """
    examples = design.examples(panel)
    n_validation = max(1, int(panel.lengths.max()) // 5)
    train, validation = examples.split(n_validation)
    if len(validation) == 0:
        history = History()
        history.reason = "too few rows for a validation part"
        return max(1, design.training.max_updates // 4), history
    network, linear = design.network(train.parts[0].channels.sizes), None
    if design.preprogram == "linear":  # of what is known before the validation part
        linear = _linear(panel.cut(n_validation + design.h - 1), design)
    with threads(design):
        _preprogrammed(network, design, linear, train, observers)
        trainer = Trainer(network, design.loss, design.training, observers)
        history = whole(trainer.fit(train, validation, name=name))
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
    m, again = design.season_length, SeasonalNaive(design.season_length)
    made = []
    for y in map(panel.row, range(len(panel))):
        last = again.forecast(y, design.h)
        before = y[:-m]
        second = last if np.isnan(before).all() else again.forecast(before, design.h)
        made.append((last + second) / 2)
    return np.stack(made)


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


def _limits(panel: Panel, context_length: int) -> tuple[Floats, Floats]:
    """Return the range [rows, 1] of each row's newest window, widened by itself on either side.

    The range of the whole series, where that window has no value. An unstable autoregression, or a logarithm taken back, may not run off. Not below 0 where no
    value is.
    """
    w = Windows(panel, context_length, 1).newest().flatten(0, 1).numpy()
    low, high = (
        np.where(np.isnan(newest), whole, newest)[:, None]
        for newest, whole in (
            (extreme.reduce(w, axis=1), panel.extreme(extreme)) for extreme in (np.fmin, np.fmax)
        )
    )
    lowest = -np.inf if panel.is_negative else 0.0
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
