"""The trials of a search over settings: what each scored, and the best so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from throughtime.drawing.theme import INK, blank, colour, line

_SYMBOLS = {"complete": "circle", "pruned": "x-thin", "diverged": "triangle-up-open"}
_SAID = {"complete": "", "pruned": ", stopped early", "diverged": ", diverged"}
_SHAPES = ("circle", "square", "diamond")  # a cell is told by more than its colour


def trials(tuning: Mapping[str, Any]) -> Any:
    """Draw the score of every trial in the colour of its cell, and the lowest so far as a line.

    Args:
        tuning: `winner`, the number of a trial, and `trials`, each with `trial` (its number), `cell`,
            `state` ("complete", "pruned", "diverged"), `score` (None before the first origin) and
            `settings` by name.

    Returns:
        A plotly figure; trials that were stopped early are crosses at the mean of their errors so far.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure = blank()
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title_text="trial", rangemode="tozero")
    figure.update_yaxes(title_text="mean absolute scaled error")
    every = [each for each in tuning["trials"] if each["score"] is not None]
    done = [each for each in every if each["state"] == "complete"]
    lowest = list(accumulate((each["score"] for each in done), min))
    numbers = [each["trial"] for each in done]
    ends = (numbers + [each["trial"] for each in every[-1:]], lowest + lowest[-1:])
    line(figure, *ends, "best so far", INK, 1.2, dash="dot", line_shape="hv", hoverinfo="skip")
    for k, cell in enumerate(dict.fromkeys(each["cell"] for each in every)):
        _points(figure, [each for each in every if each["cell"] == cell], cell, k)
    for each in done:
        if each["trial"] == tuning["winner"]:
            figure.add_annotation(
                text="best", x=each["trial"], y=each["score"], ax=0, ay=28, arrowcolor=INK
            )
    return figure


def _points(figure: Any, own: Sequence[Mapping[str, Any]], cell: str, k: int) -> None:
    stroke, shape = colour(k)[0], _SHAPES[k % len(_SHAPES)]
    complete = [each["state"] == "complete" for each in own]
    figure.add_scatter(
        x=[each["trial"] for each in own],
        y=[each["score"] for each in own],
        mode="markers",
        name=cell,
        marker={
            "color": stroke,
            "size": 9,
            "symbol": [
                shape if whole else _SYMBOLS[each["state"]]
                for whole, each in zip(complete, own, strict=True)
            ],
            "line": {"color": stroke, "width": [0 if whole else 1.6 for whole in complete]},
        },
        text=[_about(each) for each in own],
        hovertemplate="%{text}<br>%{y:,.4~g}<extra></extra>",
    )


def _about(each: Mapping[str, Any]) -> str:
    """Return what a trial was, for whoever points at it."""
    settings = [f"{name}={value}" for name, value in each["settings"].items() if name != "cell"]
    head = f"trial {each['trial']}: {each['cell']}{_SAID[each['state']]}"
    return "<br>".join([head, *(text.replace("<", "&lt;") for text in settings)])
