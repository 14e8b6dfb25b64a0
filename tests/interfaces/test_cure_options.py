"""The cures on the command line: what it accepts is what a net can be made of, and needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from throughtime import SettingError
from throughtime.forecasting.settings.cures import OF_THE_NET
from throughtime.interfaces import tasks
from throughtime.interfaces.options import CELLS, INITS, Options
from throughtime.nn import Recurrence

NAMES = [*INITS, "chronos", ""]
ARGUMENTS = ["", ":", ":kept", ":2", ":1.9", ":132", ":0", ":-1", ":1e3", ":nan", ":inf", ":x"]
ONE = st.builds(str.__add__, st.sampled_from(NAMES), st.sampled_from(ARGUMENTS))


@given(
    init=st.none() | st.lists(ONE, min_size=1, max_size=2).map(",".join),
    cell=st.sampled_from(CELLS),
    nonlinearity=st.sampled_from([None, "tanh", "relu", "sine"]),
    zoneout=st.sampled_from([0.0, 0.1, 1.0]),
    recurrent_dropout=st.sampled_from([0.0, 0.1, -0.1]),
    layer_norm=st.booleans(),
)
@example("chrono:132", "lstm", None, 0.1, 0.1, True)
@example("identity", "rnn", None, 0.0, 0.0, False)
def test_the_command_line_accepts_what_a_net_can_be_made_of(
    init, cell, nonlinearity, zoneout, recurrent_dropout, layer_norm
):
    given = {
        "init": init,
        "nonlinearity": nonlinearity,
        "zoneout": zoneout,
        "recurrent_dropout": recurrent_dropout,
        "layer_norm": layer_norm,
    }
    try:
        expected = Recurrence(cell, 2, **given)
    except SettingError:
        with pytest.raises(SettingError, match="--"):
            Options("x.csv", 1, cell=cell, **given)
        return
    cures = Options("x.csv", 1, cell=cell, **given).cures
    assert Recurrence(cell, 2, **cures) == expected


def test_the_options_are_arguments_of_the_forecaster():
    options = Options(
        *("x.csv", 3),
        init="orthogonal:kept",
        clip=0.25,
        preprogram="linear",
        zoneout=0.1,
        recurrent_dropout=0.2,
        layer_norm=True,
    )
    given = tasks.new_forecaster(options, 8)._given.design
    assert str(given["init"]) == "(orthogonal(kept=True),)"
    assert given["training"].clip.norm == 0.25
    assert (given["preprogram"], given["layer_norm"]) == ("linear", True)
    assert (given["zoneout"], given["recurrent_dropout"]) == (0.1, 0.2)
    relu = Options("x.csv", 3, cell="rnn", nonlinearity="relu")
    assert tasks.new_forecaster(relu, 8)._given.design["nonlinearity"] == "relu"
    plain = tasks.new_forecaster(Options("x.csv", 3), 8)._given.design
    assert not any(plain[name] for name in OF_THE_NET)
    assert plain["training"].clip.norm == 1
    assert plain["preprogram"] is None


WRONG = {
    "--init chrono": "--init to be orthogonal, orthogonal:kept",
    "--init chrono:1": "--init chrono to be a number at least 2",
    "--init chrono:9 --cell rnn": "--cell mingru with --init chrono, found --cell rnn",
    "--init identity --cell rnn --nonlinearity tanh": "leave it out",
    "--clip 0": "--clip to be a number above 0",
    "--clip x": "'x' is no number",
    "--zoneout 1": "--zoneout",
    "--recurrent-dropout -1": "--recurrent-dropout",
    "--preprogram arima": "--preprogram to be one of 'linear', 'seasonal', found 'arima'",
    "--nonlinearity relu": "--cell rnn with --nonlinearity, found --cell lstm",
    "--layer-norm --cell gru": "--cell lstm with --layer-norm",
}


def test_mistakes_are_one_sentence_and_need_no_torch():
    script = (
        "import sys; from throughtime.interfaces.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    assert main(['forecast', 'x.csv', '--h', '2', *line.split()]) == 2\n"
        "assert not {'torch', 'numpy', 'pyarrow'} & {*sys.modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *WRONG], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for sentence, said in zip(done.stderr.splitlines(), WRONG.values(), strict=True):
        assert sentence.startswith("throughtime: error: ")
        assert said in sentence
