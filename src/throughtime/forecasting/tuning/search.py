"""The trials of a search: chosen one after the other, fitted, judged, stopped where they are hopeless.

Cells take turns, so that each has as many trials as the others: that is what makes their
comparison fair. Each begins with the usual settings; the others are chosen by a tree-structured
Parzen estimator (Bergstra et al. 2011), one setting at a time. A trial is stopped after an origin
where the mean of its errors so far is above the median of what all trials had at that origin (the
median rule of Golovin et al. 2017), once five have come so far. Optuna's own pruner compares the
*lowest* mean so far; origins differ in how hard they are, so here like is compared with like.

What is chosen next depends on nothing but the seed and the trials that have ended: a search that
was killed and goes on makes the trials that it would have made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Protocol, runtime_checkable

import numpy as np

from throughtime._errors import DivergedError
from throughtime.forecasting.forecaster import Forecaster
from throughtime.forecasting.tuning.origins import Origin
from throughtime.forecasting.tuning.trials import Trial, arguments, plain
from throughtime.training import Observer
from throughtime.training.observer import Evaluation, Update

Among = Sequence[Any]  # a range is a tuple of its ends, choices are a list

RANDOM = 10  # trials before the search learns from those that were
JUDGES = 5  # trials that must have come to an origin before one is stopped there


@runtime_checkable
class TrialObserver(Observer, Protocol):
    """An observer that also wants to see each trial as it ends."""

    def on_trial(self, trial: Trial, n_trials: int) -> None:
        """Follow the end of one trial, of `n_trials` that were asked for."""


@dataclass(frozen=True, eq=False)
class Search:
    """A study, and all that a trial needs; `own` are the names in `space` that the user gave."""

    study: Any
    h: int
    space: Mapping[str, Among]
    own: frozenset[str]
    fixed: Mapping[str, Any]
    origins: Sequence[Origin]
    observers: Sequence[Observer]

    def run(self, n_trials: int, timeout: float | None) -> str:
        """Make trials until there are enough; return why it ended."""
        began = time.monotonic()
        tried = list(self.ended())
        while len(tried) < n_trials:
            try:
                self._try(tried, n_trials)
            except KeyboardInterrupt:
                return "interrupted"
            tried = list(self.ended())
            for observer in self.observers:
                if isinstance(observer, TrialObserver):
                    observer.on_trial(tried[-1], n_trials)
            if timeout is not None and time.monotonic() - began > timeout:
                return "all trials done" if len(tried) >= n_trials else "out of time"
        return "all trials done"

    def ended(self) -> Iterator[Trial]:
        """Yield the trials that ended, in order; those that were broken off are left out."""
        states = {"COMPLETE": "complete", "PRUNED": "pruned"}
        kept = [t for t in self.study.get_trials(deepcopy=False) if t.state.name in states]
        for number, trial in enumerate(kept, 1):
            settings = {"cell": trial.user_attrs["cell"]}
            for name, value in trial.params.items():
                settings[name] = _chosen(self.space[name], value)
            errors = tuple(trial.user_attrs.get("errors", ()))
            state: Any = trial.user_attrs.get("state", states[trial.state.name])
            yield Trial(number, settings, errors, state, trial.duration.total_seconds())

    def _try(self, tried: Sequence[Trial], n_trials: int) -> None:
        """Make the next trial, and leave none behind that is not told how it ended."""
        import optuna

        states = optuna.trial.TrialState
        trial, settings = self._ask(len(tried))
        try:
            forecaster = Forecaster(**arguments(self.h, self.fixed, settings) | {"n_windows": 0})
            errors: list[float] = []
            for r, origin in enumerate(self.origins, 1):
                place = f"trial {len(tried) + 1}/{n_trials}, origin {r}/{len(self.origins)}"
                watched = [_Placed(observer, place) for observer in self.observers]
                errors.append(origin.error(forecaster, watched))
                trial.set_user_attr("errors", errors)
                trial.report(fmean(errors), r)
                if r < len(self.origins) and hopeless(errors, tried):
                    self.study.tell(trial, state=states.PRUNED)
                    return
            self.study.tell(trial, fmean(errors))
        except DivergedError:
            trial.set_user_attr("state", "diverged")
            self.study.tell(trial, state=states.PRUNED)
        except BaseException:
            self.study.tell(trial, state=states.FAIL)
            raise

    def _ask(self, k: int) -> tuple[Any, dict[str, Any]]:
        """Return trial number k, from 0, and its settings; drawn afresh from the seed and k."""
        import optuna

        seed = int(np.random.SeedSequence([self.fixed["seed"], k]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=RANDOM, seed=seed, multivariate=False, constant_liar=False
        )
        trial = self.study.ask()
        cells = self.space.get("cell") or [self.fixed.get("cell", "lstm")]
        settings = {"cell": cells[k % len(cells)]}
        trial.set_user_attr("cell", settings["cell"])
        for name, among in self.space.items():
            if name != "cell" and (k >= len(cells) or name in self.own):
                settings[name] = _chosen(among, _suggest(trial, name, among))
        return trial, settings


def hopeless(errors: Sequence[float], tried: Sequence[Trial]) -> bool:
    """Say whether a trial does worse so far than the median of those that came as far.

    >>> tried = [Trial(k, {}, (float(k), 9.0)) for k in range(5)]
    >>> hopeless([2.0], tried), hopeless([2.1], tried), hopeless([2.1], tried[:4])
    (False, True, False)
    """
    r = len(errors)
    others = [fmean(trial.errors[:r]) for trial in tried if len(trial.errors) >= r]
    return len(others) >= JUDGES and fmean(errors) > median(others)


def _suggest(trial: Any, name: str, among: Among) -> Any:
    if isinstance(among, list):
        return trial.suggest_categorical(name, [plain(choice) for choice in among])
    low, high = among
    whole = isinstance(low, int) and isinstance(high, int)
    return (trial.suggest_int if whole else trial.suggest_float)(name, low, high, log=low > 0)


def _chosen(among: Among, value: Any) -> Any:
    """Return the setting that a value in the storage stands for; numbers of three digits will do."""
    if isinstance(among, list):
        return among[[plain(choice) for choice in among].index(value)]
    return float(f"{value:.3g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class _Placed(Observer):
    """Passes on what training says, with the trial and origin in the name of the run."""

    observer: Observer
    place: str

    def on_start(self, name: str, total: int) -> None:
        self.observer.on_start(f"{self.place}, {name}", total)

    def on_update(self, update: Update) -> None:
        self.observer.on_update(update)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        self.observer.on_evaluation(evaluation)

    def on_end(self, reason: str) -> None:
        self.observer.on_end(reason)
