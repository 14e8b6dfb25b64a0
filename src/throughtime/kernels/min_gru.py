"""The minGRU: a GRU whose gate and candidate do not read the state, so that it is a linear scan.

Forward      p_t = W x_t + b                    blocks z n
             z = σ(p_z)      n = g(p_n)         h_t = (1 - z) * h_{t-1} + z * n

Adjoint      dz = (n - h_{t-1}) * dh_t          dp_z = dz * z(1 - z)        dp_n = g'(p_n) * z * dh_t
             dh_{t-1} = e_{t-1} + (1 - z) * dh_t
             dW = Σ dp_t x_t'      db = Σ dp_t      dx_t = W' dp_t

g is the identity, or the paper's positive function: `minimal` has both.

Feng, L., Tung, F., Ahmed, M. O., Bengio, Y. and Hajimirsadeghi, H. (2024), Were RNNs all we needed?,
section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.kernels.compiled_scan import fastest_scan
from throughtime.kernels.kernel import Kernel
from throughtime.kernels.minimal import Candidate, Minimal
from throughtime.kernels.recurrence import run
from throughtime.kernels.regularised import Zoneout, given
from throughtime.kernels.tap import AdjointTap


def min_gru(
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
    """Run the minGRU over time; the equations are at the top of this module.

    `x` [T, B, I] (or packed, with the batch sizes as `mask`), `h_0` [B, H], `W` [2H, I], `b` [2H];
    with members, x [T, E, B, I], h_0 [E, B, H], and W, b with a leading axis E. Everything else is as
    in `gru`. Returns h_t for all t [T, B, H], and the last. Raises SettingError for T = 0 and another
    candidate.

    >>> x, W = torch.ones(3, 1, 1), torch.tensor([[0.0], [8.0]])  # z = 1/2, n = 8
    >>> h, h_n = min_gru(x, torch.zeros(1, 1), W, None)
    >>> h.flatten()
    tensor([4., 6., 7.])
    """
    kernel = min_gru_kernel(W, candidate, state_grad_clip)
    extra = given(x, mask, (h_0,), W, None, (zoneout,))
    h_TBH, h_n = run(kernel, tap, mask, reverse, x, h_0, W, b, *extra)
    return h_TBH, h_n


def min_gru_kernel(W: Tensor, candidate: Candidate = "linear", clip: float = 0.0) -> Kernel:
    """Return the fastest kernel there is for weights like W."""
    return fastest_scan(MinGRU(clip, candidate), W)


@dataclass(frozen=True)
class MinGRU(Minimal):
    """The minGRU as a `Kernel`."""

    name: ClassVar[str] = "min_gru"
    parts: ClassVar[int] = 2

    def coefficients(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 - z and z * n."""
        p_z, p_n = p.chunk(2, -1)
        return p_z.neg().sigmoid(), p_z.sigmoid() * self.g(p_n)

    def coefficients_adjoint(self, p: Tensor, da: Tensor, db: Tensor, out: Tensor) -> None:
        """Write dp_z and dp_n."""
        p_z, p_n = p.chunk(2, -1)
        dp_z, dp_n = out.chunk(2, -1)
        z = p_z.sigmoid()
        torch.mul(self.g(p_n) * db - da, z * (1.0 - z), out=dp_z)
        torch.mul(z * self.slope(p_n), db, out=dp_n)
