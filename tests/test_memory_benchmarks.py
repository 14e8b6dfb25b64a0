"""The pure parts of the benchmarks of memory: problems, the rule, what is printed."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def generator():
    return torch.Generator().manual_seed(0)


def test_adding_marks_one_step_of_each_half(benchmark_module):
    problem = benchmark_module("memory_tasks_problems").Adding(9)
    x, y = problem.draw(200, generator())
    marks = x[..., 1]
    assert bool((marks[:4].sum(0) == 1).all())
    assert bool((marks[4:].sum(0) == 1).all())
    assert torch.equal(x.prod(-1).sum(0), y[0, :, 0])
    assert bool(marks.sum(1).gt(0).all())  # each step is marked in some sequence


def test_the_mean_scores_a_sixth(benchmark_module):
    problem = benchmark_module("memory_tasks_problems").Adding(6)
    _, y = problem.draw(200_000, generator())
    assert y.var().item() == pytest.approx(problem.baseline, rel=0.02)


def test_copy_asks_for_each_symbol_at_the_lag_it_needs(benchmark_module):
    problem = benchmark_module("memory_tasks_problems").Copy(7)
    x, y = problem.draw(5, generator())
    read, lag = x.argmax(-1), problem.need.farthest
    for step in range(len(y) - 10, len(y)):
        assert torch.equal(y[step, :, 0], read[step - lag])
    assert bool((x.sum(-1) == 1).all())
    assert bool((y[:-10] == 8).all())


def test_guessing_symbols_scores_the_baseline(benchmark_module):
    problem = benchmark_module("memory_tasks_problems").Copy(30)
    _, y = problem.draw(4, generator())
    logits = torch.full((*y.shape, 9), -50.0)
    logits[:-10, ..., 8] = 0.0
    logits[-10:, ..., :8] = 0.0
    assert problem.loss(logits, y).item() == pytest.approx(problem.baseline, rel=1e-5)


def test_the_page_counts_what_came_true(benchmark_module):
    page = benchmark_module("memory_tasks_page")
    rows = [
        {"task": "adding", "T": T, "net": "GRU", "verdict": {"learns": said}, "outcome": came}
        for T, said, came in ((100, True, "solved"), (200, True, "diverged"), (50, False, "solved"))
    ]
    words = page.agreement(rows)
    assert "true in 1 of 2 runs" in words
    assert "Wrong: adding T=200 GRU" in words
    assert "true in 0 of 1 runs" in words


def test_the_best_threshold_is_one_at_which_no_run_broke(benchmark_module):
    page = benchmark_module("exploding_page")
    losses = {1.0: [0.3, 0.3], 2.0: [0.2, 0.2], 4.0: [0.1, math.inf]}
    sweep = {"sweep": [{"threshold": c, "losses": each} for c, each in losses.items()]}
    assert page.best_of(sweep) == 2.0
    assert page.is_near(1.0, 2.0)
    assert not page.is_near(0.9, 2.0)


def test_the_parts_of_the_sunspots_do_not_leak(benchmark_module):
    parts = benchmark_module("monthly_sunspots").parts_of(torch.arange(100.0))
    assert len(parts.train) == 70
    assert len(parts.known) == 85
    assert len(parts.validation(10)) == 25
    assert parts.train.std().item() == pytest.approx(1, rel=1e-5)
