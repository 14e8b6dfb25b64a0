"""The settings of training, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_args

from throughtime._checks import one_of, positive_int, random_seed, real
from throughtime._errors import SettingError
from throughtime.training.agc import AGC
from throughtime.training.autoclip import AutoClip
from throughtime.training.clipping import Clip, Clipping
from throughtime.training.forcing import Forcing
from throughtime.training.penalties import L1, L2, Penalty
from throughtime.training.schedule import Schedule
from throughtime.training.truncation import RandomTruncation, Truncation
from throughtime.training.vanishing import Vanishing
from throughtime.training.zclip import ZClip


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    max_updates     optimiser steps at most
    batch_size      examples an update; None takes all of them
    learning_rate   η of AdamW, the highest that `schedule` reaches
    schedule        "constant", "cosine" or "one-cycle", see `schedule.py`
    warm_up         updates of linear warm-up; the one-cycle schedule brings its own
    weight_decay    λ of AdamW
    clip            what is done to long gradients: `Clip`, `AutoClip`, `ZClip` or `AGC`
    evaluate_every  updates between two looks at the validation part
    patience        looks without a better loss before training stops; None never stops early
    average         decay d of the average of the weights, θ̄ <- d θ̄ + (1-d) θ; None for no average
    truncation      k1 and k2 for long sequences, see `Truncation`, or `RandomTruncation`; None for
                    full BPTT
    penalties       what is added to the loss, in training alone and not in the loss that is told:
                    any of `L1`, `L2`, `Vanishing`
    forcing         how often a decoder is fed its targets, see `Forcing`; None never feeds it any
    seed            of the batches and of dropout

    Raises SettingError where one is out of its range.

    >>> TrainingSettings(batch_size=0)
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected batch_size to be a whole number of at least 1, found 0: pass batch_size=1 or more.
    """

    max_updates: int = 1000
    batch_size: int | None = None
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warm_up: int = 0
    weight_decay: float = 0.0
    clip: Clipping = field(default_factory=lambda: Clip(norm=1.0))
    evaluate_every: int = 50
    patience: int | None = None
    average: float | None = None
    truncation: Truncation | RandomTruncation | None = None
    penalties: tuple[Penalty, ...] = ()
    forcing: Forcing | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("max_updates", self.max_updates)
        positive_int("evaluate_every", self.evaluate_every)
        random_seed("seed", self.seed)
        positive_int("warm_up", self.warm_up, at_least=0)
        for name in ("batch_size", "patience"):
            if getattr(self, name) is not None:
                positive_int(name, getattr(self, name))
        real("learning_rate", self.learning_rate, above=0, below=float("inf"))
        real("weight_decay", self.weight_decay, at_least=0, below=float("inf"))
        if self.average is not None:
            real("average", self.average, above=0, below=1)
        one_of("schedule", self.schedule, get_args(Schedule))
        if not isinstance(self.penalties, tuple) or not all(
            isinstance(each, get_args(Penalty)) for each in self.penalties
        ):
            raise SettingError(
                "penalties to be a tuple of L1, L2 and Vanishing",
                repr(self.penalties),
                'pass such as penalties=(L1(1e-4, "weight_hh"),)',
            )
        if self.forcing is not None and not isinstance(self.forcing, Forcing):
            raise SettingError(
                "forcing to be a Forcing", repr(self.forcing), 'pass such as Forcing("linear")'
            )
        if self.warm_up and self.schedule == "one-cycle":
            raise SettingError(
                "no warm_up with the one-cycle schedule, which warms up by itself",
                f"warm_up={self.warm_up}",
                "leave it at 0 or take schedule='cosine'",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a file."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingSettings:
        """Make settings from what `to_json` returned.

        >>> settings = TrainingSettings(truncation=Truncation(k1=5))
        >>> TrainingSettings.from_json(settings.to_json()) == settings
        True
        """
        return cls(**{name: _made(value) for name, value in values.items()})


# What may stand in a setting besides numbers and words; in a file, its class goes by `kind`.
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Clip, AutoClip, ZClip, AGC),
        *(Truncation, RandomTruncation),
        *(L1, L2, Vanishing),
        Forcing,
    )
}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if not is_dataclass(value):
        return value
    parts = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return {"kind": type(value).__name__, **parts}


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_made, value))
    if not isinstance(value, dict):
        return value
    return KINDS[value["kind"]](
        **{name: _made(part) for name, part in value.items() if name != "kind"}
    )
