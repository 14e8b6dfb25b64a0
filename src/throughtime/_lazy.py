"""Public names that are imported when they are first used (PEP 562).

`import torch` takes seconds and most of what the command line says does not need it, so no
`__init__.py` of this package imports a module that needs torch: each calls `lazy` with a table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package whose names live elsewhere.

    `names` maps each public name to the module that holds it; where the module itself is the
    public name (its last part equals the name), the module is returned.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(names[name])
        value = getattr(module, name) if hasattr(module, name) else module
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return __getattr__, __dir__, sorted(names)
