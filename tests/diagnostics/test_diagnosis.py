"""The doctor says what is so, names what helps, and what it names does help."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime import DataError, SettingError
from throughtime.diagnostics import Finding, GradientLog, Look, diagnose
from throughtime.diagnostics.need import Dependence, Need
from throughtime.nn import chrono, identity, orthogonal

T, B, H = 60, 16, 16


class Reader(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def reader(kind: Any, **how: Any) -> nn.Module:
    torch.manual_seed(0)
    return Reader(kind(1, H, batch_first=True, **how))


def x_BTI() -> Tensor:
    return torch.randn(B, T, 1, generator=torch.Generator().manual_seed(1))


def by_topic(diagnosis: tt.Diagnosis) -> dict[str, Finding]:
    return {finding.topic: finding for finding in diagnosis.findings}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, tt.nn.LSTM])
def test_a_gated_net_that_forgets_is_given_chrono_which_then_helps(kind: Any) -> None:
    model = reader(kind)
    found = by_topic(diagnose(model, x_BTI(), need=50))["reach"]
    assert found.severity == "serious"
    assert "depend on what was 50 steps before" in found.sentence
    [cure] = found.cures
    assert cure.argument == "init=chrono(50)"
    cure.arguments["init"](model)
    after = by_topic(diagnose(model, x_BTI(), need=50))["reach"]
    assert after.severity == "fine"
    assert after.evidence["gradient"] > 0.01


def test_the_effect_of_a_cure_is_measured_on_a_copy() -> None:
    model = reader(nn.RNN, nonlinearity="relu")
    before = copy.deepcopy(model.state_dict())
    found = by_topic(diagnose(model, x_BTI(), need=50))["reach"]
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert found.cures[0].argument == "init=identity()"
    identity()(model)
    [profile] = tt.diagnostics.lag_profile(model, x_BTI())
    assert found.cures[0].effect == f"brings it to {profile.at(50):.2g}"
    assert f"`init=identity()` {found.cures[0].effect}" in found.sentence


def test_a_start_that_does_not_help_is_not_named() -> None:
    model = orthogonal()(reader(nn.RNN))
    with torch.no_grad():
        model.layer.weight_ih_l0.fill_(3.0)  # tanh is flat: nothing keeps a gradient alive
    found = by_topic(diagnose(model, x_BTI(), need=50))["reach"]
    assert [cure.argument for cure in found.cures] == ['cell="lstm", init=chrono(50)']


def test_a_net_that_reaches_far_enough_is_fine() -> None:
    model = chrono(100)(reader(nn.LSTM), torch.Generator().manual_seed(0))
    found = diagnose(model, x_BTI(), need=50, step="month").findings
    [reach] = [finding for finding in found if finding.topic == "reach"]
    assert reach.severity == "fine"
    assert "50 months back" in reach.sentence
    assert not reach.cures


def test_the_need_is_read_off_the_series_or_the_windows() -> None:
    t = np.arange(600)
    series = np.sin(2 * np.pi * t / 12) + 0.1 * np.random.default_rng(0).normal(size=600)
    cyclic = diagnose(reader(nn.GRU), x_BTI(), series=series)
    assert cyclic.need is not None
    assert cyclic.need.cycle == 12
    assert "cycle every 12 steps" in by_topic(cyclic)["reach"].sentence
    x = torch.randn(400, 20, 1, generator=torch.Generator().manual_seed(0))
    crossed = diagnose(reader(nn.GRU), x, x[:, -8, :])
    assert crossed.need is not None
    assert crossed.need.longest == 7
    given = Need((Dependence(30, 1.0, "given"),))
    assert diagnose(reader(nn.GRU), x_BTI(), need=given).need is given


def test_windows_that_are_shorter_than_the_need_are_named() -> None:
    found = by_topic(diagnose(reader(nn.LSTM), x_BTI(), need=100))["window"]
    assert found.cures[0].arguments == {"context_length": 200}
    assert "window" not in by_topic(diagnose(reader(nn.LSTM), x_BTI(), need=60))


def test_without_a_need_the_memory_is_told() -> None:
    found = by_topic(diagnose(reader(nn.RNN), x_BTI()))["vanishing"]
    assert found.severity == "warning"
    [profile] = tt.diagnostics.lag_profile(reader(nn.RNN), x_BTI())
    assert found.evidence["memory"] == profile.memory
    assert f"after {profile.memory} steps of {T}" in found.sentence


def test_a_chaotic_net_is_told_to_truncate_and_an_orthogonal_start_tames_it() -> None:
    torch.manual_seed(0)
    model = nn.RNN(1, 64, batch_first=True)
    with torch.no_grad():
        model.weight_hh_l0.copy_(3 * torch.randn(64, 64) / 8)
        model.weight_ih_l0.mul_(0.1)
    found = by_topic(diagnose(model, x_BTI(), need=50))
    assert found["dynamics"].severity == "serious"
    assert found["dynamics"].cures[0].argument.startswith("truncation=Truncation(")
    assert not any("clip" in cure.argument for cure in found["dynamics"].cures)
    assert found["exploding"].cures[0].argument == "init=orthogonal()"
    assert "reach" not in found
    orthogonal()(model)
    tamed = by_topic(diagnose(model, x_BTI(), need=50))
    assert "exploding" not in tamed


def test_an_overflow_is_told_where_it_begins() -> None:
    model = reader(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        identity(8.0)(model).layer.weight_ih_l0.fill_(1e-3)
    x = x_BTI()[:, :40].abs()
    found = by_topic(diagnose(model, x, loss=lambda y, _: 1e10 * y.sum()))
    assert found["exploding"].severity == "serious"
    assert "8.0-fold a step" in found["exploding"].sentence
    assert "in float32 it overflows" in found["exploding"].sentence


def test_dead_units_and_saturation_are_counted() -> None:
    model = reader(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        model.layer.bias_ih_l0[: H // 2] = -100
    dead = by_topic(diagnose(model, x_BTI()))["dead units"]
    assert dead.evidence["share"] >= 0.5
    stuck = reader(nn.RNN)
    with torch.no_grad():
        stuck.layer.bias_ih_l0.fill_(5.0)
    assert by_topic(diagnose(stuck, x_BTI()))["saturation"].evidence["gate"] == "h"


def test_half_precision_is_told_what_it_cannot_hold() -> None:
    model = reader(nn.LSTM).half()
    diagnosis = diagnose(model, x_BTI().half())
    [profile] = tt.diagnostics.lag_profile(model, x_BTI().half())
    lag = by_topic(diagnosis)["precision"].evidence["lag"]
    assert profile.norms[lag] * profile.newest < 2**-24 <= profile.norms[lag - 1] * profile.newest


def test_a_loss_that_skips_the_newest_steps_is_noted() -> None:
    layer = nn.GRU(1, H, batch_first=True)
    found = by_topic(diagnose(layer, x_BTI(), output=lambda out: out[0][:, 49]))["loss"]
    assert "newest 10 steps" in found.sentence


def logged(norms: list[float], losses: list[float | None], **how: Any) -> GradientLog:
    log = GradientLog()
    threshold = how.get("threshold")
    for k, (norm, loss) in enumerate(zip(norms, losses, strict=True)):
        log.add(k, norm, loss, threshold, threshold is not None and norm > threshold)
    return log


def test_explosions_in_training_name_the_clip_that_stops_them() -> None:
    log = logged([1.0, 1.1, 0.9] * 10 + [50.0, 900.0], [0.5] * 31 + [80.0])
    found = by_topic(diagnose(reader(nn.GRU), x_BTI(), log=log))["training"]
    assert found.severity == "serious"
    assert "first at update 30" in found.sentence
    [cure] = found.cures
    assert cure.argument == "clip=1.1"
    assert cure.arguments == {"clip": log.suggested_threshold}


def test_explosions_that_clipping_stopped_are_fine() -> None:
    log = logged([1.0, 1.1, 0.9] * 10 + [50.0, 1.0], [0.5] * 32, threshold=2.0)
    found = by_topic(diagnose(reader(nn.GRU), x_BTI(), log=log))["training"]
    assert found.severity == "fine"
    assert found.sentence == "Clipping stopped 1 explosion of the gradient."


def test_a_clip_that_always_fires_is_a_learning_rate() -> None:
    log = logged([1.0, 1.1, 0.9] * 10, [0.5] * 30, threshold=0.1)
    found = by_topic(diagnose(reader(nn.GRU), x_BTI(), log=log))["training"]
    assert "fired in 100 % of the updates" in found.sentence
    assert found.cures[0].argument == "clip=1.1"


def test_a_clip_that_turns_the_gradient_is_told_apart() -> None:
    log = logged([1.0] * 5, [0.5] * 5)
    log.looks.append(Look(0, 0.4, {}, {}))
    assert "the cosine between it before and after is 0.40" in str(
        diagnose(reader(nn.GRU), x_BTI(), log=log)
    )


def test_what_broke_in_training_is_named() -> None:
    log = logged([1.0] * 5, [0.5] * 5)
    log.not_finite = "output of layer, at update 5"
    assert "output of layer, at update 5" in str(diagnose(reader(nn.GRU), x_BTI(), log=log))


def test_findings_come_worst_first_and_everything_is_json() -> None:
    model = reader(tt.nn.LSTM, num_layers=2, bidirectional=False)
    log = logged([1.0, 1.1, 0.9] * 10 + [50.0, 900.0], [0.5] * 31 + [80.0])
    diagnosis = diagnose(model, x_BTI(), need=70, log=log)
    assert [finding.topic for finding in diagnosis.findings] == ["reach", "training", "window"]
    order = ["serious", "warning", "note", "fine"]
    ranks = [order.index(finding.severity) for finding in diagnosis.findings]
    assert ranks == sorted(ranks)
    whole = diagnosis.to_dict()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert [layer["layer"] for layer in whole["layers"]] == ["layer.l0", "layer.l1"]
    assert whole["need"]["longest"] == 70


def test_it_reads_well_in_a_terminal() -> None:
    text = str(diagnose(reader(nn.LSTM), x_BTI(), need=50))
    lines = text.splitlines()
    assert lines[0].startswith("!! The data depend on what was 50 steps before;")
    assert lines[1].strip().startswith("init=chrono(50) (brings it to ")
    assert lines[-1].startswith("layer.l0  lstm")
    assert lines[-1].endswith("contracting")


def test_weights_that_are_not_finite_are_still_diagnosed() -> None:
    model = reader(nn.GRU)
    with torch.no_grad():
        model.layer.weight_hh_l0[0, 0] = torch.nan
    diagnosis = diagnose(model, x_BTI(), need=20)
    json.dumps(diagnosis.to_dict(), allow_nan=False)
    assert diagnosis.findings[0].severity == "serious"


@pytest.mark.parametrize(
    ("model", "arguments", "error"),
    [
        (nn.Linear(1, 1), {}, DataError),
        (nn.GRU(1, H, batch_first=True), {"need": 0}, SettingError),
        (nn.GRU(1, H, batch_first=True), {"rows": 0}, SettingError),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(
    model: nn.Module, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        diagnose(model, x_BTI(), **arguments)
