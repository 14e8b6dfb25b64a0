"""What truncated backpropagation costs, and what it saves.

(a) Monthly sunspots a year ahead from one long sequence, a GRU of 32 units: an update every k1 = 24
    months that reaches k2 back, up to the whole past. Validation loss and seconds after as many updates.
(b) The adding problem at T = 100, a GRU of 64 units: only the last k2 steps have a gradient. Squared
    error over the baseline's 1/6, and seconds.
(c) The relative bias of the gradient, ||g_k2 - g|| / ||g||, of both nets, untrained and trained in full:
    as the lag profile predicts it (Aicher, Foti, Fox 2019), as `TruncationBias` measures it for the loss
    at the newest step, and as an update meets it, whose gradient is computed again in full.

Run with `python benchmarks/truncation.py [--data folder] [--quick] [--parts sunspots,adding]
[--seeds 0,1,2] [--out folder]`; the folder holds sunspots/monthly.csv, by default $THROUGHTIME_DATA. A
whole run writes its page and numbers into benchmarks/results, any other only where --out says.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from exploding import numbers
from memory_tasks_problems import Adding
from monthly_sunspots import add_data_option, read_parts
from provenance import provenance
from torch import Tensor
from truncation_page import page

from kernels import RESULTS, some_of
from throughtime._files import check_writable, write_atomically
from throughtime.diagnostics.trajectory import trajectories
from throughtime.diagnostics.truncation_bias import TruncationBias
from throughtime.nn import PointHead, Recurrence, SyncedSequence
from throughtime.training import Trainer, TrainingSettings, Truncation, losses, reaches

AHEAD, K1, BURN_IN = 12, 24, 264
REACHES = (24, 48, 96, 192, 384, None)  # k2; None: the whole past
STEPS, KEPT = 100, (10, 25, 50, 75, 100)
PARTS = ("sunspots", "adding")
NAME = "truncation"


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    seeds: list[int]
    sunspots: int = 1500
    adding: int = 2000


def net(input_size: int, hidden: int, seed: int) -> SyncedSequence:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SyncedSequence(input_size, Recurrence("gru", hidden), PointHead(hidden))


def sunspots(folder: Path | None, plan: Plan) -> Iterator[dict[str, Any]]:
    """Train over k2, and yield a row for each; the bias at last."""
    parts = read_parts(folder)
    train = ahead(parts.train)
    validation = ahead(parts.validation(BURN_IN))
    validation[1][:, :BURN_IN] = math.nan
    truncations = {k2: Truncation(K1, k2 or len(parts.train)) for k2 in REACHES}
    for k2, truncation in truncations.items():
        scores, seconds, models = [], 0.0, []
        for seed in plan.seeds:
            model = net(1, 32, seed)
            settings = TrainingSettings(
                max_updates=plan.sunspots, learning_rate=3e-3, truncation=truncation, seed=seed
            )
            start = time.perf_counter()
            history = Trainer(model, losses.mse, settings).fit_sequence(*train, validation)
            seconds += time.perf_counter() - start
            scores.append(min(each.loss for each in history.evaluations))
            models.append(model)
        yield {"k2": k2, "scores": scores, "seconds": seconds / len(plan.seeds)}
    window = ahead(parts.train[-600:])
    lengths = [k2 for k2 in REACHES if k2]
    for state, model in (("untrained", net(1, 32, plan.seeds[0])), ("trained", models[0])):
        for row in biases(model, *window, lengths, K1):
            yield {"state": state, **row}


def ahead(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return inputs [1, T, 1] and targets [1, T, 1], a year ahead."""
    return values[None, :-AHEAD, None], values[None, AHEAD:, None].clone()


def adding(plan: Plan) -> Iterator[dict[str, Any]]:
    """Train on new sequences over the steps that have a gradient; the bias at last."""
    problem = Adding(STEPS)
    held_out = problem.draw(1000, torch.Generator().manual_seed(10_000))
    for kept in KEPT:
        scores, seconds, models = [], 0.0, []
        for seed in plan.seeds:
            model, generator = net(2, 64, seed), torch.Generator().manual_seed(seed)
            start = time.perf_counter()
            for _ in learned(model, problem, kept, plan.adding, generator):
                pass
            seconds += time.perf_counter() - start
            with torch.no_grad():
                answer = model(held_out[0].transpose(0, 1))[0][:, -1:]
            error = losses.mse(answer, held_out[1].transpose(0, 1)).item()
            scores.append(error / problem.baseline)
            models.append(model)
        yield {"k2": kept, "scores": scores, "seconds": seconds / len(plan.seeds)}
    x, y = problem.draw(64, torch.Generator().manual_seed(1))
    x, y = x.transpose(0, 1), last_only(y, STEPS)
    for state, model in (("untrained", net(2, 64, plan.seeds[0])), ("trained", models[0])):
        for row in biases(model, x, y, list(KEPT[:-1]), 1):
            yield {"state": state, **row}


def last_only(answer: Tensor, T: int) -> Tensor:
    """Return targets [B, T, 1] that are known at the last step alone, of answers [1, B, 1]."""
    y = torch.full((answer.shape[1], T, 1), math.nan)
    y[:, -1] = answer[0]
    return y


def learned(
    model: SyncedSequence, problem: Adding, kept: int, updates: int, generator: torch.Generator
) -> Iterator[float]:
    """Update on new sequences, the last `kept` steps with a gradient; yield the losses."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(updates):
        x, y = problem.draw(20, generator)
        x, state = x.transpose(0, 1), None
        if kept < problem.T:
            with torch.no_grad():
                _, state = model(x[:, : problem.T - kept])
        output, _ = model(x[:, problem.T - kept :], state)
        loss = losses.mse(output[:, -1:], y.transpose(0, 1))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        yield loss.item()


def biases(
    model: SyncedSequence, x: Tensor, y: Tensor, lengths: list[int], k1: int
) -> Iterator[dict[str, Any]]:
    """Yield predicted and measured bias at each length, of the newest step and of an update."""

    [trajectory] = trajectories(model, x, y, losses.mse)
    of = TruncationBias.of(trajectory, lengths)
    for k2, predicted, measured in zip(lengths, of.predicted, of.bias, strict=True):
        yield {
            "k2": k2,
            "predicted": float(predicted),
            "newest": float(measured),
            "update": bias_of_an_update(model, x, y, Truncation(k1, k2)),
        }


def bias_of_an_update(model: SyncedSequence, x: Tensor, y: Tensor, truncation: Truncation) -> float:
    """Return ||g_k2 - g|| / ||g|| of the last update along x, both at the weights as they are."""
    own, whole = (
        gradient(model, x, y, each) for each in (truncation, Truncation(truncation.k1, x.shape[1]))
    )
    return float((own - whole).norm() / whole.norm())


def gradient(model: SyncedSequence, x: Tensor, y: Tensor, truncation: Truncation) -> Tensor:
    """Return the gradient of the last update by the layer's weights."""
    *_, last = reaches(model, x, y, truncation)
    loss = losses.mse(last.outputs, last.targets)
    found = torch.autograd.grad(loss, list(model.layer.parameters()))
    return torch.cat([each.flatten() for each in found])


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    plan = Plan(options.seeds)
    if options.quick:
        plan = Plan(options.seeds[:1], 200, 200)
    makers: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "sunspots": lambda: sunspots(options.data, plan),
        "adding": lambda: adding(plan),
    }
    whole = options.parts == list(PARTS) and not options.quick
    folder = options.out or (RESULTS if whole else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / f"{NAME}.json")
    start = time.perf_counter()
    results: dict[str, Any] = {
        **provenance(sys.argv),
        "plan": {"seeds": plan.seeds, "sunspots": plan.sunspots, "adding": plan.adding},
    }
    for part in options.parts:
        results[part] = []
        for row in makers[part]():
            print(part, row, flush=True)
            results[part].append(row)
    results["seconds"] = time.perf_counter() - start
    print("\n" + page(results))
    if folder is not None:
        write_atomically(folder / f"{NAME}.json", json.dumps(results, indent=1) + "\n")
        write_atomically(folder / f"{NAME}.md", page(results))
        print(f"written to {folder}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train with truncated gradients, and in full.")
    add_data_option(parser)
    parser.add_argument("--quick", action="store_true", help="one seed, few updates")
    parser.add_argument("--parts", type=some_of(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help=f"folder for {NAME}.md and .json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
