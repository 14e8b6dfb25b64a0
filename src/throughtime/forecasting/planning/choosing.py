"""Which architecture forecasts a panel best: those that go with it race at origins inside it.

The candidates S_0 are decided, each as if it had been asked for, on the panel without its last steps,
trained there for a while, and forecast h steps at P origins p in these last steps. They are judged by

    error = mean over series and p of  mean_k |y_{p+k} - forecast| / s       s = mean |y_t - y_{t-m}|

m being the season; the unit s is that of MASE (Hyndman and Koehler 2006). The race is one of
successive halving, in J = ceil(log2 |S_0|) rounds j of as many updates in all: those still in it make

    n_j = min(N, |S_0| / |S_j| max(100, N / 10))        of the N that a fit makes
    S_{j+1} = the better ceil(|S_j| / 2) of S_j

updates each, anew in every round, for a schedule has to know its end; it is over where n_j cannot
rise. Within a budget the race has
0.3 of it, the rounds that are left like parts of what is left, and n_j is less where that is too
short (`budget.py`); candidates at the end of the order are left out where there is no time for 30
updates. What is less than 2 % better than another counts as much, and of these the first is
taken, in the order of `ORDER`: from simple and fast to the others.

Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter
optimization"; Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar (2018), "Hyperband".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime._errors import DivergedError, SettingError
from throughtime._words import aligned, count
from throughtime.forecasting.evaluation.backtest import judged
from throughtime.forecasting.examples.importance import seasonal_steps
from throughtime.forecasting.fitting import fitting
from throughtime.forecasting.planning.budget import Budget, Pace, affordable, measure
from throughtime.forecasting.planning.deciding import decide
from throughtime.forecasting.series.demands import least_rows
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.settings.given import Given
from throughtime.training import Observer

Floats = npt.NDArray[np.float64]

ORDER = ("direct", "segment", "es", "synced", "seq2seq", "ar", "recursive")
WORTH = 0.98  # of the error: what is less than 2 % better is not
SHARE = 0.3  # of a budget
LEAST = 30  # updates in a race against time
USUAL_LEAST, PARTS = 100, 10  # updates without a budget: at least these, a tenth of a fit's
MOST_ORIGINS = 8
ENOUGH_ERRORS = 64  # of series times origins
HELD_OUT = 4  # a fourth of the typical series at most, or h


@dataclass(frozen=True)
class Tried:
    """What a candidate erred after so many updates, infinity where it diverged, and took."""

    architecture: str
    updates: int
    error: float
    seconds: float


@dataclass(frozen=True)
class Choice:
    """The architecture that was chosen, all that was tried in turn, at how many origins, and why.

    >>> tried = (Tried("direct", 100, 0.95, 2.0), Tried("segment", 100, 0.9, 1.0))
    >>> print(Choice("segment", "errs least", 7, tried).words)
    segment, which errs least at 7 origins: direct 0.950, segment 0.900 after 100 updates
    """

    architecture: str
    reason: str
    origins: int = 0
    tried: tuple[Tried, ...] = ()

    @property
    def words(self) -> str:
        """What was chosen and why, in one line."""
        chosen = f"{self.architecture}, which {self.reason}"
        if not self.tried:
            return chosen
        errors = aligned(each.error for each in self.tried)
        rounds: dict[int, list[str]] = {}
        for each, error in zip(self.tried, errors, strict=True):
            said = error if math.isfinite(each.error) else "diverged"
            rounds.setdefault(each.updates, []).append(f"{each.architecture} {said}")
        after = [f"{', '.join(s)} after {count(n, 'update')}" for n, s in rounds.items()]
        return f"{chosen} at {count(self.origins, 'origin')}: {'; '.join(after)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, None for an error that is infinite."""
        rows = [
            asdict(each) | {"error": each.error if math.isfinite(each.error) else None}
            for each in self.tried
        ]
        return asdict(self) | {"tried": rows}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Choice:
        """Return the choice of which `to_dict` returned these values; `ValueError` for others."""
        rows = [
            Tried(
                str(row["architecture"]),
                int(row["updates"]),
                math.inf if row["error"] is None else float(row["error"]),
                float(row["seconds"]),
            )
            for row in facts["tried"]
        ]
        if facts["architecture"] not in ORDER:
            raise ValueError("the architecture that was chosen")
        return cls(facts["architecture"], str(facts["reason"]), int(facts["origins"]), tuple(rows))


def choose(
    given: Given, panel: Panel, whole: Panel, budget: Budget, observers: Sequence[Observer] = ()
) -> Choice:
    """Return the choice by nothing but this panel; `whole` as `deciding.decide` has it.

    Raises `SettingError` where no architecture goes with what was given.
    """
    ahead = origins_of(panel, given.h)
    known = panel.cut(int(ahead.max())) if len(ahead) else panel
    designs = candidates(given, known, whole) if len(ahead) else {}
    if len(designs) < 2:
        if designs:
            return Choice(next(iter(designs)), "is the only one that fits")
        first = candidates(given, panel, whole, first=True)
        return Choice(next(iter(first)), "stands first where there are too few rows")
    judges = Judges.of(panel, ahead, given.h, next(iter(designs.values())).season_length)
    return _Race(known, judges, designs, budget, observers).run()


def candidates(given: Given, panel: Panel, whole: Panel, first: bool = False) -> dict[str, Design]:
    """Return the designs by architecture, in order, of those that go with what was given.

    `first` asks for the first alone, and raises the `SettingError` of `ORDER[0]` where there is none.
    """
    made: dict[str, Design] = {}
    refused: list[SettingError] = []
    for name in ORDER:
        try:
            design = decide(given.answering_by(name), panel, whole)
        except SettingError as error:
            refused.append(error)
            continue
        if _is_sensible(design, panel):
            made[name] = design
        if first and made:
            return made
    if first:
        raise refused[0]
    return made


def _is_sensible(design: Design, panel: Panel) -> bool:
    """Say whether an architecture has what it is for."""
    wants = {
        "es": design.season_length > 1,
        "seq2seq": bool(panel.futr),
        "synced": design.carries,
        "recursive": design.carries,
    }
    return wants.get(design.architecture, True)


def origins_of(panel: Panel, h: int) -> npt.NDArray[np.int64]:
    """Return how many steps before the end the origins lie, falling; none where rows are too few.

    >>> from throughtime.forecasting import read_frame
    >>> origins_of(read_frame([0.0, 1.0] * 36), h=12).tolist()
    [18, 17, 16, 15, 14, 13, 12]
    """
    P = max(2, min(MOST_ORIGINS, -(-ENOUGH_ERRORS // len(panel))))
    span = max(h, min(P * h, int(np.median(panel.lengths)) // HELD_OUT))
    if int(panel.lengths.max()) < least_rows(h) + span:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.linspace(h, span, P).astype(np.int64))[::-1]


@dataclass(frozen=True, eq=False)
class Judges:
    """What is known at each origin, the h values after it [rows, h], and the units s [rows, 1]."""

    origins: tuple[tuple[Panel, Floats], ...]
    s: Floats

    @classmethod
    def of(cls, panel: Panel, ahead: npt.NDArray[np.int64], h: int, season_length: int) -> Judges:
        """Return the origins that lie so many steps before the end of a panel."""
        longest = int(ahead.max())
        some = judged(panel, longest)
        some = some.take(np.flatnonzero(some.lengths > longest))
        rows = [some.row(r).astype(np.float64) for r in range(len(some))]
        ys = [np.stack([y[len(y) - k :][:h] for y in rows]) for k in ahead]
        origins = tuple((some.cut(int(k)), y) for k, y in zip(ahead, ys, strict=True))
        return cls(origins, seasonal_steps(some.cut(longest), season_length)[:, None])

    def error(self, model: Any) -> float:
        """Return the mean error of a model; infinity where nothing is left to judge by."""
        errors = np.stack([np.abs(y - model.forecast(known)) / self.s for known, y in self.origins])
        return float(np.nanmean(errors)) if np.isfinite(errors).any() else math.inf


@dataclass(frozen=True, eq=False)
class _Race:
    """Candidates that are trained on what is known before all origins."""

    known: Panel
    judges: Judges
    designs: Mapping[str, Design]
    budget: Budget
    observers: Sequence[Observer]

    def run(self) -> Choice:
        """Return the winner."""
        paces = self._paces()
        running = list(paces or self.designs)
        if len(running) == 1:
            return Choice(running[0], "stands first where there is too little time")
        tried: list[Tried] = []
        made, ranks = list[Tried](), running
        J, started = _rounds(len(running)), len(running)
        for j in range(J):
            n = self._updates(running, started, [paces.get(name) for name in running], J - j)
            if made and n <= made[0].updates:
                break
            made = [self._try(name, n) for name in running]
            tried += made
            ranks = ranked({each.architecture: each.error for each in made})
            better = ranks[: -(-len(running) // 2)]
            running = [name for name in running if name in better]
        least = min(made, key=lambda each: each.error)
        reason = "errs least" if ranks[0] == least.architecture else "errs at most 2 % more"
        return Choice(ranks[0], reason, len(self.judges.origins), tuple(tried))

    @property
    def _left(self) -> float:
        """The seconds of the race."""
        assert self.budget.seconds is not None
        return SHARE * self.budget.seconds - self.budget.spent

    def _paces(self) -> dict[str, Pace | None]:
        """Return the candidates there is time for, with their paces where it is limited."""
        if self.budget.seconds is None:
            return dict.fromkeys(self.designs)
        paces: dict[str, Pace | None] = {}
        for name, design in self.designs.items():
            if paces and self._left <= 0:
                break
            with suppress(DivergedError):
                pace = measure(self.known, design, self.budget.clock, self.observers)
                paces[name] = pace.after(len(self.judges.origins))
        while len(paces) > 1 and self._affordable([*paces.values()], _rounds(len(paces))) < LEAST:
            paces.popitem()
        return paces

    def _affordable(self, paces: Sequence[Pace | None], rounds: int) -> float:
        """Return how many updates each may make in the next of the rounds that are left."""
        known = [pace for pace in paces if pace is not None]
        return affordable(known, self._left / rounds) if known else math.inf

    def _updates(self, running: Sequence[str], started: int, paces: Any, rounds: int) -> int:
        """Return n_j."""
        most = self.designs[running[0]].training.max_updates
        usual = max(USUAL_LEAST, most // PARTS) * started // len(running)
        return int(max(1, min(most, usual, self._affordable(paces, rounds))))

    def _try(self, name: str, updates: int) -> Tried:
        """Train and judge a candidate."""
        began, error = self.budget.clock(), math.inf
        with suppress(DivergedError):
            how = (updates, self.observers, f"trial of architecture {name}")
            error = self.judges.error(fitting.fit(self.known, self.designs[name], *how)[0])
        return Tried(name, updates, error, self.budget.clock() - began)


def ranked(errors: Mapping[str, float]) -> list[str]:
    """Return names by their errors; those within 2 % of the least keep their order before the others.

    >>> ranked({"direct": 1.01, "segment": 1.0, "es": 1.2, "ar": 1.1})
    ['direct', 'segment', 'ar', 'es']
    """
    least = min(errors.values())
    return sorted(errors, key=lambda name: max(errors[name], least / WORTH))


def _rounds(candidates: int) -> int:
    return math.ceil(math.log2(candidates))
