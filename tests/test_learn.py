"""The pages that teach print what they say they print, and their pictures show it."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

import pytest

LEARN = Path(__file__).parents[1] / "docs" / "learn"
IMAGES = LEARN.parent / "images"
NUMBER = re.compile(r"#[0-9a-f]{6}|-?\d+\.?\d*")


@cache
def pictures():
    sys.path.insert(0, str(LEARN))
    try:
        spec = importlib.util.spec_from_file_location("pictures", LEARN / "pictures.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(LEARN))
    return module


PAGES = sorted(page.name for page in LEARN.glob("*.md") if page.name != "README.md")


@cache
def ran(page):
    source = (LEARN / page).read_text(encoding="utf-8")
    return source, *pictures().run(source)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_its_code_prints(page):
    source, printed, _ = ran(page)
    assert "```text" in source
    assert printed == source


@pytest.mark.parametrize("picture", sorted(path.name for path in IMAGES.glob("learn-*.svg")))
def test_a_picture_shows_what_its_page_computed(picture):
    page, draw = pictures().PICTURES[picture]
    assert f"../images/{picture}" in (LEARN / page).read_text(encoding="utf-8")
    drawn = draw(ran(page)[2])
    committed = (IMAGES / picture).read_text(encoding="utf-8")
    assert NUMBER.sub("", drawn) == NUMBER.sub("", committed)
    for found, expected in zip(NUMBER.findall(drawn), NUMBER.findall(committed), strict=True):
        if not found.startswith(
            "#"
        ):  # places may differ in the last digit from one processor to another
            assert float(found) == pytest.approx(float(expected), abs=0.11)


def test_every_page_and_picture_is_among_them():
    assert {page for page, _ in pictures().PICTURES.values()} == set(PAGES)
    assert set(pictures().PICTURES) == {path.name for path in IMAGES.glob("learn-*.svg")}
    listed = (LEARN / "README.md").read_text(encoding="utf-8")
    assert all(f"({page})" in listed for page in PAGES)


def test_the_claims_of_the_pages_hold():
    profiles = ran("vanishing.md")[2]["profiles"]
    assert profiles[0.5].norms[10] < 1e-3
    assert all(0.9 < norm < 1.1 for norm in profiles[1.2].norms[:40])
    assert profiles[4.0].norms[40] > 1e6

    names = ran("spectral-radius.md")[2]
    assert max(names["profile_of_U"].norms) > 15  # where the spectral radius is 0.9
    assert [round(level.norms[20], 1) for level, _ in names["levels"].values()] == [0.9, 0.3, 0.0]

    memory = {name: profile.memory for name, profile in ran("gates.md")[2]["profiles"].items()}
    assert max(memory[name] for name in ("RNN", "GRU", "LSTM", "LSTM, forget bias 0")) <= 10
    assert 15 < memory["LSTM, forget bias 1"] < 30 < 100 < memory["LSTM, forget bias 3"]
    assert memory["GRU, chrono 200"] is memory["LSTM, chrono 200"] is None
