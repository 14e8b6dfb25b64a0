"""The doctor: measure how gradients travel through time, say what is wrong, name the cure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from throughtime._checks import positive_int
from throughtime.diagnostics.findings import SEVERITIES, Finding
from throughtime.diagnostics.gradient_log import GradientLog
from throughtime.diagnostics.lag_profile import LagProfile, lag_profile
from throughtime.diagnostics.measures import LayerMeasures, Measures
from throughtime.diagnostics.need import Dependence, Need, data_need, need_of_windows
from throughtime.diagnostics.one_step_loss import Loss
from throughtime.diagnostics.rules import RULES
from throughtime.diagnostics.trajectory import trajectories
from throughtime.drawing import doctor

MARKS = {"serious": "!!", "warning": " !", "note": " -", "fine": "ok"}


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was measured on a model, and what follows from it, worst first."""

    measures: Measures
    findings: tuple[Finding, ...]

    @property
    def layers(self) -> tuple[LayerMeasures, ...]:
        """What was measured on every direction of every layer and every cell."""
        return self.measures.layers

    @property
    def need(self) -> Need | None:
        """Which lags the data depends on."""
        return self.measures.need

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        found = [finding.to_dict() for finding in self.findings]
        return self.measures.to_dict() | {"findings": found}

    def plot(self) -> Any:
        """Draw what was measured, as a plotly figure.

        Raises `MissingExtraError` where plotly is not installed.
        """
        return doctor.figure(self.to_dict())

    def __str__(self) -> str:
        """Return the findings, then a line for each layer."""
        return "\n".join([*map(_told, self.findings), "", *_table(self.layers)])


def diagnose(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    output: Callable[[Any], Tensor] | None = None,
    cells: Sequence[nn.Module] = (),
    need: int | Need | None = None,
    series: Any = None,
    log: GradientLog | None = None,
    name: str | None = None,
    step: str = "step",
    rows: int | None = None,
) -> Diagnosis:
    """Measure how gradients travel through time in a model, and say what is wrong and what helps.

    Runs the model once forward and once backward on `inputs` (a few dozen examples are enough), and
    once more for every starting point that it tries on a copy. The model is left as it was found.

    Args:
        model: any model that runs an RNN, LSTM or GRU, of torch.nn or ours, or a cell in a loop.
        inputs, targets, loss, output, cells: as in `trajectories`.
        need: the longest lag that the data depends on, or a `Need`, if you know it.
        series: where you do not: the series [T] or [S, T] itself. Without either, the correlations
            between inputs [B, T, I] and targets [B, ...] are looked at.
        log: what a `Watch` kept of training.
        name: what to call the model; the name of its class where None.
        step: the word for a time step, such as "month".
        rows: how many examples Jacobians and Lyapunov exponents are measured on; a few where None.

    Raises:
        DataError, SettingError: as `trajectories` does.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(16, 60, 1)
    >>> diagnosis = diagnose(nn.LSTM(1, 8, batch_first=True), x, need=50)
    >>> diagnosis.findings[0].severity, diagnosis.findings[0].cures[0].argument
    ('serious', 'init=chrono(50)')
    """
    if rows is not None:
        positive_int("rows", rows)
    how: dict[str, Any] = {"output": output, "cells": cells}
    found = trajectories(model, inputs, targets, loss, **how)

    def trial(start: Callable[[nn.Module], Any]) -> tuple[LagProfile, ...]:
        twin = copy.deepcopy(model)
        start(twin)
        return lag_profile(twin, inputs, targets, loss, **how)

    measures = Measures(
        type(model).__name__ if name is None else name,
        _precision(model),
        step,
        tuple(LayerMeasures.of(one, rows) for one in found),
        _need(need, series, inputs, targets),
        log,
        trial,
    )
    return judge(measures)


def judge(measures: Measures) -> Diagnosis:
    """Apply the rules to what was measured."""
    findings = [finding for rule in RULES if (finding := rule(measures)) is not None]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(measures, tuple(findings))


def _precision(model: nn.Module) -> str:
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    return str(dtypes[0]).removeprefix("torch.") if dtypes else "float32"


def _need(need: int | Need | None, series: Any, inputs: Any, targets: Any) -> Need | None:
    if isinstance(need, Need):
        return need
    if need is not None:
        return Need((Dependence(positive_int("need", need), 1.0, "given"),))
    if series is not None:
        return data_need(series)
    shapes = isinstance(inputs, Tensor) and isinstance(targets, Tensor)
    if not shapes or inputs.dim() != 3 or not inputs.is_floating_point() or targets.dim() < 1:
        return None
    if len(targets) != len(inputs) or not targets.is_floating_point():
        return None
    y = targets.detach().flatten(1) if targets.dim() > 1 else targets.detach()
    return need_of_windows(inputs.detach().double().numpy(), y.double().numpy())


def _told(finding: Finding) -> str:
    lines = [f"{MARKS[finding.severity]} {finding.sentence}"]
    return "\n".join([*lines, *(f"     {cure}" for cure in finding.cures)])


def _table(layers: Sequence[LayerMeasures]) -> list[str]:
    """Return one line for each layer, under a heading."""
    rows = [("layer", "cell", "half-life", "memory", "largest exponent", "")]
    for each in layers:
        profile = each.lag_profile
        memory = f"over {each.steps}" if profile.memory is None else str(profile.memory)
        spectrum = each.lyapunov
        exponent = "none" if spectrum is None else f"{spectrum.largest:+.3f}"
        verdict = "not finite" if spectrum is None else spectrum.verdict
        half = f"{profile.half_life:.3g}"
        name = each.layer or "the cell"
        rows.append((name, each.operator, half, memory, exponent, verdict))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
