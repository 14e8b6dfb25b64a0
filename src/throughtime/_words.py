"""Numbers and counts as sentences say them, wherever the house writes: terminal, report, figures."""

from __future__ import annotations

import math
from collections.abc import Iterable

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


def duration(seconds: float) -> str:
    """Write a time in whole seconds, no shorter than it is, as a `budget` is passed.

    >>> [duration(s) for s in (0.2, 90, 119.5, 3600, 7384)]
    ['1s', '1m30s', '2m', '1h', '2h3m4s']
    """
    minutes, s = divmod(max(1, math.ceil(seconds)), 60)
    h, m = divmod(minutes, 60)
    return "".join(f"{n}{unit}" for n, unit in ((h, "h"), (m, "m"), (s, "s")) if n)


def joined(parts: Iterable[str]) -> str:
    """Join words as a sentence does.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last
