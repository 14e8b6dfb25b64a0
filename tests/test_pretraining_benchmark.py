"""How the pretrained net is trained: problems in range, a loss that begins at the naive one and falls."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from throughtime.datasets import simulated
from throughtime.forecasting.pretrained.net import FARTHEST, LONGEST, PretrainedNet

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def pretraining(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("pretraining")


def test_problems_are_those_that_the_net_answers(pretraining) -> None:
    g = np.random.default_rng(0)
    drawn = [pretraining.problem(g) for _ in range(2000)]
    assert {m for m, _, _ in drawn} >= {1, 4, 12, 24, 52}
    assert max(m for m, _, _ in drawn) == 52 < FARTHEST
    assert (min(h for *_, h in drawn), max(h for *_, h in drawn)) == (4, 48)
    assert all(3 * m // 2 <= T <= LONGEST for m, T, _ in drawn)


def test_an_untrained_net_has_the_loss_of_the_last_season_and_constants_do_not_count(
    pretraining,
) -> None:
    y = torch.from_numpy(np.concatenate([simulated(8, 40, 4), np.full((2, 40), 3.0)]))
    net = PretrainedNet(8)
    loss, naive = pretraining.loss_of(net, y, 6, 4)
    torch.testing.assert_close(loss, naive)
    torch.testing.assert_close(naive, pretraining.loss_of(net, y[:8], 6, 4)[1])


def test_training_lowers_it_and_repeats_itself(pretraining, monkeypatch) -> None:
    quick = {"SERIES": 48, "RATE": 1e-2, "AVERAGE": 0.9, "problem": lambda g: (4, 24, 6)}
    for name, value in quick.items():
        monkeypatch.setattr(pretraining, name, value)
    monkeypatch.setattr(pretraining, "PretrainedNet", lambda: PretrainedNet(16))
    short, again = (pretraining.train(3, seed=3).state_dict() for _ in range(2))
    for name, weights in short.items():
        assert torch.equal(weights, again[name])
    y = torch.from_numpy(simulated(500, 30, 4, seed=2**62))
    loss, naive = pretraining.loss_of(pretraining.train(120, seed=3), y, 6, 4)
    assert loss < 0.95 * naive
