"""All that is decided before a fit, by the user or from the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import SettingError
from throughtime._types import CellName, model_name
from throughtime._words import joined
from throughtime.forecasting.architectures import ARCHITECTURES, AT_ONCE, DRAWS, Architecture
from throughtime.forecasting.architectures.ar import checked_lags
from throughtime.forecasting.architectures.reversible import Reversible
from throughtime.forecasting.examples.importance import WEIGHTINGS
from throughtime.forecasting.examples.running import RunningWindows
from throughtime.forecasting.examples.scaled import ScaledWindows, SpreadExamples
from throughtime.forecasting.preprocessing.differences import DIFFERENCES, Difference, lags_of
from throughtime.forecasting.preprocessing.residuals import RESIDUALS, Base, Residual
from throughtime.forecasting.preprocessing.scaling import SCALING_WORDS, SCALINGS
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS, Transform
from throughtime.forecasting.pretrained.net import WEIGHTS
from throughtime.forecasting.series.channels import Channels, Sizes
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.cures import OF_THE_NET, Preprogram, checked_preprogram
from throughtime.nn import Ensemble, Init, Recurrence
from throughtime.nn.heads import ValueHead
from throughtime.nn.recurrence import Nonlinearity
from throughtime.nn.stacks import Dilations
from throughtime.training import TrainingSettings
from throughtime.training.losses import Loss
from throughtime.training.outputs import COUNTS, OUTPUTS, output


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
    architecture: str = "direct"
    output: str = "point"
    calendar: tuple[str, ...] = ()
    segment: int = 1
    linear_skip: int = 0  # how many linear maps
    companions: bool = True
    smoothing: bool = False
    pretrained: str | None = None
    taught: int = 0  # updates by which the pretrained net learns from the panel
    scaling: str = "blend"
    difference: Difference | None = None
    weighting: str = "window"
    lags: tuple[int, ...] = ()
    combine: str = "mean"

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_context()
        self._check_output()
        self._check_carried()
        self._check_architecture()
        self.recurrence  # noqa: B018  (checks its part)

    def _check_choices(self) -> None:
        """Refuse what is out of its range or none of its choices."""
        checked_preprogram(self.preprogram)
        for name in ("h", "members", "context_length", "season_length", "segment"):
            positive_int(name, getattr(self, name))
        if not isinstance(self.linear_skip, bool):  # True is one map
            positive_int("linear_skip", self.linear_skip, at_least=0)
        for name in self.transforms:
            one_of("transform", name, TRANSFORMS)
        one_of("residual", self.residual, RESIDUALS)
        one_of("scaling", self.scaling, SCALINGS)
        one_of("difference", self.difference, DIFFERENCES)
        one_of("architecture", self.architecture, ARCHITECTURES)
        one_of("output", self.output, OUTPUTS)
        one_of("weighting", self.weighting, WEIGHTINGS)
        one_of("combine", self.combine, ("mean", "median"))
        one_of("pretrained", self.pretrained, (None, *WEIGHTS))
        positive_int("taught", self.taught, at_least=0)
        if self.weighting != "window" and not (self.architecture in AT_ONCE and self.in_units):
            raise SettingError(
                "weighting='window' for all but architecture='direct', 'es' or 'segment' with "
                "output='point' or 'quantiles'",
                f"architecture={self.architecture!r}, output={self.output!r}",
                "leave weighting out",
            )
        for name in ("layer_norm", "bidirectional", "skip_connections", "companions", "smoothing"):
            one_of(name, getattr(self, name), [False, True])

    def _check_context(self) -> None:
        """Refuse a context that seasons or segments do not fit."""
        for name, value in (
            ("residual='season'", self.residual == "season"),
            ("preprogram='seasonal'", self.preprogram == "seasonal"),
            (f"difference={self.difference!r}", self.difference in ("season", "both")),
        ):
            if value and self.season_length > self.context_length:
                raise SettingError(
                    f"a context_length of at least one season, {self.season_length}, for {name}",
                    str(self.context_length),
                    f"pass context_length={self.season_length} or more, or another "
                    f"{name.partition('=')[0]}",
                )
        if self.preprogram and (self.architecture, self.output) != ("direct", "point"):
            raise SettingError(
                "preprogram for architecture='direct' and output='point' alone",
                f"architecture={self.architecture!r}, output={self.output!r}",
                "leave preprogram out",
            )
        if self.context_length % self.segment:
            raise SettingError(
                f"a context_length of whole segments, of {self.segment} steps each",
                str(self.context_length),
                f"pass context_length={-(-self.context_length // self.segment) * self.segment}",
            )
        if (self.segment > 1 or self.linear_skip) and self.architecture not in AT_ONCE:
            raise SettingError(
                "segment and linear_skip for architecture='direct', 'es' or 'segment' alone",
                f"architecture={self.architecture!r}",
                "leave them out",
            )
        if self.preprogram and self.difference is not None:
            raise SettingError(
                "preprogram or difference: the teacher reads values",
                f"preprogram={self.preprogram!r}, difference={self.difference!r}",
                "leave one of them out",
            )

    def _check_output(self) -> None:
        """Refuse lags, paths and counts where they are not read or said."""
        checked_lags(self.lags)
        if self.lags and (self.architecture != "ar" or self.difference is not None):
            raise SettingError(
                "lags for architecture='ar' alone, and not with difference",
                f"architecture={self.architecture!r}, difference={self.difference!r}",
                "leave them out",
            )
        if self.draws and self.output == "point":
            raise SettingError(
                f"a distribution to draw paths from, for architecture={self.architecture!r}",
                "output='point'",
                "pass output='student-t', 'gaussian' or another",
            )
        if self.counts and (self.transforms, self.residual) != (("identity",), "level"):
            raise SettingError(
                "transform='identity' and residual='level' for counts, which cannot be shifted",
                f"transform={', '.join(self.transforms)!r}, residual={self.residual!r}",
                "leave both out, or pass another output",
            )

    def _check_carried(self) -> None:
        """Refuse scaling="running" for what is not carried from step to step."""
        if self.carries and self.architecture not in ("synced", "recursive"):
            raise SettingError(
                "scaling='running' for architecture='synced' or 'recursive', which read step by step",
                f"architecture={self.architecture!r}",
                "leave scaling out",
            )
        if self.carries and (self.counts or self.difference is not None):
            raise SettingError(
                "scaling='running' for values: neither counts nor differences are carried on",
                f"output={self.output!r}, difference={self.difference!r}",
                "leave scaling out, or those",
            )

    def _check_architecture(self) -> None:
        """Refuse what an architecture cannot do."""
        if self.bidirectional and self.architecture not in ("direct", "es"):
            raise SettingError(
                "bidirectional for architecture='direct' or 'es', which read before they answer",
                f"architecture={self.architecture!r}",
                "leave bidirectional out",
            )
        if self.architecture == "es" and (self.counts or self.scaling == "revin"):
            raise SettingError(
                "values that can be shifted by their level, for architecture='es'",
                f"output={self.output!r}, scaling={self.scaling!r}",
                "pass another of them, or architecture='direct'",
            )
        if self.architecture == "es" and (self.residual, self.difference) != ("level", None):
            raise SettingError(
                "residual='level' and no difference for architecture='es', which smooths values itself",
                f"residual={self.residual!r}, difference={self.difference!r}",
                "leave them out",
            )

    @property
    def name(self) -> str:
        """The name of the model's column in tables, such as LSTM or MinGRU."""
        return model_name(self.cell)

    @property
    def recurrence(self) -> Recurrence:
        """What each net is made of."""
        cures = {name: getattr(self, name) for name in OF_THE_NET}
        shape = self.cell, self.hidden_size, self.num_layers
        return recurrence_of(self.architecture, self.dropout, *shape, **cures)

    @property
    def base(self) -> Base:
        """The naive forecast that the nets begin from."""
        return Base(self.residual, self.season_length)

    @property
    def difference_lags(self) -> tuple[int, ...]:
        """The lags of the differences that are read in place of values."""
        return lags_of(self.difference, self.season_length)

    @property
    def counts(self) -> bool:
        """Say whether the nets say distributions of counts."""
        return self.output in COUNTS

    @property
    def in_units(self) -> bool:
        """Say whether the loss is an error in units, that can be weighed by what they are worth."""
        return self.output in ("point", "quantiles")

    @property
    def any_horizon(self) -> bool:
        """Say whether the model can forecast beyond h."""
        return self.draws and not self.companions

    @property
    def draws(self) -> bool:
        """Say whether forecasts are made of paths that nets draw step by step."""
        return self.architecture in DRAWS

    @property
    def reach(self) -> int:
        """Return how many steps back a forecast reads."""
        return self.context_length + max(sum(self.difference_lags), max(self.lags, default=1) - 1)

    @property
    def carries(self) -> bool:
        """Say whether the nets' states are carried from step to step, over whole series."""
        return self.scaling == "running"

    @property
    def loss(self) -> Loss:
        """What the nets are trained on."""
        return output(self.output, 1, 1)[1]

    def channels(self, panel: Panel) -> Channels:
        """Return what nets read that are fitted to a panel."""
        apart = ARCHITECTURES[self.architecture].tells_apart(len(panel.ids))
        return Channels.of(panel, self.calendar, panel.ids if apart else ())

    def examples(self, panel: Panel, channels: Channels | None = None) -> SpreadExamples:
        """Return the windows of a panel on every scale; `channels` are those that were fitted.

        The scales share their numbering.
        """
        channels = self.channels(panel) if channels is None else channels
        kind = RunningWindows if self.carries else ScaledWindows
        parts: list[ScaledWindows] = []
        for name in self.transforms:
            part = kind.of(
                panel,
                TRANSFORMS[name],
                self.context_length,
                self.h,
                self.base,
                ARCHITECTURES[self.architecture],
                channels,
                self.scaling,
                self.difference_lags,
                self.counts,
                self.lags,
            )
            parts.append(replace(part, windows=parts[0].windows) if parts else part)
        return SpreadExamples(tuple(parts))

    @property
    def scale(self) -> Transform:
        """The middle one of the scales, on which errors are taken to be even."""
        return TRANSFORMS[self.transforms[len(self.transforms) // 2]]

    @property
    def scaling_words(self) -> str:
        """One line on how values are scaled: transforms, moments, naive base and differences."""
        turns = " by turns" if len(self.transforms) > 1 else ""
        parts = [joined(self.transforms) + turns, SCALING_WORDS[self.scaling]]
        m = self.season_length
        bases = {"level": "level", "last": "last value", "season": f"last season ({m})"}
        parts.append(f"from the {bases[self.residual]}")
        if self.difference is not None:
            steps = [f"{lag:,}" for lag in self.difference_lags]
            parts.append(f"reads differences at lag {' and '.join(steps)}")
        return "; ".join(parts)

    @property
    def beside_words(self) -> str:
        """What stands beside the nets in equal parts, or is a part of theirs; empty where nothing does."""
        said = {
            "a pretrained net": self.pretrained is not None and not self.taught,
            "a pretrained net that was taught the series": self.taught > 0,
            "linear autoregression": self.companions,
            "the last two seasons": self.companions and self.has_cycle,
            "exponential smoothing": self.smoothing,
        }
        names = [name for name, stands in said.items() if stands]
        return joined(names) if names else ""

    @property
    def on_trial(self) -> bool:
        """Say whether a pretrained net stands beside the nets where rolling origins have to bear it out."""
        return self.pretrained is not None and not self.companions

    @property
    def alone(self) -> Design:
        """The design without a pretrained net that would be on trial."""
        return replace(self, pretrained=None, taught=0) if self.on_trial else self

    @property
    def has_cycle(self) -> bool:
        """Say whether series turn about a level, so that the last seasons are a forecast."""
        return self.residual == "level" and self.season_length > 1 and self.architecture != "es"

    @property
    def numbers_a_step(self) -> int:
        """Return how many numbers the nets handle in one time step."""
        return self.members * (self.training.batch_size or 256) * self.hidden_size

    def network(self, sizes: Sizes) -> Ensemble:
        """Return the untrained nets, for inputs of these sizes."""

        def head(hidden_size: int, outputs: int) -> ValueHead:
            return output(self.output, hidden_size, outputs)[0]

        def build() -> Architecture:
            how: dict[str, Any] = {}
            if self.architecture in AT_ONCE:
                skips = self.context_length if self.linear_skip else 0, int(self.linear_skip)
                how = {"segment": self.segment, "skips": skips}
            if self.architecture == "segment":
                how["dropout"] = self.dropout
            if self.architecture == "es":
                how["season_length"] = self.season_length
            if self.architecture == "ar":
                how["lags"] = self.lags
            net = ARCHITECTURES[self.architecture](sizes, self.recurrence, head, self.h, **how)
            if self.scaling == "revin":
                net.reversible = Reversible(sizes.targets, self.base)
            return net

        return Ensemble(build, self.members, self.training.seed)


def recurrence_of(
    architecture: str | None,
    dropout: float,
    cell: CellName,
    hidden_size: int,
    num_layers: int,
    **cures: Any,
) -> Recurrence:
    """Return what nets are made of; "segment" has dropout behind its last layer, too."""
    if architecture == "segment" and num_layers == 1:
        real("dropout", dropout, at_least=0, below=1)
        return Recurrence(cell, hidden_size, num_layers, **cures)
    return Recurrence(cell, hidden_size, num_layers, dropout, **cures)
