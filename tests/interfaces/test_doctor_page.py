"""The doctor's page says every finding, with its evidence and its cure, and lets no text become markup."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from test_report_page import NASTY, Page

from diagnosis_case import diagnosis
from throughtime.drawing.doctor import pictures
from throughtime.interfaces.doctor_page import CALM, Checkup, render_diagnosis


@pytest.fixture
def checkup():
    return Checkup(
        source="sunspots",
        diagnosis=diagnosis(),
        facts={"rows": "3,310"},
        version="0.1.0",
        command="throughtime diagnose sunspots",
    )


def test_every_finding_is_a_card_with_evidence_and_cure(checkup):
    page = Page(render_diagnosis(checkup))
    for finding in checkup.diagnosis["findings"]:
        assert finding["sentence"] in page.text
        assert all(name in page.text for name in finding["evidence"])
        assert all(cure["effect"] in page.text for cure in finding["cures"])
    assert "sunspots: how gradients travel through SequenceInput" in page.text
    assert "The doctor has 1 serious finding, 1 warning and 1 note." in page.text
    assert page.text.count("throughtime diagnose sunspots") == 1
    codes = [attrs for attrs in page.named("code") if attrs.get("class") == "copy"]
    assert len(codes) == 3
    assert "init=tt.nn.chrono(132)" in page.text


def test_the_worst_comes_first(checkup):
    backwards = checkup.diagnosis["findings"][::-1]
    page = Page(render_diagnosis(replace(checkup, diagnosis=diagnosis() | {"findings": backwards})))
    cards = [attrs["class"] for attrs in page.named("li") if "finding" in attrs.get("class", "")]
    assert cards == [f"finding {each}" for each in ("serious", "warning", "note", "fine")]


def test_every_picture_has_a_place_a_title_and_a_caption(checkup):
    page = Page(render_diagnosis(checkup))
    shown = pictures(checkup.diagnosis)
    assert list(page.figures) == [f"doctor-{picture.name}" for picture in shown]
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for picture in shown:
        assert {f"doctor-{picture.name}", f"doctor-{picture.name}-caption"} <= ids
        assert picture.title in page.text
        assert picture.caption in page.text
    assert not page.named("details")


def test_evidence_is_written_as_a_reader_writes_numbers(checkup):
    found = copy.deepcopy(checkup.diagnosis)
    found["findings"] = found["findings"][:1]
    found["findings"][0]["evidence"] = {
        "a": 0.000012345,
        "b": 12345,
        "c": None,
        "d": "top",
        "e": True,
    }
    text = Page(render_diagnosis(replace(checkup, diagnosis=found))).text
    for said in ("a 1.23e-05", "b 12,345", "c n/a", "d top", "e True"):
        assert said in text


def test_no_text_of_the_diagnosis_becomes_markup(checkup):
    found = copy.deepcopy(checkup.diagnosis) | {"model": NASTY, "step": NASTY}
    for layer in found["layers"]:
        layer["layer"] = NASTY
    for look in found["log"]["looks"]:
        look["profiles"] = {NASTY: look["profiles"]["layer.l0"]}
    for finding in found["findings"]:
        finding |= {"topic": NASTY, "sentence": NASTY, "evidence": {NASTY: NASTY}}
        finding["cures"] = [{"argument": NASTY, "effect": NASTY}]
    nasty = replace(
        checkup,
        source=NASTY,
        diagnosis=found,
        facts={NASTY: NASTY},
        version=NASTY,
        command=NASTY,
        notes=[NASTY],
    )
    text = render_diagnosis(nasty)
    page = Page(text)
    assert len(page.named("script")) == 3
    assert len(page.named("b")) == 0
    assert page.text.count("alert") >= 4 * 6 + 6
    figures = text.split('id="figures">')[1].split("</script>")[0]
    assert "<" not in figures


def test_nothing_found_and_nothing_measured_is_a_page_too(checkup):
    page = Page(render_diagnosis(replace(checkup, diagnosis={"findings": []}, command="")))
    assert CALM in page.text
    assert page.figures == {}
    assert not page.named("section")


def test_the_page_asks_no_network(checkup):
    page = Page(render_diagnosis(checkup))
    for tag, attrs in page.tags:
        assert not {"src", "href", "srcset", "action"} & set(attrs), tag
