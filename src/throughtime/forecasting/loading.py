"""Forecasters from files that `saving.py` wrote.

Everything that is read is checked before anything is built from it, so that a file edited by hand
is refused here and not by some line far from it.
"""

from __future__ import annotations

import os
from typing import Any

from throughtime import _archive
from throughtime._archive import Snapshot
from throughtime.forecasting.calibration.online import Coverage
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.forecaster import Forecaster
from throughtime.forecasting.models.committee import Committee
from throughtime.forecasting.planning.choosing import Choice
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.saving import FORMAT, HISTORIES, of_group
from throughtime.forecasting.storage.backtest import unpack_backtest
from throughtime.forecasting.storage.checking import need, text
from throughtime.forecasting.storage.given import made
from throughtime.forecasting.storage.model import unpack_model
from throughtime.forecasting.storage.panel import unpack_panel
from throughtime.forecasting.storage.spread import unpack_spread
from throughtime.forecasting.storage.state import unpack_state
from throughtime.forecasting.streaming.learning import Learner
from throughtime.training import History
from throughtime.training.checkpoint import unpack_history


def load(path: str | os.PathLike[str]) -> Forecaster:
    """Return the forecaster that `Forecaster.save` wrote to `path`.

    It forecasts what the saved one would, to the last bit, and can be fitted anew. Loading runs no
    code from the file. Raises `ModelFileError` for a file that is missing, damaged, foreign, or
    written by a later release.

    >>> import tempfile, throughtime as tt
    >>> forecaster = tt.Forecaster(h=2, cell="rnn", members=1, n_windows=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     forecaster.fit([0.0, 1.0, 2.0, 1.0] * 8).save(f"{folder}/model.safetensors")
    ...     loaded = tt.load(f"{folder}/model.safetensors")
    >>> loaded.predict(level=[]) == forecaster.predict(level=[])
    True
    """
    path = os.path.expanduser(path)
    snapshot = _archive.read(path, FORMAT)
    with FORMAT.unpacking(path):
        return _unpack(snapshot)


def unpack_given(facts: dict[str, Any]) -> Forecaster:
    """Return a forecaster with the arguments that `pack_given` returned, not fitted."""
    arguments = made(facts)
    return Forecaster(**arguments, seed=arguments["training"].seed)


def _unpack(snapshot: Snapshot) -> Forecaster:
    panel = unpack_panel(snapshot.part("panel"))
    model = unpack_model(snapshot.part("model"))
    for each in model.models:
        each.channels.check(panel)
        need(each.design.season_length <= panel.lengths.max(), "season_length")
    for name in model.design.transforms:
        for _, y, _ in panel.pieces():
            TRANSFORMS[name].forward(y)  # refuses what it is not for
    forecaster = unpack_given(snapshot.facts["given"])
    given = forecaster._given
    cells = [each.design["cell"] for each in given.groups or (given,)]
    found = [each.design.cell for each in model.models]
    need((given.h, cells) == (model.design.h, found), "the horizon or the cell")
    backtest = None
    if "backtest" in snapshot.facts:
        backtest = unpack_backtest(snapshot.part("backtest"), panel)
        need(backtest.h == forecaster.h, "the horizon of the back-test")
        need(backtest.models[0] == forecaster.name, "the model of the back-test")
        says = backtest.quantiles is not None
        need(not says or model.design.output != "point", "quantiles of points")
        need(backtest.counts == (says and model.design.counts), "counts")
        backtest.calibration(forecaster.name)  # refuses one without errors
    parts = []
    for g, each in enumerate(model.models):
        history, pilot = (_unpack_history(snapshot.part(of_group(n, g))) for n in HISTORIES)
        parts.append(Fitted(panel, each, history, pilot))
    weights = None
    if isinstance(model, Committee):
        need(model.combine == given.members.between, "combine")
        weights = model.weights
    forecaster._take(Fitted.together(parts, given.members.between, weights), backtest)
    if "choice" in snapshot.facts:
        forecaster.choice = Choice.of(snapshot.facts["choice"])
    stream = forecaster._stream
    if "state" in snapshot.facts:
        stream.state = unpack_state(snapshot.part("state"), panel, model)
    if "coverage" in snapshot.facts:
        stream.coverage = Coverage.unpack(snapshot.part("coverage"), forecaster.h)
    if "spread" in snapshot.facts:
        stream.spread = unpack_spread(snapshot.part("spread"), len(panel))
    if "learner" in snapshot.facts:
        stream.learner = Learner(model.models[0], stream.losses)
        stream.learner.restore(snapshot.part("learner"))
    return forecaster


def _unpack_history(part: Snapshot) -> History:
    history = History(reason=text(part.facts, "reason"))
    unpack_history(part, history)
    return history
