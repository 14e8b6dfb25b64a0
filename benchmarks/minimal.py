"""How fast the minGRU and the minLSTM train: time of the GRUs over theirs, forward and backward.

    python benchmarks/minimal.py [--hidden 64] [--batch 16] [--inputs 8]

One row a length of series; above 1 they are faster than `torch.nn.GRU`, or `tt.nn.GRU`. A random
gradient arrives at every output. It counts processor time, of the fastest of many rounds in which every layer
takes its turn, so that what else a machine does spoils the ratios least. "torch" are the same layers
on PyTorch's operations, as on other devices.
"""

from __future__ import annotations

import argparse
import time

import torch

import throughtime as tt
from throughtime.kernels.compiled import using

LENGTHS = 50, 500, 5000
ROUNDS, SECONDS = 5, 6.0


def measured(
    layers: dict[str, tuple[torch.nn.Module, bool]], x: torch.Tensor, sent: torch.Tensor
) -> dict[str, float]:
    """Return the seconds of one forward and backward pass of each layer, the fastest of all rounds."""
    best = dict.fromkeys(layers, float("inf"))
    end = time.perf_counter() + SECONDS
    done = 0
    while done < ROUNDS or (time.perf_counter() < end and done < 1000):
        for name, (layer, plain) in layers.items():
            begin = time.process_time()
            if plain:
                with using("torch"):
                    layer(x)[0].backward(sent)
            else:
                layer(x)[0].backward(sent)
            best[name] = min(best[name], time.process_time() - begin)
        done += 1
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"hidden": 64, "batch": 16, "inputs": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = {"input_size": a.inputs, "hidden_size": a.hidden, "batch_first": True}
    gru, min_gru, min_lstm = tt.nn.GRU(**sizes), tt.nn.MinGRU(**sizes), tt.nn.MinLSTM(**sizes)
    layers: dict[str, tuple[torch.nn.Module, bool]] = {
        "torch.nn.GRU": (torch.nn.GRU(**sizes), False),
        "tt.nn.GRU": (gru, False),
        "MinGRU": (min_gru, False),
        "MinLSTM": (min_lstm, False),
        "MinGRU (torch)": (min_gru, True),
        "MinLSTM (torch)": (min_lstm, True),
    }
    print(f"batch {a.batch}, {a.inputs} inputs, {a.hidden} hidden units, one thread")
    print(f"{'':24}{'T':>6}  {'x torch.nn.GRU':>15}{'x tt.nn.GRU':>13}")
    for T in LENGTHS:
        seconds = measured(layers, *(torch.randn(a.batch, T, n) for n in (a.inputs, a.hidden)))
        for name in list(layers)[1:]:
            ratios = (seconds[other] / seconds[name] for other in ("torch.nn.GRU", "tt.nn.GRU"))
            print(f"{name:24}{T:6}  {next(ratios):15.1f}{next(ratios):13.1f}")


if __name__ == "__main__":
    main()
