"""Whatever a table holds: a panel that a slow, obvious reading agrees with, or one clear error."""

from __future__ import annotations

import re
from typing import Any

import narwhals as nw
import numpy as np
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tables import (
    DEFECTS,
    KINDS,
    NUMBERS,
    Draft,
    any_tables,
    cells_by_key,
    clean_tables,
    value_of,
)

from throughtime._errors import ThroughtimeError
from throughtime.forecasting import Panel, read_frame
from throughtime.forecasting.series.covariates import future_frame, need_future, with_future

ONE_SENTENCE = re.compile(r"Expected [^\n]+, found [^\n]+: [^\n]+\.")
COVARIATES = ("temperature", "holiday")
OFTEN = settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def panel_or_error(read: Any) -> Panel | ThroughtimeError:
    try:
        return read()
    except ThroughtimeError as error:
        said = error
    assert ONE_SENTENCE.fullmatch(str(said)), str(said)
    return said


def check(draft: Draft, panel: Panel | ThroughtimeError, names: tuple[str, ...]) -> None:
    if isinstance(panel, ThroughtimeError):
        event("refused")
        assert not draft.sound, panel
        return
    event("read")
    agree(draft, panel, names)


def agree(draft: Draft, panel: Panel, names: tuple[str, ...]) -> None:
    """Every row of the table is at its date in the panel, and nothing else is there."""
    wanted = cells_by_key(draft, panel, names)
    M, known_ahead = len(panel.targets), len(panel.targets) + len(panel.hist)
    assert set(panel.ids) == {name for name, _ in wanted}
    for i, name in enumerate(panel.ids):
        rows = {ds: cells for (series, ds), cells in wanted.items() if series == name}
        observed = [ds for ds, cells in rows.items() if not np.isnan(cells[:M]).all()]
        n, ahead = int(panel.lengths[i]), int(panel.room[i])
        stamps = panel.frequency.at(panel.starts[i], np.arange(n + ahead))
        assert stamps[0] == min(observed)
        assert set(rows) <= set(stamps.tolist() if stamps.dtype.kind == "i" else stamps) | {
            ds for ds in rows if ds < min(observed) or (panel.futr and ds > max(observed))
        }
        assert max(observed) <= stamps[n - 1]
        for k, ds in enumerate(stamps):
            cells = np.array(
                rows.get(int(ds) if stamps.dtype.kind == "i" else ds, [np.nan] * len(names))
            )
            held = panel.values[:, panel.begins[i] + k]
            channels = range(len(names)) if k < n else range(known_ahead, len(names))
            for c in channels:
                np.testing.assert_array_equal(held[c], cells[c].astype(held.dtype))
    out = future_frame(panel, 2)
    assert len(out) == 2 * len(panel.ids)


@OFTEN
@given(any_tables())
def test_one_target(draft: Draft) -> None:
    table = draft.table()
    check(draft, panel_or_error(lambda: read_frame(table, draft.freq)), ("y",))


@OFTEN
@given(any_tables(COVARIATES))
def test_several_targets_and_covariates(draft: Draft) -> None:
    table = draft.table()
    names = ("y", *COVARIATES)
    roles: list[dict[str, Any]] = [
        {"target": names},
        {"hist": COVARIATES},
        {"futr": COVARIATES},
        {"hist": names[1], "futr": names[2]},
    ]
    for given_roles in roles:
        made = panel_or_error(lambda: read_frame(table, draft.freq, **given_roles))  # noqa: B023
        check(draft, made, names)


@st.composite
def futures(draw: st.DrawFn) -> tuple[Panel, Draft, int]:
    """Draw a panel, the draft of a table of what is known ahead of it, and the horizon."""
    h = draw(st.integers(1, 4))
    draft = draw(clean_tables(COVARIATES))
    panel = read_frame(draft.table(), draft.freq, hist=COVARIATES[0], futr=COVARIATES[1])
    ahead = nw.from_native(future_frame(panel, h), eager_only=True)
    columns = {name: ahead[name].to_list() for name in ahead.columns}
    n = len(ahead)
    columns["holiday"] = draw(st.lists(NUMBERS, min_size=n, max_size=n))
    kind = draw(st.sampled_from(KINDS))
    future = Draft(columns, draft.freq, kind)
    others = draw(st.sampled_from(["none", "history", "another series"]))
    if others == "history":  # rows of other dates are left out
        names = draft.columns.get("unique_id", ["series"] * len(draft))
        for i, y in enumerate(draft.columns["y"]):
            if not np.isnan(value_of(y)):
                for name, cell in zip(
                    columns, (names[i], draft.columns["ds"][i], 0.5), strict=True
                ):
                    columns[name].append(cell)
    if others == "another series":
        for name in columns:
            columns[name].append(columns[name][0])
        columns["unique_id"][-1] = "stranger" if isinstance(panel.ids[0], str) else 2**41
    for defect in draw(st.lists(st.sampled_from(list(DEFECTS)), max_size=2)):
        if len(future):
            future = DEFECTS[defect](future, draw)
    if draw(st.booleans()):
        future = future.rows(draw(st.permutations(range(len(future)))))
    return panel, future, h


@OFTEN
@given(futures(), st.sampled_from([None, 1, 3]))
def test_what_is_known_ahead(drawn: tuple[Panel, Draft, int], keep: int | None) -> None:
    panel, future, h = drawn
    table = future.table()
    made = panel_or_error(lambda: with_future(panel, table, h, keep=keep))
    if isinstance(made, ThroughtimeError):
        event("refused")
        assert not future.sound, made
        return
    event("read")
    need_future(made, h)
    assert (made.ids, made.frequency) == (panel.ids, panel.frequency)
    names, ds = panel.future(h)
    stamps = ds.tolist() if ds.dtype.kind == "i" else list(ds)
    keys = list(zip(names, stamps, strict=True))
    wanted = cells_by_key(future, panel, ("holiday",), only=set(keys))
    ends = made.begins + made.lengths
    ahead = made.values[:, ends[:, None] + np.arange(h)]
    assert np.isnan(ahead[:2]).all()
    for key, cell in zip(keys, ahead[2].ravel(), strict=True):
        assert [cell] == wanted[key]
    for i in range(len(panel.ids)):
        kept = int(made.lengths[i])
        assert kept == min(panel.lengths[i], keep or panel.lengths[i])
        before = panel.values[:, panel.begins[i] : panel.begins[i] + panel.lengths[i]]
        np.testing.assert_array_equal(made.values[:, ends[i] - kept : ends[i]], before[:, -kept:])
        assert made.ds(i)[-1] == panel.ds(i)[-1]
