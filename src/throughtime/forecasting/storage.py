"""Forecasters in files: what `predict` needs, and what tells how the forecast came about.

    given             the arguments of the constructor, for the next `fit`
    design            what was decided before the last one
    panel             the series, as numbers, and how their table came in
    model             the maps A_k, and the weights of the nets by their names in PyTorch
    backtest          values and forecasts at the rolling origins; its panel where that is another
    state             what `update` has carried on (`state_file.py`), if it has
    history, pilot    updates and evaluations

Scores, intervals, tables and reach follow from these, and are computed again. Everything that is
read is checked before anything is built from it, so that a file edited by hand is refused here
and not by some line far from it.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from throughtime import _archive
from throughtime._archive import Format, Snapshot
from throughtime._checks import one_of, positive_int
from throughtime._errors import ThroughtimeError
from throughtime._files import check_writable
from throughtime.forecasting import state_file
from throughtime.forecasting.backtest import Backtest
from throughtime.forecasting.channels import Channels
from throughtime.forecasting.columns import DateKind
from throughtime.forecasting.design import Design
from throughtime.forecasting.forecaster import Forecaster, checked
from throughtime.forecasting.frequency import Frequency
from throughtime.forecasting.learning import Learner
from throughtime.forecasting.model import Model
from throughtime.forecasting.online import Coverage
from throughtime.forecasting.panel import Panel, Static
from throughtime.forecasting.transforms import TRANSFORMS
from throughtime.nn import read_inits
from throughtime.training import History, TrainingSettings
from throughtime.training.checkpoint import pack_history, unpack_history

FORMAT = Format(
    "throughtime forecaster",
    1,
    "a forecaster that was saved",
    "pass a file that Forecaster.save wrote, or fit anew",
)

_BACKENDS = ("pandas", "polars", "pyarrow", "modin", "cudf")
_DATES = r"datetime64\[(s|ms|us|ns|D)\]|object|text\[[YMDms]\]"
_INTEGERS = r"u?int(8|16|32|64)|float64"
_MISFITS = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save(forecaster: Forecaster, path: str | os.PathLike[str]) -> None:
    """Write a fitted forecaster to one file, whole or not at all.

    Raises `NotFittedError` before `fit`, `SettingError` where `path` cannot be written.
    """
    path = os.path.expanduser(path)
    check_writable(path)
    panel, model, backtest = forecaster.panel, forecaster.model, forecaster._backtest
    given = _plain(forecaster._given)
    transforms = given.pop("transforms")
    given |= {
        "transform": None if transforms is None else transforms[0],
        "n_windows": forecaster.n_windows,
        "cure": forecaster.cure,
        "freq": None if forecaster.freq is None else forecaster.freq.alias,
    }
    whole = Snapshot(facts={"given": given})
    whole.include("panel", _pack_panel(panel))
    whole.include("model", _pack_model(model))
    if forecaster._state is not None:
        whole.include("state", state_file.pack(forecaster._state))
        whole.include("coverage", forecaster.coverage.pack())
    if forecaster._learner is not None:
        whole.include("learner", forecaster._learner.snapshot())
    if backtest is not None:
        whole.include("backtest", _pack_backtest(backtest, panel))
    for name, history in (("history", forecaster.history), ("pilot", forecaster.pilot)):
        part = pack_history(history)
        part.facts["reason"] = history.reason
        whole.include(name, part)
    _archive.write(path, FORMAT, whole)


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
    try:
        return _unpack(snapshot)
    except _MISFITS as error:
        raise FORMAT.unreadable(path, f"contents that do not fit ({_words(error)})") from error


def _unpack(snapshot: Snapshot) -> Forecaster:
    panel = _unpack_panel(snapshot.part("panel"))
    model = _unpack_model(snapshot.part("model"))
    model.channels.check(panel)
    for name in model.design.transforms:
        TRANSFORMS[name].forward(panel.values[: len(panel.targets)])  # refuses what it is not for
    forecaster = _unpack_given(snapshot.facts["given"], model.design)
    backtest = None
    if "backtest" in snapshot.facts:
        backtest = _unpack_backtest(snapshot.part("backtest"), panel)
        _need(backtest.h == forecaster.h, "the horizon of the back-test")
        _need(backtest.models[0] == forecaster.name, "the model of the back-test")
        backtest.calibration(forecaster.name)  # refuses one without errors
    history, pilot = (_unpack_history(snapshot.part(name)) for name in ("history", "pilot"))
    forecaster._take(panel, model, backtest, history, pilot)
    if "state" in snapshot.facts:
        forecaster._state = state_file.unpack(snapshot.part("state"), panel, model)
        forecaster.coverage = Coverage.unpack(snapshot.part("coverage"), forecaster.h)
    if "learner" in snapshot.facts:
        forecaster._learner = Learner(model, forecaster.losses)
        forecaster._learner.restore(snapshot.part("learner"))
    return forecaster


def _unpack_given(facts: dict[str, Any], design: Design) -> Forecaster:
    arguments = _made(facts)
    arguments["seed"] = arguments["training"].seed
    _need(arguments["cell"] == design.cell, "the cell")
    return Forecaster(design.h, **arguments)


def _pack_panel(panel: Panel) -> Snapshot:
    static = panel.static
    tensors = {
        "values": torch.tensor(panel.values),
        "begins": torch.tensor(panel.begins),
        "lengths": torch.tensor(panel.lengths),
        "room": torch.tensor(panel.room),
        "starts": torch.tensor(panel.starts.astype(np.int64)),
        "static.numbers": torch.tensor(static.numbers),
        "static.codes": torch.tensor(static.codes),
    }
    facts = {name: getattr(panel, name) for name in (*_CHANNELS, *_TOLD)}
    facts |= {
        "ids": panel.ids,
        "frequency": panel.frequency.alias,
        "dates": asdict(panel.dates),
        "static": {name: getattr(static, name) for name in _NAMES},
    }
    return Snapshot(tensors, facts)


_CHANNELS = ("targets", "hist", "futr")
_TOLD = ("n_gaps", "n_missing", "notes", "backend")
_NAMES = ("number_names", "category_names", "categories")


def _unpack_panel(part: Snapshot) -> Panel:
    facts, ids = part.facts, part.facts["ids"]
    _need(_all_of(ids, str) or _all_of(ids, int), "the names of the series")
    _need(len(set(ids)) == len(ids) > 0, "the names of the series")
    S = len(ids)
    for name in (*_CHANNELS, "notes"):
        _need(_all_of(facts[name], str), name)
    values = part.tensors["values"].numpy()
    _need(values.dtype in (np.float64, np.float32) and values.ndim == 2, "the type of values")
    _need(len(values) == sum(len(facts[name]) for name in _CHANNELS), "the channels of values")
    _need(len(facts["targets"]) > 0 and not np.isinf(values).any(), "values")
    begins, lengths, room = (
        _array(part, name, np.int64, S) for name in ("begins", "lengths", "room")
    )
    _need(bool((begins >= 0).all() and (lengths > 0).all() and (room >= 0).all()), "lengths")
    _need(bool((begins + lengths + room <= values.shape[1]).all()), "begins")
    frequency, starts = Frequency(_text(facts, "frequency")), _array(part, "starts", np.int64)
    starts = starts if frequency.is_integer else starts.view("datetime64[us]")
    _need(starts.shape == (S,) and not np.isnat(starts.view("datetime64[us]")).any(), "starts")
    frequency.index(starts, starts)  # refuses what is not on a grid
    one_of("backend", facts["backend"], _BACKENDS)
    for name in ("n_gaps", "n_missing"):
        positive_int(name, facts[name], at_least=0)
    channels: dict[str, Any] = {name: tuple(facts[name]) for name in _CHANNELS}
    panel = Panel(
        tuple(ids),
        values,
        begins,
        lengths,
        starts,
        frequency,
        room,
        **channels,
        static=_unpack_static(part, S),
        n_gaps=facts["n_gaps"],
        n_missing=facts["n_missing"],
        notes=tuple(facts["notes"]),
        backend=facts["backend"],
        dates=_unpack_dates(facts["dates"], frequency),
    )
    first = values[: len(panel.targets), begins]
    _need(not np.isnan(first).all(axis=0).any(), "a series that begins without a value")
    panel.dates.restore(panel.future(1)[1], "pyarrow")  # refuses a time zone that is none
    return panel


def _unpack_static(part: Snapshot, S: int) -> Static:
    facts = part.facts["static"]
    for name in ("number_names", "category_names"):
        _need(_all_of(facts[name], str), name)
    categories = tuple(map(tuple, facts["categories"]))
    n, k = len(facts["number_names"]), len(facts["category_names"])
    _need(len(categories) == k and all(_all_of(list(c), str) for c in categories), "categories")
    numbers = _array(part, "static.numbers", np.float64, S, n)
    codes = _array(part, "static.codes", np.int64, S, k)
    most = np.array([len(each) for each in categories], dtype=np.int64)
    _need(bool(((codes >= 0) & (codes <= most)).all()), "static.codes")
    return Static(
        numbers, codes, tuple(facts["number_names"]), tuple(facts["category_names"]), categories
    )


def _unpack_dates(facts: dict[str, str], frequency: Frequency) -> DateKind:
    dates = DateKind(**facts)
    known = _INTEGERS if frequency.is_integer else _DATES
    _need(re.fullmatch(known, _text(facts, "dtype")) is not None, "the type of the dates")
    _need(not (frequency.is_integer and _text(facts, "zone")), "the time zone")
    one_of("clock", dates.clock, ("wall", "utc"))
    one_of("separator", dates.separator, ("T", " "))
    return dates


def _pack_model(model: Model) -> Snapshot:
    design = _plain({each.name: getattr(model.design, each.name) for each in fields(Design)})
    part = Snapshot({"linear": torch.tensor(model.linear)}, {"design": design})
    part.facts["explained"] = model.explained
    part.include("network", Snapshot(model.network.state_dict()))
    part.include("channels", _pack_channels(model.channels))
    return part


_SCALES = ("location", "size", "static_location", "static_size")
_READ = (*_CHANNELS, "calendar", *_NAMES, "mask")


def _pack_channels(channels: Channels) -> Snapshot:
    tensors = {name: torch.tensor(getattr(channels, name)) for name in _SCALES}
    return Snapshot(tensors, {name: getattr(channels, name) for name in _READ})


def _unpack_channels(part: Snapshot) -> Channels:
    facts = part.facts
    for name in (*_CHANNELS, "calendar", "number_names", "category_names"):
        _need(_all_of(facts[name], str), name)
    _need(isinstance(facts["mask"], bool) and len(facts["targets"]) > 0, "what is read")
    categories = tuple(map(tuple, facts["categories"]))
    _need(all(_all_of(list(each), str) for each in categories), "categories")
    _need(len(categories) == len(facts["category_names"]), "categories")
    n, N = len(facts["hist"]) + len(facts["futr"]), len(facts["number_names"])
    location, size = (_array(part, name, np.float64, n) for name in _SCALES[:2])
    static_location, static_size = (_array(part, name, np.float64, N) for name in _SCALES[2:])
    for each in (location, size, static_location, static_size):
        _need(bool(np.isfinite(each).all()), "the scale of a covariate")
    _need(bool((size > 0).all() and (static_size > 0).all()), "the size of a covariate")
    return Channels(
        **{name: tuple(facts[name]) for name in (*_CHANNELS, "calendar", *_NAMES[:2])},
        mask=facts["mask"],
        categories=categories,
        location=location,
        size=size,
        static_location=static_location,
        static_size=static_size,
    )


def _unpack_model(part: Snapshot) -> Model:
    facts = part.facts["design"]
    names = facts["transforms"]
    _need(_all_of(names, str) and len(set(names)) == len(names) > 0, "transforms")
    design = Design(**{**_made(facts), "transforms": tuple(names)})
    linear = _array(part, "linear", np.float64, len(names), design.h, design.context_length)
    weights = part.part("network").tensors
    # before a net is made whose size nothing in the file bears out
    least = design.members * design.num_layers * design.hidden_size**2
    _need(sum(w.numel() for w in weights.values()) >= least, "the number of weights")
    finite = all(w.is_floating_point() and w.isfinite().all() for w in weights.values())
    _need(finite and bool(np.isfinite(linear).all()), "weights")
    channels = _unpack_channels(part.part("channels"))
    network = design.network(channels.sizes)
    shapes = {name: w.shape for name, w in network.state_dict().items()}
    _need({name: w.shape for name, w in weights.items()} == shapes, "the shapes of the weights")
    network.load_state_dict(weights)
    explained = part.facts.get("explained")
    _need(explained is None or isinstance(explained, (int, float)), "explained")
    return Model(design, linear, network.eval(), channels, explained)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as a file holds them: what has a form of its own as JSON or text."""
    inits = [init.text for init in settings["init"]]
    return {**settings, "training": settings["training"].to_json(), "init": inits}


def _made(facts: dict[str, Any]) -> dict[str, Any]:
    """Make settings from what `_plain` returned, or a release before there were cures."""
    made = {**facts, "training": TrainingSettings.from_json(facts["training"])}
    if "init" in facts:
        _need(_all_of(facts["init"], str), "init")
        made["init"] = read_inits(facts["init"])
    if isinstance(facts.get("zoneout"), list):
        made["zoneout"] = tuple(facts["zoneout"])
    if isinstance(facts.get("dilations"), list):
        made["dilations"] = _nested(facts["dilations"])
    if isinstance(facts.get("calendar"), list):
        _need(_all_of(facts["calendar"], str), "calendar")
        made["calendar"] = tuple(facts["calendar"])
    return made


def _nested(values: Any) -> Any:
    return tuple(map(_nested, values)) if isinstance(values, list) else values


def _pack_backtest(backtest: Backtest, fitted: Panel) -> Snapshot:
    facts = {name: getattr(backtest, name) for name in _COUNTS}
    facts |= {
        "transform": backtest.transform.name,
        "levels": backtest.levels,
        "models": backtest.models,
    }
    part = Snapshot({"y": torch.tensor(backtest.y)}, facts)
    for i, model in enumerate(backtest.models):
        part.tensors[f"forecast.{i}"] = torch.tensor(backtest.forecasts[model])
    if backtest.panel is not fitted:
        part.include("panel", _pack_panel(backtest.panel))
    return part


_COUNTS = ("h", "n_windows", "step_size", "season_length")


def _unpack_backtest(part: Snapshot, fitted: Panel) -> Backtest:
    facts = part.facts
    panel = _unpack_panel(part.part("panel")) if "panel" in facts else fitted
    h, R, step_size, season_length = (positive_int(name, facts[name]) for name in _COUNTS)
    _need(h + (R - 1) * step_size < int(panel.lengths.max()), "the origins of the back-test")
    models = facts["models"]
    _need(_all_of(models, str) and len(set(models)) == len(models) > 0, "models")
    one_of("transform", facts["transform"], TRANSFORMS)
    y, *forecasts = (
        _array(part, name, np.float64, R, len(panel), h)
        for name in ("y", *(f"forecast.{i}" for i in range(len(models))))
    )
    return Backtest(
        panel,
        h,
        R,
        step_size,
        season_length,
        TRANSFORMS[facts["transform"]],
        checked(facts["levels"]),
        y,
        dict(zip(models, forecasts, strict=True)),
    )


def _unpack_history(part: Snapshot) -> History:
    history = History(reason=_text(part.facts, "reason"))
    unpack_history(part, history)
    return history


def _array(part: Snapshot, name: str, dtype: Any, *shape: int) -> npt.NDArray[Any]:
    """Return a tensor as an array of this type, and this shape where one is given."""
    array: npt.NDArray[Any] = part.tensors[name].numpy()
    fits = array.shape == shape if shape else array.ndim == 1
    _need(array.dtype == dtype and fits, f"the type or shape of {name}")
    return array


def _text(facts: dict[str, Any], name: str) -> str:
    value = facts[name]
    _need(isinstance(value, str), name)
    return str(value)


def _all_of(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _words(error: Exception) -> str:
    if isinstance(error, ThroughtimeError):
        return f"expected {error.expected}, found {error.found}"
    said = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(said.split()).rstrip(".")
