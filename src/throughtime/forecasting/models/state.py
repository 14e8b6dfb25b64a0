"""What is carried of series as they go on: enough to forecast, and to go on from, without them.

    length        steps since the first one             ring          the last R values of every channel
    n, A, B       sums of the running scale (`examples/running.py`), by transform: moments follow
    low, high     least and greatest value              path, steps   sum and count of |u_t - u_{t-1}|
    last          the newest observed value, which a gap carries on
    hidden        states of the nets [D, E, S, H], where they are carried (`carrying.py`)

Every step costs the same, however long its series: R is the context, or what the naive forecasts and
the windows of a horizon need. Sums go on by one addition a step, in the order of time, so that they
are equal to the last bit however the steps come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime.forecasting.examples.running import location_and_size, of_one
from throughtime.forecasting.examples.scaled import row_sums
from throughtime.forecasting.models.carrying import Carrier
from throughtime.forecasting.models.smoothing import memory
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.pretrained.net import LONGEST
from throughtime.forecasting.series.calendar import features
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.series.panel import Panel, Static
from throughtime.forecasting.settings.design import Design
from throughtime.nn import Ensemble

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

MOST_NEW = 8  # steps, of which the windows are kept to be learned from
PIECE = 2**18  # values that are read together


class State:
    """The state of S series; see the module. `arrays` have the series first.

    Made by `State.read`, moved on by `move`; `panel` is what a forecast is made of.
    """

    def __init__(
        self, fitted: Panel, design: Design, channels: Channels, network: Ensemble
    ) -> None:
        self.design, self.channels = design, channels
        self.carrier = Carrier(network)
        self.like = fitted.take(np.zeros(0, dtype=np.int64))
        self.ids: list[Any] = []
        self.place: dict[Any, int] = {}
        self.static = self.like.static
        C, M, K = len(fitted.values), len(fitted.targets), len(design.transforms)
        reach = design.reach
        R = max(reach + design.h + MOST_NEW, 2 * design.season_length)
        if design.smoothing:
            R = max(R, memory(design.season_length))
        if design.pretrained:
            R = max(R, LONGEST)
        nothing = (("n", (M,)), ("steps", (M,)), ("A", (M, K)), ("B", (M, K)), ("path", (M, K)))
        self.arrays: dict[str, Floats] = {
            "starts": fitted.starts[:0],
            "lengths": np.zeros(0, dtype=np.int64),
            "ring": np.zeros((0, C, R), dtype=fitted.values.dtype),
            "shift": np.zeros((0, M, K)),
            **{name: np.zeros((0, M)) for name in ("last", "low", "high")},
            **{name: np.zeros((0, *shape)) for name, shape in nothing},
        }
        self.hidden = self.carrier.zeros(0) if design.carries else ()

    _UNKNOWN = ("ring", "shift", "last", "low", "high")

    @classmethod
    def read(cls, panel: Panel, design: Design, channels: Channels, network: Ensemble) -> State:
        """Return the state after every step of a panel."""
        state = cls(panel, design, channels, network)
        state.grow(panel.ids, panel.starts, panel.static)
        C, S = len(panel.values), len(panel.ids)
        steps = min(256, int(panel.lengths.max()))
        size = max(1, PIECE // (steps * C * design.members))
        order = np.argsort(panel.lengths, kind="stable")
        for some in np.split(order, range(size, S, size)):
            for start in range(0, int(panel.lengths[some].max()), steps):
                going = some[panel.lengths[some] > start]
                counts = np.minimum(panel.lengths[going] - start, steps)
                j = np.arange(int(counts.max()))
                inside = j < counts[:, None]
                at = np.where(inside, panel.begins[going][:, None] + start + j, 0)
                values = np.where(inside[:, None], np.moveaxis(panel.values[:, at], 0, 1), np.nan)
                state.move(going, values, counts)
        return state

    def __len__(self) -> int:
        return len(self.ids)

    def grow(self, ids: Any, starts: Any, static: Static) -> None:
        """Take up series that have not begun."""
        n = len(ids)
        for i, name in enumerate(ids):
            self.place[name] = len(self.ids) + i
        self.ids += list(ids)
        for name, array in self.arrays.items():
            fill = np.nan if name in self._UNKNOWN else 0
            new = starts if name == "starts" else np.full((n, *array.shape[1:]), fill, array.dtype)
            self.arrays[name] = np.concatenate([array, new])
        if self.hidden:
            new = self.carrier.zeros(n)
            self.hidden = tuple(torch.cat(p, dim=2) for p in zip(self.hidden, new, strict=True))
        self.static = replace(
            static,
            numbers=np.concatenate([self.static.numbers, static.numbers]),
            codes=np.concatenate([self.static.codes, static.codes]),
        )

    def move(self, index: Ints, values: Floats, counts: Ints) -> None:
        """Read the next `counts` [n] steps of the series `index`: values [n, C, J], NaN for gaps."""
        a, design = self.arrays, self.design
        M = len(self.channels.targets)
        values = values.astype(a["ring"].dtype, copy=False)
        y = values[:, :M].astype(np.float64, copy=False)
        observed = ~np.isnan(y)
        begun = np.take_along_axis(y, observed.argmax(axis=-1)[..., None], axis=-1)[..., 0]
        before = a["last"][index][..., None]
        carried = _carried(np.concatenate([before, y], axis=-1))[..., 1:]
        newest = np.concatenate([self._newest(index), y], axis=-1)
        n = _summed(a["n"][index], observed)
        z = np.empty((len(design.transforms), *y.shape)) if self.hidden else None
        for k, name in enumerate(design.transforms):
            f_k = TRANSFORMS[name].forward
            shift = a["shift"][index, :, k]
            shift = np.where(np.isnan(shift), f_k(begun), shift)
            d = np.nan_to_num(f_k(y) - shift[..., None])
            A, B = _summed(a["A"][index, :, k], d), _summed(a["B"][index, :, k], d * d)
            if z is not None:
                location, size = location_and_size(shift[..., None], n, A, B)
                z[k] = np.nan_to_num((f_k(carried) - location) / size)
            step = np.nan_to_num(np.abs(np.diff(f_k(newest), axis=-1)))
            a["path"][index, :, k] = _summed(a["path"][index, :, k], step)[..., -1]
            a["shift"][index, :, k], a["A"][index, :, k], a["B"][index, :, k] = (
                shift, A[..., -1], B[..., -1],
            )  # fmt: skip
        pairs = ~np.isnan(newest)
        a["steps"][index] += (pairs[..., 1:] & pairs[..., :-1]).sum(axis=-1)
        a["n"][index], a["last"][index] = n[..., -1], carried[..., -1]
        a["low"][index] = np.fmin(a["low"][index], np.fmin.reduce(y, axis=-1))
        a["high"][index] = np.fmax(a["high"][index], np.fmax.reduce(y, axis=-1))
        if z is not None:
            self._carry(index, self._steps(index, z, observed, values), counts)
        self._remember(index, values, counts)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a row: targets, past covariates, those known ahead."""
        return (*self.like.targets, *self.like.hist, *self.like.futr)

    @cached_property
    def lowest(self) -> float:
        """The least value that every transform takes."""
        infinite = np.array(-np.inf)
        return max(float(TRANSFORMS[name].nearest(infinite)) for name in self.design.transforms)

    def comes_next(self, i: int, ds: Any) -> bool:
        """Say whether a date, as a Python object, text or integer, is the next of series i."""
        if self.like.dates.zone:
            return False
        a = self.arrays
        stamp = self.like.frequency.at(a["starts"][i], a["lengths"][i])
        if self.like.frequency.is_integer:
            return type(ds) is int and ds == int(stamp)
        try:
            return bool(np.datetime64(ds, "us") == stamp)
        except (TypeError, ValueError):
            return False

    def step(self, i: int, values: Sequence[float]) -> None:
        """Read the next step of one series, all its targets observed: what `move` does, sooner."""
        channels, a = self.channels, self.arrays
        if self.hidden and not (channels.sizes.is_plain and not channels.sizes.mask):
            one = np.array(values)[None, :, None]
            self.move(np.array([i]), one, np.ones(1, dtype=np.int64))
            return
        M, ring = len(channels.targets), a["ring"]
        length, R = int(a["lengths"][i]), ring.shape[-1]
        ring[i, :, length % R] = values
        y = ring[i, :M, length % R].astype(np.float64)  # as precise as the ring
        pair = np.stack([y, ring[i, :M, (length - 1) % R]]) if length else np.stack([y, y * np.nan])
        n = a["n"][i] + 1.0
        counts = n.tolist()
        z = []
        for k, name in enumerate(self.design.transforms):
            u, before = pair if name == "identity" else TRANSFORMS[name].forward(pair)
            for m, (u_m, step) in enumerate(zip(u.tolist(), (u - before).tolist(), strict=True)):
                at = i, m, k
                shift = float(a["shift"][at])
                if shift != shift:
                    a["shift"][at] = shift = u_m
                d = u_m - shift
                a["A"][at] = A = float(a["A"][at]) + d
                a["B"][at] = B = float(a["B"][at]) + d * d
                if step == step:
                    a["path"][at] += abs(step)
                if self.hidden:
                    location, size = of_one(shift, counts[m], A, B)
                    z.append((u_m - location) / size)
        a["steps"][i] += ~np.isnan(pair[1])
        a["n"][i], a["last"][i] = n, y
        a["low"][i], a["high"][i] = np.fmin(a["low"][i], y), np.fmax(a["high"][i], y)
        a["lengths"][i] = length + 1
        if self.hidden:
            E, K = self.design.members, len(self.design.transforms)
            x = np.array(z, dtype=np.float32).reshape(K, M)[np.arange(E) % K]
            if self.carrier.step(x, self.hidden, i):
                return
            states = tuple(s[:, :, i : i + 1] for s in self.hidden)
            for state, after in zip(
                states, self.carrier.move(torch.from_numpy(x)[None, :, None], states), strict=True
            ):
                state.copy_(after)

    def _newest(self, index: Ints) -> Floats:
        """Return the newest value of every target, observed or not, [n, M, 1]."""
        a, M = self.arrays, len(self.channels.targets)
        slot = (a["lengths"][index] - 1) % a["ring"].shape[-1]
        return a["ring"][index, :M, slot].astype(np.float64)[..., None]

    def _steps(self, index: Ints, z: Floats, observed: Any, values: Floats) -> Tensor:
        """Return what members read, [J, E, n, I]."""
        channels, sizes = self.channels, self.channels.sizes
        E, K, J = self.design.members, len(z), z.shape[-1]
        parts: list[Tensor] = [torch.from_numpy(z).float()[torch.arange(E) % K]]  # [E, n, M, J]
        shared = []
        if sizes.mask:
            shared.append(observed.astype(np.float32))
        known = values[:, len(channels.targets) :].astype(np.float64)
        if known.shape[1]:
            scaled = (known - channels.location[:, None]) / channels.size[:, None]
            shared.append(np.nan_to_num(scaled.astype(np.float32)))
        if channels.calendar:
            # which reads what is known of the next step
            late = self.design.architecture == "recursive"
            k = self.arrays["lengths"][index][:, None] + np.arange(J) + late
            stamps = self.like.frequency.at(self.arrays["starts"][index][:, None], k)
            shared.append(np.moveaxis(features(stamps, channels.calendar), -1, 1))
        if shared:
            both = torch.from_numpy(np.concatenate(shared, axis=1))
            parts.append(both.expand(E, *both.shape))
        static = self._statics(index)
        if static is not None:
            parts.append(static[..., None].expand(*static.shape, J))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        return x.permute(3, 0, 1, 2).contiguous()

    def _statics(self, index: Ints) -> Tensor | None:
        if not self.channels.number_names and not self.channels.category_names:
            return None
        every = torch.from_numpy(index)
        return self.carrier.statics(*self.channels.static(self.static, every))

    def _carry(self, index: Ints, x: Tensor, counts: Ints) -> None:
        """Move the nets on, those series together that have as many steps."""
        start = 0
        for stop in np.unique(counts):
            going = np.flatnonzero(counts >= stop)
            which = torch.from_numpy(index[going])
            every = len(going) == len(index)
            piece = x[start:stop] if every else x[start:stop, :, torch.from_numpy(going)]
            states = tuple(s[:, :, which] for s in self.hidden)
            for whole, part in zip(self.hidden, self.carrier.move(piece, states), strict=True):
                whole[:, :, which] = part
            start = int(stop)

    def _remember(self, index: Ints, values: Floats, counts: Ints) -> None:
        ring, lengths = self.arrays["ring"], self.arrays["lengths"]
        R, j = ring.shape[-1], np.arange(values.shape[-1])
        rows, steps = np.nonzero((j < counts[:, None]) & (j >= counts[:, None] - R))
        ring[index[rows], :, (lengths[index[rows]] + steps) % R] = values[rows, :, steps]
        lengths[index] += counts

    @property
    def panel(self) -> Panel:
        """The last R steps of every series, with what is known of all steps as their `memory`."""
        a = self.arrays
        ring, lengths = a["ring"], a["lengths"]
        S, _, R = ring.shape
        slots = (lengths[:, None] + np.arange(R)) % R
        values = np.take_along_axis(ring, slots[:, None], axis=-1)
        kept = np.minimum(lengths, R)
        return replace(
            self.like,
            ids=tuple(self.ids),
            values=np.ascontiguousarray(np.moveaxis(values, 1, 0)).reshape(values.shape[1], -1),
            begins=np.arange(1, S + 1) * R - kept,
            lengths=kept,
            starts=np.asarray(self.like.frequency.at(a["starts"], lengths - kept)),
            room=np.zeros(S, dtype=np.int64),
            static=self.static,
            memory=self,
        )

    @property
    def low(self) -> Floats:
        """The least value of every row."""
        return self.arrays["low"]

    @property
    def high(self) -> Floats:
        """The greatest value of every row."""
        return self.arrays["high"]

    def take(self, index: Ints) -> State:
        """Return what is known of some of the series, without their last values."""
        part = copy(self)
        part.ids = [self.ids[i] for i in index]
        part.arrays = {n: each[index] for n, each in self.arrays.items() if n != "ring"}
        part.hidden = tuple(s[:, :, torch.from_numpy(index)] for s in self.hidden)
        return part

    def knows(self, transform: str) -> bool:
        """Say whether sums of these transformed values are kept."""
        return transform in self.design.transforms

    def sums(self, transform: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Return first value, n, A and B [S, M] of the running scale."""
        a, k = self.arrays, self.design.transforms.index(transform)
        return np.nan_to_num(a["shift"][..., k]), a["n"], a["A"][..., k], a["B"][..., k]

    def moments(self, transform: str) -> tuple[Floats, Floats]:
        """Return mean and deviation [rows] of the transformed values."""
        shift, n, A, B = self.sums(transform)
        mean = A / np.maximum(n, 1)
        variance = np.maximum(B / np.maximum(n, 1) - mean**2, 0.0)
        return (shift + mean).reshape(-1), np.sqrt(variance).reshape(-1)

    def sizes(self, transform: str) -> Floats:
        """Return the mean absolute step [rows] of the transformed values, 0 where there is none."""
        path = self.arrays["path"][..., self.design.transforms.index(transform)]
        return np.asarray(path / np.maximum(self.arrays["steps"], 1)).reshape(-1)

    def sums_before(self, panel: Panel, transform: Any) -> tuple[Floats, Floats]:
        """Return the first value [rows], and n, A, B [3, rows] before the steps of the buffer."""
        shift, n, A, B = (each.reshape(-1) for each in self.sums(transform.name))

        def d(y: Floats, rows: Any) -> Floats:
            return np.asarray(np.nan_to_num(transform.forward(y) - shift[rows]))

        alone = replace(panel, memory=None)
        within = (
            row_sums(alone, lambda y, _: ~np.isnan(y)),
            row_sums(alone, d),
            row_sums(alone, lambda y, rows: d(y, rows) ** 2),
        )
        return shift, np.stack(
            [whole - part for whole, part in zip((n, A, B), within, strict=True)]
        )


def _summed(start: Floats, each: Floats) -> Floats:
    """Return the sums [..., J] that go on from `start` [...], one addition a step."""
    made: Floats = np.cumsum(np.concatenate([start[..., None], each], axis=-1), axis=-1)
    return made[..., 1:]


def _carried(y: Floats) -> Floats:
    """Return y [..., J] with every gap filled by the value before it."""
    place = np.where(np.isnan(y), 0, np.arange(y.shape[-1]))
    return np.asarray(np.take_along_axis(y, np.maximum.accumulate(place, axis=-1), axis=-1))
