"""The C++ kernels: how exact they are, on which threads, from which memory, and what is said without.

What they compute is held to the oracle, with all other kernels, in test_adjoints.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cases import BEFORE, GRU, LSTM, RELU, RNN, Case, any_case, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import throughtime.nn as tt_nn
from throughtime import SettingError
from throughtime.kernels import compiled, reference, workspace

Array = npt.NDArray[Any]
_native: Any = vars(compiled)["_native"]
PROCESSORS = list(compiled.processors())
COMPILED = [RNN, RELU, LSTM, GRU, BEFORE]  # the projection runs on PyTorch's operations
MEASURED_ULP = 2.5  # the largest error over 20 million float32 and 2 million float64
ALLOWED_ULP = 3.0
LOWEST: dict[Any, float] = {
    np.float32: -87.0,
    np.float64: -708.0,
}  # below, the logistic function stays where it is

on_every_processor = pytest.mark.parametrize("processor", PROCESSORS)
of_every_kind = pytest.mark.parametrize("kind", COMPILED, ids=str)
in_both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def test_the_kernels_were_built() -> None:
    assert "portable" in PROCESSORS, "no C++ kernels: install a C++ compiler, then `make native`"


WIDE = re.compile(r"%[yz]mm|%k[0-7]|\tv[a-z0-9]+ ")  # registers and instructions since AVX


@pytest.mark.skipif(shutil.which("objdump") is None or not PROCESSORS, reason="nothing to read")
def test_wide_instructions_stay_in_the_code_for_their_processor() -> None:
    """By the functions' names: those for avx2 and avx512 live in namespaces of that name."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", _native.__file__]
    function, wide = "", set()
    for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
        if line.endswith(">:"):
            function = line
        elif WIDE.search(line):
            wide.add(function)
    assert wide or len(PROCESSORS) == 1
    assert not [name for name in wide if "throughtime::avx" not in name]


# ---- the logistic function and tanh ----------------------------------------------------------


def apply(name: str, processor: str, x: Array) -> Array:
    y = np.full_like(x, 7.0)
    number, precision = compiled.processors()[processor].number, int(x.dtype == np.float64)
    function = getattr(_native, name)
    function(number, precision, x.ctypes.data, y.ctypes.data, x.size)
    return y


def exact(name: str, x: Array) -> Array:
    """The function in a wider precision."""
    v: Array = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    if name == "tanh":
        return np.asarray(np.tanh(v))
    e = np.exp(-abs(v))  # never overflows
    return np.asarray(np.where(v >= 0, 1, e) / (1 + e))


def whole_line(dtype: Any) -> Array:
    """Numbers of every exponent and sign, subnormal ones too; most where the functions bend."""
    random = np.random.default_rng(0)
    info, bits = np.finfo(dtype), np.uint32 if dtype == np.float32 else np.uint64
    exponents = np.arange(2 ** (info.bits - info.nmant), dtype=bits)[:, None] << bits(info.nmant)
    mantissas = random.integers(0, 2**info.nmant, (len(exponents), 64), dtype=bits)
    mantissas[:, :2] = 0, 2**info.nmant - 1
    everywhere: Array = (exponents | mantissas).view(dtype).ravel()
    dense: list[Array] = [
        random.uniform(-at, at, 50_000).astype(dtype) for at in (1, 20, -LOWEST[dtype])
    ]
    return np.concatenate([everywhere[np.isfinite(everywhere)], *dense])


@on_every_processor
@in_both_precisions
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_error_in_units_in_the_last_place(name: str, dtype: Any, processor: str) -> None:
    x = whole_line(dtype)
    if name == "sigmoid":
        x = x[x >= LOWEST[dtype]]
    want, found = exact(name, x), apply(name, processor, x)
    unit = np.spacing(abs(want).astype(dtype)).astype(want.dtype)
    error = abs(found - want) / unit
    assert error.max() <= ALLOWED_ULP, x[error.argmax()]
    assert (abs(found) <= 1).all()
    assert (found >= 0).all() if name == "sigmoid" else (found * np.sign(x) >= 0).all()


@on_every_processor
@in_both_precisions
def test_limits_of_the_functions(dtype: Any, processor: str) -> None:
    tiny, smallest = np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    x: Array = np.array([-np.inf, -1e5, -0.0, 0.0, smallest, 1e5, np.inf, np.nan], dtype)
    found = apply("tanh", processor, x)
    np.testing.assert_array_equal(found, np.array([-1, -1, 0, 0, smallest, 1, 1, np.nan], dtype))
    found = apply("sigmoid", processor, x)
    np.testing.assert_array_equal(found[2:], np.array([0.5, 0.5, 0.5, 1, 1, np.nan], dtype))
    assert (tiny <= found[:2]).all()
    assert (found[:2] <= 2 * tiny).all()
    assert np.isnan(apply("tanh", processor, np.full(99, np.nan, dtype))).all()


@on_every_processor
@in_both_precisions
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_functions_grow(name: str, dtype: Any, processor: str) -> None:
    """But for one unit in the last place, where tanh is about to reach 1."""
    x: Array = np.linspace(-30, 30, 60_001).astype(dtype)
    falls = -np.diff(apply(name, processor, x))
    assert falls.max() <= (np.finfo(dtype).eps if name == "tanh" else 0)


@on_every_processor
@given(count=st.integers(0, 70), start=st.integers(0, 3))
@settings(max_examples=30)
def test_only_what_was_asked_for_is_written(processor: str, count: int, start: int) -> None:
    x: Array = np.linspace(-3, 3, 80, dtype=np.float32)
    y = np.full_like(x, 7.0)
    number, at = compiled.processors()[processor].number, 4 * start
    _native.tanh(number, 0, x.ctypes.data + at, y.ctypes.data + at, count)
    inside = slice(start, start + count)
    np.testing.assert_array_equal(y[inside], apply("tanh", processor, x)[inside])
    assert (np.delete(y, inside) == 7.0).all()


# ---- the same numbers: on any threads, processor, layout -----------------------------------


def results(
    case: Case, tensors: dict[str, Tensor], relaid: Callable[[Tensor], Tensor] | None = None
) -> list[Tensor]:
    """Outputs and all gradients of a weighted sum of them."""
    place = relaid or (lambda tensor: tensor)
    leaves = {name: place(tensor.detach()).requires_grad_() for name, tensor in tensors.items()}
    mask = case.mask()
    outputs = case.run(leaves, mask=None if mask is None else place(mask))
    d_outputs = [place(w.to(outputs[0].dtype)) for w in random_weights(outputs)]
    gradients = torch.autograd.grad(outputs, list(leaves.values()), d_outputs)
    return [each.detach() for each in (*outputs, *gradients)]


def are_the_same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def are_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        largest = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * max(1.0, largest))


def single(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().float() for name, tensor in tensors.items()}


def contracting(case: Case) -> dict[str, Tensor]:
    """Tensors with weights as torch initialises them."""
    tensors = {name: tensor.detach() for name, tensor in case.draw().items()}
    for name in {"W", "U", "b_ih", "b_hh"} & set(tensors):
        tensors[name].uniform_(-(case.H**-0.5), case.H**-0.5)
    return tensors


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@on_every_processor
@of_every_kind
def test_any_number_of_threads_gives_the_same_numbers(
    kind: Case, processor: str, threads: Callable[[int], None]
) -> None:
    case = replace(kind, T=30, B=100, H=33, masked=True)
    tensors = single(contracting(case))
    found = []
    with compiled.using(processor):
        for count in (1, 2, 3, 4, 4):
            threads(count)
            found.append(results(case, tensors))
    assert all(are_the_same(found[0], each) for each in found[1:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_process_may_fork_after_its_threads_have_run() -> None:
    """In an interpreter of its own: a child that waits for threads it has not ends by alarm."""
    script = """
import os, signal, sys, torch
from throughtime import kernels
T, B, H = 30, 100, 33
def numbers(*shape): return torch.randn(*shape, requires_grad=True)
torch.set_num_threads(4)
torch.ones(300, 300) @ torch.ones(300, 300)
inputs = [numbers(T, B, 2), numbers(B, H), numbers(B, H), numbers(4 * H, 2), numbers(4 * H, H)]
weights = torch.randn(T, B, H)
def run():
    h, *_ = kernels.lstm(*inputs, None, None)
    found = [h, *torch.autograd.grad(h, inputs, weights)]
    return [each.detach().numpy().tobytes() for each in found]
before = run()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if run() == before and run() == before else 1)
_, status = os.waitpid(child, 0)
sys.exit(0 if status == 0 and run() == before else f"the child ended with status {status}")
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@given(case=any_case(members=True))
@settings(max_examples=60, deadline=None)
def test_all_processors_agree(case: Case) -> None:
    tensors = case.draw()
    found = []
    for processor in [*PROCESSORS, "torch"]:
        with compiled.using(processor):
            found.append(results(case, tensors))
    for each in found[1:]:
        are_close(each, found[0], 1e-12)


SIZES = [(1, 1, 1), (1, 1, 40), (2, 1, 17), (5, 1, 16), (1, 9, 3), (7, 5, 15), (3, 26, 65)]


@on_every_processor
@of_every_kind
@pytest.mark.parametrize("masked", [False, True])
def test_sizes_that_fill_no_vector(kind: Case, processor: str, masked: bool) -> None:
    for T, B, H in SIZES:
        case = replace(kind, T=T, B=B, H=H, I=H % 7 + 1, masked=masked)
        tensors = contracting(case)
        with compiled.using(processor):
            found, rough = results(case, tensors), results(case, single(tensors))
        with compiled.using("torch"):
            want = results(case, tensors)
        are_close(found, want, 1e-12)
        are_close([each.double() for each in rough], want, 1e-5)


def unaligned(tensor: Tensor) -> Tensor:
    return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "an odd offset": unaligned,
    "a part of wider rows": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "every second row": lambda x: torch.stack([x, x], 1).flatten(0, 1)[::2],
    "first axes exchanged": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "features apart": lambda x: torch.stack([x, x], -1)[..., 0],
    "last axes exchanged": lambda x: x.mT.contiguous().mT,
}


@on_every_processor
@of_every_kind
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_numbers(kind: Case, processor: str, layout: str) -> None:
    def relaid(tensor: Tensor) -> Tensor:
        found = LAYOUTS[layout](tensor) if tensor.dim() > 1 else unaligned(tensor)
        assert torch.equal(found, tensor)
        return found

    for case in (replace(kind, H=18, masked=True), replace(kind, T=2, B=1, H=17, bias=False)):
        for tensors in (case.draw(), single(case.draw())):
            with compiled.using(processor):
                assert are_the_same(results(case, tensors, relaid), results(case, tensors))


@on_every_processor
@of_every_kind
@pytest.mark.parametrize("axis", [0, 1])
def test_expanded_inputs_give_the_same_numbers(kind: Case, processor: str, axis: int) -> None:
    """One step for all times, or one sample for the whole batch: strides of zero."""
    case = replace(kind, T=6, B=7, H=18)
    tensors = case.draw()
    x = tensors["x"].detach().narrow(axis, 0, 1).expand(case.T, case.B, case.I)
    weights = [name for name in tensors if name != "x"]

    def run(x: Tensor, d_h: Tensor) -> list[Tensor]:
        h, *_ = case.run({**tensors, "x": x})
        return [h, *torch.autograd.grad(h, [tensors[name] for name in weights], d_h)]

    d_h = torch.randn(case.H, dtype=torch.float64).expand(case.T, case.B, case.H)
    with compiled.using(processor):
        assert 0 in x.stride()
        assert are_the_same(run(x, d_h), run(x.contiguous(), d_h.contiguous()))


# ---- a thousand steps ------------------------------------------------------------------------


def oracle(case: Case, tensors: dict[str, Tensor]) -> list[Tensor]:
    """What `results` gives, by the oracle."""
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    given, options = case.arguments(arrays), dict(case.options)
    outputs = [torch.from_numpy(each) for each in getattr(reference, case.cell)(*given, **options)]
    sent = [weight.numpy() for weight in random_weights(outputs)]
    gradients = getattr(reference, f"{case.cell}_gradients")(*given, *sent, **options)
    return [*outputs, *(torch.from_numpy(gradients[name]) for name in case.names)]


@of_every_kind
@pytest.mark.parametrize("H", [64])
def test_a_thousand_steps_stay_near_the_oracle(kind: Case, H: int) -> None:
    case = replace(kind, T=1000, B=3, H=H, I=4)
    tensors = single(contracting(case))  # numbers that both precisions have
    doubled = {name: tensor.double() for name, tensor in tensors.items()}
    want, outputs = oracle(case, doubled), 3 if case.cell == "lstm" else 2
    for processor in PROCESSORS:
        with compiled.using(processor):
            rough, fine = results(case, tensors), results(case, doubled)
        assert max(errors(rough[:outputs], want[:outputs])) <= 2e-6, processor
        assert max(errors(rough[outputs:], want[outputs:])) <= 1e-5, processor
        assert max(errors(fine, want)) <= 1e-12, processor


def errors(found: list[Tensor], want: list[Tensor]) -> list[float]:
    """The largest error in each tensor, relative to its largest number."""
    pairs = zip(found, want, strict=True)
    return [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]


# ---- buffers that come back ----------------------------------------------------------------


@pytest.fixture
def shelf() -> Iterator[list[Any]]:
    workspace.release()
    yield workspace._shelf
    workspace.release()


LIKE, LARGE = torch.zeros(1), workspace.SMALLEST  # four megabytes


def test_a_buffer_comes_back(shelf: list[Any]) -> None:
    first = workspace.workspace(LARGE, LIKE)
    address = first.data_ptr()
    view = first.view(2, -1)[1:]
    del first
    assert not shelf  # a view holds it
    del view
    assert len(shelf) == 1
    again = workspace.workspace(LARGE - 5, LIKE.double().float())
    assert again.data_ptr() == address
    assert (again.shape, again.dtype) == ((LARGE - 5,), torch.float32)


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=12))
@settings(max_examples=30, deadline=None)
def test_nothing_is_handed_out_twice(orders: list[tuple[int, bool]]) -> None:
    held: list[Tensor] = []
    for number, (size, gives_back) in enumerate(orders):
        if gives_back and held:
            held.pop(0)
        held.append(workspace.workspace(size * LARGE // 2, LIKE).fill_(number))
        spans = sorted((each.data_ptr(), each.data_ptr() + 4 * each.numel()) for each in held)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert all((each == each[0]).all() for each in held)
    workspace.release()


def test_what_fits_nothing_empties_the_shelf(shelf: list[Any]) -> None:
    del_me = [workspace.workspace(LARGE, LIKE), workspace.workspace(LARGE, LIKE)]
    del_me.clear()
    assert len(shelf) == 2
    large = workspace.workspace(3 * LARGE, LIKE)
    assert not shelf
    del large
    small = workspace.workspace(LARGE, LIKE)  # a buffer more than twice as large is not for it
    assert not shelf
    del small


def test_the_shelf_has_an_end(shelf: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "LARGEST_SUM", 4 * LARGE)
    held = [workspace.workspace(LARGE, LIKE), workspace.workspace(LARGE, LIKE)]
    held.clear()
    assert len(shelf) == 1


def test_small_buffers_are_torch_s_own(shelf: list[Any]) -> None:
    small = workspace.workspace(100, LIKE.double())
    assert (small.shape, small.dtype) == ((100,), torch.float64)
    del small
    assert not shelf


# ---- without a compiler --------------------------------------------------------------------


def without_kernels(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script where the extension cannot be imported."""
    lines = ["import sys", "sys.modules['throughtime.kernels._native'] = None", script]
    known = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=known
    )


TWO_LAYERS = """
import torch, throughtime as tt
for layer in (tt.nn.GRU(2, 3), tt.nn.LSTM(2, 3)):
    layer(torch.zeros(4, 1, 2))
"""


def test_what_is_missing_is_said_once() -> None:
    done = without_kernels(TWO_LAYERS)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
    for said in ("without its C++ kernels", "apt install g++", "pip install"):
        assert said in done.stderr


def test_nothing_is_said_to_who_wants_none() -> None:
    done = without_kernels(TWO_LAYERS, THROUGHTIME_KERNELS="torch")
    assert (done.returncode, done.stderr) == (0, "")


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(SettingError, match=r"portable, torch.*abacus"), compiled.using("abacus"):
        pass


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_threads_that_share_one_series_weight_gradient_change_no_bit(cell: str) -> None:
    torch.manual_seed(0)
    layer = getattr(tt_nn, cell)(1, 250)
    x = torch.randn(330, 1, 1)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layer.zero_grad()
            layer(x)[0].square().sum().backward()
            found.append([parameter.grad.clone() for parameter in layer.parameters()])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@in_both_precisions
@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
def test_a_gradient_that_vanishes_ends_at_zero(cell: str, dtype: Any) -> None:
    """Not in numbers that slow the processor down; and outside of the kernels they stay numbers."""
    precision = torch.float32 if dtype is np.float32 else torch.float64
    torch.manual_seed(0)
    layer = getattr(tt_nn, cell)(1, 8).to(precision)
    with tt_nn.recording(layer) as records:
        output, _ = layer(torch.randn(3000, 2, 1, dtype=precision))
    output[-1].sum().backward()
    dh = records[0].tap.dh_TBH
    smallest = torch.finfo(precision).smallest_normal
    assert bool((dh[:100] == 0).all())
    assert bool(((dh == 0) | (dh.abs() >= smallest)).all())
    assert bool(torch.tensor(smallest, dtype=precision) / 4 > 0)
