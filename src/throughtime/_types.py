"""The letters of the axes, for names such as `gates_TBG`, and the names that settings may take.

T time    B batch    I input    H hidden    G gates (a multiple of H)    P projection
O output  L layer    Q quantile or parameter of a distribution          E member of an ensemble
"""

from __future__ import annotations

from typing import Literal, get_args

CellName = Literal["rnn", "lstm", "gru", "mingru", "minlstm"]
CELLS: tuple[CellName, ...] = get_args(CellName)


def model_name(cell: str) -> str:
    """Return what a recurrence is called, in tables and in sentences.

    >>> model_name("lstm"), model_name("mingru")
    ('LSTM', 'MinGRU')
    """
    return cell.upper().replace("MIN", "Min")
