"""The minLSTM: an LSTM whose gates and candidate do not read the state, so that it is a linear scan.

Forward      p_t = W x_t + b                            blocks i f g
             f = σ(p_f) / (σ(p_f) + σ(p_i)) = σ(δ)       δ = softplus(-p_i) - softplus(-p_f)
             g = g(p_g)                                 h_t = f * h_{t-1} + (1 - f) * g

Adjoint      dδ = f(1 - f) * (h_{t-1} - g) * dh_t       dp_f = σ(-p_f) * dδ     dp_i = -σ(-p_i) * dδ
             dp_g = g'(p_g) * (1 - f) * dh_t            dh_{t-1} = e_{t-1} + f * dh_t
             dW = Σ dp_t x_t'      db = Σ dp_t      dx_t = W' dp_t

f is the paper's f', the share of the forget gate in the sum of both, so that the state is a mean and
does not grow with the length of the series; written with δ it is a number even where both gates
underflow. With b_i = -b_f it is σ(b_f), the LSTM's forget gate. g is the identity, or the paper's
positive function: `minimal` has both.

Feng, L., Tung, F., Ahmed, M. O., Bengio, Y. and Hajimirsadeghi, H. (2024), Were RNNs all we needed?,
section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from throughtime.kernels.compiled_scan import fastest_scan
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.minimal import Candidate, Minimal
from throughtime.kernels.recurrence import run
from throughtime.kernels.regularised import Zoneout, given
from throughtime.kernels.tap import AdjointTap


def min_lstm(
    x: Tensor,
    h_0: Tensor,
    W: Tensor,
    b: Tensor | None,
    *,
    candidate: Candidate = "linear",
    mask: Tensor | None = None,
    reverse: bool = False,
    zoneout: Zoneout | None = None,
    state_grad_clip: float = 0.0,
    tap: AdjointTap | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the minLSTM over time; the equations are at the top of this module.

    `W` [3H, I], `b` [3H]; its only state is h. Everything else is as in `min_gru`. Returns h_t for all
    t [T, B, H], and the last. Raises SettingError for T = 0 and another candidate.

    >>> x, W = torch.ones(3, 1, 1), torch.tensor([[0.0], [0.0], [8.0]])  # f = 1/2, g = 8
    >>> h, h_n = min_lstm(x, torch.zeros(1, 1), W, None)
    >>> h.flatten()
    tensor([4., 6., 7.])
    """
    kernel = min_lstm_kernel(W, candidate, state_grad_clip)
    extra = given(x, mask, (h_0,), W, None, (zoneout,))
    h_TBH, h_n = run(kernel, tap, mask, reverse, x, h_0, W, b, *extra)
    return h_TBH, h_n


def min_lstm_kernel(W: Tensor, candidate: Candidate = "linear", clip: float = 0.0) -> Kernel:
    """Return the fastest kernel there is for weights like W."""
    return fastest_scan(MinLSTM(clip, candidate), W)


def keeping_argument(p_i: Tensor, p_f: Tensor) -> Tensor:
    """Return δ."""
    return softplus(-p_i) - softplus(-p_f)


@dataclass(frozen=True)
class MinLSTM(Minimal):
    """The minLSTM as a `Kernel`."""

    name: ClassVar[str] = "min_lstm"
    parts: ClassVar[int] = 3

    def coefficients(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and (1 - f) * g."""
        p_i, p_f, p_g = p.chunk(3, -1)
        δ = keeping_argument(p_i, p_f)
        return δ.sigmoid(), δ.neg().sigmoid() * self.g(p_g)

    def coefficients_adjoint(self, p: Tensor, da: Tensor, db: Tensor, out: Tensor) -> None:
        """Write dp_i, dp_f and dp_g."""
        p_i, p_f, p_g = p.chunk(3, -1)
        dp_i, dp_f, dp_g = out.chunk(3, -1)
        δ = keeping_argument(p_i, p_f)
        f, i = δ.sigmoid(), δ.neg().sigmoid()
        dδ = (da - self.g(p_g) * db) * f * i
        torch.mul(p_f.neg().sigmoid(), dδ, out=dp_f)
        torch.mul(p_i.neg().sigmoid(), dδ.neg(), out=dp_i)
        torch.mul(i * self.slope(p_g), db, out=dp_g)
