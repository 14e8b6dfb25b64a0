"""All that is decided before a fit, by the user or from the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from throughtime._checks import one_of, positive_int
from throughtime._errors import SettingError
from throughtime._types import CellName
from throughtime.forecasting.channels import Channels, Sizes
from throughtime.forecasting.cures import OF_THE_NET, Preprogram, checked_preprogram
from throughtime.forecasting.decoders import DECODERS
from throughtime.forecasting.examples import ScaledWindows, SpreadExamples
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.residuals import RESIDUALS, Base, Residual
from throughtime.forecasting.running import RunningWindows
from throughtime.forecasting.transforms import TRANSFORMS, Transform
from throughtime.nn import Ensemble, Init, Recurrence
from throughtime.nn.heads import ValueHead
from throughtime.nn.sequences import Nonlinearity
from throughtime.nn.stacks import Dilations
from throughtime.training import TrainingSettings
from throughtime.training.losses import Loss
from throughtime.training.outputs import OUTPUTS, output

SCALINGS = ("blend", "running")
SMALL = 2**16  # numbers that the nets handle in one time step


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
    scaling: str = "blend"

    def __post_init__(self) -> None:
        checked_preprogram(self.preprogram)
        for name in ("h", "members", "context_length", "season_length"):
            positive_int(name, getattr(self, name))
        for name in self.transforms:
            one_of("transform", name, TRANSFORMS)
        one_of("residual", self.residual, RESIDUALS)
        one_of("decoder", self.decoder, DECODERS)
        one_of("output", self.output, OUTPUTS)
        one_of("scaling", self.scaling, SCALINGS)
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
        if self.carries and self.decoder not in ("synced", "recursive"):
            raise SettingError(
                "scaling='running' for decoder='synced' or 'recursive', which read step by step",
                f"decoder={self.decoder!r}",
                "leave scaling out",
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
    def carries(self) -> bool:
        """Say whether the nets' states are carried from step to step, over whole series."""
        return self.scaling == "running"

    @property
    def loss(self) -> Loss:
        """What the nets are trained on."""
        return output(self.output, 1, 1)[1]

    def examples(self, panel: Panel, channels: Channels | None = None) -> SpreadExamples:
        """Return the windows of a panel on every scale; `channels` are those that were fitted."""
        channels = Channels.of(panel, self.calendar) if channels is None else channels
        kind = RunningWindows if self.carries else ScaledWindows
        return SpreadExamples(
            tuple(
                kind.of(
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

        def head(hidden_size: int, outputs: int) -> ValueHead:
            return output(self.output, hidden_size, outputs)[0]

        decoder = DECODERS[self.decoder]
        return Ensemble(
            lambda: decoder(sizes, self.recurrence, head, self.h),
            self.members,
            self.training.seed,
        )


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
