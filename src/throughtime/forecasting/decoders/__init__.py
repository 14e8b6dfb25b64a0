"""How a net says what comes: one decoder a file, each with the layout of what it learns from.

direct      all h steps at once, from the newest state
es          as direct, beside a level and seasonal indices of every series that are smoothed
seq2seq     a second net writes them one after the other, from the newest state
synced      all h steps at once, from the state of every step
recursive   one step ahead from the state of every step, fed with paths that it draws
"""

from __future__ import annotations

from throughtime.forecasting.decoders.decoder import Decoder as Decoder
from throughtime.forecasting.decoders.direct import Direct
from throughtime.forecasting.decoders.es import ES
from throughtime.forecasting.decoders.recursive import Recursive
from throughtime.forecasting.decoders.seq2seq import Seq2Seq
from throughtime.forecasting.decoders.synced import Synced

DECODERS: dict[str, type[Decoder]] = {
    "direct": Direct,
    "es": ES,
    "recursive": Recursive,
    "seq2seq": Seq2Seq,
    "synced": Synced,
}
