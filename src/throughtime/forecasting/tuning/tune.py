"""Search for the settings that forecast a table best, with Optuna.

    score = mean_r e_r

over rolling origins r at the end of the table, e_r being a mean absolute scaled error: `origins.py`
says how a trial is judged, `search.py` how trials are made, `study.py` how they are kept and gone on
with, and `trials.py` what they tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from itertools import islice
from typing import Any

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import DivergedError, SettingError
from throughtime.forecasting.architectures import ARCHITECTURES, DRAWS
from throughtime.forecasting.forecaster import Forecaster
from throughtime.forecasting.planning.deciding import LONGEST_CONTEXT
from throughtime.forecasting.series.demands import checked_counts, checked_panel
from throughtime.forecasting.series.frame import read_frame
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.seasons import panel_season_length
from throughtime.forecasting.series.statics import read_static
from throughtime.forecasting.settings.cures import Cures
from throughtime.forecasting.settings.members import Members
from throughtime.forecasting.tuning.origins import Origin, baseline_scores, rolling_origins
from throughtime.forecasting.tuning.search import Among, Search
from throughtime.forecasting.tuning.study import identity, open_study, require_optuna, silence
from throughtime.forecasting.tuning.trials import Tuning, plain
from throughtime.training import Observer
from throughtime.training.outputs import COUNTS

Space = Mapping[str, Among]

CELLS = ["lstm", "gru", "rnn"]
_OF_THE_SEARCH = {"h", "seed", "n_windows", "freq", "cures", "target", "hist", "futr", "budget"}


def tune(
    data: Any,
    h: int,
    *,
    static_df: Any = None,
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
    0), a list holds choices, of any argument of `Forecaster`. `fixed` are arguments for all trials,
    among them `target`, `hist`, `futr` and `calendar`, the columns of `data` that are read; `static_df`
    says of every series what does not change (`Forecaster.fit`). All targets count the same.

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
    require_optuna()
    _one_group(fixed.get("members"))
    Forecaster(h, seed=seed, **fixed)  # refuses what it does not take, before anything is read
    panel = checked_panel(_read(data, static_df, fixed), h)
    wanted = positive_int("n_windows", n_windows)
    origins = rolling_origins(panel, h, wanted, fixed.get("season_length"))
    whole = _space(h, origins[0], space or {}, fixed)
    if any(name in (fixed.get("output"), *whole.get("output", ())) for name in COUNTS):
        checked_counts(panel)
    with silence():
        study = open_study(storage, name, identity(panel, h, len(origins), whole, seed, fixed))
        fixed = fixed | {"seed": seed}
        search = Search(study, h, whole, frozenset(space or {}), fixed, origins, observers)
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
    return Tuning(h, len(origins), fixed, tried, baseline_scores(origins), reason)


def _one_group(members: Any) -> None:
    if isinstance(members, Members) and members.n_groups > 1:
        raise SettingError(
            "one context, architecture and cell at a time, as a search is among them",
            f"members={members}",
            "name what is to be tried in space, or pass members=tt.Members(seeds=3)",
        )


def _read(data: Any, static_df: Any, fixed: Mapping[str, Any]) -> Panel:
    """Return what a forecaster reads of a table."""
    columns = {name: fixed[name] for name in ("target", "hist", "futr") if name in fixed}
    panel = read_frame(data, fixed.get("freq"), **columns)
    if static_df is None:
        return panel
    return replace(panel, static=read_static(static_df, panel.ids))


def _space(h: int, first: Origin, own: Space, fixed: Mapping[str, Any]) -> dict[str, Among]:
    """Return all that is searched: the usual ranges, those of the user over them."""
    arguments = signature(Forecaster).parameters
    searchable = {*arguments, *Cures.__annotations__, "learning_rate"}
    for name, among in own.items():
        one_of(
            "a name in space",
            name,
            sorted(searchable - _OF_THE_SEARCH),
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
        "architecture": _architectures(first.known, fixed, own),
    }
    whole = {**usual, **own}
    return {name: among for name, among in whole.items() if name not in fixed}


def _architectures(panel: Panel, fixed: Mapping[str, Any], own: Space) -> list[str]:
    """Return the architectures that may be searched.

    Those that draw paths read every step ahead; "es" scales and smooths values itself.
    """
    no_paths = panel.hist or fixed.get("output") == "point"
    counts = any(name in (fixed.get("output"), *own.get("output", ())) for name in COUNTS)
    no_level = counts or {"scaling", "residual", "difference", "preprogram"} & {*fixed, *own}
    refused = [*DRAWS] * bool(no_paths) + ["es"] * bool(no_level)
    return [name for name in ARCHITECTURES if name not in refused]


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
