"""How a net says what comes: one architecture a file, each with the layout of what it learns from.

direct      all h steps at once, from the newest state
es          all at once, beyond an exponential smoothing of every series
segment     all at once, by a step of the recurrence for each of their segments
seq2seq     a second net writes them one after the other, from the newest state
synced      all h steps at once, from the state of every step
recursive   one step ahead from the state of every step, fed with paths that it draws
ar          as recursive, from what was a season ago, too, and from the calendar

They have in common what `architecture` says, those that say all steps at once `at_once`, too;
`reversible` is a scale that is learned with any of them.
"""

from __future__ import annotations

from throughtime.forecasting.architectures.ar import Ar
from throughtime.forecasting.architectures.architecture import Architecture as Architecture
from throughtime.forecasting.architectures.at_once import AtOnce
from throughtime.forecasting.architectures.direct import Direct
from throughtime.forecasting.architectures.es import ES
from throughtime.forecasting.architectures.recursive import Recursive
from throughtime.forecasting.architectures.segment import Segment
from throughtime.forecasting.architectures.seq2seq import Seq2Seq
from throughtime.forecasting.architectures.synced import Synced

ARCHITECTURES: dict[str, type[Architecture]] = {
    "ar": Ar,
    "direct": Direct,
    "es": ES,
    "recursive": Recursive,
    "segment": Segment,
    "seq2seq": Seq2Seq,
    "synced": Synced,
}

DRAWS = tuple(name for name, kind in ARCHITECTURES.items() if kind.any_horizon)  # paths
AT_ONCE = tuple(name for name, kind in ARCHITECTURES.items() if issubclass(kind, AtOnce))
