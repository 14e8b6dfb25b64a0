"""What the minGRU and the minLSTM share: g, which makes the candidate of p_n = W_n x_t + b_n.

    candidate="linear"        g(p) = p                                    g'(p) = 1
    candidate="positive"      g(p) = p + 1/2 where p >= 0, else σ(p)      g'(p) = 1, or σ(p) σ(-p)

The paper needs positive numbers because it scans logarithms, and h_0 > 0 with them. Here h_t is a mean
of h_{t-1} and g(p_n) with weights in [0, 1], and the scan of `linear_scan` adds and multiplies such
numbers alone: both are stable as they stand, for any h_0. So linear, which can say less than nothing
and has a gradient everywhere, is the default.

Feng, L., Tung, F., Ahmed, M. O., Bengio, Y. and Hajimirsadeghi, H. (2024), Were RNNs all we needed?; g
is in its appendix on the log-space scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from throughtime._checks import one_of
from throughtime.kernels.linear_scan import LinearRecurrence

Candidate = Literal["linear", "positive"]
CANDIDATES = "linear", "positive"


@dataclass(frozen=True)
class Minimal(LinearRecurrence):
    """A `LinearRecurrence` whose state is a mean of the state before and a candidate.

    Raises SettingError for an unknown candidate.
    """

    candidate: Candidate = "linear"
    name: ClassVar[str]

    def __post_init__(self) -> None:
        one_of("candidate", self.candidate, CANDIDATES)

    @property
    def operator(self) -> str:
        """Return the name, with "_positive" behind it where the candidate is."""
        return self.name if self.candidate == "linear" else f"{self.name}_positive"

    def g(self, p: Tensor) -> Tensor:
        """Return g(p)."""
        return p if self.candidate == "linear" else torch.where(p >= 0, p + 0.5, p.sigmoid())

    def slope(self, p: Tensor) -> Tensor | float:
        """Return g'(p)."""
        if self.candidate == "linear":
            return 1.0
        s = p.sigmoid()
        return torch.where(p >= 0, 1.0, s * (1.0 - s))
