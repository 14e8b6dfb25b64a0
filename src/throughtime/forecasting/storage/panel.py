"""A panel in a file: the buffer, and how its table came in."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from throughtime._archive import Snapshot
from throughtime._checks import one_of, positive_int
from throughtime.forecasting.series.columns import DateKind
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.series.panel import Panel, Static
from throughtime.forecasting.storage.checking import all_of, array, need, text

CHANNELS = ("targets", "hist", "futr")
_TOLD = ("n_gaps", "n_missing", "notes", "backend")
NAMES = ("number_names", "category_names", "categories")
_BACKENDS = ("pandas", "polars", "pyarrow", "modin", "cudf")
_DATES = r"datetime64\[(s|ms|us|ns|D)\]|object|text\[[YMDms]\]"
_INTEGERS = r"u?int(8|16|32|64)|float64"


def pack_panel(panel: Panel) -> Snapshot:
    """Take a panel apart."""
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
    facts = {name: getattr(panel, name) for name in (*CHANNELS, *_TOLD)}
    facts |= {
        "ids": panel.ids,
        "frequency": panel.frequency.alias,
        "dates": asdict(panel.dates),
        "static": {name: getattr(static, name) for name in NAMES},
    }
    return Snapshot(tensors, facts)


def unpack_panel(part: Snapshot) -> Panel:
    """Put together what `pack_panel` took apart; `ValueError` for what does not fit."""
    facts, ids = part.facts, part.facts["ids"]
    need(all_of(ids, str) or all_of(ids, int), "the names of the series")
    need(len(set(ids)) == len(ids) > 0, "the names of the series")
    S = len(ids)
    for name in (*CHANNELS, "notes"):
        need(all_of(facts[name], str), name)
    values = part.tensors["values"].numpy()
    need(values.dtype in (np.float64, np.float32) and values.ndim == 2, "the type of values")
    need(len(values) == sum(len(facts[name]) for name in CHANNELS), "the channels of values")
    need(len(facts["targets"]) > 0 and not np.isinf(values).any(), "values")
    begins, lengths, room = (
        array(part, name, np.int64, S) for name in ("begins", "lengths", "room")
    )
    need(bool((begins >= 0).all() and (lengths > 0).all() and (room >= 0).all()), "lengths")
    need(bool((begins + lengths + room <= values.shape[1]).all()), "begins")
    frequency, starts = Frequency(text(facts, "frequency")), array(part, "starts", np.int64)
    starts = starts if frequency.is_integer else starts.view("datetime64[us]")
    need(starts.shape == (S,) and not np.isnat(starts.view("datetime64[us]")).any(), "starts")
    frequency.index(starts, starts)  # refuses what is not on a grid
    one_of("backend", facts["backend"], _BACKENDS)
    for name in ("n_gaps", "n_missing"):
        positive_int(name, facts[name], at_least=0)
    channels: dict[str, Any] = {name: tuple(facts[name]) for name in CHANNELS}
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
    need(not np.isnan(first).all(axis=0).any(), "a series that begins without a value")
    panel.dates.restore(panel.future(1)[1], "pyarrow")  # refuses a time zone that is none
    return panel


def _unpack_static(part: Snapshot, S: int) -> Static:
    facts = part.facts["static"]
    for name in ("number_names", "category_names"):
        need(all_of(facts[name], str), name)
    categories = tuple(map(tuple, facts["categories"]))
    n, k = len(facts["number_names"]), len(facts["category_names"])
    need(len(categories) == k and all(all_of(list(c), str) for c in categories), "categories")
    numbers = array(part, "static.numbers", np.float64, S, n)
    codes = array(part, "static.codes", np.int64, S, k)
    most = np.array([len(each) for each in categories], dtype=np.int64)
    need(bool(((codes >= 0) & (codes <= most)).all()), "static.codes")
    return Static(
        numbers, codes, tuple(facts["number_names"]), tuple(facts["category_names"]), categories
    )


def _unpack_dates(facts: dict[str, str], frequency: Frequency) -> DateKind:
    dates = DateKind(**facts)
    known = _INTEGERS if frequency.is_integer else _DATES
    need(re.fullmatch(known, text(facts, "dtype")) is not None, "the type of the dates")
    need(not (frequency.is_integer and text(facts, "zone")), "the time zone")
    one_of("clock", dates.clock, ("wall", "utc"))
    one_of("separator", dates.separator, ("T", " "))
    return dates
