"""The options of `Options` as the parameters of a command, so that each is written once.

    @app.command()
    @takes(without=("level",))
    def backtest(given: Given, *, out: Annotated[...] = None) -> None: ...

The command gets the fields of `Options` as options of the command line, but for those that it goes
`without`, or `only` those that it names; one of its own parameters that has a field's name stands in
the place of that option.
`given` holds the values of the others, and says which of them the user gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from inspect import Parameter, signature
from typing import Any, get_type_hints

import typer

from throughtime.interfaces.options import Options


class Given(dict[str, Any]):
    """The values of options by the names of their fields; `told` are the names that the user gave."""

    told: tuple[str, ...] = ()


def takes(
    without: Iterable[str] = (), only: Iterable[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of `Options`: all, or `only` these.

    Those `without` are left out.
    """
    kept = {*(_shared() if only is None else only)} - {*without}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = _own(command)
        shared = {name: each for name, each in _shared().items() if name in kept}

        def run(context: typer.Context, **values: Any) -> None:
            given = Given({name: values.pop(name) for name in shared if name not in own})
            given.told = tuple(name for name in shared if _told(context, name))
            command(given, **values)

        context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *(shared | own).values()]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _shared() -> dict[str, Parameter]:
    """Return the fields of `Options` as parameters."""
    types = get_type_hints(Options, include_extras=True)
    return {each.name: _parameter(each.name, types, each.default) for each in fields(Options)}


def _own(command: Callable[..., None]) -> dict[str, Parameter]:
    """Return the parameters of a command behind its first, with the types that their texts mean."""
    types = get_type_hints(command, include_extras=True)
    _, *parameters = signature(command).parameters.values()
    return {each.name: _parameter(each.name, types, each.default) for each in parameters}


def _parameter(name: str, types: dict[str, Any], default: Any) -> Parameter:
    default = Parameter.empty if default is MISSING else default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=types[name])


def _told(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
