"""What a `Watch` writes down: the gradient of every update, and some of them in depth.

    clipped share     updates in which clipping changed the gradient, of all
    cosine            between the gradient before and after clipping: 1 where the direction is kept
    profile           ‖dL/d(h,c)_t‖ over time t, the mean over the batch, for a layer and direction

The profiles of all looks, one below the other, are the picture of a training: the norm of the
gradient over time by update. The loss is the training's own, so a mean over B examples divides each
of them by B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from throughtime._errors import SettingError
from throughtime.diagnostics.explosions import Explosion, explosions

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Look:
    """One update in depth.

    `norms` has the norm of the gradient of each parameter before clipping, by name; `cosine` is that
    between the whole gradient before and after; `profiles` has the norms over time by layer.
    """

    index: int
    cosine: float
    norms: dict[str, float]
    profiles: dict[str, list[float]]


class HeatMap(NamedTuple):
    """Norms [U, T] of the gradient at each time step, by update; NaN before shorter series begin."""

    updates: np.ndarray
    norms: np.ndarray


@dataclass
class GradientLog:
    """The gradients of a training, as plain data.

    `updates`, `losses`, `norms` (before clipping), `thresholds` and `fired` have an entry for each
    update. A loss is None where nobody told it; a threshold, where there is none or it is not known.
    `not_finite` names the first tensor that was not finite, and when.

    >>> log = GradientLog()
    >>> for index, norm in enumerate([1.0, 2.0, 4.0, 3.0]):
    ...     log.add(index, norm, loss=0.5, threshold=2.5, fired=norm > 2.5)
    >>> log.clipped_share, log.quantiles((0.5,))
    (0.5, {0.5: 2.5})
    """

    every: int = 10
    updates: list[int] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    thresholds: list[float | None] = field(default_factory=list)
    fired: list[bool] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    not_finite: str | None = None

    def add(
        self, index: int, norm: float, loss: float | None, threshold: float | None, fired: bool
    ) -> None:
        """Write down one update."""
        self.updates.append(index)
        self.norms.append(norm)
        self.losses.append(loss)
        self.thresholds.append(threshold)
        self.fired.append(fired)

    @property
    def clipped_share(self) -> float:
        """The share of the updates in which clipping fired; NaN before the first."""
        return sum(self.fired) / len(self.fired) if self.fired else math.nan

    def quantiles(self, at: Sequence[float] = QUANTILES) -> dict[float, float]:
        """Return quantiles of the finite norms before clipping; NaN before the first."""
        finite = [norm for norm in self.norms if math.isfinite(norm)]
        return {q: float(np.quantile(finite, q)) if finite else math.nan for q in at}

    @property
    def explosions(self) -> list[Explosion]:
        """The explosions, placed by update; see `explosions.py` for what counts as one."""
        clipped = [
            min(norm, threshold) if fired and threshold is not None else norm
            for norm, threshold, fired in zip(self.norms, self.thresholds, self.fired, strict=True)
        ]
        return [
            Explosion(
                self.updates[each.onset],
                self.updates[each.shown],
                each.norm,
                each.usual,
                each.threshold,
            )
            for each in explosions(self.norms, self.losses, clipped)
        ]

    @property
    def suggested_threshold(self) -> float | None:
        """The highest threshold that would have stopped the explosions; None if there were none."""
        return min((each.threshold for each in self.explosions), default=None)

    @property
    def layers(self) -> list[str]:
        """The layers that have profiles."""
        return list(dict.fromkeys(name for look in self.looks for name in look.profiles))

    def heat_map(self, layer: str | None = None) -> HeatMap:
        """Return the profiles of `layer` (the first, if None), the newest step last.

        Raises SettingError for a layer without any.

        >>> log = GradientLog(looks=[Look(0, 1.0, {}, {"l0": [0.1, 1.0]})])
        >>> log.heat_map().norms
        array([[0.1, 1. ]])
        """
        if layer is None and self.layers:
            layer = self.layers[0]
        rows = {look.index: look.profiles[layer] for look in self.looks if layer in look.profiles}
        if not rows:
            known = ", ".join(map(repr, self.layers)) or "none"
            raise SettingError(f"a layer that was watched ({known})", repr(layer), "name one")
        longest = max(map(len, rows.values()))
        padded = [[math.nan] * (longest - len(row)) + row for row in rows.values()]
        return HeatMap(np.array(list(rows)), np.array(padded))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; None stands for what is not finite."""
        plain = {
            **asdict(self),
            "clipped_share": self.clipped_share,
            "quantiles": {f"{q:g}": value for q, value in self.quantiles().items()},
            "explosions": [asdict(each) for each in self.explosions],
            "suggested_threshold": self.suggested_threshold,
        }
        return {key: _plain(value) for key, value in plain.items()}

    def __str__(self) -> str:
        if not self.updates:
            return "No update was watched."
        lines = [
            f"{len(self.updates)} updates, {len(self.looks)} of them in depth",
            "norm of the gradient, quantiles: "
            + ", ".join(f"{q:.0%} {value:.3g}" for q, value in self.quantiles().items()),
            f"clipping fired in {self.clipped_share:.1%} of the updates",
            *self._about_looks(),
            *self._about_explosions(),
        ]
        if self.not_finite is not None:
            lines.append(f"first not finite: {self.not_finite}")
        return "\n".join(lines)

    def _about_looks(self) -> list[str]:
        if not self.looks:
            return []
        cosines = [look.cosine for look in self.looks if math.isfinite(look.cosine)]
        lines = [f"cosine between clipped and unclipped: at least {min(cosines, default=1):.3f}"]
        last = self.looks[-1]
        for name, profile in last.profiles.items():
            ratio = profile[0] / profile[-1] if profile and profile[-1] else math.nan
            lines.append(
                f"update {last.index}, {name}: the gradient at the oldest of {len(profile)} steps "
                f"is {ratio:.2g} of the newest one"
            )
        return lines

    def _about_explosions(self) -> list[str]:
        found = self.explosions
        if not found:
            return [f"no explosion; 99 of 100 norms are below {self.quantiles([0.99])[0.99]:.3g}"]
        first = found[0]
        return [
            f"explosions: {len(found)}, the first at update {first.onset} "
            f"(norm {first.norm:.3g}, usually {first.usual:.3g})",
            f"the highest threshold that would have stopped them: {self.suggested_threshold:.3g}",
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
