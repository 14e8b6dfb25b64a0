"""Everything a diagnosis measured, as pictures: one after the other, or all in one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from throughtime.drawing.dynamics import long_jacobian, lyapunov, singular_values
from throughtime.drawing.heat import heat_map, heats
from throughtime.drawing.memory import lag_profile, truncation_bias
from throughtime.drawing.openings import gates
from throughtime.drawing.panels import together
from throughtime.drawing.theme import HEIGHT, require_plotly
from throughtime.drawing.updates import clipping, gradient_history


@dataclass(frozen=True)
class Picture:
    """A figure with its name, its title, and the sentence that says what to see in it."""

    name: str
    title: str
    caption: str
    figure: Any


def pictures(diagnosis: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Return a picture of every part that was measured, the most telling first.

    `diagnosis` is what `Diagnosis.to_dict()` returns; parts that are None or missing are left out.
    Raises MissingExtraError where plotly is not installed.
    """
    require_plotly()
    return tuple(
        Picture(name, title, caption + _more(name, diagnosis), figure)
        for name, title, caption, draw in _PICTURES
        if (figure := draw(diagnosis)) is not None
    )


def figure(diagnosis: Mapping[str, Any]) -> Any:
    """Return all pictures in one plotly figure, as small multiples.

    `diagnosis` is what `Diagnosis.to_dict()` returns. Raises MissingExtraError where plotly is not
    installed.
    """
    panels = {each.name: (each.title, each.figure) for each in pictures(diagnosis)}
    first = [[panels.pop("heat")]] if "heat" in panels else []
    others = list(panels.values())
    whole = together([*first, *(others[k : k + 2] for k in range(0, len(others), 2))], HEIGHT + 40)
    whole.update_layout(margin={"l": 16, "r": 24})
    return whole


def _more(name: str, diagnosis: Mapping[str, Any]) -> str:
    return f" {clipping(diagnosis['log'])}" if name == "history" else ""


def _heat(diagnosis: Mapping[str, Any]) -> Any:
    log = diagnosis.get("log") or {}
    return heat_map(log, diagnosis.get("need"), _step(diagnosis)) if heats(log) else None


def _history(diagnosis: Mapping[str, Any]) -> Any:
    log = diagnosis.get("log") or {}
    return gradient_history(log) if log.get("norms") else None


def _of_layers(
    part: str, draw: Callable[..., Any], *more: str
) -> Callable[[Mapping[str, Any]], Any]:
    def drawn(diagnosis: Mapping[str, Any]) -> Any:
        layers = [layer for layer in diagnosis.get("layers") or () if layer.get(part)]
        if not layers:
            return None
        return draw(
            layers, *(_step(diagnosis) if name == "step" else diagnosis.get(name) for name in more)
        )

    return drawn


def _opened(diagnosis: Mapping[str, Any]) -> Any:
    layers = diagnosis.get("layers") or ()
    layers = [layer for layer in layers if (layer.get("gates") or {}).get("gates")]
    return gates(layers) if layers else None


def _step(diagnosis: Mapping[str, Any]) -> str:
    return diagnosis.get("step") or "step"


_PICTURES: tuple[tuple[str, str, str, Callable[[Mapping[str, Any]], Any]], ...] = (
    (
        "heat",
        "The gradient over time, by update",
        "Each row is one update of the training: how much of the newest step's gradient arrives ever "
        "further back; the white line is where 1 % is left.",
        _heat,
    ),
    (
        "reach",
        "How far back the gradient reaches",
        "How strongly the loss of one step depends on the state ever further back; what lies where "
        "the curve has fallen under 1 % is hardly learnt from.",
        _of_layers("lag_profile", lag_profile, "need", "step"),
    ),
    (
        "history",
        "The size of the gradient",
        "The norm of the gradient at every update, before clipping.",
        _history,
    ),
    (
        "gates",
        "What the gates do",
        "A gate that is stuck at either end passes little gradient to its own weights; one that is "
        "free can still learn when to open.",
        _opened,
    ),
    (
        "one-step",
        "What one step does to a change of the state",
        "Between the smallest and the largest singular value lies all that one step can do; the "
        "spectral radius alone promises less than the largest delivers.",
        _of_layers("jacobians", singular_values, "step"),
    ),
    (
        "long-term",
        "What many steps do to a change of the state",
        "The product of the steps decides: far under 1 gradients vanish, far over 1 they explode, and "
        "a high ratio of largest to smallest leaves few directions that carry anything.",
        _of_layers("jacobians", long_jacobian, "step"),
    ),
    (
        "lyapunov",
        "How fast changes grow or die out for good",
        "The Lyapunov exponents, with the error of the first: all below 0 and the net forgets, one "
        "above and it is chaotic.",
        _of_layers("lyapunov", lyapunov, "step"),
    ),
    (
        "truncation",
        "What it costs to cut the gradient off",
        "By how much the gradient is wrong where it is cut off after so many steps, measured and as "
        "predicted from the lag profile.",
        _of_layers("truncation_bias", truncation_bias, "step"),
    ),
)
