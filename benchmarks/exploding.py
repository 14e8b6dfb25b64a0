"""A net that explodes on real data, and which threshold lets it learn.

The monthly sunspot numbers, each from those before it, in windows of 264 months (two cycles); a ReLU
RNN started as the identity, plain gradient descent with momentum 0.9, eta = 0.01 and 0.03:

    v <- 0.9 v + g min(1, c / |g|)        theta <- theta - eta v

(a) without clipping (c infinite), for each seed: the update at which loss or gradient is no number;
(b) with it: the validation loss over thresholds c a factor of 2 apart, means over the seeds;
(c) the threshold that the norms of a run clipped at c = 1 suggest, beside the best of the sweep:
    ten times their median, the top of the range that Pascanu, Mikolov and Bengio 2013 name
    ("half to ten times the average"), by the median because one explosion would rule an average;
(d) the same for `GradientLog.suggested_threshold`, taken at its word: what the log of a run without
    clipping suggests, 1 where that does not know; then what the log of the run so clipped suggests.

The first 70 % of the series train, the next 15 % validate, the rest is not looked at. Run with
`python benchmarks/exploding.py [--data folder] [--quick] [--seeds 0,1,2,...] [--out folder]`; the
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from exploding_page import page, picture
from monthly_sunspots import Parts, add_data_option, read_parts
from provenance import provenance
from torch import Tensor, nn

from kernels import RESULTS
from throughtime._files import check_writable, write_atomically
from throughtime.diagnostics import GradientLog
from throughtime.nn import RNN, identity_
from throughtime.training import Clip

HIDDEN, WINDOW, BATCH = 32, 264, 32
LEARNING_RATES, MOMENTUM = (0.01, 0.03), 0.9
PILOT, TIMES_MEDIAN = 1.0, 10.0  # the threshold of the run whose norms suggest another
THRESHOLDS = [2.0**k for k in range(-4, 7)]
UPDATES = 1000
LOOKS, BETWEEN = 10, 20  # the validation loss is the mean of the last looks
NAME = "exploding"


@dataclass(frozen=True)
class Ran:
    """One run: where it broke (None: nowhere), its validation loss, the log of its gradients."""

    broke: int | None
    loss: float
    log: GradientLog


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


def train(parts: Parts, clip: Clip, rate: float, seed: int, updates: int) -> Ran:
    """Descend until the updates are made, or something is no number."""
    torch.manual_seed(seed)
    net, log, looks = Net(), GradientLog(), []
    weights = list(net.parameters())
    speeds = [torch.zeros_like(weight) for weight in weights]
    windows = parts.train.unfold(0, WINDOW + 1, 1)
    for update in range(updates):
        batch = windows[torch.randint(len(windows), (BATCH,))].T.unsqueeze(-1)
        loss = error(net, batch)
        gradients = torch.autograd.grad(loss, weights)
        clipped = clip(torch.cat([g.flatten() for g in gradients]).unsqueeze(0))
        norm, value = clipped.norm.item(), loss.item()
        log.add(update, norm, value, clip.norm, bool(clipped.fired))
        if not (math.isfinite(value) and math.isfinite(norm)):
            return Ran(update, math.inf, log)
        pieces = torch.split(clipped.gradient[0], [weight.numel() for weight in weights])
        with torch.no_grad():
            for weight, speed, piece in zip(weights, speeds, pieces, strict=True):
                speed.mul_(MOMENTUM).add_(piece.view_as(weight))
                weight.sub_(speed, alpha=rate)
        if update >= updates - LOOKS * BETWEEN and update % BETWEEN == 0:
            looks.append(validation(net, parts))
    return Ran(None, statistics.mean(looks), log)


def validation(net: Net, parts: Parts) -> float:
    """Return the error on the validation part, at the steps that have a cycle behind them."""
    windows = parts.validation(WINDOW // 2).unfold(0, WINDOW + 1, 6).T.unsqueeze(-1)
    with torch.no_grad():
        return error(net, windows, learn_from=WINDOW // 2).item()


def error(net: Net, batch: Tensor, learn_from: int = 0) -> Tensor:
    """Return the mean squared error of the forecasts from step `learn_from` on."""
    errors: Tensor = net(batch[:-1]) - batch[1:]
    return errors[learn_from:].square().mean()


def measure(parts: Parts, rate: float, plan: Plan) -> dict[str, Any]:
    """Run all of one learning rate, and print each row as it comes."""

    def all_seeds(clip: Clip) -> list[Ran]:
        return [train(parts, clip, rate, seed, plan.updates) for seed in plan.seeds]

    broke = [ran.broke for ran in all_seeds(Clip())]
    print(f"rate {rate:g}, without clipping: no number at update {broke}", flush=True)
    sweep = []
    for threshold in plan.thresholds:
        losses = [ran.loss for ran in all_seeds(Clip(norm=threshold))]
        sweep.append({"threshold": threshold, "losses": losses})
        print(f"c = {threshold:<8g}{' '.join(f'{loss:.4f}' for loss in losses)}", flush=True)
    norms = [ran.log.norms for ran in all_seeds(Clip(norm=PILOT))]
    suggested = [TIMES_MEDIAN * statistics.median(each) for each in norms]
    print(f"suggested: {', '.join(f'{each:.2f}' for each in suggested)}", flush=True)
    logged = [followed(parts, rate, seed, plan.updates) for seed in plan.seeds]
    print(f"by the log: {', '.join(f'{each:.2f}' for each in logged)}", flush=True)
    spread = [statistics.quantiles(each, n=20) for each in norms]
    return {
        "rate": rate,
        "broke": broke,
        "sweep": sweep,
        "norm_quantiles": spread,
        "suggested": suggested,
        "logged": logged,
    }


def followed(parts: Parts, rate: float, seed: int, updates: int) -> float:
    """Take the log at its word, from no clipping on: 1 where it does not know, until a run lasts."""
    threshold, broke = math.inf, True
    while broke:
        clip = Clip() if math.isinf(threshold) else Clip(norm=threshold)
        ran = train(parts, clip, rate, seed, updates)
        usual = PILOT if math.isinf(threshold) else threshold
        threshold, broke = ran.log.suggested_threshold or usual, ran.broke is not None
    return threshold


@dataclass(frozen=True)
class Plan:
    """Which seeds and thresholds, and how many updates each."""

    seeds: list[int]
    thresholds: list[float]
    updates: int


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    parts = read_parts(options.data)
    plan = Plan(options.seeds, THRESHOLDS, UPDATES)
    if options.quick:
        plan = Plan(options.seeds[:2], THRESHOLDS[::2], 2 * LOOKS * BETWEEN)
    folder = options.out or (None if options.quick else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / f"{NAME}.json")
    start = time.perf_counter()
    sweeps = [measure(parts, rate, plan) for rate in LEARNING_RATES]
    results = {
        **provenance(sys.argv),
        "seconds": time.perf_counter() - start,
        "seeds": plan.seeds,
        "updates": plan.updates,
        "sweeps": sweeps,
    }
    print("\n" + page(results))
    if folder is not None:
        write_atomically(folder / f"{NAME}.json", json.dumps(results) + "\n")
        write_atomically(folder / f"{NAME}.md", page(results))
        write_atomically(folder / f"{NAME}.svg", picture(results))
        print(f"written to {folder}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Explode on the monthly sunspots, and clip.")
    add_data_option(parser)
    parser.add_argument("--quick", action="store_true", help="two seeds, few updates")
    parser.add_argument("--seeds", type=numbers, default=list(range(8)))
    parser.add_argument("--out", type=Path, help=f"folder for {NAME}.md, .json and .svg")
    return parser.parse_args()


def numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


if __name__ == "__main__":
    main()
