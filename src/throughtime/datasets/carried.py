"""The tables that lie beside this file."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import Any, Literal

from pyarrow import csv

from throughtime._checks import one_of
from throughtime._errors import MissingExtraError

Backend = Literal["pyarrow", "pandas", "polars"]


def sunspots(backend: Backend = "pyarrow") -> Any:
    """Return the yearly mean sunspot numbers from 1700 to 2008 (the scale used until 2015).

    A long table with columns `unique_id` ("sunspots"), `ds` (the year, an integer) and `y`. Public
    domain. The cycle is about 11 years.

    Raises `SettingError` for an unknown backend, `MissingExtraError` for one not installed.

    >>> table = sunspots()
    >>> table.num_rows, table["ds"][257].as_py(), table["y"][257].as_py()
    (309, 1957, 190.2)
    """
    one_of("backend", backend, ("pyarrow", "pandas", "polars"))
    with files("throughtime.datasets").joinpath("yearly_sunspots.csv").open("rb") as file:
        table = csv.read_csv(file)
    if backend == "pyarrow":
        return table
    try:
        library = import_module(backend)
    except ImportError:
        raise MissingExtraError(
            f"{backend} to be installed", "no such package", f"run: pip install {backend}"
        ) from None
    return library.from_arrow(table) if backend == "polars" else table.to_pandas()
