"""The carried series: its published facts, three kinds of table, a missing library."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import throughtime as tt
from throughtime.datasets.carried import Backend


@pytest.mark.parametrize("backend", ["pyarrow", "pandas", "polars"])
def test_sunspots_have_their_known_facts(backend: Backend) -> None:
    table = tt.datasets.sunspots(backend)
    assert type(table).__module__.split(".")[0] == backend
    columns: dict[str, list[Any]] = {
        name: table[name].to_pylist() if backend == "pyarrow" else table[name].to_list()
        for name in ("unique_id", "ds", "y")
    }
    assert set(columns["unique_id"]) == {"sunspots"}
    assert columns["ds"] == list(range(1700, 2009))
    assert max(zip(columns["y"], columns["ds"], strict=True)) == (190.2, 1957)
    assert sum(columns["y"]) == pytest.approx(15373.4)


def test_a_missing_library_comes_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(tt.MissingExtraError, match="pip install polars"):
        tt.datasets.sunspots("polars")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(tt.SettingError, match="backend"):
        tt.datasets.sunspots("excel")  # type: ignore[arg-type]
