"""Sentences that the terminal and the report both say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from throughtime._words import count, number, percent

_OPTIONS = {"season_length": "--season", "context_length": "--context-length"}
_UNITS = {
    **{"Y": "year", "A": "year", "Q": "quarter", "M": "month", "W": "week", "D": "day"},
    **{"B": "working day", "H": "hour", "T": "minute", "MIN": "minute", "S": "second"},
}


def as_options(sentence: str) -> str:
    """Return a sentence with options of the command line in the place of arguments.

    >>> as_options("Expected season_length of at most 9: pass freq='MS', or freq= another")
    'Expected --season of at most 9: pass --freq MS, or --freq another'
    """
    sentence = re.sub(r"\bfreq='([\w-]+)'", r"--freq \1", sentence).replace(" freq=", " --freq")
    for argument, option in _OPTIONS.items():
        sentence = re.sub(rf"\b{argument}\b", option, sentence)
    return sentence


def unit(alias: str, first: object = None) -> str:
    """Return the word for one time step of a frequency, for dates that begin at `first`.

    >>> unit("MS"), unit("W-SUN"), unit("30min"), unit("1"), unit("1", 1700)
    ('month', 'week', 'step', 'step', 'year')
    """
    name = alias.upper()
    if name == "1" and isinstance(first, int) and 1500 <= first <= 2200:
        return "year"
    if name[:1].isdigit():
        return "step"
    head = name.split("-")[0]
    stem = head.removesuffix("S").removesuffix("E") if len(head) > 1 else head
    return _UNITS.get(head, _UNITS.get(stem, "step"))


def every(alias: str, step: str) -> str:
    """Say a frequency, whose step is the word `step`.

    >>> every("MS", "month"), every("30min", "step"), every("1", "step")
    ('every month (MS)', 'every 30min', 'every step')
    """
    if step == "step":
        return f"every {'step' if alias == '1' else alias}"
    return f"every {step}" if alias == "1" else f"every {step} ({alias})"


def baseline(name: str) -> str:
    """Return how a sentence calls the model `name`.

    >>> baseline("SeasonalNaive")
    'the seasonal naive forecast'
    """
    return {
        "Naive": "the naive forecast",
        "SeasonalNaive": "the seasonal naive forecast",
        "AR": "linear autoregression",
        "LinearAR": "linear autoregression",
    }.get(name, name)


def verdict(scores: Sequence[Any], name: str, n_windows: int) -> str:
    """Say in one honest sentence how the model did against the best baseline, also when it lost."""
    ours = next((s for s in scores if s.model == name), None)
    others = [s for s in scores if s.model != name and math.isfinite(s.mae)]
    if ours is None or not others or not math.isfinite(ours.mae):
        return "The series is too short to compare the model with baselines."
    rival = min(others, key=lambda score: score.mae)
    where = f"over {count(n_windows, 'rolling origin')}"
    against = f"{baseline(rival.model)}, the best baseline ({number(rival.mae)})"
    change = ours.mae / rival.mae - 1 if rival.mae else (math.inf if ours.mae else 0.0)
    if abs(change) < 0.005:
        return (
            f"The {name} does as well as {against}: mean absolute error {number(ours.mae)} {where}."
        )
    if change < 0:
        return (
            f"The {name} beats {against}: its mean absolute error {where} is {number(ours.mae)}, "
            f"{percent(-change)} lower."
        )
    higher = f"{percent(change)} higher" if math.isfinite(change) else "higher"
    return (
        f"The {name} loses to {against}: its mean absolute error {where} is {number(ours.mae)}, "
        f"{higher}; prefer the baseline here."
    )


def reach(profile: Any, season_length: int, context_length: int, step: str) -> str:
    """Say in one sentence how far back in time the gradient reaches."""
    memory, half = profile.memory, profile.half_life
    if memory is None:
        text = f"The gradient stays above 1% over all {count(len(profile.lags) - 1, step)} measured"
    else:
        text = f"The gradient falls under 1% of its size after {count(memory, step)}"
    if half is not None and math.isfinite(half):
        text += f" (half after {number(half, 2)})"
    if season_length <= 1:
        return f"{text}; the model looks back {count(context_length, step)}."
    seasons = (len(profile.lags) - 1 if memory is None else memory) / season_length
    if seasons >= 1:
        return f"{text}: it spans the season of {count(season_length, step)}."
    return f"{text}: less than the season of {count(season_length, step)}."
