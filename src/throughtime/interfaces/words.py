"""Numbers and sentences that the terminal and the report both say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

_UNITS = {
    **{"Y": "year", "A": "year", "Q": "quarter", "M": "month", "W": "week", "D": "day"},
    **{"B": "working day", "H": "hour", "T": "minute", "MIN": "minute", "S": "second"},
}
NONE = "n/a"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with sensible digits; 'n/a' where there is none.

    >>> [number(v) for v in (0.012345, 3.14159, 21.13, 50.94, 12345.6, 0, None)]
    ['0.0123', '3.14', '21.1', '50.9', '12,346', '0', 'n/a']
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    magnitude = _magnitude(value)
    if magnitude < -4 or magnitude > 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(digits - 1 - magnitude, 0)}f}"


def aligned(values: Iterable[float | None], digits: int = 3) -> list[str]:
    """Write numbers that belong together with the same decimals, sensible for the middle one.

    Where all are close to each other, decimals enough to tell them apart.

    >>> aligned([189.94, 0.0489, -11.357, 20, None])
    ['189.9', '0.0', '-11.4', '20.0', 'n/a']
    >>> aligned([371.62, 371.31, 372.04])
    ['371.62', '371.31', '372.04']
    """
    values = list(values)
    finite = [v for v in values if v is not None and math.isfinite(v)]
    sizes = sorted(abs(v) for v in finite if v)
    magnitude = _magnitude(sizes[len(sizes) // 2]) if sizes else 0
    if magnitude < -4 or magnitude > 9:
        return [number(value, digits) for value in values]
    decimals = max(digits - 1 - magnitude, 0)
    spread = max(finite) - min(finite) if finite else 0.0
    if spread > 0:
        decimals = max(decimals, min(digits - 2 - _magnitude(spread), digits + 2 - magnitude))
    return [NONE if v is None or not math.isfinite(v) else f"{v:,.{decimals}f}" for v in values]


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def percent(fraction: float | None) -> str:
    """Write a fraction in per cent.

    >>> percent(0.847), percent(None)
    ('85%', 'n/a')
    """
    return NONE if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.0f}%"


def count(n: int, thing: str) -> str:
    """Write a number of things.

    >>> count(1, "series"), count(2300, "row"), count(2, "series")
    ('1 series', '2,300 rows', '2 series')
    """
    return f"{n:,} {thing}" if n == 1 or thing.endswith("s") else f"{n:,} {thing}s"


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


def joined(parts: Iterable[str]) -> str:
    """Join words as a sentence does.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last


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


def best(scores: Sequence[Any], measure: str) -> str | None:
    """Return the name of the model with the lowest MAE, MASE or sMAPE."""
    finite = [s for s in scores if math.isfinite(getattr(s, measure))]
    return min(finite, key=lambda score: getattr(score, measure)).model if finite else None


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
