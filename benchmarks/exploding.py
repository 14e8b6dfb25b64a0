"""A net that explodes on real data, and which threshold lets it learn.

The monthly sunspot numbers, each from those before it, in windows of 264 months (two cycles); a ReLU
RNN started as the identity, plain gradient descent with momentum 0.9:

    v <- 0.9 v + g min(1, c / |g|)        theta <- theta - 0.03 v

(a) without clipping (c infinite), for each seed: the update at which loss or gradient is no number;
(b) with it: the validation loss over thresholds c a factor of 2 apart, means over the seeds;
(c) the threshold that the gradient norms of one run suggest, beside the best of the sweep.

The first 70 % of the series train, the next 15 % validate, the rest is not looked at. Run with
`python benchmarks/exploding.py [--data folder] [--quick] [--seeds 0,1,2,3,4] [--out folder]`; the
folder holds sunspots/monthly.csv, by default $THROUGHTIME_DATA. A whole run writes its page, numbers
and picture into benchmarks/results, any other only where --out says.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from exploding_page import page, picture
from kernels import RESULTS, commit, processor_name
from monthly_sunspots import FOLDER, Parts, add_data_option, read_parts
from torch import Tensor, nn

from throughtime._files import check_writable, write_atomically
from throughtime.nn import RNN, identity_
from throughtime.training import Clip

HIDDEN, WINDOW, BATCH = 32, 264, 32
LEARNING_RATE, MOMENTUM = 0.03, 0.9
PILOT = 1.0  # the threshold of the run whose norms suggest another
THRESHOLDS = [2.0**k for k in range(-5, 7)]
UPDATES = 1000
LOOKS, BETWEEN = 10, 20  # the validation loss is the mean of the last looks
NAME = "exploding"


@dataclass(frozen=True)
class Ran:
    """One run: where it broke (None: nowhere), its validation loss, its norms before clipping."""

    broke: int | None
    loss: float
    norms: list[float]


class Net(nn.Module):
    """The next value at every step of a window."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = identity_(RNN(1, HIDDEN, nonlinearity="relu"))
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [T, B, 1] to forecasts of the next values."""
        output, _ = self.layer(x)
        forecasts: Tensor = self.head(output)
        return forecasts


def train(parts: Parts, clip: Clip, seed: int, updates: int) -> Ran:
    """Descend until the updates are made, or something is no number."""
    torch.manual_seed(seed)
    net, norms, looks = Net(), [], []
    weights = list(net.parameters())
    speeds = [torch.zeros_like(weight) for weight in weights]
    windows = parts.train.unfold(0, WINDOW + 1, 1)
    for update in range(updates):
        batch = windows[torch.randint(len(windows), (BATCH,))].T.unsqueeze(-1)
        loss = error(net, batch)
        gradients = torch.autograd.grad(loss, weights)
        clipped = clip(torch.cat([g.flatten() for g in gradients]).unsqueeze(0))
        norms.append(clipped.norm.item())
        if not (math.isfinite(loss.item()) and math.isfinite(norms[-1])):
            return Ran(update, math.inf, norms)
        pieces = clipped.gradient[0].split([weight.numel() for weight in weights])
        with torch.no_grad():
            for weight, speed, piece in zip(weights, speeds, pieces, strict=True):
                speed.mul_(MOMENTUM).add_(piece.view_as(weight))
                weight.sub_(speed, alpha=LEARNING_RATE)
        if update >= updates - LOOKS * BETWEEN and update % BETWEEN == 0:
            looks.append(validation(net, parts))
    return Ran(None, statistics.mean(looks), norms)


def validation(net: Net, parts: Parts) -> float:
    """Return the error on the validation part, at the steps that have a cycle behind them."""
    windows = parts.validation(WINDOW // 2).unfold(0, WINDOW + 1, 6).T.unsqueeze(-1)
    with torch.no_grad():
        return error(net, windows, learn_from=WINDOW // 2).item()


def error(net: Net, batch: Tensor, learn_from: int = 0) -> Tensor:
    """Return the mean squared error of the forecasts from step `learn_from` on."""
    return (net(batch[:-1]) - batch[1:])[learn_from:].square().mean()


def measure(parts: Parts, seeds: list[int], thresholds: list[float], updates: int) -> dict[str, Any]:
    """Run all, and print each row as it comes."""
    unclipped = [train(parts, Clip(), seed, updates) for seed in seeds]
    print(f"without clipping: no number after updates {[ran.broke for ran in unclipped]}", flush=True)
    sweep = []
    for threshold in thresholds:
        runs = [train(parts, Clip(norm=threshold), seed, updates) for seed in seeds]
        sweep.append(
            {
                "threshold": threshold,
                "losses": [ran.loss for ran in runs],
                "broke": sum(ran.broke is not None for ran in runs),
                "median_norm": statistics.median(n for ran in runs for n in ran.norms),
            }
        )
        print(f"c = {threshold:<8g} {mean(sweep[-1]):.4f}  {shown(sweep[-1]['losses'])}", flush=True)
    pilots = [train(parts, Clip(norm=PILOT), seed, updates) for seed in seeds]
    return {
        "unclipped": [ran.broke for ran in unclipped],
        "unclipped_norms": [ran.norms for ran in unclipped],
        "sweep": sweep,
        "pilot_norms": [ran.norms for ran in pilots],
    }


def mean(row: dict[str, Any]) -> float:
    return statistics.mean(row["losses"])


def shown(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
