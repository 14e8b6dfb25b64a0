"""One step ahead, as "recursive", from what was a season ago, too, and from the calendar.

    s_t = f([x_t, z_{t+1-l_1} ... z_{t+1-l_K}, a_{t+1}], s_{t-1}),   y_{t+1} ~ head(s_t)

l_1 ... l_K are the lags of the step that is forecast: with a season of m steps 2 <= m - 1, m, m + 1 and
2 m, as far as half of what is known reaches back (a lag of 1 is x_t itself). Values from before the
context are read where lags reach there, and paths read what they drew. The calendar is among what is
known ahead, a, unless it is refused.

Salinas, Flunkert, Gasthaus and Januschowski (2020), "DeepAR: probabilistic forecasting with
autoregressive recurrent networks", section 3 and the lags of its implementations.
"""

from __future__ import annotations

from collections.abc import Sequence

from throughtime._checks import positive_int
from throughtime._errors import SettingError
from throughtime.forecasting.architectures.architecture import HeadOf
from throughtime.forecasting.architectures.recursive import Recursive
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence


class Ar(Recursive):
    """From x [B, T, I], lags among it, to parameters [B, T, M, P]; see the module."""

    def __init__(
        self,
        sizes: Sizes,
        recurrence: Recurrence,
        head: HeadOf,
        h: int,
        lags: tuple[int, ...] = (),
    ) -> None:
        super().__init__(sizes, recurrence, head, h, more=len(lags) * sizes.targets)


def checked_lags(lags: Sequence[int]) -> tuple[int, ...]:
    """Return lags of at least 2, each once; `SettingError` for what is none."""
    if isinstance(lags, str) or not isinstance(lags, Sequence):
        raise SettingError("lags to be whole numbers", repr(lags), "pass for example lags=[7, 14]")
    return tuple(sorted({positive_int("every one of lags", lag, at_least=2) for lag in lags}))


def season_lags(m: int, longest: int) -> tuple[int, ...]:
    """Return the lags about one season and two of m steps, up to the longest.

    >>> season_lags(12, 60), season_lags(12, 12), season_lags(2, 60), season_lags(1, 60)
    ((11, 12, 13, 24), (11, 12), (2, 3, 4), ())
    """
    lags = (m - 1, m, m + 1, 2 * m) if m > 1 else ()
    return tuple(sorted({lag for lag in lags if 1 < lag <= longest}))
