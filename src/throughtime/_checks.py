"""Checks at the border: each states the invariant, the value received and the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from numbers import Integral, Real

from throughtime._errors import SettingError


def positive_int(name: str, value: object, *, at_least: int = 1) -> int:
    """Return `value` as an int, or refuse it if it is no whole number of at least `at_least`.

    >>> positive_int("h", 12)
    12
    >>> positive_int("h", 0)
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected h to be a whole number of at least 1, found 0: pass h=1 or more.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        raise SettingError(
            f"{name} to be a whole number of at least {at_least}",
            repr(value),
            f"pass {name}={at_least} or more",
        )
    return int(value)


def random_seed(name: str, value: object) -> int:
    """Return `value` as a seed of random numbers, which PyTorch takes below 2^63.

    >>> random_seed("seed", 2**64)
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected seed to be a whole number below 2^63, found 18446744073709551616: pass a smaller one.
    """
    checked = positive_int(name, value, at_least=0)
    if checked >= 2**63:
        raise SettingError(
            f"{name} to be a whole number below 2^63", repr(value), "pass a smaller one"
        )
    return checked


def real(
    name: str,
    value: object,
    *,
    above: float = float("-inf"),
    at_least: float = float("-inf"),
    below: float = float("inf"),
    at_most: float = float("inf"),
) -> float:
    """Return `value` as a float, or refuse it outside the stated range.

    >>> real("clip_norm", 1, above=0)
    1.0
    >>> real("quantile", 1.5, above=0, below=1)
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected quantile to be a number above 0 and below 1, found 1.5: pass one in that range.
    """
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (
            ("above", above),
            ("at least", at_least),
            ("below", below),
            ("at most", at_most),
        )
        if abs(bound) != float("inf")
    ]
    ok = isinstance(value, Real) and not isinstance(value, bool)
    if not (ok and above < value < below and at_least <= value <= at_most):  # type: ignore[operator]
        wanted = f"{name} to be a number {' and '.join(bounds)}".rstrip()
        raise SettingError(wanted, repr(value), "pass one in that range")
    return float(value)  # type: ignore[arg-type]


def duration(name: str, value: object) -> float:
    """Return a time in seconds, of a number of them or a text of hours, minutes and seconds.

    >>> [duration("budget", value) for value in ("1m30s", "2m", "1.5h", 45)]
    [90.0, 120.0, 5400.0, 45.0]
    >>> duration("budget", "2 weeks")
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected budget to be a time above 0, found '2 weeks': pass such as '90s', '2m', '1h' or '1m30s', or a number of seconds.
    """
    seconds = math.nan
    if isinstance(value, str):
        parts = re.fullmatch(_DURATION, value.strip())
        if parts is not None:
            units = zip(parts.groups(), (3600, 60, 1), strict=True)
            seconds = sum(float(n or 0) * unit for n, unit in units)
    elif isinstance(value, Real) and not isinstance(value, bool):
        seconds = float(value)
    if not 0 < seconds < math.inf:
        raise SettingError(
            f"{name} to be a time above 0",
            repr(value),
            "pass such as '90s', '2m', '1h' or '1m30s', or a number of seconds",
        )
    return seconds


_NUMBER = r"(\d+(?:\.\d*)?)"
_DURATION = rf"(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s)?"


def one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a `value` that is not among `choices`.

    >>> one_of("cell", "lstn", ["rnn", "lstm", "gru"])
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected cell to be one of 'rnn', 'lstm', 'gru', found 'lstn': choose one of them.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise SettingError(f"{name} to be one of {listed}", repr(value), "choose one of them")
