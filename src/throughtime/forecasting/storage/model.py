"""A model in a file: the design, the maps A_k, the weights of the nets, and what they read.

Of several groups of members it is each of their models, and how these are combined.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from throughtime._archive import Snapshot
from throughtime._checks import one_of
from throughtime.forecasting.models.committee import Answers, Committee
from throughtime.forecasting.models.companions import Maps
from throughtime.forecasting.models.model import Model
from throughtime.forecasting.pretrained.net import PretrainedNet
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.settings.members import COMBINE
from throughtime.forecasting.storage.checking import all_of, array, need
from throughtime.forecasting.storage.given import made, plain
from throughtime.forecasting.storage.panel import CHANNELS, NAMES

_SCALES = ("location", "size", "static_location", "static_size")
_READ = (*CHANNELS, "calendar", *NAMES, "mask")


def pack_model(model: Answers) -> Snapshot:
    """Take a model apart."""
    if isinstance(model, Committee):
        return _pack_committee(model)
    design = plain({each.name: getattr(model.design, each.name) for each in fields(Design)})
    part = Snapshot({"linear": torch.tensor(model.linear.shared)}, {"design": design})
    if model.linear.own is not None:
        own = {"maps": torch.tensor(model.linear.own)}
        part.include("own", Snapshot(own, {"ids": list(model.linear.ids)}))
    part.facts["explained"] = model.explained
    part.include("network", Snapshot(model.network.state_dict()))
    part.include("channels", _pack_channels(model.channels))
    if model.taught is not None:
        part.include("taught", Snapshot(model.taught.state_dict()))
    return part


def _pack_committee(model: Committee) -> Snapshot:
    facts = {"combine": model.combine, "weights": model.shares.tolist()}
    whole = Snapshot(facts=facts)
    for g, each in enumerate(model.models):
        whole.include(str(g), pack_model(each))
    return whole


def unpack_model(part: Snapshot) -> Answers:
    """Put together what `pack_model` took apart; `ValueError` for what does not fit."""
    return _unpack_committee(part) if "weights" in part.facts else _unpack_one(part)


def _unpack_committee(part: Snapshot) -> Committee:
    combine, weights = part.facts["combine"], np.array(part.facts["weights"], dtype=np.float64)
    one_of("combine", combine, COMBINE)
    need(weights.ndim == 1 and len(weights) > 1, "the number of groups")
    need(bool((weights >= 0).all()) and bool(np.isclose(weights.sum(), 1.0)), "weights of groups")
    models = tuple(_unpack_one(part.part(str(g))) for g in range(len(weights)))
    for name in ("h", "output", "transforms", "draws", "carries"):
        need(len({getattr(each.design, name) for each in models}) == 1, f"{name} of the groups")
    return Committee(models, combine, weights)


def _unpack_one(part: Snapshot) -> Model:
    facts = part.facts["design"]
    names = facts["transforms"]
    need(isinstance(facts["calendar"], list), "calendar")
    need(all_of(names, str) and len(set(names)) == len(names) > 0, "transforms")
    design = Design(**{**made(facts), "transforms": tuple(names)})
    shared = array(part, "linear", np.float64, len(names), design.h, design.context_length)
    channels = _unpack_channels(part.part("channels"))
    linear = Maps(shared, *_unpack_own(part.part("own"), shared.shape, len(channels.targets)))
    weights = part.part("network").tensors
    # before a net is made whose size nothing in the file bears out
    least = design.members * design.num_layers * design.hidden_size**2
    need(sum(w.numel() for w in weights.values()) >= least, "the number of weights")
    need(bool(np.isfinite(shared).all()), "weights")
    network = design.network(channels.sizes)
    _load(network, weights)
    explained = part.facts.get("explained")
    need(explained is None or isinstance(explained, (int, float)), "explained")
    return Model(design, linear, network.eval(), channels, explained, _unpack_taught(part, design))


def _unpack_taught(part: Snapshot, design: Design) -> PretrainedNet | None:
    weights = part.part("taught").tensors
    need(bool(weights) == bool(design.pretrained and design.taught), "a net that was taught")
    if not weights:
        return None
    net = PretrainedNet().eval().requires_grad_(False)
    _load(net, weights)
    return net


def _load(net: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Give a net its weights; `ValueError` for others."""
    finite = all(w.is_floating_point() and w.isfinite().all() for w in weights.values())
    need(finite, "weights")
    shapes = {name: w.shape for name, w in net.state_dict().items()}
    need({name: w.shape for name, w in weights.items()} == shapes, "the shapes of the weights")
    net.load_state_dict(weights)


def _unpack_own(
    part: Snapshot, shared: tuple[int, ...], M: int
) -> tuple[npt.NDArray[np.float64] | None, tuple[Any, ...]]:
    """Return the maps [K, S, M, h, L] that series have of their own, if any, and their names."""
    if not part.facts:
        return None, ()
    ids = part.facts["ids"]
    need(all_of(ids, str) or all_of(ids, int), "the series of the maps")
    need(len(set(ids)) == len(ids) > 0, "the series of the maps")
    K, *map_ = shared
    own = array(part, "maps", np.float64, K, len(ids), M, *map_)
    need(bool(np.isfinite(own).all()), "the maps of the series")
    return own, tuple(ids)


def _pack_channels(channels: Channels) -> Snapshot:
    tensors = {name: torch.tensor(getattr(channels, name)) for name in _SCALES}
    return Snapshot(tensors, {name: getattr(channels, name) for name in (*_READ, "ids")})


def _unpack_channels(part: Snapshot) -> Channels:
    facts = part.facts
    for name in (*CHANNELS, "calendar", "number_names", "category_names"):
        need(all_of(facts[name], str), name)
    need(isinstance(facts["mask"], bool) and len(facts["targets"]) > 0, "what is read")
    series = facts.get("series", [])
    need(all_of(series, str) or all_of(series, int), "the names of the series")
    categories = tuple(map(tuple, facts["categories"]))
    need(all(all_of(list(each), str) for each in categories), "categories")
    need(len(categories) == len(facts["category_names"]), "categories")
    ids = tuple(facts.get("ids", ()))
    need(all_of(list(ids), str) or all_of(list(ids), int), "the series")
    need(len(set(ids)) == len(ids), "the series")
    n, N = len(facts["hist"]) + len(facts["futr"]), len(facts["number_names"])
    location, size = (array(part, name, np.float64, n) for name in _SCALES[:2])
    static_location, static_size = (array(part, name, np.float64, N) for name in _SCALES[2:])
    for each in (location, size, static_location, static_size):
        need(bool(np.isfinite(each).all()), "the scale of a covariate")
    need(bool((size > 0).all() and (static_size > 0).all()), "the size of a covariate")
    return Channels(
        **{name: tuple(facts[name]) for name in (*CHANNELS, "calendar", *NAMES[:2])},
        mask=facts["mask"],
        categories=categories,
        ids=ids,
        location=location,
        size=size,
        static_location=static_location,
        static_size=static_size,
    )
