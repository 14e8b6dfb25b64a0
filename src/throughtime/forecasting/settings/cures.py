"""What a forecaster may be given, one argument each, so that its gradients reach far enough.

    init                where the weights start: tt.nn.chrono(132), orthogonal(), identity(),
                        forget_bias(1), their texts ("chrono:132"), or several
    nonlinearity        "tanh" or "relu", of cell="rnn"; None is tanh, or relu with identity()
    recurrent_dropout   share of h_{t-1} dropped on its way to U in training
    zoneout             rate at which units keep their state of the step before
    state_grad_clip     norm that limits the gradient of every state on its way back; 0 is none
    layer_norm          normalise at every step, of cell="lstm"
    clip                a norm that no gradient exceeds, or `Clip`, `AutoClip`, `ZClip`, `AGC`; None is none
    penalties           what is added to the loss: `L1`, `L2`, `Vanishing`, or several
    preprogram          "linear" or "seasonal": before training, imitate that forecast

Beside them, what else a net is made of:

    bidirectional       read the context both ways, for architecture="direct" or "es"
    dilations           steps before each layer reads its own state, such as (1, 2, 4, 8)
    skip_connections    add its input to what each layer returns, from the second on

The first six and these make the net (`nn.Recurrence`), `clip` and `penalties` go to `TrainingSettings`, and
`preprogram` comes between the two (`fitting/preprogramming.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypedDict, cast, get_args

from throughtime._checks import one_of, real
from throughtime._errors import SettingError
from throughtime.nn.recurrence import Nonlinearity
from throughtime.nn.stacks import Dilations
from throughtime.nn.starting_points import Inits
from throughtime.training import Clip, Clipping, TrainingSettings
from throughtime.training.penalties import Penalty

Preprogram = Literal["linear", "seasonal"]
OF_THE_NET = (
    "init",
    "nonlinearity",
    "recurrent_dropout",
    "zoneout",
    "state_grad_clip",
    "layer_norm",
    "bidirectional",
    "dilations",
    "skip_connections",
)


class Cures(TypedDict, total=False):
    """The arguments, by name; see the module."""

    init: Inits
    nonlinearity: Nonlinearity | None
    recurrent_dropout: float
    zoneout: float | tuple[float, float]
    state_grad_clip: float
    layer_norm: bool
    bidirectional: bool
    dilations: Dilations | None
    skip_connections: bool
    clip: Clipping | float | None
    penalties: Penalty | Sequence[Penalty]
    preprogram: Preprogram | None


def check_names(given: Iterable[str], others: Iterable[str]) -> None:
    """Refuse a name that is neither a cure nor among the `others` that a forecaster takes.

    >>> check_names(["zoneuot"], ["h", "cell"])
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected an argument of Forecaster (h, cell, init, nonlinearity, recurrent_dropout, zoneout, state_grad_clip, layer_norm, bidirectional, dilations, skip_connections, clip, penalties, preprogram), found 'zoneuot': pass zoneout.
    """
    known = [*others, *Cures.__annotations__]
    for name in given:
        if name not in Cures.__annotations__:
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingError(
                f"an argument of Forecaster ({', '.join(known)})",
                repr(name),
                f"pass {close[0]}" if close else "pass one of these",
            )


def trained_with(training: TrainingSettings, cures: Any) -> TrainingSettings:
    """Return the settings of training with the cures among them; a bare `clip` is a norm.

    >>> trained_with(TrainingSettings(), {"clip": 0.5}).clip
    Clip(norm=0.5, value=None)
    """
    changes: dict[str, Any] = {}
    if "clip" in cures:
        clip = Clip() if cures["clip"] is None else cures["clip"]
        changes["clip"] = (
            clip if isinstance(clip, Clipping) else Clip(norm=real("clip", clip, above=0))
        )
    if "penalties" in cures:
        several = isinstance(cures["penalties"], (tuple, list))
        changes["penalties"] = tuple(cures["penalties"] if several else [cures["penalties"]])
    return replace(training, **changes)


def checked_preprogram(value: object) -> Preprogram | None:
    """Return what the nets are preprogrammed with; SettingError for what there is not."""
    one_of("preprogram", value, [None, *get_args(Preprogram)])
    return cast("Preprogram | None", value)
