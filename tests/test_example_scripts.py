"""The examples run, and what they print is true."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


def test_every_shape_learns_its_task(capsys):
    results = example("five_shapes").main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [result.shape for result in results]
    assert len({result.shape for result in results}) == 5
    for result in results:
        assert result.error < 0.5 * result.constant, result
