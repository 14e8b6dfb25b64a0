import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from throughtime import ModelFileError, SettingError
from throughtime._archive import Format, Snapshot, read, write

FORMAT = Format("throughtime test", 3, "a test archive", "write it again")


def snapshot():
    whole = Snapshot({"empty": torch.zeros(0, 3), "number": torch.tensor(2.5)}, {"n": [1, None]})
    flags = torch.tensor([[True, False]])
    whole.include("part", Snapshot({"flags": flags, "y": torch.arange(3.0).double()}, {"é": "ü"}))
    return whole


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "a.safetensors", FORMAT, snapshot())
    return tmp_path / "a.safetensors"


def test_what_is_written_is_read(path):
    found, expected = read(path, FORMAT), snapshot()
    assert found.facts == expected.facts
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    assert found.part("part").facts == {"é": "ü"}
    assert found.part("part").tensors.keys() == {"flags", "y"}


@pytest.mark.parametrize("bits", [0x01, 0xFF])
def test_no_byte_can_change_unseen(path, bits):
    sound = path.read_bytes()
    for i in range(len(sound)):
        path.write_bytes(sound[:i] + bytes([sound[i] ^ bits]) + sound[i + 1 :])
        with pytest.raises(ModelFileError) as caught:
            read(path, FORMAT)
        assert "\n" not in str(caught.value)


def test_no_byte_can_be_missing(path):
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(
            ModelFileError, match="a test archive, found one that is cut off: write"
        ):
            read(path, FORMAT)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


FOREIGN = {
    "text": lambda file, _: file.write_text("unique_id,ds,y\n"),
    "empty": lambda file, _: file.write_bytes(b""),
    "pickle": lambda file, trace: file.write_bytes(pickle.dumps(Bomb(trace))),
    "torch": lambda file, trace: torch.save(Bomb(trace), file),
    "numpy": lambda file, trace: np.save(
        file.open("wb"), np.array([Bomb(trace)], dtype=object), allow_pickle=True
    ),
    "safetensors": lambda file, _: save_file({"x": torch.zeros(2)}, file),
    "another format": lambda file, _: save_file(
        {"x": torch.zeros(2)}, file, {"format": "throughtime other 1"}
    ),
    "a folder": lambda file, _: file.mkdir(),
    "missing": lambda file, _: None,
}
FOUND = {
    "text": "another kind of file",
    "pickle": "another kind of file",
    "a folder": "a folder",
    "missing": "no such file",
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_in_a_sentence_and_runs_no_code(tmp_path, kind):
    file, trace = tmp_path / "model.safetensors", tmp_path / "trace"
    FOREIGN[kind](file, trace)
    with pytest.raises(ModelFileError, match="a test archive") as caught:
        read(file, FORMAT)
    if kind in FOUND:
        assert f"found {FOUND[kind]}: write it again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_an_older_version_is_read_and_a_newer_one_refused(path):
    later = Format("throughtime test", 4, "a test archive", "write it again")
    assert read(path, later).facts == snapshot().facts
    write(path, later, snapshot())
    with pytest.raises(ModelFileError, match=r"version 3 or older .* version 4: upgrade"):
        read(path, FORMAT)


def test_where_it_cannot_be_written_it_says_so(tmp_path):
    with pytest.raises(SettingError, match="can be written"):
        write(tmp_path / "missing" / "a.safetensors", FORMAT, snapshot())


def test_a_view_is_written_alone(tmp_path):
    large = torch.zeros(100_000)
    write(tmp_path / "a", FORMAT, Snapshot({"x": large[:2], "again": large[1:3]}))
    assert (tmp_path / "a").stat().st_size < 1000
