"""The doctor in the forecaster: what the nets' gradients reach, and a cure before the fit.

With `cure="auto"` the nets are trained for a short while on everything that is known, and diagnosed;
of every finding that is serious or a warning, the first cure that a forecaster has an argument for is
passed, unless the user passed that argument.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from throughtime._errors import DivergedError
from throughtime.diagnostics import Diagnosis, Finding, GradientLog, Watch, diagnose
from throughtime.forecasting.fitting.resuming import whole
from throughtime.forecasting.series.channels import Channels
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.cures import OF_THE_NET, trained_with
from throughtime.forecasting.settings.design import Design
from throughtime.nn import Ensemble
from throughtime.training import Observer, Trainer
from throughtime.training.context import threads

PILOT_UPDATES = 50
MOST_WINDOWS = 64
MOST_SERIES = 20
MOST_STEPS = 2**14


def examined(
    design: Design,
    network: Ensemble,
    panel: Panel,
    log: GradientLog | None,
    step: str,
    channels: Channels | None = None,
) -> Diagnosis:
    """Diagnose the first net on (at most 64) windows of a panel, spread over it."""
    part = design.examples(panel, channels).parts[0]
    index = np.unique(np.linspace(0, len(part) - 1, MOST_WINDOWS).astype(np.int64))
    z, r = part[torch.from_numpy(index)]
    how: dict[str, Any] = {"series": _series(panel), "log": log, "step": step}
    with threads(design.numbers_a_step):
        name = f"the {design.name}"
        net = network.member(0)
        return diagnose(net, z, r, design.loss, output=lambda y: y, name=name, **how)


def treat(
    panel: Panel,
    design: Design,
    given: Set[str],
    longest: int,
    observers: Sequence[Observer],
) -> tuple[Design, tuple[Finding, ...]]:
    """Return the design with what a short pilot's diagnosis asks for, and the findings acted on.

    `given` names the arguments that the user passed, which stay; `longest` is how long the windows may
    become.
    """
    examples, watch = design.examples(panel), Watch(every=10)
    network = design.network(examples.parts[0].channels.sizes)
    training = replace(design.training, max_updates=PILOT_UPDATES, patience=None)
    trainer = Trainer(network, design.loss, training, (*observers, watch))
    with threads(design.numbers_a_step), suppress(DivergedError):  # which is a finding, too
        whole(trainer.fit(examples, name="the doctor's pilot"))
    diagnosis = examined(design, network.eval(), panel, watch.log, "step")
    arguments: dict[str, Any] = {}
    acted_on = []
    for finding in diagnosis.findings:
        change = _first_change(finding, {*given, *arguments})
        if change.get("context_length", 0) > longest:
            change = {"context_length": longest} if longest > design.context_length else {}
        if change:
            arguments |= change
            acted_on.append(finding)
    return _changed(design, arguments), tuple(acted_on)


def _first_change(finding: Finding, taken: Set[str]) -> dict[str, Any]:
    """Return the arguments of the first cure that can be applied; none for what needs none."""
    if finding.severity not in ("serious", "warning"):
        return {}
    known = {*OF_THE_NET, "clip", "penalties", "context_length"}
    for cure in finding.cures:
        if cure.arguments and known >= set(cure.arguments) and not taken & set(cure.arguments):
            return dict(cure.arguments)
    return {}


def _changed(design: Design, arguments: dict[str, Any]) -> Design:
    net = {name: value for name, value in arguments.items() if name in OF_THE_NET}
    if "init" in net:
        net["init"] = (net["init"],)
    if "context_length" in arguments:
        net["context_length"] = arguments["context_length"]
    return replace(design, **net, training=trained_with(design.training, arguments))


def _series(panel: Panel) -> npt.NDArray[np.float64]:
    """Return (at most 20) series side by side, aligned at their ends, NaN where one has not begun.

    Of each its newest 16,384 steps at most.
    """
    chosen = np.unique(np.linspace(0, len(panel) - 1, MOST_SERIES).astype(np.int64))
    rows = [panel.row(i)[-MOST_STEPS:] for i in chosen.tolist()]
    longest = max(map(len, rows))
    return np.stack([np.pad(y, (longest - len(y), 0), constant_values=np.nan) for y in rows])
