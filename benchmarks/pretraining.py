"""Train the net that comes with the package (`forecasting/pretrained/`), on simulated series alone.

    loss = mean |o - (u - base) / unit| / sqrt(1 + h / 4m)

in the net's own units, of 192 series an update, which share season m, length T and horizon h; all three
are drawn anew for each update. AdamW, a cosine from 2e-3, gradients clipped to norm 1; what is kept is
the moving average of the weights. A series whose loss is beyond 20 has no gradient, one that does not
vary does not count, and none is seen twice.

    python benchmarks/pretraining.py --out src/throughtime/forecasting/pretrained/simulated-1.safetensors
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from provenance import provenance
from torch import Tensor

from throughtime._archive import write
from throughtime.datasets import simulated
from throughtime.forecasting.pretrained.net import FORMAT, LONGEST, PretrainedNet, snapshot
from throughtime.forecasting.pretrained.reading import read

SERIES = 192  # an update
RATE, LEAST_RATE = 2e-3, 0.02  # and its share at the end
AVERAGE = 0.995
SEASONS = (1, 1, 1, 4, 7, 10, 11, 12, 12, 24)  # and others
LONG_SEASONS = (44, 48, 52)
LARGEST = 20.0  # loss of a series that counts


def problem(g: np.random.Generator) -> tuple[int, int, int]:
    """Draw a season m, a length T and a horizon h."""
    others = (int(g.integers(2, 30)), int(g.choice(LONG_SEASONS)))
    m = int(g.choice([*SEASONS, *others]))
    h = int(g.integers(8, 49)) if m > 25 else int(np.exp(g.uniform(np.log(4), np.log(27))))
    shortest = max(16, 3 * m // 2)
    T = int(g.integers(shortest, max(60, min(LONGEST, 5 * m) + 10)))
    return m, min(T, LONGEST), h


def loss_of(net: PretrainedNet, y: Tensor, h: int, m: int) -> tuple[Tensor, Tensor]:
    """Return the loss of series y [B, T + h], and that of repeating the last season."""
    u, ahead = y[:, :-h], y[:, -h:]
    reading = read(u, h, m)
    r = ((ahead - reading.base) / reading.unit).float()
    varies = u.std(dim=1) > 1e-6 * (1 + u.abs().mean(dim=1))

    def mean(errors: Tensor) -> Tensor:
        each = errors.abs().mean(dim=1) / math.sqrt(1 + h / (4 * m))
        return each[varies].clamp(max=LARGEST).mean()

    return mean(net(reading.past, reading.ahead) - r), mean(r)


def train(updates: int, seed: int) -> PretrainedNet:
    """Return the net after so many updates, with averaged weights."""
    torch.manual_seed(seed)
    g, net, started = np.random.default_rng(seed), PretrainedNet(), time.perf_counter()
    parameters = list(net.parameters())
    optimiser = torch.optim.AdamW(parameters, weight_decay=0.01, betas=(0.9, 0.98))
    averages = [p.detach().clone() for p in parameters]
    ratios = []
    for k in range(updates):
        m, T, h = problem(g)
        y = torch.from_numpy(simulated(SERIES, T + h, m, seed=int(g.integers(2**62))))
        cosine = (1 + math.cos(math.pi * k / updates)) / 2
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (k + 1) / 100) * (LEAST_RATE + (1 - LEAST_RATE) * cosine)
        loss, naive = loss_of(net, y, h, m)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        for average, p in zip(averages, parameters, strict=True):
            average.lerp_(p.detach(), max(1 - AVERAGE, 1 / (k + 2)))
        ratios.append(loss.item() / naive.item())
        if (k + 1) % 100 == 0:
            seconds = time.perf_counter() - started
            print(
                f"{k + 1}: {np.mean(ratios[-100:]):.4f} of the naive loss, {seconds:.0f} s",
                flush=True,
            )
    for p, average in zip(parameters, averages, strict=True):
        p.data.copy_(average)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    net = train(asked.updates, asked.seed)
    write(asked.out, FORMAT, snapshot(net, {**provenance(sys.argv)}))
    print(f"{asked.out}: {asked.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
