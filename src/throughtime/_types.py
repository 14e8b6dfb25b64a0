"""The letters of the axes, for names such as `gates_TBG`, and the names that settings may take.

T time    B batch    I input    H hidden    G gates (a multiple of H)    P projection
O output  L layer    Q quantile or parameter of a distribution          E member of an ensemble
"""

from __future__ import annotations

from typing import Literal

CellName = Literal["rnn", "lstm", "gru"]
