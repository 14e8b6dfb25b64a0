"""The Optuna study behind a search: begun, or gone on with where it is the same search.

A study keeps, beside its trials, what makes a search this one and no other: data (a hash of the
panel), horizon, origins, seed, the space and the settings of all trials. Trials that were broken
off count for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from throughtime._errors import MissingExtraError, SettingError
from throughtime._files import check_writable
from throughtime.forecasting.fitting.resuming import fingerprint
from throughtime.forecasting.series.panel import Panel

INSTALL = "pip install 'throughtime[tune]'"


def identity(
    panel: Panel,
    h: int,
    R: int,
    whole: Mapping[str, Sequence[Any]],
    seed: int,
    fixed: Mapping[str, Any],
) -> dict[str, str]:
    """Return, in words that can be compared, what makes a search this one and no other."""
    return {
        "h": str(h),
        "data": fingerprint(panel),
        "n_windows": str(R),
        "seed": str(seed),
        "space": ", ".join(f"{name}={among!r}" for name, among in sorted(whole.items())),
        "fixed": ", ".join(f"{name}={value!r}" for name, value in sorted(fixed.items())),
    }


def require_optuna() -> None:
    """Raise MissingExtraError, with the line that installs it, where Optuna is not there."""
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna, for tuning", "it is not installed", INSTALL)


@contextmanager
def silence() -> Iterator[None]:
    """Keep Optuna from logging every trial, and leave its level as it was."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(storage: Any, name: str, identity: Mapping[str, str]) -> Any:
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
