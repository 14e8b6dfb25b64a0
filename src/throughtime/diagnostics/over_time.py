"""The norm of the gradient over time in the layers that ran: from what was recorded, to plain lists."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from throughtime.diagnostics.interception import recurrences
from throughtime.nn import Ensemble, Recorded
from throughtime.nn import recording as layers_recording


def recording(model: nn.Module) -> AbstractContextManager[list[Recorded]]:
    """Record every recurrence that runs within; an ensemble runs the layers of its template."""
    if isinstance(model, Ensemble):
        return layers_recording(model.template, in_turn=False)
    return recurrences(model)


def profiles(records: Iterable[Recorded], members: int | None) -> dict[str, list[float]]:
    """Return ‖dL/d(h,c)_t‖ over time by layer; several runs of a layer follow one another."""
    runs: dict[str, list[Tensor]] = {}
    at_once = 1
    for record in records:
        if record.tap.dh_norm_TB is not None:
            runs.setdefault(record.label, []).append(_over_time(record))
            if members is not None and record.tap.dh_norm_TB.dim() == 2:
                at_once = members  # which ran in turn
    return {label: _joined(parts, at_once) for label, parts in runs.items()}


def _joined(parts: list[Tensor], at_once: int) -> list[float]:
    """Return what ran at once side by side, the mean of it, and else one after the other."""
    turns = [parts[i : i + at_once] for i in range(0, len(parts), at_once)]
    joined: list[float] = torch.cat([torch.stack(turn).mean(dim=0) for turn in turns]).tolist()
    return joined


def _over_time(record: Recorded) -> Tensor:
    """Return the norm over the joint state [T], the mean over members and batch."""
    tap = record.tap
    norm = tap.dh_norm_TB
    assert norm is not None
    if tap.dc_norm_TB is not None:
        norm = torch.hypot(norm, tap.dc_norm_TB)
    if record.mask is not None:
        mask = record.mask  # which members that run at once may share
        mask = mask if mask.dim() == norm.dim() else mask[:, None]
        real = mask.to(norm).expand_as(norm)
        return (norm * real).flatten(1).sum(1) / real.flatten(1).sum(1).clamp(min=1)
    return norm.flatten(1).mean(1)
