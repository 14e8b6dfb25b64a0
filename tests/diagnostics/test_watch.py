"""A watch writes down what brute force finds, and changes no bit of a training."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from throughtime import DivergedError, SettingError
from throughtime.diagnostics import GradientLog, Watch
from throughtime.nn import GRU, LSTM, RNN, Ensemble, Recurrence
from throughtime.training import (
    Clip,
    TensorExamples,
    Trainer,
    TrainingSettings,
    Truncation,
    Update,
    losses,
)

B, T, H = 4, 7, 3
LAYERS = {
    "rnn": lambda: RNN(1, H, batch_first=True),
    "gru, two layers": lambda: GRU(1, H, 2, batch_first=True, dropout=0.3),
    "lstm, both ways": lambda: LSTM(1, H, batch_first=True, bidirectional=True),
}


class Net(nn.Module):
    """A recurrent layer, read at every step or at the newest."""

    def __init__(self, layer: Any, every_step: bool = False) -> None:
        super().__init__()
        self.layer, self.every_step = layer, every_step
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(H * (1 + layer.bidirectional), 1)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        h, state = self.layer(x, state)
        if self.every_step:
            return self.head(self.dropout(h)).unsqueeze(-1), state
        return self.head(self.dropout(h[:, -1])).unsqueeze(-1)


def build(layer: Any = LAYERS["gru, two layers"], **how: Any) -> Net:
    torch.manual_seed(3)
    return Net(layer(), **how).double()


def examples(count: int = 12, length: int = T) -> TensorExamples:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(count, length, 1, generator=generator).double()
    return TensorExamples(x, x.mean(1))


SETTINGS = TrainingSettings(max_updates=8, batch_size=B, learning_rate=0.05, clip=Clip(0.5, 0.3))


def fit(model: nn.Module, settings: TrainingSettings = SETTINGS, watch: Watch | None = None) -> Any:
    return Trainer(model, losses.mse, settings, [watch] if watch else []).fit(
        examples(), examples(5)
    )


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.state_dict().values()]


def hooks(model: nn.Module) -> int:
    held = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return held + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


def own_loop(
    model: nn.Module, watch_every: int | None, clip: Any = None, tell: bool = True
) -> tuple[list[float], GradientLog | None]:
    """A loop of somebody else's, with dropout and evaluations between."""
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    watch = None if watch_every is None else Watch(model, optimizer, watch_every)
    data, found = examples(), []
    torch.manual_seed(7)
    for _ in range(6):
        index = torch.randint(len(data), (B,))
        optimizer.zero_grad()
        x, y = data[index]  # type: ignore[misc]
        loss = (model(x)[..., 0] - y).square().mean()
        loss.backward()
        found.append(math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters())))  # type: ignore[operator]
        if clip is not None:
            clip(model.parameters())
        if watch is not None and tell:
            watch.note(loss)
        optimizer.step()
        with torch.no_grad():
            model(x)
    if watch is None:
        return found, None
    watch.close()
    assert hooks(model) == 0
    assert not optimizer._optimizer_step_pre_hooks
    return found, watch.log


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_watched_training_is_the_same_bit_for_bit(layer: str, dtype: torch.dtype) -> None:
    for every in (1, 3):
        alone, watched = build(LAYERS[layer]).to(dtype), build(LAYERS[layer]).to(dtype)
        data = TensorExamples(examples().inputs.to(dtype), examples().targets.to(dtype))
        watch = Watch(every=every)
        for model, observers in ((alone, []), (watched, [watch])):
            Trainer(model, losses.mse, SETTINGS, observers).fit(data)
        assert all(map(torch.equal, weights(alone), weights(watched)))
        assert hooks(watched) == 0
        assert [look.index for look in watch.log.looks] == list(range(0, 8, every))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_watched_loop_of_ones_own_is_the_same_bit_for_bit(layer: str) -> None:
    alone, watched = build(LAYERS[layer]), build(LAYERS[layer])
    clip = lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.2)  # noqa: E731
    state = []
    for model, every in ((alone, None), (watched, 2)):
        own_loop(model, every, clip)
        state.append(torch.get_rng_state())
    assert all(map(torch.equal, weights(alone), weights(watched)))
    assert torch.equal(*state)


def test_the_log_of_a_trainer_is_its_history() -> None:
    watch = Watch(every=4)
    history = fit(build(), watch=watch)
    log, updates = watch.log, history.updates
    assert log.updates == [u.index for u in updates]
    assert log.norms == [u.grad_norm for u in updates]
    assert log.losses == [u.loss for u in updates]
    assert log.fired == [u.clipped for u in updates]
    assert set(log.fired) == {True, False}
    assert log.thresholds == [0.5] * 8
    for look in log.looks:
        assert math.hypot(*look.norms.values()) == pytest.approx(log.norms[look.index])
        # clipping by value turns a gradient
        assert (0 < look.cosine < 1 - 1e-6) == log.fired[look.index]
    assert set(log.looks[0].norms) == set(dict(build().named_parameters()))


def profile_by_hand(model: Net, x: Tensor, y: Tensor) -> list[float]:
    """‖dL/dh_t‖ of a one-layer RNN: every state is a leaf of the graph."""
    W, U, b, c = (p.detach() for p in model.layer.parameters())
    states, h = [], torch.zeros(len(x), H).double()
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ W.T + b + h @ U.T + c)
        h.requires_grad_()
        h.retain_grad()
        states.append(h)
    model.eval()
    (model.head(h) - y).square().mean().backward()
    return [float(h.grad.norm(dim=1).mean()) for h in states]  # type: ignore[union-attr]


def test_the_profile_over_time_is_that_of_brute_force() -> None:
    model, data = build(LAYERS["rnn"]).eval(), examples(B)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer) as watch:
        loss = (model(data.inputs)[..., 0] - data.targets).square().mean()
        loss.backward()
        expected = profile_by_hand(model, data.inputs, data.targets)
        optimizer.step()
    [look] = watch.log.looks
    np.testing.assert_allclose(look.profiles["layer.l0"], expected, rtol=1e-9)
    heat = watch.log.heat_map("layer.l0")
    assert heat.updates.tolist() == [0]
    np.testing.assert_array_equal(heat.norms, [look.profiles["layer.l0"]])


@pytest.mark.parametrize(
    ("clip", "fires", "keeps_direction"),
    [
        (None, False, True),
        (lambda ps: nn.utils.clip_grad_norm_(ps, 1e6), False, True),
        (lambda ps: nn.utils.clip_grad_norm_(ps, 1e-3), True, True),
        (lambda ps: nn.utils.clip_grad_value_(ps, 1e-3), True, False),
        (lambda ps: [setattr(p, "grad", p.grad * 0.5) for p in ps], True, True),
    ],
)
def test_a_loop_of_ones_own_is_seen_before_and_after_clipping(
    clip: Any, fires: bool, keeps_direction: bool
) -> None:
    norms, log = own_loop(build(), 2, clip)
    assert log is not None
    np.testing.assert_allclose(log.norms, norms, rtol=1e-9)
    assert log.fired == [fires] * 6
    assert log.clipped_share == fires
    assert all((threshold is not None) == fires for threshold in log.thresholds)
    assert [look.index for look in log.looks] == [0, 2, 4]
    for look in log.looks:
        assert (look.cosine == pytest.approx(1, abs=1e-6)) == keeps_direction
        assert math.hypot(*look.norms.values()) == pytest.approx(norms[look.index])
        assert [len(p) for p in look.profiles.values()] == [T, T]
    assert None not in log.losses
    silent = own_loop(build(), 2, clip, tell=False)[1]
    assert silent is not None
    assert silent.losses == [None] * 6


def test_the_threshold_of_ones_own_loop_is_what_clipping_left() -> None:
    _, log = own_loop(build(), 3, lambda ps: nn.utils.clip_grad_norm_(ps, 0.01))
    assert log is not None
    assert log.thresholds == pytest.approx([0.01] * 6, rel=1e-3)


def test_the_state_of_an_lstm_is_a_pair() -> None:
    """Of T = 1, where dL/dh and dL/dc are those of the states that the layer returns."""
    torch.manual_seed(0)
    layer = LSTM(1, H, batch_first=True).double()
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    a, b = torch.randn(2, B, H).double()
    with Watch(layer, optimizer) as watch:
        _, (h_n, c_n) = layer(examples(B, 1).inputs)
        (a * h_n[0] + b * c_n[0]).sum().backward()
        optimizer.step()
    expected = torch.cat([a, b], dim=1).norm(dim=1).mean()
    assert watch.log.looks[0].profiles == {"l0": pytest.approx([float(expected)])}


def test_evaluations_are_passed_over() -> None:
    model, x = build(LAYERS["rnn"]), examples(B).inputs
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer, every=1) as watch:
        loss = model(x).mean()
        with torch.no_grad():
            assert model(torch.full_like(x, math.nan)).isnan().all()
        assert watch._suspect is None
        loss.backward()
        optimizer.step()
    assert [len(look.profiles["layer.l0"]) for look in watch.log.looks] == [T]
    assert watch.log.not_finite is None


def test_accumulated_gradients_are_one_update() -> None:
    model, data = build(LAYERS["rnn"]), examples(B)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer, every=1) as watch:
        for _ in range(2):
            optimizer.zero_grad()
            for half in (slice(0, 2), slice(2, 4)):
                (model(data.inputs[half])[..., 0] - data.targets[half]).sum().backward()
            norm = math.hypot(*(float(p.grad.norm()) for p in model.parameters()))  # type: ignore[union-attr]
            optimizer.step()
    assert watch.log.updates == [0, 1]
    assert watch.log.norms[-1] == pytest.approx(norm)
    assert [len(look.profiles["layer.l0"]) for look in watch.log.looks] == [T, T]


def test_pieces_of_one_sequence_follow_one_another() -> None:
    model = build(LAYERS["rnn"], every_step=True)
    data = examples(2, 20).inputs
    settings = TrainingSettings(max_updates=6, truncation=Truncation(4, 9))
    watch = Watch(every=1)
    Trainer(model, losses.mse, settings, [watch]).fit_sequence(data, data)
    assert [len(look.profiles["layer.l0"]) for look in watch.log.looks] == [4, 8, 9, 9, 9, 4]
    heat = watch.log.heat_map()
    assert heat.norms.shape == (6, 9)
    assert np.isnan(heat.norms).sum(axis=1).tolist() == [5, 1, 0, 0, 0, 5]
    assert np.isfinite(heat.norms[:, -1]).all()


@pytest.mark.parametrize("maps", [True, False])
def test_an_ensemble_is_the_mean_of_its_members(maps: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(Ensemble, "_maps", lambda self: maps)
    ensemble = Ensemble(lambda: Net(RNN(1, H, batch_first=True)).double(), members=3).eval()
    x, y = (tensor.expand(3, *tensor.shape) for tensor in examples(B)[torch.arange(B)])  # type: ignore[union-attr]
    optimizer = torch.optim.SGD(ensemble.parameters(), 0.1)
    with Watch(ensemble, optimizer) as watch:
        (ensemble(x)[..., 0] - y).square().flatten(1).mean(1).sum().backward()
        optimizer.step()
        ensemble(x)  # and once more, in pieces or not, without a step
    expected = []
    fresh = Ensemble(lambda: Net(RNN(1, H, batch_first=True)).double(), members=3).eval()
    for e in range(3):
        member: Any = fresh.member(e)
        expected.append(profile_by_hand(member, x[e], y[e]))
    [look] = watch.log.looks
    np.testing.assert_allclose(look.profiles["layer.l0"], np.mean(expected, 0), rtol=1e-9)


def test_members_that_share_what_fills_up_turns_of_unequal_length_are_seen_too() -> None:
    recurrence = Recurrence("rnn", H, dilations=(2,))  # T = 7: turns of 4 and of 3 steps
    ensemble = Ensemble(lambda: Net(recurrence.build(1)).double(), members=3).eval()
    x, y = examples(B)[torch.arange(B)]
    seen = []
    for model in (ensemble, *map(ensemble.member, range(3))):
        optimizer = torch.optim.SGD(model.parameters(), 0.0)
        shape = (3, B, T, 1) if model is ensemble else (B, T, 1)
        with Watch(model, optimizer) as watch:
            said = model(x.expand(shape))[..., 0]
            (said - y).square().flatten(said.dim() - 2).mean(-1).sum().backward()
            optimizer.step()
        [profile] = watch.log.looks[0].profiles.values()
        seen.append(profile)
    np.testing.assert_allclose(seen[0], np.mean(seen[1:], 0), rtol=1e-9)


def test_an_ensemble_is_watched_by_the_trainer_without_a_change() -> None:
    make = lambda: Ensemble(lambda: Net(GRU(1, H, batch_first=True)).double(), members=2)  # noqa: E731
    alone, watched, watch = make(), make(), Watch(every=2)
    for model, observers in ((alone, []), (watched, [watch])):
        Trainer(model, losses.mse, SETTINGS, observers).fit(examples())
    assert all(map(torch.equal, weights(alone), weights(watched)))
    assert watch.log.layers == ["layer.l0"]
    assert watch.log.heat_map().norms.shape == (4, T)


class Breaks(nn.Module):
    """Passes its input on, and something that is not finite from the n-th call in training."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x / 0 if int(self.calls) > self.at else x


def breaking(at: int) -> nn.Sequential:
    torch.manual_seed(0)
    parts = nn.Linear(1, 1), nn.Flatten(), Breaks(at), nn.Linear(T, 1), nn.Unflatten(-1, (1, 1))
    return nn.Sequential(*parts).double()


def test_the_first_output_that_broke_is_named() -> None:
    watch, model = Watch(), breaking(at=5)
    with pytest.raises(DivergedError):
        Trainer(model, losses.mse, SETTINGS, [watch]).fit(examples())
    assert watch.log.not_finite == "output of 2, at update 5"
    assert int(model[2].calls) == 6  # looking again counted for nothing
    model = nn.Sequential(nn.Dropout(0.5), *breaking(at=2))
    state = torch.get_rng_state()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer) as watch:
        for _ in range(10):
            torch.set_rng_state(state)
            loss = model(examples().inputs).mean()
            drawn = torch.rand(3)  # as if nobody had looked again
            if not loss.isfinite():
                break
            loss.backward()
            optimizer.step()
    assert watch.log.not_finite == "output of 3, at update 2"
    torch.set_rng_state(state)
    model[0](examples().inputs)
    assert torch.equal(drawn, torch.rand(3))


def test_a_parameter_or_a_gradient_that_broke_is_named() -> None:
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = examples(B).inputs
    with Watch(model, optimizer) as watch:
        (model(x).sum() * 1e308 * 1e308 * 0 + (model.head.bias * 1e308 * 1e10).sum()).backward()
        optimizer.step()
    assert watch.log.not_finite is not None
    assert watch.log.not_finite.startswith("gradient of head")
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer) as watch:
        model.layer.weight_hh_l1.data[0, 0] = math.inf
        loss = model(x).mean() * math.nan
        watch.note(loss)
    assert watch.log.not_finite == "parameter layer.weight_hh_l1, at update 0"


def test_the_gradient_named_first_is_the_last_one_of_the_net() -> None:
    """In the trainer, where gradients come in the order of the parameters."""

    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, d_y: Tensor) -> Tensor:  # type: ignore[override]
            return d_y * math.inf

    class Last(Net):
        def forward(self, x: Tensor, state: Any = None) -> Any:
            return Steep.apply(super().forward(x))  # type: ignore[no-untyped-call]

    torch.manual_seed(0)
    model, watch = Last(RNN(1, H, batch_first=True)).double(), Watch()
    with pytest.raises(DivergedError):
        Trainer(model, losses.mse, SETTINGS, [watch]).fit(examples())
    assert watch.log.not_finite == "gradient of head.bias, at update 0"


def test_an_infinite_output_that_is_meant_is_nothing_to_write_home_about() -> None:
    class Masked(Net):
        def forward(self, x: Tensor, state: Any = None) -> Any:
            y = super().forward(x)
            return torch.cat([y, torch.full_like(y, -math.inf)], -1)

    torch.manual_seed(0)
    model = Masked(RNN(1, H, batch_first=True)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer) as watch:
        for _ in range(2):
            optimizer.zero_grad()
            model(examples(B).inputs).softmax(-1)[..., 0].sum().backward()
            optimizer.step()
    assert watch.log.not_finite is None
    assert len(watch.log.norms) == 2


def test_an_error_in_the_model_leaves_no_recording_open() -> None:
    from throughtime.nn.records import open_recordings

    model = build(LAYERS["rnn"])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watch(model, optimizer):
        with pytest.raises(RuntimeError):
            model(torch.zeros(2, T, 5).double())
        assert not open_recordings


def test_every_fit_begins_a_new_log() -> None:
    watch = Watch(every=3)
    fit(build(), watch=watch)
    first = watch.log
    fit(build(), watch=watch)
    assert watch.log is not first
    assert watch.log == first


def test_bad_arguments_are_refused() -> None:
    model = build()
    with pytest.raises(SettingError, match="every"):
        Watch(every=0)
    with pytest.raises(SettingError, match="no optimizer"):
        Watch(model)
    with pytest.raises(SettingError, match="no model"):
        Watch(optimizer=torch.optim.SGD(model.parameters(), 0.1))


def test_a_log_is_plain_data_and_reads_well() -> None:
    watch = Watch(every=2)
    assert "No update" in str(watch.log)
    fit(build(), watch=watch)
    log = watch.log
    plain = json.loads(json.dumps(log.to_dict(), allow_nan=False))
    assert plain["norms"] == log.norms
    assert plain["looks"][1]["profiles"] == log.looks[1].profiles
    assert plain["suggested_threshold"] is None
    for words in (
        "8 updates, 4 of them in depth",
        f"fired in {log.clipped_share:.1%}",
        "no explosion",
        "layer.l1",
    ):
        assert words in str(log)
    with pytest.raises(SettingError, match=r"'layer\.l0'"):
        log.heat_map("head")
    log.add(8, 100.0, 0.1, None, False)
    log.add(9, math.nan, math.nan, None, False)
    log.not_finite = "gradient of head.weight, at update 9"
    assert json.loads(json.dumps(log.to_dict(), allow_nan=False))["norms"][-1] is None
    assert log.suggested_threshold is not None
    assert 0 < log.suggested_threshold <= 0.5  # above the threshold in force nothing was tried
    assert "explosions: 1, 0 of them stopped by clipping; the first at update" in str(log)
    assert "first not finite: gradient of head.weight" in str(log)


def test_observers_that_do_not_ask_are_not_asked() -> None:
    class Plain:
        def __init__(self) -> None:
            self.updates: list[Update] = []

        def on_start(self, name: str, total: int) -> None: ...
        def on_update(self, update: Update) -> None:
            self.updates.append(update)

        def on_evaluation(self, evaluation: Any) -> None: ...
        def on_end(self, reason: str) -> None: ...

    plain = Plain()
    Trainer(build(), losses.mse, SETTINGS, [plain]).fit(examples())
    assert len(plain.updates) == 8
