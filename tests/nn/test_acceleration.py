"""An accelerated model is the model it was, with our layers in it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import throughtime as tt
from throughtime.nn.acceleration import STAND_INS

INPUT, HIDDEN, T, B = 3, 4, 5, 2
MODULES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")),
    *((name, {"bias": False}) for name in ("RNN", "LSTM", "GRU", "GRUCell")),
    *((name, {"num_layers": 2, "bidirectional": True}) for name in ("RNN", "LSTM", "GRU")),
    ("RNN", {"nonlinearity": "relu", "batch_first": True}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False}),
]
PARAMETRIZATIONS = ["weight_norm", "orthogonal", "spectral_norm"]


def build(name: str, options: dict[str, Any]) -> nn.Module:
    return getattr(nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)


def draw_x(module: nn.Module) -> Tensor:
    shape = (B, INPUT) if isinstance(module, nn.RNNCellBase) else (T, B, INPUT)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def flat(answer: Any) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else [t for part in answer for t in flat(part)]


def run(module: nn.Module) -> list[Tensor]:
    """What a module computes, and the gradients of all its parameters that want one."""
    outputs = flat(module(draw_x(module)))
    loss = torch.stack([(k + 2) * o.square().sum() for k, o in enumerate(outputs)]).sum()
    wanted = [p for p in module.parameters() if p.requires_grad]
    return [o.detach() for o in outputs] + list(torch.autograd.grad(loss, wanted))


def assert_same(a: list[Tensor], b: list[Tensor]) -> None:
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def runs_ours(layer: nn.Module) -> bool:
    with tt.nn.recording(layer) as records:
        layer(draw_x(layer))
    return len(records) > 0


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Theirs(nn.Module):
    """Somebody's model: layers, a cell, one layer under two names, a tied weight, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        options: Any = {"dtype": torch.float64}
        self.encoder = nn.LSTM(INPUT, HIDDEN, num_layers=2, dropout=0.25, **options)
        self.blocks = nn.ModuleList([nn.GRU(HIDDEN, HIDDEN, **options) for _ in range(2)])
        self.blocks[1].weight_hh_l0 = self.blocks[0].weight_hh_l0
        self.again = self.blocks[0]
        self.cell = nn.RNNCell(HIDDEN, HIDDEN, **options)
        self.blocks[0].register_buffer("scale", torch.tensor(0.5, dtype=torch.float64))
        self.cell.weight_ih.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.encoder(x)
        for layer in (*self.blocks, self.again):
            x = layer(x)[0] * self.again.scale
        return self.cell(x[-1], x[0])


@pytest.mark.parametrize(("name", "options"), MODULES, ids=str)
def test_a_module_computes_what_it_did_from_the_very_same_parameters(
    name: str, options: dict[str, Any]
) -> None:
    module = build(name, options)
    before, names = run(module), list(module.state_dict())
    parameters, looks = list(module.parameters()), repr(module)
    [replaced] = tt.accelerate(module).replaced
    assert type(module) is getattr(tt.nn, name)
    assert f"{replaced.module}" == looks
    assert all(p is q for p, q in zip(module.parameters(), parameters, strict=True))
    assert list(module.state_dict()) == names
    assert_same(run(module), before)
    assert name.endswith("Cell") or runs_ours(module)


def test_the_stand_ins_are_ours_of_the_same_name_and_torchs_subclasses() -> None:
    for torchs, ours in STAND_INS.items():
        assert ours is getattr(tt.nn, torchs.__name__)
        assert issubclass(ours, torchs)


def test_a_model_stays_the_model_it_was() -> None:
    model = Theirs().eval()
    model.blocks[1].train()
    twin, state = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    modules, modes = list(model.modules()), [m.training for m in model.modules()]
    assert tt.accelerate(model).model is model
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert [m.training for m in model.modules()] == modes
    assert model.again is model.blocks[0]
    assert model.blocks[0].weight_hh_l0 is model.blocks[1].weight_hh_l0
    assert not model.cell.weight_ih.requires_grad
    assert model.state_dict().keys() == state.keys()
    assert_same(list(model.state_dict().values()), list(state.values()))
    assert (type(model.encoder), type(twin.encoder)) == (tt.nn.LSTM, nn.LSTM)
    assert_same(run(model), run(twin))


def test_an_optimiser_made_before_goes_on_training() -> None:
    models = [Theirs().eval()]
    models.append(copy.deepcopy(models[0]))
    optimisers = [torch.optim.Adam(m.parameters(), lr=0.05) for m in models]
    x = torch.randn(T, B, INPUT, dtype=torch.float64)
    start = [p.clone() for p in models[0].parameters()]
    for update in range(4):
        for model, optimiser in zip(models, optimisers, strict=True):
            optimiser.zero_grad()
            model(x).square().sum().backward()
            optimiser.step()
        if update == 1:  # the moments have begun
            tt.accelerate(models[0])
    assert_same(list(models[0].parameters()), list(models[1].parameters()))
    moved = [not torch.equal(p, q) for p, q in zip(models[0].parameters(), start, strict=True)]
    assert moved == [p.requires_grad for p in models[0].parameters()]


def test_hooks_still_fire() -> None:
    model, calls = nn.Sequential(build("GRU", {})), []
    layer = model[0]
    layer.register_forward_pre_hook(lambda *_: calls.append("pre"))
    layer.register_forward_hook(lambda *_: calls.append("forward"))
    layer.register_full_backward_hook(lambda *_: calls.append("backward"))
    layer.register_state_dict_pre_hook(lambda *_: calls.append("state_dict"))
    layer.register_load_state_dict_post_hook(lambda *_: calls.append("load"))
    tt.accelerate(model)
    model(draw_x(layer).requires_grad_())[0].sum().backward()
    model.load_state_dict(model.state_dict())
    assert calls == ["pre", "forward", "backward", "state_dict", "load"]


def parametrized(name: str, how: str) -> nn.Module:
    module = build(name, {"num_layers": 2} if name in ("RNN", "LSTM", "GRU") else {})
    suffix = "_l0" if isinstance(module, nn.RNNBase) else ""
    for weight in ("weight_hh", "weight_ih"):
        getattr(parametrizations, how)(module, weight + suffix)
    return module.eval()  # where the power iteration of spectral_norm rests


@pytest.mark.parametrize("how", PARAMETRIZATIONS)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "GRUCell"])
def test_parametrized_layers_compute_what_they_did(name: str, how: str) -> None:
    module = parametrized(name, how)
    twin, looks = copy.deepcopy(module), repr(module)
    assert len(tt.accelerate(module).replaced) == 1
    assert isinstance(module, getattr(tt.nn, name))
    assert not isinstance(twin, getattr(tt.nn, name))  # copies share a class; not any more
    assert repr(module) == looks
    assert parametrize.type_before_parametrizations(module) is getattr(tt.nn, name)
    for p, q in zip(module.parameters(), twin.parameters(), strict=True):
        p.data.mul_(0.9), q.data.mul_(0.9)  # the weights follow their originals
    assert_same(run(module), run(twin))
    assert_same(run(copy.deepcopy(module)), run(twin))
    assert name.endswith("Cell") or runs_ours(module)
    assert "already" in tt.accelerate(module).left[0].note


def test_parametrizations_come_off_and_go_on_again() -> None:
    module = parametrized("GRU", "weight_norm")
    tt.accelerate(module)
    expected = run(module)[:2]
    for weight in ("weight_hh_l0", "weight_ih_l0"):
        parametrize.remove_parametrizations(module, weight)
    assert type(module) is tt.nn.GRU
    assert_same(run(module)[:2], expected)
    parametrizations.weight_norm(module, "weight_hh_l1")
    assert_same(run(module)[:2], expected)
    assert runs_ours(module)


def test_spectral_norm_goes_on_iterating_in_training() -> None:
    module = parametrized("RNN", "spectral_norm").train()
    tt.accelerate(module)
    module.parametrizations.weight_hh_l0.original.data.normal_()
    for _ in range(300):
        module(draw_x(module))
    norm = torch.linalg.matrix_norm(module.eval().weight_hh_l0, 2)
    torch.testing.assert_close(norm, torch.ones_like(norm), atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "change",
    [
        lambda layer: nn.utils.weight_norm(layer, "weight_hh_l0"),
        lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5),
    ],
    ids=["weight_norm", "prune"],
)
def test_weights_that_a_hook_computes(change: Callable[[nn.Module], Any]) -> None:
    twins = [build("GRU", {}), build("GRU", {})]
    twins[1].load_state_dict(twins[0].state_dict())
    for module in twins:
        change(module)
    tt.accelerate(twins[0])
    for p, q in zip(twins[0].parameters(), twins[1].parameters(), strict=True):
        p.data.mul_(0.9), q.data.mul_(0.9)
    assert runs_ours(twins[0])
    assert_same(run(twins[0]), run(twins[1]))


class OwnForward(nn.GRU):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return 2 * output, h_n


class Derived(nn.GRUCell):
    pass


def set_by_hand() -> nn.Module:
    layer = build("GRU", {})
    forward = layer.forward
    layer.forward = lambda *args: forward(*args)  # as wrappers that drop weights do
    return layer


LEFT: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: OwnForward(INPUT, HIDDEN), "a subclass with its own forward"),
    (lambda: Derived(INPUT, HIDDEN), "a subclass"),
    (lambda: parametrizations.weight_norm(Derived(INPUT, HIDDEN), "weight_hh"), "a subclass"),
    (set_by_hand, "its forward was set by hand"),
    (lambda: torch.jit.script(nn.LSTM(INPUT, HIDDEN)), "compiled by TorchScript"),
    (
        lambda: torch.jit.trace(nn.GRU(INPUT, HIDDEN), torch.randn(T, B, INPUT)),
        "compiled by TorchScript",
    ),
    (lambda: torch.ao.nn.quantized.dynamic.LSTM(INPUT, HIDDEN), "of PyTorch's quantisation"),
    (lambda: torch.ao.nn.quantized.dynamic.GRUCell(INPUT, HIDDEN), "of PyTorch's quantisation"),
    (lambda: tt.nn.LSTM(INPUT, HIDDEN), "throughtime's already"),
    (lambda: tt.nn.GRU(INPUT, HIDDEN, reset="before"), "throughtime's already"),
]


@pytest.mark.filterwarnings("ignore")  # PyTorch says that its old ways to compile end
@pytest.mark.parametrize(("make", "reason"), LEFT, ids=[str(k) for k in range(len(LEFT))])
def test_what_is_not_known_is_left_alone_and_named(
    make: Callable[[], nn.Module], reason: str
) -> None:
    model = nn.Sequential(make(), build("RNN", {}))
    cls = type(model[0])
    done = tt.accelerate(model)
    assert type(model[0]) is cls
    assert [(left.name, left.note) for left in done.left] == [("0", reason)]
    assert [replaced.name for replaced in done.replaced] == ["1"]


def test_layers_within_a_users_own_module_are_found() -> None:
    class Nested(OwnForward):
        def __init__(self) -> None:
            super().__init__(INPUT, HIDDEN)
            self.inner = nn.GRU(INPUT, HIDDEN)

    model = Nested()
    tt.accelerate(model)
    assert (type(model), type(model.inner)) == (Nested, tt.nn.GRU)


def test_a_layer_that_hands_over_is_replaced_and_noted() -> None:
    layer = nn.GRU(INPUT, HIDDEN, dtype=torch.bfloat16)
    x = draw_x(layer).bfloat16()
    expected = flat(layer(x))
    [replaced] = tt.accelerate(layer).replaced
    assert replaced.note == "handing over to PyTorch while in bfloat16 on cpu"
    assert all(torch.equal(a, b) for a, b in zip(flat(layer(x)), expected, strict=True))
    assert runs_ours(layer.double())
    [replaced] = tt.accelerate(nn.LSTM(INPUT, HIDDEN, device="meta")).replaced
    assert replaced.note == "handing over to PyTorch while in float32 on meta"


def test_the_report_in_full() -> None:
    model = Theirs()
    model.decoder = OwnForward(INPUT, HIDDEN)
    assert str(tt.accelerate(model)).splitlines() == [
        "Replaced 4 of 5 recurrent modules by throughtime's:",
        "  encoder: LSTM(3, 4, num_layers=2, dropout=0.25)",
        "  blocks.0: GRU(4, 4)",
        "  blocks.1: GRU(4, 4)",
        "  cell: RNNCell(4, 4), one step at a time as before",
        "Left alone:",
        "  decoder: OwnForward(3, 4), a subclass with its own forward",
    ]
    again = str(tt.accelerate(model)).splitlines()
    assert again[0] == "Replaced 0 of 5 recurrent modules by throughtime's."
    assert again[2] == "  encoder: LSTM(3, 4, num_layers=2, dropout=0.25), throughtime's already"
    plain = str(tt.accelerate(nn.Linear(1, 1)))
    assert plain == "Nothing to replace: Linear has no recurrent modules."
    assert "  the model itself: GRU(1, 1)" in repr(tt.accelerate(nn.GRU(1, 1)))


@pytest.mark.parametrize("wrong", [None, nn.GRU, {"layer": nn.GRU(1, 1)}, torch.zeros(2)], ids=str)
def test_only_models_are_accelerated(wrong: Any) -> None:
    with pytest.raises(tt.SettingError, match=r"torch\.nn\.Module"):
        tt.accelerate(wrong)


def test_an_accelerated_model_is_copied_pickled_and_measured_like_ours() -> None:
    model = Theirs().eval()
    tt.accelerate(model)
    expected = run(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin.encoder) is tt.nn.LSTM
        assert twin.again is twin.blocks[0]
        assert_same(run(twin), expected)
    with tt.nn.recording(model) as records:
        model(draw_x(model)).sum().backward()
    assert [r.name for r in records] == ["encoder"] * 2 + ["blocks.0", "blocks.1", "blocks.0"]
    assert all(r.tap.dh_TBH is not None for r in records)


def test_a_compiled_model_follows() -> None:
    model = nn.Sequential(build("GRU", {}))
    compiled = torch.compile(model, backend="eager")
    expected = run(compiled)
    assert [r.name for r in tt.accelerate(compiled).replaced] == ["_orig_mod.0"]
    assert_same(run(compiled), expected)
    assert runs_ours(model[0])
