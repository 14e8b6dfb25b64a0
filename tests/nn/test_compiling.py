"""torch.compile and torch.export of our layers: the graphs hold our operators, and are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim
from torch.func import functional_call, grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime.nn as tt_nn

FROM_WITHIN_TORCH = [
    "ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning",
    "ignore:.torch.jit.(script|script_method|trace|trace_method). is deprecated:DeprecationWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
]
pytestmark = [pytest.mark.filterwarnings(warning) for warning in FROM_WITHIN_TORCH]
LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "bias": False}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 2, "bidirectional": True}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    ("GRU", {"num_layers": 2, "batch_first": True}),
    ("GRU", {"reset": "before", "bidirectional": True}),
]
OPERATORS = {"RNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru_after"}
INPUT, HIDDEN = 3, 4


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.fixture
def whole() -> Any:
    """PyTorch's switch for compiling what descends from its recurrent layers."""
    with torch._dynamo.config.patch(allow_rnn=True):
        yield


class Model(torch.nn.Module):
    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.below = torch.nn.Linear(INPUT, INPUT, dtype=torch.float64)
        self.recurrent = getattr(tt_nn, name)(INPUT, HIDDEN, dtype=torch.float64, **options)

    def forward(self, x: Tensor) -> Tensor:
        output, last = self.recurrent(self.below(x).tanh())
        last = last if isinstance(last, tuple) else (last,)
        return output.sin().sum(-1) + torch.stack([state.square().sum() for state in last]).sum()


def draw(B: int = 2, T: int = 5) -> Tensor:
    return torch.randn(B, T, INPUT, dtype=torch.float64)


def gradients(model: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def assert_same(a: list[Tensor], b: list[Tensor]) -> None:
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def assert_runs_as(found: Any, model: torch.nn.Module, x: Tensor) -> None:
    ours, expected = found(x), model(x)
    assert_same([ours], [expected])
    assert_same(gradients(model, ours.square().sum()), gradients(model, expected.square().sum()))


def operators(graph: torch.fx.Graph) -> list[str]:
    names = [str(node.target) for node in graph.nodes]
    return [name.split(".")[1] for name in names if name.startswith("throughtime")]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
def test_a_model_compiles_as_a_whole(name: str, options: dict[str, Any]) -> None:
    model = Model(name, **options)
    assert_runs_as(torch.compile(model, backend="aot_eager", fullgraph=True), model, draw())


@pytest.mark.parametrize(("name", "options"), LAYERS[3:], ids=str)
def test_a_model_compiles_around_our_layers(name: str, options: dict[str, Any]) -> None:
    model = Model(name, **options)
    assert_runs_as(torch.compile(model, backend="aot_eager"), model, draw())


@pytest.mark.usefixtures("whole")
def test_inductor_compiles_a_model() -> None:
    model = Model("GRU")
    assert_runs_as(torch.compile(model, fullgraph=True), model, draw())


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("name", OPERATORS)
def test_one_graph_serves_all_sizes(name: str) -> None:
    model, graphs = Model(name, batch_first=True, bidirectional=True), []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(operators(graph.graph))
        return graph.forward

    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    for B, T in [(2, 5), (3, 7), (6, 4)]:
        assert_runs_as(compiled, model, draw(B, T))
    assert graphs == [[OPERATORS[name]] * 2]


@pytest.mark.usefixtures("whole")
def test_gradients_of_all_sizes() -> None:
    model = Model("LSTM")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for B, T in [(2, 5), (3, 7)]:
        assert_runs_as(compiled, model, draw(B, T))


@pytest.mark.usefixtures("whole")
def test_initial_states() -> None:
    layer = tt_nn.LSTM(INPUT, HIDDEN, dtype=torch.float64)
    h_0, c_0 = torch.randn(2, 1, 5, HIDDEN, dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor, hx: Any) -> Tensor:
        return layer(x, hx)[0].square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    x = draw()
    one, other = (torch.autograd.grad(f(x, (h_0, c_0)), [h_0, c_0]) for f in (compiled, loss))
    assert_same(list(one), list(other))


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("name", OPERATORS)
def test_packed_sequences(name: str, allow: bool) -> None:
    layer = getattr(tt_nn, name)(INPUT, HIDDEN, dtype=torch.float64, bidirectional=True)
    packed = pack_padded_sequence(draw(5, 3), [2, 5, 3], enforce_sorted=False)
    with torch._dynamo.config.patch(allow_rnn=allow):
        found, _ = torch.compile(layer, backend="aot_eager")(packed)
    expected, _ = layer(packed)
    assert_same([found.data], [expected.data])
    assert torch.equal(found.batch_sizes, expected.batch_sizes)
    one, other = (gradients(layer, o.data.square().sum()) for o in (found, expected))
    assert_same(one, other)


@pytest.mark.parametrize("allow", [True, False])
def test_recording_breaks_the_graph_and_is_right(allow: bool) -> None:
    model, x = Model("LSTM"), draw()
    with torch._dynamo.config.patch(allow_rnn=allow):
        compiled = torch.compile(model, backend="aot_eager")
        compiled(x)  # from before the recording
        with tt_nn.recording(compiled) as records:
            compiled(x).sum().backward()
        unrecorded = compiled(x)
    with tt_nn.recording(model) as expected:
        model(x).sum().backward()
    assert_same([records[0].tap.dh_TBH], [expected[0].tap.dh_TBH])
    assert_same([records[0].tap.dc_TBH], [expected[0].tap.dc_TBH])
    assert len(records) == len(expected) == 1
    assert_same([unrecorded], [model(x)])


@pytest.mark.usefixtures("whole")
def test_recording_a_whole_graph_is_refused() -> None:
    model = Model("LSTM")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with tt_nn.recording(model), pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
        compiled(draw())


@pytest.mark.usefixtures("whole")
def test_an_ensemble_compiles_as_a_whole() -> None:
    ensemble = tt_nn.Ensemble(lambda: Model("GRU"), members=3)
    x = torch.stack([draw(), draw(), draw()])
    assert_runs_as(torch.compile(ensemble, backend="aot_eager", fullgraph=True), ensemble, x)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("mapped", [True, False])
def test_function_transforms_compile(mapped: bool) -> None:
    model = Model("LSTM")
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, parameters, (x,)).square().sum()

    gradient, x = grad(loss), draw()
    if mapped:
        gradient, x = vmap(gradient, in_dims=(None, 0)), torch.stack([x, 2 * x])
    found = torch.compile(gradient, backend="aot_eager", fullgraph=True)(parameters, x)
    expected = gradient(parameters, x)
    assert_same([found[n] for n in parameters], [expected[n] for n in parameters])


@pytest.mark.usefixtures("whole")
def test_compiled_forward_mode_is_refused() -> None:
    model, x = Model("LSTM"), draw()
    pushed = torch.compile(lambda x: jvp(model, (x,), (x,))[1], backend="eager")
    with pytest.raises(RuntimeError, match=r"leave it out of torch.compile"):
        pushed(x)


def test_forward_mode_over_a_compiled_model() -> None:
    model, x = Model("LSTM"), draw()
    compiled = torch.compile(model, backend="aot_eager")
    assert_same([jvp(compiled, (x,), (x,))[1]], [jvp(model, (x,), (x,))[1]])


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("name", OPERATORS)
def test_autocast_within_a_graph(name: str) -> None:
    layer = getattr(tt_nn, name)(INPUT, HIDDEN)
    x = draw().bfloat16()
    expected = layer(x.float())[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)[0]
        assert found.dtype == torch.float32
        ours = gradients(layer, found.square().sum())
    assert_same([found, *ours], [expected, *gradients(layer, expected.square().sum())])


@pytest.mark.parametrize(
    ("name", "options", "strict"),
    [*((*layer, False) for layer in LAYERS), *((*layer, True) for layer in LAYERS[-3:])],
    ids=str,
)
def test_export_for_all_sizes(
    name: str, options: dict[str, Any], strict: bool, tmp_path: Path
) -> None:
    model = Model(name, **options)
    dims = {"x": {0: Dim("first"), 1: Dim("second")}}
    program = torch.export.export(model, (draw(),), dynamic_shapes=dims, strict=strict)
    found = operators(program.graph)
    assert len(found) == options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2")
    assert operators(loaded.graph) == found
    x = draw(4, 7)
    exported = loaded.module()
    assert_same([exported(x)], [model(x)])
    one, other = gradients(exported, exported(x).sum()), gradients(model, model(x).sum())
    names = [n for n, _ in exported.named_parameters()]
    assert_same([dict(zip(names, one, strict=True))[n] for n, _ in model.named_parameters()], other)
    assert_same([program.run_decompositions().module()(x)], [model(x)])


def test_a_process_that_loads_a_program_imports_us_first(tmp_path: Path) -> None:
    model, x = Model("GRU", reset="before"), draw()
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (x,)), path)
    torch.save((x, model(x).detach()), tmp_path / "expected.pt")
    program = f"""
import logging, sys, torch
logging.disable()
try:
    torch.export.load({str(path)!r})
except Exception as error:
    print("refused")
import throughtime.kernels
x, expected = torch.load({str(tmp_path / "expected.pt")!r})
print(torch.allclose(torch.export.load({str(path)!r}).module()(x), expected, atol=1e-12))
print("throughtime.nn" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["refused", "True", "False"], done.stderr


@pytest.mark.parametrize("name", OPERATORS)
def test_make_fx_and_tensors_without_values(name: str) -> None:
    model, x = Model(name), draw()
    graph = make_fx(model)(x)
    assert operators(graph.graph) == [OPERATORS[name]]
    assert_same([graph(2 * x)], [model(2 * x)])
    with FakeTensorMode():
        shape = Model(name)(draw()).shape
    assert shape == model(x).shape


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchs_own_trace_still_gets_torchs_kernels() -> None:
    layer, x = tt_nn.GRU(INPUT, HIDDEN, dtype=torch.float64), draw()
    traced = torch.jit.trace(layer, x)
    assert "aten::gru" in str(traced.graph)
    assert_same(list(traced(2 * x)), list(layer(2 * x)))


def test_importing_us_leaves_the_compiler_alone() -> None:
    program = "import sys, throughtime.nn; print('torch._dynamo' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
