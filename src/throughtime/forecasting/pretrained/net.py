"""A recurrent net that was trained on simulated series alone, and forecasts others as it is.

    e_t = LSTM(past_t),  f_t = LSTM(e_t),  c = e_T + f_T                     reads the window
    q_k = LSTM([ahead_k, c]) from the last state of f                       answers, step after step
    o_k = w . silu(A [q_k, c] + b) + w_0

(encoder and decoder as Sutskever, Vinyals and Le 2014). What it reads, and how o becomes a forecast, is
in `reading.py`; `benchmarks/pretraining.py` trained it. Since it has seen hundreds of thousands of series,
and none of the user's, it errs in other ways than nets that have seen nothing else.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from throughtime._archive import Format, Snapshot
from throughtime._archive import read as read_archive
from throughtime.forecasting.pretrained.reading import ASKED, READ, read
from throughtime.nn import LSTM

Floats = npt.NDArray[np.float64]

HIDDEN_SIZE = 96
LONGEST = 200  # newest steps that are read
FARTHEST = 64  # longest season and horizon that it answers for
LEAST = 4  # values, below which the last one is repeated

WEIGHTS = ("simulated-1",)  # files beside this one; a saved forecaster keeps to that of its time
FORMAT = Format("throughtime-pretrained", 1, "a pretrained net", "install throughtime again")


class PretrainedNet(nn.Module):
    """The net, with weights as they are before training."""

    def __init__(self, hidden_size: int = HIDDEN_SIZE) -> None:
        super().__init__()
        H = hidden_size
        self.reads = LSTM(READ, H, batch_first=True)
        self.sums_up = LSTM(H, H, batch_first=True)
        self.answers = LSTM(ASKED + H, H, batch_first=True)
        self.joins, self.says = nn.Linear(2 * H, H), nn.Linear(H, 1)
        nn.init.zeros_(self.says.weight)  # so that it begins with the last season
        nn.init.zeros_(self.says.bias)

    def forward(self, past: Tensor, ahead: Tensor) -> Tensor:
        """Return o [B, h] of `past` [B, T, READ] and `ahead` [B, h, ASKED]."""
        e, _ = self.reads(past)
        f, state = self.sums_up(e)
        c = (e[:, -1:] + f[:, -1:]).expand(-1, ahead.shape[1], -1)
        q, _ = self.answers(torch.cat([ahead, c], dim=-1), state)
        o: Tensor = self.says(nn.functional.silu(self.joins(torch.cat([q, c], dim=-1))))
        return o.squeeze(-1)


def answers(h: int, season_length: int) -> bool:
    """Say whether horizon and season are near those of the training, of up to 48 and 52 steps."""
    return h <= FARTHEST and season_length <= FARTHEST


def forecast(u: Floats, h: int, season_length: int = 1, net: PretrainedNet | None = None) -> Floats:
    """Return the forecasts [B, h] of windows u [B, T] without gaps, by default as it was carried.

    >>> forecast(np.tile([[1.0, 4.0, 2.0]], 8), 4, season_length=3).round(1)
    array([[1., 4., 2., 1.]])
    """
    u = u[:, -LONGEST:]
    if u.shape[1] < LEAST:
        return np.repeat(u[:, -1:], h, axis=1)
    reading = read(torch.tensor(u), h, season_length)
    with torch.no_grad():
        o = (net or carried(WEIGHTS[-1]))(reading.past, reading.ahead).double()
    return np.asarray((reading.base + reading.unit * o).numpy())


@cache
def carried(weights: str) -> PretrainedNet:
    """Return the net with weights that lie beside this file."""
    name = f"{weights}.safetensors"
    with as_file(files("throughtime.forecasting.pretrained") / name) as path:
        return read_net(path)


def read_net(path: Path) -> PretrainedNet:
    """Return the net of a file that `snapshot` was written to."""
    snapshot = read_archive(path, FORMAT)
    net = PretrainedNet().eval().requires_grad_(False)
    with FORMAT.unpacking(path):
        net.load_state_dict({name: t.float() for name, t in snapshot.tensors.items()})
    return net


def snapshot(net: PretrainedNet, facts: dict[str, object]) -> Snapshot:
    """Return what is written to the file: weights in half precision, and how they were made."""
    return Snapshot({name: t.half() for name, t in net.state_dict().items()}, facts)
