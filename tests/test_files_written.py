import os
import stat

import pytest

from throughtime._errors import SettingError
from throughtime._files import check_writable, write_atomically


def test_text_and_bytes_arrive_whole_and_nothing_is_left_beside(tmp_path):
    write_atomically(tmp_path / "a.txt", "Zürich")
    write_atomically(tmp_path / "b.bin", b"\x00\x01")
    assert (tmp_path / "a.txt").read_bytes() == "Zürich".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\x01"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_beside(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SettingError, match="No space left on device"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "new", "")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "old").write_text("")
    (tmp_path / "old").chmod(0o600)
    write_atomically(tmp_path / "old", "x")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_written_through(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize(
    ("place", "said"), [("missing/a.csv", "there is no folder"), (".", "it is a folder")]
)
def test_places_that_cannot_be_written_are_refused_in_advance(tmp_path, place, said):
    with pytest.raises(SettingError, match=said):
        check_writable(tmp_path / place)


def test_checking_a_place_leaves_no_trace(tmp_path):
    check_writable(tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
