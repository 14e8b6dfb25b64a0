import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import polars
import pyarrow as pa
import pytest
from stand_in import StandIn, sunspots

from throughtime.drawing.doctor import pictures
from throughtime.interfaces.page import render
from throughtime.interfaces.report import Learning, ReportData, report_data

NASTY = "</script><script>alert('x')</script>&\"<b>"


@pytest.fixture(scope="module")
def data():
    forecaster = StandIn(11).fit(sunspots())
    facts, command = {"rows": "145"}, "throughtime forecast sunspots --h 11"
    return report_data(
        forecaster, forecaster.predict(), [80, 95], source="sunspots", command=command, facts=facts
    )


class Page(HTMLParser):
    """Tags with their attributes, the figures' data, and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.stack, self.scripts, self.words = [], [], [], []
        self.feed(text)
        self.figures = json.loads(next(s for s in self.scripts if s.startswith("{")))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.stack.append(tag)

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self.stack[-1] if self.stack else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside != "style":
            self.words.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_says_all_of_it(data):
    page = Page(render(data))
    for said in (
        "sunspots, 11 years ahead",
        "loses to linear autoregression",
        "At each of 8 rolling origins",
        "In 80%",
        "SeasonalNaive",
        "clipped to a norm of 1",
        "A pilot run of 300 updates",
        "lowest after update",
        "The final fit learnt from all rows in 300 updates",
        "training clip norm",
        "spans the season of 11 years",
        "throughtime forecast sunspots --h 11",
        "hidden size",
    ):
        assert said in page.text
    own, doctors = {"forecast", "backtest", "learning"}, set(page.figures)
    assert own < doctors
    assert {name.removeprefix("doctor-") for name in doctors - own} == {
        picture.name for picture in pictures(data.diagnosis)
    }


def test_the_page_asks_no_network(data):
    page = Page(render(data))
    for tag, attrs in page.tags:
        assert not {"src", "href", "data", "srcset", "action"} & set(attrs), tag
        assert tag not in ("link", "iframe", "img", "base", "object", "embed")
    style = re.search(r"<style>(.*?)</style>", render(data), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_is_accessible(data):
    page = Page(render(data))
    assert len(page.named("h1")) == 1
    assert len(page.named("h2")) == 9
    assert len(page.named("h3")) == 4
    assert page.named("html")[0]["lang"] == "en"
    assert len(page.named("figcaption")) == len(page.named("figure")) == 11
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for _, attrs in page.tags:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
    assert all("scope" in attrs for attrs in page.named("th"))


def test_no_text_of_the_user_becomes_markup(data):
    views = [replace(data.views[0], name=f"{NASTY}{k}") for k in range(2)]
    nasty = replace(
        data,
        source=NASTY,
        views=views,
        n_series=2,
        facts={NASTY: NASTY},
        notes=[NASTY],
        command=NASTY,
        settings={NASTY: NASTY},
        version=NASTY,
        learning=replace(data.learning, reason=NASTY),
    )
    page, calm = Page(render(nasty)), Page(render(replace(data, views=data.views * 2, n_series=2)))
    assert len(page.named("script")) == len(calm.named("script"))
    assert len(page.named("b")) == 0
    assert page.text.count("alert") >= 8


def test_names_of_models_cannot_end_the_script(data):
    text = render(replace(data, model="LSTM", scores=data.scores))
    figures = text.split('id="figures">')[1].split("</script>")[0]
    assert "<" not in figures
    assert ">" not in figures


def test_many_series_can_be_chosen_from():
    forecaster = StandIn(3, n_windows=2).fit(sunspots([f"s{k:02}" for k in range(23)]))
    page = Page(render(report_data(forecaster, forecaster.predict(), [80])))
    assert len(page.named("option")) == 20
    assert "first 20 of 23" in page.text
    assert len(page.figures["forecast"]) == len(page.figures["backtest"]) == 20
    tables = [attrs for attrs in page.named("details") if attrs["class"] == "of-series"]
    assert sum("hidden" not in attrs for attrs in tables) == 1


@pytest.mark.parametrize("kind", [lambda t: t, pa.Table.to_pandas, polars.from_arrow])
def test_any_kind_of_table_and_numbers_as_names_will_do(kind):
    forecaster = StandIn(3, n_windows=2).fit(kind(sunspots([3, 7])))
    data = report_data(forecaster, forecaster.predict(), [80])
    assert [view.name for view in data.views] == ["3", "7"]
    assert [len(view.forecast) for view in data.views] == [3, 3]
    assert '<option value="1">7</option>' in render(data)


def test_the_pilot_is_drawn_beside_the_final_fit(data):
    assert data.learning.validation == []
    assert data.learning.best_index is None
    [figure] = Page(render(data)).figures["learning"]
    lines = {trace["name"]: trace for trace in figure["data"]}
    assert lines["pilot: validation"]["x"] == data.pilot.validation_at
    assert lines["pilot: training"]["y"] == data.pilot.losses
    assert lines["final fit"]["y"] == data.learning.losses
    [best] = figure["layout"]["annotations"]
    assert best["x"] == data.pilot.best_index
    without = Page(render(replace(data, pilot=None)))
    assert "pilot" not in without.text


def test_nested_settings_are_one_list(data):
    assert list(data.settings)[-2:] == ["training clip norm", "training clip value"]
    page = render(data)
    assert "<td>none</td>" in page
    assert "{" not in page.split("Settings of the model")[1].split("</table>")[0]


def test_of_several_groups_the_page_shows_each():
    forecaster = StandIn(11).fit(sunspots())
    groups = [forecaster.settings | {"context_length": c} for c in (22, 44)]
    forecaster.settings |= {"context_length": 22, "weights": [0.4375, 0.5625], "groups": groups}
    data = report_data(forecaster, forecaster.predict(), [80])
    assert "hidden_size" in data.settings
    assert not {"context_length", "groups", "weights"} & set(data.settings)
    text = Page(render(data)).text
    assert "Group context length weight 1 22 0.4375 2 44 0.5625" in text
    assert "Settings of the model, that all groups share." in text
    assert "Of 2 groups of nets, the first: a pilot run of" in text


def test_one_group_is_no_group(data):
    assert data.groups == []
    assert "group" not in Page(render(data)).text


def test_the_figures_hold_the_numbers(data):
    figures = Page(render(data)).figures
    [forecast] = figures["forecast"]
    lines = {trace["name"]: trace for trace in forecast["data"]}
    assert lines["observed"]["x"][0] == 1700
    assert lines["LSTM"]["y"][1:] == pytest.approx(data.views[0].forecast)
    low, high = data.views[0].bands[95]
    assert lines["95% interval"]["y"] == pytest.approx([*high, *reversed(low)])
    [backtest] = figures["backtest"]
    tested = {trace["name"]: trace for trace in backtest["data"]}
    assert tested["LSTM"]["y"].count(None) == 7
    assert tested["LinearAR"]["visible"] is True
    assert tested["Naive"]["visible"] == "legendonly"
    [gradient] = figures["doctor-history"]
    assert gradient["layout"]["yaxis"]["type"] == "log"
    crosses = next(trace for trace in gradient["data"] if "clipped" in trace["name"])
    assert len(crosses["x"]) == sum(data.learning.clipped)
    assert min(crosses["y"]) > data.learning.threshold


def test_origins_that_overlap_are_thinned_and_said():
    forecaster = StandIn(4, n_windows=6).fit(sunspots())
    backtest = forecaster.backtest
    backtest.step_size = 2
    data = report_data(forecaster, forecaster.predict(), [80])
    cutoffs = [origin.cutoff for origin in data.views[0].origins]
    assert len(cutoffs) == 3
    assert cutoffs[-1] == max(backtest.table["cutoff"].to_pylist())
    assert "shows 3 of 6" in render(data)


def test_dates_and_gaps_pass_through():
    days = pa.array(range(19000, 19120), pa.int32()).cast(pa.date32()).cast(pa.timestamp("us"))
    y = [float(k % 7) for k in range(120)]
    y[50] = math.nan
    table = pa.table({"unique_id": ["a"] * 120, "ds": days, "y": y})
    forecaster = StandIn(5, n_windows=2, season_length=7).fit(table)
    data = report_data(forecaster, forecaster.predict(), [80])
    assert data.views[0].ds[0] == "2022-01-08"
    assert data.views[0].y[50] is None
    assert data.step == "day"
    assert "NaN" not in render(data).split('id="figures">')[1].split("</script>")[0]


def test_runs_without_validation_clipping_or_memory_are_drawn(data):
    plain = replace(
        data,
        learning=Learning([1.0, 0.5], [1.0, 0.0], [False, False], None),
        diagnosis={"log": {"updates": [0, 1], "norms": [1.0, 0.0], "thresholds": [None, None]}},
        scores=data.scores[:1],
        season_length=1,
        level=(),
        notes=(),
    )
    page = Page(render(plain))
    assert "Gradients were not clipped" in page.text
    assert "too short to compare" in page.text


def test_data_are_plain_and_frozen(data):
    assert isinstance(data, ReportData)
    with pytest.raises(AttributeError):
        data.h = 3
