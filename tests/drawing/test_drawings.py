"""Figures hold what they were given, say what they show, and leave out what was not measured."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import subprocess
import sys

import pytest

from diagnosis_case import diagnosis, layer, log, need
from throughtime import drawing
from throughtime._errors import MissingExtraError
from throughtime.drawing import doctor, theme
from throughtime.drawing.heat import COLDEST, MOST_COLUMNS, MOST_ROWS
from throughtime.drawing.panels import together
from throughtime.drawing.updates import clipping


def named(figure):
    return {trace.name: trace for trace in figure.data}


def words(figure):
    return [note.text for note in figure.layout.annotations]


def heat(norms):
    """A log of these norms, each row from the newest step backwards."""
    looks = [{"index": k, "profiles": {"l0": row[::-1]}} for k, row in enumerate(norms)]
    return {"looks": looks}


def test_the_heat_map_is_the_logarithm_with_the_newest_at_the_right():
    figure = drawing.heat_map(heat([[1, 0.1, 0.001], [1, 0.5, 0.0]]), step="month")
    cells, memory = figure.data
    assert list(cells.z) == [[0, -1, -3], [0, pytest.approx(math.log10(0.5), abs=1e-3), COLDEST]]
    assert (cells.x, cells.y) == ((0, 1, 2), (1, 2))
    assert (cells.zmin, cells.zmax) == (COLDEST, 0)
    right, left = figure.layout.xaxis.range
    assert right > left  # the axis runs from the past to lag 0
    assert figure.layout.xaxis.title.text == "months before the newest"
    assert figure.layout.yaxis.title.text == "update"
    assert (memory.x, memory.y) == ((2, 2), (1, 2))
    assert "1 % at 2 months" in words(figure)


def test_what_was_not_measured_is_a_hole_and_no_zero():
    cells = drawing.heat_map(heat([[2, None, math.nan], [4, 2], [0, 1, 1]])).data[0]
    half = pytest.approx(math.log10(0.5), abs=1e-3)
    assert list(cells.z) == [[0, None, None], [0, half, None], [None, None, None]]


@pytest.mark.parametrize("largest", [1e3, 1e30, math.inf])
def test_a_growing_gradient_gets_colours_of_its_own(largest):
    calm = drawing.heat_map(heat([[1, 0.5]])).data[0]
    cells = drawing.heat_map(heat([[1, largest]])).data[0]
    top = min(6, math.log10(largest)) if largest < math.inf else 6
    assert cells.zmax == top
    assert cells.z[0][1] == top
    below = [shade for at, shade in cells.colorscale if at <= 4 / (4 + top) + 1e-9]
    assert below == [shade for _, shade in calm.colorscale]
    assert cells.colorscale[-1][0] == 1
    assert cells.colorscale[-1][1] not in below


def test_the_cycle_is_marked_where_the_picture_reaches_it():
    norms = [[0.9**lag for lag in range(20)]]
    assert "cycle: 12" in words(drawing.heat_map(heat(norms), {"cycle": 12}))
    assert not any("cycle" in text for text in words(drawing.heat_map(heat(norms), {"cycle": 40})))


def test_a_long_training_is_thinned_from_end_to_end():
    norms = [[1.0] * 1001] * 999
    cells = drawing.heat_map(heat(norms)).data[0]
    assert (len(cells.y), len(cells.x)) == (MOST_ROWS, MOST_COLUMNS)
    assert (cells.y[0], cells.y[-1], cells.x[0], cells.x[-1]) == (1, 999, 0, 1000)


def test_several_layers_share_one_key():
    figure = drawing.heat_map(log())
    cells = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [trace.showscale for trace in cells] == [True, False]
    assert [trace.yaxis for trace in cells] == ["y", "y2"]
    assert {"<b>layer.l0</b>", "<b>layer.l1</b>"} <= set(words(figure))


def test_the_lag_profile_beside_the_need():
    layers = [layer("one", 0.9), layer("two", 0.95)]
    figure = drawing.lag_profile(layers, need(), "month")
    lines = named(figure)
    for each in layers:
        profile = each["lag_profile"]
        assert list(lines[each["layer"]].x) == profile["lags"]
        assert list(lines[each["layer"]].y) == profile["norms"]
    assert figure.layout.yaxis.type == "log"
    assert "the data's cycle: 132" in words(figure)
    ticks = [shape.x0 for shape in figure.layout.shapes if shape.y1 == 0.035]
    assert ticks == [1, 2, 9]
    assert figure.layout.xaxis.range[1] > 132  # although the net ends at 120
    [limit] = [shape for shape in figure.layout.shapes if shape.xref == "x domain"]
    assert limit.y0 == 0.01


def test_one_layer_says_its_memory():
    one = layer("one", 0.9)
    assert f"memory: {one['lag_profile']['memory']} steps" in words(drawing.lag_profile([one]))


def test_the_lyapunov_spectrum_its_error_and_its_verdict():
    one = layer("one", 0.9)
    [line] = drawing.lyapunov([one]).data
    assert line.y[0] == one["lyapunov"]["exponents"][0]
    assert line.y[-1] is None
    assert line.error_y.array[:2] == (0.02, 0)
    assert line.name == "one: contracting"


def test_singular_values_over_time_and_over_the_lag():
    one = layer("one", 0.9)
    found, lines = one["jacobians"], named(drawing.singular_values([one]))
    for name, key in (
        ("largest", "largest"),
        ("spectral radius", "radius"),
        ("smallest", "smallest"),
    ):
        assert list(lines[name].y) == found[key]
        assert list(lines[name].x) == found["steps"]
    many = named(drawing.long_jacobian([one]))
    assert list(many["largest"].x) == found["lags"]
    assert list(many["largest"].y) == found["log10_long_largest"]
    assert list(many["largest over smallest"].y) == found["log10_long_condition"]


def test_shares_of_a_gate_add_up_to_one():
    figure = drawing.gates([layer("one", 0.9)])
    low, free, high = (trace for trace in figure.data if trace.type == "bar")
    assert low.y == ("input", "forget", "candidate", "output", "shown cell")
    assert high.x[1] == 0.31
    for shares in zip(low.x, free.x, high.x, strict=True):
        assert sum(shares) == pytest.approx(1)
    [means] = [trace for trace in figure.data if trace.type == "scatter"]
    assert dict(zip(means.y, means.x, strict=True)) == {
        "input": 0.42,
        "forget": 0.71,
        "output": 0.38,
    }


def test_bias_measured_and_predicted():
    one = layer("one", 0.9)
    lines = named(drawing.truncation_bias([one], "month"))
    assert list(lines["bias"].x) == one["truncation_bias"]["lengths"]
    assert list(lines["bias"].y) == one["truncation_bias"]["bias"]
    assert list(lines["predicted"].y) == one["truncation_bias"]["predicted"]


def test_the_history_marks_what_was_clipped():
    found = log()
    figure = drawing.gradient_history(found)
    lines = named(figure)
    assert list(lines["gradient norm"].y) == found["norms"]
    assert list(lines["gradient norm"].x) == list(range(1, 201))
    fired = [k + 1 for k, was in zip(found["updates"], found["fired"], strict=True) if was]
    assert list(lines[f"clipped ({len(fired)})"].x) == fired
    assert (lines["explosion (1)"].x, lines["explosion (1)"].y) == ((37,), (found["norms"][36],))
    assert {"clipped above 1", "suggested: 1.8"} <= set(words(figure))
    assert set(lines["95 %"].y) == {found["quantiles"]["0.95"]}


def test_a_threshold_that_moves_is_a_line():
    found = log() | {"thresholds": [None, *(1 + k / 100 for k in range(199))]}
    assert list(named(drawing.gradient_history(found))["threshold"].y) == found["thresholds"]
    assert "clipped (crosses)" in clipping(found)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ({"norms": [1.0]}, "Gradients were not clipped."),
        ({"norms": [1.0], "fired": [False], "thresholds": [2.0]}, "No gradient was longer"),
        ({"norms": [1.0, 3.0], "fired": [False, True], "thresholds": [2.0, 2.0]}, "1 of 2 updates"),
        (
            {"norms": [3.0], "fired": [True], "thresholds": [None]},
            "1 of 1 update (100%) were clipped",
        ),
    ],
)
def test_what_clipping_did_in_words(log, said):
    assert said in clipping(log)


PARTS = ("lag_profile", "jacobians", "lyapunov", "gates", "truncation_bias")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("missing", [None, ...])
def test_a_part_that_is_missing_is_left_out(part, missing):
    found = diagnosis()
    whole = {picture.name for picture in doctor.pictures(found)}
    for each in found["layers"]:
        each[part] = None
        if missing is ...:
            del each[part]
    left = {picture.name for picture in doctor.pictures(found)}
    assert left < whole
    assert len(doctor.figure(found).data) > 0


def test_nothing_measured_is_an_empty_figure():
    for nothing in ({}, {"layers": [], "log": None, "need": None, "findings": []}):
        assert doctor.pictures(nothing) == ()
        assert doctor.figure(nothing).data == ()


def test_one_layer_may_lack_what_another_has():
    found = diagnosis()
    found["layers"][0]["gates"] = {"gates": {}}
    found["layers"][1]["lyapunov"] = None
    pictures = {picture.name: picture.figure for picture in doctor.pictures(found)}
    assert len(pictures["lyapunov"].data) == 1
    assert pictures["gates"].data[0].y[0] == "input"


def test_all_in_one_keeps_every_line_in_a_panel_of_its_own():
    found = diagnosis()
    before = copy.deepcopy(found)
    singles, whole = doctor.pictures(found), doctor.figure(found)
    assert found == before
    assert len(whole.data) == sum(len(picture.figure.data) for picture in singles)
    assert {f"<b>{p.title}</b>" for p in singles} <= {t.split("<br>")[0] for t in words(whole)}
    boxes = []
    for number in range(1, 10):
        x, y = (whole.layout[f"{a}axis{number if number > 1 else ''}"] for a in "xy")
        boxes.append((*x.domain, *y.domain))
        assert 0 <= y.domain[0] < y.domain[1] <= 1
    for k, one in enumerate(boxes):
        for other in boxes[:k]:
            apart_x = one[1] <= other[0] or other[1] <= one[0]
            assert apart_x or one[3] <= other[2] or other[3] <= one[2]


def test_marks_move_with_their_panel():
    marked, plain = theme.blank(), theme.blank()
    theme.mark(marked, 3, "here")
    figure = together([[("a", plain), ("b", marked)]])
    assert figure.layout.shapes[0].xref == "x2"
    [note] = [note for note in figure.layout.annotations if note.text == "here"]
    assert (note.xref, note.yref) == ("x2", "y2 domain")


def test_every_figure_is_plain_json():
    for picture in doctor.pictures(diagnosis()):
        text = json.dumps(picture.figure.to_plotly_json(), allow_nan=False)
        assert "paper" not in json.loads(text)["layout"].get("shapes", [])
        assert picture.caption.endswith(".")


def test_without_plotly_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(theme, "find_spec", lambda name: None)
    for draw in (lambda: doctor.figure(diagnosis()), lambda: drawing.heat_map(heat([[1.0]]))):
        with pytest.raises(MissingExtraError, match=r"pip install 'throughtime\[report\]'"):
            draw()


def test_the_floor_needs_neither_torch_nor_numpy_nor_plotly_to_open():
    heavy = [name for name in ("torch", "plotly", "numpy") if importlib.util.find_spec(name)]
    code = f"import sys, throughtime.drawing; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
