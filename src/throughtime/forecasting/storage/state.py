"""The state of series in a file: its arrays by name, the hidden states, the names of the series."""

from __future__ import annotations

import numpy as np
import torch

from throughtime._archive import Snapshot
from throughtime.forecasting.models.committee import Answers, widest
from throughtime.forecasting.models.state import State
from throughtime.forecasting.series.panel import Panel, Static
from throughtime.forecasting.storage.checking import need


def pack_state(state: State) -> Snapshot:
    """Return what `unpack_state` makes the same state of."""
    part = Snapshot(facts={"ids": state.ids})
    for name, array in state.arrays.items():
        plain = array.astype(np.int64) if name == "starts" else array
        part.tensors[name] = torch.tensor(plain)
    for i, hidden in enumerate(state.hidden):
        part.tensors[f"hidden.{i}"] = hidden
    part.tensors["static.numbers"] = torch.tensor(state.static.numbers)
    part.tensors["static.codes"] = torch.tensor(state.static.codes)
    return part


def unpack_state(part: Snapshot, panel: Panel, model: Answers) -> State:
    """Return the state that was packed; `ValueError` for what does not fit the model."""
    read = widest(model)
    state = State(panel, read.design, read.channels, read.network)
    ids, dtype = part.facts["ids"], panel.starts.dtype
    kinds = {type(each) for each in ids}
    need(len(set(ids)) == len(ids) > 0 and kinds in ({str}, {int}), "ids")
    starts = part.tensors["starts"].numpy()
    need(starts.shape == (len(ids),) and starts.dtype == np.int64, "starts")
    static = Static(
        part.tensors["static.numbers"].numpy(),
        part.tensors["static.codes"].numpy(),
        panel.static.number_names,
        panel.static.category_names,
        panel.static.categories,
    )
    need(static.numbers.shape == (len(ids), len(static.number_names)), "static.numbers")
    need(static.codes.shape == (len(ids), len(static.category_names)), "static.codes")
    most = np.array([len(each) for each in static.categories], dtype=np.int64)
    need(bool(((static.codes >= 0) & (static.codes <= most)).all()), "static.codes")
    state.grow(ids, starts if dtype.kind == "i" else starts.view(dtype), static)
    for name, array in state.arrays.items():
        if name != "starts":
            found = part.tensors[name].numpy()
            need(found.shape == array.shape and found.dtype == array.dtype, name)
            state.arrays[name] = found.copy()
    need(bool((state.arrays["lengths"] > 0).all()), "lengths")
    hidden = tuple(part.tensors[f"hidden.{i}"] for i in range(len(state.hidden)))
    for tensor, made in zip(hidden, state.hidden, strict=True):
        need(tensor.shape == made.shape and tensor.dtype == made.dtype, "hidden states")
        need(bool(tensor.isfinite().all()), "hidden states")
    # in memory of their own: products read it in an order that its place decides
    state.hidden = tuple(each.clone() for each in hidden)
    return state
