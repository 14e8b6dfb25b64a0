"""What a search over settings found: its trials, the best of them, and LSTM or GRU.

A trial's error at origin r is the mean absolute scaled error e_r, and its score the mean of e_r over
the R origins. Two cells are compared by their best trials a and b, origin by origin:

    change = mean(e_a) / mean(e_b) - 1
    p      = min(1, 2 P[Binomial(n, 1/2) >= w])     w wins of a at the n origins that are no tie

the exact two-sided sign test; below 6 origins it cannot fall under 0.05. The score of the winner
is the least of many and so too good. Chosen on the other origins, the best err

    left out = mean_r e_r(argmin_trials sum_{q != r} e_q)

at the origin left out: closer to what the choice is worth, though stopping early and the search
itself have seen all origins (Cawley and Talbot 2010).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import comb, fsum
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal

from throughtime._types import model_name
from throughtime._words import count, joined, number, percent

if TYPE_CHECKING:
    import pyarrow as pa

    from throughtime.forecasting.forecaster import Forecaster

State = Literal["complete", "pruned", "diverged"]
CLEAR = 0.05  # the chance of a sign test at which a difference is called clear
FEWEST = 6  # origins with which it can be: 2 / 2^6 < 0.05 < 2 / 2^5


@dataclass(frozen=True)
class Trial:
    """One choice of settings, and its errors at the origins it came to.

    `settings` are those that were searched; `state` says whether all origins were made, or it was
    stopped before as hopeless ("pruned") or because training broke down ("diverged").
    """

    number: int
    settings: Mapping[str, Any]
    errors: tuple[float, ...]
    state: State = "complete"
    seconds: float = 0.0

    @property
    def cell(self) -> str:
        """The name of its column, such as LSTM or GRU."""
        return model_name(self.settings["cell"])

    @property
    def score(self) -> float | None:
        """The mean of its errors so far; None before the first origin."""
        return fmean(self.errors) if self.errors else None


@dataclass(frozen=True)
class CellScore:
    """How one cell did: how many of its trials, the best of them, the median of the complete."""

    cell: str
    trials: int
    complete: int
    best: Trial | None
    median: float | None


@dataclass(frozen=True)
class Pair:
    """The best trials of two cells, origin by origin; `better` has the lower score.

    >>> better = CellScore("GRU", 8, 5, Trial(1, {"cell": "gru"}, (0.9, 0.8, 1.0)), 1.0)
    >>> worse = CellScore("LSTM", 9, 4, Trial(2, {"cell": "lstm"}, (1.0, 1.1, 0.9)), 1.1)
    >>> pair = Pair(better, worse)
    >>> round(pair.change, 3), pair.wins, pair.p, pair.clear
    (-0.1, 2, 1.0, False)
    """

    better: CellScore
    worse: CellScore

    @property
    def differences(self) -> tuple[float, ...]:
        """The error of the better less that of the worse, at each origin."""
        a, b = self.better.best, self.worse.best
        assert a is not None
        assert b is not None
        return tuple(x - y for x, y in zip(a.errors, b.errors, strict=True))

    @property
    def change(self) -> float:
        """What the better errs more than the worse, as a fraction; at most 0."""
        assert self.worse.best is not None
        total = fsum(self.worse.best.errors)
        return fsum(self.differences) / total if total else 0.0

    @property
    def wins(self) -> int:
        """At how many origins the better one errs less."""
        return sum(d < 0 for d in self.differences)

    @property
    def p(self) -> float:
        """The chance of so many wins, or so few, if neither cell were better."""
        n = sum(d != 0 for d in self.differences)
        most = max(self.wins, n - self.wins)
        return min(1.0, sum(comb(n, k) for k in range(most, n + 1)) / 2.0 ** (n - 1))

    @property
    def clear(self) -> bool:
        """Say whether the sign test calls the difference clear."""
        return self.p < CLEAR and 2 * self.wins > len(self.differences)

    def __str__(self) -> str:
        """Return the answer as the end of a sentence."""
        a, b, R = self.better, self.worse, len(self.differences)
        less = percent(-self.change)
        said = "as much as" if less == "0%" else f"{less} less than"
        where = f"best of {a.trials} and {b.trials} trials; ahead on {self.wins} of {R} origins"
        if self.clear:
            verdict = f"a clear difference (sign test, p = {self.p:.2g})"
        elif R < FEWEST:
            verdict = "no clear difference"
        else:
            verdict = f"no clear difference (sign test, p = {self.p:.2g})"
        return f"the {a.cell} errs {said} the {b.cell} ({where}): {verdict}."


@dataclass(frozen=True, eq=False)
class Tuning:
    """All trials of a search, at least one of them complete; `fixed` are the other settings.

    `baselines` are the scores of simple forecasts at the same origins, by name.
    `reason` says why it ended: "all trials done", "out of time" or "interrupted".
    """

    h: int
    n_windows: int
    fixed: Mapping[str, Any]
    tried: tuple[Trial, ...]
    baselines: Mapping[str, float] = field(default_factory=dict)
    reason: str = "all trials done"

    @cached_property
    def winner(self) -> Trial:
        """The complete trial with the lowest score, the first of several."""
        return min(self._complete, key=_score)

    @property
    def score(self) -> float:
        """The score of the winner: the least of many, and so too good."""
        return _score(self.winner)

    @cached_property
    def left_out_score(self) -> float | None:
        """The mean error at each origin of the trial that is best at the others; None for one origin."""
        if self.n_windows < 2:
            return None
        return fmean(
            min((fsum(t.errors) - t.errors[r], t.errors[r]) for t in self._complete)[1]
            for r in range(self.n_windows)
        )

    @property
    def best(self) -> dict[str, Any]:
        """The winner's settings, as arguments of `Forecaster`."""
        return arguments(self.h, self.fixed, self.winner.settings)

    def forecaster(self) -> Forecaster:
        """Return a forecaster with the best settings, not fitted."""
        from throughtime.forecasting.forecaster import Forecaster

        return Forecaster(**self.best)

    @property
    def usual(self) -> Trial | None:
        """The trial of the usual settings; None where there is none that is complete."""
        first = self.tried[0]
        return first if set(first.settings) == {"cell"} and first.state == "complete" else None

    @cached_property
    def by_cell(self) -> dict[str, CellScore]:
        """How each cell did, by its name, the best first."""
        names = dict.fromkeys(trial.cell for trial in self.tried)
        made = [self._of(name) for name in names]
        made.sort(key=lambda each: _score(each.best) if each.best else float("inf"))
        return {each.cell: each for each in made}

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every two cells of which a trial is complete, the better first."""
        able = [each for each in self.by_cell.values() if each.best is not None]
        return tuple(Pair(a, b) for a, b in combinations(able, 2))

    @property
    def answer(self) -> str:
        """Which cell: a sentence for every two that were compared."""
        said = [str(pair) for pair in self.pairs]
        if said and self.n_windows < FEWEST:
            said.append(f"fewer than {FEWEST} origins cannot show a clear one.")
        said += [
            f"no trial of the {each.cell}, of {each.trials}, came to all origins."
            for each in self.by_cell.values()
            if each.best is None
        ]
        if not said:
            return f"All trials were of the {self.winner.cell}."
        first, *rest = said
        return " ".join([f"On these data {first}", *(s[0].upper() + s[1:] for s in rest)])

    @property
    def text(self) -> str:
        """What was found, in a few sentences."""
        return "\n".join([self.found, self.answer, *self.cautions])

    def __str__(self) -> str:
        return self.text

    @property
    def found(self) -> str:
        """The best settings and their score, in one sentence."""
        stopped = {
            state: sum(trial.state == state for trial in self.tried)
            for state in ("pruned", "diverged")
        }
        words = {"pruned": "stopped early", "diverged": "diverged"}
        asides = [f"{n} {words[state]}" for state, n in stopped.items() if n]
        aside = f" ({joined(asides)})" if asides else ""
        settings = {k: v for k, v in self.winner.settings.items() if k != "cell"}
        listed = [f"{name}={shown(value)}" for name, value in settings.items()]
        made = f"with {joined(listed)}" if listed else "with the usual settings"
        return (
            f"The best of {count(len(self.tried), 'trial')}{aside} is the {self.winner.cell} {made}: "
            f"mean absolute scaled error {number(self.score)} over "
            f"{count(self.n_windows, 'origin')}."
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the search gained, and what its score is worth."""
        said = []
        if self.usual is not None and self.usual is not self.winner:
            gain = 1 - self.score / _score(self.usual)
            said.append(
                f"The usual settings ({self.usual.cell}) err {number(self.usual.score)}: "
                f"the search gained {percent(gain)}."
            )
        if self.baselines:
            rival = min(self.baselines, key=self.baselines.__getitem__)
            said.append(f"The best baseline, {rival}, errs {number(self.baselines[rival])} there.")
        flattering = "The score of a winner flatters it"
        if self.left_out_score is not None:
            flattering += (
                f": chosen at the other origins, the best err {number(self.left_out_score)} "
                "at the one left out"
            )
        said.append(f"{flattering}. Judge it on values that the search has not seen.")
        return tuple(said)

    @cached_property
    def trials(self) -> pa.Table:
        """A row a trial: its number, state, score, errors, seconds, and a column a setting."""
        import pyarrow as pa

        names = dict.fromkeys(name for trial in self.tried for name in trial.settings)
        columns: dict[str, Any] = {
            "trial": [trial.number for trial in self.tried],
            "state": [trial.state for trial in self.tried],
            "score": pa.array([trial.score for trial in self.tried], pa.float64()),
            "errors": pa.array([trial.errors for trial in self.tried], pa.list_(pa.float64())),
            "seconds": [trial.seconds for trial in self.tried],
        }
        for name in names:
            columns[name] = _column([trial.settings.get(name) for trial in self.tried])
        return pa.table(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and for drawing."""
        return {
            "h": self.h,
            "n_windows": self.n_windows,
            "reason": self.reason,
            "found": self.found,
            "answer": self.answer,
            "cautions": list(self.cautions),
            "best": {name: plain(value) for name, value in self.best.items()},
            "winner": self.winner.number,
            "score": self.score,
            "left_out_score": self.left_out_score,
            "baselines": dict(self.baselines),
            "by_cell": [
                {
                    "cell": each.cell,
                    "trials": each.trials,
                    "complete": each.complete,
                    "best": each.best and each.best.score,
                    "median": each.median,
                }
                for each in self.by_cell.values()
            ],
            "trials": [
                {
                    "trial": trial.number,
                    "cell": trial.cell,
                    "state": trial.state,
                    "score": trial.score,
                    "errors": list(trial.errors),
                    "seconds": trial.seconds,
                    "settings": {name: plain(v) for name, v in trial.settings.items()},
                }
                for trial in self.tried
            ],
        }

    @cached_property
    def _complete(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.tried if trial.state == "complete")

    def _of(self, cell: str) -> CellScore:
        own = [trial for trial in self._complete if trial.cell == cell]
        n = sum(trial.cell == cell for trial in self.tried)
        middle = median(map(_score, own)) if own else None
        return CellScore(cell, n, len(own), min(own, key=_score, default=None), middle)


def plain(value: Any) -> Any:
    """Return a setting as JSON can hold it: numbers and texts as they are, the rest as its repr."""
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def shown(value: Any) -> str:
    """Write a setting as code does, numbers short."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _score(trial: Trial) -> float:
    assert trial.score is not None
    return trial.score


def _column(values: list[Any]) -> Any:
    """Return values of one kind as they are, others as texts; None stays empty."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool}):
        return pa.array(values)
    return pa.array([None if v is None else str(plain(v)) for v in values], pa.string())


def arguments(h: int, fixed: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `Forecaster`; the learning rate goes into its `training`."""
    from throughtime.forecasting.settings.effort import TRAINING

    made = {"h": h, **fixed, **settings}
    if "learning_rate" in made:
        training = made.get("training", TRAINING)
        made["training"] = replace(training, learning_rate=made.pop("learning_rate"))
    return made
