"""The door of the package: every public name opens, and opening it costs no more than it must."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest

import throughtime as tt

FLOORS = ("diagnostics", "forecasting", "kernels", "nn", "training", "datasets")


@pytest.mark.parametrize("name", tt.__all__)
def test_every_public_name_opens(name: str) -> None:
    assert getattr(tt, name) is not None


@pytest.mark.parametrize("floor", FLOORS)
def test_every_public_name_of_a_floor_opens_and_is_documented(floor: str) -> None:
    room = getattr(tt, floor)
    assert room.__all__
    for name in room.__all__:
        value = getattr(room, name)
        assert value.__doc__ or not callable(value), f"{floor}.{name} has no docstring"


@pytest.mark.parametrize("room", ["", ".forecasting", ".datasets", ".interfaces"])
def test_type_checkers_see_every_lazy_name_as_exported(room: str) -> None:
    """Strict ones take `import X as X` for an export, and `import X` for a private matter."""
    package = importlib.import_module(f"throughtime{room}")
    tree = ast.parse(inspect.getsource(package))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    found = [
        name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for name in node.names
    ]
    assert sorted(name.name for name in found) == sorted(package.__all__)
    assert all(name.asname == name.name for name in found)


ROOMS = [name for _, name, is_room in pkgutil.iter_modules(tt.forecasting.__path__) if is_room]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_forecaster_says_what_its_files_are_for(room: str) -> None:
    package = importlib.import_module(f"throughtime.forecasting.{room}")
    files = {name for _, name, _ in pkgutil.iter_modules(package.__path__)}
    assert files <= set(re.findall(r"\w+", package.__doc__ or ""))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Forcaster'"):
        tt.Forcaster  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import throughtime",
        "import throughtime.interfaces.cli",
        "import throughtime.forecasting.series.frame",
        "import throughtime; throughtime.datasets.sunspots()",
    ],
)
def test_what_needs_no_torch_imports_none(statement: str) -> None:
    heavy = "[name for name in ('torch', 'pandas', 'plotly', 'polars') if name in sys.modules]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
