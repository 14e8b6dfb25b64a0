"""Whatever a table holds: a panel that a slow, obvious reading agrees with, or one clear error."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, event, given, settings
from tables import Draft, any_tables, cells_by_key

from throughtime._errors import ThroughtimeError
from throughtime.forecasting import Panel, read_frame

ONE_SENTENCE = re.compile(r"Expected [^\n]+, found [^\n]+: [^\n]+\.")
COVARIATES = ("temperature", "holiday")
OFTEN = settings(
    max_examples=300,
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
    out = panel.like(dict(zip(("unique_id", "ds"), panel.future(2), strict=True)))
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
