"""Search for the settings that forecast a table best, with Optuna.

Origin r = 1..R lies (R - r) h + h steps before the end of every series, as in a back-test. At each a
`Forecaster` is fitted anew to what came before, and its next h values are judged by

    e_r = mean over series and steps of |y - f| / scale,     score = mean_r e_r

scale being the error of the seasonal naive forecast within the series before that origin, so that
e_r is a mean absolute scaled error (Hyndman and Koehler 2006), in the same unit for all trials.

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

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from inspect import signature
from itertools import islice
from statistics import fmean, median
from typing import Any, Protocol, runtime_checkable

import narwhals as nw
import numpy as np
import numpy.typing as npt

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import DataError, DivergedError, MissingExtraError, SettingError
from throughtime._files import check_writable
from throughtime.forecasting.baselines import LinearAutoregression, Naive, SeasonalNaive
from throughtime.forecasting.cures import Cures
from throughtime.forecasting.deciding import LONGEST_CONTEXT
from throughtime.forecasting.demands import checked_panel, windows_that_fit
from throughtime.forecasting.effort import TRAINING
from throughtime.forecasting.forecaster import Forecaster
from throughtime.forecasting.frame import read_frame
from throughtime.forecasting.metrics import naive_scale
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.seasons import panel_season_length
from throughtime.forecasting.trials import Trial, Tuning, plain
from throughtime.training import Observer
from throughtime.training.observer import Evaluation, Update

Floats = npt.NDArray[np.float64]
Among = Sequence[Any]  # a range is a tuple of its ends, choices are a list
Space = Mapping[str, Among]

CELLS = ["lstm", "gru", "rnn"]
DECODERS = ["direct", "recursive", "seq2seq", "synced"]
RANDOM = 10  # trials before the search learns from those that were
JUDGES = 5  # trials that must have come to an origin before one is stopped there
INSTALL = "pip install 'throughtime[tune]'"


def tune(
    data: Any,
    h: int,
    *,
    n_trials: int = 30,
    timeout: float | None = None,
    storage: Any = None,
    name: str = "throughtime",
    space: Space | None = None,
    n_windows: int = 3,
    seed: int = 0,
    observers: Sequence[Observer] = (),
    **fixed: Any,
) -> Tuning:
    """Try `n_trials` settings of a `Forecaster` at `n_windows` rolling origins; return what was found.

    The origins lie at the end of `data`: whatever will judge the winner must not be in it. Searched
    are the cell, `hidden_size`, `context_length` (1 to 4 times the longer of horizon and season) and
    `learning_rate`. `space` changes that: a tuple is a range (over its logarithm where it begins above
    0), a list holds choices, of any argument of `Forecaster`. `fixed` are arguments for all trials.

    With `storage` (a path of an SQLite file, a URL or an Optuna storage) the search called `name`
    goes on where it ended or was killed, until it has `n_trials` in all. No trial begins `timeout`
    seconds after the start. Ctrl-C ends with the best so far. One search at a time.

    Raises `SettingError` for a setting out of its range, or a storage that holds another search (of
    other data, horizon, settings or seed); `DataError` for a table that is too short;
    `DivergedError` if no trial could be trained; `MissingExtraError` without Optuna.

    >>> import throughtime as tt
    >>> from throughtime.training import TrainingSettings
    >>> quick = {"members": 1, "training": TrainingSettings(max_updates=5)}
    >>> space = {"cell": ["lstm", "gru"], "hidden_size": (4, 8)}
    >>> tuning = tt.tune([0.0, 1.0, 2.0, 1.0] * 8, h=2, n_trials=2, n_windows=1, space=space, **quick)
    >>> tuning.trials.num_rows, sorted(tuning.by_cell), tuning.forecaster().h
    (2, ['GRU', 'LSTM'], 2)
    """
    positive_int("n_trials", n_trials)
    if timeout is not None:
        real("timeout", timeout, above=0)
    _require_optuna()
    Forecaster(h, seed=seed, **fixed)  # refuses what it does not take, before anything is read
    panel = checked_panel(read_frame(data, fixed.get("freq")), h)
    origins = _origins(panel, h, positive_int("n_windows", n_windows), fixed.get("season_length"))
    whole = _space(h, origins[0], space or {}, fixed)
    with _silence():
        study = _study(storage, name, _identity(panel, h, len(origins), whole, seed, fixed))
        fixed = fixed | {"seed": seed}
        search = _Search(study, h, whole, frozenset(space or {}), fixed, origins, observers)
        reason = search.run(n_trials, timeout)
        tried = tuple(islice(search.ended(), n_trials))
    if not any(trial.state == "complete" for trial in tried):
        if reason == "interrupted":
            raise KeyboardInterrupt
        raise DivergedError(
            "settings that can be trained",
            f"{len(tried)} trials that all diverged",
            "narrow learning_rate in space to smaller ones",
        )
    return Tuning(h, len(origins), fixed, tried, _baselines(origins), reason)


def arguments(h: int, fixed: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `Forecaster`; the learning rate goes into its `training`."""
    made = {"h": h, **fixed, **settings}
    if "learning_rate" in made:
        training = made.get("training", TRAINING)
        made["training"] = replace(training, learning_rate=made.pop("learning_rate"))
    return made


@runtime_checkable
class TrialObserver(Observer, Protocol):
    """An observer that also wants to see each trial as it ends."""

    def on_trial(self, trial: Trial, n_trials: int) -> None:
        """Follow the end of one trial, of `n_trials` that were asked for."""


@dataclass(frozen=True, eq=False)
class _Origin:
    """What is known at one origin, the next values [S, h], and the unit [S, 1] of errors."""

    known: Panel
    y: Floats
    scale: Floats
    season: int

    def error(self, forecaster: Forecaster, observers: Sequence[Observer]) -> float:
        table = forecaster.fit(self.known, observers=observers).predict(level=[])
        made = nw.from_native(table, eager_only=True)[forecaster.name].to_numpy()
        return self.judge(made.reshape(self.y.shape))

    def judge(self, forecast: Floats) -> float:
        return float(np.nanmean(np.abs(self.y - forecast) / self.scale))


def _origins(panel: Panel, h: int, wanted: int, season: int | None) -> tuple[_Origin, ...]:
    """Return the origins, the oldest first, as many of them as leave enough to fit to."""
    R = windows_that_fit(panel.cut(h), h, wanted, h)
    if season is None:
        season = panel_season_length(panel.cut(R * h), h)
    made = tuple(_origin(panel, h, ahead, season) for ahead in range(R * h, 0, -h))
    if not all(np.isfinite(origin.y / origin.scale).any() for origin in made):
        raise DataError(
            f"values to judge by in each of the last {R} times {h} steps, of series that varied "
            "before",
            "none in one of them",
            "pass fewer n_windows, or leave out what was not observed",
        )
    return made


def _origin(panel: Panel, h: int, ahead: int, season: int) -> _Origin:
    known = panel.cut(ahead)
    at = {unique_id: s for s, unique_id in enumerate(panel.ids)}
    y = np.full((len(known), h), np.nan)
    for i, unique_id in enumerate(known.ids):
        series = panel.row(at[unique_id])
        y[i] = series[len(series) - ahead :][:h]
    scale = np.array([_scale(known.row(i), season) for i in range(len(known))])
    return _Origin(known, y, scale[:, None], season)


def _baselines(origins: Sequence[_Origin]) -> dict[str, float]:
    """Return what simple forecasts score at the same origins."""
    made = {}
    season = origins[0].season
    for each in (Naive(), SeasonalNaive(season), LinearAutoregression(season=season)):
        errors = [
            origin.judge(np.stack([each.forecast(y, origin.y.shape[1]) for y in known]))
            for origin in origins
            for known in [[origin.known.row(s) for s in range(len(origin.known))]]
        ]
        made[each.name] = fmean(errors)
    return made


def _scale(y: Floats, season: int) -> float:
    """Return the naive error in sample; from step to step where seasons are all alike."""
    made = (naive_scale(y, m) for m in (season, 1))
    return next((scale for scale in made if scale > 0), float("nan"))


def _space(h: int, first: _Origin, own: Space, fixed: Mapping[str, Any]) -> dict[str, Among]:
    """Return all that is searched: the usual ranges, those of the user over them."""
    arguments = signature(Forecaster).parameters
    searchable = {*arguments, *Cures.__annotations__, "learning_rate"}
    for name, among in own.items():
        one_of(
            "a name in space",
            name,
            sorted(searchable - {"h", "seed", "n_windows", "freq", "cures"}),
        )
        if name in fixed:
            found = f"{name}={plain(fixed[name])} and a range of it"
            raise SettingError(f"{name} to be searched or fixed", found, "leave one of them out")
        _check_among(name, among)
    season, room = panel_season_length(first.known, h), int(first.known.lengths.max()) - h
    base = max(h, fixed.get("season_length") or season)
    longest = max(1, min(4 * base, LONGEST_CONTEXT, room // 2))
    usual: dict[str, Among] = {
        "cell": CELLS,
        "hidden_size": (8, 128),
        "context_length": (min(base, longest), longest),
        "learning_rate": (1e-3, 5e-2),
    }
    if "decoder" in arguments:
        usual["decoder"] = DECODERS
    whole = {**usual, **own}
    return {name: among for name, among in whole.items() if name not in fixed}


def _check_among(name: str, among: object) -> None:
    numbers = isinstance(among, tuple) and all(
        isinstance(end, (int, float)) and not isinstance(end, bool) for end in among
    )
    if isinstance(among, list) and among:
        return
    if isinstance(among, tuple) and numbers and len(among) == 2 and among[0] <= among[1]:
        return
    raise SettingError(
        f"space[{name!r}] to be a range (low, high) or a list of choices",
        repr(among),
        "pass for example (8, 64), or ['lstm', 'gru']",
    )


def _identity(
    panel: Panel, h: int, R: int, whole: Space, seed: int, fixed: Mapping[str, Any]
) -> dict[str, str]:
    """Return, in words that can be compared, what makes a search this one and no other."""
    digest = sha256()
    for i, unique_id in enumerate(panel.ids):
        digest.update(repr((unique_id, str(panel.starts[i]), panel.frequency.alias)).encode())
        digest.update(np.ascontiguousarray(panel.row(i)).tobytes())
    return {
        "h": str(h),
        "data": digest.hexdigest()[:16],
        "n_windows": str(R),
        "seed": str(seed),
        "space": ", ".join(f"{name}={among!r}" for name, among in sorted(whole.items())),
        "fixed": ", ".join(f"{name}={value!r}" for name, value in sorted(fixed.items())),
    }


def _require_optuna() -> None:
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna, for tuning", "it is not installed", INSTALL)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Optuna from logging every trial, and leave its level as it was."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _study(storage: Any, name: str, identity: Mapping[str, str]) -> Any:
    """Return the study called `name`, new or as it was left; refuse that of another search."""
    import optuna

    given = storage
    if isinstance(storage, (str, os.PathLike)) and "://" not in os.fspath(storage):
        check_writable(storage)
        storage = f"sqlite:///{os.path.abspath(os.fspath(storage))}"
    try:
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    except Exception as error:  # of the driver of whatever database it is
        found = str(error).partition("\n")[0]
        raise SettingError(
            f"a storage that Optuna can use at {given!r}", found, "name another file"
        ) from None
    theirs = study.user_attrs.get("search", None if study.trials else identity)
    if theirs != identity:
        differ = [key for key in identity if (theirs or {}).get(key) != identity[key]]
        was = (theirs or {}).get(differ[0], "none")
        raise SettingError(
            f"a storage whose search {name!r} is of the same {differ[0]}, {identity[differ[0]]}",
            was,
            "pass another name= or another storage=",
        )
    study.set_user_attr("search", dict(identity))
    for left in study.get_trials(deepcopy=False):
        if not left.state.is_finished():  # killed in the middle: what it found does not count
            study.tell(left.number, state=optuna.trial.TrialState.FAIL)
    return study


@dataclass(frozen=True, eq=False)
class _Search:
    """A study, and all that a trial needs; `own` are the names in `space` that the user gave."""

    study: Any
    h: int
    space: Mapping[str, Among]
    own: frozenset[str]
    fixed: Mapping[str, Any]
    origins: Sequence[_Origin]
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
